/* SPDX-License-Identifier: MIT */
#include "base/gone.h"
