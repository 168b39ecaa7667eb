/* SPDX-License-Identifier: MIT */
/* What the forms of handle that stand on a channel have in common. */
#include "client/handle.h"

static int __attribute__((noinline)) chan_handle_submit_more(struct au_handle *h, struct au_io *io)
{
	int rc = au_chan_submit_more(h->chan, io);

	return rc < 0 ? handle_refused(h, io, rc) : 0;
}

int chan_handle_submit(struct au_handle *h, struct au_io *io)
{
	if (AU_RING_LIKELY(au_chan_simple(h->chan, io)))
		return au_chan_submit_simple(h->chan, io);
	return chan_handle_submit_more(h, io);
}

int chan_handle_flush(struct au_handle *h)
{
	au_chan_flush(h->chan);
	return 0;
}

int chan_handle_cancel(struct au_handle *h, struct au_io *io)
{
	return au_chan_cancel(h->chan, io);
}

unsigned int chan_handle_turn(struct au_handle *h, unsigned int max)
{
	return au_chan_poll(h->chan, max);
}

bool chan_handle_arm(struct au_handle *h, int *timeout_ms)
{
	*timeout_ms = -1;
	return au_chan_arm(h->chan);
}

void chan_handle_disarm(struct au_handle *h)
{
	au_chan_disarm(h->chan);
}

bool chan_handle_event(struct au_handle *h, struct au_event *event)
{
	return au_chan_event_next(h->chan, event);
}

bool chan_handle_event_seen(struct au_handle *h)
{
	return au_chan_event_seen(h->chan);
}

uint32_t chan_handle_generation(const struct au_handle *h)
{
	return h->chan->up ? h->chan->generation : 0;
}

void *chan_handle_buffers(struct au_handle *h, size_t *size)
{
	*size = h->chan->pool ? au_chan_claim(h->chan) : 0;
	return *size ? h->chan->pool : NULL;
}
