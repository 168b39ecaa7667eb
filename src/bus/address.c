/* SPDX-License-Identifier: MIT */
/* Addresses of devices, and the way from an address to a transport. */
#include "bus/address.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SAY(...) snprintf(error, error_size, __VA_ARGS__)

static int address_socket(const char *text, const char *path, struct au_bus_address *address,
			  char *error, size_t error_size)
{
	size_t length = strlen(path);

	if (length == 0) {
		SAY("%s: no path: write the socket after the colon", text);
		return -EINVAL;
	}
	if (length >= sizeof(address->path)) {
		SAY("%.40s...: a socket's path has at most %zu bytes, this one has %zu", text,
		    sizeof(address->path) - 1, length);
		return -EINVAL;
	}
	/* It goes into messages of one line. */
	for (const char *c = path; *c; c++) {
		if (iscntrl((unsigned char)*c)) {
			SAY("%.*s: the socket's path has control characters: rename it",
			    (int)(path - text), text);
			return -EINVAL;
		}
	}
	memcpy(address->path, path, length + 1);
	return 0;
}

static int address_pci(const char *text, const char *bdf, struct au_bus_address *address,
		       char *error, size_t error_size)
{
	static const char form[] = "xxxx:xx:xx.x";
	size_t i = 0;

	while (form[i] && (form[i] == 'x' ? isxdigit((unsigned char)bdf[i]) : bdf[i] == form[i]))
		i++;
	if (form[i] || bdf[i] || bdf[11] > '7' || bdf[8] > '1') {
		SAY("%.60s: not a PCI address: write it as vfio:0000:01:00.0", text);
		return -EINVAL;
	}
	for (i = 0; bdf[i]; i++)
		address->path[i] = (char)tolower((unsigned char)bdf[i]);
	return 0;
}

int au_bus_address_parse(const char *text, struct au_bus_address *address, char *error,
			 size_t error_size)
{
	const char *rest = strchr(text, ':');

	memset(address, 0, sizeof(*address));
	if (strcmp(text, "virtual") == 0) {
		address->kind = AU_BUS_VIRTUAL;
		return 0;
	}
	if (rest && strncmp(text, "vfio-user:", 10) == 0) {
		address->kind = AU_BUS_VFIO_USER;
		return address_socket(text, rest + 1, address, error, error_size);
	}
	if (rest && strncmp(text, "vfio:", 5) == 0) {
		address->kind = AU_BUS_VFIO;
		return address_pci(text, rest + 1, address, error, error_size);
	}
	if (rest && strncmp(text, "vhost-user:", 11) == 0) {
		address->kind = AU_BUS_VHOST_USER;
		return address_socket(text, rest + 1, address, error, error_size);
	}
	SAY("%.60s: not an address: write vfio-user:PATH, vfio:0000:01:00.0, vhost-user:PATH "
	    "or virtual",
	    text);
	return -EINVAL;
}

int au_bus_open(const char *address, int timeout_ms, struct au_bus_session *session,
		int fds[AU_BUS_FDS], char *error, size_t error_size)
{
	struct au_bus_address parsed;
	int err = au_bus_address_parse(address, &parsed, error, error_size);

	for (unsigned int i = 0; i < AU_BUS_FDS; i++)
		fds[i] = -1;
	if (err)
		return err;
	/* A transport that comes later gets its line here and in au_bus_adopt(). */
	if (parsed.kind == AU_BUS_VFIO)
		return au_vfio_open(parsed.path, session, fds, error, error_size);
	if (parsed.kind == AU_BUS_VFIO_USER || parsed.kind == AU_BUS_VHOST_USER) {
		fds[0] = (parsed.kind == AU_BUS_VFIO_USER ? au_vfu_open : au_vhost_open)(
			parsed.path, timeout_ms, session, error, error_size);
		err = fds[0] < 0 ? fds[0] : 0;
		fds[0] = fds[0] < 0 ? -1 : fds[0];
		return err;
	}
	SAY("%s: there is nothing to open below a virtual device", address);
	return -EINVAL;
}

int au_bus_adopt(int fds[AU_BUS_FDS], const struct au_bus_session *session, const char *address,
		 struct au_bus **bus)
{
	int fd = fds[0];

	if (session->size >= sizeof(*session) && session->transport == AU_BUS_VFIO)
		return au_vfio_adopt(fds, session, address, bus);
	if (session->size >= sizeof(*session) &&
	    (session->transport == AU_BUS_VFIO_USER || session->transport == AU_BUS_VHOST_USER)) {
		fds[0] = -1;
		au_bus_fds_close(fds);
		return session->transport == AU_BUS_VFIO_USER
			       ? au_vfu_adopt(fd, session, address, bus)
			       : au_vhost_adopt(fd, session, address, bus);
	}
	au_bus_fds_close(fds);
	return -EINVAL;
}

void au_bus_fds_close(int fds[AU_BUS_FDS])
{
	for (unsigned int i = 0; i < AU_BUS_FDS; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
		fds[i] = -1;
	}
}
