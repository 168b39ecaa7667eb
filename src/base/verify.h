/* SPDX-License-Identifier: MIT */
/**
 * DOC: What the policy "verify" says: the verifier's rules, and the faults to inject
 *
 * One text, checked in one place for files, requests, and targets inproc: parts with commas or plus
 * signs between them, in any order. "yes" and "rules" are the rules, "no" is nothing at all. A part
 * that injects something may have a number behind a colon. docs/verifier.md explains each.
 */
#ifndef AU_BASE_VERIFY_H
#define AU_BASE_VERIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* X(id, name, default number, least, most, what the number is) */
#define AU_INJECTIONS(X)                                                             \
	X(alloc, "alloc", 0, 0, 100000, "the call stack whose allocation fails")     \
	X(alloc_random, "alloc-random", 10, 1, 1000000, "one allocation in so many") \
	X(irq_lost, "irq-lost", 100, 1, 1000000, "one interrupt in so many")         \
	X(irq_spurious, "irq-spurious", 20, 1, 60000, "ms between two, about")       \
	X(irq_storm, "irq-storm", 1000, 1, 60000, "ms between two, about")           \
	X(late, "late", 10, 1, 1000, "ms at most")                                   \
	X(reorder, "reorder", 2, 1, 1000, "ms at most")                              \
	X(all_ones, "all-ones", 1000, 1, 1000000000, "register accesses until then") \
	X(delay, "delay", 200, 1, 100000, "us at most")                              \
	X(surprise, "surprise", 1, 1, 1000000, "the step of the state machine")

enum au_injection {
#define AU_INJECTION_ENUM(id, name, number, least, most, what) AU_INJECT_##id,
	AU_INJECTIONS(AU_INJECTION_ENUM)
#undef AU_INJECTION_ENUM
		AU_INJECT_COUNT
};

/**
 * struct au_verify - the text, taken apart. All zero: nothing.
 * @rules: breaking a rule has consequences.
 * @what: 1u << enum au_injection.
 * @number: of each injection.
 * @seed: what is drawn comes from it: the same for the same seed.
 */
struct au_verify {
	bool rules;
	uint32_t what;
	uint32_t number[AU_INJECT_COUNT];
	uint64_t seed;
};

#define AU_VERIFY_TEXT 256 /* bytes that any such text has room in */

/**
 * au_verify_parse - take a text apart.
 * @error: one line that says what would be right.
 * Return: 0 or -EINVAL; @verify is then nothing.
 */
int au_verify_parse(const char *text, struct au_verify *verify, char *error, size_t error_size);
/** au_verify_print - the text that says it, "no" for nothing; with commas, or with @separator. */
void au_verify_print(const struct au_verify *verify, char separator, char text[AU_VERIFY_TEXT]);
/** au_verify_wants - whether @what is to be injected. */
static inline bool au_verify_wants(const struct au_verify *verify, enum au_injection what)
{
	return verify->what & (1u << what);
}
/** au_injection_name - "alloc", ...; NULL behind the last. */
const char *au_injection_name(unsigned int index);

#endif
