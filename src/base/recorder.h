/* SPDX-License-Identifier: MIT */
/**
 * DOC: Status page and flight recorder: what a host leaves behind
 *
 * One memfd, made and sealed by the manager, written by the host, read by the manager and
 * `auriga crash` as hostile input. First page: the status page. Then the crash area. Then one ring
 * of records per lane. Everything is preallocated and written with plain stores and atomics, so
 * that it costs a few nanoseconds and survives SIGKILL.
 */
#ifndef AU_BASE_RECORDER_H
#define AU_BASE_RECORDER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AU_RECORDER_MAGIC   0x52454331u
#define AU_RECORDER_LANES   8
#define AU_RECORDER_RECORDS 1024 /* per lane, 64 bytes each */
#define AU_RECORDER_CRASH   (64u * 1024)
#define AU_RECORDER_BUSY    256

/**
 * struct au_lane_status - one lane's signs of life.
 * @beat: the last sequence number asked for (AU_HM_BEAT) that the lane's loop has seen.
 * @state: of the device state machine, for people.
 * @completed: requests completed, ever; progress for the restart budget.
 * @state_ns, @state_name: since when it is in that state, and what that is called.
 * @overdue_ms: how long the oldest request whose cancellation was asked for has been held by the
 *	driver all the same; 0: none.
 */
struct au_lane_status {
	_Atomic uint32_t beat;
	_Atomic uint32_t state;
	_Atomic uint64_t completed;
	_Atomic uint32_t overdue_ms;
	uint32_t reserved;
	_Atomic uint64_t state_ns;
	char state_name[24];
	uint32_t reserved2[2];
};
_Static_assert(sizeof(struct au_lane_status) == 64, "hosts outlive managers");

/** enum au_power_shown - power, as the status page shows it. */
enum au_power_shown {
	AU_SHOWN_NOTHING, /* by a host of before */
	AU_SHOWN_D0,
	AU_SHOWN_D3,
	AU_SHOWN_GOING_UP,
	AU_SHOWN_GOING_DOWN,
	AU_SHOWN_SUSPENDED,
};

/**
 * struct au_status - the status page.
 * @power: enum au_power_shown.
 * @power_ups, @power_downs: how often it came to D0 and left it, without start and stop.
 * @power_up_us, @power_down_us: how long that took the last time; @power_entry_us, @power_exit_us:
 *	... of that, the driver's d0_entry() and d0_exit().
 * @busy: how many channels have requests with the host, or have yet to replay theirs, by the
 *	remainder of the channel's number: those are what the next host waits for.
 */
struct au_status {
	uint32_t magic;
	uint32_t version;
	uint32_t lanes;
	_Atomic uint32_t crashed; /* the crash area is filled in */
	_Atomic uint32_t power;
	_Atomic uint32_t power_ups, power_downs;
	_Atomic uint32_t power_up_us, power_down_us;
	_Atomic uint32_t power_entry_us, power_exit_us;
	uint32_t reserved[5];
	struct au_lane_status lane[AU_RECORDER_LANES];
	_Atomic uint16_t busy[AU_RECORDER_BUSY];
};

/** struct au_record - one entry of the flight recorder; @seq is stored last, 0: empty. */
struct au_record {
	uint64_t time_ns;
	_Atomic uint32_t seq;
	uint16_t point;	 /* enum au_trace_point, see trace.h */
	uint16_t length; /* of text, for AU_TRACE_log */
	union {
		uint64_t arg[6];
		char text[48];
	};
};
_Static_assert(sizeof(struct au_record) == 64, "one cache line");

/**
 * struct au_crash - what the crash handler leaves: frames are addresses in modules listed by
 * build-id. Hostile input.
 * @address: that was accessed; for SIGSYS, the number of the system call; 0 when the signal was
 * sent.
 * @lane: whose thread it was; 0xffffffff: the one that talks to the manager.
 * @regs: x86-64: as in mcontext_t.gregs; aarch64: x0 to x20, x30, sp, pc.
 * @frames: the program counter first, then return addresses.
 * @modules: executable ranges, the driver's first; @offset: the address that the file has for
 *	@start, so that address - start + offset is what addr2line(1) wants.
 */
struct au_crash {
	int32_t signal;
	int32_t code;
	uint64_t address;
	uint64_t time_ns;
	uint32_t lane;
	uint32_t frame_count;
	uint64_t regs[24];
	uint64_t frames[64];
	uint32_t module_count;
	uint32_t reserved;
	struct {
		uint64_t start, end, offset;
		uint8_t build_id[20];
		uint8_t build_id_size;
		char path[107];
	} modules[32];
};
_Static_assert(sizeof(struct au_crash) <= AU_RECORDER_CRASH, "fits");

/** struct au_recorder - one mapping of it. */
struct au_recorder {
	struct au_status *status;
	struct au_crash *crash;
	struct au_record *records; /* AU_RECORDER_LANES times AU_RECORDER_RECORDS */
	size_t size;
	uint32_t next[AU_RECORDER_LANES]; /* private: the next sequence number, per lane */
};

/** au_recorder_size - bytes of the memfd. */
size_t au_recorder_size(void);
/** au_recorder_map - map @fd (sealed, checked) for a host (@write, initialised when empty) or a
 * reader. */
int au_recorder_map(int fd, bool write, struct au_recorder *rec);
/** au_recorder_unmap - undo it. */
void au_recorder_unmap(struct au_recorder *rec);
/** au_recorder_note - add a record; the lane's thread only. */
void au_recorder_note(struct au_recorder *rec, unsigned int lane, uint16_t point,
		      const uint64_t *args, unsigned int count);
/** au_recorder_named - add a record with one argument and the beginning of a text. */
void au_recorder_named(struct au_recorder *rec, unsigned int lane, uint16_t point, uint64_t arg,
		       const char *text);
/** au_recorder_text - add a line of text, split over records. */
void au_recorder_text(struct au_recorder *rec, unsigned int lane, const char *text);

/** au_memfd_sealed - make a memfd of @size bytes sealed against shrinking, growing and sealing. */
int au_memfd_sealed(const char *name, size_t size);
/** au_memfd_check - whether @fd is a memfd of at least @size bytes with those seals: 0, or -EPERM.
 */
int au_memfd_check(int fd, size_t size);

#endif
