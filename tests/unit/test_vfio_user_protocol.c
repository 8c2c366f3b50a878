/* SPDX-License-Identifier: MIT */
/* vfio-user's codecs, bound by bound, and the way through the migration states. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "vfio-user/protocol.h"
#include "vfio-user/server_internal.h"

static void headers(void **state)
{
	struct vf_vfio_user_header in = {
		.id = 0x1234, .command = 17, .size = 24, .flags = 0x21, .error = 22,
	}, out;
	uint8_t raw[16];

	(void) state;
	vf_vfio_user_put_header(raw, &in);
	assert_memory_equal(raw, "\x34\x12\x11\0\x18\0\0\0\x21\0\0\0\x16\0\0\0", 16);
	assert_int_equal(vf_vfio_user_get_header(raw, &out), 0);
	assert_int_equal(out.error, 22);
	vf_put_u32(raw + 4, 15);
	assert_int_equal(vf_vfio_user_get_header(raw, &out), -EINVAL);
	vf_put_u32(raw + 4, 16);
	assert_int_equal(vf_vfio_user_get_header(raw, &out), 0);
	vf_put_u32(raw + 8, 2);		/* neither command nor reply */
	assert_int_equal(vf_vfio_user_get_header(raw, &out), -EINVAL);
	assert_string_equal(vf_vfio_user_command_name(18), "MIG_DATA_WRITE");
	assert_string_equal(vf_vfio_user_command_name(14), "?");
}

static int version(const char *json, size_t extra, struct vf_vfio_user_caps *caps)
{
	size_t len = 4 + strlen(json) + extra;
	uint8_t *body = calloc(1, len ? len : 1);
	uint16_t major, minor;
	int ret;

	vf_put_u16(body + 2, 1);
	memcpy(body + 4, json, strlen(json));
	ret = vf_vfio_user_get_version(body, len, &major, &minor, caps);
	free(body);
	return ret;
}

static void version_defaults_and_values(void **state)
{
	struct vf_vfio_user_caps caps;

	(void) state;
	assert_int_equal(version("", 0, &caps), 0);	/* four bytes and no more */
	assert_int_equal(caps.max_msg_fds, 1);
	assert_int_equal(caps.max_data_xfer_bytes, 1 << 20);
	assert_int_equal(caps.max_dma_maps, 65535);
	assert_false(caps.extensions);
	assert_int_equal(version("", 1, &caps), 0);	/* a lone NUL */
	assert_int_equal(version("{}", 1, &caps), 0);
	assert_int_equal(version("{}", 7, &caps), 0);	/* padded with NULs */
	assert_int_equal(version("{}", 0, &caps), -EINVAL);	/* no NUL */
	assert_int_equal(version("{\"capabilities\":{\"max_msg_fds\":8,\"max_data_xfer_size\":4096,"
				 "\"migration\":{\"pgsize\":4096},\"novel\":[1,2],"
				 "\"twin_socket\":{\"supported\":true,\"fd_index\":3}}}", 1, &caps), 0);
	assert_int_equal(caps.max_msg_fds, 8);
	assert_int_equal(caps.max_data_xfer_bytes, 4096);
	assert_true(caps.twin_socket);
	assert_int_equal(caps.twin_fd_index, 3);
	assert_int_equal(version("{\"capabilities\":{\"max_msg_fds\":100000}}", 1, &caps), 0);
	assert_int_equal(caps.max_msg_fds, VF_VFIO_USER_MAX_FDS);
	/* Our extension in another version is as good as none. */
	assert_int_equal(version("{\"capabilities\":{\"vferry\":{\"version\":2,\"p2p\":1}}}", 1,
				 &caps), 0);
	assert_false(caps.extensions);
	assert_int_equal(version("{\"capabilities\":{\"vferry\":{\"version\":1,\"p2p\":true}}}", 1,
				 &caps), 0);
	assert_true(caps.extensions && caps.p2p && !caps.precopy_info);
}

