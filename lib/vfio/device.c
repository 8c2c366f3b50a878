/* SPDX-License-Identifier: MIT */
/*
 * device.c - a passed through PCI device: opening and closing, reset, staging of a moved state, info.
 *
 * Model: a device is a backend (what answers for the function), a view (what the guest sees of its
 * config space and MSI-X), a set of eventfds, a set of DMA mappings and a migration state. The files of
 * the module each keep one of these; this one ties them. Which locks there are is said in
 * device_internal.h.
 *
 * Invariant: between calls the device, the view and what the VMM was told agree, except that a device
 * on the destination has its interrupts in the view only until the arm step.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "vfio/device_internal.h"
#include "vfio/pci_regs.h"

#define DEFAULT_TIMEOUT_NS 5000000000ull

/* ---- opening ---- */

static int read_regions(struct vferry_device *d, struct vf_config_region out[VF_CONFIG_REGIONS],
			struct vferry_error *err)
{
	for (uint32_t i = 0; i < VF_CONFIG_REGIONS && i < d->num_regions; i++) {
		int r = d->backend->ops->get_region(d->backend, i, &d->regions[i], err);

		if (r < 0) {
			d->regions[i] = (struct vf_backend_region) { .fd = -1 };
			return vferry_error_set(err, r, "device-region", d->vfio_name,
						"region %u could not be asked about: %s", i,
						vferry_errno_name(r));
		}
		out[i] = (struct vf_config_region) {
			.size = d->regions[i].size,
			.flags = d->regions[i].flags & (VF_CONFIG_REGION_READ |
							VF_CONFIG_REGION_WRITE |
							VF_CONFIG_REGION_MMAP),
		};
	}
	return 0;
}

static int read_config(struct vferry_device *d, const struct vf_config_region *regions,
		       struct vferry_error *err)
{
	struct vf_backend_region region = { .fd = -1 };
	uint8_t *image;
	size_t size;
	int r = d->backend->ops->get_region(d->backend, VF_VFIO_PCI_CONFIG_REGION, &region, err);

	if (r < 0)
		return r;
	size = region.size >= VF_CONFIG_BYTES_MAX ? VF_CONFIG_BYTES_MAX : VF_CONFIG_BYTES_PCI;
	if (region.size < size)
		r = vferry_error_set(err, -EPROTO, "device-region", d->vfio_name,
				     "config space has only %llu bytes",
				     (unsigned long long) region.size);
	vf_backend_region_done(&region);
	if (r < 0)
		return r;
	image = malloc(size);
	if (!image)
		return vferry_error_set(err, -ENOMEM, "no-memory", d->vfio_name, "no memory");
	r = d->backend->ops->region_read(d->backend, VF_VFIO_PCI_CONFIG_REGION, 0, image, size, err);
	if (r == 0)
		r = vf_config_new(image, size, regions, &d->config, err);
	free(image);
	return r;
}

static int learn(struct vferry_device *d, struct vferry_error *err)
{
	struct vf_config_region regions[VF_CONFIG_REGIONS] = { 0 };
	struct vf_vfio_device_info info = { .argsz = sizeof(info) };
	int r = d->backend->ops->get_info(d->backend, &info, err);

	if (r < 0)
		return r;
	if (!(info.flags & VF_VFIO_DEVICE_FLAGS_PCI) ||
	    info.num_regions <= VF_VFIO_PCI_CONFIG_REGION)
		return vferry_error_set(err, -EPROTO, "device-kind", d->vfio_name,
					"this is not a PCI function");
	d->num_regions = info.num_regions;
	d->can_reset = (info.flags & VF_VFIO_DEVICE_FLAGS_RESET) != 0;
	/* Whoever had it before: the view begins as after a reset, so the device must. */
	if (d->can_reset) {
		r = d->backend->ops->reset(d->backend, err);
		if (r < 0)
			return vferry_error_set(err, r, "device-reset", d->vfio_name,
						"the device could not be reset: %s",
						vferry_errno_name(r));
	}
	r = read_regions(d, regions, err);
	if (r == 0)
		r = read_config(d, regions, err);
	if (r == 0)
		r = vf_device_map_areas(d, err);
	if (r == 0)
		r = vf_device_find_ioeventfds(d, err);
	if (r == 0)
		r = vf_migration_probe(d, err);
	if (r < 0)
		return r;
	d->features = d->backend->caps.features;
	if (vf_migration_has(d, VF_VFIO_MIGRATION_STOP_COPY))
		d->features |= VFERRY_DEVICE_STOP_COPY;
	if (vf_migration_has(d, VF_VFIO_MIGRATION_P2P))
		d->features |= VFERRY_DEVICE_P2P;
	if (vf_migration_has(d, VF_VFIO_MIGRATION_PRE_COPY))
		d->features |= VFERRY_DEVICE_PRE_COPY;
	d->log.tracking = vf_device_log_kind(d);
	return 0;
}

