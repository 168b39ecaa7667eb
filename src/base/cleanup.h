/* SPDX-License-Identifier: MIT */
/* Scope-based cleanup: what a function took is given back on every way out of it. */
#ifndef AU_BASE_CLEANUP_H
#define AU_BASE_CLEANUP_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/** AU_CLEANUP - call @fn with a pointer to the variable when it goes out of scope. */
#define AU_CLEANUP(fn) __attribute__((cleanup(fn)))

static inline void au_cleanup_fd_(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void au_cleanup_free_(void *memory)
{
	free(*(void **)memory);
}

static inline void au_cleanup_file_(FILE **file)
{
	if (*file)
		fclose(*file);
}

/** AU_CLEANUP_FD - an int: closed unless negative. */
#define AU_CLEANUP_FD	AU_CLEANUP(au_cleanup_fd_)
/** AU_CLEANUP_FREE - a pointer from malloc(): freed. */
#define AU_CLEANUP_FREE AU_CLEANUP(au_cleanup_free_)
/** AU_CLEANUP_FILE - a FILE *: closed unless NULL. */
#define AU_CLEANUP_FILE AU_CLEANUP(au_cleanup_file_)

/** au_take_fd - take a descriptor out of its scope: the caller's from now on. */
static inline int au_take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

/** au_take_pointer - the same for a pointer variable. */
#define au_take_pointer(variable)                       \
	({                                              \
		__typeof__(variable) taken_ = variable; \
		(variable) = NULL;                      \
		taken_;                                 \
	})

#endif
