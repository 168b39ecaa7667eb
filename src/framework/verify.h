/* SPDX-License-Identifier: MIT */
/**
 * DOC: The verifier, inside: its rules, where it looks, and where it lets things fail
 *
 * The end of internal.h, which includes it. verify.c: rules; verify_calls.c: what stands before the
 * driver's callbacks; inject*.c, see inject.h: faults.
 */
#ifndef AU_FRAMEWORK_VERIFY_H
#define AU_FRAMEWORK_VERIFY_H

#include "framework/internal.h"

/* ------------------------------------------------------------------- rules */

/* X(name, rule): what the driver has to do, as docs and messages have it */
#define AUF_RULES(X)                                                                            \
	X(double_completion, "double-completion", "a request is completed once")                \
	X(unowned_completion, "unowned-completion", "only its owner completes a request")       \
	X(use_after_completion, "use-after-completion", "a completed request is not touched")   \
	X(completion_cancelable, "completion-while-cancelable",                                 \
	  "au_request_clear_cancelable() comes before completion, requeue and forward")         \
	X(completion_in_isr, "completion-in-isr", "isr() only latches; dpc() completes")        \
	X(cancelable_twice, "cancelable-twice", "a request is made cancelable once at a time")  \
	X(clear_unmatched, "unmatched-clear",                                                   \
	  "au_request_clear_cancelable() follows au_request_set_cancelable()")                  \
	X(canceled_polled, "poll-while-cancelable",                                             \
	  "au_request_is_canceled() is for requests that are not cancelable")                   \
	X(foreign_queue, "foreign-queue", "a request stays with the queues of its unit")        \
	X(request_leaked, "request-leaked",                                                     \
	  "the driver owns no request any more when d0_exit() returns")                         \
	X(register_outside, "register-outside", "accesses stay within their window")            \
	X(dma_free, "dma-free", "au_dma_free() gets what au_dma_alloc() gave, once")            \
	X(create_late, "create-outside-prepare", "queues and interrupts are made in prepare()") \
	X(wrong_lane, "wrong-lane",                                                             \
	  "requests are used on their own lane, units and the device on lane 0")                \
	X(stop_ack, "stop-ack-outside-stop", "au_request_stop_ack() answers stop(), once")      \
	X(stop_unanswered, "stop-unanswered",                                                   \
	  "what the driver owns is completed or acknowledged when the device leaves D0")        \
	X(power_reference, "power-reference",                                                   \
	  "au_device_resume_idle() follows au_device_stop_idle() with its tag; none is left")   \
	X(delivery_outside, "delivery-outside-d0",                                              \
	  "requests are delivered in D0 only, but for queues that are always on")               \
	X(request_changed, "request-changed", "a request is only read, but for driver[]")       \
	X(completion_long, "completion-too-long",                                               \
	  "a result is no more bytes than the request has")                                     \
	X(completion_status, "completion-status", "a status is 0 or a negative error")          \
	X(callback_time, "callback-time",                                                       \
	  "a callback takes no more of the processor's time than its kind may")                 \
	X(sleep, "sleep-in-callback",                                                           \
	  "au_sleep_ms() is for prepare(), d0_entry(), d0_exit() and release()")                \
	X(register_d0, "register-outside-d0",                                                   \
	  "registers are touched from d0_entry() to d0_exit() only")                            \
	X(irq_after_disable, "interrupt-after-disable",                                         \
	  "an interrupt is served, and kicked, between d0_entry() and d0_exit() only")          \
	X(surprise_work, "work-in-surprise-removed",                                            \
	  "surprise_removed() only sets flags and wakes waiters")                               \
	X(object_leaked, "object-leaked",                                                       \
	  "not each d0_entry() makes timers, work items or windows")                            \
	X(dma_mapped, "dma-mapped-at-release",                                                  \
	  "what each d0_entry() takes with au_dma_alloc() each d0_exit() frees")

enum auf_rule {
#define AUF_RULE_ENUM(name, text, help) RULE_##name,
	AUF_RULES(AUF_RULE_ENUM)
#undef AUF_RULE_ENUM
		RULE_COUNT
};

/** auf_violation - the driver broke a rule: one line that names it; with the verifier on, then
 * auf_verify_action(). @r may be NULL. */
void auf_violation(struct au_device *dev, enum auf_rule rule, const struct auf_request *r);

/* -------------------------------------------- what stands before the driver */

enum auf_call {
	CALL_PREPARE,
	CALL_RELEASE,
	CALL_D0_ENTRY,
	CALL_D0_EXIT,
	CALL_IO_START,
	CALL_IO_STOP,
	CALL_SURPRISE,
	CALL_REPORT,
	CALL_ISR,
	CALL_DPC,
	CALL_DELIVER,
	CALL_CANCEL,
	CALL_STOP,
	CALL_RESUME,
	CALL_TIMER,
	CALL_WORK,
	CALL_POLL,
	CALL_COUNT
};

