/* SPDX-License-Identifier: MIT */
/*
 * Two threads talk over a pair of rings in one memfd: requests one way, completions back, each end
 * randomly fast, slow or asleep on its eventfd.
 *
 *	ring_stress [honest|hostile] [--count N] [--seconds S] [--seed N]
 *
 * honest: every entry must arrive once, in order, whole, and no wake-up may be lost. Also built
 * with ThreadSanitizer. hostile: a third thread writes into slots, heads and sleeping flags all
 * the time; the ends must stay within their bounds (guard pages and canaries watch), and report.
 * Both demand that what they are for has happened: rings full, sleeps, doorbells, violations.
 *
 * The ends use two mappings of the memfd, as two processes do; under ThreadSanitizer they share
 * one, because it follows addresses.
 */
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "channel/ring.h"

#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif
#ifndef UNDER_TSAN
#define UNDER_TSAN 0
#endif

#define CANARY	      0xc5
#define LOST_AFTER_MS 20000

struct request {
	uint64_t number;
	uint64_t sum[6];
	uint32_t tail;
	uint32_t seq;
};

_Static_assert(sizeof(struct request) == AU_RING64, "one entry");

/* One ring, mapped once for the producer and once for the consumer, between guard pages. */
struct mapping {
	unsigned char *end[2];
	unsigned char *page[2];
	size_t bytes;
	size_t pages;
};

struct end {
	uint64_t random;
	unsigned pace;
	uint64_t sent, received, full, sleeps, doorbells, anomalies, violations;
};

struct stress {
	struct mapping requests, completions;
	uint32_t request_entries, completion_entries;
	int server_bell, client_bell;
	bool hostile;
	bool drowsy;	/* sleep whenever there is nothing; otherwise one time in eight */
	unsigned pause; /* of the hostile thread, at most, in turns of an empty loop */
	uint64_t total;
	bool stop;
	struct end client, server;
};

/* In one write: both ends may fail at once. */
#define die(format, ...)                                                     \
	do {                                                                 \
		fprintf(stderr, "ring_stress: " format "\n", ##__VA_ARGS__); \
		_exit(1);                                                    \
	} while (0)

static uint64_t next_random(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	*state = x;
	return x * 0x2545f4914f6cdd1dull;
}

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 31) * 0x9e3779b97f4a7c15ull;
	return x ^ x >> 29;
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* memory */

static unsigned char *map_between_guards(int fd, size_t pages)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	unsigned char *base =
		mmap(NULL, pages + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (base == MAP_FAILED || mmap(base + page, pages, PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
		die("mmap: %m");
	return base + page;
}

/* The ring ends where the mapping ends; what is left over in front of it holds canaries. */
static void map_ring(struct mapping *m, enum au_ring_shape shape, uint32_t entries)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	int fd = memfd_create("ring", MFD_CLOEXEC);

	m->bytes = au_ring_bytes(shape, entries);
	m->pages = (m->bytes + page - 1) / page * page;
	if (fd < 0 || ftruncate(fd, (off_t)m->pages) < 0)
		die("memfd: %m");
	m->page[0] = map_between_guards(fd, m->pages);
	m->page[1] = UNDER_TSAN ? m->page[0] : map_between_guards(fd, m->pages);
	m->end[0] = m->page[0] + m->pages - m->bytes;
	m->end[1] = m->page[1] + m->pages - m->bytes;
	close(fd);
}

static void unmap_ring(struct mapping *m)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	munmap(m->page[0] - page, m->pages + 2 * page);
	if (m->page[1] != m->page[0])
		munmap(m->page[1] - page, m->pages + 2 * page);
}

static void reset_ring(struct mapping *m)
{
	memset(m->page[0], CANARY, m->pages - m->bytes);
	memset(m->end[0], 0, m->bytes);
}

static void check_canaries(const struct mapping *m)
{
	for (size_t i = 0; i < m->pages - m->bytes; i++) {
		if (m->page[0][i] != CANARY)
			die("a byte before the ring was overwritten");
	}
}

/* the two ends */

