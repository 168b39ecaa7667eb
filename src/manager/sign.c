/* SPDX-License-Identifier: MIT */
#include "manager/sign.h"

#include "base/cleanup.h"
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const policies[] = {
	[MGR_SIGNATURES_OFF] = "off",
	[MGR_SIGNATURES_WARN] = "warn",
	[MGR_SIGNATURES_REQUIRE] = "require",
};

int mgr_signatures_parse(const char *text, enum mgr_signatures *policy)
{
	for (unsigned int i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
		if (!strcmp(text, policies[i])) {
			*policy = (enum mgr_signatures)i;
			return 0;
		}
	}
	return -EINVAL;
}

const char *mgr_signatures_name(enum mgr_signatures policy)
{
	return policies[policy];
}

const char *mgr_signer_text(const struct mgr_signer *signer, char *buf, size_t size)
{
	switch (signer->state) {
	case MGR_SIGNED_GOOD:
		snprintf(buf, size, "signed by %s", signer->by);
		break;
	case MGR_SIGNED_STRANGER:
		snprintf(buf, size, "signed by a key that is not known: %s", signer->by);
		break;
	case MGR_SIGNED_WRONG:
		snprintf(buf, size, "its signature is wrong%s%s", signer->by[0] ? ": by " : "",
			 signer->by);
		break;
	default:
		snprintf(buf, size, "not signed");
	}
	return buf;
}

/* Only its own user and root may say who is trusted. */
static bool sign_ours(const char *path)
{
	struct stat st;

	if (stat(path, &st))
		return false;
	if ((st.st_uid == 0 || st.st_uid == geteuid()) && !(st.st_mode & 022))
		return true;
	au_logf(AU_LOG_WARN, "%s: left out, since others %s", path,
		st.st_mode & 022 ? "can write to it" : "own it");
	return false;
}

static int sign_key_file(const struct dirent *entry)
{
	size_t length = strlen(entry->d_name);

	return entry->d_name[0] != '.' && length > 4 && !strcmp(entry->d_name + length - 4, ".pub");
}

static unsigned int sign_keys(const struct mgr_trust *trust, struct au_public_key *keys)
{
	struct dirent **entries = NULL;
	char path[AU_PATH_MAX], error[AU_PATH_MAX + 200];
	unsigned int count = 0;
	int found;

	if (access(trust->keys_dir, F_OK) || !sign_ours(trust->keys_dir))
		return 0;
	found = scandir(trust->keys_dir, &entries, sign_key_file, alphasort);
	for (int i = 0; i < found; i++) {
		int n = snprintf(path, sizeof(path), "%s/%s", trust->keys_dir, entries[i]->d_name);

		free(entries[i]);
		if (n < 0 || n >= (int)sizeof(path) || count == MGR_KEYS_MAX || !sign_ours(path))
			continue;
		if (au_public_key_read(path, &keys[count], error, sizeof(error)))
			au_logf(AU_LOG_WARN, "%s: this key is left out", error);
		else
			count++;
	}
	free(entries);
	return count;
}

void mgr_sign_look(const struct mgr_trust *trust, int fd, const char *signature_path,
		   struct mgr_signer *signer)
{
	AU_CLEANUP_FREE struct au_public_key *keys = NULL;
	struct au_signature signature;
	char error[AU_PATH_MAX + 200];
	unsigned int count;
	int result;

	memset(signer, 0, sizeof(*signer));
	result = au_signature_read(signature_path, &signature, error, sizeof(error));
	if (result) {
		signer->state = result == -ENOENT ? MGR_SIGNED_NOT : MGR_SIGNED_WRONG;
		return;
	}
	keys = calloc(MGR_KEYS_MAX, sizeof(*keys));
	count = keys ? sign_keys(trust, keys) : 0;
	result = au_signature_check(fd, &signature, keys, count);
	if (result >= 0) {
		signer->state = MGR_SIGNED_GOOD;
		snprintf(signer->by, sizeof(signer->by), "%s", keys[result].name);
		return;
	}
	signer->state = result == -ENOKEY ? MGR_SIGNED_STRANGER : MGR_SIGNED_WRONG;
	snprintf(signer->by, sizeof(signer->by), "%s", signature.id);
	/* It goes into lines that people read. */
	for (char *c = signer->by; *c; c++)
		if (*c < 0x21 || *c > 0x7e)
			*c = '?';
}

int mgr_sign_check(const struct mgr_trust *trust, const struct mgr_signer *signer, const char *path,
		   bool load, char *error, size_t error_size)
{
	char text[128];

	if (trust->policy == MGR_SIGNATURES_OFF || signer->state == MGR_SIGNED_GOOD)
		return 0;
	mgr_signer_text(signer, text, sizeof(text));
	if (trust->policy == MGR_SIGNATURES_WARN) {
		if (load)
			au_logf(AU_LOG_WARN, "%s is run, and is %s", path, text);
		return 0;
	}
	snprintf(error, error_size,
		 "%.200s: %s, and only drivers signed by a key in %.100s are run here", path, text,
		 trust->keys_dir);
	return -EPERM;
}
