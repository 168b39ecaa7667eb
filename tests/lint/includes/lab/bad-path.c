/* SPDX-License-Identifier: MIT */
#include "../src/bus/pci.h"