static void version_refuses_nonsense(void **state)
{
	static const char *const bad[] = {
		"x", "[]", "7", "{", "{}x", "{\"capabilities\":{\"a\":////}}", "{\"capabilities\":[]}", "{\"capabilities\":3}",
		"{\"capabilities\":{\"max_msg_fds\":\"8\"}}",
		"{\"capabilities\":{\"max_msg_fds\":-1}}",
		"{\"capabilities\":{\"max_data_xfer_size\":1.5}}",
		"{\"capabilities\":{\"max_data_xfer_size\":63}}",
		"{\"capabilities\":{\"max_dma_maps\":true}}",
		"{\"capabilities\":{\"twin_socket\":true}}",
		"{\"capabilities\":{\"twin_socket\":{\"supported\":1}}}",
		"{\"capabilities\":{\"vferry\":1}}",
		"{\"capabilities\":{\"vferry\":{\"version\":1,\"p2p\":1}}}",
		"{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{}}}}}}}}}",
	};
	struct vf_vfio_user_caps caps;
	char *large = malloc(VF_VFIO_USER_JSON_MAX + 100);
	uint16_t number;

	(void) state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (version(bad[i], 1, &caps) != -EINVAL)
			fail_msg("accepted: %s", bad[i]);
	for (size_t len = 0; len < 4; len++)
		assert_int_equal(vf_vfio_user_get_version((const uint8_t *) "\0\0\0\0", len, &number,
							  &number, &caps), -EINVAL);
	memset(large, ' ', VF_VFIO_USER_JSON_MAX + 99);
	memcpy(large, "{}", 2);
	large[VF_VFIO_USER_JSON_MAX - 1] = '\0';
	assert_int_equal(version(large, 1, &caps), 0);
	large[VF_VFIO_USER_JSON_MAX - 1] = ' ';
	large[VF_VFIO_USER_JSON_MAX] = '\0';
	assert_int_equal(version(large, 1, &caps), -EINVAL);
	free(large);
}

static void version_round_trip(void **state)
{
	struct vf_vfio_user_caps in, out, both;
	char *text;

	(void) state;
	vf_vfio_user_caps_default(&in);
	in.max_msg_fds = 5;
	in.twin_socket = true;
	in.twin_fd_index = 0;
	in.extensions = in.p2p = in.precopy_info = true;
	in.mig_buffer_bytes = 1ull << 40;
	assert_int_equal(vf_vfio_user_caps_format(&in, &text), 0);
	assert_int_equal(version(text, 1, &out), 0);
	free(text);
	assert_int_equal(out.max_msg_fds, 5);
	assert_true(out.twin_socket && out.extensions && out.p2p && out.precopy_info);
	assert_false(out.data_size || out.dma_log_ranges);
	assert_true(out.mig_buffer_bytes == 1ull << 40);
	vf_vfio_user_caps_default(&out);
	vf_vfio_user_caps_meet(&in, &out, &both);
	assert_false(both.extensions || both.p2p || both.twin_socket);
	assert_int_equal(both.mig_buffer_bytes, 0);
	assert_int_equal(both.max_msg_fds, 1);
}

/* Each decoder refuses every length below its fixed part and takes that length. */
#define EVERY_LENGTH(bytes, body, call) do { \
	for (size_t n = 0; n <= (bytes); n++) { \
		uint8_t *exact = malloc(n ? n : 1); \
		memcpy(exact, body, n); \
		assert_int_equal(call, n < (bytes) ? -EINVAL : 0); \
		free(exact); \
	} \
} while (0)

