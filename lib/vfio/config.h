/* SPDX-License-Identifier: MIT */
/*
 * config.h - PCI config space of a passed through function: its layout, the guest's view of it, and
 * how a saved view is put into another device.
 *
 * Model. A *layout* is what may not change under a guest: identity, BAR sizes, where capabilities
 * and the MSI-X table lie. It is read from a byte image of config space and compared before a
 * migration begins. A *state* is what is moved: the guest's config bytes, its MSI-X table, the
 * level of INTx. A *view* (struct vf_config) is a state plus rules: which bits the guest may
 * change, which come from the device, which go to it, which touch interrupts. Reads and writes of
 * the view do no I/O; they say what is to be done, as effects. Restoring is three *plans*, lists of
 * steps for the caller:
 *
 *   stage    after the device is in D0 and RESUMING, before the first byte of its state: everything
 *            that touches no interrupt
 *   restage  after the source's device has stopped: only what differs from what was staged
 *   arm      after the interrupt controller: INTx, MSI, MSI-X, the vectors, the final power state
 *
 * Invariants: no write of a plan has an FLR bit set; no write of stage or restage changes a bit
 * that touches interrupts (such bits of a shared register are in the write's `keep`).
 *
 * Threads: none; an object needs its owner's lock. Errors: negative errno and <vferry/error.h>.
 */
#ifndef VF_VFIO_CONFIG_H
#define VF_VFIO_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vferry/error.h>
#include "base/bytes.h"
#include "vfio/msix.h"

#define VF_CONFIG_BYTES_PCI	256u
#define VF_CONFIG_BYTES_MAX	4096u	/* PCI Express */
#define VF_CONFIG_BARS		6u
#define VF_CONFIG_ROM		6u	/* index of the ROM where BARs are counted, as VFIO does */
#define VF_CONFIG_REGIONS	7u
#define VF_CONFIG_CAPS_MAX	112u	/* 48 fit below 256; 64 extended ones are more than exist */
#define VF_CONFIG_LAYOUT_BYTES_MAX 2048u	/* encoded */
#define VF_CONFIG_SECTION_BYTES_MAX 40960u	/* encoded: 4096 + 2048 vectors + small things */

/* ---- 1. layout ---------------------------------------------------------------------------- */

/* What the backend says of a region; same numbers as VFIO's region flags. */
enum vf_config_region_flag {
	VF_CONFIG_REGION_READ	= 1u << 0,
	VF_CONFIG_REGION_WRITE	= 1u << 1,
	VF_CONFIG_REGION_MMAP	= 1u << 2,
};

struct vf_config_region {
	uint64_t size;		/* 0 = not there (also: the upper half of a 64-bit BAR) */
	uint32_t flags;
};

enum vf_config_bar_flag {
	VF_CONFIG_BAR_IO	= 1u << 0,
	VF_CONFIG_BAR_64	= 1u << 1,	/* takes the next BAR register too */
	VF_CONFIG_BAR_PREFETCH	= 1u << 2,
};

struct vf_config_bar {
	uint64_t size;		/* as the guest sizes it: the region's, up to a power of 2 */
	uint64_t region_size;	/* as the backend said */
	uint32_t region_flags;	/* VF_CONFIG_REGION_* */
	uint8_t flags;		/* VF_CONFIG_BAR_* */
};

struct vf_config_cap {
	uint16_t id;
	uint16_t offset;
	uint16_t length;	/* known, or up to the next capability by address */
	uint8_t version;	/* extended ones; 0 for the others */
	bool extended;
};

