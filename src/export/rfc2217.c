/* SPDX-License-Identifier: MIT */
/*
 * A serial unit over TCP by RFC 2217 (telnet with the COM-PORT-OPTION): data, line settings, modem
 * lines and break, both ways. One client at a time, as a port has one wire.
 */
#include "export/export.h"
#include "export/telnet.h"

#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* Telnet options: RFC 856, 857, 858, 2217. */
enum { OPT_BINARY = 0, OPT_ECHO = 1, OPT_SGA = 3, OPT_COM_PORT = 44 };

/* RFC 2217, section 3: commands of the client; the answer is the number plus 100. */
enum {
	COM_SIGNATURE = 0,
	COM_BAUDRATE = 1,
	COM_DATASIZE = 2,
	COM_PARITY = 3,
	COM_STOPSIZE = 4,
	COM_CONTROL = 5,
	COM_LINESTATE = 6,
	COM_MODEMSTATE = 7,
	COM_SUSPEND = 8,
	COM_RESUME = 9,
	COM_LINESTATE_MASK = 10,
	COM_MODEMSTATE_MASK = 11,
	COM_PURGE = 12,
	COM_SERVER = 100,
};

/* SET-CONTROL values. */
enum {
	CTL_FLOW_ASK = 0,
	CTL_FLOW_NONE = 1,
	CTL_FLOW_XONXOFF = 2,
	CTL_FLOW_RTSCTS = 3,
	CTL_BREAK_ASK = 4,
	CTL_BREAK_ON = 5,
	CTL_BREAK_OFF = 6,
	CTL_DTR_ASK = 7,
	CTL_DTR_ON = 8,
	CTL_DTR_OFF = 9,
	CTL_RTS_ASK = 10,
	CTL_RTS_ON = 11,
	CTL_RTS_OFF = 12,
	CTL_INFLOW_ASK = 13,
	CTL_INFLOW_NONE = 14,
	CTL_INFLOW_XONXOFF = 15,
	CTL_INFLOW_RTSCTS = 16,
};

/* NOTIFY-LINESTATE: as a 16550's line status, where AU_RX_* have their places from. */
#define LINESTATE_MASK (AU_RX_OVERRUN | AU_RX_PARITY | AU_RX_FRAMING | AU_RX_BREAK)

#define OUT_MAX \
	(64 * 1024) /* unsent answers and data; a client that lets them pile up is dropped */
#define OUT_HIGH (16 * 1024) /* beyond this the unit is held */

struct rfc2217 {
	struct bridge bridge;
	struct telnet telnet;
	int listener;
	int client;
	bool suspended; /* the client asked us to hold data */
	bool brk;
	bool we[256], they[256]; /* options in force: ours, theirs */
	uint8_t line_mask, modem_mask;
	uint32_t modem; /* as last told, MSR layout with deltas in the low half */
	struct au_serial_line line;
	uint8_t out[OUT_MAX];
	size_t out_length;
	bool overrun; /* something did not fit: what follows would make no sense */
};

static void com_put(struct rfc2217 *r, const uint8_t *data, size_t length)
{
	if (length > sizeof(r->out) - r->out_length) {
		r->overrun = true; /* com_flush() gives it up */
		return;
	}
	/* cppcheck-suppress uninitvar ; compound literals are initialised */
	memcpy(r->out + r->out_length, data, length);
	r->out_length += length;
}

static void com_option(struct rfc2217 *r, uint8_t verb, uint8_t option)
{
	com_put(r, (const uint8_t[]){ TELNET_IAC, verb, option }, 3);
}

static void com_answer(struct rfc2217 *r, uint8_t command, const void *data, size_t length)
{
	const uint8_t head[] = { TELNET_IAC, TELNET_SB, OPT_COM_PORT,
				 (uint8_t)(command + COM_SERVER) };
	uint8_t body[2 * 64];

	com_put(r, head, sizeof(head));
	com_put(r, body, telnet_escape(data, length, body));
	com_put(r, (const uint8_t[]){ TELNET_IAC, TELNET_SE }, 2);
}

static void com_answer8(struct rfc2217 *r, uint8_t command, uint32_t value)
{
	com_answer(r, command, &(uint8_t){ (uint8_t)value }, 1);
}