static void lengths(void **state)
{
	struct vf_vfio_user_dma_map map = { .flags = 3, .iova = 4096, .size = 4096 };
	struct vf_vfio_region_info region = { .argsz = 32 };
	struct vf_vfio_irq_set set = {
		.argsz = 20,
		.flags = VF_VFIO_IRQ_SET_DATA_BOOL | VF_VFIO_IRQ_SET_ACTION_MASK,
		.count = 3,
	};
	struct vf_vfio_dma_log_report report = { .length = 4096, .page_size = 4096 };
	struct vf_vfio_device_info device = { .argsz = 16 };
	struct vf_vfio_irq_info irq = { .argsz = 16 };
	struct vf_vfio_precopy_info precopy;
	struct vf_vfio_user_access access;
	const uint8_t *data;
	uint64_t a, b;
	uint32_t c, d;
	uint8_t raw[64] = { 0 };
	size_t len;

	(void) state;
	vf_vfio_user_put_dma_map(raw, &map);
	EVERY_LENGTH(32, raw, vf_vfio_user_get_dma_map(exact, n, &map));
	vf_vfio_user_put_dma_unmap(raw, 0, 4096, 4096);
	EVERY_LENGTH(24, raw, vf_vfio_user_get_dma_unmap(exact, n, &c, &a, &b));
	EVERY_LENGTH(16, raw, vf_vfio_user_get_region_access(exact, n, &access));
	EVERY_LENGTH(16, raw, vf_vfio_user_get_dma_access(exact, n, &access));
	vf_vfio_user_put_device_info(raw, &device);
	EVERY_LENGTH(16, raw, vf_vfio_user_get_device_info(exact, n, &device));
	vf_vfio_user_put_irq_info(raw, &irq);
	EVERY_LENGTH(16, raw, vf_vfio_user_get_irq_info(exact, n, &irq));
	vf_vfio_user_put_region_info(raw, &region);
	EVERY_LENGTH(32, raw, vf_vfio_user_get_region_info(exact, n, &region));
	vf_vfio_user_put_irq_set(raw, &set);
	EVERY_LENGTH(23, raw, vf_vfio_user_get_irq_set(exact, n, &set, &data));
	EVERY_LENGTH(8, raw, vf_vfio_user_get_feature(exact, n, &c, &d, &data, &len));
	vf_vfio_user_put_log_start(raw, 4096, 2);
	EVERY_LENGTH(48, raw, vf_vfio_user_get_log_start(exact, n, &a, &c));
	vf_vfio_user_put_log_report(raw, &report);
	EVERY_LENGTH(24, raw, vf_vfio_user_get_log_report(exact, n, &report));
	EVERY_LENGTH(8, raw, vf_vfio_user_get_mig_data(exact, n, &c, &d));
	EVERY_LENGTH(24, raw, vf_vfio_user_get_precopy(exact, n, &precopy));
	EVERY_LENGTH(16, raw, vf_vfio_user_get_buffer_range(exact, n, &a, &b));
}

static void numbers_that_lie(void **state)
{
	struct vf_vfio_user_dma_map map;
	struct vf_vfio_dma_log_report report, out;
	struct vf_vfio_user_access access;
	struct vf_vfio_irq_set set;
	const uint8_t *data;
	uint8_t raw[64];
	uint64_t a;
	uint32_t c;

	(void) state;
	map = (struct vf_vfio_user_dma_map) { .flags = 3, .iova = -4096ull, .size = 4096 };
	vf_vfio_user_put_dma_map(raw, &map);
	assert_int_equal(vf_vfio_user_get_dma_map(raw, 32, &map), -EINVAL);	/* wraps */
	map = (struct vf_vfio_user_dma_map) { .flags = 3, .fd_offset = -1ull, .size = 4096 };
	vf_vfio_user_put_dma_map(raw, &map);
	assert_int_equal(vf_vfio_user_get_dma_map(raw, 32, &map), -EINVAL);
	map = (struct vf_vfio_user_dma_map) { .flags = 3 };
	vf_vfio_user_put_dma_map(raw, &map);
	assert_int_equal(vf_vfio_user_get_dma_map(raw, 32, &map), -EINVAL);	/* empty */
	map = (struct vf_vfio_user_dma_map) { .flags = 0x13, .size = 4096 };
	vf_vfio_user_put_dma_map(raw, &map);
	assert_int_equal(vf_vfio_user_get_dma_map(raw, 32, &map), -EINVAL);	/* flag */
	map.flags = 3;
	vf_vfio_user_put_dma_map(raw, &map);
	vf_put_u32(raw, 31);
	assert_int_equal(vf_vfio_user_get_dma_map(raw, 32, &map), -EINVAL);	/* argsz */

	access = (struct vf_vfio_user_access) { .address = -1ull, .count = 1 };
	vf_vfio_user_put_dma_access(raw, &access);
	assert_int_equal(vf_vfio_user_get_dma_access(raw, 16, &access), -EINVAL);

	set = (struct vf_vfio_irq_set) { .argsz = 20, .flags = 0x24, .start = -1u, .count = 1 };
	vf_vfio_user_put_irq_set(raw, &set);
	assert_int_equal(vf_vfio_user_get_irq_set(raw, 20, &set, &data), -EINVAL);
	for (uint32_t flags = 0; flags < 128; flags++) {
		bool good = (flags & 7) && !((flags & 7) & ((flags & 7) - 1)) && (flags & 0x38) &&
			    !((flags & 0x38) & ((flags & 0x38) - 1)) && flags < 64;

		set = (struct vf_vfio_irq_set) { .argsz = 20, .flags = flags };
		vf_vfio_user_put_irq_set(raw, &set);
		assert_int_equal(vf_vfio_user_get_irq_set(raw, 20, &set, &data), good ? 0 : -EINVAL);
	}

	vf_vfio_user_put_log_start(raw, 4096, VF_VFIO_USER_MAX_LOG_RANGES + 1);
	assert_int_equal(vf_vfio_user_get_log_start(raw, SIZE_MAX / 2, &a, &c), -EINVAL);
	vf_vfio_user_put_log_start(raw, 4096, UINT32_MAX);
	assert_int_equal(vf_vfio_user_get_log_start(raw, 64, &a, &c), -EINVAL);

	for (int i = 0; i < 6; i++) {
		report = (struct vf_vfio_dma_log_report) { 4096, 8192, 4096, 0 };
		switch (i) {
		case 0: report.page_size = 2048; break;
		case 1: report.page_size = 12288; break;
		case 2: report.iova = 1; break;
		case 3: report.length = 0; break;
		case 4: report.length = 4097; break;
		case 5: report.iova = -4096ull; break;
		}
		vf_vfio_user_put_log_report(raw, &report);
		assert_int_equal(vf_vfio_user_get_log_report(raw, 24, &out), -EINVAL);
	}
	assert_int_equal(vf_vfio_user_log_bitmap_bytes(4096, 4096), 8);
	assert_int_equal(vf_vfio_user_log_bitmap_bytes(65 * 4096, 4096), 16);
	assert_true(vf_vfio_user_log_bitmap_bytes(UINT64_MAX, 4096) == 1ull << 49);
}

