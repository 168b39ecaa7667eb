/* SPDX-License-Identifier: MIT */
#include "host/host.h"

#include "base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct host_pending {
	struct host_pending *next;
	size_t length;
	char msg[];
};

/* Uid of the peer as this process sees it, or -1. */
static uid_t link_peer(int fd)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return (uid_t)-1;
	return peer.uid;
}

int host_link_init(struct host_link *link, int fd)
{
	int flags = fcntl(fd, F_GETFL);

	memset(link, 0, sizeof(*link));
	pthread_mutex_init(&link->lock, NULL);
	link->last = &link->first;
	link->fd = -1;
	link->wake = au_os_wake_create();
	if (link->wake < 0)
		return link->wake;
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	link->owner = link_peer(fd);
	link->fd = fd;
	return 0;
}

static void link_queue(struct host_link *link, const void *msg, size_t length)
{
	struct host_pending *p;

	if (link->count >= HOST_LINK_QUEUE_MAX)
		return;
	p = malloc(sizeof(*p) + length);
	if (!p)
		return;
	p->next = NULL;
	p->length = length;
	memcpy(p->msg, msg, length);
	*link->last = p;
	link->last = &p->next;
	link->count++;
	au_os_wake(link->wake);
}

void host_link_send(struct host_link *link, void *msg, size_t length)
{
	pthread_mutex_lock(&link->lock);
	if (link->fd >= 0 &&
	    (link->first || au_msg_send(link->fd, msg, length, NULL, 0) == -EAGAIN))
		link_queue(link, msg, length);
	pthread_mutex_unlock(&link->lock);
}

void host_link_text(struct host_link *link, uint16_t type, const char *text)
{
	size_t length = sizeof(struct au_msg_head) + strlen(text);
	struct au_msg_head *msg;

	if (length > AU_MSG_MAX)
		return;
	msg = calloc(1, length);
	if (!msg)
		return;
	msg->type = type;
	memcpy(msg + 1, text, length - sizeof(*msg));
	host_link_send(link, msg, length);
	free(msg);
}

int host_link_text_fds(struct host_link *link, uint16_t type, const char *text, const int *fds,
		       unsigned int count)
{
	int err = -ENOTCONN;

	pthread_mutex_lock(&link->lock);
	if (link->fd >= 0)
		err = au_msg_send_text(link->fd, type, text, fds, count);
	pthread_mutex_unlock(&link->lock);
	return err;
}

static void link_forget(struct host_link *link)
{
	struct host_pending *p = link->first;

	link->first = p->next;
	if (!link->first)
		link->last = &link->first;
	link->count--;
	free(p);
}

bool host_link_flush(struct host_link *link)
{
	bool left;

	au_os_wake_clear(link->wake);
	pthread_mutex_lock(&link->lock);
	while (link->first && link->fd >= 0 &&
	       au_msg_send(link->fd, link->first->msg, link->first->length, NULL, 0) != -EAGAIN)
		link_forget(link);
	left = link->first != NULL;
	pthread_mutex_unlock(&link->lock);
	return left;
}

void host_link_drop(struct host_link *link)
{
	pthread_mutex_lock(&link->lock);
	if (link->fd >= 0)
		close(link->fd);
	link->fd = -1;
	while (link->first)
		link_forget(link);
	pthread_mutex_unlock(&link->lock);
}

/* The old manager may have died a moment ago without its end having been noticed. */
static bool link_alive(const struct host_link *link)
{
	char byte;

	return link->fd >= 0 && recv(link->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) != 0;
}

void host_link_accept(struct host_link *link, int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	uid_t peer;

	if (fd < 0)
		return;
	peer = link_peer(fd);
	if (link_alive(link) || peer == (uid_t)-1 || (peer != 0 && peer != link->owner)) {
		close(fd);
		return;
	}
	host_link_drop(link);
	pthread_mutex_lock(&link->lock);
	link->fd = fd;
	pthread_mutex_unlock(&link->lock);
}
