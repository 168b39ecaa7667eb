/* SPDX-License-Identifier: MIT */
/*
 * server.c: one thread: it polls the queues, and now and then its sockets.
 *
 * While there is nothing to poll it sleeps until a message comes. While there are queues it spins,
 * unless there was no work for a second: then it looks once in a millisecond.
 */
#include "server.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define SPIN_IDLE     512u /* looks at the queues between two at the sockets, without work */
#define SPIN_BUSY     32u  /* and with */
#define SPIN_NS	      1000000000u
#define SPIN_SLEEP_MS 1
#define EVENTS	      8

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

static int peer_pid(int fd)
{
	struct ucred cred = { 0 };
	socklen_t len = sizeof(cred);

	getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len);
	return cred.pid;
}

/* ------------------------------------------------------------------- client */

static void session_watch(struct nvme_server *server)
{
	struct nvme_session *s = &server->session;
	uint32_t events = lab_buf_len(&s->out) ? EPOLLOUT : EPOLLIN;

	if (s->src.fd >= 0 && s->src.events != events)
		lab_watch(server->epfd, &s->src, events);
}

static void session_ready(struct lab_source *src, uint32_t events)
{
	struct nvme_session *s = lab_container_of(src, struct nvme_session, src);

	if (s->src.fd < 0)
		return;
	if (!nvme_session_input(s) || (lab_buf_len(&s->out) && events & (EPOLLHUP | EPOLLERR)))
		nvme_session_end(s);
	else
		session_watch(lab_container_of(s, struct nvme_server, session));
}

/* A client that has gone must not make its successor a second one. */
static bool session_over(struct nvme_session *s)
{
	struct pollfd pfd = { .fd = s->src.fd, .events = POLLRDHUP };

	while (s->src.fd >= 0 && poll(&pfd, 1, 0) == 1 && pfd.revents) {
		/* What it has sent before is executed, unless it does not take the answers. */
		pfd.events |= POLLIN;
		if (poll(&pfd, 1, 0) == 1 && pfd.revents & POLLIN && nvme_session_input(s) &&
		    !lab_buf_len(&s->out))
			continue;
		nvme_session_end(s);
	}
	return s->src.fd < 0;
}

/* ------------------------------------------------------------------ refused */

static void refused_close(struct lab_source *src)
{
	close(src->fd);
	src->fd = -1;
}

/* Its first message is answered with EBUSY. */
static void refused_ready(struct lab_source *src, uint32_t events)
{
	struct vfu_header h;

	if (src->fd < 0)
		return;
	if (recv(src->fd, &h, sizeof(h), MSG_DONTWAIT) == (ssize_t)sizeof(h)) {
		h.size = sizeof(h);
		h.flags = VFU_TYPE_REPLY | VFU_ERROR;
		h.error = EBUSY;
		(void)!send(src->fd, &h, sizeof(h), MSG_NOSIGNAL | MSG_DONTWAIT);
	}
	refused_close(src);
}

static void refuse(struct nvme_server *server, int fd)
{
	struct lab_source *src = &server->refused[server->next_refused++ % SERVER_WAITING];

	lab_msg("refused a second client, pid %d: the client with pid %d has the controller",
		peer_pid(fd), peer_pid(server->session.src.fd));
	server->nvme->stats.refused++;
	if (src->fd >= 0) /* the oldest makes room */
		refused_close(src);
	*src = (struct lab_source){ .fd = fd, .ready = refused_ready };
	if (lab_watch(server->epfd, src, EPOLLIN))
		refused_close(src);
}

