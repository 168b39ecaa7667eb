/* SPDX-License-Identifier: MIT */
/*
 * pair_loop.h - the client's and the server's loop over one kind of rings. To be included by a file
 * that has defined PAIR_RINGS (a struct type) and these inline functions:
 *
 *	bool pair_send(PAIR_RINGS *, uint64_t handle)	write a request; false if full
 *	void pair_send_flush(PAIR_RINGS *)		publish what was sent
 *	bool pair_receive(PAIR_RINGS *, uint64_t handle, bool *broken)
 *							take the answer to that handle; false if
 *none void pair_receive_done(PAIR_RINGS *)		give answers back bool pair_serve(PAIR_RINGS
 **)			take a request and answer it; false if none void pair_serve_done(PAIR_RINGS
 **)		publish answers, give requests back
 *
 * It defines pair_client() and pair_server() for struct pair.
 */

/* The loops work on copies of the rings' private state, which the compiler keeps in registers. */

static void pair_client(struct pair *pair)
{
	PAIR_RINGS local = *(PAIR_RINGS *)pair->rings, *rings = &local;
	double start = pair_now();
	uint64_t sent = 0, received = 0, check = 4096;
	bool broken = false;

	for (;;) {
		unsigned room = pair->outstanding - (unsigned)(sent - received);
		unsigned n;

		if (room > PAIR_BATCH)
			room = PAIR_BATCH;
		for (n = 0; n < room && pair_send(rings, sent); n++)
			sent++;
		if (n)
			pair_send_flush(rings);
		for (n = 0; n < PAIR_BATCH && pair_receive(rings, received, &broken); n++)
			received++;
		if (n)
			pair_receive_done(rings);
		else
			pair_pause();
		if (received < check)
			continue;
		check = received + 4096;
		pair->elapsed = pair_now() - start;
		if (pair->elapsed >= pair->seconds)
			break;
	}
	pair->requests = received;
	if (broken)
		__atomic_store_n(&pair->broken, true, __ATOMIC_RELAXED);
}

static void pair_server(struct pair *pair)
{
	PAIR_RINGS local = *(PAIR_RINGS *)pair->rings, *rings = &local;

	for (;;) {
		unsigned n;

		for (n = 0; n < PAIR_BATCH && pair_serve(rings); n++)
			;
		if (n) {
			pair_serve_done(rings);
			continue;
		}
		if (__atomic_load_n(&pair->stop, __ATOMIC_ACQUIRE))
			break;
		pair_pause();
	}
}
