/* SPDX-License-Identifier: MIT */
/*
 * record_seeds.c - writes what both sides of good migrations say into files, as seeds for the fuzzers
 * of whole sessions: record-seeds FOLDER-FOR-SOURCE'S FOLDER-FOR-DESTINATION'S
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "play.h"

#define SEED_BYTES (1u << 20)

/* Probes of the link's rate are long, and say nothing. */
static void shorten(struct hostile_stream *s)
{
	for (unsigned i = 0; i < s->count; i++)
		if (hostile_frame_type(&s->frames[i]) == VF_FRAME_KEEPALIVE && s->frames[i].bytes > 4)
			hostile_frame_resize(&s->frames[i], 4);
}

static int write_seed(const char *folder, const char *name, const uint8_t *data, size_t size)
{
	static struct hostile_stream s;
	uint8_t *bytes = malloc(SEED_BYTES);
	char path[512];
	FILE *file;
	int ret;

	hostile_stream_parse(&s, data, size);
	shorten(&s);
	size = hostile_stream_store(&s, bytes, SEED_BYTES);
	hostile_stream_done(&s);
	(void) snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "wb");
	ret = !file || fwrite(bytes, 1, size, file) != size;
	if (file && fclose(file))
		ret = 1;
	free(bytes);
	if (ret)
		perror(path);
	return ret;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		enum vferry_compression compression;
		bool verify, check_only;
	} kinds[] = {
		{ .name = "plain" },
		{ .name = "lz4", .compression = VFERRY_COMPRESSION_LZ4 },
		{ .name = "zstd", .compression = VFERRY_COMPRESSION_ZSTD },
		{ .name = "verify", .verify = true },
	};

	if (argc != 3)
		return 1;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		struct vferry_parameters p = VFERRY_PARAMETERS_INIT;
		struct hostile_recording r;

		p.compression = kinds[i].compression;
		p.verify = kinds[i].verify;
		if (!hostile_record(&p, &r)) {
			fprintf(stderr, "%s: the migration failed\n", kinds[i].name);
			return 1;
		}
		if (write_seed(argv[1], kinds[i].name, r.from_source, r.source_bytes) ||
		    write_seed(argv[2], kinds[i].name, r.from_destination, r.destination_bytes))
			return 1;
		free(r.from_source);
		free(r.from_destination);
	}
	return 0;
}
