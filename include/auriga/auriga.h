/* SPDX-License-Identifier: MIT */
/**
 * DOC: The application's side of Auriga
 *
 * An application opens a unit by name ("serial0.1": its driver runs in its own process, under the
 * manager) or by an inproc target ("inproc:uart16550,address=vfio-user:/run/x.sock": the driver
 * runs in this process). From there on the two are the same.
 *
 * Threads: a handle belongs to the thread that opened it, and every other thread is refused with
 * -EPERM; a handle opened with AU_OPEN_SHARED may be used by any thread. After fork() the child's
 * handles answer -EBADF.
 *
 * Errors: functions return 0 or a positive result, or a negative errno; au_errmsg() has one line on
 * what failed, why, and what to do. When a driver dies, requests do not fail: they take longer.
 */
#ifndef AURIGA_AURIGA_H
#define AURIGA_AURIGA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef AU_API
#define AU_API __attribute__((visibility("default")))
#endif

/** AU_CLIENT_ABI - version of the binary interface between application and library. */
#define AU_CLIENT_ABI 1

struct au_handle;
struct au_io;

/* au_open_options.flags */
#define AU_OPEN_SHARED 0x0001 /* any thread may use the handle */
#define AU_OPEN_POLL_APP \
	0x0002		     /* inproc: the threads that call are the runner; no other is started */
#define AU_OPEN_QUIET 0x0004 /* serial: leave the modem outputs as they are at open */

/**
 * struct au_open_options - how to open; zero means the default for each member.
 * @size: sizeof(struct au_open_options).
 * @abi: AU_CLIENT_ABI.
 * @flags: AU_OPEN_*.
 * @depth: requests outstanding at most (default 32, rounded up to a power of two, at most 1024).
 * @buffer_size: bytes of data per request at most (default 4096, at most 1 MiB).
 * @timeout_ms: how long to wait for the driver to be there (default 10,000).
 * @runtime_dir: where the manager lives (default $AURIGA_RUNTIME_DIR, then /run/auriga).
 */
struct au_open_options {
	uint32_t size;
	uint32_t abi;
	uint32_t flags;
	uint32_t depth;
	uint32_t buffer_size;
	uint32_t timeout_ms;
	const char *runtime_dir;
};

/**
 * au_open - open a unit.
 * @target: a unit's name, or inproc:DRIVER[,address=ADDRESS][,unit=N][,poll=app]
 *	[,power_idle=TIME][,verify=TEXT][,PARAM=VALUE...].
 * @options: NULL for the defaults.
 *
 * Opening by name starts the driver when it is not running. A second inproc open of the same
 * driver and address in one process shares the instance.
 * Return: 0; -ENOENT no such unit; -EBUSY somebody else runs the device; -EACCES; -ETIMEDOUT;
 * -EPROTO the two ends have no version in common.
 */
AU_API int au_open(const char *target, const struct au_open_options *options,
		   struct au_handle **handle);

/** au_close - close it: outstanding requests are cancelled and their done() is not called. */
AU_API void au_close(struct au_handle *handle);

/** au_unit_name - the unit's name; lives as long as the handle. */
AU_API const char *au_unit_name(const struct au_handle *handle);
/** au_unit_class - "serial", "raw", ... */
AU_API const char *au_unit_class(const struct au_handle *handle);
/** au_generation - how many hosts the device has had, this one included; 0 while there is none. */
AU_API uint32_t au_generation(const struct au_handle *handle);
/** au_errmsg - one line on the last failure in this thread; never NULL. */
AU_API const char *au_errmsg(void);

/**
 * struct au_io - one request. The application's, but the library's between submit and done().
 * @op: the operation, by class.
 * @flags: 0: there are none yet, and one that is not known is refused with -EINVAL.
 * @length: bytes at @data; at most the handle's buffer_size.
 * @arg: operands, by operation.
 * @data: where data come from or go to; may be NULL when @length is 0.
 * @timeout_ms: cancel it and answer -ETIMEDOUT after so long; 0: never.
 * @done: called from au_poll() when it is complete; may submit again, may free @io. Optional.
 * @user: the application's.
 * @status: 0 or a negative errno, once complete; -EINPROGRESS until then.
 * @result: by operation; mostly bytes.
 * @device_status: the device's own code, where it has one.
 * @reserved: 0. Room for what flags will say: a vector of buffers, a registered buffer. There is no
 *	@size here: the structure never grows.
 */
struct au_io {
	uint16_t op;
	uint16_t flags;
	uint32_t length;
	uint64_t arg[2];
	void *data;
	uint32_t timeout_ms;
	void (*done)(struct au_io *io);
	void *user;
	int status;
	uint32_t result;
	uint16_t device_status;
	/* private: */
	uint64_t handle_;
	/* public: */
	uint64_t reserved[4];
};

