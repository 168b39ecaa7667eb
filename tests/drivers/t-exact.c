/* SPDX-License-Identifier: MIT */
/* The driver for NVMe controllers, as one that names the lab's own, and no other. */
#include <auriga/driver.h>

#undef AU_NAME
#define AU_NAME(n) "name t-exact\n"
#undef AU_MATCH_PCI_CLASS
#define AU_MATCH_PCI_CLASS(c) AU_MATCH_PCI(0x4155, 0x0001)
#include "../../drivers/nvme/nvme.c"
