/* SPDX-License-Identifier: MIT */
/* describe.c - a capture as device.json: what members there are, in which order, is decided here. */
#include <linux/pci_regs.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "internal.h"

#define STYLE (JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE)

static const struct capture_flag device_flags[] = {
	{ VF_VFIO_DEVICE_FLAGS_RESET, "reset" },
	{ VF_VFIO_DEVICE_FLAGS_PCI, "pci" },
};

static const struct capture_flag region_flags[] = {
	{ VF_VFIO_REGION_FLAG_READ, "read" },
	{ VF_VFIO_REGION_FLAG_WRITE, "write" },
	{ VF_VFIO_REGION_FLAG_MMAP, "mmap" },
};

static const struct capture_flag irq_flags[] = {
	{ VF_VFIO_IRQ_INFO_EVENTFD, "eventfd" },
	{ VF_VFIO_IRQ_INFO_MASKABLE, "maskable" },
	{ VF_VFIO_IRQ_INFO_AUTOMASKED, "automasked" },
	{ VF_VFIO_IRQ_INFO_NORESIZE, "noresize" },
};

static const struct capture_flag migration_flags[] = {
	{ VF_VFIO_MIGRATION_STOP_COPY, "stop-copy" },
	{ VF_VFIO_MIGRATION_P2P, "p2p" },
	{ VF_VFIO_MIGRATION_PRE_COPY, "pre-copy" },
};

const struct capture_flags capture_device_flags = { device_flags, VF_ARRAY_COUNT(device_flags) };
const struct capture_flags capture_region_flags = { region_flags, VF_ARRAY_COUNT(region_flags) };
const struct capture_flags capture_irq_flags = { irq_flags, VF_ARRAY_COUNT(irq_flags) };
const struct capture_flags capture_migration_flags = { migration_flags,
						       VF_ARRAY_COUNT(migration_flags) };

static const char *const region_names[VF_VFIO_PCI_REGIONS] = {
	"BAR 0", "BAR 1", "BAR 2", "BAR 3", "BAR 4", "BAR 5", "ROM", "config space", "VGA",
};

static const char *const irq_names[VF_VFIO_PCI_IRQS] = { "INTx", "MSI", "MSI-X", "error", "request" };

/* An object that is built member by member; `bad` once there was no memory. */
struct builder {
	bool bad;
};

static struct json_object *made(struct builder *b, struct json_object *o)
{
	b->bad |= !o;
	return o;
}

static void add(struct builder *b, struct json_object *to, const char *key, struct json_object *value)
{
	if (b->bad || json_object_object_add(to, key, value)) {
		b->bad = true;
		json_object_put(value);
	}
}

static void append(struct builder *b, struct json_object *to, struct json_object *value)
{
	if (b->bad || json_object_array_add(to, value)) {
		b->bad = true;
		json_object_put(value);
	}
}

static void add_number(struct builder *b, struct json_object *to, const char *key, uint64_t value)
{
	add(b, to, key, made(b, json_object_new_uint64(value)));
}

static void add_text(struct builder *b, struct json_object *to, const char *key, const char *value)
{
	add(b, to, key, made(b, json_object_new_string(value)));
}

static void add_bool(struct builder *b, struct json_object *to, const char *key, bool value)
{
	add(b, to, key, made(b, json_object_new_boolean(value)));
}

static void add_flags(struct builder *b, struct json_object *to, const struct capture_flags *flags,
		      uint64_t value)
{
	struct json_object *list = made(b, json_object_new_array());

	for (unsigned int bit = 0; bit < 64; bit++) {
		char name[16];
		const char *word = name;

		if (!(value >> bit & 1))
			continue;
		(void) snprintf(name, sizeof(name), "bit-%u", bit);
		for (size_t i = 0; i < flags->count; i++)
			if (flags->names[i].bit == 1ull << bit)
				word = flags->names[i].name;
		append(b, list, made(b, json_object_new_string(word)));
	}
	add(b, to, "flags", list);
}

static struct json_object *describe_region(struct builder *b, const struct capture *c, uint32_t index)
{
	const struct capture_region *r = &c->regions[index];
	struct json_object *o = made(b, json_object_new_object());
	struct json_object *areas = made(b, json_object_new_array());

	add_number(b, o, "index", index);
	add_text(b, o, "name", region_names[index]);
	add_number(b, o, "size", r->size);
	add_flags(b, o, &capture_region_flags, r->flags);
	for (uint32_t i = 0; i < r->area_count; i++) {
		struct json_object *area = made(b, json_object_new_object());

		add_number(b, area, "offset", r->areas[i].offset);
		add_number(b, area, "size", r->areas[i].size);
		append(b, areas, area);
	}
	add(b, o, "areas", areas);
	return o;
}

