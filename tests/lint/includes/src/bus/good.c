/* SPDX-License-Identifier: MIT */
#include "pci.h"
#include "base/log.h"
