/* SPDX-License-Identifier: MIT */
#include "base/signature.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SAY(...)       snprintf(error, error_size, __VA_ARGS__)
#define SIGNED_MAX     (256ll << 20)
#define LINE_MAX_BYTES 512
#define PUBLIC	       "auriga-public-key"
#define SECRET	       "auriga-secret-key"
#define SIGNATURE      "auriga-signature"
#define BASE64	       sodium_base64_VARIANT_ORIGINAL

_Static_assert(sizeof(((struct au_public_key *)0)->bytes) == crypto_sign_PUBLICKEYBYTES, "a key");
_Static_assert(sizeof(((struct au_signature *)0)->bytes) == crypto_sign_BYTES, "a signature");

static int signature_init(void)
{
	return sodium_init() < 0 ? -EIO : 0;
}

static void key_id(const unsigned char *public_key, char *id)
{
	unsigned char hash[crypto_generichash_BYTES_MIN];

	crypto_generichash(hash, sizeof(hash), public_key, crypto_sign_PUBLICKEYBYTES, NULL, 0);
	sodium_bin2hex(id, AU_KEY_ID_SIZE, hash, (AU_KEY_ID_SIZE - 1) / 2);
}

/* The one line of a file. Return: its length or a negative errno. */
static int line_read(const char *path, char *line, size_t size)
{
	AU_CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size >= (off_t)size)
		return -EINVAL;
	n = read(fd, line, size - 1);
	if (n < 0)
		return -errno;
	line[n] = 0;
	line[strcspn(line, "\n")] = 0;
	return (int)n;
}

/* "KIND ed25519 [ID ]BASE64". Return: 0 or -EINVAL. */
static int line_parse(char *line, const char *kind, char *id, unsigned char *bytes, size_t size)
{
	char *save = NULL;
	const char *word = strtok_r(line, " ", &save);
	size_t length;

	if (!word || strcmp(word, kind) != 0)
		return -EINVAL;
	word = strtok_r(NULL, " ", &save);
	if (!word || strcmp(word, "ed25519") != 0)
		return -EINVAL;
	word = strtok_r(NULL, " ", &save);
	if (id) {
		if (!word || strlen(word) != AU_KEY_ID_SIZE - 1)
			return -EINVAL;
		memcpy(id, word, AU_KEY_ID_SIZE);
		word = strtok_r(NULL, " ", &save);
	}
	if (!word ||
	    sodium_base642bin(bytes, size, word, strlen(word), NULL, &length, NULL, BASE64))
		return -EINVAL;
	return length == size && !strtok_r(NULL, " ", &save) ? 0 : -EINVAL;
}

static int file_parse(const char *path, const char *kind, char *id, unsigned char *bytes,
		      size_t size, char *error, size_t error_size)
{
	char line[LINE_MAX_BYTES];
	int err = signature_init(), n;

	if (err) {
		SAY("%s: the random number generator does not work", path);
		return err;
	}
	n = line_read(path, line, sizeof(line));
	err = n < 0 ? n : line_parse(line, kind, id, bytes, size);
	sodium_memzero(line, sizeof(line));
	if (err == -EINVAL)
		SAY("%s: not an %s: one line of \"%s ed25519 ...\"", path, kind, kind);
	else if (err)
		SAY("%s: %s", path, strerror(-err));
	return err;
}

int au_public_key_read(const char *path, struct au_public_key *key, char *error, size_t error_size)
{
	const char *name = strrchr(path, '/');
	int err;

	memset(key, 0, sizeof(*key));
	err = file_parse(path, PUBLIC, NULL, key->bytes, sizeof(key->bytes), error, error_size);
	if (err)
		return err;
	name = name ? name + 1 : path;
	snprintf(key->name, sizeof(key->name), "%.*s",
		 (int)(strlen(name) > 4 ? strlen(name) - 4 : strlen(name)), name);
	key_id(key->bytes, key->id);
	return 0;
}

int au_signature_read(const char *path, struct au_signature *signature, char *error,
		      size_t error_size)
{
	memset(signature, 0, sizeof(*signature));
	return file_parse(path, SIGNATURE, signature->id, signature->bytes,
			  sizeof(signature->bytes), error, error_size);
}

/* All of a file. The caller frees it. Return: 0 or a negative errno. */
static int content_read(int fd, unsigned char **content, size_t *size)
{
	AU_CLEANUP_FREE unsigned char *bytes = NULL;
	struct stat st;
	size_t at = 0;

	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size > SIGNED_MAX)
		return -EFBIG;
	bytes = malloc((size_t)st.st_size + 1);
	if (!bytes)
		return -ENOMEM;
	while (at < (size_t)st.st_size) {
		ssize_t n = pread(fd, bytes + at, (size_t)st.st_size - at, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ETXTBSY;
		at += (size_t)n;
	}
	*content = bytes;
	*size = at;
	bytes = NULL;
	return 0;
}

