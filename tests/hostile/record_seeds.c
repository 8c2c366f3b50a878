/* SPDX-License-Identifier: MIT */
/*
 * record_seeds.c - writes what both sides of good migrations say, and the frames of a saved machine,
 * into files, as seeds for the fuzzers of whole sessions:
 *
 *     record-seeds tests/fuzz/corpus/stream_destination tests/fuzz/corpus/stream_source \
 *                  tests/fuzz/corpus/saved
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* Its frames lie behind everything else. */
static int save_seed(const char *folder)
{
	uint8_t *data = NULL, header[40];
	struct small_machine m;
	char path[64], uri[80];
	size_t size = 0;
	FILE *file;
	int ret = 1;

	(void) snprintf(path, sizeof(path), "/tmp/vferry-seed-%d", (int) getpid());
	(void) snprintf(uri, sizeof(uri), "file:%s", path);
	small_machine_init(&m, true);
	small_machine_session(&m, NULL);
	if (vferry_session_migrate(m.session, uri, NULL) ||
	    vferry_session_wait(m.session, 20 * SMALL_SECOND_NS))
		return 1;
	small_machine_done(&m);
	file = fopen(path, "rb");
	if (file && fread(header, sizeof(header), 1, file) == 1 &&
	    !fseek(file, (long) vf_get_u64(header + 16), SEEK_SET)) {
		size = (size_t) vf_get_u64(header + 24);
		data = malloc(size);
		ret = !data || fread(data, size, 1, file) != 1;
	}
	if (file)
		(void) fclose(file);
	(void) unlink(path);
	if (!ret)
		ret = write_seed(folder, "plain", data, size);
	free(data);
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

	if (argc != 4)
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
	return save_seed(argv[3]);
}
