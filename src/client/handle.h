/* SPDX-License-Identifier: MIT */
/*
 * handle.h - what is behind an au_handle.
 *
 * There are three forms of it: remote (a channel to a host, by way of the manager), threaded (a
 * channel to a lane's thread in this process) and direct (poll=app: the caller runs the lane). The
 * first two share everything from struct au_chan on.
 */
#ifndef AU_CLIENT_HANDLE_H
#define AU_CLIENT_HANDLE_H

#include <pthread.h>
#include <sys/epoll.h>

#include "auriga/auriga.h"
#include "channel/client_end.h"
#include "client/error.h"

/* What an epoll event of a handle's set is about. */
enum handle_fd {
	HANDLE_FD_DOORBELL = 1,
	HANDLE_FD_MANAGER,
	HANDLE_FD_TIMER,
	HANDLE_FD_KICK,
	HANDLE_FD_LANE,
};

/**
 * struct handle_lock - of a shared handle, or of all the handles of a shared direct instance.
 * @sleeper: a thread sleeps in epoll with the lock dropped.
 * @waiters: threads that wait for it on @cond.
 * @epoch: goes up when requests were completed or a thread stopped sleeping.
 * @kick: an eventfd that wakes the sleeper.
 */
struct handle_lock {
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	bool sleeper;
	unsigned int waiters;
	uint64_t epoch;
	int kick;
};

/**
 * struct handle_ops - one form of handle. All are called with the lock held, if there is one.
 * @submit, @flush, @cancel: as in auriga.h.
 * @turn: do what can be done without waiting; returns completions.
 * @arm: before sleeping; true when nothing is pending. @timeout_ms: when to wake up at the latest,
 *	-1 for never.
 * @disarm: after sleeping.
 * @ready: this descriptor of the set is readable.
 * @event, @event_seen: see au_chan_event_next(), au_chan_event_seen().
 * @generation: see au_generation().
 * @close: let go of everything but the handle itself.
 * @forked: in the child of a fork: close descriptors, touch nothing that is shared.
 */
struct handle_ops {
	int (*submit)(struct au_handle *h, struct au_io *io);
	int (*flush)(struct au_handle *h);
	int (*cancel)(struct au_handle *h, struct au_io *io);
	unsigned int (*turn)(struct au_handle *h, unsigned int max);
	bool (*arm)(struct au_handle *h, int *timeout_ms);
	void (*disarm)(struct au_handle *h);
	void (*ready)(struct au_handle *h, enum handle_fd what, uint32_t events);
	bool (*event)(struct au_handle *h, struct au_event *event);
	bool (*event_seen)(struct au_handle *h);
	uint32_t (*generation)(const struct au_handle *h);
	void *(*buffers)(struct au_handle *h, size_t *size);
	void (*close)(struct au_handle *h);
	void (*forked)(struct au_handle *h);
};

struct remote;
struct inproc_channel;
struct direct;

/**
 * struct au_handle
 * @owner: the thread that may use it without further questions; NULL when every call has to ask:
 *	a shared handle, one whose device has gone, one that was inherited by fork().
 * @chan: the channel, when there is one, and it may be used directly.
 * @thread: the owner, whatever @owner is; NULL: shared.
 * @error: why nothing can be submitted any more, or 0.
 * @absent: the device was pulled out: requests are refused until it is back.
 * @why: either in words, by whoever decided it; NULL: nobody said.
 */
struct au_handle {
	const void *owner;
	struct au_chan *chan;
	const struct handle_ops *ops;
	union {
		struct remote *remote;
		struct inproc_channel *channel;
		struct direct *direct;
	};
	const void *thread;
	struct handle_lock *lock;
	struct handle_lock own_lock;
	int error;
	const char *why;
	bool absent;
	bool forked;
	bool armed;
	bool arm_again;	      /* somebody sleeps on au_fd(), and another thread has polled since */
	unsigned int polling; /* depth of au_poll() calls */
	bool close_later;
	uint32_t buffer_size;
	uint32_t block_most; /* block: bytes of one request at most; 0: not known yet */
	uint32_t idle_polls;
	uint32_t spin_ns;
	uint32_t spin_max_ns;
	uint32_t spin_hold; /* sleeps to come before the next spin */
	uint32_t spin_penalty;
	uint32_t spin_futile; /* longest spins in a row that were for nothing */
	int epoll;
	char unit[64];
	char cls[16];
	struct au_handle *next;
	struct au_handle **link;
};

