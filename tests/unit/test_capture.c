/* SPDX-License-Identifier: MIT */
/* test_capture.c - a capture's texts and folder: one form only, and every other refused by name. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/checked.h"
#include "capture/capture.h"

static struct capture sample(void)
{
	static struct capture c;
	uint8_t *d = c.config;

	memset(&c, 0, sizeof(c));
	c.device_flags = VF_VFIO_DEVICE_FLAGS_RESET | VF_VFIO_DEVICE_FLAGS_PCI;
	c.extensions = true;
	c.regions[0] = (struct capture_region) {
		.size = 65536, .flags = 7, .area_count = 2,
		.areas = { { 0, 4096 }, { 8192, 57344 } },
	};
	c.regions[2] = (struct capture_region) { .size = 8, .flags = 3 };
	c.regions[7] = (struct capture_region) { .size = 4096, .flags = 3 };
	c.irqs[0] = (struct capture_irq) { 1, 7 };
	c.irqs[2] = (struct capture_irq) { 4, 9 | 1 << 30 };
	c.migration_flags = 7 | 1ull << 40;
	c.has_data_size = true;
	c.data_size = 123456;
	c.precopy_info = true;
	c.dma_log = true;
	vf_put_u16(d, 0x15b3);
	vf_put_u16(d + 2, 0x101e);
	d[6] = 0x10;			/* capabilities */
	vf_put_u32(d + 8, 0x02000001);
	d[0x34] = 0x40;
	d[0x40] = 0x11;			/* MSI-X: 4 vectors in region 0 */
	d[0x41] = 0x50;
	vf_put_u16(d + 0x42, 3);
	vf_put_u32(d + 0x44, 0x1000);
	vf_put_u32(d + 0x48, 0x1800);
	d[0x50] = 0x10;
	vf_put_u32(d + 0x100, 0x14820001);	/* AER, version 2; next at 0x148 */
	vf_put_u32(d + 0x148, 0x00010003);
	return c;
}

struct texts {
	struct vf_writer device, config;
};

static struct texts write_sample(const struct capture *c)
{
	struct texts t;

	vf_writer_init(&t.device, CAPTURE_FILE_MAX);
	vf_writer_init(&t.config, CAPTURE_CONFIG_FILE_MAX);
	capture_write_device(c, &t.device);
	capture_write_config(c, &t.config);
	assert_false(t.device.bad || t.config.bad);
	return t;
}

static void texts_done(struct texts *t)
{
	vf_writer_done(&t->device);
	vf_writer_done(&t->config);
}

static void test_back_again(void **state)
{
	struct capture c = sample(), back;
	struct texts t = write_sample(&c);
	struct vferry_error err = VFERRY_ERROR_INIT;

	(void) state;
	memset(&back, 0xee, sizeof(back));
	if (capture_parse((char *) t.device.data, t.device.size, (char *) t.config.data,
			  t.config.size, &back, &err))
		fail_msg("%s", err.message);
	assert_memory_equal(&back, &c, sizeof(c));
	texts_done(&t);
}

static void test_form(void **state)
{
	static const char *const wanted[] = {
		"\"version\": 1,", "\"BAR 2\"", "\"bit-30\"", "\"bit-40\"", "\"stop-copy\"",
		"\"data_size\": 123456,", "\"table_offset\": 4096", "\"pba_offset\": 6144",
		"\"offset\": 328", "\"vfio_user\": \"extended\"",
	};
	struct capture c = sample();
	struct texts t = write_sample(&c);

	(void) state;
	vf_write_u8(&t.device, 0);
	vf_write_u8(&t.config, 0);
	for (size_t i = 0; i < VF_ARRAY_COUNT(wanted); i++)
		if (!strstr((char *) t.device.data, wanted[i]))
			fail_msg("no %s in %s", wanted[i], (char *) t.device.data);
	assert_non_null(strstr((char *) t.config.data,
			       "00:00.0 0200: 15b3:101e (rev 01)\n00: b3 15 1e 10 00 00 10 00 01 "));
	assert_non_null(strstr((char *) t.config.data, "\n100: 01 00 82 14 00"));
	texts_done(&t);
}

/* Puts @with for the first @what in @text, which is grown as needed. */
static char *replaced(const struct vf_writer *text, const char *what, const char *with)
{
	char *all, *at = memmem(text->data, text->size, what, strlen(what));
	size_t before;

	if (!at)
		fail_msg("no %s", what);
	before = (size_t) (at - (char *) text->data);
	if (asprintf(&all, "%.*s%s%.*s", (int) before, (char *) text->data, with,
		     (int) (text->size - before - strlen(what)), at + strlen(what)) < 0)
		fail();
	return all;
}

