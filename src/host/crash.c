/* SPDX-License-Identifier: MIT */
/*
 * Runs in the ruins: no allocation, no locks, no library call that is not async-signal-safe. What
 * needs a file or the dynamic linker is prepared beforehand. The walk reads only the stack of the
 * thread, whose bounds are known, and only upwards.
 */
#include "host/crash.h"

#include "base/recorder.h"

#include <elf.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define CRASH_STACK   (32 * 1024)
#define CRASH_THREADS (AU_RECORDER_LANES + 1)
#define CRASH_FRAMES  64

static const int crash_signals[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP };

static struct au_crash *crash_area;
static struct au_status *crash_status;
static _Atomic int crash_taken;
static char crash_program[sizeof(crash_area->modules[0].path)];

static _Alignas(16) char crash_stacks[CRASH_THREADS][CRASH_STACK];
static _Atomic unsigned int crash_stacks_used;

static __thread struct {
	uintptr_t low, high; /* of the stack */
	unsigned int lane;
} crash_self = { .lane = AU_CRASH_CONTROL };

/* ------------------------------------------------------------------- in the handler */

static bool crash_read(uintptr_t at, uintptr_t *value)
{
	if (at < crash_self.low || at > crash_self.high - sizeof(*value) || at % sizeof(*value))
		return false;
	*value = *(const volatile uintptr_t *)at;
	return true;
}

static bool crash_is_code(uintptr_t address)
{
	for (uint32_t i = 0; i < crash_area->module_count && i < 32; i++)
		if (address >= crash_area->modules[i].start && address < crash_area->modules[i].end)
			return true;
	return false;
}

#if defined(__x86_64__)
/* Whether a call ends there: near, or through a register or memory. */
static bool crash_is_return(uintptr_t address)
{
	const unsigned char *p = (const unsigned char *)address;

	if (address < crash_area->modules[0].start + 7 || address >= crash_area->modules[0].end)
		return false;
	if (p[-5] == 0xe8)
		return true;
	for (int i = 2; i <= 7; i++)
		if (p[-i] == 0xff && ((p[1 - i] >> 3) & 7) == 2)
			return true;
	return false;
}
#else
static bool crash_is_return(uintptr_t address)
{
	(void)address;
	return false;
}
#endif

/*
 * Where the driver called a library that keeps no frame pointers: its return address lies between
 * the top of the stack and the first frame, which is the driver's own.
 */
static uintptr_t crash_left_driver(uintptr_t sp, uintptr_t fp)
{
	uintptr_t value;

	for (; sp < fp && crash_read(sp, &value); sp += sizeof(value))
		if (crash_is_return(value))
			return value;
	return 0;
}

/* Frame pointers: each points at the one before and has the return address beside it. */
static void crash_walk(uintptr_t pc, uintptr_t sp, uintptr_t fp)
{
	uint32_t n = 1; /* the first is there already */
	uintptr_t next, ret;

	/* A call to nowhere: who called is on top of the stack. */
	if (!crash_is_code(pc) && crash_read(sp, &ret) && crash_is_code(ret))
		crash_area->frames[n++] = ret;
	else if ((pc < crash_area->modules[0].start || pc >= crash_area->modules[0].end) &&
		 (ret = crash_left_driver(sp & ~(uintptr_t)7, fp)))
		crash_area->frames[n++] = ret;
	while (n < CRASH_FRAMES && fp >= sp && crash_read(fp, &next) &&
	       crash_read(fp + sizeof(fp), &ret) && crash_is_code(ret)) {
		crash_area->frames[n++] = ret;
		if (next <= fp)
			break;
		fp = next;
	}
	crash_area->frame_count = n;
}

struct crash_where {
	uintptr_t pc, sp, fp;
};

static struct crash_where crash_registers(const ucontext_t *context)
{
	const mcontext_t *m = &context->uc_mcontext;

#if defined(__x86_64__)
	for (unsigned int i = 0; i < NGREG && i < 24; i++)
		crash_area->regs[i] = (uint64_t)m->gregs[i];
	return (struct crash_where){ (uintptr_t)m->gregs[REG_RIP], (uintptr_t)m->gregs[REG_RSP],
				     (uintptr_t)m->gregs[REG_RBP] };
#elif defined(__aarch64__)
	for (unsigned int i = 0; i < 21; i++)
		crash_area->regs[i] = m->regs[i];
	crash_area->regs[21] = m->regs[30];
	crash_area->regs[22] = m->sp;
	crash_area->regs[23] = m->pc;
	return (struct crash_where){ m->pc, m->sp, m->regs[29] };
#else
	(void)m;
	return (struct crash_where){ 0 };
#endif
}

/* What is certain first: a walk through a damaged stack may be the end. */
static void crash_note(int sig, const siginfo_t *info, const ucontext_t *context)
{
	struct crash_where where = crash_registers(context);
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	crash_area->signal = sig;
	crash_area->code = info->si_code;
	crash_area->address =
		sig == SIGSYS ? (uint64_t)info->si_syscall : (uint64_t)(uintptr_t)info->si_addr;
	if (info->si_code <= 0)
		crash_area->address = 0;
	crash_area->time_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	crash_area->lane = crash_self.lane;
	crash_area->frames[0] = where.pc;
	crash_area->frame_count = 1;
	atomic_store(&crash_status->crashed, 1);
	crash_walk(where.pc, where.sp, where.fp);
}

/*
 * Die by the same signal. The handler was reset to the default when it was called. What the
 * processor raised comes again at return. What was sent is sent again; to the first process of a
 * PID namespace that does nothing, whereupon an illegal instruction has to do.
 */
