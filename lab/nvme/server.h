/* SPDX-License-Identifier: MIT */
/* server.h: the sockets around a controller, and the loop that does everything. */
#ifndef LAB_NVME_SERVER_H
#define LAB_NVME_SERVER_H

#include "session.h"

#define SERVER_WAITING 8 /* who was refused and has not said anything yet */
#define SERVER_LINE    512

struct nvme_server {
	struct nvme *nvme;
	const char *path, *control;
	bool always; /* never sleep while there are queues */
	bool stop;
	int epfd;
	struct lab_source listen, signals, control_listen, control_client;
	struct nvme_session session;
	struct lab_source refused[SERVER_WAITING];
	unsigned int next_refused;
	char line[SERVER_LINE];
	size_t line_length;
};

/** nvme_serve - serve until SIGINT or SIGTERM. Return: 0, or a negative errno after a message. */
int nvme_serve(struct nvme_server *server);

/* control.c */

/** nvme_control_listen - serve the control socket, if one is wanted. */
int nvme_control_listen(struct nvme_server *server);

/** nvme_listen_on - a listening stream socket at @path, for the user only; or a negative errno. */
int nvme_listen_on(const char *path);

#endif
