/* SPDX-License-Identifier: MIT */
/* What a status means to who asked. The status itself is kept beside it. */
#include "nvme.h"

static const struct {
	uint16_t status; /* type << 8 | code */
	uint8_t error;
	bool again; /* unless it says "do not retry" */
} meanings[] = {
	/* Generic command status [4.6.1.2.1] */
	{ 0x001, AU_ENOTSUP, false }, /* Invalid Command Opcode */
	{ 0x002, AU_EINVAL, false },  /* Invalid Field in Command */
	{ 0x004, AU_EIO, true },      /* Data Transfer Error */
	{ 0x005, AU_EIO, false },     /* Aborted: Power Loss Notification */
	{ 0x006, AU_EIO, true },      /* Internal Error */
	{ 0x007, AU_EIO, true },      /* Command Abort Requested */
	{ 0x008, AU_EIO, true },      /* Aborted: SQ Deletion */
	{ 0x00b, AU_ENODEV, false },  /* Invalid Namespace or Format */
	{ 0x013, AU_EINVAL, false },  /* PRP Offset Invalid */
	{ 0x015, AU_EPERM, false },   /* Operation Denied */
	{ 0x01d, AU_EBUSY, false },   /* Sanitize In Progress */
	{ 0x020, AU_EPERM, false },   /* Namespace is Write Protected */
	{ 0x021, AU_EIO, true },      /* Command Interrupted */
	/* ... of the NVM command set */
	{ 0x080, AU_EINVAL, false }, /* LBA Out of Range; writes: no space */
	{ 0x081, AU_ENOSPC, false }, /* Capacity Exceeded */
	{ 0x082, AU_EBUSY, true },   /* Namespace Not Ready */
	{ 0x083, AU_EBUSY, false },  /* Reservation Conflict */
	{ 0x084, AU_EBUSY, false },  /* Format In Progress */
	/* Command specific status [4.6.1.2.2] */
	{ 0x180, AU_EINVAL, false }, /* Conflicting Attributes */
	{ 0x182, AU_EPERM, false },  /* Attempted Write to Read Only Range */
	/* Media and data integrity errors [4.6.1.2.3] */
	{ 0x286, AU_EPERM, false },  /* Access Denied */
	{ 0x285, AU_EILSEQ, false }, /* Compare Failure */
	/* Path related status [4.6.1.2.4] */
	{ 0x300, AU_EIO, true }, /* Internal Path Error */
	{ 0x370, AU_EIO, true }, /* Host Pathing Error */
};

int nvme_status(uint16_t status, uint16_t op, bool *again)
{
	*again = false;
	status &= STATUS_CODE;
	if (status == 0x080 && op != AU_BLOCK_READ)
		return -AU_ENOSPC;
	for (unsigned int i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++) {
		if (meanings[i].status != status)
			continue;
		*again = meanings[i].again;
		return -(int)meanings[i].error;
	}
	return -AU_EIO;
}
