/* SPDX-License-Identifier: MIT */
/*
 * device_component.c - a device as two components of a session: `pci/ADDR` and `vfio/ADDR`.
 *
 * Model: every step here is a few calls of the device module; when a step runs is for the order rules
 * to say. Steps of the undo may be run from any point of a save and more than once: each asks the
 * device where it is and does what is left to do.
 *
 * Identity of pci/ADDR:   the encoded layout (config.h), as u32 length and bytes.
 * Identity of vfio/ADDR:  u16 version = 1; string format of the state ("vfio-user"); u16 vendor,
 *                         device; u64 migration flags.
 *
 * Threads: steps of one component may run on any thread; the device's locks do the rest.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/clock.h"
#include "vfio/device_internal.h"

#define IDENTITY_VERSION 1
#define SECTION_VERSION 1

/* ---- identity ---- */

static int pci_identity(void *user, struct vferry_writer *w, struct vferry_error *err)
{
	struct vferry_device *d = user;
	struct vf_writer layout;
	int r = 0;

	vf_writer_init(&layout, VF_CONFIG_LAYOUT_BYTES_MAX);
	vf_config_layout_encode(&d->config->state.layout, &layout);
	if (layout.bad) {
		r = vferry_error_set(err, -ENOMEM, "config-encode", d->pci_name,
				     "the layout of config space could not be encoded");
	} else {
		vferry_write_u32(w, (uint32_t) layout.size);
		vferry_write_bytes(w, layout.data, layout.size);
	}
	vf_writer_done(&layout);
	return r;
}

struct comparison {
	struct vferry_reasons *reasons;
	const char *object;
};

static void add_difference(void *user, const struct vf_config_difference *difference)
{
	const struct comparison *c = user;

	if (difference->fatal)
		vferry_reasons_add(c->reasons, difference->id, c->object,
				   "%s is %s on the source and %s here", difference->field,
				   difference->source, difference->destination);
}

static int pci_check(void *user, struct vferry_reader *source, struct vferry_reasons *reasons)
{
	struct vferry_device *d = user;
	struct comparison c = { .reasons = reasons, .object = d->pci_name };
	uint32_t size = vferry_read_u32(source);
	const void *bytes = size <= VF_CONFIG_LAYOUT_BYTES_MAX ? vferry_read_bytes(source, size)
								: NULL;
	struct vf_config_layout layout;
	struct vf_reader r;

	if (!bytes || !vferry_reader_done(source))
		return -EINVAL;
	r = vf_reader_of(bytes, size);
	if (vf_config_layout_decode(&r, &layout, NULL) < 0)
		return -EINVAL;
	(void) vf_config_compare(&layout, &d->config->state.layout, add_difference, &c);
	return 0;
}

/* Group or cdev is the same driver and the same bytes; vfio-user is a program of its own. */
static const char *state_format(const struct vferry_device *d)
{
	return strncmp(d->backend->ops->name, "kernel", 6) == 0 ? "kernel"
								 : d->backend->ops->name;
}

static int vfio_identity(void *user, struct vferry_writer *w, struct vferry_error *err)
{
	struct vferry_device *d = user;

	if (!d->mig_flags)
		return vferry_error_set(err, -ENOTSUP, "device-not-migratable", d->vfio_name,
					"the device has no migration support");
	vferry_write_u16(w, IDENTITY_VERSION);
	vferry_write_string(w, state_format(d));
	vferry_write_u16(w, d->config->state.layout.vendor);
	vferry_write_u16(w, d->config->state.layout.device);
	vferry_write_u64(w, d->mig_flags);
	return 0;
}