static bool options_ok(const struct vferry_device_options *options)
{
	size_t length;

	if (!options || options->size < sizeof(*options) || !options->address)
		return false;
	length = strlen(options->address);
	return length > 0 && length < sizeof(((struct vferry_device *) NULL)->address);
}

static struct vferry_device *new_device(const char *uri,
					const struct vferry_device_options *options)
{
	struct vferry_device *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	for (unsigned int i = 0; i < VF_CONFIG_REGIONS; i++)
		d->regions[i].fd = -1;
	(void) snprintf(d->uri, sizeof(d->uri), "%s", uri);
	(void) snprintf(d->address, sizeof(d->address), "%s", options->address);
	(void) snprintf(d->pci_name, sizeof(d->pci_name), "pci/%s", options->address);
	(void) snprintf(d->vfio_name, sizeof(d->vfio_name), "vfio/%s", options->address);
	d->requester_id = options->requester_id;
	d->intx_pin = options->intx_pin;
	d->irqs = options->irqs;
	d->user = options->user;
	d->irq.resample = -1;
	d->state = VF_DEVICE_STATE_NONE;
	if (options->callbacks)
		memcpy(&d->callbacks, options->callbacks,
		       vf_min_u64(options->callbacks->size, sizeof(d->callbacks)));
	pthread_mutex_init(&d->write_lock, NULL);
	pthread_mutex_init(&d->lock, NULL);
	pthread_mutex_init(&d->mig_lock, NULL);
	pthread_mutex_init(&d->dma_lock, NULL);
	pthread_mutex_init(&d->log_lock, NULL);
	return d;
}

static int begin(struct vferry_device *d, struct vferry_error *err)
{
	const struct vf_irq_source_desc desc = {
		.name = d->address,
		.requester_id = d->requester_id,
		.intx_pin = d->intx_pin,
	};
	int r = learn(d, err);

	if (r == 0 && d->irqs)
		r = vf_irq_source_add(d->irqs, &desc, &d->irq_source, err);
	return r == 0 ? vf_device_notices_begin(d, err) : r;
}

int vf_device_open_backend(struct vf_backend *take_backend, const char *uri,
			   const struct vferry_device_options *options,
			   struct vferry_device **ret_device, struct vferry_error *err)
{
	struct vferry_device *d = options_ok(options) ? new_device(uri, options) : NULL;
	int r;

	if (!d) {
		take_backend->ops->close(take_backend);
		return vferry_error_set(err, options_ok(options) ? -ENOMEM : -EINVAL,
					"device-options", uri, "bad options for the device");
	}
	d->backend = take_backend;
	r = begin(d, err);
	if (r < 0) {
		(void) vferry_device_close(d);
		return r;
	}
	*ret_device = d;
	return 0;
}

int vferry_device_open(const char *uri, const struct vferry_device_options *options,
		       struct vferry_device **ret_device, struct vferry_error *err)
{
	struct vf_backend_options backend_options = { .dma = &vf_device_dma_ops };
	struct vferry_device *d;
	int r;