/* What was made after so many different calls of d0_entry() is made by each. */
#define VERIFY_PERIODS	 3u
#define VERIFY_ERROR_MAX 4095

/** auf_verify_init - put it before the driver's callbacks, if it is on. */
void auf_verify_init(struct au_device *dev);
/** auf_verify_irq - before an interrupt's. */
void auf_verify_irq(struct au_irq *irq);
/** auf_verify_kick - the driver asks for its dpc(). Return: whether that is allowed now. */
bool auf_verify_kick(const struct au_irq *irq);
/** auf_verify_begin - a callback is about to be called. */
uint64_t auf_verify_begin(const struct au_device *dev);
/** auf_verify_end - it has returned: what it took. */
void auf_verify_end(struct au_device *dev, enum auf_call call, uint64_t began);
/** AUF_CALL - call the driver, somewhere where things are slow anyway. */
#define AUF_CALL(dev, kind, call)                                                         \
	do {                                                                              \
		struct au_device *called = (dev);                                         \
		uint64_t began = unlikely(called->verify) ? auf_verify_begin(called) : 0; \
		call;                                                                     \
		if (unlikely(began))                                                      \
			auf_verify_end(called, kind, began);                              \
	} while (0)
/** auf_verify_deliver - a queue's deliver(). */
void auf_verify_deliver(struct au_queue *queue, struct au_request *req);
/** auf_verify_delivered - a request has become the driver's, and is about to be delivered. */
void auf_verify_delivered(struct au_queue *queue, struct auf_request *r);
/** auf_verify_completed - its owner completes it: what it says is put right. */
void auf_verify_completed(struct auf_request *r, int *status, uint32_t *result);
/** auf_verify_surprise - something is done that surprise_removed() must not do. */
void auf_verify_surprise(struct au_device *dev);
/** auf_verify_regs - a register is touched. Return: whether that is allowed now. */
bool auf_verify_regs(struct au_device *dev);
/** auf_verify_sleep - the driver sleeps. Also without the verifier. */
void auf_verify_sleep(struct au_device *dev);
/** auf_periods - after how many different calls of d0_entry() something was made; @mask from 0. */
static inline unsigned int auf_periods(uint64_t mask)
{
	return (unsigned int)__builtin_popcountll(mask);
}
/** auf_period - for such a mask; nothing for what prepare() has made. */
static inline uint64_t auf_period(uint32_t period)
{
	return period ? 1ull << (period % 64) : 0;
}
/** auf_dma_periods - of the driver's blocks. */
unsigned int auf_dma_periods(const struct au_device *dev);
/** auf_timers_periods - of timers and work items. */
unsigned int auf_timers_periods(const struct au_device *dev);
/** auf_regs_periods - of windows. */
unsigned int auf_regs_periods(const struct au_device *dev);

/* ----------------------------------------------------------------- injection */

/** auf_inject_init - what the device's configuration wants. Return: 0 or -ENOMEM. */
int auf_inject_init(struct au_device *dev, const struct au_verify *want);
/** auf_inject_lanes - and its lanes, when they are known. */
void auf_inject_lanes(struct au_device *dev);
/** auf_inject_leave - no more of it: say how much there was. */
void auf_inject_leave(struct au_device *dev);
/** auf_inject_step - the machine has taken so many. */
void auf_inject_step(struct au_device *dev, unsigned int step);
/** auf_inject_irq_on - an interrupt is about to be attended to on its lane. */
void auf_inject_irq_on(struct au_device *dev, struct auf_source *source, bool line);
/** auf_inject_irq_off - it is not any more; before it leaves the lane. */
void auf_inject_irq_off(struct au_device *dev, struct auf_source *source);
/** auf_inject_handle - a new handle of a device with injection. Return: 0 or -ENOMEM. */
int auf_inject_handle(struct auf_handle *handle);
/** auf_inject_handle_orphan - its unit goes: it hears at once of what is complete. */
void auf_inject_handle_orphan(struct auf_handle *handle);
/** auf_inject_handle_close - it wants to hear of nothing any more. */
void auf_inject_handle_close(struct auf_handle *handle);
/** auf_inject_handle_free - with the handle. */
void auf_inject_handle_free(struct auf_handle *handle);
/** auf_inject_delay - wait, or not. Any thread. */
void auf_inject_delay(struct auf_inject *inject);
/** auf_lane_delay - at a place where @lane and another thread hand over. Any thread. */
static inline void auf_lane_delay(struct au_lane *lane)
{
	struct auf_inject *inject = atomic_load_explicit(&lane->inject, memory_order_acquire);

	if (unlikely(inject))
		auf_inject_delay(inject);
}

#endif