static struct json_object *describe_irq(struct builder *b, const struct capture *c, uint32_t index)
{
	struct json_object *o = made(b, json_object_new_object());

	add_number(b, o, "index", index);
	add_text(b, o, "name", irq_names[index]);
	add_number(b, o, "count", c->irqs[index].count);
	add_flags(b, o, &capture_irq_flags, c->irqs[index].flags);
	return o;
}

static void describe_migration(struct builder *b, const struct capture *c, struct json_object *to)
{
	struct json_object *o = NULL;

	if (c->migration_flags) {
		o = made(b, json_object_new_object());
		add_flags(b, o, &capture_migration_flags, c->migration_flags);
		if (c->has_data_size)
			add_number(b, o, "data_size", c->data_size);
		else
			add(b, o, "data_size", NULL);
		add_bool(b, o, "precopy_info", c->precopy_info);
		add_bool(b, o, "dma_log", c->dma_log);
	}
	add(b, to, "migration", o);
}

static void describe_caps(struct builder *b, const struct capture *c, struct json_object *to)
{
	struct capture_cap caps[CAPTURE_CAPS_MAX];
	uint32_t count = capture_caps(c, caps);
	struct json_object *list = made(b, json_object_new_array());

	for (uint32_t i = 0; i < count; i++) {
		struct json_object *o = made(b, json_object_new_object());

		add_number(b, o, "offset", caps[i].offset);
		add_bool(b, o, "extended", caps[i].extended);
		add_number(b, o, "id", caps[i].id);
		add_number(b, o, "version", caps[i].version);
		append(b, list, o);
	}
	add(b, to, "capabilities", list);
}

static void describe_msix(struct builder *b, const struct capture *c, struct json_object *to)
{
	uint32_t at = capture_find_cap(c, PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF);
	struct json_object *o = NULL;

	if (at) {
		uint32_t table = vf_get_u32(c->config + at + PCI_MSIX_TABLE);
		uint32_t pba = vf_get_u32(c->config + at + PCI_MSIX_PBA);

		o = made(b, json_object_new_object());
		add_number(b, o, "vectors",
			   (vf_get_u16(c->config + at + PCI_MSIX_FLAGS) & PCI_MSIX_FLAGS_QSIZE) + 1u);
		add_number(b, o, "table_region", table & PCI_MSIX_TABLE_BIR);
		add_number(b, o, "table_offset", table & PCI_MSIX_TABLE_OFFSET);
		add_number(b, o, "pba_region", pba & PCI_MSIX_PBA_BIR);
		add_number(b, o, "pba_offset", pba & PCI_MSIX_PBA_OFFSET);
	}
	add(b, to, "msix", o);
}

struct json_object *capture_describe(const struct capture *c)
{
	struct builder b = { 0 };
	struct json_object *o = made(&b, json_object_new_object());
	struct json_object *regions = made(&b, json_object_new_array());
	struct json_object *irqs = made(&b, json_object_new_array());

	add_text(&b, o, "format", "vferry-capture");
	add_number(&b, o, "version", CAPTURE_VERSION);
	add_flags(&b, o, &capture_device_flags, c->device_flags);
	add_text(&b, o, "vfio_user", c->extensions ? "extended" : "plain");
	for (uint32_t i = 0; i < VF_VFIO_PCI_REGIONS; i++)
		if (c->regions[i].size)
			append(&b, regions, describe_region(&b, c, i));
	add(&b, o, "regions", regions);
	for (uint32_t i = 0; i < VF_VFIO_PCI_IRQS; i++)
		if (c->irqs[i].count)
			append(&b, irqs, describe_irq(&b, c, i));
	add(&b, o, "interrupts", irqs);
	describe_migration(&b, c, o);
	describe_caps(&b, c, o);
	describe_msix(&b, c, o);
	if (b.bad) {
		json_object_put(o);
		return NULL;
	}
	return o;
}

void capture_write_device(const struct capture *c, struct vf_writer *to)
{
	struct json_object *o = capture_describe(c);
	const char *text = o ? json_object_to_json_string_ext(o, STYLE) : NULL;

	if (text) {
		vf_write_bytes(to, text, strlen(text));
		vf_write_u8(to, '\n');
	} else {
		to->bad = true;
	}
	json_object_put(o);
}
