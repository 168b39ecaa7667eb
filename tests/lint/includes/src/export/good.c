/* SPDX-License-Identifier: MIT */
#include <auriga/auriga.h>
#include <stdio.h>