static void listen_ready(struct lab_source *src, uint32_t events)
{
	struct nvme_server *server = lab_container_of(src, struct nvme_server, listen);
	struct nvme_session *s = &server->session;
	int fd = accept4(src->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return;
	if (s->src.fd >= 0 && !session_over(s)) {
		refuse(server, fd);
		return;
	}
	if (nvme_session_begin(s, fd)) {
		lab_msg("no memory for a client's doorbells");
		close(fd);
		return;
	}
	s->src.events = 0;
	s->src.ready = session_ready;
	session_watch(server);
}

int nvme_listen_on(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	AU_CLEANUP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	AU_CLEANUP_FD int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct stat st;

	if (strlen(path) >= sizeof(addr.sun_path))
		return lab_fail(-ENAMETOOLONG, "%s: a socket's path has at most %zu bytes", path,
				sizeof(addr.sun_path) - 1);
	memcpy(addr.sun_path, path, strlen(path) + 1);
	/* A socket that is left over from a server that was killed is nobody's. */
	if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode) &&
	    connect(probe, (struct sockaddr *)&addr, sizeof(addr)) && errno == ECONNREFUSED)
		unlink(path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) || chmod(path, 0600) ||
	    listen(fd, 16))
		return lab_fail(-errno, "cannot listen on %s: %s", path, strerror(errno));
	return au_take_fd(&fd);
}

/* --------------------------------------------------------------------- loop */

static void signals_ready(struct lab_source *src, uint32_t events)
{
	lab_container_of(src, struct nvme_server, signals)->stop = true;
}

static void look(struct nvme_server *server, int timeout_ms)
{
	struct epoll_event ev[EVENTS];
	int n = epoll_wait(server->epfd, ev, EVENTS, timeout_ms);

	for (int i = 0; i < n; i++) {
		struct lab_source *src = ev[i].data.ptr;

		src->ready(src, ev[i].events);
	}
}

/* How long to sleep, now that there was no work for some time. */
static int rest(struct nvme_server *server, uint64_t last_ns)
{
	struct nvme *nvme = server->nvme;
	int due;

	if (!nvme->running)
		return -1;
	if (server->always || lab_now_ns() - last_ns < SPIN_NS)
		return 0;
	/* From now on optional doorbells are wanted: those from before are looked at once more. */
	nvme_rest(nvme);
	if (nvme_poll(nvme))
		return 0;
	due = nvme_next_due(nvme);
	return due >= 0 && due < SPIN_SLEEP_MS ? due : SPIN_SLEEP_MS;
}

static void loop(struct nvme_server *server)
{
	uint64_t last_ns = lab_now_ns();
	unsigned int idle = 0, busy = 0;

	while (!server->stop) {
		if (nvme_poll(server->nvme)) {
			idle = 0;
			if (++busy < SPIN_BUSY)
				continue;
			last_ns = lab_now_ns();
			look(server, 0);
		} else if (server->nvme->running && ++idle < SPIN_IDLE) {
			relax();
			continue;
		} else {
			if (busy)
				last_ns = lab_now_ns();
			look(server, rest(server, last_ns));
		}
		idle = busy = 0;
	}
}

static int serve_signals(struct nvme_server *server)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	server->signals = (struct lab_source){ .fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK),
					       .ready = signals_ready };
	return lab_watch(server->epfd, &server->signals, EPOLLIN);
}

int nvme_serve(struct nvme_server *server)
{
	int ret;

	signal(SIGPIPE, SIG_IGN); /* an interrupt's descriptor may be anything */
	server->epfd = epoll_create1(EPOLL_CLOEXEC);
	server->session.nvme = server->nvme;
	server->session.src.fd = server->control_listen.fd = server->control_client.fd = -1;
	for (unsigned int i = 0; i < SERVER_WAITING; i++)
		server->refused[i].fd = -1;
	ret = serve_signals(server);
	if (!ret)
		ret = nvme_control_listen(server);
	if (ret)
		return ret;
	server->listen =
		(struct lab_source){ .fd = nvme_listen_on(server->path), .ready = listen_ready };
	if (server->listen.fd < 0)
		return server->listen.fd;
	ret = lab_watch(server->epfd, &server->listen, EPOLLIN);
	if (!ret) {
		puts("ready");
		fflush(stdout);
		loop(server);
	}
	if (server->session.src.fd >= 0)
		nvme_session_end(&server->session);
	unlink(server->path);
	if (server->control)
		unlink(server->control);
	return ret;
}
