/* SPDX-License-Identifier: MIT */
/** DOC: What operations are called, for people. */
#ifndef AU_BASE_OPERATION_H
#define AU_BASE_OPERATION_H

#include <stddef.h>
#include <stdint.h>

/** au_operation_name - "read" of class "block"; what has no name, as a raw unit's, is a number.
 * @cls: may be NULL. Return: @buf. */
const char *au_operation_name(const char *cls, uint16_t op, char *buf, size_t size);

#endif
