/* SPDX-License-Identifier: MIT */
#include "bus/pci.h"