static int sparse(const struct vf_vfio_sparse_area *areas, uint32_t count, size_t cut,
		  uint32_t *ret_count)
{
	static struct vf_vfio_sparse_area out[VF_VFIO_USER_MAX_AREAS];
	struct vf_vfio_region_info info = {
		.argsz = 32, .flags = VF_VFIO_REGION_FLAG_CAPS, .cap_offset = 32, .size = 16384,
	};
	size_t len = 48 + 16 * (size_t) count - cut;
	uint8_t *body = malloc(48 + 16 * (size_t) count);
	uint8_t *exact = malloc(len);
	int ret;

	vf_vfio_user_put_region_info(body, &info);
	vf_vfio_user_put_sparse(body + 32, areas, count);
	memcpy(exact, body, len);
	ret = vf_vfio_user_get_sparse(exact, len, &info, out, ret_count);
	free(exact);
	free(body);
	return ret;
}

static void sparse_areas(void **state)
{
	struct vf_vfio_sparse_area good[2] = { { 8192, 4096 }, { 0, 8192 } };
	struct vf_vfio_sparse_area overlapping[2] = { { 8191, 4096 }, { 0, 8192 } };
	struct vf_vfio_sparse_area outside[1] = { { 12288, 4097 } };
	struct vf_vfio_sparse_area wrapping[1] = { { -4096ull, 8192 } };
	struct vf_vfio_sparse_area empty[1] = { { 4096, 0 } };
	struct vf_vfio_region_info info = { .flags = VF_VFIO_REGION_FLAG_CAPS, .size = 16384 };
	uint8_t body[64] = { 0 };
	uint32_t count;

	(void) state;
	assert_int_equal(sparse(good, 2, 0, &count), 0);
	assert_int_equal(count, 2);
	for (size_t cut = 1; cut <= 48; cut++)
		assert_int_equal(sparse(good, 2, cut, &count), -EINVAL);
	assert_int_equal(sparse(overlapping, 2, 0, &count), -EINVAL);
	assert_int_equal(sparse(outside, 1, 0, &count), -EINVAL);
	assert_int_equal(sparse(wrapping, 1, 0, &count), -EINVAL);
	assert_int_equal(sparse(empty, 1, 0, &count), -EINVAL);
	/* Chains: none, unknown ones passed over, backwards, into the info, out of the body. */
	assert_int_equal(vf_vfio_user_get_sparse(body, 64, &info, NULL, &count), 0);
	assert_int_equal(count, 0);
	info.cap_offset = 32;
	vf_put_u16(body + 32, 3);
	vf_put_u32(body + 36, 40);
	vf_put_u16(body + 40, 2);
	assert_int_equal(vf_vfio_user_get_sparse(body, 64, &info, NULL, &count), 0);
	vf_put_u32(body + 44, 32);
	assert_int_equal(vf_vfio_user_get_sparse(body, 64, &info, NULL, &count), -EINVAL);
	vf_put_u32(body + 44, 40);
	assert_int_equal(vf_vfio_user_get_sparse(body, 64, &info, NULL, &count), -EINVAL);
	vf_put_u32(body + 44, 57);
	assert_int_equal(vf_vfio_user_get_sparse(body, 64, &info, NULL, &count), -EINVAL);
	info.cap_offset = 31;
	assert_int_equal(vf_vfio_user_get_sparse(body, 64, &info, NULL, &count), -EINVAL);
	info.cap_offset = UINT32_MAX;
	assert_int_equal(vf_vfio_user_get_sparse(body, 64, &info, NULL, &count), -EINVAL);
}

