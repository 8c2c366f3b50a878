/* SPDX-License-Identifier: MIT */
/*
 * test_vfio_library.c - the library over the kernel's VFIO, with real registers, DMA and interrupts.
 *
 *	test_vfio_library [URI URI]
 *
 * Two of QEMU's edu devices; if none are named, the first two there are, which it binds to edu_vfio_pci.
 * The first one copies memory in and out by DMA and says so by MSI; what it writes is in its log, if it has one;
 * its state, with the 4 KiB that it holds, goes to the second one, which gives them out again.
 * Of a device with a BAR smaller than a page (sdhci-pci), on vfio-pci, the page is mapped, if it is there.
 * One line for each thing that was seen; the exit code is 0 if all was.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <vferry/device.h>
#include <vferry/ram.h>

#include "ram/ram.h"
#include "sysfs.h"
#include "vferry_vfio.h"

#define RAM_BYTES	(2u << 20)
#define PAGE		4096u
#define COPIED		2048u		/* edu takes no copy that reaches the end of what it holds */
#define BAR0_GPA	0xc0000000u
#define SMALL_GPA	0xd0000000u
#define EDU_BUFFER	0x40000u
#define STATE_MAX	65536u

enum { EDU_ID = 0, EDU_ACKNOWLEDGE = 0x64, EDU_FROM = 0x80, EDU_TO = 0x88, EDU_COUNT = 0x90, EDU_COMMAND = 0x98 };
enum { EDU_START = 1, EDU_OUT = 2, EDU_INTERRUPT = 4 };
enum { SDHCI_CAPABILITIES = 0x40, SDHCI_BYTES = 256 };
enum { PCI_COMMAND = 4, PCI_BAR0 = 0x10, PCI_CAPABILITIES = 0x34, PCI_CAP_MSI = 5 };

struct machine {
	struct vferry_ram *ram;
	struct vferry_dma_space *space;
	struct vferry_irq_plan *irqs;
	int eventfd;		/* of the vector that is connected */
};

static void check(bool good, const char *what, const struct vferry_error *err)
{
	printf("%s: %s%s%s\n", good ? "seen" : "NOT seen", what, err && err->message[0] ? ": " : "",
	       err ? err->message : "");
	(void) fflush(stdout);
	if (!good)
		exit(1);
}

/* ---- interrupts: eventfds that are waited for ---- */

static int set_routes(void *user, const struct vferry_irq_route *routes, size_t count, struct vferry_error *err)
{
	(void) user;
	(void) routes;
	(void) count;
	(void) err;
	return 0;
}

static int connect_irq(void *user, uint32_t gsi, int fd, int resample, struct vferry_error *err)
{
	struct machine *m = user;

	(void) gsi;
	(void) resample;
	(void) err;
	m->eventfd = fd;
	return 0;
}

static int disconnect_irq(void *user, uint32_t gsi, int fd, struct vferry_error *err)
{
	struct machine *m = user;

	(void) gsi;
	(void) fd;
	(void) err;
	m->eventfd = -1;
	return 0;
}

static bool interrupted(struct machine *m, int timeout_ms)
{
	struct pollfd fd = { .fd = m->eventfd, .events = POLLIN };
	eventfd_t n;

	return poll(&fd, 1, timeout_ms) == 1 && eventfd_read(m->eventfd, &n) == 0;
}

/* ---- a machine ---- */

static void make_machine(struct machine *m)
{
	const struct vferry_dma_space_options space = { .size = sizeof(space), .kvm_vfio = -1, .iommufd = -1 };
	const struct vferry_irq_sink sink = {
		.size = sizeof(sink), .user = m, .gsi_count = 64, .set_routes = set_routes,
		.connect = connect_irq, .disconnect = disconnect_irq,
	};
	struct vferry_error err = VFERRY_ERROR_INIT;
	bool good = vferry_ram_new(&m->ram) == 0 &&
		    vferry_ram_create_block(m->ram, "ram0", 0, RAM_BYTES, VFERRY_RAM_PINNED, &err) >= 0 &&
		    vferry_dma_space_new(&space, &m->space, &err) == 0 &&
		    vferry_irq_plan_new(&sink, &m->irqs, &err) == 0;

	m->eventfd = -1;
	check(good, "memory, address space, interrupts", &err);
}

static struct vferry_device *open_device(struct machine *m, const char *uri, const char *address)
{
	const struct vferry_device_options options = {
		.size = sizeof(options), .address = address, .irqs = m->irqs, .dma_space = m->space,
	};
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vferry_device_info info;
	struct vferry_device *device = NULL;
	bool good = vferry_device_open(uri, &options, &device, &err) == 0 &&
		    vferry_device_attach_ram(device, m->ram, &err) == 0;

	check(good, uri, &err);
	vferry_device_get_info(device, &info);
	printf("      %04x:%04x by %s, driver %s, features %#x\n", info.vendor_id, info.device_id, info.backend,
	       info.driver, info.features);
	check(info.features & VFERRY_DEVICE_STOP_COPY, "it can migrate", NULL);
	return device;
}

