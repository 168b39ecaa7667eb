/* SPDX-License-Identifier: MIT */
/**
 * DOC: The driver's side of Auriga
 *
 * A driver is one shared object that exports one constant &struct au_driver and carries one ELF
 * note which describes it. It includes this header, the header of its class and freestanding C
 * headers, nothing else; it has no writable globals. The same file is run inside an application
 * (inproc), in its own sandboxed process (process), or several times in one process.
 *
 * Threads: every callback of a device runs on one of the device's lanes. Callbacks of one lane
 * never run concurrently, and those of &struct au_driver never run concurrently with anything
 * else of the device, surprise_removed() aside. Functions of this header may be called only from
 * a callback of the same device, unless they say otherwise. None of them blocks for longer than
 * one register access. A device has one lane, unless its driver says that it can use more
 * (AU_LANES): "lane 0" below then means what it says, and is otherwise the only one.
 *
 * Errors: functions return 0 or a negative AU_E* code; those that return a pointer return NULL.
 */
#ifndef AURIGA_DRIVER_H
#define AURIGA_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** AU_ABI - version of the binary interface between framework and driver. */
#define AU_ABI 1

#define AU_API __attribute__((visibility("default")))

/* Error codes: the values of Linux' errno, by which applications see them. */
enum au_error {
	AU_EPERM = 1,
	AU_ENOENT = 2,
	AU_ESRCH = 3, /* a stale handle */
	AU_EIO = 5,
	AU_ENXIO = 6,
	AU_EAGAIN = 11,
	AU_ENOMEM = 12,
	AU_EBUSY = 16,
	AU_ENODEV = 19, /* the device is gone */
	AU_EINVAL = 22,
	AU_ENOSPC = 28,
	AU_ERANGE = 34,
	AU_EPROTO = 71,
	AU_EILSEQ = 84, /* something else is there */
	AU_ENOTSUP = 95,
	AU_ETIMEDOUT = 110,
	AU_ECANCELED = 125,
	AU_EOWNERDEAD = 130, /* nobody knows whether it was done */
};

struct au_device;
struct au_unit;
struct au_lane;
struct au_queue;
struct au_irq;
struct au_timer;
struct au_work;
struct au_poller;
struct au_report;
struct au_request;

/* ---------------------------------------------------------------- the note */

#define AU_STR_(x) #x
#define AU_STR(x)  AU_STR_(x)

/**
 * AU_DRIVER_NOTE - the static description of a driver, read without loading it.
 * @text: the AU_* fragments below, one after another without commas.
 *
 * The note is text, one "key value..." a line, in an ELF note of owner "Auriga", type AU_ABI. It
 * can be read with `auriga drivers FILE.so` or `readelf -p .note.auriga FILE.so`. Use once per
 * module.
 */
#define AU_DRIVER_NOTE(text)                                                            \
	static const struct {                                                           \
		uint32_t namesz, descsz, type;                                          \
		char name[8];                                                           \
		char desc[(sizeof("abi " AU_STR(AU_ABI) "\n" text) + 3) & ~(size_t)3];  \
	} au_driver_note __attribute__((used, aligned(4), section(".note.auriga"))) = { \
		7, (uint32_t)sizeof(au_driver_note.desc), AU_ABI, "Auriga",             \
		"abi " AU_STR(AU_ABI) "\n" text                                         \
	}

/** AU_NAME - the driver's name, [a-z0-9-], at most 31 characters. Once. */
#define AU_NAME(name)		     "name " name "\n"
/** AU_VERSION - the driver's version, "MAJOR.MINOR". Once. */
#define AU_VERSION(v)		     "version " v "\n"
/** AU_CLASS - the class of its units: "serial", "raw", ... Once. */
#define AU_CLASS(c)		     "class " c "\n"
/** AU_SUMMARY - one line for people. Once. */
#define AU_SUMMARY(s)		     "summary " s "\n"
/** AU_MATCH_PCI - an exact match: numeric PCI vendor and device. As often as wanted. */
#define AU_MATCH_PCI(vendor, device) "match pci " AU_STR(vendor) " " AU_STR(device) "\n"
/** AU_MATCH_PCI_CLASS - a generic match: the 24-bit PCI class code. Ranks below an exact one. */
#define AU_MATCH_PCI_CLASS(code)     "match pci-class " AU_STR(code) "\n"
/** AU_MATCH_VIRTUAL - the driver has no hardware below it; it is named, never matched. */
#define AU_MATCH_VIRTUAL	     "match virtual\n"
/** AU_PARAM_UINT - an unsigned parameter with its default and inclusive range. */
#define AU_PARAM_UINT(name, def, min, max, help) \
	"param uint " name " " AU_STR(def) " " AU_STR(min) " " AU_STR(max) " " help "\n"
