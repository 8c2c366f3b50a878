/* SPDX-License-Identifier: MIT */
/* group_reset.c - reset from every state, what it leaves, and the P2P states. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "internal.h"
#include "vfio/pci_regs.h"

#define PIECE 4096u
#define CAPS_MAX 48

static void resets(struct check *c, const char *where)
{
	char after[80];
	int r = check_reset(c);

	(void) snprintf(after, sizeof(after), "after a reset in %s", where);
	if (r < 0)
		check_fail(c, "a reset in %s fails with %s", where, check_errno(r));
	else
		(void) check_is(c, VF_VFIO_STATE_RUNNING, after);
}

static void run_reset(struct check *c, const struct check_assertion *a)
{
	if (!check_has_state(c, a->from))
		check_skip(c, "the device has no %s", check_state_name(a->from));
	else if (check_reach(c, a->from))
		resets(c, check_state_name(a->from));
}

static void run_reset_error(struct check *c, const struct check_assertion *a)
{
	uint32_t state;

	(void) a;
	if (!check_fail_to_load(c))
		return;
	if (check_get(c, &state) < 0 || state != VF_VFIO_STATE_ERROR)
		check_skip(c, "garbage as its state does not bring the device into ERROR");
	else
		resets(c, "ERROR");
}

static void run_ends_session(struct check *c, const struct check_assertion *a)
{
	struct check_image part = { 0 };
	uint8_t data[64];
	ssize_t n;
	int r;

	(void) a;
	if (!check_reach(c, VF_VFIO_STATE_STOP_COPY))
		return;
	(void) check_drain_some(c, &part, PIECE / 2, PIECE);
	check_image_done(&part);
	r = check_reset(c);
	if (r < 0) {
		check_blocked(c, "a reset fails with %s", check_errno(r));
		return;
	}
	n = check_data_read(c, data, sizeof(data));
	if (n > 0)
		check_fail(c, "a read after the reset gives %zd bytes", n);
}

/* Resets with a session half done, and asks whether the next one is whole. */
static void run_fresh_save(struct check *c, const struct check_assertion *a)
{
	struct check_image part = { 0 }, whole = { 0 };
	int r;

	(void) a;
	if (!check_reach(c, check_has_state(c, VF_VFIO_STATE_PRE_COPY) ? VF_VFIO_STATE_PRE_COPY :
			 VF_VFIO_STATE_STOP_COPY))
		return;
	(void) check_drain_some(c, &part, PIECE / 2, PIECE);
	check_image_done(&part);
	r = check_reset(c);
	if (r < 0)
		check_blocked(c, "a reset fails with %s", check_errno(r));
	else if (check_settle(c) == 0 && check_save(c, &whole, VF_MIB))
		(void) check_loads(c, &whole, VF_MIB, "what was saved after the reset");
	check_image_done(&whole);
}

static void run_half_loaded(struct check *c, const struct check_assertion *a)
{
	int r;

	(void) a;
	if (!check_first_loads(c) || !check_go(c, VF_VFIO_STATE_RESUMING))
		return;
	r = check_data_write(c, c->image.bytes, c->image.size / 2);
	if (r < 0) {
		check_blocked(c, "half an image can't be written: %s", check_errno(r));
		return;
	}
	r = check_reset(c);
	if (r < 0)
		check_blocked(c, "a reset fails with %s", check_errno(r));
	else if (check_settle(c) == 0)
		(void) check_loads(c, &c->image, VF_MIB, "a whole image after half of one and a reset");
}

static void run_empties(struct check *c, const struct check_assertion *a)
{
	struct check_image after = { 0 };
	int r = check_reset(c);

	(void) a;
	if (r < 0)
		check_blocked(c, "a reset fails with %s", check_errno(r));
	else if (check_settle(c) == 0 && check_save(c, &after, VF_MIB) &&
		 (after.size != c->image.size || memcmp(after.bytes, c->image.bytes, after.size)))
		check_warn(c, "the state after it differs from the one after the first reset");
	check_image_done(&after);
}

/* --- function level reset, by config space --- */

static int config_read(struct check *c, uint64_t at, void *to, size_t len)
{
	return c->backend->ops->region_read(c->backend, VF_VFIO_PCI_CONFIG_REGION, at, to, len, NULL);
}

/* The PCI Express capability, 0 = none. */
static uint8_t find_express(struct check *c)
{
	uint8_t at, cap[2];

	if (config_read(c, VF_PCI_CAP_POINTER, &at, 1) < 0)
		return 0;
	for (int i = 0; i < CAPS_MAX && at >= VF_PCI_HEADER_END; i++) {
		at &= 0xfc;
		if (config_read(c, at, cap, sizeof(cap)) < 0)
			return 0;
		if (cap[0] == VF_PCI_CAP_PCIE)
			return at;
		at = cap[1];
	}
	return 0;
}

static void run_flr(struct check *c, const struct check_assertion *a)
{
	uint8_t at = find_express(c), caps[4] = { 0 }, control[2];
	int r = at ? config_read(c, at + VF_PCI_PCIE_DEVCAP, caps, sizeof(caps)) : -ENODEV;

	(void) a;
	if (r < 0 || !(vf_get_u32(caps) & VF_PCI_PCIE_DEVCAP_FLR)) {
		check_skip(c, "the device has no function level reset in config space");
		return;
	}
	if (!check_reach(c, VF_VFIO_STATE_STOP_COPY))
		return;
	r = config_read(c, at + VF_PCI_PCIE_DEVCTL, control, sizeof(control));
	vf_put_u16(control, vf_get_u16(control) | VF_PCI_PCIE_DEVCTL_FLR);
	if (r == 0)
		r = c->backend->ops->region_write(c->backend, VF_VFIO_PCI_CONFIG_REGION,
						  at + VF_PCI_PCIE_DEVCTL, control, sizeof(control), NULL);
	if (r < 0)
		check_blocked(c, "the device control register can't be written: %s", check_errno(r));
	else
		(void) check_is(c, VF_VFIO_STATE_RUNNING, "after a function level reset in STOP_COPY");
}

