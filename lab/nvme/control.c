/* SPDX-License-Identifier: MIT */
/*
 * control.c: the control socket: one line asks, one line of JSON answers.
 *
 *	stats			{"commands": {...}, ...}
 *	a fault's specification	{"ok": true} or {"error": "why"}
 *
 * One client at a time; the next one takes its place.
 */
#include "server.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

static void add(json_t *object, const char *name, uint64_t value)
{
	json_object_set_new(object, name, json_integer((json_int_t)value));
}

static json_t *commands(bool admin, const uint64_t *counts)
{
	json_t *object = json_object();
	char number[8];

	for (unsigned int i = 0; i < 256; i++) {
		const char *name = nvme_opcode_name(admin, (uint8_t)i);

		if (!counts[i])
			continue;
		snprintf(number, sizeof(number), "0x%02x", i);
		add(object, name ? name : number, counts[i]);
	}
	return object;
}

static json_t *stats(const struct nvme *nvme)
{
	const struct nvme_stats *s = &nvme->stats;
	json_t *object = json_object(), *faults = json_object();

	json_object_set_new(object, "io", commands(false, s->io));
	json_object_set_new(object, "admin", commands(true, s->admin));
	add(object, "doorbell_messages", s->doorbells);
	add(object, "interrupts", s->interrupts);
	add(object, "stray_dma", s->stray);
	add(object, "late_suppressed", s->late_suppressed);
	add(object, "clients", s->clients);
	add(object, "refused", s->refused);
	add(object, "resets", s->resets);
	add(object, "dma_maps", nvme->dma.count);
	add(object, "held", nvme->num_held);
	for (unsigned int i = 0; i < NVME_FAULT_KINDS; i++)
		if (s->faults[i])
			add(faults, nvme_fault_names[i], s->faults[i]);
	json_object_set_new(object, "faults", faults);
	return object;
}

static void answer(struct nvme_server *server, const char *line)
{
	char why[256];
	json_t *object;
	char *text;

	if (strcmp(line, "stats") == 0)
		object = stats(server->nvme);
	else if (nvme_fault_spec(server->nvme, line, why, sizeof(why)) == 0)
		object = json_pack("{s:b}", "ok", 1);
	else
		object = json_pack("{s:s+}", "error", why, "");
	text = json_dumps(object ? object : json_false(), JSON_COMPACT);
	if (text) {
		(void)!send(server->control_client.fd, text, strlen(text),
			    MSG_NOSIGNAL | MSG_DONTWAIT | MSG_MORE);
		(void)!send(server->control_client.fd, "\n", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	}
	free(text);
	json_decref(object);
}

static void client_close(struct nvme_server *server)
{
	if (server->control_client.fd >= 0)
		close(server->control_client.fd);
	server->control_client.fd = -1;
	server->line_length = 0;
}

static void client_ready(struct lab_source *src, uint32_t events)
{
	struct nvme_server *server = lab_container_of(src, struct nvme_server, control_client);
	size_t room = sizeof(server->line) - server->line_length;
	ssize_t n;
	char *end;

	if (src->fd < 0)
		return;
	n = recv(src->fd, server->line + server->line_length, room, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		client_close(server);
		return;
	}
	server->line_length += (size_t)n;
	while ((end = memchr(server->line, '\n', server->line_length))) {
		*end++ = '\0';
		answer(server, server->line);
		server->line_length -= (size_t)(end - server->line);
		memmove(server->line, end, server->line_length);
	}
	if (server->line_length == sizeof(server->line))
		client_close(server);
}

static void control_ready(struct lab_source *src, uint32_t events)
{
	struct nvme_server *server = lab_container_of(src, struct nvme_server, control_listen);
	int fd = accept4(src->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return;
	client_close(server);
	server->control_client = (struct lab_source){ .fd = fd, .ready = client_ready };
	if (lab_watch(server->epfd, &server->control_client, EPOLLIN))
		client_close(server);
}

int nvme_control_listen(struct nvme_server *server)
{
	int fd;

	if (!server->control)
		return 0;
	fd = nvme_listen_on(server->control);
	if (fd < 0)
		return fd;
	server->control_listen = (struct lab_source){ .fd = fd, .ready = control_ready };
	return lab_watch(server->epfd, &server->control_listen, EPOLLIN);
}
