/* SPDX-License-Identifier: MIT */
/**
 * DOC: Whose drivers are run
 *
 * Keys are in CONFIG/keys.d, a file each. What is checked is the copy that the host loads.
 */
#ifndef AU_MANAGER_SIGN_H
#define AU_MANAGER_SIGN_H

#include "base/paths.h"
#include "base/signature.h"

#define MGR_KEYS_MAX 64u

/** enum mgr_signatures - what becomes of drivers without a good signature. */
enum mgr_signatures {
	MGR_SIGNATURES_OFF,	/* they are run */
	MGR_SIGNATURES_WARN,	/* ... with a line in the log */
	MGR_SIGNATURES_REQUIRE, /* they are not run */
};

/** enum mgr_signed - what a module's signature is worth; more is better. */
enum mgr_signed {
	MGR_SIGNED_WRONG = -2,	  /* it is not of this file, or no signature */
	MGR_SIGNED_STRANGER = -1, /* by a key that is not known here */
	MGR_SIGNED_NOT = 0,
	MGR_SIGNED_GOOD = 1,
};

/** struct mgr_signer - of a module. @by: the key: its name if it is known, otherwise its number. */
struct mgr_signer {
	enum mgr_signed state;
	char by[64];
};

/** struct mgr_trust - the policy, and where the keys are. */
struct mgr_trust {
	enum mgr_signatures policy;
	char keys_dir[AU_PATH_MAX];
};

/** mgr_signatures_parse - "require", "warn" or "off". Return: 0 or -EINVAL. */
int mgr_signatures_parse(const char *text, enum mgr_signatures *policy);
/** mgr_signatures_name - the other way round. */
const char *mgr_signatures_name(enum mgr_signatures policy);
/** mgr_signer_text - "signed by NAME", "not signed", ... */
const char *mgr_signer_text(const struct mgr_signer *signer, char *buf, size_t size);
/** mgr_sign_look - what the signature in the file @signature_path says of what is in @fd. */
void mgr_sign_look(const struct mgr_trust *trust, int fd, const char *signature_path,
		   struct mgr_signer *signer);
/**
 * mgr_sign_check - whether a module with that signature may be run.
 * @load: it is about to be: a warning is logged. Return: 0, or -EPERM with one line in @error.
 */
int mgr_sign_check(const struct mgr_trust *trust, const struct mgr_signer *signer, const char *path,
		   bool load, char *error, size_t error_size);

#endif
