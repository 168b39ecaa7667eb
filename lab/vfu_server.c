/* SPDX-License-Identifier: MIT */
#include "vfu_server.h"
#include "dma.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

/* Bounds of what one function's clients may have outstanding; beyond, their input waits. */
#define MAX_OPS	     4096u
#define MAX_BYTES    (512u << 10)
#define MAX_SESSIONS 16	 /* one that is served, and those about to be told that they are not */
#define BACKLOG	     128 /* who connects without blocking fails when it is full */

static bool blocked(const struct vfu_session *s)
{
	const struct lab_func *f = s->f;

	return f->resetting || f->dma_jobs || f->inflight_ops > MAX_OPS ||
	       f->inflight_bytes > MAX_BYTES || lab_buf_len(&s->out) > MAX_BYTES;
}

static int peer_pid(int fd)
{
	struct ucred cred = { 0 };
	socklen_t len = sizeof(cred);

	getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len);
	return cred.pid;
}

bool vfu_take_fds(struct vfu_session *s, int *fds, unsigned int num)
{
	return vfu_fds_take(&s->fds, fds, num);
}

static void unmapped(void *arg, int err)
{
}

/*
 * Interrupts end before the next client is let in, and what it says waits until its predecessor's
 * memory is gone; accesses that QEMU has been given go on. The function masters the bus no more
 * before the memory goes: what it was in the middle of is no stray access.
 */
static void session_end(struct vfu_session *s)
{
	struct lab_func *f = s->f;
	struct lab *lab = f->lab;

	if (s->dead)
		return;
	s->dead = true;
	if (f->session == s) {
		f->session = NULL;
		f->command &= (uint16_t)~PCI_COMMAND_MASTER;
		intx_set_fd(f, -1);
		msi_disable(f);
		if (f->maps || f->dma_jobs)
			dma_unmap(f, 0, 0, unmapped, NULL);
		alog_event(&lab->log, f->id, "close");
	}
	close(s->src.fd);
	vfu_fds_close(&s->fds);
	vfu_req_abandon(s);
	for (struct vfu_session **p = &lab->sessions; *p; p = &(*p)->next) {
		if (*p == s) {
			*p = s->next;
			break;
		}
	}
	s->next = lab->dead_sessions;
	lab->dead_sessions = s;
	f->num_sessions--;
	if (f->listen.fd >= 0)
		lab_watch(lab->epfd, &f->listen, EPOLLIN);
}

void vfu_drop(struct vfu_session *s, const char *why)
{
	lab_msg("%s: dropped the client with pid %d: %s", s->f->id, peer_pid(s->src.fd), why);
	session_end(s);
}

/* Execute what has arrived whole, in order, as far as the bounds allow. */
static void execute_input(struct vfu_session *s)
{
	struct vfu_header h;
	const char *wrong;

	s->stalled = false;
	while (!s->dead && s->state != VFU_CLOSING && lab_buf_len(&s->in) >= sizeof(h)) {
		memcpy(&h, lab_buf_head(&s->in), sizeof(h));
		wrong = vfu_header_wrong(&h);
		if (wrong) {
			vfu_drop(s, wrong);
			return;
		}
		if (lab_buf_len(&s->in) < h.size)
			break;
		if (s->state == VFU_REFUSED) {
			vfu_error(s, &h, -EBUSY);
			s->state = VFU_CLOSING;
			break;
		}
		if (s->state == VFU_NEW && h.cmd != VFU_VERSION) {
			vfu_drop(s, "its first message is not VERSION");
			return;
		}
		if (blocked(s)) {
			s->stalled = true;
			return;
		}
		vfu_execute(s, &h, lab_buf_head(&s->in) + sizeof(h), h.size - (uint32_t)sizeof(h));
		lab_buf_consume(&s->in, h.size);
	}
	if (!s->dead && !lab_buf_len(&s->in))
		vfu_fds_close(&s->fds); /* those that no message took */
}

/* Return: whether there may be more to read now; the event comes again if there is after all. */
static bool receive(struct vfu_session *s)
{
	ssize_t n = vfu_receive(s->src.fd, &s->in, &s->fds);

	if (n == 0)
		s->eof = true;
	else if (n == -E2BIG)
		vfu_drop(s, "it passed more descriptors than the lab takes");
	return n == VFU_MAX_MSG;
}

static void session_input(struct vfu_session *s)
{
	for (int i = 0; i < 4 && !s->dead && !s->stalled && s->state != VFU_CLOSING; i++) {
		bool more = receive(s);

		if (s->dead || s->eof)
			break;
		execute_input(s);
		if (!more)
			break;
	}
	if (s->eof && !s->dead && !s->stalled)
		session_end(s);
}

static void session_ready(struct lab_source *src, uint32_t events)
{
	struct vfu_session *s = lab_container_of(src, struct vfu_session, src);

	if (s->dead)
		return;
	if (events & EPOLLIN)
		session_input(s);
	else if (events & (EPOLLHUP | EPOLLERR)) {
		/* Stalled, and its client gone: it ends when what it sent has been executed. */
		s->eof = true;
		if (s->stalled)
			epoll_ctl(s->f->lab->epfd, EPOLL_CTL_DEL, s->src.fd, NULL);
		else
			session_end(s);
	}
}

static void session_send(struct vfu_session *s)
{
	while (!s->dead && lab_buf_len(&s->out)) {
		ssize_t n = send(s->src.fd, lab_buf_head(&s->out), lab_buf_len(&s->out),
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) { /* what it has sent before it went is still to be executed */
			s->eof = true;
			lab_buf_consume(&s->out, lab_buf_len(&s->out));
			return;
		}
		lab_buf_consume(&s->out, (size_t)n);
	}
	if (!s->dead && s->state == VFU_CLOSING && !s->first)
		session_end(s);
}

