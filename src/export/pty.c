/* SPDX-License-Identifier: MIT */
/*
 * A serial unit as a pseudo terminal: bytes both ways, termios to line settings, open and close to
 * DTR.
 *
 * Whether somebody has the terminal open is known by the master's EPOLLHUP, which cannot be masked;
 * so the master is in the loop only while it is open, and inotify tells of the next open. Changed
 * settings are looked at before bytes that were written after them are taken, and every
 * PTY_LOOK_MS, since nothing tells of them; less often where nothing has happened for a while.
 */
#include "export/export.h"
#include "export/pty_line.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#define PTY_LOOK_MS	  50
#define PTY_LOOK_QUIET_MS 250
#define PTY_QUIET_LOOKS	  40 /* looks in vain before the pace changes */

struct pty {
	struct bridge bridge;
	int master;
	int inotify;
	bool open;
	bool writable;
	uint32_t watched;   /* what the loop waits for at the master */
	unsigned int quiet; /* looks since something happened */
	char slave[64];
	const char *link;
	struct au_serial_line line;
	bool hungup;
};

static int pty_fail(const char *what)
{
	int rc = -errno;

	fprintf(stderr, "auriga export pty: %s: %s\n", what, strerror(errno));
	return rc;
}

/* A symbolic link of ours at @link: replaces an older link, never another kind of file. */
static int pty_link(const struct pty *p)
{
	char tmp[4096];
	struct stat st;
	int n = snprintf(tmp, sizeof(tmp), "%s.%d", p->link, getpid());

	if (n < 0 || (size_t)n >= sizeof(tmp)) {
		errno = ENAMETOOLONG;
		return pty_fail(p->link);
	}
	if (lstat(p->link, &st) == 0 && !S_ISLNK(st.st_mode)) {
		fprintf(stderr,
			"auriga export pty: %s exists and is no link; choose another --link\n",
			p->link);
		return -EEXIST;
	}
	if (symlink(p->slave, tmp) != 0 || rename(tmp, p->link) != 0) {
		int rc = pty_fail(p->link);

		unlink(tmp);
		return rc;
	}
	return 0;
}

static void pty_unlink(const struct pty *p)
{
	char target[sizeof(p->slave)];
	ssize_t n = readlink(p->link, target, sizeof(target));

	if (n == (ssize_t)strlen(p->slave) && memcmp(target, p->slave, (size_t)n) == 0)
		unlink(p->link);
}

static int pty_make(struct pty *p)
{
	struct termios raw;
	int slave;

	p->master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (p->master < 0 || grantpt(p->master) != 0 || unlockpt(p->master) != 0 ||
	    ptsname_r(p->master, p->slave, sizeof(p->slave)) != 0)
		return pty_fail("cannot make a pseudo terminal");
	/* Opened and closed once, so that it hangs up until a program opens it; raw by default,
	 * since an echo would answer the peer with its own words. */
	slave = open(p->slave, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0 || tcgetattr(slave, &raw) != 0)
		return pty_fail(p->slave);
	cfmakeraw(&raw);
	cfsetspeed(&raw, B115200);
	if (tcsetattr(slave, TCSANOW, &raw) != 0 || ioctl(p->master, TIOCPKT, &(int){ 1 }) != 0)
		return pty_fail(p->slave);
	close(slave);
	p->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (p->inotify < 0 || inotify_add_watch(p->inotify, p->slave, IN_OPEN | IN_CLOSE) < 0)
		return pty_fail("inotify");
	return bridge_watch(&p->bridge, p->inotify, EPOLLIN);
}

/* Carry changed terminal settings to the unit. */
static void pty_look(struct pty *p)
{
	struct au_serial_line line;
	bool hangup;
	int rc;

	if (pty_line_get(p->master, &line, &hangup) != 0)
		return;
	if (hangup) {
		line.baud = p->line.baud;
		if (!p->hungup)
			au_serial_set_modem(p->bridge.handle, AU_MODEM_OUTPUTS, 0);
	} else if (p->hungup) {
		au_serial_set_modem(p->bridge.handle, AU_MODEM_OUTPUTS, AU_MODEM_OUTPUTS);
	}
	p->hungup = hangup;
	if (memcmp(&line, &p->line, sizeof(line)) == 0)
		return;
	p->line = line;
	p->quiet = 0;
	rc = au_serial_set_line(p->bridge.handle, &line);
	if (rc == -EINVAL)
		fprintf(stderr,
			"auriga export pty: the device cannot do %u baud, %u data bits; it keeps "
			"what it had\n",
			line.baud, line.data_bits);
	else if (rc && !p->bridge.failed)
		p->bridge.failed = rc;
}

static void pty_watch(struct pty *p, uint32_t events)
{
	if (events == p->watched)
		return;
	bridge_watch(&p->bridge, p->master, events);
	p->watched = events;
}

