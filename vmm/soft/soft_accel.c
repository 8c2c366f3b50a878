/* SPDX-License-Identifier: MIT */
/* soft_accel.c - the soft machine as an accelerator (machine_accel.h). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <vferry/irqchip.h>

#include "../machine_accel.h"
#include "soft.h"

struct soft_accel {
	struct soft_machine *machine;
	enum machine_gic kind;
	struct soft_component_storage *components;
	struct vferry_gic *gic;		/* NULL: the machine has none */
};

static const struct machine_layout layout = {
	.ram = { { .gpa = SOFT_RAM_BASE, .bytes_max = SOFT_MEMORY_MAX } },
	.pci = { .ecam = SOFT_ECAM_BASE,
		 .window32 = SOFT_WINDOW32_BASE, .window32_bytes = SOFT_WINDOW32_BYTES,
		 .window64 = SOFT_WINDOW64_BASE, .window64_bytes = SOFT_WINDOW64_BYTES },
	.intx_pins = SOFT_SPIS,
};

static struct soft_machine *soft_of(struct machine *machine)
{
	return ((struct soft_accel *) machine->accel_data)->machine;
}

static int probe(const struct machine_options *options, struct vferry_error *err)
{
	(void) options;
	(void) err;
	return 0;
}

/* v4.0 and v4.1 differ in the host only: the guest sees the same. */
static void describe(const struct machine *machine, char *to, size_t size)
{
	const struct soft_accel *accel = machine->accel_data;

	(void) snprintf(to, size, "soft-arm64-v1 cpus=%u gic=%s", machine->cpus,
			accel->kind == MACHINE_GIC_OFF ? "off" : "v3");
}

static void destroy(struct machine *machine)
{
	struct soft_accel *accel = machine->accel_data;

	if (!accel)
		return;
	accel->gic = vferry_gic_free(accel->gic);
	accel->components = soft_components_free(accel->components);
	accel->machine = soft_machine_free(accel->machine);
	free(accel);
	machine->accel_data = NULL;
}

static enum soft_gic_kind gic_kind(enum machine_gic gic)
{
	switch (gic) {
	case MACHINE_GIC_V3:
		return SOFT_GIC_V3;
	case MACHINE_GIC_V4_0:
		return SOFT_GIC_V4_0;
	case MACHINE_GIC_V4_1:
		return SOFT_GIC_V4_1;
	default:
		return SOFT_GIC_OFF;
	}
}

/* ---- the interrupt controller's state: the model answers as KVM's device does ---- */

static int gic_set_attr(void *user, int device, uint32_t group, uint64_t attr,
			const uint64_t *value)
{
	return soft_gic_set_attr(soft_of(user)->gic, device, group, attr, value);
}

static int gic_get_attr(void *user, int device, uint32_t group, uint64_t attr, uint64_t *value)
{
	return soft_gic_get_attr(soft_of(user)->gic, device, group, attr, value);
}

static int gic_release(void *user, struct vferry_error *err)
{
	struct machine *machine = user;

	return machine->irqs ? vferry_irq_plan_release(machine->irqs, err) : 0;
}

static const struct vferry_gic_ops gic_ops = {
	.size = sizeof(gic_ops),
	.set_attr = gic_set_attr,
	.get_attr = gic_get_attr,
	.release = gic_release,
};

static int create_gic(struct machine *machine, struct soft_accel *accel, struct vferry_error *err)
{
	uint32_t affinity[MACHINE_CPUS_MAX];
	struct vferry_gic_config config = {
		.size = sizeof(config),
		.ops = &gic_ops,
		.user = machine,
		.device = accel->machine->gic_device,
		.affinity = affinity,
		.cpu_count = machine->cpus,
		.its = &accel->machine->its_device,
		.its_count = 1,
	};

	for (uint32_t i = 0; i < machine->cpus; i++)
		affinity[i] = i;
	return vferry_gic_new(&config, &accel->gic, err);
}

static int create(struct machine *machine, const struct machine_options *options,
		  struct vferry_error *err)
{
	const char *name = options->guest ? options->guest : "worker";
	enum machine_gic kind = options->gic == MACHINE_GIC_DEFAULT ? MACHINE_GIC_V4_0
								    : options->gic;
	struct soft_config config = {
		.cpus = options->cpus,
		.gic = gic_kind(kind),
		.guest_time = options->guest_time,
		.program = soft_program_find(name),
		.args = options->guest_args,
		.incoming = options->incoming,
		.stop_timeout_ns = options->stop_timeout_ns,
		.ram = machine->ram,
		.pci = machine->pci,
		.console = machine->callbacks.console,
		.power_off = machine->callbacks.power_off,
		.log = machine->callbacks.log,
		.user = machine->user,
	};
	struct soft_accel *accel;
	int r;