/* Each end has moods: it hurries, or it is slow in one of several ways, for a while. */
static void dawdle(struct end *e)
{
	uint64_t r = next_random(&e->random);

	if (r % 997 == 0)
		e->pace = (unsigned)(r >> 32) % 4;
	if (e->pace == 0)
		return;
	if (e->pace == 1 && r % 8 == 0)
		sched_yield();
	if (e->pace == 2) {
		for (unsigned n = (unsigned)(r >> 40) % 512; n; n--)
			__asm__ volatile("");
	}
	if (e->pace == 3 && r % 512 == 0)
		usleep((unsigned)(r >> 40) % 200);
}

static bool stopped(struct stress *s)
{
	return __atomic_load_n(&s->stop, __ATOMIC_RELAXED);
}

static void ring_bell(struct end *e, int bell)
{
	uint64_t one = 1;

	e->doorbells++;
	if (write(bell, &one, sizeof(one)) < 0 && errno != EAGAIN)
		die("doorbell: %m");
}

/* True if the doorbell came. An honest sleep must end by one. */
static bool sleep_on(struct stress *s, struct end *e, int bell)
{
	struct pollfd p = { .fd = bell, .events = POLLIN };
	uint64_t count;

	e->sleeps++;
	if (poll(&p, 1, s->hostile ? 1 : LOST_AFTER_MS) < 0 && errno != EINTR)
		die("poll: %m");
	return read(bell, &count, sizeof(count)) == sizeof(count);
}

/* Count what a hostile peer did to us, and fail if the peer is honest. */
static void anomaly(struct stress *s, struct end *e, const char *what, uint64_t number)
{
	if (!s->hostile)
		die("%s at entry %llu", what, (unsigned long long)number);
	e->anomalies++;
}

static void fill_request(struct request *r, uint64_t number)
{
	r->number = number;
	for (unsigned i = 0; i < 6; i++)
		r->sum[i] = mix(number + i);
	r->tail = (uint32_t)mix(~number);
}

static void check_request(struct stress *s, const struct request *r)
{
	uint64_t want = s->server.received;

	if (r->number != want)
		anomaly(s, &s->server, r->number < want ? "duplicate request" : "lost request",
			want);
	for (unsigned i = 0; i < 6; i++) {
		if (r->sum[i] != mix(r->number + i)) {
			anomaly(s, &s->server, "torn request", want);
			return;
		}
	}
	if (r->tail != (uint32_t)mix(~r->number))
		anomaly(s, &s->server, "torn request", want);
}

static void check_completion(struct stress *s, const struct au_ring_completion *c)
{
	uint64_t want = s->client.received;
	uint64_t sum = mix(c->handle);

	if (c->handle != want)
		anomaly(s, &s->client,
			c->handle < want ? "duplicate completion" : "lost completion", want);
	if (c->result != (uint32_t)sum || c->err != (sum >> 32 & AU_RING_ERR_MASK) ||
	    c->status != (uint16_t)(sum >> 48))
		anomaly(s, &s->client, "torn completion", want);
}

/* A failed push: true if it is worth waiting. */
static bool push_failed(struct stress *s, struct end *e, const struct au_ring_producer *p)
{
	if (au_ring_error(p) == -EAGAIN) {
		e->full++;
		return true;
	}
	e->violations++;
	if (!s->hostile)
		die("an honest consumer's head was refused");
	__atomic_store_n(&s->stop, true, __ATOMIC_RELAXED);
	return false;
}