struct vf_config_layout {
	uint32_t size;		/* of config space: 256 or 4096 */
	uint16_t vendor;
	uint16_t device;
	uint16_t subsystem_vendor;
	uint16_t subsystem;
	uint32_t class_code;	/* 24 bits: class, sub-class, interface */
	uint8_t revision;
	uint8_t header_type;	/* without the multi-function bit, which is the host's slot */
	uint8_t interrupt_pin;	/* 0 = none, 1..4 = A..D */
	struct vf_config_bar bars[VF_CONFIG_REGIONS];	/* [6] = ROM */
	uint32_t cap_count;
	struct vf_config_cap caps[VF_CONFIG_CAPS_MAX];	/* in the order of the chain(s) */
	/* The ones the library works with; offset 0 = absent. */
	struct {
		uint16_t offset;
		uint16_t caps;
		bool no_soft_reset;
	} pm;
	struct {
		uint16_t offset;
		uint8_t count;		/* 1..32, can use */
		bool is_64;
		bool maskable;
	} msi;
	struct {
		uint16_t offset;
		uint16_t count;		/* 1..2048 */
		uint8_t table_bar;
		uint8_t pba_bar;
		uint32_t table_offset;
		uint32_t pba_offset;
	} msix;
	struct {
		uint16_t offset;
		uint16_t flags;		/* version, type of port */
		uint32_t devcap;
		uint32_t devcap2;	/* 0 below version 2 */
	} pcie;
	struct {
		uint16_t offset;
		uint8_t caps;
	} af;
	uint16_t aer_offset;
};

/**
 * vf_config_layout_parse() - read a layout from a byte image
 * @image:   config space as read from the device or seen by the guest
 * @size:    256 or 4096
 * @regions: VF_CONFIG_REGIONS of them
 *
 * Return: 0, -EINVAL (wrong size, no such device, a capability that loops, lies outside or
 * overlaps, a BAR or MSI-X table that cannot be; id in @err: "config-bad"), -EOPNOTSUPP (not header
 * type 0).
 */
int vf_config_layout_parse(const uint8_t *image, size_t size,
			   const struct vf_config_region regions[VF_CONFIG_REGIONS],
			   struct vf_config_layout *ret_layout, struct vferry_error *err);

/* Wire form, versioned. Encode: problems show as w->bad. Decode checks as strictly as parse does
 * and wants all bytes used: -EINVAL, -EOPNOTSUPP (a later version). */
void vf_config_layout_encode(const struct vf_config_layout *layout, struct vf_writer *w);
int vf_config_layout_decode(struct vf_reader *r, struct vf_config_layout *ret_layout,
			    struct vferry_error *err);

/* Index into caps, or -ENOENT. */
int vf_config_find_cap(const struct vf_config_layout *layout, bool extended, uint16_t id);
/* "MSI-X", "AER"; a static string, "unknown" if it has no name here. */
const char *vf_config_cap_name(bool extended, uint16_t id);

/* ---- 2. comparison ------------------------------------------------------------------------ */

struct vf_config_difference {
	const char *id;		/* stable word: "config-bar-size"; static */
	bool fatal;		/* else only worth telling */
	char field[48];		/* "BAR 2 size", "MSI-X table offset" */
	char source[64];
	char destination[64];
};

typedef void (*vf_config_difference_fn)(void *user, const struct vf_config_difference *d);

/* Tells every difference through @fn (may be NULL). Return: how many of them are fatal. */
unsigned int vf_config_compare(const struct vf_config_layout *source,
			       const struct vf_config_layout *destination,
			       vf_config_difference_fn fn, void *user);

/* The same as one error, id "config-mismatch", listing as many as its text holds and the total.
 * Return: 0 if nothing is fatal, else -EINVAL. */
int vf_config_check(const struct vf_config_layout *source,
		    const struct vf_config_layout *destination, const char *object,
		    struct vferry_error *err);

/* ---- 3. state and guest view --------------------------------------------------------------- */

struct vf_config_state {
	struct vf_config_layout layout;
	uint8_t bytes[VF_CONFIG_BYTES_MAX];	/* layout.size of them count */
	bool intx_level;			/* the line is asserted towards the guest */
	struct vf_msix msix;			/* table and pending; control as in bytes */
};