/**
 * au_submit - hand a request in. It is started by the next au_poll() or au_flush(), or at once
 * when a batch is full.
 * Return: 0; -EAGAIN: @depth requests are outstanding, poll first; -EMSGSIZE; -EINVAL: unknown
 * flags, or a @length without @data; -ENODEV.
 */
AU_API int au_submit(struct au_handle *handle, struct au_io *io);

/**
 * au_buffers - take over the handle's buffers, so that data need not be copied.
 * @size: gets the bytes, about depth times buffer_size: divide them as you like.
 *
 * From then on a request whose @data lie in there, at a multiple of 64, is carried out right there,
 * in every placement. Data that lie elsewhere are copied as before, but for one request at a time:
 * others are refused with -EAGAIN. While a request is outstanding, a driver, also a hostile one,
 * can write to its data, and read them. The memory lives as long as the handle. Return: the memory,
 * zeroed at first; NULL: requests are outstanding, the depth is 1, or there is
 * no memory.
 */
AU_API void *au_buffers(struct au_handle *handle, size_t *size);

/** au_flush - make everything submitted visible to the driver, with at most one wake-up. */
AU_API int au_flush(struct au_handle *handle);

/**
 * au_poll - start what was submitted, and complete what is done.
 * @max: at most so many completions; 0: as many as there are.
 * @timeout_ms: wait so long for the first; 0: do not wait; -1: for ever.
 * Return: the number of requests completed; 0 when the time is up or an event has come in.
 */
AU_API int au_poll(struct au_handle *handle, unsigned int max, int timeout_ms);

/**
 * au_cancel - ask for cancellation. The request completes once all the same: with -ECANCELED, or
 * with its result when that was first.
 * Return: 0; -ESRCH: it is complete already.
 */
AU_API int au_cancel(struct au_handle *handle, struct au_io *io);

/** au_wait - submit @io, poll until it is complete, and return its status. */
AU_API int au_wait(struct au_handle *handle, struct au_io *io);

/**
 * au_fd - a descriptor that is readable when au_poll() has something to do, for poll(2) and
 * epoll(7). Call au_poll() with timeout 0 until it returns 0 before sleeping on it: au_arm() says
 * whether that is safe.
 */
AU_API int au_fd(struct au_handle *handle);

/** au_arm - before sleeping on au_fd(). Return: true when nothing is pending: sleep now. */
AU_API bool au_arm(struct au_handle *handle);

/* Events of every class; a class' own start at 0x100. */
enum au_event_kind {
	AU_EVENT_OVERFLOW = 1,	/* events were dropped: ask for counters */
	AU_EVENT_DOWN = 2,	/* the driver died or was stopped; requests wait */
	AU_EVENT_RESTARTED = 3, /* it is back; arg[0]: generation */
	AU_EVENT_GONE = 4,	/* the device or the unit was removed; arg[0]: enum au_gone */
	AU_EVENT_BACK = 5,	/* a device is there again; arg[0]: generation. See below */
};

/*
 * When a device is pulled out, what is outstanding ends with -ENODEV, AU_EVENT_GONE says so
 * (AU_EVENT_DOWN may come before it), and what is submitted is refused with -ENODEV. A handle that
 * was opened by name lives on: when there is a device at that place again, AU_EVENT_BACK says so
 * and requests are taken again. It may be another device, and it begins as after its first start:
 * read again what you know of it, set again what you have set. Nothing that was submitted before
 * reaches it. If the device will not come back, because it was detached, au_poll() returns the
 * error. Handles of inproc: targets do not come back: close them.
 */

/** enum au_gone - why a device is gone. au_errmsg() says it in words. */
enum au_gone {
	AU_GONE_UNKNOWN = 0, /* it does not answer, or nobody said why */
	AU_GONE_WANTED = 1,  /* the system wants it back: it is unplugged, or another driver's */
	AU_GONE_ERROR = 2,   /* it reported an error that cannot be mended */
};
/** AU_EVENT_DISTINCT - set in kinds that are never coalesced, because each has a place of its own.
 */
#define AU_EVENT_DISTINCT 0x8000

/**
 * struct au_event - something that no request asked for.
 * @kind: enum au_event_kind, or the class'.
 * @count: how many, or how much.
 * @arg: by kind.
 */
struct au_event {
	uint16_t kind;
	uint16_t flags;
	uint32_t count;
	uint64_t arg[2];
};

/** au_event_next - take the oldest event. Return: 1 with @event filled in, 0 when there is none. */
AU_API int au_event_next(struct au_handle *handle, struct au_event *event);

#ifdef __cplusplus
}
#endif

#endif
