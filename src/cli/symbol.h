/* SPDX-License-Identifier: MIT */
#ifndef AU_CLI_SYMBOL_H
#define AU_CLI_SYMBOL_H

#include <stddef.h>
#include <stdint.h>

/**
 * symbol_name - name an address in a module: "port_send+0x12 (uart16550.c:61)".
 * @module: the file; @build_id: what the dead process had loaded, in hex: another file under that
 * name is not looked into.
 * @address: as the file was linked.
 * Return: @buf; "?" when there is nothing to say.
 */
const char *symbol_name(const char *module, const char *build_id, uint64_t address, char *buf,
			size_t size);

#endif