static void test_refusals(void **state)
{
	static const struct {
		bool config;
		const char *what, *with, *says;
		int code;
	} cases[] = {
		{ false, "vferry-capture", "x", "format is not", -EINVAL },
		{ false, "\"version\": 1", "\"version\": 2", "is of version 2", -EOPNOTSUPP },
		{ false, "{", "[", "no JSON at byte", -EINVAL },
		{ false, "\"reset\"", "\"rest\"", "flags[0] is \"rest\"", -EINVAL },
		{ false, "\"reset\"", "\"bit-0\"", "flags[0] is \"bit-0\"", -EINVAL },
		{ false, "\"pci\"", "\"reset\"", "no PCI function", -EINVAL },
		{ false, "extended", "other", "vfio_user is \"other\"", -EINVAL },
		{ false, "\"size\": 65536", "\"size\": 65536.0", "area 0 of region 0", -EINVAL },
		{ false, "\"size\": 65536", "\"size\": -1", "area 0 of region 0", -EINVAL },
		{ false, "\"size\": 65536", "\"size\": 99999999999999", "larger than", -EINVAL },
		{ false, "\"size\": 65536", "\"size\": 65536, \"color\": \"\\u001b[1m\"",
		  "regions[0].color, which is \"\\u001b[1m\", has no meaning", -EINVAL },
		{ false, "\"size\": 65536", "\"size\": 65536, \"a\x1b[1mz\": 1",
		  "regions[0].a?[1mz, which is 1", -EINVAL },
		{ false, "\"size\": 57344", "\"size\": 57345", "area 1 of region 0", -EINVAL },
		{ false, "\"offset\": 8192", "\"offset\": 8191", "area 1 of region 0", -EINVAL },
		{ false, "\"offset\": 8192", "\"offset\": 0", "area 1 of region 0", -EINVAL },
		{ false, "\"mmap\"", "\"bit-9\"", "if, and only if", -EINVAL },
		{ false, "\"index\": 2", "\"index\": 1", "regions[1].name", -EINVAL },
		{ false, "\"index\": 2", "\"index\": 99", "regions[1].index is 99", -EINVAL },
		{ false, "\"index\": 2", "\"index\": 0", "regions[0].size is 65536", -EINVAL },
		{ false, "\"count\": 4", "\"count\": 4000", "4000 interrupts", -EINVAL },
		{ false, "\"count\": 1,", "", "interrupts[0].index is 0", -EINVAL },
		{ false, "\"stop-copy\",", "", "at least stop-copy", -EINVAL },
		{ false, "\"data_size\": 123456,", "", "migration.data_size", -EINVAL },
		{ false, "\"data_size\": 123456", "\"data_size\": true", "migration.data_size, which is true",
		  -EINVAL },
		{ false, "\"data_size\": 123456", "\"data_size\": 9999999999999", "larger", -EINVAL },
		{ false, "\"precopy_info\": true", "\"precopy_info\": 1", "migration.precopy_info is 1",
		  -EINVAL },
		{ false, "\"vectors\": 4", "\"vectors\": 5",
		  "msix.vectors is 5, where the rest, or config, makes it 4", -EINVAL },
		{ false, "\"id\": 17", "\"id\": 18", "capabilities[0].id is 18", -EINVAL },
		{ true, "101e (rev", "101f (rev", "config, line 1, column 23", -EINVAL },
		{ true, "\n10: 00", "\n10: 0", "has 4081 bytes", -EINVAL },
		{ true, "\n10: 00", "\n11: 00", "config, line 3, column 2", -EINVAL },
		{ true, "\n10: 00", "\n10:  0", "config, line 3, column 5", -EINVAL },
		{ true, "\n10: 00", "\n10: 00 00", "config, line 3, column 52", -EINVAL },
		{ true, "b3 15", "B3 15", "config, line 2, column 5", -EINVAL },
		{ true, "b3 15", "-1 15", "config, line 1, column 17", -EINVAL },
		{ true, "b3 15", "b4 15", "config, line 1", -EINVAL },
		{ true, "\nff0:", "\n# nothing\nff0:", "config, line 257, column 1", -EINVAL },
	};
	struct capture c = sample(), back;
	struct texts t = write_sample(&c);

	(void) state;
	for (size_t i = 0; i < VF_ARRAY_COUNT(cases); i++) {
		struct vferry_error err = VFERRY_ERROR_INIT;
		char *text = replaced(cases[i].config ? &t.config : &t.device, cases[i].what,
				      cases[i].with);
		int ret = cases[i].config ?
			  capture_parse((char *) t.device.data, t.device.size, text, strlen(text),
					&back, &err) :
			  capture_parse(text, strlen(text), (char *) t.config.data, t.config.size,
					&back, &err);

		if (ret != cases[i].code || !strstr(err.message, cases[i].says))
			fail_msg("%s -> %s: %d, %s", cases[i].what, cases[i].with, ret, err.message);
		free(text);
	}
	texts_done(&t);
}