static void *run_client(void *arg)
{
	struct stress *s = arg;
	struct end *e = &s->client;
	struct au_ring_producer p;
	struct au_ring_consumer c;

	if (au_ring64_producer_init(&p, s->requests.end[0], s->request_entries) ||
	    au_ring16_consumer_init(&c, s->completions.end[1], s->completion_entries))
		die("cannot attach the client");
	while (e->received < s->total && !stopped(s)) {
		uint64_t r = next_random(&e->random);
		unsigned batch = (unsigned)r % (2 * s->request_entries);
		unsigned budget = (unsigned)(r >> 20) % (2 * s->completion_entries) + 1;
		uint64_t before = e->sent + e->received;

		for (; batch && e->sent < s->total; batch--) {
			struct request *slot = au_ring64_push(&p);

			if (!slot) {
				if (!push_failed(s, e, &p))
					return NULL;
				break;
			}
			fill_request(slot, e->sent++);
			au_ring64_publish(&p, slot);
			if (r >> 40 & 1)
				dawdle(e);
		}
		if (au_ring_flush(&p))
			ring_bell(e, s->server_bell);
		for (; budget; budget--) {
			struct au_ring_completion done;

			if (!au_ring16_pop(&c, &done))
				break;
			check_completion(s, &done);
			e->received++;
		}
		if (r >> 41 & 1)
			au_ring_release(&c);
		dawdle(e);
		if (e->sent + e->received != before || (e->sent == e->received && !s->hostile))
			continue;
		if (!s->drowsy && r >> 42 & 7)
			continue;
		if (au_ring16_arm(&c)) {
			if (!sleep_on(s, e, s->client_bell) && !s->hostile)
				die("the client waits in vain: %s",
				    au_ring16_ready(&c) ? "lost wake-up" : "nothing came");
			au_ring_disarm(&c);
		}
	}
	return NULL;
}

static bool answer(struct stress *s, struct au_ring_producer *p, uint64_t handle)
{
	struct end *e = &s->server;
	uint64_t sum = mix(handle);

	while (au_ring16_push(p, handle, (uint32_t)sum, (uint16_t)(sum >> 32 & AU_RING_ERR_MASK),
			      (uint16_t)(sum >> 48)) != 0) {
		if (!push_failed(s, e, p) || stopped(s))
			return false;
		if (au_ring_flush(p))
			ring_bell(e, s->client_bell);
		sched_yield();
	}
	e->sent++;
	return true;
}

static void *run_server(void *arg)
{
	struct stress *s = arg;
	struct end *e = &s->server;
	struct au_ring_producer p;
	struct au_ring_consumer c;

	if (au_ring16_producer_init(&p, s->completions.end[0], s->completion_entries) ||
	    au_ring64_consumer_init(&c, s->requests.end[1], s->request_entries))
		die("cannot attach the server");
	while (e->received < s->total && !stopped(s)) {
		uint64_t r = next_random(&e->random);
		unsigned budget = (unsigned)r % (2 * s->request_entries) + 1;
		uint64_t before = e->received;

		for (; budget; budget--) {
			struct request request;
			const void *entry;

			/* Half of them are read where they lie. */
			if (next_random(&e->random) & 1) {
				if (!au_ring64_peek(&c, &entry))
					break;
				for (unsigned i = 0; i < sizeof(request) / 4; i++)
					((uint32_t *)(void *)&request)[i] = __atomic_load_n(
						(const uint32_t *)entry + i, __ATOMIC_RELAXED);
				au_ring64_skip(&c);
			} else if (!au_ring64_pop(&c, &request)) {
				break;
			}
			check_request(s, &request);
			e->received++;
			if (!answer(s, &p, request.number))
				return NULL;
		}
		if (au_ring_flush(&p))
			ring_bell(e, s->client_bell);
		if (r >> 41 & 1)
			au_ring_release(&c);
		dawdle(e);
		if (e->received != before || e->received == s->total || (!s->drowsy && r >> 42 & 7))
			continue;
		if (au_ring64_arm(&c)) {
			if (!sleep_on(s, e, s->server_bell) && !s->hostile)
				die("the server waits in vain: %s",
				    au_ring64_ready(&c) ? "lost wake-up" : "nothing came");
			au_ring_disarm(&c);
		}
	}
	return NULL;
}

/* the hostile third */