struct vf_config_state *vf_config_state_new(void);	/* empty; NULL = out of memory */
void vf_config_state_free(struct vf_config_state *state);	/* NULL is fine */

enum vf_config_interrupt_mode {
	VF_CONFIG_INTERRUPT_NONE = 0,
	VF_CONFIG_INTERRUPT_INTX = 1,
	VF_CONFIG_INTERRUPT_MSI = 2,
	VF_CONFIG_INTERRUPT_MSIX = 3,
};

struct vf_config_interrupts {
	enum vf_config_interrupt_mode mode;
	uint32_t count;		/* to allocate: INTx 1, MSI what the guest allows, MSI-X all */
};

struct vf_config_vector {
	uint32_t index;
	uint64_t address;
	uint32_t data;
	bool masked;		/* by its own mask, or by the function's */
	bool pending;		/* MSI-X: to be sent when it is not masked. MSI: the device's own
				 * register as last seen; the device sends it itself */
};

struct vf_config_interrupts vf_config_interrupts_of(const struct vf_config_state *state);
/* Vector @index of the MSI or MSI-X mode in use. False: there is none of that number. */
bool vf_config_vector_at(const struct vf_config_state *state, uint32_t index,
			 struct vf_config_vector *ret_vector);
/* Where the guest put a BAR (or the ROM). False: not implemented, or its decoding is off now
 * (COMMAND, ROM enable, not in D0); the address is given in both cases. */
bool vf_config_bar_at(const struct vf_config_state *state, unsigned int bar, uint64_t *ret_address);
uint8_t vf_config_power_state(const struct vf_config_state *state);	/* 0 = D0 .. 3 = D3hot */

/* Bits of a register can be of several classes at once. */
enum vf_config_class {
	VF_CONFIG_CLASS_VIRTUAL		= 1u << 0,	/* answered from the view */
	VF_CONFIG_CLASS_DEVICE		= 1u << 1,	/* reads come from the device */
	VF_CONFIG_CLASS_WRITABLE	= 1u << 2,	/* the guest's writes change the view */
	VF_CONFIG_CLASS_FORWARD		= 1u << 3,	/* the guest's writes go to the device */
	VF_CONFIG_CLASS_INTERRUPT	= 1u << 4,	/* touches interrupts: arm, never stage */
	VF_CONFIG_CLASS_FLR		= 1u << 5,	/* resets; never forwarded or replayed */
};

struct vf_config {
	struct vf_config_state state;
	uint8_t reset_bytes[VF_CONFIG_BYTES_MAX];	/* as after a function reset */
	/* Per bit: 1 = the bit is of that class. VIRTUAL is the complement of device. */
	uint8_t device[VF_CONFIG_BYTES_MAX];
	uint8_t writable[VF_CONFIG_BYTES_MAX];
	uint8_t forward[VF_CONFIG_BYTES_MAX];
	uint8_t interrupt[VF_CONFIG_BYTES_MAX];
	uint8_t flr[VF_CONFIG_BYTES_MAX];
};

/* A view of a freshly reset function: decoding, bus master, MSI and MSI-X off, BARs at 0.
 * Return: 0, -ENOMEM, or as vf_config_layout_parse(). */
int vf_config_new(const uint8_t *image, size_t size,
		  const struct vf_config_region regions[VF_CONFIG_REGIONS],
		  struct vf_config **ret_config, struct vferry_error *err);
void vf_config_free(struct vf_config *config);	/* NULL is fine */

/* VF_CONFIG_CLASS_* of the byte at @offset, or'ed over its bits. 0 outside. */
uint32_t vf_config_class_at(const struct vf_config *config, uint32_t offset);

/* One write to the device's own config space, in one access. */
struct vf_config_write {
	uint16_t offset;
	uint8_t len;		/* 1, 2 or 4, naturally aligned */
	uint32_t value;		/* 0 where keep is 1 */
	uint32_t keep;		/* bits to be left as the device has them now: if not 0, read the
				 * register first and write (read & keep) | value */
};

