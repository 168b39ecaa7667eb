/* SPDX-License-Identifier: MIT */
#include "manager/json.h"
#include "manager/manager.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

unsigned int mgr_hash(const char *text)
{
	unsigned int hash = 5381;

	for (; *text; text++)
		hash = hash * 33 + (unsigned char)*text;
	return hash;
}

json_t *mgr_json_string(const char *text)
{
	json_t *string = json_string(text);

	if (!string) {
		AU_CLEANUP_FREE char *copy = strdup(text);

		for (char *c = copy; c && *c; c++)
			if ((unsigned char)*c >= 0x80)
				*c = '?';
		string = json_string(copy ? copy : "");
	}
	return string;
}

bool mgr_json_text(const json_t *object, const char *key, char *buf, size_t size)
{
	const json_t *value = json_object_get(object, key);
	const char *text = json_string_value(value);

	buf[0] = 0;
	if (!text || json_string_length(value) != strlen(text) || strlen(text) >= size)
		return false;
	for (const char *c = text; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			return false;
	memcpy(buf, text, strlen(text) + 1);
	return true;
}

bool mgr_report_ok(const json_t *object)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789_";
	const char *key;
	json_t *value;
	char text[80];

	if (!json_is_object(object) || json_object_size(object) > 48)
		return false;
	json_object_foreach((json_t *)(uintptr_t)object, key, value)
	{
		size_t length = strlen(key);

		if (!length || length > 39 || strspn(key, letters) != length)
			return false;
		if (!json_is_integer(value) && !mgr_json_text(object, key, text, sizeof(text)))
			return false;
	}
	return true;
}

bool mgr_json_uint(const json_t *object, const char *key, uint64_t max, uint64_t *value)
{
	const json_t *number = json_object_get(object, key);
	json_int_t n = json_integer_value(number);

	if (!json_is_integer(number) || n < 0 || (uint64_t)n > max)
		return false;
	*value = (uint64_t)n;
	return true;
}

void mgr_json_set_hex(json_t *object, const char *key, const void *data, size_t size)
{
	AU_CLEANUP_FREE char *text = malloc(2 * size + 1);
	const unsigned char *bytes = data;

	if (!text)
		return;
	text[0] = 0;
	for (size_t i = 0; i < size; i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	json_object_set_new(object, key, json_string(text));
}

static int json_nibble(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

bool mgr_json_hex(const json_t *object, const char *key, void *data, size_t size)
{
	const json_t *value = json_object_get(object, key);
	const char *text = json_string_value(value);
	unsigned char *bytes = data;

	if (!text || json_string_length(value) != 2 * size)
		return false;
	for (size_t i = 0; i < size; i++) {
		int high = json_nibble(text[2 * i]), low = json_nibble(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		bytes[i] = (unsigned char)(high << 4 | low);
	}
	return true;
}

json_t *mgr_json_read_file(const char *path, size_t max)
{
	AU_CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	AU_CLEANUP_FREE char *text = NULL;
	struct stat st;
	json_t *object;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size > (off_t)max)
		return NULL;
	text = malloc((size_t)st.st_size + 1);
	n = text ? read(fd, text, (size_t)st.st_size) : -1;
	if (n < 0)
		return NULL;
	object = json_loadb(text, (size_t)n, JSON_REJECT_DUPLICATES, NULL);
	if (object && !json_is_object(object)) {
		json_decref(object);
		return NULL;
	}
	return object;
}

int mgr_json_write_file(const char *path, const json_t *object)
{
	AU_CLEANUP_FREE char *text = json_dumps(object, JSON_COMPACT);
	char temporary[PATH_MAX];
	size_t length;
	int fd, err = 0;

	if (!text)
		return -ENOMEM;
	length = strlen(text);
	if (snprintf(temporary, sizeof(temporary), "%s.new", path) >= (int)sizeof(temporary))
		return -ENAMETOOLONG;
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	if (write(fd, text, length) != (ssize_t)length)
		err = errno ? -errno : -EIO;
	close(fd);
	if (!err && rename(temporary, path))
		err = -errno;
	if (err)
		unlink(temporary);
	return err;
}
