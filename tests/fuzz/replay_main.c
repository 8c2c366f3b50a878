/* SPDX-License-Identifier: MIT */
/*
 * replay_main.c - feeds every file of the folders named to one fuzz target, without libFuzzer, so
 * that the seed corpus and every input that once broke something run in each `make check`.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *data = NULL;
	long size;
	int ret = -1;

	if (!f || fseek(f, 0, SEEK_END) || (size = ftell(f)) < 0 || fseek(f, 0, SEEK_SET))
		goto out;
	data = malloc(size ? (size_t) size : 1);	/* exact size: ASan sees a read past the end */
	if (!data || fread(data, 1, (size_t) size, f) != (size_t) size)
		goto out;
	(void) LLVMFuzzerTestOneInput(data, (size_t) size);
	ret = 0;
out:
	if (ret)
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
	free(data);
	if (f)
		fclose(f);
	return ret;
}

int main(int argc, char **argv)
{
	int count = 0;

	for (int i = 1; i < argc; i++) {
		DIR *dir = opendir(argv[i]);
		struct dirent *entry;

		if (!dir) {
			fprintf(stderr, "%s: %s\n", argv[i], strerror(errno));
			return 1;
		}
		while ((entry = readdir(dir))) {
			char *path;

			if (entry->d_name[0] == '.')
				continue;
			if (asprintf(&path, "%s/%s", argv[i], entry->d_name) < 0)
				return 1;
			if (replay_file(path))
				return 1;
			free(path);
			count++;
		}
		closedir(dir);
	}
	printf("%d inputs replayed\n", count);
	return count ? 0 : 1;	/* an empty corpus tests nothing */
}