	if (!uri || !options_ok(options))
		return vferry_error_set(err, -EINVAL, "device-options", uri,
					"bad options for the device");
	d = new_device(uri, options);
	if (!d)
		return vferry_error_set(err, -ENOMEM, "no-memory", uri, "no memory");
	backend_options.timeout_ns = options->timeout_ns ? options->timeout_ns : DEFAULT_TIMEOUT_NS;
	backend_options.user = d;
	backend_options.trust = options->trust;
	backend_options.dma_space = options->dma_space;
	r = vf_backend_open(uri, &backend_options, &d->backend, err);
	if (r == 0)
		r = begin(d, err);
	if (r < 0) {
		(void) vferry_device_close(d);
		return r;
	}
	*ret_device = d;
	return 0;
}

/*
 * A device that an IOMMU lets at memory may be in the middle of a transfer. It had better be told to stop
 * than run into a fault, which the kernel logs, when its memory goes.
 */
static void stop_dma(struct vferry_device *d)
{
	const struct vf_backend_ops *ops = d->backend->ops;
	uint8_t command[2];

	if (!d->backend->caps.dma_by_address ||
	    ops->region_read(d->backend, VF_VFIO_PCI_CONFIG_REGION, VF_PCI_COMMAND, command,
			     sizeof(command), NULL) < 0 ||
	    !(vf_get_u16(command) & VF_PCI_COMMAND_BUS_MASTER))
		return;
	command[0] &= (uint8_t) ~VF_PCI_COMMAND_BUS_MASTER;
	(void) ops->region_write(d->backend, VF_VFIO_PCI_CONFIG_REGION, VF_PCI_COMMAND, command,
				 sizeof(command), NULL);
}

struct vferry_device *vferry_device_close(struct vferry_device *d)
{
	if (!d)
		return NULL;
	vf_device_notices_end(d);
	if (d->irq_source) {
		vf_device_irq_teardown_locked(d);
		vf_irq_source_remove(d->irqs, d->irq_source);
	}
	if (d->backend) {
		stop_dma(d);
		vf_device_dma_detach(d);
	}
	vf_device_unmap_areas(d);
	vf_device_close_ioeventfds(d);
	for (unsigned int i = 0; i < VF_CONFIG_REGIONS; i++)
		vf_backend_region_done(&d->regions[i]);
	/* Threads of the backend may use the device until here. */
	if (d->backend)
		d->backend->ops->close(d->backend);
	vf_config_free(d->config);
	vf_config_state_free(d->staged);
	pthread_mutex_destroy(&d->write_lock);
	pthread_mutex_destroy(&d->lock);
	pthread_mutex_destroy(&d->mig_lock);
	pthread_mutex_destroy(&d->dma_lock);
	pthread_mutex_destroy(&d->log_lock);
	free(d);
	return NULL;
}

/* ---- reset ---- */

int vf_device_reset_write_locked(struct vferry_device *d, struct vferry_error *err)
{
	struct vf_config_effects fx;
	struct vf_device_bar_moves moves;
	int r;

	pthread_mutex_lock(&d->lock);
	vf_config_reset(d->config, &fx);
	vf_device_find_moves_locked(d, &moves);
	pthread_mutex_unlock(&d->lock);
	vf_device_tell_gone(d, &moves);
	pthread_mutex_lock(&d->lock);
	vf_device_irq_teardown_locked(d);
	r = vf_migration_guest_reset(d, err);
	pthread_mutex_unlock(&d->lock);
	/* Whoever resets a device knows that it is empty: nothing is lost to him any more. */
	if (r == 0)
		d->lost = false;
	return r;
}

int vferry_device_reset(struct vferry_device *d, struct vferry_error *err)
{
	int r;

	if (d->gone || d->role == VF_DEVICE_DESTINATION)
		return vferry_error_set(err, -EBUSY, "device-reset", d->vfio_name,
					"the machine is being taken in, or runs elsewhere");
	pthread_mutex_lock(&d->write_lock);
	r = vf_device_reset_write_locked(d, err);
	pthread_mutex_unlock(&d->write_lock);
	return r;
}