/* Each side says WILL and DO once; an answer to an answer would never end. */
static void com_negotiate(void *context, uint8_t verb, uint8_t option)
{
	struct rfc2217 *r = context;
	bool known = option == OPT_BINARY || option == OPT_SGA || option == OPT_COM_PORT;

	switch (verb) {
	case TELNET_DO:
		if ((known || option == OPT_ECHO) && !r->we[option]) {
			r->we[option] = true;
			com_option(r, TELNET_WILL, option);
		} else if (!known && option != OPT_ECHO) {
			com_option(r, TELNET_WONT, option);
		}
		break;
	case TELNET_WILL:
		if (known && !r->they[option]) {
			r->they[option] = true;
			com_option(r, TELNET_DO, option);
		} else if (!known) {
			com_option(r, TELNET_DONT, option);
		}
		break;
	case TELNET_DONT:
		if (r->we[option])
			com_option(r, TELNET_WONT, option);
		r->we[option] = false;
		break;
	default:
		if (r->they[option])
			com_option(r, TELNET_DONT, option);
		r->they[option] = false;
		break;
	}
}

static void com_set_line(struct rfc2217 *r, const struct au_serial_line *line)
{
	int rc = au_serial_set_line(r->bridge.handle, line);

	if (rc == 0)
		r->line = *line;
	else if (rc != -EINVAL && !r->bridge.failed)
		r->bridge.failed =
			rc; /* an EINVAL is answered with the value that stays in force */
}

static void com_modem(struct rfc2217 *r, bool always)
{
	uint32_t lines = 0, changed;

	if (au_serial_get_modem(r->bridge.handle, &lines) != 0)
		return;
	lines &= AU_MODEM_INPUTS;
	changed = (lines ^ r->modem) & AU_MODEM_INPUTS;
	r->modem = lines;
	if (always || (changed & r->modem_mask) || ((changed >> 4) & r->modem_mask))
		com_answer8(r, COM_MODEMSTATE, lines | changed >> 4);
}

static uint32_t com_outputs(struct rfc2217 *r)
{
	uint32_t lines = 0;

	au_serial_get_modem(r->bridge.handle, &lines);
	return lines;
}

static void com_output(struct rfc2217 *r, uint32_t line, bool on)
{
	int rc = au_serial_set_modem(r->bridge.handle, line, on ? line : 0);

	if (rc && !r->bridge.failed)
		r->bridge.failed = rc;
}

static void com_flow(struct rfc2217 *r, uint8_t flow)
{
	struct au_serial_line line = r->line;

	line.flow = flow;
	com_set_line(r, &line);
}

static void com_control(struct rfc2217 *r, uint8_t value)
{
	switch (value) {
	case CTL_FLOW_NONE:
	case CTL_INFLOW_NONE:
		com_flow(r, 0);
		break;
	case CTL_FLOW_XONXOFF:
	case CTL_INFLOW_XONXOFF:
		com_flow(r, AU_FLOW_XONXOFF);
		break;
	case CTL_FLOW_RTSCTS:
	case CTL_INFLOW_RTSCTS:
		com_flow(r, AU_FLOW_RTSCTS);
		break;
	case CTL_BREAK_ON:
	case CTL_BREAK_OFF:
		if (au_serial_set_break(r->bridge.handle, value == CTL_BREAK_ON) == 0)
			r->brk = value == CTL_BREAK_ON;
		break;
	case CTL_DTR_ON:
	case CTL_DTR_OFF:
		com_output(r, AU_MODEM_DTR, value == CTL_DTR_ON);
		break;
	case CTL_RTS_ON:
	case CTL_RTS_OFF:
		com_output(r, AU_MODEM_RTS, value == CTL_RTS_ON);
		break;
	default:
		break;
	}

	/* The answer says what is in force now, whatever was asked. */
	if (value <= CTL_FLOW_RTSCTS)
		value = r->line.flow & AU_FLOW_RTSCTS	 ? CTL_FLOW_RTSCTS
			: r->line.flow & AU_FLOW_XONXOFF ? CTL_FLOW_XONXOFF
							 : CTL_FLOW_NONE;
	else if (value <= CTL_BREAK_OFF)
		value = r->brk ? CTL_BREAK_ON : CTL_BREAK_OFF;
	else if (value <= CTL_DTR_OFF)
		value = com_outputs(r) & AU_MODEM_DTR ? CTL_DTR_ON : CTL_DTR_OFF;
	else if (value <= CTL_RTS_OFF)
		value = com_outputs(r) & AU_MODEM_RTS ? CTL_RTS_ON : CTL_RTS_OFF;
	else if (value <= CTL_INFLOW_RTSCTS)
		value = r->line.flow & AU_FLOW_RTSCTS	 ? CTL_INFLOW_RTSCTS
			: r->line.flow & AU_FLOW_XONXOFF ? CTL_INFLOW_XONXOFF
							 : CTL_INFLOW_NONE;
	com_answer8(r, COM_CONTROL, value);
}