	if (options->irqchip != MACHINE_IRQCHIP_DEFAULT || options->dirty != MACHINE_DIRTY_AUTO)
		return vferry_error_set(err, -EINVAL, "kvm-only", "machine",
					"--irqchip and --dirty are KVM's: the soft machine has --gic");
	if (options->kernel)
		return vferry_error_set(err, -EINVAL, "kvm-only", "machine",
					"--kernel is KVM's: the soft machine runs a --guest");
	if (!config.program)
		return vferry_error_set(err, -EINVAL, "no-such-guest", "machine",
					"there is no guest program \"%s\"", name);
	accel = calloc(1, sizeof(*accel));
	if (!accel)
		return -ENOMEM;
	machine->accel_data = accel;
	accel->kind = kind;
	r = soft_machine_new(&config, &accel->machine, err);
	if (r == 0)
		r = soft_components_new(accel->machine, &accel->components);
	if (r == 0 && options->gic != MACHINE_GIC_OFF)
		r = create_gic(machine, accel, err);
	if (r < 0)
		destroy(machine);
	return r;
}

static void get_sink(struct machine *machine, struct vferry_irq_sink *ret_sink)
{
	soft_irq_get_sink(soft_of(machine)->irq, ret_sink);
}

static int start(struct machine *machine, struct vferry_error *err)
{
	return soft_machine_start(soft_of(machine), err);
}

static int stop(struct machine *machine, struct vferry_error *err)
{
	return soft_machine_stop(soft_of(machine), err);
}

static int reset(struct machine *machine, struct vferry_error *err)
{
	return soft_machine_reset(soft_of(machine), err);
}

static void throttle(struct machine *machine, unsigned percent)
{
	atomic_store(&soft_of(machine)->throttle, percent > 99 ? 99 : percent);
}

static int command(struct machine *machine, const char *text, char *reply, size_t reply_size,
		   struct vferry_error *err)
{
	return soft_machine_command(soft_of(machine), text, reply, reply_size, err);
}

static void verdict(struct machine *machine, struct machine_verdict *ret_verdict)
{
	soft_machine_verdict(soft_of(machine), ret_verdict);
}

static void get_info(struct machine *machine, struct machine_info *ret_info)
{
	struct soft_machine *m = soft_of(machine);

	ret_info->gic = ((struct soft_accel *) machine->accel_data)->kind;
	ret_info->irqchip = ret_info->gic == MACHINE_GIC_OFF ? "none" : "gic";
	ret_info->dirty = "vmm";
	pthread_mutex_lock(&m->lock);
	ret_info->guest = m->config.program->name;
	ret_info->powered_off = atomic_load(&m->powered_off);
	ret_info->running = m->running && !ret_info->powered_off;
	ret_info->throttle_percent = atomic_load(&m->throttle);
	ret_info->counter_ns = run_clock_counter(&m->clock);
	ret_info->last_stop_ns = m->last_stop_ns;
	ret_info->starts = m->starts;
	ret_info->stops = m->stops;
	pthread_mutex_unlock(&m->lock);
}

static bool is_loaded(struct machine *machine)
{
	struct soft_machine *m = soft_of(machine);
	bool loaded;

	pthread_mutex_lock(&m->lock);
	loaded = m->loaded;
	pthread_mutex_unlock(&m->lock);
	return loaded;
}

static const struct vferry_component *component(struct machine *machine, size_t index)
{
	const struct soft_accel *accel = machine->accel_data;
	const struct vferry_component *own;
	size_t count;

	own = soft_components_get(accel->components, &count);
	if (index < count)
		return &own[index];
	return accel->gic ? vferry_gic_component(accel->gic, index - count) : NULL;
}

static const char *guest(size_t index, const char **ret_summary)
{
	const struct guest_program *program = soft_program_at(index);

	if (program && ret_summary)
		*ret_summary = program->summary;
	return program ? program->name : NULL;
}

const struct machine_accel machine_accel_soft = {
	.name = "soft",
	.summary = "guest programs on threads, a GICv3 with ITS in software; runs anywhere",
	.layout = &layout,
	.probe = probe,
	.describe = describe,
	.create = create,
	.destroy = destroy,
	.get_sink = get_sink,
	.start = start,
	.stop = stop,
	.reset = reset,
	.throttle = throttle,
	.command = command,
	.verdict = verdict,
	.get_info = get_info,
	.is_loaded = is_loaded,
	.component = component,
	.guest = guest,
};

struct soft_machine *soft_machine_of(struct machine *machine)
{
	return machine->accel == &machine_accel_soft ? soft_of(machine) : NULL;
}
