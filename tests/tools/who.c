/* SPDX-License-Identifier: MIT */
/* who: 77 when it runs as root; set-uid in a test. */
#include <unistd.h>

int main(void)
{
	return geteuid() == 0 ? 77 : 0;
}