/* --- P2P --- */

static void run_p2p_session(struct check *c, const struct check_assertion *a)
{
	static const uint32_t way[] = { VF_VFIO_STATE_PRE_COPY_P2P, VF_VFIO_STATE_PRE_COPY,
					VF_VFIO_STATE_PRE_COPY_P2P };
	struct check_image image = { 0 };
	int64_t n;

	(void) a;
	if (!check_reach(c, VF_VFIO_STATE_PRE_COPY))
		return;
	n = check_drain_some(c, &image, PIECE, PIECE);
	for (size_t i = 0; i < VF_ARRAY_COUNT(way) && n >= 0; i++) {
		if (!check_go(c, way[i]))
			goto out;
		n = check_drain_some(c, &image, PIECE, PIECE);
	}
	if (n < 0)
		check_fail(c, "read fails with %s", check_errno(n));
	else if (check_go(c, VF_VFIO_STATE_STOP_COPY)) {
		n = check_drain(c, &image, VF_MIB);
		if (n < 0)
			check_fail(c, "read in STOP_COPY fails with %s", check_errno(n));
		else
			(void) check_loads(c, &image, VF_MIB, "what was read over all these states");
	}
out:
	check_image_done(&image);
}

static void run_p2p_registers(struct check *c, const struct check_assertion *a)
{
	uint8_t before[4], in[4];
	int r = config_read(c, VF_PCI_VENDOR, before, sizeof(before));

	(void) a;
	if (r < 0) {
		check_blocked(c, "config space can't be read: %s", check_errno(r));
		return;
	}
	if (!check_reach(c, VF_VFIO_STATE_RUNNING_P2P))
		return;
	r = config_read(c, VF_PCI_VENDOR, in, sizeof(in));
	if (r < 0)
		check_fail(c, "in RUNNING_P2P a read of config space fails with %s", check_errno(r));
	else if (memcmp(before, in, sizeof(in)))
		check_fail(c, "in RUNNING_P2P the device calls itself %02x%02x:%02x%02x", in[1], in[0],
			   in[3], in[2]);
}

#define SOURCE "linux/vfio.h: VFIO_DEVICE_RESET, enum vfio_device_mig_state"
#define STATES "linux/vfio.h: enum vfio_device_mig_state"

#define RESET(state) { .id = "reset." #state, .source = SOURCE, .needs = CHECK_NEEDS_RESET, .run = run_reset, \
	.from = VF_VFIO_STATE_##state, .sentence = "a reset in " #state " succeeds and leads to RUNNING" }

static const struct check_assertion reset[] = {
	RESET(RUNNING), RESET(STOP), RESET(STOP_COPY), RESET(RESUMING), RESET(RUNNING_P2P), RESET(PRE_COPY),
	RESET(PRE_COPY_P2P),
	{ .id = "reset.ERROR", .source = SOURCE, .needs = CHECK_NEEDS_RESET, .run = run_reset_error,
	  .sentence = "a reset in ERROR succeeds and leads to RUNNING" },
	{ .id = "reset.ends-session", .source = SOURCE, .needs = CHECK_NEEDS_RESET, .run = run_ends_session,
	  .sentence = "a reset ends the session: nothing more is read from it" },
	{ .id = "reset.fresh-save", .source = SOURCE, .needs = CHECK_NEEDS_RESET | CHECK_NEEDS_IMAGE,
	  .run = run_fresh_save, .sentence = "after a reset in the middle of a session the next save is whole" },
	{ .id = "reset.half-loaded", .source = SOURCE, .needs = CHECK_NEEDS_RESET | CHECK_NEEDS_IMAGE,
	  .run = run_half_loaded, .sentence = "after a reset in the middle of loading a whole image can be loaded" },
	{ .id = "reset.empties", .source = "none", .needs = CHECK_NEEDS_RESET | CHECK_NEEDS_IMAGE,
	  .run = run_empties, .sentence = "each reset leaves the same state, byte by byte" },
	{ .id = "reset.flr", .source = "kernel: a write of FLR to config space resets, as VFIO_DEVICE_RESET does",
	  .needs = CHECK_NEEDS_CONFIG, .run = run_flr,
	  .sentence = "a function level reset by config space leads to RUNNING" },
};

const struct check_group check_group_reset = {
	.name = "reset",
	.about = "Reset is the way out of ERROR, of a load that is given up, and of whatever else went wrong. It leads to "
		 "RUNNING with empty state, from wherever, by whichever way it came.",
	CHECK_GROUP(reset),
};

static const struct check_assertion p2p[] = {
	{ .id = "p2p.session", .source = STATES, .needs = CHECK_NEEDS_P2P | CHECK_NEEDS_PRECOPY | CHECK_NEEDS_IMAGE,
	  .run = run_p2p_session,
	  .sentence = "a session goes on from PRE_COPY to PRE_COPY_P2P, back and again: it is one stream that can be loaded" },
	{ .id = "p2p.registers", .source = STATES, .needs = CHECK_NEEDS_P2P | CHECK_NEEDS_CONFIG,
	  .run = run_p2p_registers, .sentence = "in RUNNING_P2P accesses to the device are served" },
};

const struct check_group check_group_p2p = {
	.name = "p2p",
	.about = "All devices of a machine go to a P2P state before any of them stops, so that none of them writes into one "
		 "that has stopped. Whether a device then really starts no DMA to others takes a second device to see: "
		 "it is not asserted.",
	CHECK_GROUP(p2p),
};
