/* SPDX-License-Identifier: MIT */
#include "host/sandbox/sandbox.h"

#include <cap-ng.h>
#include <errno.h>
#include <grp.h>
#include <linux/securebits.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

/* Uid 0 means nothing any more, and nothing can bring it back. */
#define IDENTITY_SECUREBITS                                               \
	(SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_KEEP_CAPS_LOCKED | \
	 SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED)

int au_sandbox_uid(struct au_sandbox *sb)
{
	if (!au_layer_wanted(sb, AU_LAYER_UID))
		return 0;
	if (sb->user_ns)
		return au_layer_set(
			sb, AU_LAYER_UID, -EPERM,
			"the caller's: a user namespace made without root has no other");
	if (!sb->privileged)
		return au_layer_set(sb, AU_LAYER_UID, -EPERM, "the caller's: needs root");
	if (!sb->uid || !sb->gid)
		return au_layer_set(sb, AU_LAYER_UID, -EINVAL, "none was given");
	if (setgroups(0, NULL) < 0 || setresgid(sb->gid, sb->gid, sb->gid) < 0 ||
	    setresuid(sb->uid, sb->uid, sb->uid) < 0)
		return au_layer_set(sb, AU_LAYER_UID, -errno, "%s", strerror(errno));
	return au_layer_set(sb, AU_LAYER_UID, 0, "%u, group %u, no others", sb->uid, sb->gid);
}

/*
 * The bounding set and the secure bits first, while it is allowed to change them; then the uid;
 * then the rest, which does not go by itself when the uid stays.
 */
int au_sandbox_capabilities(struct au_sandbox *sb)
{
	bool wanted = au_layer_wanted(sb, AU_LAYER_CAPABILITIES);
	bool had;
	int err;

	if (capng_get_caps_process() < 0)
		return au_layer_set(sb, AU_LAYER_CAPABILITIES, -EIO, "cannot read them");
	had = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP);
	capng_clear(CAPNG_SELECT_ALL);
	if (wanted && had &&
	    (prctl(PR_SET_SECUREBITS, IDENTITY_SECUREBITS, 0, 0, 0) < 0 ||
	     capng_apply(CAPNG_SELECT_BOUNDS) < 0))
		return au_layer_set(sb, AU_LAYER_CAPABILITIES, -EPERM, "bounding set: %s",
				    strerror(errno));
	err = au_sandbox_uid(sb);
	if (err && sb->privileged && !sb->user_ns && sb->uid && sb->gid)
		return au_layer_set(sb, AU_LAYER_CAPABILITIES, err, "uid: %s",
				    sb->layers[AU_LAYER_UID].detail);
	if (!wanted)
		return 0;
	if (capng_apply(CAPNG_SELECT_CAPS | CAPNG_SELECT_AMBIENT) < 0)
		return au_layer_set(sb, AU_LAYER_CAPABILITIES, -EPERM, "%s", strerror(errno));
	capng_get_caps_process();
	if (capng_have_capabilities(CAPNG_SELECT_CAPS) != CAPNG_NONE)
		return au_layer_set(sb, AU_LAYER_CAPABILITIES, -EPERM, "some are left");
	return au_layer_set(sb, AU_LAYER_CAPABILITIES, 0,
			    had ? "none, not to be had again" : "none");
}
