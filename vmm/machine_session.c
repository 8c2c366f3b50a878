/* SPDX-License-Identifier: MIT */
/* machine_session.c - a machine as a migration session wants it. */
#include "machine.h"

#include "machine_accel.h"

static int session_stop(void *user, struct vferry_error *err)
{
	return machine_stop(user, err);
}

/* A machine that the guest switched off meanwhile has nothing to start, and that is no failure. */
static int session_start(void *user, struct vferry_error *err)
{
	if (machine_is_powered_off(user))
		return 0;
	return machine_start(user, err);
}

static void session_throttle(void *user, unsigned percent)
{
	machine_throttle(user, percent);
}

const struct vferry_machine_ops *machine_session_ops(void)
{
	static const struct vferry_machine_ops ops = {
		.size = sizeof(ops),
		.stop = session_stop,
		.start = session_start,
		.throttle = session_throttle,
	};

	return &ops;
}

int machine_add_to_session(struct machine *machine, struct vferry_session *session,
			   struct vferry_error *err)
{
	const struct vferry_component *component;
	char description[64];
	int r;

	machine_describe(machine, description, sizeof(description));
	r = vferry_session_set_machine(session, description);
	if (r >= 0)
		r = vferry_session_set_ram(session, machine->ram);
	if (r >= 0)
		r = vferry_session_set_irq_plan(session, machine->irqs);
	for (size_t i = 0; r >= 0 && i < machine->slots; i++)
		r = vferry_session_add_device(session, machine->slot[i].device, err);
	for (size_t i = 0; r >= 0; i++) {
		component = machine->accel->component(machine, i);
		if (!component)
			break;
		r = vferry_session_add_component(session, component, err);
	}
	if (r < 0)
		return vferry_error_set(err, r, "session-setup", "machine",
					"the machine could not be added to a migration (%s)",
					vferry_errno_name(r));
	return 0;
}