static void scribble(struct mapping *m, enum au_ring_shape shape, uint64_t r)
{
	uint32_t *words = (void *)m->end[r & 1];
	size_t count = m->bytes / sizeof(*words);
	uint32_t *word = &words[(r >> 8) % count];
	uint32_t small = (uint32_t)(r >> 40) % 16;

	switch (r >> 4 & 7) {
	case 0: /* the head, somewhere near */
		word = &words[0];
		__atomic_store_n(word, *word + small - 8, __ATOMIC_RELAXED);
		break;
	case 1: /* the sleeping flag */
		__atomic_store_n(&words[AU_RING_LINE / 4], small & 1, __ATOMIC_RELAXED);
		break;
	case 2: /* a lap word, somewhere near */
		word = &words[((r >> 8) % count | ((unsigned)shape / 4 - 1))];
		if (word < words + count)
			__atomic_store_n(word, *word + small - 8, __ATOMIC_RELAXED);
		break;
	case 3: /* a whole slot that the ring believes in */
		if (shape == AU_RING64 && word < words + count - 16)
			memset(word, (int)small, 64);
		break;
	default:
		__atomic_store_n(word, (uint32_t)(r >> 32), __ATOMIC_RELAXED);
	}
}

static void *run_hostile(void *arg)
{
	struct stress *s = arg;
	uint64_t random = s->client.random ^ s->server.random ^ 0x5bd1e995;

	while (!stopped(s)) {
		uint64_t r = next_random(&random);

		if (r >> 63)
			scribble(&s->requests, AU_RING64, r);
		else
			scribble(&s->completions, AU_RING16, r);
		for (unsigned n = (unsigned)(r >> 44) % s->pause; n; n--)
			__asm__ volatile("");
	}
	return NULL;
}

/* one conversation */

static void start(pthread_t *thread, void *(*run)(void *), struct stress *s)
{
	int err = pthread_create(thread, NULL, run, s);

	if (err)
		die("pthread_create: %s", strerror(err));
}

static void run_round(struct stress *s, unsigned milliseconds)
{
	pthread_t client, server, hostile;

	reset_ring(&s->requests);
	reset_ring(&s->completions);
	s->stop = false;
	s->client.sent = s->client.received = s->server.sent = s->server.received = 0;
	start(&server, run_server, s);
	start(&client, run_client, s);
	if (s->hostile) {
		start(&hostile, run_hostile, s);
		for (unsigned n = 0; n < milliseconds * 5 && !stopped(s); n++)
			usleep(200);
		__atomic_store_n(&s->stop, true, __ATOMIC_RELAXED);
		pthread_join(hostile, NULL);
	}
	pthread_join(client, NULL);
	pthread_join(server, NULL);
	check_canaries(&s->requests);
	check_canaries(&s->completions);
}

static void open_rings(struct stress *s, uint32_t request_entries, uint32_t completion_entries)
{
	s->request_entries = request_entries;
	s->completion_entries = completion_entries;
	map_ring(&s->requests, AU_RING64, request_entries);
	map_ring(&s->completions, AU_RING16, completion_entries);
	s->server_bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->client_bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->server_bell < 0 || s->client_bell < 0)
		die("eventfd: %m");
}

static void close_rings(struct stress *s)
{
	unmap_ring(&s->requests);
	unmap_ring(&s->completions);
	close(s->server_bell);
	close(s->client_bell);
}

static void demand(bool held, const char *what)
{
	if (!held)
		die("the run was too tame to mean anything: %s", what);
}

static void run_honest(struct stress *s, uint64_t count)
{
	/* Small rings are mostly full or asleep, large ones get the most done. */
	static const struct {
		uint32_t requests, completions, share;
		bool drowsy;
	} rounds[] = { { 2, 2, 2, true }, { 16, 4, 2 }, { 8, 64, 2 }, { 256, 256, 10 } };

	for (unsigned i = 0; i < sizeof(rounds) / sizeof(rounds[0]); i++) {
		s->total = count * rounds[i].share / 16;
		s->drowsy = rounds[i].drowsy;
		open_rings(s, rounds[i].requests, rounds[i].completions);
		run_round(s, 0);
		close_rings(s);
		if (s->client.received != s->total || s->server.received != s->total)
			die("%llu requests sent, %llu arrived, %llu were completed",
			    (unsigned long long)s->total, (unsigned long long)s->server.received,
			    (unsigned long long)s->client.received);
	}
	demand(s->client.full > 100 && s->server.full > 10, "the rings were hardly ever full");
	demand(s->client.sleeps > 100 && s->server.sleeps > 100, "hardly anybody slept");
	demand(s->client.doorbells > 100 && s->server.doorbells > 100, "hardly any doorbell");
	printf("honest: %llu entries each way, full %llu and %llu times, sleeps %llu and %llu, "
	       "doorbells %llu and %llu\n",
	       (unsigned long long)count, (unsigned long long)s->client.full,
	       (unsigned long long)s->server.full, (unsigned long long)s->client.sleeps,
	       (unsigned long long)s->server.sleeps, (unsigned long long)s->client.doorbells,
	       (unsigned long long)s->server.doorbells);
}