/* ---- restoring ---- */

int vf_device_run_plan_locked(struct vferry_device *d, const struct vf_config_plan *plan,
			      const struct vf_config_state *state, struct vferry_error *err)
{
	int r = 0;

	for (uint32_t i = 0; i < plan->step_count && r == 0; i++) {
		const struct vf_config_step *step = &plan->steps[i];

		switch (step->kind) {
		case VF_CONFIG_STEP_WRITE:
			r = vf_device_config_write_out(d, &step->write, err);
			if (r < 0)
				vferry_error_set(err, r, "config-write", d->pci_name,
						 "%s could not be restored: %s", step->name,
						 vferry_errno_name(r));
			break;
		case VF_CONFIG_STEP_INTERRUPTS:
			r = vf_device_irq_alloc_locked(d, state, err);
			break;
		case VF_CONFIG_STEP_CONNECT:
			r = vf_device_irq_update_locked(d, err);
			break;
		case VF_CONFIG_STEP_INTX_LEVEL:
			vf_device_irq_raise_intx_locked(d);
			break;
		}
	}
	return r;
}

/* Not all devices decode anything that moved while stage runs, so "gone" comes first, as always. */
int vf_device_stage(struct vferry_device *d, struct vf_config_state *take_state,
		    struct vferry_error *err)
{
	struct vf_config_plan *plan = calloc(1, sizeof(*plan));
	struct vf_device_bar_moves moves = { 0 };
	int r = 0, r1;

	if (!plan) {
		vf_config_state_free(take_state);
		return vferry_error_set(err, -ENOMEM, "no-memory", d->pci_name, "no memory");
	}
	pthread_mutex_lock(&d->write_lock);
	pthread_mutex_lock(&d->lock);
	if (d->staged)
		r = vf_config_plan_restage(d->staged, take_state, plan);
	else
		vf_config_plan_stage(take_state, plan);
	if (r == 0)
		r = vf_config_load(d->config, take_state, err);
	if (r < 0) {
		pthread_mutex_unlock(&d->lock);
		vferry_error_set(err, r, "config-mismatch", d->pci_name,
				 "the source's config space is not that of this device");
		goto out;
	}
	vf_device_find_moves_locked(d, &moves);
	pthread_mutex_unlock(&d->lock);
	vf_device_tell_gone(d, &moves);
	pthread_mutex_lock(&d->lock);
	r = vf_device_run_plan_locked(d, plan, take_state, err);
	vf_config_state_free(d->staged);
	d->staged = take_state;
	take_state = NULL;
	/* The mode or the number of vectors may have changed since they were allocated. */
	if (r == 0 && d->vectors_early) {
		r = vf_device_irq_alloc_locked(d, &d->config->state, err);
		if (r == 0)
			vf_device_irq_messages_locked(d, &d->config->state);
	}
	pthread_mutex_unlock(&d->lock);
	r1 = vf_device_tell_came(d, &moves, r ? NULL : err);
	if (r == 0)
		r = r1;
out:
	pthread_mutex_unlock(&d->write_lock);
	vf_config_state_free(take_state);
	free(plan);
	return r;
}

int vf_device_reapply(struct vferry_device *d, struct vferry_error *err)
{
	struct vf_config_plan *plan = calloc(1, sizeof(*plan));
	int r;

	if (!plan)
		return vferry_error_set(err, -ENOMEM, "no-memory", d->pci_name, "no memory");
	pthread_mutex_lock(&d->lock);
	vf_device_irq_take_pending_locked(d, 0, d->irq.count);
	vf_device_irq_teardown_locked(d);
	vf_config_plan_stage(&d->config->state, plan);
	r = vf_device_run_plan_locked(d, plan, &d->config->state, err);
	if (r == 0) {
		vf_config_plan_arm(&d->config->state, plan);
		r = vf_device_run_plan_locked(d, plan, &d->config->state, err);
	}
	pthread_mutex_unlock(&d->lock);
	free(plan);
	return r;
}

/* ---- sessions ---- */

