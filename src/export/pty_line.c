/* SPDX-License-Identifier: MIT */
/* termios2, which alone carries any baud rate, lives in a kernel header that cannot meet
 * <termios.h>. */
#include "export/pty_line.h"

#include <asm/termbits.h>
#include <errno.h>
#include <sys/ioctl.h>

#ifndef TCGETS2
#define TCGETS2 _IOR('T', 0x2A, struct termios2)
#endif

int pty_line_get(int fd, struct au_serial_line *line, bool *hangup)
{
	struct termios2 t;

	if (ioctl(fd, TCGETS2, &t) != 0)
		return -errno;
	*line = (struct au_serial_line){ .size = sizeof(*line), .abi = 1, .baud = t.c_ospeed };
	switch (t.c_cflag & CSIZE) {
	case CS5:
		line->data_bits = 5;
		break;
	case CS6:
		line->data_bits = 6;
		break;
	case CS7:
		line->data_bits = 7;
		break;
	default:
		line->data_bits = 8;
		break;
	}
	if (t.c_cflag & PARENB) {
		if (t.c_cflag & CMSPAR)
			line->parity = t.c_cflag & PARODD ? AU_PARITY_MARK : AU_PARITY_SPACE;
		else
			line->parity = t.c_cflag & PARODD ? AU_PARITY_ODD : AU_PARITY_EVEN;
	}
	line->stop_bits = t.c_cflag & CSTOPB ? 2 : 1;
	if (t.c_cflag & CRTSCTS)
		line->flow |= AU_FLOW_RTSCTS;
	/* One way alone is done well enough by the pty's own line discipline. */
	if ((t.c_iflag & IXON) && (t.c_iflag & IXOFF))
		line->flow |= AU_FLOW_XONXOFF;
	*hangup = (t.c_cflag & CBAUD) == B0;
	return 0;
}