static int vfio_check(void *user, struct vferry_reader *source, struct vferry_reasons *reasons)
{
	struct vferry_device *d = user;
	const struct vf_config_layout *l = &d->config->state.layout;
	uint16_t version = vferry_read_u16(source), vendor, device;
	char format[32] = "", why[256];
	uint64_t flags;

	if (version != IDENTITY_VERSION) {
		vferry_reasons_add(reasons, "device-identity", d->vfio_name,
				   "the source describes the device in version %u, known here is %u",
				   version, IDENTITY_VERSION);
		return 0;
	}
	vferry_read_string(source, format, sizeof(format));
	vendor = vferry_read_u16(source);
	device = vferry_read_u16(source);
	flags = vferry_read_u64(source);
	if (!vferry_reader_done(source))
		return -EINVAL;
	if (!d->mig_flags) {
		vf_device_explain_not_migratable(d, why, sizeof(why));
		vferry_reasons_add(reasons, "device-not-migratable", d->vfio_name, "%s", why);
	}
	if (strcmp(format, state_format(d)) != 0)
		vferry_reasons_add(reasons, "device-state-format", d->vfio_name,
				   "the state comes from a %s device, this one is %s", format,
				   state_format(d));
	if (vendor != l->vendor || device != l->device)
		vferry_reasons_add(reasons, "device-id", d->vfio_name,
				   "the source's device is %04x:%04x, this one is %04x:%04x", vendor,
				   device, l->vendor, l->device);
	if (d->mig_flags && (flags & VF_VFIO_MIGRATION_PRE_COPY) &&
	    !vf_migration_has(d, VF_VFIO_MIGRATION_PRE_COPY))
		vferry_reasons_add(reasons, "device-pre-copy", d->vfio_name,
				   "the source's device sends pre-copy state, this one knows none");
	return 0;
}

/* ---- config space: save ---- */

static int write_config(struct vferry_device *d, struct vferry_step *step, bool stopped,
			struct vferry_error *err)
{
	struct vferry_writer *w = vferry_step_writer(step);
	uint8_t *image = malloc(VF_CONFIG_BYTES_MAX);
	struct vf_writer body;
	int r = image ? 0 : -ENOMEM;

	vf_writer_init(&body, VF_CONFIG_SECTION_BYTES_MAX);
	pthread_mutex_lock(&d->lock);
	if (r == 0)
		r = vf_device_config_image(d, image, err);
	if (r == 0)
		r = vf_config_refresh(d->config, image, d->config->state.layout.size);
	if (r == 0) {
		vf_device_irq_take_pending_locked(d, 0, d->irq.count);
		vf_config_set_intx_level(d->config,
					 stopped && vf_device_irq_intx_level_locked(d, image));
		vf_config_state_encode(&d->config->state, &body);
		if (body.bad)
			r = -ENOMEM;
	}
	pthread_mutex_unlock(&d->lock);
	free(image);
	if (r == 0)
		vferry_write_bytes(w, body.data, body.size);
	vf_writer_done(&body);
	if (r < 0)
		return vferry_error_set(err, r, "config-read", d->pci_name,
					"config space could not be saved: %s", vferry_errno_name(r));
	return 0;
}

static int save_config_early(void *user, struct vferry_step *step, struct vferry_error *err)
{
	return write_config(user, step, false, err);
}

static int save_config(void *user, struct vferry_step *step, struct vferry_error *err)
{
	return write_config(user, step, true, err);
}

static int save_irq_flush(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct vferry_device *d = user;
	int r = 0;

	(void) step;
	pthread_mutex_lock(&d->lock);
	if (d->irq_source)
		r = vf_irq_flush(d->irqs, d->irq_source, err);
	pthread_mutex_unlock(&d->lock);
	return r;
}

/* ---- config space: load ---- */

static int load_stage(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct vferry_device *d = user;
	struct vferry_reader *reader = vferry_step_reader(step);
	struct vf_config_state *state = NULL;
	const void *bytes;
	struct vf_reader r;
	size_t size;
	int e;

	if (!reader)
		return vferry_error_set(err, -EPROTO, "config-missing", d->pci_name,
					"the source sent no config space");
	size = vferry_reader_left(reader);
	bytes = vferry_read_bytes(reader, size);
	r = vf_reader_of(bytes, bytes ? size : 0);
	e = vf_config_state_decode(&r, &state, err);
	if (e < 0)
		return vferry_error_set(err, e, "config-bad", d->pci_name,
					"the source's config space could not be decoded");
	return vf_device_stage(d, state, err);
}

static int alloc_vectors(struct vferry_device *d, struct vferry_error *err)
{
	int r;

	pthread_mutex_lock(&d->lock);
	r = vf_device_irq_alloc_locked(d, &d->config->state, err);
	if (r == 0)
		vf_device_irq_messages_locked(d, &d->config->state);
	d->vectors_early = true;
	pthread_mutex_unlock(&d->lock);
	return r;
}