static void com_sub(void *context, const uint8_t *data, size_t length)
{
	static const uint8_t parities = AU_PARITY_SPACE + 1; /* numbered alike, from 1 */
	struct rfc2217 *r = context;
	struct au_serial_line line = r->line;
	uint8_t value = length > 2 ? data[2] : 0;

	if (length < 2 || data[0] != OPT_COM_PORT)
		return;
	switch (data[1]) {
	case COM_SIGNATURE:
		if (length == 2)
			com_answer(r, COM_SIGNATURE, "Auriga", 6);
		break;
	case COM_BAUDRATE:
		if (length < 6)
			break;
		line.baud = (uint32_t)data[2] << 24 | (uint32_t)data[3] << 16 |
			    (uint32_t)data[4] << 8 | data[5];
		if (line.baud)
			com_set_line(r, &line);
		line.baud = htonl(r->line.baud);
		com_answer(r, COM_BAUDRATE, &line.baud, sizeof(line.baud));
		break;
	case COM_DATASIZE:
		line.data_bits = value;
		if (value)
			com_set_line(r, &line);
		com_answer8(r, COM_DATASIZE, r->line.data_bits);
		break;
	case COM_PARITY:
		line.parity = (uint8_t)(value - 1);
		if (value && value <= parities)
			com_set_line(r, &line);
		com_answer8(r, COM_PARITY, r->line.parity + 1u);
		break;
	case COM_STOPSIZE: /* 3: one and a half, which 5 data bits make of 2 */
		line.stop_bits = value == 3 ? 2 : value;
		if (value)
			com_set_line(r, &line);
		com_answer8(r, COM_STOPSIZE, r->line.stop_bits);
		break;
	case COM_CONTROL:
		com_control(r, value);
		break;
	case COM_SUSPEND:
		r->suspended = true;
		break;
	case COM_RESUME:
		r->suspended = false;
		break;
	case COM_LINESTATE_MASK:
		r->line_mask = value;
		com_answer8(r, COM_LINESTATE_MASK, value);
		break;
	case COM_MODEMSTATE_MASK:
		r->modem_mask = value;
		com_answer8(r, COM_MODEMSTATE_MASK, value);
		com_modem(r, true);
		break;
	case COM_PURGE:
		if (value >= 1 && value <= 3)
			au_serial_purge(r->bridge.handle, value);
		com_answer8(r, COM_PURGE, value);
		break;
	default:
		break; /* an unknown command has no answer */
	}
}

static void com_events(struct rfc2217 *r)
{
	struct au_event event;
	uint32_t state = 0;

	while (au_event_next(r->bridge.handle, &event) == 1) {
		if (event.kind == AU_EVENT_GONE)
			r->bridge.failed = -ENODEV;
		else if (event.kind == AU_SERIAL_EVENT_MODEM && r->client >= 0)
			com_modem(r, false);
		else if (event.kind == AU_SERIAL_EVENT_OVERRUN)
			state |= AU_RX_OVERRUN;
		else if (event.kind == AU_SERIAL_EVENT_PARITY)
			state |= AU_RX_PARITY;
		else if (event.kind == AU_SERIAL_EVENT_FRAMING)
			state |= AU_RX_FRAMING;
		else if (event.kind == AU_SERIAL_EVENT_BREAK)
			state |= AU_RX_BREAK;
	}
	if (r->client >= 0 && (state & r->line_mask & LINESTATE_MASK))
		com_answer8(r, COM_LINESTATE, state & r->line_mask & LINESTATE_MASK);
}

