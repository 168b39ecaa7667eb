/* SPDX-License-Identifier: MIT */
#include <auriga/driver.h>
#include <stdint.h>
#include "regs.h"
