/* SPDX-License-Identifier: MIT */
#include <auriga/driver.h>
#include <stdio.h>
