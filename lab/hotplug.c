/* SPDX-License-Identifier: MIT */
/*
 * hotplug.c: functions that are pulled out and put back. For clients that is all there is to see:
 * all-ones at once, then the end of the stream, then a socket that is not there. QEMU keeps the
 * device, which decodes nothing, reaches no memory, and is reset before it comes back.
 */
#include "dma.h"
#include "lab.h"
#include "vfu_server.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <stdio.h>
#include <string.h>

#define NOTICE_MS \
	200 /* from the removal until the stream ends: until somebody looked at the slot */

struct change {
	struct lab_func *f;
	int fd;
	unsigned int left;
	struct lab_timer timer;
};

static void answer(int fd, const char *fmt, const char *id)
{
	char text[160];

	snprintf(text, sizeof(text), fmt, id);
	json_t *msg = *text ? json_pack("{s:s}", "error", text) : json_pack("{s:b}", "ok", 1);
	json_dumpfd(msg, fd, JSON_COMPACT);
	json_decref(msg);
	close(fd);
}

static void removed(struct change *c)
{
	if (--c->left)
		return;
	if (c->timer.src.fd >= 0)
		close(c->timer.src.fd);
	answer(c->fd, "", "");
	free(c);
}

static void memory_gone(void *arg, int err)
{
	removed(arg);
}

static void noticed(struct lab_timer *t)
{
	struct change *c = lab_container_of(t, struct change, timer);

	vfu_end_all(c->f);
	removed(c);
}

/* It masters nothing any more. */
static void silenced(const struct qtest_op *op, uint64_t value)
{
	struct change *c = op->owner;

	dma_unmap(c->f, 0, 0, memory_gone, c);
}

static void remove_func(struct lab_func *f, int fd)
{
	struct change *c = lab_xcalloc(1, sizeof(*c));

	if (lab_timer_init(f->lab->epfd, &c->timer, noticed)) {
		answer(fd, "no timer for %s", f->id);
		free(c);
		return;
	}
	c->f = f;
	c->fd = fd;
	c->left = 2;
	f->removed = true;
	__atomic_store_n(&f->stat->removed, 1, __ATOMIC_RELAXED);
	alog_event(&f->lab->log, f->id, "removed");
	lab_msg("%s: removed", f->id);
	msi_disable(f);
	f->command = 0;
	intx_set_fd(f, -1); /* and nothing is decoded or mastered any more */
	vfu_leave(f);
	lab_timer_arm(&c->timer, NOTICE_MS);
	/*
	 * Memory only after that. QEMU remembers parts of the map: a device that is denied its data
	 * could still reach its queue, and say there that all went well.
	 */
	qtest_submit(&f->lab->qt, &(struct qtest_op){ .cmd = QTEST_WRITE,
						      .width = 2,
						      .addr = f->ecam + PCI_COMMAND,
						      .value = PCI_COMMAND_INTX_DISABLE,
						      .done = silenced,
						      .owner = c });
}

static void was_reset(void *arg, int err)
{
	struct change *c = arg;
	struct lab_func *f = c->f;

	f->removed = true;
	if (err == -ENODEV) {
		answer(c->fd, "%s cannot come back: QEMU is dead", f->id);
	} else if (vfu_listen(f)) {
		vfu_leave(f);
		answer(c->fd, "%s cannot come back: see lab.log", f->id);
	} else {
		f->removed = false;
		__atomic_store_n(&f->stat->removed, 0, __ATOMIC_RELAXED);
		alog_event(&f->lab->log, f->id, "added");
		lab_msg("%s: added", f->id);
		answer(c->fd, "", "");
	}
	free(c);
}

static void add_func(struct lab_func *f, int fd)
{
	struct change *c = lab_xcalloc(1, sizeof(*c));

	c->f = f;
	c->fd = fd;
	config_forget(f);
	f->removed = false; /* so that it can be reset; there is nobody who could see it */
	reset_start(f, was_reset, c);
}

void hotplug_command(struct lab *lab, const char *line, int fd)
{
	bool add = strncmp(line, "add ", 4) == 0;
	const char *id = strchr(line, ' ');
	struct lab_func *f = NULL;

	for (unsigned int i = 0; id && i < lab->num_funcs; i++)
		if (strcmp(lab->funcs[i].id, id + 1) == 0)
			f = &lab->funcs[i];
	if (!f)
		answer(fd, "there is no function %s: see 'auriga lab ls'", id ? id + 1 : "");
	else if (f->removed != add)
		answer(fd, add ? "%s is not removed" : "%s is removed already", f->id);
	else if (add && (f->session || f->num_sessions || f->dma_jobs || f->resetting))
		answer(fd, "%s is still on its way out: try again", f->id);
	else if (add)
		add_func(f, fd);
	else
		remove_func(f, fd);
}