/* Slow, and without needs: early, for the mode seen so far. */
static int load_vectors(void *user, struct vferry_step *step, struct vferry_error *err)
{
	(void) step;
	return alloc_vectors(user, err);
}

/* The routing table goes out once, after this step of all devices: so by now they must be in it, even
 * where the early allocation was not early. */
static int load_restage(void *user, struct vferry_step *step, struct vferry_error *err)
{
	int r = load_stage(user, step, err);

	return r < 0 ? r : alloc_vectors(user, err);
}

static int load_connect(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct vferry_device *d = user;
	int r;

	(void) step;
	pthread_mutex_lock(&d->lock);
	r = vf_device_irq_alloc_locked(d, &d->config->state, err);
	if (r == 0)
		r = vf_device_irq_update_locked(d, err);
	pthread_mutex_unlock(&d->lock);
	return r;
}

static int load_arm(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct vferry_device *d = user;
	struct vf_config_plan *plan = calloc(1, sizeof(*plan));
	int r;

	(void) step;
	if (!plan)
		return vferry_error_set(err, -ENOMEM, "no-memory", d->pci_name, "no memory");
	pthread_mutex_lock(&d->lock);
	vf_config_plan_arm(&d->config->state, plan);
	r = vf_device_run_plan_locked(d, plan, &d->config->state, err);
	pthread_mutex_unlock(&d->lock);
	free(plan);
	return r;
}

/* ---- config space: undo ---- */

static int undo_bar_map(void *user, struct vferry_step *step, struct vferry_error *err)
{
	(void) step;
	(void) err;
	vf_device_set_reachable(user, true);
	return 0;
}

static int undo_irq_connect(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct vferry_device *d = user;
	int r = 0;

	(void) step;
	pthread_mutex_lock(&d->lock);
	if (d->irq_source && d->irq.mode != VF_CONFIG_INTERRUPT_INTX)
		r = vf_irq_reconnect(d->irqs, d->irq_source, err);
	pthread_mutex_unlock(&d->lock);
	return r;
}

static int undo_intx(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct vferry_device *d = user;
	int r = 0;

	(void) step;
	pthread_mutex_lock(&d->lock);
	if (d->irq_source && d->irq.mode == VF_CONFIG_INTERRUPT_INTX)
		r = vf_irq_reconnect(d->irqs, d->irq_source, err);
	pthread_mutex_unlock(&d->lock);
	return r;
}

/* ---- state: save ---- */

/* A transition is only known to take what the same one took before, so that is kept. */
static int save_p2p(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct vferry_device *d = user;
	uint64_t began = vf_now_ns();
	int r = vf_migration_p2p(d, err);

	(void) step;
	if (r == 0)
		d->p2p_ns = vf_now_ns() - began;
	return r;
}

static int save_stop(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct vferry_device *d = user;
	uint64_t began;
	int r;

	(void) step;
	/* Whatever touches its registers while it is read spoils the stream. */
	vf_device_set_reachable(d, false);
	began = vf_now_ns();
	r = vf_migration_stop(d, err);
	if (r == 0)
		d->stop_ns = vf_now_ns() - began;
	return r;
}

static int save_dirty(void *user, struct vferry_step *step, struct vferry_error *err)
{
	(void) step;
	return vf_device_log_last(user, err);
}

/* ---- state: load ---- */

/* Full power first: in D3hot nothing answers, and leaving it may reset the function. */
static int load_resuming(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct vferry_device *d = user;
	const struct vf_config_layout *l = &d->config->state.layout;
	int r = 0;

	(void) step;
	if (l->pm.offset) {
		const struct vf_config_write d0 = {
			.offset = (uint16_t) (l->pm.offset + 4),
			.len = 2,
			.keep = 0xffff & ~(0x0003u | 0x8000u),	/* state; status clears on 1 */
		};

		r = vf_device_config_write_out(d, &d0, err);
	}
	return r < 0 ? r : vf_migration_resuming(d, err);
}