const char *vf_device_address(const struct vferry_device *d)
{
	return d->address;
}

bool vf_device_is_lost(struct vferry_device *d)
{
	return d->lost || d->dead;
}

bool vf_device_is_blind(struct vferry_device *d)
{
	bool blind;

	pthread_mutex_lock(&d->log_lock);
	blind = d->ram && d->log.tracking == VFERRY_TRACKING_NONE;
	pthread_mutex_unlock(&d->log_lock);
	return blind;
}

bool vf_device_is_p2p_safe(struct vferry_device *d)
{
	return vf_migration_has(d, VF_VFIO_MIGRATION_P2P) ||
	       (d->peer_count == 0 && d->follower_count == 0);
}

void vf_device_explain_not_migratable(const struct vferry_device *d, char *to, size_t size)
{
	const struct vf_config_layout *l = &d->config->state.layout;
	const struct vf_backend *b = d->backend;

	(void) snprintf(to, size, "the device %04x:%04x at %s has no migration support%s%s%s%s%s",
			l->vendor, l->device, d->uri, b->driver[0] ? "; it is bound to " : "",
			b->driver, b->better_driver[0] ? ", and " : "", b->better_driver,
			b->better_driver[0] ? " is made for it" : "");
}

int vf_device_session_begin(struct vferry_device *d, enum vf_device_role role,
			    struct vferry_error *err)
{
	char why[256];
	int free_role = 0;

	if (d->gone || d->dead)
		return vferry_error_set(err, -ENODEV, d->dead ? "device-dead" : "device-gone",
					d->vfio_name, "the device %s", d->dead ?
					"did not come back from a reset" :
					"was given away with its machine");
	if (!d->mig_flags) {
		vf_device_explain_not_migratable(d, why, sizeof(why));
		return vferry_error_set(err, -ENOTSUP, "device-not-migratable", d->vfio_name, "%s",
					why);
	}
	if (!d->can_reset && d->backend->caps.dma_by_address)
		return vferry_error_set(err, -ENOTSUP, "device-no-reset", d->vfio_name,
					"the device %s has no reset, so nobody could bring it back if a "
					"migration failed", d->uri);
	if (!atomic_compare_exchange_strong(&d->role, &free_role, (int) role))
		return vferry_error_set(err, -EBUSY, "device-in-session", d->vfio_name,
					"the device is in another session");
	/* Resets of the past are nobody's concern. */
	d->generation = d->resets;
	return 0;
}

void vf_device_session_end(struct vferry_device *d)
{
	pthread_mutex_lock(&d->lock);
	vf_config_state_free(d->staged);
	d->staged = NULL;
	d->vectors_early = false;
	pthread_mutex_unlock(&d->lock);
	pthread_mutex_lock(&d->mig_lock);
	d->precopy = false;
	pthread_mutex_unlock(&d->mig_lock);
	d->role = 0;
}

static void change_trace(struct vferry_device *d, const struct vf_trace *from, struct vf_trace *to)
{
	pthread_mutex_lock(&d->mig_lock);
	pthread_mutex_lock(&d->log_lock);
	if (!from || d->trace == from)
		d->trace = to;
	pthread_mutex_unlock(&d->log_lock);
	pthread_mutex_unlock(&d->mig_lock);
}

void vf_device_set_trace(struct vferry_device *d, struct vf_trace *trace)
{
	change_trace(d, NULL, trace);
}

void vf_device_drop_trace(struct vferry_device *d, const struct vf_trace *trace)
{
	change_trace(d, trace, NULL);
}

int vf_device_abort_load(struct vferry_device *d, struct vferry_error *err)
{
	struct vf_config_effects fx;
	struct vf_device_bar_moves moves;
	int r;

	pthread_mutex_lock(&d->write_lock);
	pthread_mutex_lock(&d->lock);
	vf_config_reset(d->config, &fx);
	vf_device_find_moves_locked(d, &moves);
	vf_config_state_free(d->staged);
	d->staged = NULL;
	d->vectors_early = false;
	pthread_mutex_unlock(&d->lock);
	vf_device_tell_gone(d, &moves);
	pthread_mutex_lock(&d->lock);
	vf_device_irq_teardown_locked(d);
	r = vf_migration_wipe(d, err);
	pthread_mutex_unlock(&d->lock);
	pthread_mutex_unlock(&d->write_lock);
	return r;
}

