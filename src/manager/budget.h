/* SPDX-License-Identifier: MIT */
/**
 * DOC: The restart budget: how often, and how soon, a driver that failed is started again
 *
 * A bucket of 5; each failure takes one; 1,000 completions, at most one counted for each ms of
 * service, or 10 s of service give one back: for one who lies about completions it is a second. The
 * first failure after progress is restarted at once, the next ones after 50, 100, 200 ... ms, at
 * most 10 s. Progress is a completed request, or 10 s of service. Only counting: no clock, no I/O.
 */
#ifndef AU_MANAGER_BUDGET_H
#define AU_MANAGER_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

#define MGR_BUDGET_TOKENS	  5u
#define MGR_BUDGET_COMPLETIONS	  1000u
#define MGR_BUDGET_SERVICE_MS	  10000u
#define MGR_BUDGET_BACKOFF_MS	  50u
#define MGR_BUDGET_BACKOFF_MAX_MS 10000u

/**
 * struct mgr_budget - of one device.
 * @tokens: failures it can still afford.
 * @streak: failures since the last progress.
 * @completions, @service_ms: towards the next token.
 * @progress: there was some since the last failure.
 */
struct mgr_budget {
	uint32_t tokens;
	uint32_t streak;
	uint32_t completions;
	uint32_t service_ms;
	bool progress;
};

/** mgr_budget_init - a full bucket: a new device, or one that somebody restarted. */
void mgr_budget_init(struct mgr_budget *budget);
/** mgr_budget_service - the driver has served so long and completed so much more. */
void mgr_budget_service(struct mgr_budget *budget, uint64_t completions, uint64_t ms);
/**
 * mgr_budget_failure - the driver failed.
 * @charge: take a token; false for a death that somebody else caused, which still waits its turn.
 * @delay_ms: how long to wait before the restart.
 * Return: whether there is to be one; false: quarantine.
 */
bool mgr_budget_failure(struct mgr_budget *budget, bool charge, uint32_t *delay_ms);

#endif