/** AU_PARAM_BOOL - a parameter that is 0 or 1. */
#define AU_PARAM_BOOL(name, def, help)	 "param bool " name " " AU_STR(def) " 0 1 " help "\n"
/** AU_PARAM_STRING - a text parameter without white space; @def "-" means empty. */
#define AU_PARAM_STRING(name, def, help) "param string " name " " def " 0 0 " help "\n"
/** AU_RETAIN - retained memory wanted: @bytes that survive the host, of layout @version. */
#define AU_RETAIN(version, bytes)	 "retain " AU_STR(version) " " AU_STR(bytes) "\n"

/**
 * AU_RETAIN_PARAM - the same, where the parameter @name says how many times @bytes are wanted.
 */
#define AU_RETAIN_PARAM(version, name, bytes) \
	"retain " AU_STR(version) " " AU_STR(bytes) " " name "\n"

/**
 * AU_DMA - the driver lets its device read and write memory. Once.
 * @bits: width of the addresses that the device can use, 16 to 64.
 * @bytes: of the arena, from which au_dma_alloc() takes; the queues and tables of the hardware.
 */
#define AU_DMA(bits, bytes) "dma " AU_STR(bits) " " AU_STR(bytes) "\n"

/**
 * AU_LANES - the most lanes that the driver can use, from 2 on; see the end of this header. How
 * many there are is then a parameter, "lanes", of which nobody needs to know but whoever attaches
 * the device: 1 unless it is given. Without this line a driver has one lane. Once.
 */
#define AU_LANES(most)	    "lanes " AU_STR(most) "\n"

/* -------------------------------------------------------------- the driver */

/**
 * enum au_power - device power states, as d0_entry() and d0_exit() see them.
 * @AU_POWER_D0: working.
 * @AU_POWER_D3: low power; registers may have lost their content. The driver owns no request, but
 *	those that it keeps (au_request_stop_ack()) and those of queues that are always on; timers
 *	are stopped, work that is queued is dropped, interrupts are off. Only d0_entry() touches the
 *	device next.
 * @AU_POWER_OFF: first start, or final stop.
 * @AU_POWER_FAILED: only as "from": an earlier host died, or was restarted while clients had the
 *	device open: it is in any state, and what it holds for them is still good. Class settings
 *	are restored.
 */
enum au_power {
	AU_POWER_D0 = 0,
	AU_POWER_D3 = 3,
	AU_POWER_OFF = 4,
	AU_POWER_FAILED = 5,
};

/**
 * struct au_driver - what a module exports, under the symbol "au_driver" (see AU_DRIVER).
 * @size: sizeof(struct au_driver) of the driver's build.
 * @abi: AU_ABI of the driver's build.
 * @context_size: bytes of zeroed memory per device, see au_context(). Freed after release().
 * @flags: 0.
 * @prepare: find and map resources, add units, create queues, interrupts and timers. If it
 *	fails, release() is called all the same.
 * @release: give up what prepare() took and the framework does not know of; everything that was
 *	made through this header goes by itself. Optional.
 * @d0_entry: program the hardware, found in any state; first start, resume and recovery come here.
 *	Interrupts are still off. If it fails, d0_exit() is not called. Optional.
 * @d0_exit: quiet the hardware; interrupts are off. A failure is recorded, the way down goes on.
 *	Optional.
 * @io_start: start work that no request drives. Queues deliver already. Optional.
 * @io_stop: stop it. Optional.
 * @surprise_removed: the device is gone. May come at any time and from another thread: set a flag
 *	and return; the way down follows. Optional.
 * @report: somebody wants to know how the device is: `auriga info`. Say so with au_report_number()
 *	and au_report_text(), and end with au_report_done(), at once or from a later callback. It is
 *	called between io_start() and io_stop() only, and not again before it was ended; d0_exit()
 *	ends it, too. Who does not answer within 150 ms is shown not to. Optional.
 */
struct au_driver {
	uint32_t size;
	uint32_t abi;
	uint32_t context_size;
	uint32_t flags;
	int (*prepare)(struct au_device *dev);
	void (*release)(struct au_device *dev);
	int (*d0_entry)(struct au_device *dev, enum au_power from);
	int (*d0_exit)(struct au_device *dev, enum au_power to);
	int (*io_start)(struct au_device *dev);
	void (*io_stop)(struct au_device *dev);
	void (*surprise_removed)(struct au_device *dev);
	void (*report)(struct au_device *dev, struct au_report *report);
};

/**
 * AU_HEAD - the members that every structure given to the framework starts with. A later version
 * may have more members at the end, of which zero means what this version does: leave out what you
 * do not want to say.
 */
