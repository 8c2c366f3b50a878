/* SPDX-License-Identifier: MIT */
/*
 * control_commands.h - the VM's QMP commands and events.
 *
 * Names, members, units and errors are those of QEMU 7.2's migration schema; what QEMU does not have
 * is called x-vferry-. What is not there (post-copy, block migration, TLS) is refused, not ignored.
 *
 * Threads: the owner's.
 */
#ifndef VMM_CONTROL_COMMANDS_H
#define VMM_CONTROL_COMMANDS_H

#include "control.h"
#include "vm.h"

struct vm_control {
	struct vm *vm;			/* set before the first request is read */
	struct control *control;
	bool events;			/* capability `events`: MIGRATION, MIGRATION_PASS */
	struct control_call *judging;	/* x-vferry-verdict that waits */
	uint64_t allowed_spurious;	/* of that one */
};

/* The user of these commands is a struct vm_control. */
const struct control_command *vm_control_commands(void);

/* What vm_callbacks tell, as events. */
void vm_control_stopped(struct vm_control *c);
void vm_control_resumed(struct vm_control *c);
void vm_control_migration(struct vm_control *c, enum vferry_state state);
void vm_control_pass(struct vm_control *c, uint32_t pass);
void vm_control_shutdown(struct vm_control *c, enum vm_shutdown reason);

/* control_report.c */
struct json_object *vm_control_query_migrate(struct vm *vm);
/* How a migration ended: "done", "unknown", ... */
const char *vm_control_outcome_name(enum vferry_outcome outcome);
struct json_object *vm_control_verdict(const struct machine_verdict *verdict,
				       uint64_t allowed_spurious);

#endif