static int io_fds(const struct vf_vfio_user_io_fd *fd, size_t cut, uint64_t region_bytes,
		  uint32_t *ret_count)
{
	static struct vf_vfio_user_io_fd out[VF_VFIO_USER_MAX_IO_FDS];
	const struct vf_vfio_user_io_fds head = { .argsz = 56, .region = 1, .count = 1 };
	size_t len = 56 - cut;
	uint8_t body[56], *exact = malloc(len ? len : 1);
	int ret;

	vf_vfio_user_put_io_fds(body, &head);
	vf_vfio_user_put_io_fd(body + 16, fd);
	memcpy(exact, body, len);
	ret = vf_vfio_user_get_io_fd_list(exact, len, region_bytes, out, ret_count);
	free(exact);
	if (!ret)
		assert_memory_equal(&out[0], fd, sizeof(*fd));
	return ret;
}

static void io_descriptors(void **state)
{
	const struct vf_vfio_user_io_fd good = {
		.offset = 0x70, .size = 4, .fd_index = 3, .flags = 1, .datamatch = 0x1122334455667788,
	};
	struct vf_vfio_user_io_fd out[VF_VFIO_USER_MAX_IO_FDS], fd = good;
	struct vf_vfio_user_io_fds head = { .argsz = 16 + 2 * 48, .count = 2 };
	uint8_t body[16 + 2 * 48] = { 0 };
	uint32_t count = 0;

	(void) state;
	assert_int_equal(io_fds(&good, 0, 0x74, &count), 0);
	assert_int_equal(count, 1);
	assert_int_equal(io_fds(&good, 0, 0x73, &count), -EINVAL);
	for (size_t cut = 1; cut <= 56; cut++)
		assert_int_equal(io_fds(&good, cut, 4096, &count), -EINVAL);
	for (uint64_t size = 0; size < 20; size++) {
		fd.size = size;
		assert_int_equal(io_fds(&fd, 0, 4096, &count), size <= 2 || size == 4 || size == 8 ?
				 0 : -EINVAL);
	}
	fd = (struct vf_vfio_user_io_fd) { .offset = -2ull, .size = 4 };
	assert_int_equal(io_fds(&fd, 0, UINT64_MAX, &count), -EINVAL);
	fd = (struct vf_vfio_user_io_fd) { .offset = 4096 };	/* nothing of it, but a place */
	assert_int_equal(io_fds(&fd, 0, 4096, &count), -EINVAL);
	fd.type = VF_VFIO_USER_IOREGIONFD;			/* not looked at */
	assert_int_equal(io_fds(&fd, 0, 4096, &count), 0);

	/* The longer layout: datamatch is the last word in both. */
	vf_vfio_user_put_io_fds(body, &head);
	vf_put_u64(body + 16 + 48, 8);
	vf_put_u64(body + 16 + 48 + 8, 2);
	vf_put_u64(body + 16 + 48 + 40, 77);
	assert_int_equal(vf_vfio_user_get_io_fd_list(body, sizeof(body), 4096, out, &count), 0);
	assert_int_equal(count, 2);
	assert_int_equal(out[1].offset, 8);
	assert_int_equal(out[1].datamatch, 77);
	/* None; one that nobody knows; more than anybody wants. */
	head = (struct vf_vfio_user_io_fds) { .argsz = 16 };
	vf_vfio_user_put_io_fds(body, &head);
	assert_int_equal(vf_vfio_user_get_io_fd_list(body, 16, 4096, out, &count), 0);
	assert_int_equal(count, 0);
	head = (struct vf_vfio_user_io_fds) { .argsz = 16 + 56, .count = 1 };
	vf_vfio_user_put_io_fds(body, &head);
	assert_int_equal(vf_vfio_user_get_io_fd_list(body, 16 + 56, 4096, out, &count), -E2BIG);
	head = (struct vf_vfio_user_io_fds) { .argsz = UINT32_MAX, .count = 65 };
	vf_vfio_user_put_io_fds(body, &head);
	assert_int_equal(vf_vfio_user_get_io_fd_list(body, sizeof(body), 4096, out, &count), -E2BIG);
	head = (struct vf_vfio_user_io_fds) { .argsz = 15 };
	vf_vfio_user_put_io_fds(body, &head);
	assert_int_equal(vf_vfio_user_get_io_fd_list(body, sizeof(body), 4096, out, &count), -EINVAL);
}

