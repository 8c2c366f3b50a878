/* SPDX-License-Identifier: MIT */
/*
 * test_probe_record.c - a host's files, noted while they are read: with the notes for a host, the same
 * is found. The host is a tree as sysfs has it, with links that cross.
 */
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
#include "probe/record.h"
#include "vfio/kernel_calls.h"

#define FUNCTION "/sys/devices/pci0000:00/0000:00:04.0"

static char base[64];

static void put(const char *name, const char *text)
{
	assert_int_equal(capture_save_file(base, name, text, strlen(text), NULL), 0);
}

static void link_to(const char *name, const char *target)
{
	assert_int_equal(capture_save_link(base, name, target, NULL), 0);
}

static void make_host(void)
{
	char aliases[300000], *at = aliases;

	strcpy(base, "/tmp/vferry-notes-XXXXXX");
	assert_non_null(mkdtemp(base));
	for (int i = 0; i < 4000; i++)
		at += sprintf(at, "alias pci:v0000%04Xd0000*sv*sd*bc*sc*i* driver_%d\n", i, i);
	strcpy(at, "alias vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_vfio_pci\n");
	put("host/lib/modules/6.12-test/modules.alias", aliases);
	put("host/proc/sys/kernel/osrelease", "6.12-test\n");
	put("host/proc/meminfo", "MemTotal:       16384000 kB\n");
	put("host/sys/bus/pci/drivers/vfio-pci/module", "");
	put("host" FUNCTION "/vendor", "0x15b3\n");
	put("host" FUNCTION "/device", "0x101e\n");
	put("host" FUNCTION "/class", "0x020000\n");
	put("host" FUNCTION "/subsystem_vendor", "0x15b3\n");
	put("host" FUNCTION "/subsystem_device", "0x0001\n");
	put("host" FUNCTION "/modalias", "pci:v000015B3d0000101Esv000015B3sd00000001bc02sc00i00\n");
	put("host" FUNCTION "/reset_method", "flr bus\n");
	put("host" FUNCTION "/power_state", "D0\n");
	put("host" FUNCTION "/vfio-dev/vfio7/dev", "511:7\n");
	put("host" FUNCTION "/secret", "nobody asked for this\n");
	link_to("host" FUNCTION "/driver", "../../../bus/pci/drivers/vfio-pci");
	link_to("host" FUNCTION "/iommu_group", "../../../kernel/iommu_groups/12");
	link_to("host" FUNCTION "/physfn", "../0000:00:03.0");
	link_to("host" FUNCTION "/vfio-dev/vfio7/device", "../../../0000:00:04.0");
	link_to("host/sys/bus/pci/devices/0000:00:04.0", "../../../devices/pci0000:00/0000:00:04.0");
	link_to("host/sys/class/vfio-dev/vfio7", "../../devices/pci0000:00/0000:00:04.0/vfio-dev/vfio7");
	link_to("host/sys/kernel/iommu_groups/12/devices/0000:00:04.0",
		"../../../../devices/pci0000:00/0000:00:04.0");
	put("host/sys/devices/pci0000:00/0000:00:05.0/class", "0x010802\n");
	link_to("host/sys/devices/pci0000:00/0000:00:05.0/driver", "../../../bus/pci/drivers/nvme");
	link_to("host/sys/kernel/iommu_groups/12/devices/0000:00:05.0",
		"../../../../devices/pci0000:00/0000:00:05.0");
}

static struct probe_root *open_host(const char *folder)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct probe_root *root;
	char path[128];

	(void) snprintf(path, sizeof(path), "%s/%s", base, folder);
	if (probe_root_open(path, &root, &err))
		fail_msg("%s", err.message);
	return root;
}

static void look(const struct probe_root *root, const char *name, struct probe_host *host,
		 struct probe_facts *facts)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	memset(host, 0, sizeof(*host));
	memset(facts, 0, sizeof(*facts));
	probe_host(root, host);
	if (probe_look(root, name, facts, &err))
		fail_msg("%s", err.message);
}

static off_t size_of(const char *name)
{
	char path[256];
	struct stat st;

	(void) snprintf(path, sizeof(path), "%s/%s", base, name);
	return stat(path, &st) ? -1 : st.st_size;
}

static void remove_host(void)
{
	char command[128];

	(void) snprintf(command, sizeof(command), "rm -r %s", base);
	assert_int_equal(system(command), 0);
}

