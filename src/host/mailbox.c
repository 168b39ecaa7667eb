/* SPDX-License-Identifier: MIT */
#include "host/host.h"

#include "base/os.h"

#include <string.h>
#include <unistd.h>

static struct host_job *mailbox_take(struct host_mailbox *box)
{
	struct host_job *job;

	pthread_mutex_lock(&box->lock);
	job = box->first;
	if (job) {
		box->first = job->next;
		if (!box->first)
			box->last = &box->first;
	}
	pthread_mutex_unlock(&box->lock);
	return job;
}

static unsigned int mailbox_poll(struct auf_source *src, unsigned int budget)
{
	struct host_mailbox *box = (struct host_mailbox *)src;
	struct host_job *job;
	unsigned int done = 0;

	au_os_wake_clear(src->fd);
	auf_lane_pause(box->host->lane);
	while (done < budget && (job = mailbox_take(box))) {
		job->fn(box->host, job);
		done++;
	}
	/* Come again for what is left. */
	if (done == budget)
		au_os_wake(src->fd);
	return done;
}

static int mailbox_add(void *arg)
{
	struct host_mailbox *box = arg;

	return auf_lane_add(box->host->lane, &box->source);
}

int host_mailbox_init(struct host_mailbox *box, struct host *host)
{
	memset(box, 0, sizeof(*box));
	pthread_mutex_init(&box->lock, NULL);
	box->last = &box->first;
	box->host = host;
	box->source.poll = mailbox_poll;
	box->source.poll_on_fd = true;
	box->source.fd = au_os_wake_create();
	if (box->source.fd < 0)
		return box->source.fd;
	return auf_lane_call(host->lane, mailbox_add, box);
}

void host_mailbox_post(struct host_mailbox *box, struct host_job *job)
{
	job->next = NULL;
	pthread_mutex_lock(&box->lock);
	*box->last = job;
	box->last = &job->next;
	pthread_mutex_unlock(&box->lock);
	auf_lane_pause(box->host->lane);
	au_os_wake(box->source.fd);
}

static int mailbox_remove(void *arg)
{
	struct host_mailbox *box = arg;
	struct host_job *job;

	while ((job = mailbox_take(box)))
		job->fn(box->host, job);
	auf_lane_remove(box->host->lane, &box->source);
	return 0;
}

void host_mailbox_close(struct host_mailbox *box)
{
	auf_lane_call(box->host->lane, mailbox_remove, box);
	close(box->source.fd);
}