/* What a hostile run has not shown yet; NULL: it has shown everything. */
static const char *tame(const struct stress *s, unsigned rounds, uint64_t entries)
{
	if (rounds < 20)
		return "hardly any conversation";
	if (entries <= 10000)
		return "hardly anything was popped";
	if (s->client.violations + s->server.violations <= 2)
		return "no violation was seen";
	if (s->client.anomalies + s->server.anomalies <= 100)
		return "no entry was damaged";
	return NULL;
}

static void run_hostile_rounds(struct stress *s, unsigned seconds)
{
	static const uint32_t sizes[] = { 2, 4, 16, 64, 256 };
	uint64_t until = now_ms() + seconds * 1000ull;
	uint64_t patience = until + LOST_AFTER_MS; /* on a busy machine */
	uint64_t entries = 0, random = s->client.random ^ 0xabcdef;
	unsigned rounds = 0;

	s->hostile = true;
	s->total = UINT64_MAX;
	for (; now_ms() < until || (now_ms() < patience && tame(s, rounds, entries)); rounds++) {
		uint64_t r = next_random(&random);

		s->pause = 1u << (4 + (r >> 24) % 14);
		open_rings(s, sizes[r % 5], sizes[(r >> 8) % 5]);
		run_round(s, 1 + (unsigned)(r >> 16) % 8);
		close_rings(s);
		entries += s->client.received + s->server.received;
	}
	demand(!tame(s, rounds, entries), tame(s, rounds, entries));
	printf("hostile: %u conversations, %llu entries popped, %llu damaged, %llu ended by an "
	       "impossible head\n",
	       rounds, (unsigned long long)entries,
	       (unsigned long long)(s->client.anomalies + s->server.anomalies),
	       (unsigned long long)(s->client.violations + s->server.violations));
}

static uint64_t number(const char *text, const char *name)
{
	char *end;
	unsigned long long value;

	errno = 0;
	value = strtoull(text, &end, 0);
	if (errno || end == text || *end || text[0] == '-')
		die("--%s %s: not a number", name, text);
	return value;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "count", required_argument, NULL, 'c' },
		{ "seconds", required_argument, NULL, 's' },
		{ "seed", required_argument, NULL, 'r' },
		{ 0 },
	};
	static struct stress s;
	uint64_t count = UNDER_TSAN ? 400000 : 2000000;
	uint64_t seconds = 3, seed = now_ms() | 1;
	const char *mode;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 'c')
			count = number(optarg, "count");
		else if (opt == 's')
			seconds = number(optarg, "seconds");
		else if (opt == 'r')
			seed = number(optarg, "seed");
		else
			die("usage: ring_stress [honest|hostile] [--count N] [--seconds S] "
			    "[--seed N]");
	}
	mode = optind < argc ? argv[optind] : "honest";
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("seed %llu\n", (unsigned long long)seed);
	s.client.random = mix(seed) | 1;
	s.server.random = mix(seed + 1) | 1;
	if (!strcmp(mode, "honest"))
		run_honest(&s, count);
	else if (!strcmp(mode, "hostile"))
		run_hostile_rounds(&s, (unsigned)(seconds < 3600 ? seconds : 3600));
	else
		die("%s: no such mode; honest or hostile", mode);
	return 0;
}