extern __thread char client_self_ __attribute__((tls_model("initial-exec"), visibility("hidden")));

/** client_self - an address that no other living thread has. */
static inline const void *client_self(void)
{
#ifdef __x86_64__
	/* What the line below comes to, without the call that position independence costs. */
	return __builtin_thread_pointer();
#else
	return &client_self_;
#endif
}

/** handle_watch - add @fd to the handle's set. Return: 0 or a negative errno. */
int handle_watch(struct au_handle *h, int fd, enum handle_fd what);
/** handle_unwatch - take it out again; -1 is fine. */
void handle_unwatch(struct au_handle *h, int fd);
/** handle_refused - say why a request was refused with @rc, unless it is -EAGAIN. Return: @rc. */
int handle_refused(const struct au_handle *h, const struct au_io *io, int rc)
	__attribute__((noinline, cold));
/** handle_error - the error of a handle that is dead, or whose device is away. Return: it. */
int handle_error(const struct au_handle *h);
/** handle_dead - nothing can be submitted any more. */
void handle_dead(struct au_handle *h, int error);
/** handle_absent - nothing can be submitted while @absent. */
void handle_absent(struct au_handle *h, bool absent);
/** handle_lock_init - make a lock. Return: 0 or a negative errno. */
int handle_lock_init(struct handle_lock *lock);
/** handle_lock_destroy - free what it holds. */
void handle_lock_destroy(struct handle_lock *lock);
/** handle_lock_news - with the lock held: something was completed; wake who waits. */
void handle_lock_news(struct handle_lock *lock);
/** handle_lock_seen - what was completed so far is not what this thread will wait for: it submits
 * something just now. */
void handle_lock_seen(const struct handle_lock *lock);
/** handle_unlocked, handle_relocked - around done(); @arg: the struct handle_lock. */
void handle_unlocked(void *arg);
void handle_relocked(void *arg);
/** handle_poll - au_poll(), which also returns when *@stop is set. */
int handle_poll(struct au_handle *h, unsigned int max, int timeout_ms, const _Atomic bool *stop);
/** handle_shared_poll - the same for a handle with a lock. */
int handle_shared_poll(struct au_handle *h, unsigned int max, int timeout_ms,
		       const _Atomic bool *stop);
/** handle_attend - look at the descriptors of the set, waiting at most so long. */
void handle_attend(struct au_handle *h, int timeout_ms);
/** handle_leave_poll - the last au_poll() ends of a handle that was closed from within it. */
void handle_leave_poll(struct au_handle *h);
struct au_abi_type;
/** handle_struct - one request whose data are @given, which begins with its size and version. */
int handle_struct(struct au_handle *h, uint16_t op, const struct au_abi_type *type,
		  const void *given);
/** handle_now_ns - monotonic time. */
uint64_t handle_now_ns(void);

/** remote_open - open a unit by its name; @h has its options' flags set. */
int remote_open(struct au_handle *h, const char *name, const struct au_open_options *options);
/** inproc_open - open "inproc:...". */
int inproc_open(struct au_handle *h, const char *target, const struct au_open_options *options);

/* The channel forms have these in common. */
int chan_handle_submit(struct au_handle *h, struct au_io *io);
int chan_handle_flush(struct au_handle *h);
int chan_handle_cancel(struct au_handle *h, struct au_io *io);
unsigned int chan_handle_turn(struct au_handle *h, unsigned int max);
bool chan_handle_arm(struct au_handle *h, int *timeout_ms);
void chan_handle_disarm(struct au_handle *h);
void *chan_handle_buffers(struct au_handle *h, size_t *size);
bool chan_handle_event(struct au_handle *h, struct au_event *event);
bool chan_handle_event_seen(struct au_handle *h);
uint32_t chan_handle_generation(const struct au_handle *h);

#endif
