/* SPDX-License-Identifier: MIT */
/* What there is of something for each user. */
#include "manager/manager.h"

#include <sys/socket.h>
#include <unistd.h>

pid_t mgr_peer_pid(int fd)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) ? 0 : peer.pid;
}

uid_t mgr_peer(int fd)
{
	struct ucred cred;
	socklen_t size = sizeof(cred);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) ? (uid_t)-1 : cred.uid;
}

bool mgr_share(uid_t uid, size_t has, size_t left)
{
	return has <= left || uid == 0 || uid == geteuid();
}