int au_signature_check(int fd, const struct au_signature *signature,
		       const struct au_public_key *keys, unsigned int key_count)
{
	AU_CLEANUP_FREE unsigned char *content = NULL;
	unsigned int i = 0;
	size_t size;
	int err = signature_init();

	while (i < key_count && strcmp(keys[i].id, signature->id) != 0)
		i++;
	if (!err && i == key_count)
		return -ENOKEY;
	if (!err)
		err = content_read(fd, &content, &size);
	if (err)
		return err;
	if (crypto_sign_verify_detached(signature->bytes, content, size, keys[i].bytes))
		return -EBADMSG;
	return (int)i;
}

/* ----------------------------------------------------------------- making them */

static int line_write(const char *path, mode_t mode, const char *line)
{
	AU_CLEANUP_FD int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	size_t length = strlen(line);

	if (fd < 0)
		return -errno;
	if (write(fd, line, length) != (ssize_t)length || fsync(fd)) {
		int err = errno ? -errno : -ENOSPC;

		unlink(path);
		return err;
	}
	return 0;
}

int au_key_generate(const char *path, char *error, size_t error_size)
{
	unsigned char public_key[crypto_sign_PUBLICKEYBYTES],
		secret_key[crypto_sign_SECRETKEYBYTES];
	char text[sodium_base64_ENCODED_LEN(crypto_sign_SECRETKEYBYTES, BASE64)];
	char line[LINE_MAX_BYTES], public_path[4096];
	int err = signature_init();

	if (!err &&
	    snprintf(public_path, sizeof(public_path), "%s.pub", path) >= (int)sizeof(public_path))
		err = -ENAMETOOLONG;
	if (!err && crypto_sign_keypair(public_key, secret_key))
		err = -EIO;
	if (!err) {
		sodium_bin2base64(text, sizeof(text), secret_key, sizeof(secret_key), BASE64);
		snprintf(line, sizeof(line), SECRET " ed25519 %s\n", text);
		err = line_write(path, 0600, line);
	}
	sodium_memzero(secret_key, sizeof(secret_key));
	sodium_memzero(text, sizeof(text));
	sodium_memzero(line, sizeof(line));
	if (err) {
		SAY("%s: %s", path, strerror(-err));
		return err;
	}
	sodium_bin2base64(text, sizeof(text), public_key, sizeof(public_key), BASE64);
	snprintf(line, sizeof(line), PUBLIC " ed25519 %s\n", text);
	err = line_write(public_path, 0644, line);
	if (err) {
		SAY("%s: %s", public_path, strerror(-err));
		unlink(path);
	}
	return err;
}

static int sign_content(const char *key_path, int fd, char *line, size_t size, char *error,
			size_t error_size)
{
	char text[sodium_base64_ENCODED_LEN(crypto_sign_BYTES, BASE64)], id[AU_KEY_ID_SIZE];
	unsigned char secret_key[crypto_sign_SECRETKEYBYTES], bytes[crypto_sign_BYTES];
	unsigned char public_key[crypto_sign_PUBLICKEYBYTES];
	AU_CLEANUP_FREE unsigned char *content = NULL;
	size_t length;
	int err = file_parse(key_path, SECRET, NULL, secret_key, sizeof(secret_key), error,
			     error_size);

	if (err)
		return err;
	err = content_read(fd, &content, &length);
	if (err)
		SAY("it cannot be read: %s", strerror(-err));
	if (!err) {
		crypto_sign_ed25519_sk_to_pk(public_key, secret_key);
		key_id(public_key, id);
		crypto_sign_detached(bytes, NULL, content, length, secret_key);
		sodium_bin2base64(text, sizeof(text), bytes, sizeof(bytes), BASE64);
		snprintf(line, size, SIGNATURE " ed25519 %s %s\n", id, text);
	}
	sodium_memzero(secret_key, sizeof(secret_key));
	return err;
}

int au_sign(const char *key_path, const char *path, char *error, size_t error_size)
{
	AU_CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char line[LINE_MAX_BYTES], to[4096], temporary[4096 + 8];
	int err;

	if (fd < 0) {
		err = -errno;
		SAY("%s: %s", path, strerror(-err));
		return err;
	}
	if (snprintf(to, sizeof(to), "%s.sig", path) >= (int)sizeof(to))
		return SAY("%.200s: the path is too long", path), -ENAMETOOLONG;
	err = sign_content(key_path, fd, line, sizeof(line), error, error_size);
	if (err)
		return err;
	/* A reader sees the signature of before, or this one. */
	snprintf(temporary, sizeof(temporary), "%s.new", to);
	unlink(temporary);
	err = line_write(temporary, 0644, line);
	if (!err && rename(temporary, to))
		err = -errno;
	if (err)
		SAY("%s: %s", to, strerror(-err));
	return err;
}