#define AU_HEAD(type) .size = sizeof(type), .abi = AU_ABI

/** AU_DRIVER - begin the definition of the module's descriptor: `AU_DRIVER = { AU_HEAD(struct
 * au_driver), ... };`. */
#define AU_DRIVER                                       \
	extern AU_API const struct au_driver au_driver; \
	const struct au_driver au_driver

/* -------------------------------------------------------------- the device */

/** au_context - the device's context: zeroed at start, @context_size bytes. Any thread. */
AU_API void *au_context(struct au_device *dev);

/** au_device_name - the name by which people know the device ("serial0"). Any thread. */
AU_API const char *au_device_name(const struct au_device *dev);

enum au_log_level { AU_LOG_ERROR, AU_LOG_WARN, AU_LOG_INFO, AU_LOG_DEBUG };

/**
 * au_log - one line, with the device's name, to the host's log and the flight recorder.
 * Any thread of the device. At most 200 characters are kept; rate limited.
 */
AU_API void au_log(struct au_device *dev, enum au_log_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/** au_param_uint - value of a declared parameter, checked against its range before the start. */
AU_API uint64_t au_param_uint(struct au_device *dev, const char *name);

/** au_param_string - value of a declared text parameter; lives as long as the device. */
AU_API const char *au_param_string(struct au_device *dev, const char *name);

/**
 * au_retained - the memory that AU_RETAIN asked for. It outlives the driver's process and is
 * handed to the next: treat its content as hostile input unless @fresh is set.
 * @fresh: set to true when the memory is new and zeroed (first start, or another version).
 * Return: the memory, aligned to a page; NULL when none was declared.
 */
AU_API void *au_retained(struct au_device *dev, bool *fresh);

/**
 * au_device_gone - tell the framework that the device does not answer any more (a register that
 * cannot be all-ones reads so). Starts surprise removal; the driver goes on until it is called
 * down.
 */
AU_API void au_device_gone(struct au_device *dev);

/**
 * au_device_failed - the device is there, but the driver cannot get it to work any more: another
 * life of the driver, behind a reset of the function, may. In a host, this one ends here; inproc,
 * where there is nobody to begin anew, the device is as good as gone.
 * @why: one line, for people.
 */
AU_API void au_device_failed(struct au_device *dev, const char *why);

/**
 * au_device_stop_idle - keep the device in D0 while it has nothing to do for any request: bytes may
 * come by themselves, say. References count; each is named. Lane 0.
 * @tag: what for, in a word or two: a constant of the module.
 * Return: 0: it is in D0; -AU_EAGAIN: it is on its way there, and io_start() says when it has
 * arrived. The reference is held in both cases.
 */
AU_API int au_device_stop_idle(struct au_device *dev, const char *tag);
/** au_device_resume_idle - give up a reference with that tag; what is left at release() is named.
 * Lane 0. */
AU_API void au_device_resume_idle(struct au_device *dev, const char *tag);

/**
 * au_report_number - a line of a report.
 * @key: a-z, 0-9 and _, at most 39: what it is, and in which unit ("temperature_celsius").
 *
 * At most 48 lines; more are left out.
 */
AU_API void au_report_number(struct au_report *report, const char *key, int64_t value);
/** au_report_text - the same with a text, of which the first 79 characters are kept. */
AU_API void au_report_text(struct au_report *report, const char *key, const char *text);
/** au_report_done - that was all. */
AU_API void au_report_done(struct au_report *report);

/**
 * au_sleep_ms - wait. In prepare(), d0_entry(), d0_exit() and release() only, where a device is
 * waited for that has no interrupt to say when it is ready; au_now_ms() goes on meanwhile.
 */
AU_API void au_sleep_ms(struct au_device *dev, uint32_t ms);

/** au_now_ms - the lane's clock in milliseconds, read once per poll batch: costs nothing. */
AU_API uint64_t au_now_ms(struct au_device *dev);

/* ----------------------------------------------------------- PCI, registers */

/** au_pci_read16 - read the function's configuration space; all-ones when the device is gone. */
AU_API uint16_t au_pci_read16(struct au_device *dev, uint32_t offset);
/** au_pci_read32 - see au_pci_read16(). */
AU_API uint32_t au_pci_read32(struct au_device *dev, uint32_t offset);
/** au_pci_find_capability - offset of the first capability @id, or 0. The walk is bounded. */
AU_API uint32_t au_pci_find_capability(struct au_device *dev, uint8_t id);

/**
 * struct au_regs - one mapped register window (a memory or an I/O-port BAR, or part of one).
 * @base: where the window is mapped; NULL when accesses go through the framework: they are
 * messages, or the window is smaller than the largest access.
 * @size: bytes; at least 8 where there is a @base.
 *
 * Read the members only through the functions below. Made by the framework: it grows at the end
 * only, and what is there stays as it is, since drivers have the functions built in.
 */
struct au_regs {
	volatile void *base;
	uint64_t size;
};

/**
 * au_map_bar - map a BAR for register access.
 * @bar: 0 to 5.
 * @min_size: refuse a BAR smaller than this.
 *
 * Memory and I/O-port decoding are switched on before d0_entry(). The window lives until release().
 * Return: 0, -AU_ENXIO when there is no such BAR, -AU_ERANGE when it is too small.
 */
AU_API int au_map_bar(struct au_device *dev, unsigned int bar, uint64_t min_size,
		      struct au_regs **regs);

/**
 * au_sub_regs - a window on part of @parent, for a port of a multi-port device. An access through
 * it cannot leave the part. Lives as long as the parent.
 */
AU_API int au_sub_regs(struct au_regs *parent, uint64_t offset, uint64_t size,
		       struct au_regs **regs);

/* Out of line: windows without a mapping, accesses out of the window (all-ones, dropped, reported).
 */
AU_API uint64_t au_regs_read(struct au_regs *regs, uint64_t offset, uint32_t width);
AU_API void au_regs_write(struct au_regs *regs, uint64_t offset, uint32_t width, uint64_t value);
AU_API void au_regs_post(struct au_regs *regs, uint64_t offset, uint32_t width, uint64_t value);

/* NOLINTBEGIN(bugprone-macro-parentheses): a type is not put in parentheses */
#define AU_REGS_ACCESSORS(bits, type)                                                             \
	/** au_read - read a register; all-ones when the device is gone. */                       \
	static inline type au_read##bits(struct au_regs *r, uint64_t off)                         \
	{                                                                                         \
		if (__builtin_expect(r->base && off <= r->size - sizeof(type), 1))                \
			return *(volatile type *)((volatile char *)r->base + off);                \
		return (type)au_regs_read(r, off, sizeof(type));                                  \
	}                                                                                         \
	/** au_write - write a register; has reached the device when it returns. */               \
	static inline void au_write##bits(struct au_regs *r, uint64_t off, type v)                \
	{                                                                                         \
		if (__builtin_expect(r->base && off <= r->size - sizeof(type), 1))                \
			*(volatile type *)((volatile char *)r->base + off) = v;                   \
		else                                                                              \
			au_regs_write(r, off, sizeof(type), v);                                   \
	}                                                                                         \
	/** au_post - a posted write: in order, but it may reach the device later, at the latest  \
	 * before the next read or write of this device. Cheaper where an access is a message. */ \
	static inline void au_post##bits(struct au_regs *r, uint64_t off, type v)                 \
	{                                                                                         \
		if (__builtin_expect(r->base && off <= r->size - sizeof(type), 1))                \
			*(volatile type *)((volatile char *)r->base + off) = v;                   \
		else                                                                              \
			au_regs_post(r, off, sizeof(type), v);                                    \
	}
AU_REGS_ACCESSORS(8, uint8_t)
AU_REGS_ACCESSORS(16, uint16_t)
AU_REGS_ACCESSORS(32, uint32_t)
AU_REGS_ACCESSORS(64, uint64_t)
/* NOLINTEND(bugprone-macro-parentheses) */

/**
 * au_read_rep8 - read one 8-bit register @count times into @buf (a FIFO). One message where an
 * access is a message. At most 256 at once. Return: 0, or -AU_ENODEV (@buf is then all-ones).
 */
AU_API int au_read_rep8(struct au_regs *regs, uint64_t offset, uint8_t *buf, uint32_t count);

/** au_write_rep8 - write @count bytes to one 8-bit register, in order; posted, as au_post8() is. */
AU_API int au_write_rep8(struct au_regs *regs, uint64_t offset, const uint8_t *buf, uint32_t count);

/** au_all_ones - whether a register value of @width bytes is what a device that is gone reads as.
 */
static inline bool au_all_ones(uint64_t value, uint32_t width)
{
	return value == (width >= 8 ? ~0ull : (1ull << (8 * width)) - 1);
}

/* ------------------------------------------------- memory for the device, DMA */

/**
 * struct au_dma - memory of the driver's that the device can reach. See AU_DMA.
 * @cpu: where it is for the driver.
 * @addr: where it is for the device.
 * @size: bytes; contiguous for both.
 *
 * The device is no more trusted than a client: copy what it wrote, then check the copy.
 */
struct au_dma {
	void *cpu;
	uint64_t addr;
	uint64_t size;
};

/**
 * au_dma_alloc - take zeroed memory from the driver's arena; for queues and tables, not per
 * request.
 * @align: a power of two, at most 1 MiB; at least 64 is used.
 *
 * It is the driver's until au_dma_free() or release(). Return: 0; -AU_ENOMEM: the arena that AU_DMA
 * asks for is too small; -AU_EINVAL.
 */
AU_API int au_dma_alloc(struct au_device *dev, uint64_t size, uint64_t align, struct au_dma *dma);
/** au_dma_free - give it back, when the device has let go of it. */
AU_API void au_dma_free(struct au_device *dev, struct au_dma *dma);

/**
 * struct au_dma_limits - what a device can do in one segment.
 * @align: addresses are multiples of it; a power of two, 0 means 1.
 * @segment_size: bytes of one segment at most; 0: no limit.
 * @boundary: no segment crosses a multiple of it; a power of two, 0: none.
 */
struct au_dma_limits {
	uint32_t align;
	uint32_t segment_size;
	uint64_t boundary;
};

/** au_dma_wmb - what was written to shared memory before is there before what is written after. */
static inline void au_dma_wmb(void)
{
	__atomic_thread_fence(__ATOMIC_RELEASE);
}

/** au_dma_rmb - what is read after was not read before what is read before: a valid bit, an entry.
 */
static inline void au_dma_rmb(void)
{
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
}

/** au_dma_mb - both, and writes before reads: a doorbell in memory, then whether it is looked at.
 */
static inline void au_dma_mb(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/** struct au_dma_segment - memory that is contiguous for the device, and within its limits. */
struct au_dma_segment {
	uint64_t addr;
	uint32_t length;
};

/**
 * au_dma_segments - cut a request's data (from au_request.dma on) into segments.
 * @segments: gets at most @max of them.
 * Return: how many; -AU_ERANGE: more than @max; -AU_EINVAL: not aligned.
 */
AU_API int au_dma_segments(const struct au_request *req, const struct au_dma_limits *limits,
			   struct au_dma_segment *segments, unsigned int max);

/* -------------------------------------------------------------- interrupts */

/**
 * struct au_irq_config - an interrupt.
 * @size: sizeof(struct au_irq_config); see AU_HEAD.
 * @abi: AU_ABI.
 * @vector: below au_irq_count(). Message interrupts (MSI-X, MSI) where the device has them, else 0:
 *	INTx. Several may share INTx; each message has one. The device knows its messages when
 *	d0_entry() is called, and what it sends from then on is not lost.
 * @context: returned by au_irq_context().
 * @isr: latch volatile status, quiet the device; must not complete requests. Returns whether the
 *	device had raised it. Optional: without it the dpc always runs.
 * @dpc: runs on the lane after isr() said true: process and complete.
 * @lane: where both run; NULL: lane 0, which is the only one for INTx.
 *
 * The framework masks a level interrupt when it arrives and unmasks it after the dpc; it counts
 * interrupts that nobody claims and polls instead when there is a storm.
 */
struct au_irq_config {
	uint32_t size;
	uint32_t abi;
	uint32_t vector;
	void *context;
	bool (*isr)(struct au_irq *irq);
	void (*dpc)(struct au_irq *irq);
	struct au_lane *lane;
};

/** au_irq_count - how many vectors there are: the device's messages, or 1 for INTx, or 0. */
AU_API unsigned int au_irq_count(struct au_device *dev);
/** au_irq_create - connect an interrupt. In prepare() only; enabled after d0_entry(). */
AU_API int au_irq_create(struct au_device *dev, const struct au_irq_config *config,
			 struct au_irq **irq);
/** au_irq_context - the @context of its configuration. */
AU_API void *au_irq_context(const struct au_irq *irq);
/** au_irq_kick - run the dpc once more, as if the interrupt had arrived. Lane only. */
AU_API void au_irq_kick(struct au_irq *irq);

/* ----------------------------------------------------------------- polling */

/**
 * struct au_poller_config - something to do in every turn of the lane while it is awake.
 * @size: sizeof(struct au_poller_config); see AU_HEAD.
 * @abi: AU_ABI.
 * @context: for both functions.
 * @poll: ring doorbells for what was delivered since the last turn, take completions. Returns how
 *	much there was to do. Called between d0_entry() and d0_exit() only.
 * @idle: the lane is about to sleep: whether nothing is to be done that no interrupt would tell of.
 *	Called after a poll() that found nothing; look once more. Optional: yes.
 * @lane: which lane's turns; NULL: lane 0's.
 *
 * A lane that has work polls, and takes interrupts only to be woken from sleep; so one driver is
 * both polled and driven by interrupts, and does one of them where the device cannot do the other.
 */
struct au_poller_config {
	uint32_t size;
	uint32_t abi;
	void *context;
	unsigned int (*poll)(void *context);
	bool (*idle)(void *context);
	struct au_lane *lane;
};

/** au_poller_create - add a poller to a lane of the device. In prepare() only. */
AU_API int au_poller_create(struct au_device *dev, const struct au_poller_config *config,
			    struct au_poller **poller);

/* ---------------------------------------------------------- timers and work */

/**
 * au_timer_create - a timer of the device; @fn runs on the lane, never after au_timer_stop().
 * Stopped before d0_exit(), gone with the device.
 */
AU_API int au_timer_create(struct au_device *dev, void (*fn)(struct au_timer *timer, void *context),
			   void *context, struct au_timer **timer);
/** au_timer_create_on - the same on another lane than lane 0. A timer is started and stopped on its
 * own lane only, or while that is parked. */
AU_API int au_timer_create_on(struct au_lane *lane, struct au_device *dev,
			      void (*fn)(struct au_timer *timer, void *context), void *context,
			      struct au_timer **timer);
/** au_timer_start - (re)start it: once after @ms, or every @ms when @periodic. */
AU_API void au_timer_start(struct au_timer *timer, uint32_t ms, bool periodic);
/** au_timer_stop - stop it; harmless when it is not running. */
AU_API void au_timer_stop(struct au_timer *timer);

/** au_work_create - a work item: @fn runs on lane 0 once for any number of au_work_queue(). */
AU_API int au_work_create(struct au_device *dev, void (*fn)(struct au_work *work, void *context),
			  void *context, struct au_work **work);
/** au_work_queue - run it soon. Any thread of the device. */
AU_API void au_work_queue(struct au_work *work);

/* --------------------------------------------------------- requests, queues */

/**
 * struct au_request - one request, as the driver that owns it sees it. Read only, except @driver.
 * @op: the operation; numbers are the class's.
 * @flags: AU_REQ_*.
 * @length: bytes at @data.
 * @arg: operands, by operation.
 * @data: the data buffer; dies at completion. A client in another process can change its content
 *	at any time: copy what must not change, then check the copy.
 * @driver: the owner's to use; zero at delivery.
 * @dma: where the device finds @data, all of it contiguous, when the driver uses DMA (AU_DMA).
 *
 * Made by the framework, which may have more behind it than a driver's build knows: members are
 * added at the end only, and drivers never copy or allocate one.
 *
 * A request has one owner. The driver owns it from delivery until it completes it, hands it back
 * or forwards it; any use by another is caught and named by the verifier.
 */
struct au_request {
	uint16_t op;
	uint16_t flags;
	uint32_t length;
	uint64_t arg[2];
	void *data;
	void *driver[2];
	uint64_t dma;
};

/* Flags below 0x0100 are the framework's, the others the class'. */
#define AU_REQ_REPLAY 0x0001 /* was outstanding when an earlier host died */

/**
 * au_request_complete - give the request back to its client. The caller must own it, and must have
 * cleared what it set with au_request_set_cancelable().
 * @status: 0 or a negative error.
 * @result: by operation; mostly bytes.
 */
AU_API void au_request_complete(struct au_request *req, int status, uint32_t result);

/** au_request_complete_status - the same, with the device's own status code kept for the client. */
AU_API void au_request_complete_status(struct au_request *req, int status, uint32_t result,
				       uint16_t device_status);

/**
 * au_request_set_cancelable - allow cancellation of a request that is held for long.
 * @cancel: called at most once, on the lane; the request is then the callback's to complete, now
 *	or later.
 * Return: 0; -AU_ECANCELED when it is cancelled already: @cancel is then never called and the
 * caller completes it.
 */
AU_API int au_request_set_cancelable(struct au_request *req,
				     void (*cancel)(struct au_request *req));
/**
 * au_request_clear_cancelable - the other half: `if (au_request_clear_cancelable(r) == 0)
 * au_request_complete(r, ...);`.
 * Return: 0: the caller owns the completion; -AU_ECANCELED: the cancel callback has it, hands off.
 */
AU_API int au_request_clear_cancelable(struct au_request *req);
/** au_request_is_canceled - for drivers that poll; not while it is cancelable. */
AU_API bool au_request_is_canceled(struct au_request *req);
/** au_request_handle - a number that tells it from others, for logs. */
AU_API uint64_t au_request_handle(const struct au_request *req);
/** au_request_unit - the unit it was sent to. */
AU_API struct au_unit *au_request_unit(const struct au_request *req);
/** au_request_queue - the queue that delivered it. */
AU_API struct au_queue *au_request_queue(const struct au_request *req);

/** au_request_requeue - hand it back to the head of its queue, to be delivered again. */
AU_API int au_request_requeue(struct au_request *req);
/**
 * au_request_stop_ack - the answer to the queue's stop(), for a request that the driver does not
 * complete; from within stop(), or later, when the hardware has let go of it.
 * @requeue: true: back to the head of its queue, in its old order, to be delivered again when the
 *	device is up; it must not be cancelable. false: the driver keeps it, and does nothing with
 *	it until resume(); it may be cancelled meanwhile, if it is cancelable. After
 *	AU_STOP_REMOVE both mean that the driver has let go of it: it ends with -AU_ENODEV.
 * Return: 0; -AU_EINVAL: stop() was not called for it, or it has been answered.
 */
AU_API int au_request_stop_ack(struct au_request *req, bool requeue);
/** au_request_forward - hand it to the tail of another queue of the same unit. */
AU_API int au_request_forward(struct au_request *req, struct au_queue *queue);

/**
 * enum au_queue_kind - how a queue delivers.
 * @AU_QUEUE_SEQUENTIAL: the next one when the driver no longer owns the one before.
 * @AU_QUEUE_PARALLEL: as they come, while the driver owns fewer than @depth.
 * @AU_QUEUE_MANUAL: the driver takes them with au_queue_next().
 */
enum au_queue_kind { AU_QUEUE_SEQUENTIAL, AU_QUEUE_PARALLEL, AU_QUEUE_MANUAL };

/**
 * enum au_queue_state - what a queue accepts and delivers.
 * @AU_QUEUE_READY: accepts and delivers.
 * @AU_QUEUE_STOPPED: accepts, does not deliver.
 * @AU_QUEUE_DRAINING: refuses with -AU_EAGAIN, delivers what it has.
 * @AU_QUEUE_PURGED: refuses with -AU_ECANCELED, cancels what it has and what the driver owns.
 */
enum au_queue_state {
	AU_QUEUE_READY,
	AU_QUEUE_STOPPED,
	AU_QUEUE_DRAINING,
	AU_QUEUE_PURGED,
};

/* au_queue_config.flags */

/** AU_QUEUE_ALWAYS_ON - it is not power-managed: it delivers in D3 too, where the driver must not
 * touch the device, and what it has delivered keeps nobody from going there. */
#define AU_QUEUE_ALWAYS_ON 0x1u

/**
 * enum au_stop - why stop() is called.
 * @AU_STOP_POWER: the device leaves D0, and comes back.
 * @AU_STOP_REMOVE: it is stopped, or gone: nothing is kept.
 */
enum au_stop { AU_STOP_POWER = 1, AU_STOP_REMOVE = 2 };

/**
 * struct au_queue_config - a queue of a unit.
 * @size: sizeof(struct au_queue_config); see AU_HEAD.
 * @abi: AU_ABI.
 * @kind: how it delivers.
 * @depth: PARALLEL: how many requests the driver owns at most (the hardware's depth); 0: no bound.
 * @context: returned by au_queue_context().
 * @deliver: a request becomes the driver's; it may complete it at once. SEQUENTIAL and PARALLEL.
 * @ready: MANUAL: the queue went from empty to not empty. Optional.
 * @settled: a stop, drain or purge is done: the driver owns no request of the queue. Optional.
 * @contexts: with several lanes: one for each, which au_queue_context() returns instead of
 *	@context. Copied. Optional.
 * @flags: AU_QUEUE_ALWAYS_ON, or 0: power-managed: it delivers in D0 only, and a request that waits
 *	in it while the device sleeps wakes that.
 * @reserved: 0.
 * @stop: the device leaves D0, and the driver owns this request (@why: enum au_stop): it completes
 *	it, or calls au_request_stop_ack(), now or soon. Interrupts are still on. Oldest first; not
 *	for one that is completed meanwhile, or whose cancel callback was called. Without it the
 *	framework waits for the completion, for a bounded time; who does not answer is named, and
 *	given up. With it every request of the queue costs somewhat more. Optional.
 * @resume: the device is in D0 again, and this request, which the driver kept, is its own as
 *	before. Oldest first, before anything new is delivered. Optional.
 *
 * With several lanes this makes a queue for each of them, of which the caller gets lane 0's: a
 * request is delivered by its lane's, on its lane, and to change the state of one is to change that
 * one.
 */
struct au_queue_config {
	uint32_t size;
	uint32_t abi;
	enum au_queue_kind kind;
	uint32_t depth;
	void *context;
	void (*deliver)(struct au_queue *queue, struct au_request *req);
	void (*ready)(struct au_queue *queue);
	void (*settled)(struct au_queue *queue, enum au_queue_state state);
	void *const *contexts;
	uint32_t flags;
	uint32_t reserved;
	void (*stop)(struct au_queue *queue, struct au_request *req, uint32_t why);
	void (*resume)(struct au_queue *queue, struct au_request *req);
};

/** au_queue_create - add a queue to a unit; the first one is the unit's default. In prepare(). */
AU_API int au_queue_create(struct au_unit *unit, const struct au_queue_config *config,
			   struct au_queue **queue);
/** au_queue_route - send operation @op of the queue's unit here rather than to the default. */
AU_API int au_queue_route(struct au_queue *queue, uint16_t op);
/** au_queue_context - the @context of its configuration. */
AU_API void *au_queue_context(const struct au_queue *queue);
/** au_queue_next - take the oldest waiting request (MANUAL, or to run ahead); NULL when none. */
AU_API struct au_request *au_queue_next(struct au_queue *queue);
/** au_queue_state - its state. */
AU_API enum au_queue_state au_queue_state(const struct au_queue *queue);
/** au_queue_set_state - stop, drain, purge or restart it; settled() is called when that is done.
 * Return: 0; -AU_EBUSY while an earlier change has not settled; -AU_EINVAL for DRAINING when
 * stopped. */
AU_API int au_queue_set_state(struct au_queue *queue, enum au_queue_state state);

/* ------------------------------------------------------------------- units */

/**
 * struct au_unit_config - a unit of class "raw", whose requests reach the driver as they are.
 * The other classes have their own function for adding a unit.
 * @size: sizeof(struct au_unit_config); see AU_HEAD.
 * @abi: AU_ABI.
 * @context: returned by au_unit_context().
 * @opened: the first client is there. Optional.
 * @closed: the last client has gone; its requests are complete. Optional.
 */
struct au_unit_config {
	uint32_t size;
	uint32_t abi;
	void *context;
	void (*opened)(struct au_unit *unit);
	void (*closed)(struct au_unit *unit);
};

/** au_unit_add - add a raw unit. In prepare(), or later for units that come and go. */
AU_API int au_unit_add(struct au_device *dev, const struct au_unit_config *config,
		       struct au_unit **unit);
/** au_unit_remove - take a unit away: what it holds completes with -AU_ENODEV, clients are told. */
AU_API void au_unit_remove(struct au_unit *unit);
/** au_unit_context - the @context of its configuration. */
AU_API void *au_unit_context(const struct au_unit *unit);
/** au_unit_device - its device. */
AU_API struct au_device *au_unit_device(const struct au_unit *unit);

/**
 * au_unit_event - tell every client of the unit. Coalesced per @kind while a client does not
 * read: counts add up, @arg is the last one.
 */
AU_API void au_unit_event(struct au_unit *unit, uint16_t kind, uint32_t count, uint64_t arg0,
			  uint64_t arg1);

/* ------------------------------------------------------------------- lanes */

/*
 * A driver with AU_LANES may have several lanes, each a thread of its own, for hardware that has a
 * queue for each. What is opened belongs to one of them for its life: its requests are delivered,
 * cancelled and completed there, and nowhere else. Everything of the device as a whole is on lane
 * 0: the callbacks of &struct au_driver, timers, work, units, au_dma_alloc(), and interrupts and
 * pollers that do not say otherwise. So a driver needs no locks: what belongs to a lane is touched
 * on that lane; what belongs to all of them on lane 0, while the others are parked.
 *
 * The other lanes are parked, between two turns, while a callback of &struct au_driver runs,
 * surprise_removed() aside, and while lane 0 wants it so. Registers may be used on any lane.
 */

/** au_device_lanes - how many lanes the device has; from prepare() on it does not change. */
AU_API unsigned int au_device_lanes(struct au_device *dev);
/** au_device_lane - the device's lane @index (0 always exists), or NULL. */
AU_API struct au_lane *au_device_lane(struct au_device *dev, unsigned int index);
/** au_device_use_lanes - the hardware has no queues for more than the first @count: the others get
 * nothing to do. In prepare() or d0_entry(). */
AU_API void au_device_use_lanes(struct au_device *dev, unsigned int count);
/** au_device_park - park the other lanes: their requests, queues and timers may be touched until
 * au_device_unpark(). May be nested. Lane 0. */
AU_API void au_device_park(struct au_device *dev);
/** au_device_unpark - let them go on. Lane 0. */
AU_API void au_device_unpark(struct au_device *dev);
/** au_request_lane - the number of the lane that the request belongs to. */
AU_API unsigned int au_request_lane(const struct au_request *req);
/** au_queue_lane - the number of the lane that the queue is for. */
AU_API unsigned int au_queue_lane(const struct au_queue *queue);
/** au_lane_now_ms - the lane's own clock; au_now_ms() is lane 0's. On that lane. */
AU_API uint64_t au_lane_now_ms(const struct au_lane *lane);

#ifdef __cplusplus
}
#endif

#endif
