/* SPDX-License-Identifier: MIT */
#include "manager/budget.h"

#include <string.h>

void mgr_budget_init(struct mgr_budget *budget)
{
	memset(budget, 0, sizeof(*budget));
	budget->tokens = MGR_BUDGET_TOKENS;
}

static void budget_earn(struct mgr_budget *budget, uint32_t *have, uint64_t more, uint32_t price)
{
	uint64_t sum = *have + more;

	while (sum >= price && budget->tokens < MGR_BUDGET_TOKENS) {
		sum -= price;
		budget->tokens++;
	}
	/* A full bucket saves nothing up beyond the next token. */
	*have = (uint32_t)(sum % price);
}

void mgr_budget_service(struct mgr_budget *budget, uint64_t completions, uint64_t ms)
{
	if (completions > UINT32_MAX)
		completions = UINT32_MAX;
	if (ms > UINT32_MAX)
		ms = UINT32_MAX;
	if (completions || budget->service_ms + ms >= MGR_BUDGET_SERVICE_MS)
		budget->progress = true;
	/* The count is the host's own word: whatever it says, a token takes a second of service. */
	if (completions > ms)
		completions = ms;
	budget_earn(budget, &budget->completions, completions, MGR_BUDGET_COMPLETIONS);
	budget_earn(budget, &budget->service_ms, ms, MGR_BUDGET_SERVICE_MS);
}

bool mgr_budget_failure(struct mgr_budget *budget, bool charge, uint32_t *delay_ms)
{
	uint32_t shift;

	if (budget->progress)
		budget->streak = 0;
	budget->progress = false;
	*delay_ms = 0;
	if (charge) {
		if (!budget->tokens)
			return false;
		budget->tokens--;
	}
	if (budget->streak) {
		shift = budget->streak - 1;
		*delay_ms = shift < 8 ? MGR_BUDGET_BACKOFF_MS << shift : MGR_BUDGET_BACKOFF_MAX_MS;
		if (*delay_ms > MGR_BUDGET_BACKOFF_MAX_MS)
			*delay_ms = MGR_BUDGET_BACKOFF_MAX_MS;
	}
	if (budget->streak < UINT32_MAX)
		budget->streak++;
	return true;
}
