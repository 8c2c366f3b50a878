/* SPDX-License-Identifier: MIT */
/*
 * capture.h - what a device shows of itself, in files: to read, to compare, to send along with a
 * report, and to make an equal device from.
 *
 * A capture is a folder. Two files in it describe the device, and nothing but the device:
 *
 *   device.json   regions, interrupts, reset, migration; JSON of one form only (see below)
 *   config        config space, all of it, as `lspci -xxxx` prints it: `lspci -F config -vvv`
 *                 tells what it means
 *
 * The others tell where it was, and are not needed for a replay:
 *
 *   probe.json    what `vferry probe --json` said
 *   host/         the files of /sys, /proc and /lib/modules that it read, as they were:
 *                 `vferry probe BDF --root host` looks at them again
 *
 * device.json has these members, in this order:
 *
 *   format          "vferry-capture"
 *   version         1; another version is refused, not guessed at
 *   flags           of the device: "reset", "pci"
 *   vfio_user       "extended", or "plain" for a server that lacks vferry's additions; a device of
 *                   the kernel's is "extended", since it can do what they are for
 *   regions         those that there are: index, name, size, flags ("read", "write", "mmap") and
 *                   areas, which can be mapped (offset, size)
 *   interrupts      those that there are: index, name, count, flags ("eventfd", "maskable",
 *                   "automasked", "noresize")
 *   migration       null for a device that can't; else flags ("stop-copy", "p2p", "pre-copy"),
 *                   data_size (its own estimate of its state in bytes, right after it was opened;
 *                   null: it gives none), precopy_info and dma_log (true or false)
 *   capabilities    what is in config space: offset, extended, id, version (0 if not extended)
 *   msix            null, or vectors, table_region, table_offset, pba_region, pba_offset
 *
 * A flag without a name here is "bit-N". The last two members follow from config space; they are
 * there for readers. What is in a BAR is not in a capture: to read a register can change a device.
 *
 * Reading is strict by one rule: the files are decoded, bounds are checked, the result is written
 * again, and the first difference to what was read is the error. So nothing is taken that means
 * nothing, and each device has one device.json.
 *
 * Threads: none; no state.
 */
#ifndef VFERRY_CAPTURE_H
#define VFERRY_CAPTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vferry/error.h>
#include "base/bytes.h"
#include "vferry_vfio.h"

#define CAPTURE_VERSION 1u
#define CAPTURE_AREAS_MAX 64u
#define CAPTURE_VECTORS_MAX 2048u
#define CAPTURE_CONFIG_MAX 4096u
#define CAPTURE_REGION_MAX (1ull << 42)	/* bytes */
#define CAPTURE_STATE_MAX (1ull << 42)
#define CAPTURE_FILE_MAX 262144u	/* device.json; with all regions full of areas it needs less */
#define CAPTURE_CONFIG_FILE_MAX 16384u

struct capture_region {
	uint64_t size;		/* 0 = not there */
	uint32_t flags;		/* VF_VFIO_REGION_FLAG_*, without CAPS */
	uint32_t area_count;	/* of MMAP at least one, else none */
	struct vf_vfio_sparse_area areas[CAPTURE_AREAS_MAX];	/* sorted, disjoint, inside */
};

struct capture_irq {
	uint32_t count;		/* 0 = not there */
	uint32_t flags;		/* VF_VFIO_IRQ_INFO_* */
};

struct capture {
	uint32_t device_flags;	/* VF_VFIO_DEVICE_FLAGS_*, without CAPS */
	bool extensions;	/* "extended" */
	struct capture_region regions[VF_VFIO_PCI_REGIONS];
	struct capture_irq irqs[VF_VFIO_PCI_IRQS];
	uint8_t config[CAPTURE_CONFIG_MAX];	/* as many bytes as that region has */

	uint64_t migration_flags;	/* VF_VFIO_MIGRATION_*; 0 = it can't */
	bool has_data_size;
	uint64_t data_size;
	bool precopy_info;
	bool dma_log;
};

static inline uint32_t capture_config_bytes(const struct capture *c)
{
	return (uint32_t) c->regions[VF_VFIO_PCI_CONFIG_REGION].size;
}

/* Bounds, and what one member says of another: -EINVAL with the reason. What was read from a device
 * needs this as much as what was read from a file. */
int capture_check(const struct capture *c, struct vferry_error *err);

/* ---- its texts. Writers become bad where memory ends; the capture must have passed the check. ---- */
void capture_write_device(const struct capture *c, struct vf_writer *to);
void capture_write_config(const struct capture *c, struct vf_writer *to);
/* Both texts, of any content. -EINVAL, -EOPNOTSUPP (another version), -ENOMEM; *ret_capture on
 * success only. */
int capture_parse(const char *device, size_t device_bytes, const char *config, size_t config_bytes,
		  struct capture *ret_capture, struct vferry_error *err);

/* ---- its folder ---- */
/* Makes @folder, which must not exist. */
int capture_make_folder(const char *folder, struct vferry_error *err);
/* The two files, into a folder that is there; device.json last. */
int capture_save(const struct capture *c, const char *folder, struct vferry_error *err);
int capture_load(const char *folder, struct capture *ret_capture, struct vferry_error *err);
/* Other things beside them, in folders that are made: @name is "probe.json" or "host/sys/..." and may
 * not lead out of @folder. What is there already is left, and is -EEXIST. */
int capture_save_file(const char *folder, const char *name, const void *data, size_t size,
		      struct vferry_error *err);
int capture_save_link(const char *folder, const char *name, const char *target,
		      struct vferry_error *err);

/* ---- what is in config space; any bytes will do ---- */
struct capture_cap {
	uint16_t offset, id;
	uint8_t version;	/* of extended ones, else 0 */
	bool extended;
};

#define CAPTURE_CAPS_MAX 112u	/* 48 fit below 256; of the extended ones, as many as are known */

/* In the order of the chains, which end where one leads outside or back. Return: how many. */
uint32_t capture_caps(const struct capture *c, struct capture_cap ret_caps[CAPTURE_CAPS_MAX]);
/* The offset of a capability with @bytes behind it, or 0. */
uint32_t capture_find_cap(const struct capture *c, uint16_t id, uint32_t bytes);

#endif
