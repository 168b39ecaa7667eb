/* SPDX-License-Identifier: MIT */
/* Persistent devices: DIR/devices.d/\*.conf, INI, one device a file. */
#include "base/cleanup.h"
#include "base/log.h"
#include "manager/spec.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONFIG_FILE_MAX (64 * 1024)

/* inih tells a handler no line number: its reader is ours, and counts. */
struct config_reader {
	const char *text;
	unsigned int line;
	void *target;
	int (*set)(void *target, const char *section, const char *name, const char *value,
		   char *error, size_t error_size);
	const char *file;
	char *error;
	size_t error_size;
	unsigned int failed; /* line; 0: none */
};

static char *config_read_line(char *str, int num, void *stream)
{
	struct config_reader *r = stream;
	int n = 0;

	if (!*r->text || num < 2)
		return NULL;
	while (n < num - 1 && *r->text) {
		str[n++] = *r->text;
		if (*r->text++ == '\n') {
			r->line++;
			break;
		}
	}
	str[n] = 0;
	return str;
}

static int config_value(void *user, const char *section, const char *name, const char *value)
{
	struct config_reader *r = user;
	char text[AU_PATH_MAX];

	if (r->failed)
		return 0;
	if (!r->set(r->target, section, name, value, text, sizeof(text)))
		return 1;
	snprintf(r->error, r->error_size, "%s:%u: %s", r->file, r->line, text);
	r->failed = r->line;
	return 0;
}

static int config_parse(struct config_reader *r)
{
	int at = ini_parse_stream(config_read_line, r, config_value, r);

	/* It goes on after a line that it does not understand: the first mistake counts. */
	if (r->failed && (at <= 0 || (unsigned int)at >= r->failed))
		return -EINVAL;
	if (!at)
		return 0;
	snprintf(r->error, r->error_size,
		 "%s:%d: neither [section], nor key = value, nor a comment", r->file,
		 at > 0 ? at : 0);
	return -EINVAL;
}

static int config_spec(void *target, const char *section, const char *name, const char *value,
		       char *error, size_t error_size)
{
	return mgr_spec_set(target, section, name, value, error, error_size);
}

int mgr_spec_parse_ini(const char *text, const char *file, struct mgr_spec *spec, char *error,
		       size_t error_size)
{
	struct config_reader r = { .text = text,
				   .target = spec,
				   .set = config_spec,
				   .file = file,
				   .error = error,
				   .error_size = error_size };
	const char *base = strrchr(file, '/');
	char line[AU_PATH_MAX], name[AU_PATH_MAX];

	base = base ? base + 1 : file;
	snprintf(spec->source, sizeof(spec->source), "%s", file);
	if (config_parse(&r))
		return -EINVAL;
	if (!spec->name[0]) {
		snprintf(name, sizeof(name), "%s", base);
		if (strlen(name) > 5 && !strcmp(name + strlen(name) - 5, ".conf"))
			name[strlen(name) - 5] = 0;
		if (mgr_spec_set(spec, "device", "name", name, line, sizeof(line))) {
			snprintf(error, error_size,
				 "%s: the file's name is no device's name: add "
				 "name = ... to [device]",
				 file);
			return -EINVAL;
		}
	}
	if (mgr_spec_check(spec, line, sizeof(line))) {
		snprintf(error, error_size, "%s: %s", file, line);
		return -EINVAL;
	}
	return 0;
}

static int config_read_file(const char *path, char *text, size_t size, char *error,
			    size_t error_size)
{
	AU_CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st)) {
		snprintf(error, error_size, "%s: %s", path, strerror(errno));
		return -errno;
	}
	if (!S_ISREG(st.st_mode) || st.st_size >= (off_t)size) {
		snprintf(error, error_size, "%s: not a file of at most %zu bytes", path, size - 1);
		return -EINVAL;
	}
	n = read(fd, text, size - 1);
	if (n < 0) {
		snprintf(error, error_size, "%s: %s", path, strerror(errno));
		return -errno;
	}
	text[n] = 0;
	if (strlen(text) != (size_t)n) {
		snprintf(error, error_size, "%s: not text", path);
		return -EINVAL;
	}
	return 0;
}