static int load_validate(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct vferry_device *d = user;
	int r = 0;

	(void) step;
	/* Foreign servers answer nothing but config space once the device is in STOP. */
	if (!d->backend->caps.irqs_while_stopped)
		r = alloc_vectors(d, err);
	return r < 0 ? r : vf_migration_validate(d, err);
}

static int load_run_p2p(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct vferry_device *d = user;

	(void) step;
	if (!vf_migration_has(d, VF_VFIO_MIGRATION_P2P))
		return 0;
	return vf_migration_set(d, VF_VFIO_STATE_RUNNING_P2P, err);
}

static int load_run(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct vferry_device *d = user;
	int r;

	(void) step;
	r = vf_migration_set(d, VF_VFIO_STATE_RUNNING, err);
	if (r < 0)
		return r;
	pthread_mutex_lock(&d->lock);
	vf_device_irq_settle_intx_locked(d);
	pthread_mutex_unlock(&d->lock);
	return 0;
}

/* ---- state: undo ---- */

static int undo_run_p2p(void *user, struct vferry_step *step, struct vferry_error *err)
{
	(void) step;
	(void) err;
	vf_migration_undo_p2p(user);
	return 0;
}

/* A device that had to be reset is `lost`: it runs, empty. The guest's config space and interrupts are
 * put back into it, so that its driver sees a device that forgot, not one that changed. */
static int undo_run(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct vferry_device *d = user;
	int r;

	(void) step;
	r = vf_migration_undo_run(d, err);
	if (r > 0)
		r = vf_device_reapply(d, err);
	return r;
}

static int undo_logging(void *user, struct vferry_step *step, struct vferry_error *err)
{
	(void) step;
	(void) err;
	vf_device_log_stop(user);
	return 0;
}

/* ---- the stream ---- */

static int stream_start(void *user, struct vferry_error *err)
{
	return vf_migration_precopy_start(user, err);
}

static int64_t stream_read(void *user, void *buffer, size_t size, struct vferry_error *err)
{
	return vf_migration_read(user, buffer, size, err);
}

static int stream_remaining(void *user, struct vferry_remaining *ret, struct vferry_error *err)
{
	return vf_migration_remaining(user, ret, err);
}

static uint32_t stream_generation(void *user)
{
	return ((struct vferry_device *) user)->generation;
}

static int stream_write(void *user, const void *data, size_t size, struct vferry_error *err)
{
	return vf_migration_write(user, data, size, err);
}

static void *stream_area(void *user, size_t *ret_bytes)
{
	struct vferry_device *d = user;

	return d->backend->ops->data_area ? d->backend->ops->data_area(d->backend, ret_bytes) : NULL;
}

/* The reset took config space with it: what was staged goes in again. */
static int stream_restart(void *user, struct vferry_error *err)
{
	struct vferry_device *d = user;
	struct vf_config_plan *plan = calloc(1, sizeof(*plan));
	int r;

	if (!plan)
		return vferry_error_set(err, -ENOMEM, "no-memory", d->vfio_name, "no memory");
	r = vf_migration_wipe(d, err);
	if (r == 0)
		r = vf_migration_resuming(d, err);
	if (r == 0) {
		pthread_mutex_lock(&d->lock);
		if (d->staged) {
			vf_config_plan_stage(d->staged, plan);
			r = vf_device_run_plan_locked(d, plan, d->staged, err);
		}
		pthread_mutex_unlock(&d->lock);
	}
	free(plan);
	return r;
}

static const struct vferry_stream_ops stream_ops = {
	.size = sizeof(stream_ops),
	.precopy_start = stream_start,
	.read = stream_read,
	.remaining = stream_remaining,
	.generation = stream_generation,
	.write = stream_write,
	.restart = stream_restart,
	.area = stream_area,
};

/* ---- tables ---- */

static const struct vferry_section_desc pci_sections[] = {
	{
		.id = VF_DEVICE_SECTION_CONFIG,
		.name = "config",
		.version = SECTION_VERSION,
		.oldest = SECTION_VERSION,
		.max_bytes = VF_CONFIG_SECTION_BYTES_MAX,
	}, {
		.id = VF_DEVICE_SECTION_CONFIG_FINAL,
		.name = "config-final",
		.version = SECTION_VERSION,
		.oldest = SECTION_VERSION,
		.max_bytes = VF_CONFIG_SECTION_BYTES_MAX,
	},
};