static void session_rewatch(struct vfu_session *s)
{
	uint32_t events = 0;

	if (s->dead || (s->eof && s->stalled))
		return;
	if (!s->stalled && s->state != VFU_CLOSING)
		events |= EPOLLIN;
	if (lab_buf_len(&s->out))
		events |= EPOLLOUT;
	if (events != s->src.events)
		lab_watch(s->f->lab->epfd, &s->src, events);
}

void vfu_finish_turn(struct lab *lab)
{
	bool again;

	do {
		again = false;
		alog_flush(&lab->log); /* who has an answer finds the access in the log */
		for (struct vfu_session *s = lab->sessions, *next; s; s = next) {
			next = s->next;
			vfu_req_answer(s);
			session_send(s);
			if (!s->dead && s->stalled && !blocked(s)) {
				execute_input(s);
				again = true;
			}
			if (!s->dead && s->eof && !s->stalled)
				session_end(s);
		}
	} while (again);
	for (struct vfu_session *s = lab->sessions; s; s = s->next)
		session_rewatch(s);
	while (lab->dead_sessions) {
		struct vfu_session *s = lab->dead_sessions;

		lab->dead_sessions = s->next;
		lab_buf_free(&s->in);
		lab_buf_free(&s->out);
		free(s);
	}
}

struct vfu_session *vfu_attach(struct lab_func *f, int fd)
{
	struct vfu_session *s = lab_xcalloc(1, sizeof(*s));

	s->src.fd = fd;
	s->src.ready = session_ready;
	s->f = f;
	s->last = &s->first;
	s->next = f->lab->sessions;
	f->lab->sessions = s;
	f->num_sessions++;
	if (f->session) {
		s->state = VFU_REFUSED;
		lab_msg("%s: refused a second client, pid %d: the client with pid %d has it", f->id,
			peer_pid(fd), peer_pid(f->session->src.fd));
		alog_event(&f->lab->log, f->id, "refused pid=%d", peer_pid(fd));
	} else {
		f->session = s;
		alog_event(&f->lab->log, f->id, "open pid=%d", peer_pid(fd));
	}
	if (lab_watch(f->lab->epfd, &s->src, EPOLLIN))
		session_end(s);
	return s;
}

/* A client that has gone must not make its successor a second one. */
static bool session_over(const struct vfu_session *s)
{
	struct pollfd pfd = { .fd = s->src.fd, .events = POLLRDHUP };

	return s->eof || (poll(&pfd, 1, 0) == 1 && pfd.revents);
}

/* Who was refused and says nothing makes room for who comes next: the oldest first. */
static void evict_refused(struct lab_func *f)
{
	struct vfu_session *oldest = NULL;

	for (struct vfu_session *s = f->lab->sessions; s; s = s->next)
		if (s->f == f && s != f->session)
			oldest = s;
	if (oldest)
		session_end(oldest);
}

/* Return: false when there is nobody more to accept now. */
static bool accept_one(struct lab_func *f)
{
	if (f->session && !f->session->stalled)
		session_input(f->session);
	if (f->session && session_over(f->session)) {
		lab_watch(f->lab->epfd, &f->listen, 0); /* until its end */
		return false;
	}

	int fd = accept4(f->listen.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0) {
		if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
			return false;
		lab_msg("%s: cannot accept a client: %s", f->id, strerror(errno));
		if (f->num_sessions) /* else there is no end of one to wait for */
			lab_watch(f->lab->epfd, &f->listen, 0);
		return false;
	}
	if (f->num_sessions >= MAX_SESSIONS)
		evict_refused(f);
	vfu_attach(f, fd);
	return true;
}

/* The first is served; all others are told that they come too late. */
static void listen_ready(struct lab_source *src, uint32_t events)
{
	struct lab_func *f = lab_container_of(src, struct lab_func, listen);

	for (int i = 0; i < MAX_SESSIONS && accept_one(f); i++)
		;
}

int vfu_listen(struct lab_func *f)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	strncpy(addr.sun_path, f->path, sizeof(addr.sun_path) - 1);
	f->listen.ready = listen_ready;
	f->listen.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (f->listen.fd < 0 || bind(f->listen.fd, (struct sockaddr *)&addr, sizeof(addr)) ||
	    chmod(f->path, 0600) || listen(f->listen.fd, BACKLOG))
		return lab_fail(-errno, "cannot listen on %s: %s", f->path, strerror(errno));
	return lab_watch(f->lab->epfd, &f->listen, EPOLLIN);
}

void vfu_leave(struct lab_func *f)
{
	if (f->listen.fd >= 0)
		close(f->listen.fd);
	f->listen.fd = -1;
	unlink(f->path);
}

void vfu_end_all(struct lab_func *f)
{
	for (struct vfu_session *s = f->lab->sessions, *next; s; s = next) {
		next = s->next;
		if (s->f == f)
			session_end(s);
	}
}

void vfu_shutdown(struct lab *lab)
{
	while (lab->sessions)
		session_end(lab->sessions);
	for (unsigned int i = 0; i < lab->num_funcs; i++) {
		if (lab->funcs[i].listen.fd >= 0)
			close(lab->funcs[i].listen.fd);
		lab->funcs[i].listen.fd = -1;
	}
	vfu_finish_turn(lab);
}
