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

#endif