#define STEP(class_, name_, run_, ...)			\
	{						\
		.size = sizeof(struct vferry_step_desc),	\
		.step_class = VFERRY_ ## class_,		\
		.name = name_,				\
		.run = run_, __VA_ARGS__		\
	}

static const struct vferry_step_desc pci_steps[] = {
	STEP(SAVE_CONFIG_EARLY, "config-early", save_config_early,
	     .section = VF_DEVICE_SECTION_CONFIG),
	STEP(SAVE_CONFIG, "config", save_config, .section = VF_DEVICE_SECTION_CONFIG_FINAL),
	STEP(SAVE_IRQ_FLUSH, "irq-flush", save_irq_flush),
	STEP(LOAD_CONFIG_STAGE, "stage", load_stage, .section = VF_DEVICE_SECTION_CONFIG,
	     .section_else = VF_DEVICE_SECTION_CONFIG_FINAL),
	STEP(LOAD_CONFIG_RESTAGE, "restage", load_restage,
	     .section = VF_DEVICE_SECTION_CONFIG_FINAL),
	STEP(LOAD_VECTOR_ALLOC, "vectors", load_vectors),
	STEP(LOAD_IRQ_CONNECT, "connect", load_connect),
	STEP(LOAD_CONFIG_ARM, "arm", load_arm),
	STEP(UNDO_BAR_MAP, "bar-map", undo_bar_map),
	STEP(UNDO_IRQ_CONNECT, "reconnect", undo_irq_connect),
	STEP(UNDO_INTX, "intx", undo_intx),
};

static const struct vferry_step_desc vfio_steps[] = {
	STEP(SAVE_DEVICE_P2P, "p2p", save_p2p),
	STEP(SAVE_DEVICE_STOP, "stop", save_stop),
	STEP(SAVE_DEVICE_DIRTY, "dirty", save_dirty),
	STEP(LOAD_DEVICE_RESUMING, "resuming", load_resuming),
	STEP(LOAD_DEVICE_VALIDATE, "validate", load_validate),
	STEP(LOAD_DEVICE_RUN_P2P, "run-p2p", load_run_p2p),
	STEP(LOAD_DEVICE_RUN, "run", load_run),
	STEP(UNDO_DEVICE_RUN_P2P, "undo-p2p", undo_run_p2p),
	STEP(UNDO_DEVICE_RUN, "undo-run", undo_run),
	STEP(UNDO_LOGGING_OFF, "logging-off", undo_logging),
};

_Static_assert(VF_ARRAY_COUNT(vfio_steps) == VF_DEVICE_VFIO_STEPS, "one place for each step");

int vf_device_components(struct vferry_device *d, struct vferry_component ret[VF_DEVICE_COMPONENTS])
{
	memcpy(d->vfio_steps, vfio_steps, sizeof(vfio_steps));
	for (unsigned int i = 0; i < VF_DEVICE_VFIO_STEPS; i++) {
		if (vfio_steps[i].step_class == VFERRY_SAVE_DEVICE_P2P)
			d->vfio_steps[i].declared_ns = d->p2p_ns;
		else if (vfio_steps[i].step_class == VFERRY_SAVE_DEVICE_STOP)
			d->vfio_steps[i].declared_ns = d->stop_ns;
	}
	ret[VF_DEVICE_COMPONENT_PCI] = (struct vferry_component) {
		.size = sizeof(ret[0]),
		.name = d->pci_name,
		.device = d->address,
		.user = d,
		.identity = pci_identity,
		.check = pci_check,
		.sections = pci_sections,
		.section_count = VF_ARRAY_COUNT(pci_sections),
		.steps = pci_steps,
		.step_count = VF_ARRAY_COUNT(pci_steps),
	};
	ret[VF_DEVICE_COMPONENT_VFIO] = (struct vferry_component) {
		.size = sizeof(ret[0]),
		.name = d->vfio_name,
		.device = d->address,
		.user = d,
		.identity = vfio_identity,
		.check = vfio_check,
		.steps = d->vfio_steps,
		.step_count = VF_DEVICE_VFIO_STEPS,
		.stream = &stream_ops,
	};
	return 0;
}
