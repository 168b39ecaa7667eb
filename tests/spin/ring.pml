/* SPDX-License-Identifier: MIT */
/*
 * Model of src/channel/ring.h on a machine with store buffers (x86's TSO): publication in the
 * entry, slots given back through the head, and the sleep and doorbell handshake.
 *
 * A plain store enters its process's buffer, and memory some time later. A locked instruction
 * waits until the buffer is empty and then works on memory at once. A load takes the newest value
 * in the process's own buffer, else memory.
 *
 * Checked: each entry is popped once, in order, whole; a slot is not overwritten before it is
 * given back; the head passes the producer's check; and nobody sleeps for ever (SPIN's invalid end
 * states: a lost wake-up leaves the consumer waiting for a doorbell that nobody sends).
 *
 * Variants, each a -D:
 *	PHASE			the 16-byte shape: a phase bit in the last word instead of a lap word
 *	NO_BARRIER_PRODUCER	flush only looks at the flag, by a plain load: must fail
 *	NO_BARRIER_CONSUMER	arm sets the flag by a plain store: must fail
 *	NO_BARRIER		both: must fail
 *	NO_RECHECK		arm does not look at the ring again: must fail
 */
#ifdef NO_BARRIER
#define NO_BARRIER_PRODUCER
#define NO_BARRIER_CONSUMER
#endif

#define N 2 /* slots */
#define M 5 /* entries sent: two laps and a half */
#define DEPTH 4 /* of a store buffer */
#define SPURIOUS 2 /* wake-ups by something else */

/* Memory: two words a slot, its publication word, the head, the flag. */
#define FIRST(i) (((i) % N) * 3)
#define SECOND(i) (((i) % N) * 3 + 1)
#define PUB(i) (((i) % N) * 3 + 2)
/* Literals, because a poll of a buffer matches constants only. */
#define HEAD 6
#define SLEEPING 7
#define WORDS 8

/* What entry number i publishes, and how the consumer knows it. */
#ifdef PHASE
#define PHASE_OF(i) (1 - ((i) / N) % 2)
#define STAMP(i) (((i) + 1) * 2 + PHASE_OF(i))
#define IS_NEW(word, i) ((word) % 2 == PHASE_OF(i))
#else
#define STAMP(i) ((i) + 1)
#define IS_NEW(word, i) ((word) == (i) + 1)
#endif

byte mem[WORDS];
bool bell; /* the eventfd: a counter that a read takes whole */
chan producer_buffer = [DEPTH] of { byte, byte };
chan consumer_buffer = [DEPTH] of { byte, byte };

/* The memory system. */
proctype drain(chan buffer)
{
	byte where, what;
end:
	do
	:: atomic { buffer ? where, what -> mem[where] = what; what = 0; where = 0 }
	od
}

inline store(buffer, where, what)
{
	buffer ! where, what
}

inline locked_store(buffer, where, what)
{
	atomic { empty(buffer) -> mem[where] = what }
}

inline flush()
{
	flushed = tail;
#ifdef NO_BARRIER_PRODUCER
	asleep = mem[SLEEPING];
	if
	:: asleep -> store(producer_buffer, SLEEPING, 0)
	:: else
	fi;
#else
	atomic {
		empty(producer_buffer) -> asleep = mem[SLEEPING];
		mem[SLEEPING] = 0
	};
#endif
	if
	:: asleep -> bell = true
	:: else
	fi;
	asleep = 0
}

proctype producer()
{
	byte tail, flushed, head;
	byte limit = N;
	bit asleep;

	do
	:: tail < M ->
		if
		:: tail == limit ->
			head = mem[HEAD];
			assert(head >= limit - N && head <= tail);
			limit = head + N;
			head = 0
		:: else
		fi;
		if
		:: tail == limit ->
			/* Full: the contract says flush, then wait. */
			if
			:: flushed != tail -> flush()
			:: else
			fi;
			mem[HEAD] != limit - N
		:: else ->
			store(producer_buffer, FIRST(tail), tail + 1);
#ifndef PHASE
			store(producer_buffer, SECOND(tail), tail + 1);
#endif
			store(producer_buffer, PUB(tail), STAMP(tail));
			tail++
		fi
	:: flushed != tail -> flush()
	:: tail == M && flushed == tail -> break
	od
}

inline release()
{
	if
	:: released != head ->
		released = head;
		store(consumer_buffer, HEAD, head)
	:: else
	fi
}

/*
 * The newest own store to the flag before a disarm is always the 1 of its arm: if any is still in
 * the buffer, that is what the load gets.
 */
inline disarm()
{
	if
	:: consumer_buffer ?? [SLEEPING, 0] || consumer_buffer ?? [SLEEPING, 1] ||
	   mem[SLEEPING] == 1 ->
		store(consumer_buffer, SLEEPING, 0)
	:: else
	fi
}

proctype consumer()
{
	byte head, released, word, first, second;
	byte spurious = SPURIOUS;

	do
	:: head == M -> break
	:: head < M ->
		word = mem[PUB(head)];
		if
		:: IS_NEW(word, head) ->
			first = mem[FIRST(head)];
#ifdef PHASE
			second = word / 2;
#else
			second = mem[SECOND(head)];
#endif
			assert(first == head + 1);
			assert(second == head + 1);
			head++;
			first = 0;
			second = 0;
			if
			:: release()
			:: skip
			fi
		:: else ->
			release();
#ifdef NO_BARRIER_CONSUMER
			store(consumer_buffer, SLEEPING, 1);
#else
			locked_store(consumer_buffer, SLEEPING, 1);
#endif
#ifndef NO_RECHECK
			word = mem[PUB(head)];
#endif
			if
			:: IS_NEW(word, head)
			:: else ->
				if
				:: atomic { bell -> bell = false }
				:: spurious > 0 -> spurious--
				fi
			fi;
			disarm()
		fi;
		word = 0
	od
}

init
{
	atomic {
		run drain(producer_buffer);
		run drain(consumer_buffer);
		run producer();
		run consumer()
	}
}