static void pty_set_open(struct pty *p, bool open)
{
	if (p->open == open)
		return;
	p->open = open;
	p->writable = open;
	p->quiet = 0;
	pty_watch(p, open ? EPOLLIN : 0);
	if (open) {
		au_serial_purge(p->bridge.handle, 1); /* what came while nobody listened */
		pty_look(p);
	}
	bridge_receive(&p->bridge, open);
	if (!p->hungup)
		au_serial_set_modem(p->bridge.handle, AU_MODEM_OUTPUTS,
				    open ? AU_MODEM_OUTPUTS : 0);
}

static bool pty_is_open(const struct pty *p)
{
	struct pollfd pfd = { .fd = p->master };

	return poll(&pfd, 1, 0) >= 0 && !(pfd.revents & POLLHUP);
}

/* From the program to the unit. Returns false when there was nothing. */
static bool pty_read(struct pty *p)
{
	uint8_t buf[1 + BRIDGE_CHUNK];
	size_t room = bridge_room(&p->bridge);
	ssize_t n;

	if (room == 0)
		return false;
	n = read(p->master, buf, 1 + room);
	if (n <= 0)
		return false;
	pty_look(p);
	/* In packet mode the first byte says what kind of packet it is. */
	if (buf[0] == TIOCPKT_DATA)
		bridge_send(&p->bridge, buf + 1, (size_t)n - 1);
	else if (buf[0] & (TIOCPKT_FLUSHREAD | TIOCPKT_FLUSHWRITE))
		au_serial_purge(p->bridge.handle, (buf[0] & TIOCPKT_FLUSHREAD ? 1u : 0u) |
							  (buf[0] & TIOCPKT_FLUSHWRITE ? 2u : 0u));
	return true;
}

/* From the unit to the program; a full terminal holds the unit. */
static void pty_write(struct pty *p)
{
	struct bridge *b = &p->bridge;

	while (p->open && b->in_length) {
		ssize_t n = write(p->master, b->in + b->in_offset, b->in_length);

		if (n < 0 && errno == EINTR)
			continue;
		p->writable = n >= 0;
		if (n <= 0)
			return;
		b->in_offset += (size_t)n;
		b->in_length -= (size_t)n;
		bridge_poll(b); /* the next receive */
	}
}

/* A hang-up that must wait until there is room for the last bytes would keep the loop awake. */
static void pty_rewatch(struct pty *p)
{
	uint32_t events = EPOLLERR;

	if (bridge_room(&p->bridge))
		events |= EPOLLIN;
	else if (!pty_is_open(p))
		events = 0;
	if (events && !p->writable)
		events |= EPOLLOUT;
	pty_watch(p, events);
}

/* How long the loop may wait, in milliseconds. */
static int pty_patience(const struct pty *p)
{
	if (!p->open)
		return -1;
	return p->quiet < PTY_QUIET_LOOKS ? PTY_LOOK_MS : PTY_LOOK_QUIET_MS;
}

static int pty_run(struct pty *p)
{
	struct bridge *b = &p->bridge;
	struct bridge_ready ready[8];
	struct au_event event;
	char drop[4096];

	while (!b->failed) {
		int n = bridge_wait(b, ready, 8, pty_patience(p));

		if (n < 0)
			return 0;
		if (n || b->in_length || b->sending)
			p->quiet = 0;
		else if (p->quiet < PTY_QUIET_LOOKS)
			p->quiet++;
		while (au_event_next(b->handle, &event) == 1)
			if (event.kind == AU_EVENT_GONE)
				b->failed = -ENODEV;
		for (int i = 0; i < n; i++)
			if (ready[i].fd == p->inotify)
				while (read(p->inotify, drop, sizeof(drop)) > 0)
					;
		/* What was written before the close still goes out. */
		while (p->open && pty_read(p))
			;
		if (!p->open || bridge_room(b))
			pty_set_open(p, pty_is_open(p));
		if (p->open) {
			pty_look(p);
			pty_write(p);
			pty_rewatch(p);
		}
	}
	fprintf(stderr, "auriga export pty: %s; hanging up\n", bridge_why(b));
	return b->failed;
}

int export_pty(const char *target, int argc, char **argv)
{
	static const struct option options[] = { { "link", required_argument, NULL, 'l' },
						 { NULL, 0, NULL, 0 } };
	struct pty p = { .master = -1, .inotify = -1 };
	int opt, rc;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt != 'l')
			return -EINVAL;
		p.link = optarg;
	}
	if (!p.link || optind != argc) {
		fprintf(stderr, "usage: auriga export NAME pty --link PATH\n");
		return -EINVAL;
	}
	rc = bridge_open(&p.bridge, target);
	if (rc)
		return rc;
	rc = pty_make(&p);
	if (rc == 0)
		rc = pty_link(&p);
	if (rc == 0) {
		printf("%s is %s\n", p.link, au_unit_name(p.bridge.handle));
		fflush(stdout);
		rc = pty_run(&p);
		pty_unlink(&p);
	}
	if (p.master >= 0)
		close(p.master);
	if (p.inotify >= 0)
		close(p.inotify);
	bridge_close(&p.bridge);
	return rc;
}
