/* SPDX-License-Identifier: MIT */
/** DOC: What a host says about its own death, into the recorder's crash area. */
#ifndef AU_HOST_CRASH_H
#define AU_HOST_CRASH_H

struct au_recorder;

#define AU_CRASH_CONTROL \
	0xffffffffu /* struct au_crash.lane: the thread that talks to the manager */

/**
 * au_crash_init - install the handlers: SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, SIGTRAP.
 * @rec: stays the caller's, and must last.
 *
 * A handler notes signal, address, registers, a walk of the frame pointers and when; then the
 * process dies by what happened. Call it before the process gives up its file system.
 */
void au_crash_init(struct au_recorder *rec);

/** au_crash_handlers - install them again, whatever became of them; that for SIGSYS cannot be
 * touched any more once seccomp is in force. */
void au_crash_handlers(void);

/**
 * au_crash_thread - let the calling thread handle its crashes on a stack of their own.
 * @lane: its lane, or AU_CRASH_CONTROL.
 */
void au_crash_thread(unsigned int lane);

/** struct au_crash_alias - what was loaded as @name is known outside as @path. */
struct au_crash_alias {
	const char *name;
	const char *path;
};

/**
 * au_crash_modules - note what is mapped where, for whoever makes names of addresses later.
 * @aliases: the first is the driver, and is noted first.
 */
void au_crash_modules(const struct au_crash_alias *aliases, unsigned int count);

#endif
