/* SPDX-License-Identifier: MIT */
/* Failpoints. Nobody arms them but tests. */
#include "base/failpoint.h"

uint8_t au_failpoint_armed;
void (*au_failpoint_fn)(enum au_failpoint point);
