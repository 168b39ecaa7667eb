/* SPDX-License-Identifier: MIT */
#include <auriga/driver.h>
#include "bus/pci.h"
