/* SPDX-License-Identifier: MIT */
#include "../one/regs.h"