static int config_wanted(const struct dirent *entry)
{
	size_t length = strlen(entry->d_name);

	return entry->d_name[0] != '.' && length > 5 &&
	       !strcmp(entry->d_name + length - 5, ".conf");
}

int mgr_config_each(const char *dir, uint32_t idle_ms, void (*fn)(struct mgr_spec *spec, void *arg),
		    void *arg)
{
	AU_CLEANUP_FREE char *text = malloc(CONFIG_FILE_MAX);
	struct dirent **entries = NULL;
	char path[AU_PATH_MAX], error[AU_PATH_MAX * 2];
	int bad = 0, count;

	snprintf(path, sizeof(path), "%s/devices.d", dir);
	count = text ? scandir(path, &entries, config_wanted, alphasort) : -1;
	if (count < 0) {
		if (errno == ENOENT)
			return 0;
		au_logf(AU_LOG_ERROR, "%s: %s", path, strerror(errno));
		return 1;
	}
	for (int i = 0; i < count; i++) {
		struct mgr_spec spec;
		int n = snprintf(path, sizeof(path), "%s/devices.d/%s", dir, entries[i]->d_name);

		free(entries[i]);
		mgr_spec_init(&spec, idle_ms);
		if (n < 0 || n >= (int)sizeof(path) ||
		    config_read_file(path, text, CONFIG_FILE_MAX, error, sizeof(error)) ||
		    mgr_spec_parse_ini(text, path, &spec, error, sizeof(error))) {
			au_logf(AU_LOG_ERROR, "%s: this device is left out", error);
			bad++;
		} else {
			fn(&spec, arg);
		}
		mgr_spec_clear(&spec);
	}
	free(entries);
	return bad;
}

/* ------------------------------------------------------------- the manager's own */

static int config_setting(void *target, const char *section, const char *name, const char *value,
			  char *error, size_t error_size)
{
	struct mgr_settings *settings = target;

	if (strcmp(section, "drivers") != 0) {
		snprintf(error, error_size, "unknown section [%.40s]: use [drivers]", section);
		return -EINVAL;
	}
	if (!strcmp(name, "signatures")) {
		if (!mgr_signatures_parse(value, &settings->signatures))
			return 0;
		snprintf(error, error_size, "signatures '%.20s': use require, warn or off", value);
		return -EINVAL;
	}
	if (!strcmp(name, "store")) {
		if (value[0] == '/' && strlen(value) < sizeof(settings->store)) {
			memcpy(settings->store, value, strlen(value) + 1);
			return 0;
		}
		snprintf(error, error_size, "store '%.100s': use a whole path", value);
		return -EINVAL;
	}
	snprintf(error, error_size, "unknown key '%.40s' in [drivers]: use store or signatures",
		 name);
	return -EINVAL;
}

int mgr_config_settings(const char *dir, struct mgr_settings *settings, char *error,
			size_t error_size)
{
	AU_CLEANUP_FREE char *text = malloc(CONFIG_FILE_MAX);
	char path[AU_PATH_MAX];
	struct config_reader r = { .text = text,
				   .target = settings,
				   .set = config_setting,
				   .file = path,
				   .error = error,
				   .error_size = error_size };
	int err = 0;

	memcpy(settings->store, MGR_STORE_DEFAULT, sizeof(MGR_STORE_DEFAULT));
	settings->signatures = MGR_SIGNATURES_OFF;
	if (snprintf(path, sizeof(path), "%s/aurigad.conf", dir) >= (int)sizeof(path)) {
		snprintf(error, error_size, "%.200s: the path is too long", dir);
		return -ENAMETOOLONG;
	}
	if (access(path, F_OK))
		return 0;
	err = text ? config_read_file(path, text, CONFIG_FILE_MAX, error, error_size) : -ENOMEM;
	return err ? err : config_parse(&r);
}
