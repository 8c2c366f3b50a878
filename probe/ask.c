/* SPDX-License-Identifier: MIT */
/* ask.c - what the device's driver or server answers, by VFIO; see probe.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <vferry/device.h>

#include "config_space.h"
#include "files.h"
#include "vfio/backend.h"

_Static_assert(PROBE_REGIONS == VF_VFIO_PCI_REGIONS && PROBE_IRQS == VF_VFIO_PCI_IRQS, "VFIO's");

/* The sentence of an error, or else its name. */
static void explain(char *to, size_t size, int code, const struct vferry_error *err)
{
	const char *text = err->message[0] ? err->message : vferry_errno_name(code);

	(void) snprintf(to, size, "%.*s", (int) size - 1, text);
	probe_make_printable(to);
}

static void ask_regions(struct vf_backend *b, uint32_t count, struct probe_vfio *v)
{
	for (uint32_t i = 0; i < VF_VFIO_PCI_REGIONS && i < count; i++) {
		struct vf_backend_region region;

		if (b->ops->get_region(b, i, &region, NULL) < 0)
			continue;
		v->regions[i] = (struct probe_region) {
			.size = region.size, .flags = region.flags, .areas = region.area_count,
		};
		vf_backend_region_done(&region);
	}
}

static void ask_irqs(struct vf_backend *b, uint32_t count, struct probe_vfio *v)
{
	for (uint32_t i = 0; i < VF_VFIO_PCI_IRQS && i < count; i++) {
		struct vf_vfio_irq_info info;

		if (b->ops->get_irq_info(b, i, &info, NULL) == 0)
			v->irqs[i] = info.count;
	}
}

static void ask_migration(struct vf_backend *b, struct probe_vfio *v)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	uint32_t state;
	int r = b->ops->get_migration(b, &v->flags, &err);

	if (r == 0 && !(v->flags & VF_VFIO_MIGRATION_STOP_COPY))
		r = vferry_error_set(&err, -ENOTTY, "device-migration", NULL,
				     "its migration has no STOP_COPY, without which there is none");
	v->migration = r == 0 ? PROBE_YES : r == -ENOTTY || r == -EOPNOTSUPP ? PROBE_NO : PROBE_UNKNOWN;
	if (r < 0) {
		v->flags = 0;
		explain(v->migration_why, sizeof(v->migration_why), r, &err);
		return;
	}
	if (b->ops->get_state(b, &state, NULL) == 0)
		v->state = (struct probe_number) { state, true };
	v->dma_log = b->caps.features & VFERRY_DEVICE_DMA_LOG;
	v->iommu_dirty = b->caps.features & VFERRY_DEVICE_IOMMU_DIRTY;
	v->precopy_info = b->caps.features & VFERRY_DEVICE_PRECOPY_INFO;
	if (b->caps.features & VFERRY_DEVICE_DATA_SIZE)
		v->state_bytes.known = b->ops->data_size(b, &v->state_bytes.value, NULL) == 0;
}

/* Where sysfs has nothing to say of it. */
static void ask_config(struct vf_backend *b, struct probe_facts *facts)
{
	uint64_t size = facts->vfio.regions[VF_VFIO_PCI_CONFIG_REGION].size;
	uint8_t config[PROBE_CONFIG_BYTES];

	if (size >= sizeof(config) &&
	    b->ops->region_read(b, VF_VFIO_PCI_CONFIG_REGION, 0, config, sizeof(config), NULL) == 0)
		probe_take_config(facts, config, sizeof(config));
}

static void ask_open(struct vf_backend *b, struct probe_facts *facts)
{
	struct probe_vfio *v = &facts->vfio;
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_vfio_device_info info;
	int r = b->ops->get_info(b, &info, &err);

	(void) snprintf(v->backend, sizeof(v->backend), "%s", b->ops->name);
	if (r < 0) {
		v->asked = PROBE_CANNOT;
		explain(v->why, sizeof(v->why), r, &err);
		return;
	}
	v->asked = PROBE_ASKED;
	v->resets = info.flags & VF_VFIO_DEVICE_FLAGS_RESET;
	ask_regions(b, info.num_regions, v);
	ask_irqs(b, info.num_irqs, v);
	ask_migration(b, v);
	if (!facts->has_ids)
		ask_config(b, facts);
	if (v->irqs[VF_VFIO_PCI_MSIX_IRQ] || !facts->msix_vectors.known)
		facts->msix_vectors = (struct probe_number) { v->irqs[VF_VFIO_PCI_MSIX_IRQ], true };
}

void probe_ask(struct probe_facts *facts, uint64_t timeout_ns, struct vf_backend **ret_backend)
{
	struct vf_backend_options options = { .timeout_ns = timeout_ns };
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_backend *b = NULL;
	int r = vf_backend_open(facts->name, &options, &b, &err);

	facts->vfio = (struct probe_vfio) { 0 };
	if (ret_backend)
		*ret_backend = NULL;
	if (r == -ENOTCONN) {	/* a server turns the second user away without a word */
		facts->vfio.asked = PROBE_IN_USE;
		(void) snprintf(facts->vfio.why, sizeof(facts->vfio.why), "its server hangs up (or "
				"does not trust this user)");
		return;
	}
	if (r < 0) {
		facts->vfio.asked = r == -EBUSY ? PROBE_IN_USE : PROBE_CANNOT;
		facts->vfio.denied = r == -EACCES;
		explain(facts->vfio.why, sizeof(facts->vfio.why), r, &err);
		return;
	}
	ask_open(b, facts);
	if (ret_backend && facts->vfio.asked == PROBE_ASKED)
		*ret_backend = b;
	else
		b->ops->close(b);
}

void probe_close(struct vf_backend *backend)
{
	if (backend)
		backend->ops->close(backend);
}
