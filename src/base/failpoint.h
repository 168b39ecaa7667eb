/* SPDX-License-Identifier: MIT */
/**
 * DOC: Failpoints: places to die at, for tests
 *
 * One stands before or after each step in which client and host change what they share, and each
 * step of a device's way up and down. A test arms one, and the process ends there. Those of the
 * slow paths are always compiled in, and cost a look at one byte; those on the way of each request
 * only with AU_FAILPOINTS_HOT, in a build for tests/unit/test_steps*.c.
 */
#ifndef AU_BASE_FAILPOINT_H
#define AU_BASE_FAILPOINT_H

#include <stdint.h>

/* X(number, name, who comes by) */
#define AU_FAILPOINTS(X)                                                              \
	X(1, submit_filled, CLIENT)    /* a request is written, and not published */  \
	X(2, submit_published, CLIENT) /* ... published */                            \
	X(3, submit_flushed, CLIENT)   /* the sleeping flag is taken, nobody rang */  \
	X(4, take_seen, HOST)	       /* the host has found it */                    \
	X(5, take_progress, HOST)      /* its progress is reset, but for the tag */   \
	X(6, take_tagged, HOST)	       /* ... and the tag is there */                 \
	X(7, take_done, HOST)	       /* the driver has had it */                    \
	X(8, take_released, HOST)      /* its entry is given back */                  \
	X(9, own_marked, HOST)	       /* its progress says that the driver has it */ \
	X(10, complete_begin, HOST)    /* it is done, and nobody knows */             \
	X(11, complete_half, HOST)     /* half of the completion is written */        \
	X(12, complete_put, HOST)      /* all of it */                                \
	X(13, complete_flushed, HOST)  /* the sleeping flag is taken, nobody rang */  \
	X(14, reap_taken, CLIENT)      /* the client has found it */                  \
	X(15, reap_copied, CLIENT)     /* ... and has its data */                     \
	X(16, reap_released, CLIENT)   /* its entry is given back */                  \
	X(17, busy_set, HOST)	       /* the next host would wait for this client */ \
	X(18, busy_cleared, HOST)                                                     \
	X(19, cancel_told, CLIENT)   /* a cancellation is published */                \
	X(20, control_taken, HOST)   /* what came beside the data is done */          \
	X(21, event_put, HOST)	     /* an event is published */                      \
	X(22, attach_reaped, CLIENT) /* all that the dead host said is taken */       \
	X(23, attach_sorted, CLIENT) /* what is sent again is known */                \
	X(24, attach_opened, CLIENT) /* the new rings are in use */                   \
	X(25, attach_sent, CLIENT)   /* one is sent again */                          \
	X(26, attach_told, CLIENT)   /* ... and that these were all */                \
	X(27, attach_flushed, CLIENT)                                                 \
	X(28, open_handle, HOST)   /* the host has a handle for the channel */        \
	X(29, open_done, HOST)	   /* ... and looks at the rings */                   \
	X(30, replay_taken, HOST)  /* it has one that was sent again */               \
	X(31, replay_all, HOST)	   /* ... and knows that these were all */            \
	X(32, gate_open, HOST)	   /* it takes new requests */                        \
	X(33, close_begin, HOST)   /* the client has gone */                          \
	X(34, close_muted, HOST)   /* nothing is said to it any more */               \
	X(35, machine_enter, HOST) /* before what a device's state does */            \
	X(36, machine_done, HOST)  /* ... and after it */                             \
	X(37, tx_noted, SERIAL)	   /* the class state says: they may be sent */       \
	X(38, tx_taken, SERIAL)	   /* ... and the request's progress */               \
	X(39, tx_given, SERIAL)	   /* the device has them */                          \
	X(40, tx_progress, SERIAL) /* the request's progress says so */               \
	X(41, tx_done, SERIAL)	   /* ... and the class state */                      \
	X(42, rx_noted, SERIAL)	   /* some may be taken from the device */            \
	X(43, rx_taken, SERIAL)	   /* they are */                                     \
	X(44, rx_kept, SERIAL)	   /* ... and are in the class state */               \
	X(45, rx_settled, SERIAL)                                                     \
	X(46, give_intent, SERIAL) /* a request is about to get some */               \
	X(47, give_copied, SERIAL)                                                    \
	X(48, give_stamped, SERIAL)                                                   \
	X(49, give_done, SERIAL) /* its progress says that it has */                  \
	X(50, give_moved, SERIAL)                                                     \
	X(51, give_over, SERIAL)                                                      \
	X(52, uncertain_kept, SERIAL) /* what a death left unclear is written down */

enum au_failpoint {
#define AU_FAILPOINT_ENUM(number, name, who) AU_FAIL_##name = (number),
	AU_FAILPOINTS(AU_FAILPOINT_ENUM)
#undef AU_FAILPOINT_ENUM
};

/* Not 0: somebody wants to be told of each. */
extern uint8_t au_failpoint_armed;
/** au_failpoint_fn - called at each failpoint, while they are armed; a test's. */
extern void (*au_failpoint_fn)(enum au_failpoint point);

/** AU_FAILPOINT - a failpoint of the slow paths. */
#define AU_FAILPOINT(name)                                        \
	do {                                                      \
		if (__builtin_expect(au_failpoint_armed != 0, 0)) \
			au_failpoint_fn(AU_FAIL_##name);          \
	} while (0)

/** AU_FAILPOINT_HOT - one on the way of each request: nothing, but in a build for tests. */
#ifdef AU_FAILPOINTS_HOT
#define AU_FAILPOINT_HOT(name) AU_FAILPOINT(name)
#else
#define AU_FAILPOINT_HOT(name) ((void)0)
#endif

#endif
