/* SPDX-License-Identifier: MIT */
/*
 * Two filters, one on top of the other; the stricter answer counts.
 *
 * The first is the list of what is allowed; it is in force when the driver's constructors run and
 * for ever after. The second takes away what only loading needed. All threads are there by then.
 *
 * What is not allowed ends the host with SIGSYS, after the crash handler has noted which call it
 * was. Some calls that libraries make out of habit are refused with an error instead: finding no
 * file, no terminal and no newer kernel is something that they know how to live with.
 */
#include "host/sandbox/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define SECCOMP_MAX_ARGS 2

struct seccomp_rule {
	int call;
	uint32_t action;
	unsigned int args;
	struct scmp_arg_cmp arg[SECCOMP_MAX_ARGS];
};

#define ALLOW(name)                            \
	{                                      \
		SCMP_SYS(name), SCMP_ACT_ALLOW \
	}
#define ALLOW_IF(name, ...)                        \
	{                                          \
		SCMP_SYS(name), SCMP_ACT_ALLOW, 1, \
		{                                  \
			__VA_ARGS__                \
		}                                  \
	}
#define ALLOW_SOCKET_OPTION(name)                        \
	{                                                \
		SCMP_SYS(setsockopt), SCMP_ACT_ALLOW, 2, \
		{                                        \
			IS(1, SOL_SOCKET), IS(2, name)   \
		}                                        \
	}
#define REFUSE(name, err)                           \
	{                                           \
		SCMP_SYS(name), SCMP_ACT_ERRNO(err) \
	}
#define DIE(name)                             \
	{                                     \
		SCMP_SYS(name), SCMP_ACT_TRAP \
	}
#define DIE_IF(name, ...)                         \
	{                                         \
		SCMP_SYS(name), SCMP_ACT_TRAP, 1, \
		{                                 \
			__VA_ARGS__               \
		}                                 \
	}
#define IS_NOT(n, value)                                 \
	{                                                \
		n, SCMP_CMP_NE, (scmp_datum_t)(value), 0 \
	}
/* Argument @n under @mask is @value. */
#define MASKED(n, mask, value)                                                     \
	{                                                                          \
		n, SCMP_CMP_MASKED_EQ, (scmp_datum_t)(mask), (scmp_datum_t)(value) \
	}
#define IS(n, value)                                     \
	{                                                \
		n, SCMP_CMP_EQ, (scmp_datum_t)(value), 0 \
	}

/* What pthread_create() asks of clone(); clone3() hides its flags in memory and is refused. */
#define SECCOMP_THREAD                                                                      \
	(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | \
	 CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)
#define SECCOMP_OPEN_WRITES (O_ACCMODE | O_CREAT | O_TRUNC | O_TMPFILE | O_PATH)
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif

