/* SPDX-License-Identifier: MIT */
/* An intrusive, circular, doubly linked list. A node that is in no list points to itself. */
#ifndef AU_BASE_LIST_H
#define AU_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

/** struct au_list - a list's head, or a node in the structure that is listed. */
struct au_list {
	struct au_list *next, *prev;
};

/** AU_CONTAINER - the structure that @pointer points into. */
#define AU_CONTAINER(pointer, type, member) \
	((type *)(void *)((char *)(pointer)-offsetof(type, member)))

/** au_list_init - an empty list, or a node in no list. */
static inline void au_list_init(struct au_list *list)
{
	list->next = list->prev = list;
}

/** au_list_empty - whether a list is empty, or a node in no list. */
static inline bool au_list_empty(const struct au_list *list)
{
	return list->next == list;
}

static inline void au_list_insert_(struct au_list *prev, struct au_list *node, struct au_list *next)
{
	node->prev = prev;
	node->next = next;
	prev->next = node;
	next->prev = node;
}

/** au_list_add_tail - add a node at the end. */
static inline void au_list_add_tail(struct au_list *list, struct au_list *node)
{
	au_list_insert_(list->prev, node, list);
}

/** au_list_add_head - add a node at the start. */
static inline void au_list_add_head(struct au_list *list, struct au_list *node)
{
	au_list_insert_(list, node, list->next);
}

/** au_list_remove - take a node out; harmless when it is in no list. */
static inline void au_list_remove(struct au_list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	au_list_init(node);
}

/** au_list_pop - take the first node out; NULL when the list is empty. */
static inline struct au_list *au_list_pop(struct au_list *list)
{
	struct au_list *node = list->next;

	if (node == list)
		return NULL;
	au_list_remove(node);
	return node;
}

/** au_list_splice - move all of @from to the end of @to. */
static inline void au_list_splice(struct au_list *to, struct au_list *from)
{
	if (au_list_empty(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	au_list_init(from);
}

/* NOLINTBEGIN(bugprone-macro-parentheses): a name that is declared is not put in parentheses */
/** au_list_for_each - walk; the list must not change. */
#define au_list_for_each(node, list) \
	for (struct au_list *node = (list)->next; node != (list); node = node->next)

/** au_list_for_each_safe - walk; the body may take @node out, and nothing else. */
#define au_list_for_each_safe(node, list)                                                    \
	for (struct au_list *node = (list)->next, *next_##node = node->next; node != (list); \
	     node = next_##node, next_##node = node->next)
/* NOLINTEND(bugprone-macro-parentheses) */

#endif
