/* SPDX-License-Identifier: MIT */
/* order_machine.c - see order_machine.h. */
#include "order_machine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define STEP(class_, name_) \
	{ .size = sizeof(struct vferry_step_desc), .step_class = VFERRY_ ## class_, \
	  .name = name_, .run = never_run }

/* Planned, not executed. */
static int never_run(void *user, struct vferry_step *step, struct vferry_error *err)
{
	(void) user;
	(void) step;
	return vferry_error_set(err, -ENOSYS, "not-real", NULL, "this machine exists on paper only");
}

static const struct vferry_step_desc pci_steps[] = {
	STEP(SAVE_CONFIG_EARLY, "config-early"), STEP(SAVE_CONFIG, "config"),
	STEP(SAVE_IRQ_FLUSH, "irq-flush"), STEP(LOAD_CONFIG_STAGE, "stage"),
	STEP(LOAD_CONFIG_RESTAGE, "restage"), STEP(LOAD_VECTOR_ALLOC, "vectors"),
	STEP(LOAD_IRQ_CONNECT, "connect"), STEP(LOAD_CONFIG_ARM, "arm"),
	STEP(UNDO_BAR_MAP, "bar-map"), STEP(UNDO_IRQ_CONNECT, "reconnect"), STEP(UNDO_INTX, "intx"),
};

static const struct vferry_step_desc vfio_steps[] = {
	STEP(SAVE_DEVICE_P2P, "p2p"), STEP(SAVE_DEVICE_STOP, "stop"),
	STEP(SAVE_DEVICE_DIRTY, "dirty"), STEP(LOAD_DEVICE_RESUMING, "resuming"),
	STEP(LOAD_DEVICE_VALIDATE, "validate"), STEP(LOAD_DEVICE_RUN_P2P, "run-p2p"),
	STEP(LOAD_DEVICE_RUN, "run"), STEP(UNDO_DEVICE_RUN_P2P, "undo-p2p"),
	STEP(UNDO_DEVICE_RUN, "undo-run"), STEP(UNDO_LOGGING_OFF, "logging-off"),
};

static const struct vferry_stream_ops state_stream = { .size = sizeof(state_stream) };

static const struct vferry_step_desc irq_steps[] = { STEP(LOAD_IRQ_ROUTES, "routes") };

static const struct vferry_step_desc arm64_cpu_steps[] = {
	STEP(SAVE_CPU, "registers"), STEP(LOAD_CPU_ID, "id"), STEP(LOAD_CPU_REGS, "registers"),
};

static const struct vferry_step_desc gic_steps[] = {
	STEP(SAVE_GIC_PENDING, "pending"), STEP(SAVE_GIC, "registers"),
	STEP(LOAD_IRQCHIP_CREATE, "created"), STEP(LOAD_GIC_DIST, "distributor"),
	STEP(LOAD_GIC_LPI_BASES, "lpi-bases"), STEP(LOAD_GIC_REDIST, "redistributors"),
};

static const struct vferry_step_desc its_steps[] = {
	STEP(SAVE_ITS_RELEASE, "release"), STEP(SAVE_ITS_TABLES, "tables"),
	STEP(SAVE_GIC, "registers"), STEP(LOAD_ITS_REGS, "registers"),
	STEP(LOAD_ITS_TABLES, "tables"), STEP(LOAD_ITS_CTLR, "enable"),
};

static const struct vferry_step_desc arm64_clock_steps[] = {
	STEP(SAVE_CLOCK, "counter"), STEP(LOAD_COUNTER, "offset"), STEP(UNDO_CLOCK, "undo"),
};

static const struct vferry_step_desc x86_cpu_steps[] = {
	STEP(SAVE_CPU, "state"), STEP(LOAD_CPU_ID, "id"), STEP(LOAD_CPU_SREGS, "sregs"),
	STEP(LOAD_CPU_REGS, "registers"),
};

static const struct vferry_step_desc lapic_steps[] = {
	STEP(SAVE_LAPIC, "state"), STEP(LOAD_LAPIC, "state"), STEP(LOAD_TSC_DEADLINE, "deadline"),
};

/* Also of the PIC. */
static const struct vferry_step_desc ioapic_steps[] = {
	STEP(SAVE_IOAPIC, "state"), STEP(LOAD_IOAPIC, "state"),
};

