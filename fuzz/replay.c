/* SPDX-License-Identifier: MIT */
/*
 * replay FOLDER: feed every file of a corpus to a fuzz target, without a fuzzer. Prefixes of each
 * file are fed too, since truncation is what parsers get wrong first.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPLAY_MAX (64 * 1024)

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A copy of exactly the input's size, so that ASan sees reads beyond its end. */
static void replay_bytes(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	if (!copy)
		abort();
	memcpy(copy, data, size);
	LLVMFuzzerTestOneInput(copy, size);
	free(copy);
}

static int replay_file(const char *folder, const char *name)
{
	static uint8_t data[REPLAY_MAX];
	char path[4096];
	size_t size;
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "rb");
	if (!file) {
		fprintf(stderr, "replay: cannot open %s: %s\n", path, strerror(errno));
		return -errno;
	}
	size = fread(data, 1, sizeof(data), file);
	fclose(file);
	for (size_t part = 0; part < size; part += 1 + size / 256)
		replay_bytes(data, part);
	replay_bytes(data, size);
	return 0;
}

int main(int argc, char **argv)
{
	int replayed = 0, failed = 0;
	const struct dirent *entry;
	DIR *folder;

	if (argc != 2) {
		fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
		return 2;
	}
	folder = opendir(argv[1]);
	if (!folder) {
		fprintf(stderr, "replay: cannot open %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	while ((entry = readdir(folder))) {
		if (entry->d_name[0] == '.')
			continue;
		if (replay_file(argv[1], entry->d_name))
			failed++;
		else
			replayed++;
	}
	closedir(folder);
	printf("%d passed, %d failed\n", replayed, failed);
	return failed || !replayed;
}