static void test_ends(void **state)
{
	struct capture c = sample(), back;
	struct texts t = write_sample(&c);
	char *device = (char *) t.device.data, *config = (char *) t.config.data;

	(void) state;
	/* Cut off anywhere, but for the last newline of JSON. */
	for (size_t size = 0; size < t.device.size - 1; size++)
		assert_int_equal(capture_parse(device, size, config, t.config.size, &back, NULL), -EINVAL);
	for (size_t size = 0; size < t.config.size; size += 7)
		assert_int_equal(capture_parse(device, t.device.size, config, size, &back, NULL), -EINVAL);
	vf_write_u8(&t.device, 0);
	assert_int_equal(capture_parse((char *) t.device.data, t.device.size, config, t.config.size,
				       &back, NULL), -EINVAL);
	t.device.data[t.device.size - 1] = '{';
	assert_int_equal(capture_parse((char *) t.device.data, t.device.size, config, t.config.size,
				       &back, NULL), -EINVAL);
	texts_done(&t);
}

static void test_least(void **state)
{
	struct capture c = { .device_flags = VF_VFIO_DEVICE_FLAGS_PCI }, back;
	struct texts t;

	(void) state;
	c.regions[7] = (struct capture_region) { .size = 3, .flags = 3 };
	t = write_sample(&c);
	assert_int_equal(capture_parse((char *) t.device.data, t.device.size, (char *) t.config.data,
				       t.config.size, &back, NULL), 0);
	assert_memory_equal(&back, &c, sizeof(c));
	c.regions[7].size = 0;
	assert_int_equal(capture_check(&c, NULL), -EINVAL);
	c.regions[7].size = 4097;
	assert_int_equal(capture_check(&c, NULL), -EINVAL);
	texts_done(&t);
}

/* Everything that can be full is: the bound on the file holds it. */
static void test_most(void **state)
{
	static struct capture c, back;
	struct texts t;

	(void) state;
	c = sample();
	c.device_flags = c.regions[7].flags = UINT32_MAX & ~(uint32_t) VF_VFIO_REGION_FLAG_MMAP;
	c.migration_flags = UINT64_MAX;
	for (uint32_t i = 0; i < VF_VFIO_PCI_REGIONS; i++) {
		if (i == 7)
			continue;
		c.regions[i] = (struct capture_region) { .size = CAPTURE_REGION_MAX, .flags = UINT32_MAX,
							 .area_count = CAPTURE_AREAS_MAX };
		for (uint32_t n = 0; n < CAPTURE_AREAS_MAX; n++)
			c.regions[i].areas[n] = (struct vf_vfio_sparse_area) {
				(CAPTURE_REGION_MAX >> 1) + 8192 * n, 4096 };
	}
	for (uint32_t i = 0; i < VF_VFIO_PCI_IRQS; i++)
		c.irqs[i] = (struct capture_irq) { CAPTURE_VECTORS_MAX, UINT32_MAX };
	for (uint32_t at = 0x40; at < 0x100; at += 4) {
		c.config[at] = 9;
		c.config[at + 1] = (uint8_t) (at + 4);
	}
	for (uint32_t at = 0x100; at < 0x1000; at += 4)
		vf_put_u32(c.config + at, (at + 4) << 20 | 0xfffff);
	t = write_sample(&c);
	assert_int_equal(capture_parse((char *) t.device.data, t.device.size, (char *) t.config.data,
				       t.config.size, &back, NULL), 0);
	assert_memory_equal(&back, &c, sizeof(c));
	texts_done(&t);
}

static void test_chains(void **state)
{
	struct capture_cap caps[CAPTURE_CAPS_MAX];
	struct capture c = sample();

	(void) state;
	assert_int_equal(capture_caps(&c, caps), 4);
	assert_int_equal(caps[3].id, 3);
	assert_int_equal(capture_find_cap(&c, 0x11, 12), 0x40);
	assert_int_equal(capture_find_cap(&c, 0x01, 8), 0);
	c.config[0x51] = 0x40;		/* back */
	vf_put_u32(c.config + 0x148, 0x10010003);	/* back to 0x100 */
	assert_int_equal(capture_caps(&c, caps), 4);
	c.config[0x51] = 0xfc;		/* on, to where little is left */
	c.config[0xfc] = 0x11;
	assert_int_equal(capture_caps(&c, caps), 5);
	c.config[0x40] = 0x09;
	assert_int_equal(capture_find_cap(&c, 0x11, 12), 0);
	c.config[0x34] = 0x20;		/* into the header */
	assert_int_equal(capture_caps(&c, caps), 2);
	memset(c.config, 0xff, sizeof(c.config));
	(void) capture_caps(&c, caps);
	c.regions[7].size = 64;
	assert_int_equal(capture_find_cap(&c, 0x11, 12), 0);
}

