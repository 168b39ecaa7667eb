/* SPDX-License-Identifier: MIT */
#include "framework/queue.h"