static const struct vferry_step_desc pit_steps[] = {
	STEP(SAVE_IOAPIC, "state"), STEP(LOAD_PIT, "state"),
};

static const struct vferry_step_desc x86_clock_steps[] = {
	STEP(SAVE_CLOCK, "time"), STEP(LOAD_CLOCK, "time"), STEP(UNDO_CLOCK, "time"),
};

#define PART(name_, device_, steps_, ...) \
	{ .size = sizeof(struct vferry_component), .name = name_, .device = device_, \
	  .steps = steps_, .step_count = sizeof(steps_) / sizeof(steps_[0]), __VA_ARGS__ }

#define DEVICE "00:04.0"
#define DEVICE_PARTS \
	PART("pci/" DEVICE, DEVICE, pci_steps), \
	PART("vfio/" DEVICE, DEVICE, vfio_steps, .stream = &state_stream), \
	PART("irq", NULL, irq_steps)

static const struct vferry_component arm64_parts[] = {
	PART("cpu/0", NULL, arm64_cpu_steps), PART("cpu/1", NULL, arm64_cpu_steps),
	PART("gic", NULL, gic_steps), PART("its/0", NULL, its_steps),
	PART("clock", NULL, arm64_clock_steps), DEVICE_PARTS,
};

static const struct vferry_component x86_parts[] = {
	PART("cpu/0", NULL, x86_cpu_steps), PART("cpu/1", NULL, x86_cpu_steps),
	PART("lapic/0", NULL, lapic_steps), PART("lapic/1", NULL, lapic_steps),
	PART("pic", NULL, ioapic_steps), PART("ioapic", NULL, ioapic_steps),
	PART("pit", NULL, pit_steps), PART("clock", NULL, x86_clock_steps), DEVICE_PARTS,
};

static const struct {
	const char *arch;
	const struct vferry_component *parts;
	size_t count;
} machines[] = {
	{ "arm64", arm64_parts, sizeof(arm64_parts) / sizeof(arm64_parts[0]) },
	{ "x86-64", x86_parts, sizeof(x86_parts) / sizeof(x86_parts[0]) },
};

#define MACHINES (sizeof(machines) / sizeof(machines[0]))

struct order_machine {
	struct vferry_session *session;
	struct vferry_ram *ram;
};

bool order_machine_known(const char *arch)
{
	for (size_t i = 0; i < MACHINES; i++)
		if (!strcmp(machines[i].arch, arch))
			return true;
	return false;
}

static int nothing(void *user, struct vferry_error *err)
{
	(void) user;
	(void) err;
	return 0;
}

static int add_parts(struct order_machine *m, const char *arch, struct vferry_error *err)
{
	int ret = 0;

	for (size_t i = 0; i < MACHINES; i++) {
		if (strcmp(machines[i].arch, arch))
			continue;
		for (size_t k = 0; k < machines[i].count && !ret; k++)
			ret = vferry_session_add_component(m->session, &machines[i].parts[k], err);
	}
	return ret;
}

int order_machine_new(const char *arch, struct order_machine **ret_machine,
		      struct vferry_error *err)
{
	static const struct vferry_machine_ops ops = {
		.size = sizeof(ops), .stop = nothing, .start = nothing,
	};
	struct order_machine *m = calloc(1, sizeof(*m));
	int ret;

	if (!m)
		return vferry_error_set(err, -ENOMEM, "no-memory", NULL, "no memory");
	ret = vferry_ram_new(&m->ram);
	if (!ret)
		ret = vferry_session_new(&ops, NULL, &m->session, err);
	if (!ret)
		ret = vferry_session_set_ram(m->session, m->ram);
	if (!ret)
		ret = add_parts(m, arch, err);
	if (ret) {
		(void) order_machine_free(m);
		return ret;
	}
	*ret_machine = m;
	return 0;
}

struct order_machine *order_machine_free(struct order_machine *m)
{
	if (!m)
		return NULL;
	(void) vferry_session_free(m->session);
	(void) vferry_ram_free(m->ram);
	free(m);
	return NULL;
}

int order_machine_plan(struct order_machine *m, enum vferry_phase phase,
		       enum vferry_plan_format format, char **ret_text, struct vferry_error *err)
{
	return vferry_session_describe_plan(m->session, phase, format, ret_text, err);
}
