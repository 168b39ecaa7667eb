/* SPDX-License-Identifier: MIT */
/* The text of the policy "verify". */
#include "base/verify.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAY(...)    snprintf(error, error_size, __VA_ARGS__)

#define VERIFY_SEED 1u /* unless one is given: what happens once happens again */

static const struct {
	const char *name;
	uint32_t number, least, most;
	const char *what;
} verify_injections[AU_INJECT_COUNT] = {
#define VERIFY_INJECTION(id, name, number, least, most, what) { name, number, least, most, what },
	AU_INJECTIONS(VERIFY_INJECTION)
#undef VERIFY_INJECTION
};

const char *au_injection_name(unsigned int index)
{
	return index < AU_INJECT_COUNT ? verify_injections[index].name : NULL;
}

static bool verify_number(const char *text, uint64_t *number)
{
	char *end;

	errno = 0;
	*number = strtoull(text, &end, 10);
	return *text >= '0' && *text <= '9' && !*end && !errno;
}

static int verify_unknown(const char *part, char *error, size_t error_size)
{
	size_t used =
		(size_t)SAY("verify: '%.20s' is unknown: use yes or no, or any of rules", part);

	for (unsigned int i = 0; i < AU_INJECT_COUNT && used < error_size; i++)
		used += (size_t)snprintf(error + used, error_size - used, ", %s",
					 verify_injections[i].name);
	if (used < error_size)
		snprintf(error + used, error_size - used, " and seed=N");
	return -EINVAL;
}

/* An injection, with or without a number. */
static int verify_injection(const char *part, const char *value, struct au_verify *verify,
			    char *error, size_t error_size)
{
	uint64_t number;

	for (unsigned int i = 0; i < AU_INJECT_COUNT; i++) {
		if (strcmp(part, verify_injections[i].name) != 0)
			continue;
		number = verify_injections[i].number;
		if (value &&
		    (!verify_number(value, &number) || number < verify_injections[i].least ||
		     number > verify_injections[i].most)) {
			SAY("verify: %s:%.20s: the number is %s, from %u to %u", part, value,
			    verify_injections[i].what, verify_injections[i].least,
			    verify_injections[i].most);
			return -EINVAL;
		}
		verify->what |= 1u << i;
		verify->number[i] = (uint32_t)number;
		return 0;
	}
	return verify_unknown(part, error, error_size);
}

static int verify_part(char *part, struct au_verify *verify, char *error, size_t error_size)
{
	static const char *const yes[] = { "rules", "yes", "true", "on", "1" };
	size_t length = strcspn(part, ":=");
	const char *value = part[length] ? part + length + 1 : NULL;

	part[length] = 0;
	for (unsigned int i = 0; !value && i < sizeof(yes) / sizeof(yes[0]); i++) {
		if (!strcmp(part, yes[i])) {
			verify->rules = true;
			return 0;
		}
	}
	if (!strcmp(part, "seed")) {
		if (value && verify_number(value, &verify->seed))
			return 0;
		SAY("verify: seed=%.20s: use a number", value ? value : "");
		return -EINVAL;
	}
	return verify_injection(part, value, verify, error, error_size);
}

int au_verify_parse(const char *text, struct au_verify *verify, char *error, size_t error_size)
{
	static const char *const no[] = { "no", "false", "off", "0" };
	char copy[AU_VERIFY_TEXT];
	char *part = copy;
	int err = 0;

	memset(verify, 0, sizeof(*verify));
	for (unsigned int i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		if (!strcmp(text, no[i]))
			return 0;
	if (strlen(text) >= sizeof(copy)) {
		SAY("verify: %zu characters are too long: at most %zu", strlen(text),
		    sizeof(copy) - 1);
		return -EINVAL;
	}
	memcpy(copy, text, strlen(text) + 1);
	verify->seed = VERIFY_SEED;
	while (part && !err) {
		char *next = strpbrk(part, ",+");

		if (next)
			*next++ = 0;
		err = verify_part(part, verify, error, error_size);
		part = next;
	}
	/* A seed alone is nothing. */
	if (err || (!verify->rules && !verify->what))
		memset(verify, 0, sizeof(*verify));
	return err;
}

void au_verify_print(const struct au_verify *verify, char separator, char text[AU_VERIFY_TEXT])
{
	size_t used = 0;

	if (!verify->what) {
		snprintf(text, AU_VERIFY_TEXT, "%s", verify->rules ? "yes" : "no");
		return;
	}
	if (verify->rules)
		used = (size_t)snprintf(text, AU_VERIFY_TEXT, "rules%c", separator);
	for (unsigned int i = 0; i < AU_INJECT_COUNT; i++) {
		if (!(verify->what & (1u << i)))
			continue;
		used += (size_t)snprintf(text + used, AU_VERIFY_TEXT - used, "%s:%u%c",
					 verify_injections[i].name, verify->number[i], separator);
	}
	snprintf(text + used, AU_VERIFY_TEXT - used, "seed:%llu", (unsigned long long)verify->seed);
}
