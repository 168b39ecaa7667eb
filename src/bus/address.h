/* SPDX-License-Identifier: MIT */
/**
 * DOC: How people write where a device is
 *
 * vfio-user:PATH, vfio:0000:01:00.0, vhost-user:PATH, virtual.
 */
#ifndef AU_BUS_ADDRESS_H
#define AU_BUS_ADDRESS_H

#include "bus/bus.h"

/**
 * struct au_bus_address - an address, taken apart.
 * @kind: which transport.
 * @path: the socket (vfio-user, vhost-user), the PCI address as DDDD:BB:DD.F (vfio), or empty.
 */
struct au_bus_address {
	enum au_bus_kind kind;
	char path[108];
};

/**
 * au_bus_address_parse - take @text apart.
 * @error: one line on failure, @error_size bytes.
 * Return: 0; -EINVAL: it is not an address; -ENOTSUP: it is, but of a transport that is not there
 * yet (@address is filled in all the same).
 */
int au_bus_address_parse(const char *text, struct au_bus_address *address, char *error,
			 size_t error_size);

#endif