enum vf_config_effect {
	VF_CONFIG_EFFECT_BARS	= 1u << 0,	/* moved, appeared or vanished: .bars */
	VF_CONFIG_EFFECT_MEM	= 1u << 1,	/* COMMAND memory enable changed */
	VF_CONFIG_EFFECT_IO	= 1u << 2,	/* COMMAND I/O enable changed */
	VF_CONFIG_EFFECT_BUS_MASTER = 1u << 3,
	VF_CONFIG_EFFECT_INTX_DISABLE = 1u << 4,
	VF_CONFIG_EFFECT_MSI_ENABLE = 1u << 5,	/* MSI was switched on or off */
	VF_CONFIG_EFFECT_MSI_MESSAGE = 1u << 6,	/* address, data or count changed while on */
	VF_CONFIG_EFFECT_MSI_MASK = 1u << 7,
	VF_CONFIG_EFFECT_MSIX_CONTROL = 1u << 8,	/* enable, function mask: .msix says more */
	VF_CONFIG_EFFECT_FLR	= 1u << 9,	/* reset the device, then vf_config_reset() */
	VF_CONFIG_EFFECT_POWER	= 1u << 10,	/* D-state changed: .power_from */
	VF_CONFIG_EFFECT_DEVICE	= 1u << 11,	/* .writes holds writes for the device */
};

#define VF_CONFIG_EFFECT_WRITES_MAX 4u

/*
 * What a guest's write asks for. The view holds the new values already. Order: with FLR nothing
 * else is set. Mappings that go away first; then interrupts (a mode that is switched on is
 * allocated before its enable bit reaches the device); then .writes, in order; then mappings that
 * appear.
 */
struct vf_config_effects {
	uint32_t flags;		/* VF_CONFIG_EFFECT_* */
	uint8_t bars;		/* bit n: ask vf_config_bar_at() about BAR n (6 = ROM) again */
	uint8_t power_from;
	uint32_t msix;		/* VF_MSIX_* */
	uint32_t write_count;
	struct vf_config_write writes[VF_CONFIG_EFFECT_WRITES_MAX];
};

/**
 * vf_config_read() - the guest reads @len bytes (1, 2 or 4, naturally aligned) at @offset
 * @ret_device: bits that must come from the device; 0 = no need to ask it
 *
 * Return: the bits of the view. The guest gets result | (read from the device & *ret_device).
 * Outside config space or unaligned: all ones, nothing from the device.
 */
uint32_t vf_config_read(const struct vf_config *config, uint32_t offset, uint32_t len,
			uint32_t *ret_device);

/* The guest writes. Outside config space or unaligned: no effect. */
void vf_config_write(struct vf_config *config, uint32_t offset, uint32_t len, uint32_t value,
		     struct vf_config_effects *ret_effects);

/* The device was reset (FLR, VFIO_DEVICE_RESET): the view goes back to its first values. The
 * effects are what the guest's side must take down; there are no writes among them. */
void vf_config_reset(struct vf_config *config, struct vf_config_effects *ret_effects);

/* Takes the bits that belong to the device (MSI pending among them) from a fresh image, before a
 * save. -EINVAL: not of the same size; -ENODEV: all ones, the device does not answer. */
int vf_config_refresh(struct vf_config *config, const uint8_t *image, size_t size);

void vf_config_set_intx_level(struct vf_config *config, bool asserted);

/* The destination's view takes the guest's values of a decoded state. Layouts must have passed
 * vf_config_compare(). Return: 0, -EINVAL (they do differ). */
int vf_config_load(struct vf_config *config, const struct vf_config_state *state,
		   struct vferry_error *err);

/* ---- 4. section ---------------------------------------------------------------------------- */

