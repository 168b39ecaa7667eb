/* SPDX-License-Identifier: MIT */
#include "../kin/kin.h"