/* As a guest's driver does: a place for the BAR, MSI, then memory and bus mastering on. */
static void set_up(struct vferry_device *device, uint32_t gpa)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	uint32_t at = vferry_device_config_read(device, PCI_CAPABILITIES, 1);
	uint64_t id = 0;
	bool good;

	while (at && vferry_device_config_read(device, at, 1) != PCI_CAP_MSI)
		at = vferry_device_config_read(device, at + 1, 1);
	check(at != 0, "its MSI capability", NULL);
	good = vferry_device_config_write(device, PCI_BAR0, 4, gpa, &err) == 0 &&
	       vferry_device_config_write(device, at + 4, 4, 0xfee00000, &err) == 0 &&
	       vferry_device_config_write(device, at + 12, 2, 0x41, &err) == 0 &&
	       vferry_device_config_write(device, at + 2, 2,
					  vferry_device_config_read(device, at + 2, 2) | 1, &err) == 0 &&
	       vferry_device_config_write(device, PCI_COMMAND, 2, 6, &err) == 0;
	check(good, "BAR, MSI, decoding, bus mastering", &err);
	good = vferry_device_bar_read(device, 0, EDU_ID, 4, &id, &err) == 0;
	check(good && (id & 0xffff) == 0xed, "its registers", &err);
}

static void set(struct vferry_device *device, uint64_t reg, uint64_t value)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (vferry_device_bar_write(device, 0, reg, reg < EDU_FROM ? 4 : 8, value, &err) < 0)
		check(false, "a register that is written", &err);
}

static void copy(struct vferry_device *device, uint64_t from, uint64_t to, uint64_t command)
{
	uint64_t left = EDU_START;

	set(device, EDU_FROM, from);
	set(device, EDU_TO, to);
	set(device, EDU_COUNT, COPIED);
	set(device, EDU_COMMAND, EDU_START | command);
	for (unsigned int tries = 0; (left & EDU_START) && tries < 3000; tries++) {
		(void) usleep(10000);
		(void) vferry_device_bar_read(device, 0, EDU_COMMAND, 8, &left, NULL);
	}
	check(!(left & EDU_START), command & EDU_OUT ? "DMA out of the device" : "DMA into the device", NULL);
}

/* ---- what is seen ---- */

static uint8_t *page_of(struct machine *m, uint64_t gpa)
{
	return vferry_ram_host(m->ram, gpa, PAGE);
}

static void see_dma(struct machine *m, struct vferry_device *device)
{
	for (unsigned int i = 0; i < COPIED; i++)
		page_of(m, 0x10000)[i] = (uint8_t) (i * 7 + i / 256);
	copy(device, 0x10000, EDU_BUFFER, 0);
	copy(device, EDU_BUFFER, 0x20000, EDU_OUT | EDU_INTERRUPT);
	check(memcmp(page_of(m, 0x10000), page_of(m, 0x20000), COPIED) == 0, "what was copied", NULL);
	check(interrupted(m, 10000), "its interrupt", NULL);
	set(device, EDU_ACKNOWLEDGE, 0x100);
}

static void see_log(struct machine *m, struct vferry_device *device)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vferry_device_info info;
	struct vf_ram_collected before, after;

	check(vf_ram_tracking_start(m->ram, &err) == 0, "tracking", &err);
	vferry_device_get_info(device, &info);
	if (info.dirty_tracking == VFERRY_TRACKING_NONE) {
		printf("      nobody logs what it writes on this kernel\n");
	} else {
		/* The first look is about what was there before. */
		check(vf_ram_collect(m->ram, &before) == 0, "what was written before", NULL);
		copy(device, EDU_BUFFER, 0x30000, EDU_OUT);
		check(vf_ram_collect(m->ram, &after) == 0 && after.dirty_pages > before.dirty_pages,
		      "the page that it wrote, in its log", NULL);
	}
	vf_ram_tracking_stop(m->ram);
}

static size_t read_state(struct vferry_device *device, uint8_t *to)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	size_t bytes = 0;
	int64_t n;

	check(vferry_device_set_state(device, VF_VFIO_STATE_STOP_COPY, &err) == 0, "STOP_COPY", &err);
	do {
		n = vferry_device_read_data(device, to + bytes, STATE_MAX - bytes, &err);
		bytes += n > 0 ? (size_t) n : 0;
	} while (n > 0 && bytes < STATE_MAX);
	check(n == 0 && bytes > PAGE, "its whole state", &err);
	printf("      %zu bytes\n", bytes);
	return bytes;
}