/* --- the folder --- */

static char *make_folder(void)
{
	static char base[] = "/tmp/vferry-capture-XXXXXX";

	strcpy(base + sizeof(base) - 7, "XXXXXX");
	assert_non_null(mkdtemp(base));
	return base;
}

static void remove_folder(const char *folder)
{
	char command[128];

	(void) snprintf(command, sizeof(command), "rm -r %s", folder);
	assert_int_equal(system(command), 0);
}

static void test_folder(void **state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct capture c = sample(), back;
	const char *base = make_folder();
	char folder[128], path[256];

	(void) state;
	(void) snprintf(folder, sizeof(folder), "%s/it", base);
	assert_int_equal(capture_load(folder, &back, NULL), -ENOENT);
	assert_int_equal(capture_save(&c, folder, NULL), -ENOENT);
	assert_int_equal(capture_make_folder(folder, &err), 0);
	assert_int_equal(capture_save(&c, folder, &err), 0);
	assert_int_equal(capture_load(folder, &back, &err), 0);
	assert_memory_equal(&back, &c, sizeof(c));
	assert_int_equal(capture_save(&c, folder, NULL), -EEXIST);
	assert_int_equal(capture_make_folder(folder, &err), -EEXIST);
	assert_non_null(strstr(err.message, "there already"));

	assert_int_equal(capture_save_file(folder, "sys/bus/x", "1\n", 2, NULL), 0);
	(void) snprintf(path, sizeof(path), "%s/sys/bus/x", folder);
	assert_int_equal(access(path, R_OK), 0);
	assert_int_equal(capture_save_file(folder, "sys/bus/x", "1\n", 2, NULL), -EEXIST);
	assert_int_equal(capture_save_file(folder, "sys/../../x", "1\n", 2, NULL), -EINVAL);
	assert_int_equal(capture_save_file(folder, "../x", "1\n", 2, NULL), -EINVAL);
	assert_int_equal(capture_save_file(folder, "/tmp/x", "1\n", 2, NULL), -EINVAL);
	assert_int_equal(capture_save_file(folder, "./x", "1\n", 2, NULL), -EINVAL);
	assert_true(capture_save_file(folder, "sys/..", "1\n", 2, NULL) < 0);
	assert_int_equal(capture_save_link(folder, "sys/../away", "/tmp", NULL), -EINVAL);
	assert_int_equal(capture_save_link(folder, "away", "/tmp", NULL), 0);
	assert_int_equal(capture_save_link(folder, "away", "/tmp", NULL), -EEXIST);
	assert_true(capture_save_file(folder, "away/x", "1\n", 2, NULL) < 0);
	remove_folder(base);
}

static void test_strange_files(void **state)
{
	static const char *const names[] = { "config", "device.json" };
	const char *base = make_folder();
	struct capture c = sample(), back;
	char folder[128], path[256];

	(void) state;
	(void) snprintf(folder, sizeof(folder), "%s/it", base);
	assert_int_equal(capture_make_folder(folder, NULL), 0);
	assert_int_equal(capture_save(&c, folder, NULL), 0);
	for (size_t i = 0; i < VF_ARRAY_COUNT(names); i++) {
		struct vferry_error err = VFERRY_ERROR_INIT;

		(void) snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
		assert_int_equal(truncate(path, 1 << 30), 0);
		assert_int_equal(capture_load(folder, &back, NULL), -EFBIG);
		assert_int_equal(unlink(path), 0);
		assert_int_equal(capture_load(folder, &back, NULL), -ENOENT);
		assert_int_equal(mkfifo(path, 0600), 0);
		assert_int_equal(capture_load(folder, &back, &err), -EINVAL);
		assert_non_null(strstr(err.message, "is no file"));
		assert_int_equal(unlink(path), 0);
		assert_int_equal(mkdir(path, 0700), 0);
		assert_int_equal(capture_load(folder, &back, NULL), -EINVAL);
		assert_int_equal(rmdir(path), 0);
		assert_int_equal(symlink("/dev/zero", path), 0);
		assert_int_equal(capture_load(folder, &back, NULL), -EINVAL);
	}
	remove_folder(base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_back_again),
		cmocka_unit_test(test_form),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_least),
		cmocka_unit_test(test_most),
		cmocka_unit_test(test_chains),
		cmocka_unit_test(test_folder),
		cmocka_unit_test(test_strange_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
