/* SPDX-License-Identifier: MIT */
/**
 * DOC: Starting a host: the half of the sandbox that the parent must do
 *
 * Linked into whoever starts hosts. No instruction of a driver runs in that process; everything
 * that a host can do to itself it does on its own, before it loads the driver (see "Hosts" in
 * docs/architecture.md). What only a parent can do is here: the PID namespace, a user
 * namespace for a parent without privilege, and the cgroup.
 */
#ifndef AU_HOST_SPAWN_H
#define AU_HOST_SPAWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/**
 * enum au_layer - the layers of a host's sandbox, in the order in which they are put up. Their
 * names are those of AU_HM_START's "sandbox" and of "layers" in AU_HM_READY.
 */
enum au_layer {
	AU_LAYER_PID_NS,       /* pid-ns: sees and signals no process but itself */
	AU_LAYER_CGROUP,       /* cgroup: bounded memory and processes */
	AU_LAYER_DESCRIPTORS,  /* descriptors: nothing open that was not given */
	AU_LAYER_MOUNT_NS,     /* mount-ns: mounts of its own */
	AU_LAYER_NET_NS,       /* net-ns: a network without interfaces and names */
	AU_LAYER_IPC_NS,       /* ipc-ns: System V and POSIX message objects of its own */
	AU_LAYER_UTS_NS,       /* uts-ns: a host name of its own */
	AU_LAYER_CGROUP_NS,    /* cgroup-ns: does not see where it is in the hierarchy */
	AU_LAYER_ROOT,	       /* root: an empty read-only file system; the module is beside it */
	AU_LAYER_RLIMITS,      /* rlimits: no files, no core, few descriptors, no locked memory */
	AU_LAYER_CAPABILITIES, /* capabilities: none, for good */
	AU_LAYER_UID,	       /* uid: one of its own, no groups */
	AU_LAYER_NO_NEW_PRIVS, /* no-new-privs: nothing executed can gain any */
	AU_LAYER_DUMPABLE,     /* dumpable: not; no process of the same uid can trace it */
	AU_LAYER_LANDLOCK,     /* landlock: no file, no abstract socket, no signal to others */
	AU_LAYER_SECCOMP,      /* seccomp: a short list of system calls */
	AU_LAYER_COUNT
};

/** au_layer_name - "pid-ns", ...; NULL beyond the last. */
const char *au_layer_name(unsigned int layer);
/** au_layer_find - the layer of that name, or -1. */
int au_layer_find(const char *name);

/**
 * struct au_host_spawn - how to start a host.
 * @program: path of auriga-host.
 * @name: of the device; seen in ps.
 * @control: the host's end of a SOCK_SEQPACKET socketpair (it becomes descriptor 3); stays the
 *	caller's, who closes it afterwards so as to see the host's end of file.
 * @without: layers to leave out, 1u << AU_LAYER_*: for tests, 0 otherwise.
 * @stdio: leave stdout and stderr as they are, for sanitizers and debugging; /dev/null otherwise.
 */
struct au_host_spawn {
	const char *program;
	const char *name;
	int control;
	uint32_t without;
	bool stdio;
};

/**
 * au_host_spawn - start a host. It waits for AU_HM_START.
 * @pidfd: for waitid(P_PIDFD) and poll(2); the caller's.
 * @error: one line on failure.
 *
 * The host has a session, signal mask and environment of its own, and no other descriptor of the
 * caller's whether close-on-exec or not. It does not die with its parent. Thread safe.
 *
 * Return: the process id, in the caller's PID namespace, or a negative errno.
 */
pid_t au_host_spawn(const struct au_host_spawn *spawn, int *pidfd, char *error, size_t error_size);

struct au_recorder;

/**
 * au_host_death_signal - the signal that a host died by.
 * @status: as waitpid(2) gives it.
 * @rec: its recorder, or NULL.
 *
 * A host is the first process of its PID namespace, whose kernel shields it from signals that it
 * sends to itself: abort() ends as SIGILL there, and the crash record has the true one.
 *
 * Return: the signal, 0 when it exited.
 */
int au_host_death_signal(int status, const struct au_recorder *rec);
/** au_host_death_fault - whether dying by that signal is the driver's own fault, and not anybody's
 * who killed it: SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, SIGTRAP. */
bool au_host_death_fault(int signal);

/**
 * struct au_host_cgroup - a host's place in the cgroup hierarchies.
 * @path: directories, version 1 (one per controller) or 2 (one); empty: none.
 * @detail: what is in force, or why nothing is: for AU_HM_START's "cgroup".
 */
struct au_host_cgroup {
	char path[3][256];
	char detail[160];
	bool in_force;
};

/**
 * au_host_cgroup_make - make a cgroup for the host of device @name, below the caller's own: at most
 * @memory bytes and @processes processes and threads. Never fails: says in @detail what it got.
 */
void au_host_cgroup_make(const char *name, uint64_t memory, unsigned int processes,
			 struct au_host_cgroup *cgroup);
/** au_host_cgroup_enter - put @pid into it. Before AU_HM_START is sent. */
void au_host_cgroup_enter(struct au_host_cgroup *cgroup, pid_t pid);
/** au_host_cgroup_remove - remove it, after the host was reaped. */
void au_host_cgroup_remove(struct au_host_cgroup *cgroup);

#endif