static void see_move(struct machine *m, struct vferry_device *from, struct vferry_device *to)
{
	static uint8_t state[STATE_MAX];
	struct vferry_error err = VFERRY_ERROR_INIT;
	size_t bytes = read_state(from, state);
	bool good = vferry_device_set_state(to, VF_VFIO_STATE_RESUMING, &err) == 0 &&
		    vferry_device_write_data(to, state, bytes, &err) == 0 &&
		    vferry_device_set_state(to, VF_VFIO_STATE_STOP, &err) == 0 &&
		    vferry_device_set_state(to, VF_VFIO_STATE_RUNNING, &err) == 0;

	check(good, "the state, in the other device", &err);
	copy(to, EDU_BUFFER, 0x50000, EDU_OUT);
	check(memcmp(page_of(m, 0x10000), page_of(m, 0x50000), COPIED) == 0, "what the first one held", NULL);
	check(vferry_device_set_state(from, VF_VFIO_STATE_RUNNING, &err) == 0, "the first one runs on", &err);
	copy(from, EDU_BUFFER, 0x60000, EDU_OUT);
	check(memcmp(page_of(m, 0x10000), page_of(m, 0x60000), COPIED) == 0, "and holds it, too", NULL);
}

/* An iommufd has no mappings of BARs. */
static void see_peers(struct vferry_device *a, struct vferry_device *b)
{
	struct vferry_device_info info;
	int expected;

	vferry_device_get_info(a, &info);
	expected = strcmp(info.backend, "kernel-cdev") == 0 ? -ENOTSUP : 0;
	check(vferry_device_add_peer(a, b, NULL) == expected && vferry_device_add_peer(b, a, NULL) == expected,
	      expected ? "no BARs of each other" : "each other's BARs", NULL);
}

/* A register by message and in the page that is mapped: the same, and not what nobody answers. */
static void see_small_bar(struct machine *m, const char *uri)
{
	const struct vferry_device_options options = {
		.size = sizeof(options), .address = "00:03.0", .irqs = m->irqs, .dma_space = m->space,
	};
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vferry_device *device = NULL;
	struct vferry_device_info info;
	struct vferry_bar_area area = { .bytes = 0 };
	uint64_t value = 0;
	bool good;

	check(vferry_device_open(uri, &options, &device, &err) == 0, uri, &err);
	vferry_device_get_info(device, &info);
	check(info.bar_bytes[0] == SDHCI_BYTES, "a BAR of 256 bytes", NULL);
	good = vferry_device_config_write(device, PCI_BAR0, 4, SMALL_GPA, &err) == 0 &&
	       vferry_device_config_write(device, PCI_COMMAND, 2, 2, &err) == 0 &&
	       vferry_device_bar_read(device, 0, SDHCI_CAPABILITIES, 4, &value, &err) == 0;
	check(good && value != 0 && value != UINT32_MAX, "its registers", &err);
	good = vferry_device_bar_area(device, 0, 0, &area) == 0;
	check(good && area.offset == 0 && area.bytes == PAGE && area.guest_only, "its page", NULL);
	check(*(volatile uint32_t *) (void *) ((uint8_t *) area.host + SDHCI_CAPABILITIES) == value,
	      "its registers in the page", NULL);
	(void) vferry_device_close(device);
}

/* ---- which ---- */

static bool find_two(char uris[2][320])
{
	for (unsigned int i = 0; i < 2; i++) {
		char bdf[SYSFS_BDF];

		if (!sysfs_find_pci(0x1234, 0x11e8, i, bdf) || sysfs_bind_pci(bdf, "edu_vfio_pci"))
			return false;
		(void) snprintf(uris[i], sizeof(uris[i]), "vfio:%s", bdf);
	}
	return true;
}

static bool find_small(char *uri, size_t size)
{
	char bdf[SYSFS_BDF];

	if (!sysfs_find_pci(0x1b36, 0x0007, 0, bdf) || sysfs_bind_pci(bdf, "vfio-pci"))
		return false;
	(void) snprintf(uri, size, "vfio:%s", bdf);
	return true;
}

int main(int argc, char **argv)
{
	struct vferry_device *a, *b;
	char uris[2][320] = { "", "" }, small[320];
	struct machine m;

	if (argc == 3) {
		(void) snprintf(uris[0], sizeof(uris[0]), "%s", argv[1]);
		(void) snprintf(uris[1], sizeof(uris[1]), "%s", argv[2]);
	} else {
		check(find_two(uris), "two edu devices", NULL);
	}
	make_machine(&m);
	a = open_device(&m, uris[0], "00:01.0");
	b = open_device(&m, uris[1], "00:02.0");
	see_peers(a, b);
	set_up(a, BAR0_GPA);
	see_dma(&m, a);
	see_log(&m, a);
	set_up(b, BAR0_GPA + (16u << 20));
	see_move(&m, a, b);
	if (find_small(small, sizeof(small)))
		see_small_bar(&m, small);
	else
		printf("      there is no sdhci-pci device here\n");
	(void) vferry_device_close(b);
	(void) vferry_device_close(a);
	m.irqs = vferry_irq_plan_free(m.irqs);
	m.space = vferry_dma_space_free(m.space);
	m.ram = vferry_ram_free(m.ram);
	return 0;
}