__attribute__((no_sanitize("address"))) static void crash_die(int sig, const siginfo_t *info)
{
	sigset_t set;

	if (sig == SIGSYS && info->si_code > 0)
		syscall(SYS_execve, NULL, NULL, NULL);
	else if (info->si_code > 0 && sig != SIGABRT)
		return;
	sigemptyset(&set);
	sigaddset(&set, sig);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), sig);
	__builtin_trap();
}

static void crash_handler(int sig, siginfo_t *info, void *context)
{
	if (!atomic_exchange(&crash_taken, 1))
		crash_note(sig, info, context);
	crash_die(sig, info);
}

/* ---------------------------------------------------------------------- beforehand */

void au_crash_thread(unsigned int lane)
{
	unsigned int index = atomic_fetch_add(&crash_stacks_used, 1);
	stack_t stack = { .ss_size = CRASH_STACK };
	stack_t old = { .ss_flags = SS_DISABLE };
	pthread_attr_t attr;
	void *base;
	size_t size;

	crash_self.lane = lane;
	if (pthread_getattr_np(pthread_self(), &attr) == 0) {
		if (pthread_attr_getstack(&attr, &base, &size) == 0) {
			crash_self.low = (uintptr_t)base;
			crash_self.high = (uintptr_t)base + size;
		}
		pthread_attr_destroy(&attr);
	}
	/* A sanitizer has one of its own, which it wants back. */
	sigaltstack(NULL, &old);
	if (index >= CRASH_THREADS || !(old.ss_flags & SS_DISABLE))
		return;
	stack.ss_sp = crash_stacks[index];
	sigaltstack(&stack, NULL);
}

void au_crash_handlers(void)
{
	struct sigaction action = { .sa_sigaction = crash_handler };

	action.sa_flags = SA_SIGINFO | SA_ONSTACK | (int)SA_RESETHAND;
	sigemptyset(&action.sa_mask);
	for (unsigned int i = 0; i < sizeof(crash_signals) / sizeof(crash_signals[0]); i++)
		sigaction(crash_signals[i], &action, NULL);
}

void au_crash_init(struct au_recorder *rec)
{
	struct sigaction action = { .sa_sigaction = crash_handler };
	ssize_t n = readlink("/proc/self/exe", crash_program, sizeof(crash_program) - 1);

	crash_program[n > 0 ? n : 0] = 0;
	crash_area = rec->crash;
	crash_status = rec->status;
	action.sa_flags = SA_SIGINFO | SA_ONSTACK | (int)SA_RESETHAND;
	sigemptyset(&action.sa_mask);
	sigaction(SIGSYS, &action, NULL);
	au_crash_handlers();
}

struct crash_search {
	const struct au_crash_alias *aliases;
	unsigned int alias_count;
	bool first; /* looking for the driver */
	uint32_t count;
};

/* AddressSanitizer puts red zones between the notes of a section. */
__attribute__((no_sanitize("address"))) static void crash_build_id(const struct dl_phdr_info *info,
								   const ElfW(Phdr) * ph,
								   uint32_t at)
{
	uintptr_t p = info->dlpi_addr + ph->p_vaddr;
	uintptr_t end = p + ph->p_memsz;

	while (end - p >= sizeof(ElfW(Nhdr))) {
		const ElfW(Nhdr) *note = (const void *)p;
		size_t name = (note->n_namesz + 3u) & ~3u;
		size_t desc = (note->n_descsz + 3u) & ~3u;

		if (name > end - p || desc > end - p || sizeof(*note) + name + desc > end - p)
			return;
		if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 &&
		    note->n_descsz <= sizeof(crash_area->modules[at].build_id)) {
			memcpy(crash_area->modules[at].build_id, (const char *)(note + 1) + name,
			       note->n_descsz);
			crash_area->modules[at].build_id_size = (uint8_t)note->n_descsz;
			return;
		}
		p += sizeof(*note) + name + desc;
	}
}

/* The end of a path says more than its beginning. */
static void crash_path(uint32_t at, const char *path)
{
	size_t room = sizeof(crash_area->modules[at].path) - 1;
	size_t length = strlen(path);

	if (length > room) {
		path += length - room;
		length = room;
	}
	memcpy(crash_area->modules[at].path, path, length);
	crash_area->modules[at].path[length] = 0;
}

static int crash_module(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct crash_search *search = arg;
	const char *path = *info->dlpi_name ? info->dlpi_name : crash_program;
	bool driver = !strcmp(info->dlpi_name, search->aliases[0].name);
	uint32_t at = search->count;

	(void)size;
	if (driver != search->first || at >= 32)
		return 0;
	for (unsigned int i = 0; i < search->alias_count; i++)
		if (!strcmp(info->dlpi_name, search->aliases[i].name))
			path = search->aliases[i].path;
	for (unsigned int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];

		if (ph->p_type != PT_LOAD || !(ph->p_flags & PF_X))
			continue;
		memset(&crash_area->modules[at], 0, sizeof(crash_area->modules[at]));
		crash_area->modules[at].start = info->dlpi_addr + ph->p_vaddr;
		crash_area->modules[at].end = info->dlpi_addr + ph->p_vaddr + ph->p_memsz;
		crash_area->modules[at].offset = ph->p_vaddr;
		crash_path(at, path);
		for (unsigned int j = 0; j < info->dlpi_phnum; j++)
			if (info->dlpi_phdr[j].p_type == PT_NOTE)
				crash_build_id(info, &info->dlpi_phdr[j], at);
		search->count++;
		break;
	}
	return 0;
}

void au_crash_modules(const struct au_crash_alias *aliases, unsigned int count)
{
	struct crash_search search = { .aliases = aliases, .alias_count = count, .first = true };

	dl_iterate_phdr(crash_module, &search);
	search.first = false;
	dl_iterate_phdr(crash_module, &search);
	crash_area->module_count = search.count;
}