/* Section body, versioned; at most VF_CONFIG_SECTION_BYTES_MAX. Problems show as w->bad. */
void vf_config_state_encode(const struct vf_config_state *state, struct vf_writer *w);
/* Strict: every byte used, the layout parsed anew, tables of the size the layout says.
 * Return: 0, -EINVAL, -EOPNOTSUPP (later version), -ENOMEM. The caller frees the state. */
int vf_config_state_decode(struct vf_reader *r, struct vf_config_state **ret_state,
			   struct vferry_error *err);

/* ---- 5. plans ------------------------------------------------------------------------------ */

enum vf_config_step_kind {
	VF_CONFIG_STEP_WRITE = 1,	/* .write to the device */
	VF_CONFIG_STEP_INTERRUPTS = 2,	/* allocate .interrupts (SET_IRQS), unless that was done
					 * early for the same mode and count */
	VF_CONFIG_STEP_CONNECT = 3,	/* routes, then connect each vf_config_vector_at() */
	VF_CONFIG_STEP_INTX_LEVEL = 4,	/* raise the line again: it was asserted */
};

struct vf_config_step {
	enum vf_config_step_kind kind;
	const char *name;		/* "COMMAND", "BAR 0", "MSI flags"; static */
	struct vf_config_write write;
	struct vf_config_interrupts interrupts;
};

enum vf_config_change_kind {
	VF_CONFIG_CHANGE_BAR = 1,	/* moved: .bar; the caller maps it anew */
	VF_CONFIG_CHANGE_DEVCTL = 2,
	VF_CONFIG_CHANGE_DEVCTL2 = 3,
	VF_CONFIG_CHANGE_CACHE_LINE = 4,
	VF_CONFIG_CHANGE_LATENCY = 5,
	VF_CONFIG_CHANGE_AER = 6,
	VF_CONFIG_CHANGE_COMMAND = 7,	/* I/O, memory, bus master and the like */
	VF_CONFIG_CHANGE_INTERRUPT_MODE = 8,	/* vectors allocated early must be allocated anew */
	VF_CONFIG_CHANGE_INTERRUPT_COUNT = 9,	/* the same */
	VF_CONFIG_CHANGE_INTERRUPT_LINE = 10,
};

struct vf_config_change {
	enum vf_config_change_kind kind;
	const char *name;		/* static */
	uint8_t bar;
	uint64_t from;
	uint64_t to;
};

#define VF_CONFIG_STEPS_MAX 32u
#define VF_CONFIG_CHANGES_MAX 24u

struct vf_config_plan {
	uint32_t step_count;
	struct vf_config_step steps[VF_CONFIG_STEPS_MAX];
	uint32_t change_count;		/* restage only */
	struct vf_config_change changes[VF_CONFIG_CHANGES_MAX];
};

/* @state: the source's, decoded. */
void vf_config_plan_stage(const struct vf_config_state *state, struct vf_config_plan *ret_plan);
/* @staged: what the last stage or restage was made from. Return: -EINVAL if the layouts differ. */
int vf_config_plan_restage(const struct vf_config_state *staged,
			   const struct vf_config_state *state, struct vf_config_plan *ret_plan);
void vf_config_plan_arm(const struct vf_config_state *state, struct vf_config_plan *ret_plan);

/* ---- 6. dump ------------------------------------------------------------------------------- */

struct vf_config_field {
	const char *group;	/* "header", "capability MSI-X", "vectors" */
	const char *name;	/* "COMMAND" */
	uint32_t offset;	/* in config space; of a vector: in its table */
	uint32_t len;
	const char *value;	/* text; all three are valid during the call only */
};

typedef void (*vf_config_field_fn)(void *user, const struct vf_config_field *field);

void vf_config_visit(const struct vf_config_state *state, vf_config_field_fn fn, void *user);
/* The same as lines of text; problems show as w->bad. */
void vf_config_print(const struct vf_config_state *state, struct vf_writer *w);

#endif