static void test_same_again(void **state)
{
	static const char *const names[] = { "vfio:0000:00:04.0", "vfio:/dev/vfio/devices/vfio7" };
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct probe_host host, host_again;
	static struct probe_facts facts, again;
	char folder[128];

	(void) state;
	for (size_t i = 0; i < VF_ARRAY_COUNT(names); i++) {
		struct probe_root *root;
		struct probe_notes *notes;

		make_host();
		root = open_host("host");
		assert_int_equal(probe_notes_begin(root, &notes), 0);
		look(root, names[i], &host, &facts);
		assert_string_equal(facts.sysfs.driver, "vfio-pci");
		assert_string_equal(facts.sysfs.better_driver, "mlx5_vfio_pci");
		assert_string_equal(facts.sysfs.physical_function, "0000:00:03.0");
		assert_int_equal(facts.sysfs.member_count, 2);
		assert_string_equal(facts.sysfs.members[1].driver, "nvme");
		(void) snprintf(folder, sizeof(folder), "%s/kept", base);
		assert_int_equal(capture_make_folder(folder, NULL), 0);
		if (probe_notes_save(notes, folder, &err))
			fail_msg("%s", err.message);
		probe_notes_free(notes);
		look(root, names[i], &host_again, &again);	/* not noted any more */
		root = probe_root_close(root);

		root = open_host("kept/host");
		look(root, names[i], &host_again, &again);
		root = probe_root_close(root);
		assert_memory_equal(&host, &host_again, sizeof(host));
		assert_memory_equal(&facts, &again, sizeof(facts));
		assert_int_equal(size_of("kept/host" FUNCTION "/secret"), -1);
		assert_int_equal(size_of("kept/host/lib/modules/6.12-test/modules.alias"),
				 strlen("alias vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_vfio_pci\n"));
		remove_host();
	}
}

static void read_through(const struct probe_root *root, const char *path)
{
	const struct vf_kernel *k = probe_root_files(root);
	int fd = k->calls->open(k->user, path, O_RDONLY);

	if (fd >= 0)
		close(fd);
}

static void test_bounds(void **state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	char *large = malloc(200000), folder[128], name[64];
	struct probe_root *root;
	struct probe_notes *notes;

	(void) state;
	make_host();
	memset(large, 'x', 199999);
	large[199999] = 0;
	put("host/sys/large", large);
	free(large);
	put("host/etc/shadow", "none of ours");
	link_to("host/sys/loop", "loop");
	link_to("host/sys/outside", "../../../../../../etc");
	put("host/etc/hostname", "inside");
	root = open_host("host");
	assert_int_equal(probe_notes_begin(root, &notes), 0);
	read_through(root, "/sys/large");
	read_through(root, "/etc/shadow");
	read_through(root, "/sys/loop/x");
	(void) probe_root_files(root)->calls->readlink(probe_root_files(root)->user, "/sys/loop", name,
						       sizeof(name));
	(void) probe_root_files(root)->calls->readlink(probe_root_files(root)->user, "/sys/outside",
						       name, sizeof(name));
	read_through(root, "/sys/outside/hostname");
	(void) snprintf(folder, sizeof(folder), "%s/kept", base);
	assert_int_equal(capture_make_folder(folder, NULL), 0);
	assert_int_equal(probe_notes_save(notes, folder, NULL), 0);
	assert_int_equal(size_of("kept/host/sys/large"), PROBE_NOTE_BYTES);
	assert_int_equal(size_of("kept/host/etc/shadow"), -1);
	assert_int_equal(size_of("kept/host/etc/hostname"), 6);		/* within the tree */
	/* More than there is room for. */
	for (unsigned int i = 0; i < PROBE_NOTES_MAX; i++) {
		(void) snprintf(name, sizeof(name), "host/sys/many/%u", i);
		put(name, "");
		read_through(root, name + strlen("host"));
	}
	(void) snprintf(folder, sizeof(folder), "%s/more", base);
	assert_int_equal(capture_make_folder(folder, NULL), 0);
	assert_int_equal(probe_notes_save(notes, folder, &err), -EOVERFLOW);
	probe_notes_free(notes);
	root = probe_root_close(root);
	remove_host();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_again),
		cmocka_unit_test(test_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