void vf_device_finish_source(struct vferry_device *d)
{
	d->gone = true;
	pthread_mutex_lock(&d->lock);
	vf_device_irq_teardown_locked(d);
	pthread_mutex_unlock(&d->lock);
	vf_device_log_stop(d);
}

/* ---- info and the raw interface ---- */

void vferry_device_get_info(struct vferry_device *d, struct vferry_device_info *ret_info)
{
	struct vferry_device_info info = { 0 };
	const struct vf_config_layout *l = &d->config->state.layout;
	struct vf_irq_counts counts = { 0 };

	(void) snprintf(info.address, sizeof(info.address), "%s", d->address);
	(void) snprintf(info.uri, sizeof(info.uri), "%s", d->uri);
	(void) snprintf(info.backend, sizeof(info.backend), "%s", d->backend->ops->name);
	(void) snprintf(info.driver, sizeof(info.driver), "%s", d->backend->driver);
	info.vendor_id = l->vendor;
	info.device_id = l->device;
	info.features = d->features;
	info.state = d->state;
	info.lost = vf_device_is_lost(d);
	info.log_failures = d->log_failures;
	pthread_mutex_lock(&d->lock);
	info.irq_mode = (enum vferry_irq_mode) d->irq.mode;
	info.vector_count = d->irq.count;
	for (unsigned int i = 0; i < VFERRY_BAR_COUNT; i++) {
		info.bar_gpa[i] = d->bars[i].gpa;
		info.bar_bytes[i] = l->bars[i].size;
		info.bar_is_io[i] = (l->bars[i].flags & VF_CONFIG_BAR_IO) != 0;
	}
	if (d->irq_source)
		vf_irq_count(d->irqs, d->irq_source, &counts);
	pthread_mutex_unlock(&d->lock);
	info.vectors_connected = counts.connected;
	info.vectors_forwarded = counts.forwarded;
	info.vectors_forward_unknown = counts.unknown;
	memcpy(info.not_forwarded_reason, counts.reason, sizeof(info.not_forwarded_reason));
	pthread_mutex_lock(&d->log_lock);
	info.dirty_tracking = d->log.tracking;
	pthread_mutex_unlock(&d->log_lock);
	*ret_info = info;
}

static int raw_allowed(struct vferry_device *d, struct vferry_error *err)
{
	if (!d->mig_flags)
		return vferry_error_set(err, -ENOTTY, "device-not-migratable", d->vfio_name,
					"the device has no migration support");
	if (d->role)
		return vferry_error_set(err, -EBUSY, "device-in-session", d->vfio_name,
					"a session uses the device");
	return 0;
}

int vferry_device_get_state(struct vferry_device *d, uint32_t *ret_state, struct vferry_error *err)
{
	int r = raw_allowed(d, err);

	if (r < 0)
		return r;
	r = d->backend->ops->get_state(d->backend, ret_state, err);
	if (r == 0)
		d->state = *ret_state;
	return r;
}

int vferry_device_set_state(struct vferry_device *d, uint32_t state, struct vferry_error *err)
{
	int r = raw_allowed(d, err);

	return r < 0 ? r : vf_migration_set(d, state, err);
}

int64_t vferry_device_read_data(struct vferry_device *d, void *buffer, size_t size,
				struct vferry_error *err)
{
	int r = raw_allowed(d, err);

	return r < 0 ? r : d->backend->ops->data_read(d->backend, buffer, size, err);
}

int vferry_device_write_data(struct vferry_device *d, const void *data, size_t size,
			     struct vferry_error *err)
{
	int r = raw_allowed(d, err);

	return r < 0 ? r : d->backend->ops->data_write(d->backend, data, size, err);
}
