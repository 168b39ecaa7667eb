/* SPDX-License-Identifier: MIT */
#include "../kin-a/own.h"