static void com_drop(struct rfc2217 *r, const char *why)
{
	fprintf(stderr, "auriga export rfc2217: client left: %s\n", why);
	bridge_watch(&r->bridge, r->client, 0);
	close(r->client);
	r->client = -1;
	bridge_receive(&r->bridge, false);
	if (r->brk)
		au_serial_set_break(r->bridge.handle, false);
	r->brk = false;
	au_serial_set_modem(r->bridge.handle, AU_MODEM_OUTPUTS, 0);
}

static void com_accept(struct rfc2217 *r)
{
	static const char busy[] = "this port is in use by another client\r\n";
	int fd = accept4(r->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	if (r->client >= 0) {
		if (send(fd, busy, sizeof(busy) - 1, MSG_NOSIGNAL) < 0)
			fprintf(stderr, "auriga export rfc2217: %s\n", strerror(errno));
		close(fd);
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	r->client = fd;
	r->out_length = 0;
	r->overrun = false;
	r->suspended = false;
	r->line_mask = 0;
	r->modem_mask = 0xff; /* RFC 2217: the default is to tell every change */
	memset(r->we, 0, sizeof(r->we));
	memset(r->they, 0, sizeof(r->they));
	r->telnet = (struct telnet){ .option = com_negotiate, .sub = com_sub, .context = r };
	au_serial_purge(r->bridge.handle, 1);
	r->line.size = sizeof(r->line);
	r->line.abi = 1;
	au_serial_get_line(r->bridge.handle, &r->line);
	au_serial_set_modem(r->bridge.handle, AU_MODEM_OUTPUTS, AU_MODEM_OUTPUTS);
	bridge_receive(&r->bridge, true);
	for (unsigned int i = 0; i < 3; i++) {
		static const uint8_t ours[] = { OPT_BINARY, OPT_SGA, OPT_COM_PORT };

		r->we[ours[i]] = r->they[ours[i]] = true;
		com_option(r, TELNET_WILL, ours[i]);
		com_option(r, TELNET_DO, ours[i]);
	}
}

static void com_read(struct rfc2217 *r)
{
	uint8_t buf[BRIDGE_CHUNK];
	size_t n;

	while (r->client >= 0 && bridge_room(&r->bridge)) {
		ssize_t got = recv(r->client, buf, sizeof(buf), 0);

		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (got <= 0) {
			com_drop(r, got == 0 ? "closed" : strerror(errno));
			return;
		}
		n = telnet_parse(&r->telnet, buf, (size_t)got, buf);
		if (n)
			bridge_send(&r->bridge, buf, n);
	}
}

static void com_flush(struct rfc2217 *r)
{
	if (r->client >= 0 && r->overrun)
		com_drop(r, "it does not read");
	while (r->client >= 0 && r->out_length) {
		ssize_t n = send(r->client, r->out, r->out_length, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN) {
			com_drop(r, strerror(errno));
			return;
		}
		if (n < 0)
			return;
		r->out_length -= (size_t)n;
		memmove(r->out, r->out + n, r->out_length);
	}
}

/* Received bytes to the client, while it reads and has not asked to hold them. */
static void com_forward(struct rfc2217 *r)
{
	struct bridge *b = &r->bridge;
	uint8_t escaped[2 * BRIDGE_CHUNK];

	while (r->client >= 0 && b->in_length && !r->suspended && r->out_length < OUT_HIGH) {
		com_put(r, escaped, telnet_escape(b->in + b->in_offset, b->in_length, escaped));
		b->in_length = 0;
		com_flush(r);
		bridge_poll(b);
	}
}

static int com_run(struct rfc2217 *r)
{
	struct bridge *b = &r->bridge;
	struct bridge_ready ready[8];

	while (!b->failed) {
		int n = bridge_wait(b, ready, 8, -1);

		if (n < 0)
			return 0;
		for (int i = 0; i < n; i++)
			if (ready[i].fd == r->listener)
				com_accept(r);
			else if (ready[i].fd == r->client && (ready[i].events & EPOLLERR))
				com_drop(r, "connection reset");
		com_read(r);
		com_events(r);
		com_forward(r);
		com_flush(r);
		if (r->client >= 0)
			bridge_watch(b, r->client,
				     (bridge_room(b) ? EPOLLIN : 0u) |
					     (r->out_length ? EPOLLOUT : 0u) | EPOLLERR);
	}
	fprintf(stderr, "auriga export rfc2217: %s\n", bridge_why(b));
	return b->failed;
}

/* "PORT", "HOST:PORT" or "[HOST]:PORT"; without a host the loopback, since there is no password. */
static int com_listen(struct rfc2217 *r, const char *address)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE }, *list, *ai;
	const char *colon = strrchr(address, ':'), *port = colon ? colon + 1 : address;
	char host[256] = "127.0.0.1", name[NI_MAXHOST], service[NI_MAXSERV];
	struct sockaddr_storage bound;
	socklen_t size = sizeof(bound);
	int rc;

	if (colon) {
		size_t n = (size_t)(colon - address);

		if (n >= 2 && address[0] == '[' && colon[-1] == ']') {
			address++;
			n -= 2;
		}
		if (n == 0 || n >= sizeof(host))
			n = (size_t)snprintf(host, sizeof(host), "127.0.0.1");
		else
			memcpy(host, address, n);
		host[n] = '\0';
	}
	/* getaddrinfo() takes a port modulo 65536. */
	if (strspn(port, "0123456789") == strlen(port) &&
	    (!*port || strlen(port) > 5 || atoi(port) > 65535)) {
		fprintf(stderr,
			"auriga export rfc2217: --listen %s: a port is a number from 0 (any) to "
			"65535\n",
			address);
		return -EINVAL;
	}
	rc = getaddrinfo(host, port, &hints, &list);
	if (rc) {
		fprintf(stderr, "auriga export rfc2217: --listen %s: %s; write HOST:PORT\n",
			address, gai_strerror(rc));
		return -EINVAL;
	}
	rc = -EADDRNOTAVAIL;
	for (ai = list; ai && rc; ai = ai->ai_next) {
		r->listener = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (r->listener < 0)
			continue;
		setsockopt(r->listener, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
		if (bind(r->listener, ai->ai_addr, ai->ai_addrlen) == 0 &&
		    listen(r->listener, 8) == 0) {
			rc = 0;
			break;
		}
		rc = -errno;
		close(r->listener);
		r->listener = -1;
	}
	freeaddrinfo(list);
	if (rc) {
		fprintf(stderr, "auriga export rfc2217: --listen %s: %s\n", address, strerror(-rc));
		return rc;
	}
	if (getsockname(r->listener, (struct sockaddr *)&bound, &size) == 0 &&
	    getnameinfo((struct sockaddr *)&bound, size, name, sizeof(name), service,
			sizeof(service), NI_NUMERICHOST | NI_NUMERICSERV) == 0)
		printf("rfc2217://%s:%s is %s\n", name, service, au_unit_name(r->bridge.handle));
	fflush(stdout);
	return bridge_watch(&r->bridge, r->listener, EPOLLIN);
}

int export_rfc2217(const char *target, int argc, char **argv)
{
	static const struct option options[] = { { "listen", required_argument, NULL, 'l' },
						 { NULL, 0, NULL, 0 } };
	const char *address = NULL;
	struct rfc2217 *r;
	int opt, rc;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt != 'l')
			return -EINVAL;
		address = optarg;
	}
	if (!address || optind != argc) {
		fprintf(stderr, "usage: auriga export NAME rfc2217 --listen [HOST:]PORT\n");
		return -EINVAL;
	}
	r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->listener = r->client = -1;
	rc = bridge_open(&r->bridge, target);
	if (rc == 0) {
		rc = com_listen(r, address);
		if (rc == 0)
			rc = com_run(r);
		if (r->client >= 0)
			close(r->client);
		if (r->listener >= 0)
			close(r->listener);
		bridge_close(&r->bridge);
	}
	free(r);
	return rc;
}