static const struct seccomp_rule seccomp_loading[] = {
	/* Descriptors that are there already. */
	ALLOW(read),
	ALLOW(write),
	ALLOW(readv),
	ALLOW(writev),
	ALLOW(pread64),
	ALLOW(lseek),
	ALLOW(recvmsg),
	ALLOW(sendmsg),
	ALLOW(recvfrom),
	ALLOW(sendto),
	ALLOW(accept4),
	ALLOW(shutdown),
	ALLOW(getsockopt),
	ALLOW_SOCKET_OPTION(SO_RCVTIMEO), /* the bus: how long an answer may take */
	ALLOW_SOCKET_OPTION(SO_SNDTIMEO),
	ALLOW(close),
	ALLOW(dup),
	ALLOW(fstat),
	ALLOW_IF(newfstatat, IS(3, AT_EMPTY_PATH)),
	ALLOW_IF(fcntl, IS(1, F_GETFD)),
	ALLOW_IF(fcntl, IS(1, F_SETFD)),
	ALLOW_IF(fcntl, IS(1, F_GETFL)),
	ALLOW_IF(fcntl, IS(1, F_SETFL)),
	ALLOW_IF(fcntl, IS(1, F_DUPFD_CLOEXEC)),
	ALLOW_IF(fcntl, IS(1, F_GET_SEALS)),
	/* Waiting. */
	ALLOW(epoll_create1),
	ALLOW(epoll_ctl),
	ALLOW(epoll_wait),
	ALLOW(epoll_pwait),
	ALLOW(epoll_pwait2),
	ALLOW(poll),
	ALLOW(ppoll),
	ALLOW(eventfd2),
	ALLOW(timerfd_create),
	ALLOW(timerfd_settime),
	ALLOW(timerfd_gettime),
	ALLOW(futex),
	ALLOW(nanosleep),
	ALLOW(clock_nanosleep),
	ALLOW(sched_yield),
	ALLOW(restart_syscall),
	/* Looking at the clock and at oneself. */
	ALLOW(clock_gettime),
	ALLOW(clock_getres),
	ALLOW(gettimeofday),
	ALLOW(time),
	ALLOW(getcpu),
	ALLOW(getrusage),
	ALLOW(getpid),
	ALLOW(gettid),
	ALLOW(getuid),
	ALLOW(geteuid),
	ALLOW(getgid),
	ALLOW(getegid),
	ALLOW(sched_getaffinity),
	ALLOW(sysinfo),
	ALLOW(uname),
	ALLOW(getrandom),
	/* Memory: executable only when it is of a file and not writable, and never made so later.
	 */
	ALLOW(brk),
	ALLOW(munmap),
	ALLOW(mremap),
	ALLOW(madvise),
	ALLOW(membarrier),
	ALLOW_IF(mmap, MASKED(2, PROT_WRITE | PROT_EXEC, 0)),
	ALLOW_IF(mmap, MASKED(2, PROT_WRITE | PROT_EXEC, PROT_WRITE)),
	{ SCMP_SYS(mmap),
	  SCMP_ACT_ALLOW,
	  2,
	  { MASKED(2, PROT_WRITE | PROT_EXEC, PROT_EXEC), MASKED(3, MAP_ANONYMOUS, 0) } },
	ALLOW_IF(mprotect, MASKED(2, PROT_EXEC, 0)),
	/* Signals to oneself, threads, the end. */
	/* What notes a forbidden call is not to be replaced by the one who makes it. */
	ALLOW_IF(rt_sigaction, IS_NOT(0, SIGSYS)),
	ALLOW(rt_sigprocmask),
	ALLOW(rt_sigreturn),
	ALLOW(sigaltstack),
	ALLOW(set_robust_list),
	ALLOW(set_tid_address),
	ALLOW(rseq),
	ALLOW_IF(prctl, IS(0, PR_SET_NAME)),
	ALLOW_IF(prctl, IS(0, PR_SET_VMA)),
	ALLOW(exit),
	ALLOW(exit_group),
	/* Until the second door: the module, and the doors themselves. */
	ALLOW_IF(openat, MASKED(2, SECCOMP_OPEN_WRITES, 0)),
	ALLOW(chdir),
	ALLOW(seccomp),
	{ 444, SCMP_ACT_ALLOW }, /* landlock_create_ruleset */
	{ 446, SCMP_ACT_ALLOW }, /* landlock_restrict_self */
	/* Habits of libraries. */
	REFUSE(clone3, ENOSYS),
	{ SCMP_SYS(clone), SCMP_ACT_ERRNO(EAGAIN), 1, { IS(0, SECCOMP_THREAD) } },
	REFUSE(open, EACCES),
	REFUSE(access, EACCES),
	REFUSE(faccessat, EACCES),
	REFUSE(faccessat2, EACCES),
	{ SCMP_SYS(newfstatat), SCMP_ACT_ERRNO(EACCES), 1, { IS_NOT(3, AT_EMPTY_PATH) } },
	REFUSE(stat, EACCES),
	REFUSE(lstat, EACCES),
	REFUSE(statx, EACCES),
	REFUSE(statfs, EACCES),
	REFUSE(readlink, EACCES),
	REFUSE(readlinkat, EACCES),
	REFUSE(getcwd, ENOENT),
	REFUSE(mlock, EPERM),
	REFUSE(mlockall, EPERM),
	REFUSE(setpriority, EPERM),
	REFUSE(sched_setaffinity, EPERM),
	REFUSE(sched_setscheduler, EPERM),
	REFUSE(prlimit64, EPERM),
	REFUSE(getrlimit, EPERM),
};

static const struct seccomp_rule seccomp_no_vfio[] = {
	REFUSE(ioctl, ENOTTY),
};

/*
 * By number, since a filter does not see which descriptor is meant; all that there are were given
 * by the manager. Mapping memory has the number of a reset of all functions of a group, for which
 * one must hold the group.
 */
