/* SPDX-License-Identifier: MIT */
/**
 * DOC: Claims: one device, one process that runs it
 *
 * A claim is a locked file under RUNDIR/claims. The lock goes with its holder, however that ends,
 * and is inherited by whoever the descriptor is passed to.
 */
#ifndef AU_BASE_CLAIM_H
#define AU_BASE_CLAIM_H

#include <stddef.h>

/**
 * au_claim - claim a device.
 * @dir: the runtime directory.
 * @address: as people write it, "vfio-user:/run/x.sock"; the file's name is made from it.
 * @who: who claims it, for others: "auriga-host serial0".
 * @error: one line on failure: "vfio-user:/x.sock is run by pid 123 (auriga-host serial0)".
 * Return: a descriptor that holds the claim until it, and all its duplicates, are closed; -EBUSY
 * when another holds it; a negative errno. Any thread.
 */
int au_claim(const char *dir, const char *address, const char *who, char *error, size_t error_size);

/**
 * au_claim_check - whether a descriptor that came from elsewhere can be a claim under @dir: a file
 * of ours there. Return: 0 or -EPERM.
 */
int au_claim_check(const char *dir, int claim);

/** au_claim_update - say who holds a claim now (after it was passed on). */
int au_claim_update(int claim, int pid, const char *who);

#endif
