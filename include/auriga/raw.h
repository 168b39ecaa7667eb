/* SPDX-License-Identifier: MIT */
/**
 * DOC: The raw class
 *
 * For a device that no class fits, and for measuring: operations and operands are the driver's
 * own, requests reach it as they are. An operation below AU_RAW_FIRST is refused.
 */
#ifndef AURIGA_RAW_H
#define AURIGA_RAW_H

#include <stdint.h>

/** AU_RAW_FIRST - the first operation number that is the driver's. */
#define AU_RAW_FIRST 16

/*
 * Which way the data of an operation go: bits of its number. Without either they go both ways: to
 * the driver at submit, and back at completion, as many bytes as the result says.
 */
#define AU_RAW_READ  0x8000 /* only from the driver to the application */
#define AU_RAW_WRITE 0x4000 /* only from the application to the driver */

#endif
