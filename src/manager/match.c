/* SPDX-License-Identifier: MIT */
/* Ranked, explainable matching: exact identifiers before a class code, then the higher version. */
#include "manager/drivers.h"

#include "manager/json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int mgr_version_compare(const char *a, const char *b)
{
	while (*a || *b) {
		char *end_a, *end_b;
		unsigned long na = strtoul(a, &end_a, 10), nb = strtoul(b, &end_b, 10);

		if (na != nb)
			return na < nb ? -1 : 1;
		if (end_a == a && end_b == b) /* no number in either */
			return strcmp(a, b);
		a = *end_a == '.' ? end_a + 1 : end_a;
		b = *end_b == '.' ? end_b + 1 : end_b;
	}
	return 0;
}

static void match_table_text(const struct au_note *note, char *buf, size_t size)
{
	size_t used = 0;

	buf[0] = 0;
	for (unsigned int i = 0; i < note->match_count && used + 1 < size; i++) {
		char text[64];
		int n = snprintf(buf + used, size - used, "%s%s", i ? ", " : "",
				 au_note_match_text(&note->match[i], text, sizeof(text)));

		if (n < 0)
			break;
		used += (size_t)n;
	}
}

static void match_one(const struct mgr_driver *d, const struct mgr_ids *ids,
		      struct mgr_candidate *c)
{
	char text[128];

	memset(c, 0, sizeof(*c));
	c->driver = d;
	if (d->error[0]) {
		snprintf(c->reason, sizeof(c->reason), "cannot be used: %.170s", d->error);
		return;
	}
	for (unsigned int i = 0; i < d->note.match_count; i++) {
		const struct au_note_match *m = &d->note.match[i];

		if (m->kind == AU_MATCH_KIND_PCI && !ids->virtual_device &&
		    m->vendor == ids->vendor && m->device == ids->device) {
			c->rank = MGR_RANK_EXACT;
			snprintf(c->reason, sizeof(c->reason), "exact: %s is in its table",
				 au_note_match_text(m, text, sizeof(text)));
			return;
		}
		if (m->kind == AU_MATCH_KIND_PCI_CLASS && !ids->virtual_device &&
		    m->class_code == ids->class_code && c->rank < MGR_RANK_CLASS) {
			c->rank = MGR_RANK_CLASS;
			snprintf(c->reason, sizeof(c->reason), "class: %s is in its table",
				 au_note_match_text(m, text, sizeof(text)));
		}
	}
	if (c->rank != MGR_RANK_NONE)
		return;
	match_table_text(&d->note, text, sizeof(text));
	if (ids->virtual_device)
		snprintf(c->reason, sizeof(c->reason),
			 "a virtual device has nothing to match: its driver is named");
	else
		snprintf(c->reason, sizeof(c->reason), "no match: it is for %s",
			 text[0] ? text : "nothing");
}

static int match_compare(const void *pa, const void *pb)
{
	const struct mgr_candidate *a = pa, *b = pb;
	int order;

	if (a->rank != b->rank)
		return a->rank > b->rank ? -1 : 1;
	order = mgr_drivers_better(a->driver, b->driver);
	return order ? order : strcmp(a->driver->name, b->driver->name);
}

int mgr_match(const struct mgr_drivers *drivers, const struct mgr_ids *ids,
	      struct mgr_candidate **candidates)
{
	struct mgr_candidate *list = calloc(drivers->count + 1, sizeof(*list));
	int fit = 0;

	if (!list)
		return -ENOMEM;
	for (unsigned int i = 0; i < drivers->count; i++) {
		match_one(&drivers->list[i], ids, &list[i]);
		fit += list[i].rank != MGR_RANK_NONE;
	}
	if (drivers->count)
		qsort(list, drivers->count, sizeof(*list), match_compare);
	*candidates = list;
	return fit;
}

json_t *mgr_match_json(const struct mgr_candidate *candidates, unsigned int count)
{
	static const char *const ranks[] = { "none", "class", "exact" };
	json_t *list = json_array();

	for (unsigned int i = 0; i < count; i++) {
		const struct mgr_candidate *c = &candidates[i];
		char text[128];
		json_t *o = json_pack(
			"{s:o s:o s:s s:i s:o s:b}", "driver", mgr_json_string(c->driver->name),
			"version", mgr_json_string(c->driver->note.version), "match",
			ranks[c->rank], "rank", (int)c->rank, "reason", mgr_json_string(c->reason),
			"chosen", i == 0 && c->rank != MGR_RANK_NONE);

		/* What is like with all of them is not said of each. */
		if (c->driver->stored)
			json_object_set_new(o, "path", mgr_json_string(c->driver->path));
		if (c->driver->signer.state != MGR_SIGNED_NOT)
			json_object_set_new(o, "signature",
					    mgr_json_string(mgr_signer_text(&c->driver->signer,
									    text, sizeof(text))));
		json_array_append_new(list, o);
	}
	return list;
}