static const struct seccomp_rule seccomp_vfio[] = {
	ALLOW(pwrite64),
	ALLOW_IF(ioctl, IS(1, VFIO_DEVICE_GET_INFO)),
	ALLOW_IF(ioctl, IS(1, VFIO_DEVICE_GET_REGION_INFO)),
	ALLOW_IF(ioctl, IS(1, VFIO_DEVICE_GET_IRQ_INFO)),
	ALLOW_IF(ioctl, IS(1, VFIO_DEVICE_SET_IRQS)),
	ALLOW_IF(ioctl, IS(1, VFIO_DEVICE_RESET)),
	ALLOW_IF(ioctl, IS(1, VFIO_DEVICE_FEATURE)),
	ALLOW_IF(ioctl, IS(1, VFIO_IOMMU_GET_INFO)),
	ALLOW_IF(ioctl, IS(1, VFIO_IOMMU_MAP_DMA)),
	ALLOW_IF(ioctl, IS(1, VFIO_IOMMU_UNMAP_DMA)),
	/* Habits of libraries. */
	{ SCMP_SYS(ioctl), SCMP_ACT_ERRNO(ENOTTY), 1, { IS(1, TCGETS) } },
	{ SCMP_SYS(ioctl), SCMP_ACT_ERRNO(ENOTTY), 1, { IS(1, TIOCGWINSZ) } },
};

static const struct seccomp_rule seccomp_serving[] = {
	REFUSE(openat, EACCES), DIE(chdir),
	DIE(seccomp),		DIE_IF(mmap, MASKED(2, PROT_EXEC, PROT_EXEC)),
	{ 444, SCMP_ACT_TRAP }, { 446, SCMP_ACT_TRAP },
};

static const struct {
	uint32_t otherwise;
	const struct seccomp_rule *rules;
	size_t count;
} seccomp_stages[] = {
#define STAGE(otherwise, rules)                                      \
	{                                                            \
		otherwise, rules, sizeof(rules) / sizeof((rules)[0]) \
	}
	[AU_SECCOMP_LOAD] = STAGE(SCMP_ACT_TRAP, seccomp_loading),
	[AU_SECCOMP_SERVE] = STAGE(SCMP_ACT_ALLOW, seccomp_serving),
};

static int seccomp_rules(scmp_filter_ctx ctx, const struct seccomp_rule *rules, size_t count)
{
	int err = 0;

	for (size_t i = 0; i < count && !err; i++)
		err = seccomp_rule_add_array(ctx, rules[i].action, rules[i].call, rules[i].args,
					     rules[i].arg);
	return err;
}

static int seccomp_fill(scmp_filter_ctx ctx, enum au_seccomp_stage stage, bool vfio)
{
	struct scmp_arg_cmp self = IS(0, getpid());
	int err = seccomp_rules(ctx, seccomp_stages[stage].rules, seccomp_stages[stage].count);

	if (!err && stage == AU_SECCOMP_LOAD && vfio)
		err = seccomp_rules(ctx, seccomp_vfio,
				    sizeof(seccomp_vfio) / sizeof(seccomp_vfio[0]));
	else if (!err && stage == AU_SECCOMP_LOAD)
		err = seccomp_rules(ctx, seccomp_no_vfio,
				    sizeof(seccomp_no_vfio) / sizeof(seccomp_no_vfio[0]));
	if (!err && stage == AU_SECCOMP_LOAD)
		err = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, &self);
	return err;
}

int au_sandbox_seccomp(struct au_sandbox *sb, enum au_seccomp_stage stage)
{
	scmp_filter_ctx ctx;
	int err;

	if (!au_layer_wanted(sb, AU_LAYER_SECCOMP))
		return 0;
	ctx = seccomp_init(seccomp_stages[stage].otherwise);
	if (!ctx)
		return au_layer_set(sb, AU_LAYER_SECCOMP, -ENOMEM, "no memory");
	err = seccomp_fill(ctx, stage, sb->vfio);
	if (!err)
		err = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_NNP, 0);
	/* All threads, which is to say the lanes as well. */
	if (!err)
		err = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
	if (!err)
		err = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	/* A tree rather than a list: calls with arguments to look at are not cached by the kernel.
	 */
	if (!err && stage == AU_SECCOMP_LOAD)
		err = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (!err)
		err = seccomp_load(ctx);
	seccomp_release(ctx);
	if (err)
		return au_layer_set(sb, AU_LAYER_SECCOMP, err, "%s",
				    err == -EACCES ? "needs no-new-privs or root" : strerror(-err));
	return au_layer_set(sb, AU_LAYER_SECCOMP, 0,
			    stage == AU_SECCOMP_LOAD ? "as for loading" : "as for serving");
}
