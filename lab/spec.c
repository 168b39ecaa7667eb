/* SPDX-License-Identifier: MIT */
#include "spec.h"
#include "util.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

int lab_args_add(struct lab_args *args, const char *text)
{
	if (args->num == LAB_MAX_ARGS)
		return lab_fail(-E2BIG, "more than %d devices, chardevs or arguments",
				LAB_MAX_ARGS);
	args->arg[args->num++] = lab_strdup(text);
	return 0;
}

bool lab_name_valid(const char *name)
{
	size_t len = strlen(name);

	if (len == 0 || len > 60 || !isalnum((unsigned char)name[0]))
		return false;
	for (; *name; name++)
		if (!isalnum((unsigned char)*name) && !strchr("-_.", *name))
			return false;
	return true;
}

/* Copy the value of a QEMU option ("id=") from a comma-separated list, where ",," is a comma. */
static bool get_option(const char *spec, const char *key, char *value, size_t size)
{
	size_t klen = strlen(key);

	for (const char *p = spec; (p = strchr(p, ','));) {
		p++;
		if (*p == ',') {
			p++;
			continue;
		}
		if (strncmp(p, key, klen) == 0 && p[klen] == '=') {
			p += klen + 1;
			snprintf(value, size, "%.*s", (int)strcspn(p, ","), p);
			return true;
		}
	}
	return false;
}

static bool id_in_use(const struct lab_spec *spec, const char *id)
{
	char other[128];

	for (unsigned int i = 0; i < spec->devices.num; i++)
		if (get_option(spec->devices.arg[i], "id", other, sizeof(other)) &&
		    strcmp(other, id) == 0)
			return true;
	return false;
}

static int add_id(struct lab_spec *spec, char **device)
{
	char id[128], model[64];

	snprintf(model, sizeof(model), "%.*s", (int)strcspn(*device, ","), *device);
	if (get_option(*device, "id", id, sizeof(id))) {
		if (!lab_name_valid(id))
			return lab_fail(
				-EINVAL,
				"'%s' cannot be a device's id: use letters, digits, - _ and .", id);
		return 0;
	}
	for (unsigned int n = 0;; n++) {
		snprintf(id, sizeof(id), "%s%u", model, n);
		if (!id_in_use(spec, id))
			break;
	}
	char *text;
	if (asprintf(&text, "%s,id=%s", *device, id) < 0)
		return -ENOMEM;
	free(*device);
	*device = text;
	return 0;
}

static void replace_dir(char **text, const char *dir)
{
	struct lab_buf b = { 0 };
	const char *p = *text, *d;

	if (!strstr(p, "%d"))
		return;
	while ((d = strstr(p, "%d"))) {
		lab_buf_add(&b, p, (size_t)(d - p));
		lab_buf_add(&b, dir, strlen(dir));
		p = d + 2;
	}
	lab_buf_add(&b, p, strlen(p) + 1);
	free(*text);
	*text = (char *)b.data;
}

/* "64M" and the like, up to 16 TiB. */
static int parse_size(const char *text, uint64_t *size)
{
	static const char units[] = "KMGT";
	unsigned int shift = 0;
	char *end;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	uint64_t n = strtoull(text, &end, 10);
	const char *unit = *end ? strchr(units, *end) : NULL;
	if (unit) {
		shift = 10 * (unsigned int)(unit - units + 1);
		end++;
	}
	if (*end || !n || n > UINT64_C(1) << 44 >> shift)
		return -EINVAL;
	*size = n << shift;
	return 0;
}

/* driver=memory is the lab's own: a memfd, which QEMU inherits and takes for a file. */
static int make_memory(char **blockdev)
{
	char driver[64], node[128], size_text[64], *text;
	AU_CLEANUP_FREE char *listed = NULL;
	uint64_t size;

	/* As if an option came before the first one too. */
	if (asprintf(&listed, ",%s", *blockdev) < 0)
		return -ENOMEM;
	if (!get_option(listed, "driver", driver, sizeof(driver)) || strcmp(driver, "memory") != 0)
		return 0;
	if (!get_option(listed, "node-name", node, sizeof(node)) || !lab_name_valid(node))
		return lab_fail(-EINVAL, "a memory block device needs a node-name");
	if (!get_option(listed, "size", size_text, sizeof(size_text)) ||
	    parse_size(size_text, &size))
		return lab_fail(-EINVAL,
				"the memory block device %s needs a size, such as size=64M", node);
	int fd = memfd_create("lab-disk", 0);
	if (fd < 0 || ftruncate(fd, (off_t)size)) {
		int err = errno;

		if (fd >= 0)
			close(fd);
		return lab_fail(-err, "no memory for the block device %s: %s", node, strerror(err));
	}
	if (asprintf(&text, "driver=file,node-name=%s,filename=/proc/self/fd/%d", node, fd) < 0)
		return -ENOMEM;
	free(*blockdev);
	*blockdev = text;
	return 0;
}

int lab_spec_finish(struct lab_spec *spec)
{
	struct lab_args *lists[] = { &spec->qemu_args, &spec->chardevs, &spec->objects,
				     &spec->blockdevs, &spec->devices };

	for (size_t l = 0; l < sizeof(lists) / sizeof(lists[0]); l++)
		for (unsigned int i = 0; i < lists[l]->num; i++)
			replace_dir(&lists[l]->arg[i], spec->dir);
	for (unsigned int i = 0; i < spec->blockdevs.num; i++) {
		int ret = make_memory(&spec->blockdevs.arg[i]);

		if (ret)
			return ret;
	}
	for (unsigned int i = 0; i < spec->devices.num; i++) {
		int ret = add_id(spec, &spec->devices.arg[i]);

		if (ret)
			return ret;
	}
	return 0;
}

void lab_spec_free(struct lab_spec *spec)
{
	struct lab_args *lists[] = { &spec->qemu_args, &spec->chardevs, &spec->objects,
				     &spec->blockdevs, &spec->devices };

	for (size_t l = 0; l < sizeof(lists) / sizeof(lists[0]); l++)
		while (lists[l]->num)
			free(lists[l]->arg[--lists[l]->num]);
	free(spec->name);
	free(spec->log);
	free(spec->dir);
	if (spec->dirfd >= 0)
		close(spec->dirfd);
}