/* --- states --- */

static bool saving(int s)
{
	return s == VF_VFIO_STATE_STOP_COPY || s == VF_VFIO_STATE_PRE_COPY ||
	       s == VF_VFIO_STATE_PRE_COPY_P2P;
}

/* Single arcs, by which flags they need: with P2P, without. PRE_COPY where a state of it is named. */
static bool is_arc(uint64_t flags, int from, int to)
{
	static const char *const always = "1>3 3>1 1>4 4>1 ";
	static const char *const plain = "2>1 1>2 2>6 6>2 6>3 ";
	static const char *const p2p = "2>5 5>2 5>1 1>5 2>6 6>2 6>7 7>6 5>7 7>5 7>3 ";
	char name[8];

	snprintf(name, sizeof(name), "%d>%d ", from, to);
	if (!(flags & VF_VFIO_MIGRATION_PRE_COPY) && (from >= 6 || to >= 6))
		return false;
	return strstr(always, name) || strstr(flags & VF_VFIO_MIGRATION_P2P ? p2p : plain, name);
}

/* Length of the shortest legal way, by trying all ways up to @room arcs; -1 = none. */
static int shortest(uint64_t flags, int from, int to, int start, int room)
{
	int best = -1;

	if (from == to)
		return 0;
	if (!room)
		return -1;
	for (int next = 1; next < VF_VFIO_STATE__COUNT; next++) {
		int rest;

		if (!is_arc(flags, from, next))
			continue;
		/* No saving state inside, but from saving state to saving state. */
		if (next != to && saving(next) && !(saving(start) && saving(to)))
			continue;
		/* And such a session is not left and entered again. */
		if (saving(start) && saving(to) && !saving(next))
			continue;
		rest = shortest(flags, next, to, start, room - 1);
		if (rest >= 0 && (best < 0 || rest + 1 < best))
			best = rest + 1;
	}
	return best;
}

static bool has(uint64_t flags, int s)
{
	return s != 0 && (s < 5 || (s == 5 && flags & 2) || (s == 6 && flags & 4) ||
			  (s == 7 && (flags & 6) == 6));
}

static void every_way_through_the_states(void **state)
{
	(void) state;
	for (uint64_t flags = 1; flags < 8; flags += 2) {
		for (int from = 0; from < 8; from++) {
			for (int to = 0; to < 8; to++) {
				int want = has(flags, from) && has(flags, to) ?
					   shortest(flags, from, to, from, 6) : -1;
				int at = from, steps = 0;

				while (at != to || !has(flags, to)) {
					enum vf_vfio_state next;

					if (vf_vfio_user_next_state(flags, (enum vf_vfio_state) at,
								    (enum vf_vfio_state) to,
								    &next)) {
						steps = -1;
						break;
					}
					if (!is_arc(flags, at, (int) next))
						fail_msg("flags %d: %d>%d is no arc", (int) flags,
							 at, next);
					at = (int) next;
					assert_true(++steps < 8);
				}
				if (steps != want)
					fail_msg("flags %d, %d to %d: %d arcs, not %d", (int) flags,
						 from, to, steps, want);
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(headers),
		cmocka_unit_test(version_defaults_and_values),
		cmocka_unit_test(version_refuses_nonsense),
		cmocka_unit_test(version_round_trip),
		cmocka_unit_test(lengths),
		cmocka_unit_test(numbers_that_lie),
		cmocka_unit_test(sparse_areas),
		cmocka_unit_test(io_descriptors),
		cmocka_unit_test(every_way_through_the_states),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
