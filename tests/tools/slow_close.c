/* SPDX-License-Identifier: MIT */
/*
 * To be loaded into a manager (LD_PRELOAD): closing a session with a device server, which is a
 * socket whose other end is below $SLOW_CLOSE, takes a second and a half, as a function of VFIO
 * takes a tenth. The file $SLOW_CLOSE/closed says that it was done.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

__attribute__((visibility("default"))) int close(int fd)
{
	const char *below = getenv("SLOW_CLOSE");
	struct sockaddr_un peer = { 0 };
	socklen_t length = sizeof(peer);
	char path[256];
	int out;

	if (below && getpeername(fd, (struct sockaddr *)&peer, &length) == 0 &&
	    peer.sun_family == AF_UNIX && !strncmp(peer.sun_path, below, strlen(below))) {
		usleep(1500000);
		snprintf(path, sizeof(path), "%s/closed", below);
		out = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
		if (out >= 0)
			syscall(SYS_close, out);
	}
	return (int)syscall(SYS_close, fd);
}
