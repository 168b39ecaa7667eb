/* SPDX-License-Identifier: MIT */
/*
 * Say something on a serial port and print what comes back within a second of silence.
 *
 *	serial-say serial0 "hello"
 *	serial-say inproc:serial-loop "hello"
 *	serial-say inproc:uart16550,address=vfio-user:/run/uart.sock "hello"
 */
#include <auriga/auriga.h>
#include <auriga/serial.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define SILENCE_MS 1000

int main(int argc, char **argv)
{
	struct au_handle *port;
	char buf[4096];
	int64_t n;

	if (argc != 3) {
		fprintf(stderr, "usage: serial-say UNIT TEXT\n");
		return 2;
	}
	if (au_open(argv[1], NULL, &port) != 0) {
		fprintf(stderr, "serial-say: %s\n", au_errmsg());
		return 1;
	}
	n = au_serial_send(port, argv[2], strlen(argv[2]), -1);
	while (n >= 0 && (n = au_serial_recv(port, buf, sizeof(buf), 1, SILENCE_MS)) > 0)
		fwrite(buf, 1, (size_t)n, stdout);
	printf("\n");
	if (n < 0 && n != -ETIMEDOUT) /* silence ends the answer */
		fprintf(stderr, "serial-say: %s\n", au_errmsg());
	au_close(port);
	return n < 0 && n != -ETIMEDOUT;
}
