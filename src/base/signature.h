/* SPDX-License-Identifier: MIT */
/**
 * DOC: Signatures of driver modules: Ed25519, detached
 *
 * The signature of NAME.so is beside it, in NAME.so.sig: the module stays as it was built, whoever
 * signs it, and whoever checks it looks at a line of text instead of parsing an ELF file that
 * nobody vouches for yet. All of the module's bytes are signed, its note with name and version too.
 *
 * Keys and signatures are one line of text each: what it is, "ed25519", and base64.
 */
#ifndef AU_BASE_SIGNATURE_H
#define AU_BASE_SIGNATURE_H

#include <stddef.h>

#define AU_KEY_ID_SIZE 17 /* hexadecimal, with the zero */

/** struct au_public_key - whose signatures count. @id: from its bytes; @name: of its file. */
struct au_public_key {
	unsigned char bytes[32];
	char id[AU_KEY_ID_SIZE];
	char name[64];
};

/** struct au_signature - @id: of the key that it was made with. */
struct au_signature {
	unsigned char bytes[64];
	char id[AU_KEY_ID_SIZE];
};

/** au_public_key_read - read NAME.pub. @error: one line. Return: 0 or a negative errno. */
int au_public_key_read(const char *path, struct au_public_key *key, char *error, size_t error_size);
/** au_signature_read - read NAME.so.sig. Return: 0; -ENOENT: there is none; -EINVAL. */
int au_signature_read(const char *path, struct au_signature *signature, char *error,
		      size_t error_size);
/**
 * au_signature_check - whether @signature is that of all that is in @fd, by one of @keys.
 * Return: the key's index; -ENOKEY: it is by none of them; -EBADMSG: it is not of this file; or
 * another negative errno.
 */
int au_signature_check(int fd, const struct au_signature *signature,
		       const struct au_public_key *keys, unsigned int key_count);
/** au_key_generate - make a pair: @path (0600; must not exist) and @path.pub. */
int au_key_generate(const char *path, char *error, size_t error_size);
/** au_sign - sign the file @path with the secret key in @key_path, into @path.sig. */
int au_sign(const char *key_path, const char *path, char *error, size_t error_size);

#endif
