/* SPDX-License-Identifier: MIT */
/*
 * vm_session.c - the VM's migrations; see vm.h.
 *
 * An incoming session that was only asked (`--check`), that refused, or that failed before it took
 * anything (rubbish came, or nothing) is followed by a new one at the same socket: nothing of the
 * machine was touched. One that failed while it loaded leaves a machine that is worth nothing: with
 * "defer" a fresh one is made, else the VM ends.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include <vferry/component.h>

#include "hook_runner.h"
#include "vm_internal.h"

#define EXIT_INCOMING_FAILED 3
#define TURNED_AWAY_TOLD 8

bool vm_side_active(const struct vm_side *side)
{
	return side && !side->ended;
}

/* ---- the machine, as the session uses it ---- */

static int op_stop(void *user, struct vferry_error *err)
{
	struct vm_side *side = user;
	int ret;

	(void) pthread_mutex_lock(&side->vm->run_lock);
	ret = vm_stop_locked(side->vm, err);
	side->holds = side->holds || !ret;
	(void) pthread_mutex_unlock(&side->vm->run_lock);
	return ret;
}

static int op_start(void *user, struct vferry_error *err)
{
	struct vm_side *side = user;
	struct vm *vm = side->vm;
	int ret = 0;

	(void) pthread_mutex_lock(&vm->run_lock);
	side->holds = false;
	if (side->incoming)
		vm->wanted = vm->wanted && side->loaded_wanted;
	/* A guest that powered off meanwhile: there is nothing to start, and that is no failure. */
	if (vm->wanted && !machine_is_powered_off(vm->machine))
		ret = vm_start_locked(vm, err);
	(void) pthread_mutex_unlock(&vm->run_lock);
	return ret;
}

static void op_throttle(void *user, unsigned percent)
{
	machine_throttle(((struct vm_side *) user)->vm->machine, percent);
}

static int op_hook(void *user, enum vferry_hook hook, struct vferry_error *err)
{
	const struct vm_side *side = user;

	if (side->vm->options.sandboxed)
		return hook_runner_run(side->vm->options.hook_runner, side->hook, hook, err);
	return vm_hook_run(side->hook, vm_hook_word(hook), err);
}

/* The last word comes when the outcome is known as well: see end(). */
static void op_state_changed(void *user, enum vferry_state state)
{
	if (state == VFERRY_STATE_ACTIVE)
		((struct vm_side *) user)->touched = true;
	if (state != VFERRY_STATE_COMPLETED && state != VFERRY_STATE_FAILED &&
	    state != VFERRY_STATE_CANCELLED)
		vm_tell(((struct vm_side *) user)->vm, VM_NEWS_MIGRATION, state, NULL);
}

static void op_pass_began(void *user, uint32_t pass)
{
	vm_tell(((struct vm_side *) user)->vm, VM_NEWS_PASS, pass, NULL);
}

/* ---- the component `vmm` ---- */

enum { VMM_SECTION_STATE = 1, VMM_FLAG_WANTED = 1u << 0 };

static int save_state(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct vm_side *side = user;
	bool wanted;

	(void) err;
	(void) pthread_mutex_lock(&side->vm->run_lock);
	wanted = side->vm->wanted;
	(void) pthread_mutex_unlock(&side->vm->run_lock);
	vferry_write_u32(vferry_step_writer(step), wanted ? VMM_FLAG_WANTED : 0);
	return 0;
}

static int load_state(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct vm_side *side = user;
	uint32_t flags = vferry_read_u32(vferry_step_reader(step));

	if (!vferry_reader_done(vferry_step_reader(step)) || flags & ~VMM_FLAG_WANTED)
		return vferry_error_set(err, -EBADMSG, "section-malformed", "vmm",
					"the run state of the source cannot be read");
	(void) pthread_mutex_lock(&side->vm->run_lock);
	side->loaded_wanted = flags & VMM_FLAG_WANTED;
	(void) pthread_mutex_unlock(&side->vm->run_lock);
	return 0;
}

static const struct vferry_section_desc vmm_sections[] = {
	{ .id = VMM_SECTION_STATE, .name = "run-state", .version = 1, .oldest = 1, .max_bytes = 64 },
};

static const struct vferry_step_desc vmm_steps[] = {
	{ .size = sizeof(struct vferry_step_desc), .step_class = VFERRY_SAVE_OTHER,
	  .name = "run-state", .section = VMM_SECTION_STATE, .run = save_state },
	{ .size = sizeof(struct vferry_step_desc), .step_class = VFERRY_LOAD_OTHER,
	  .name = "run-state", .section = VMM_SECTION_STATE, .run = load_state },
};

static int add_component(struct vm_side *side, struct vferry_error *err)
{
	const struct vferry_component component = {
		.size = sizeof(component), .name = "vmm", .user = side,
		.sections = vmm_sections, .section_count = 1, .steps = vmm_steps, .step_count = 2,
	};

	return vferry_session_add_component(side->session, &component, err);
}

/* ---- life ---- */

int vm_side_new(struct vm *vm, bool incoming, const struct vm_parameters *parameters, bool check,
		struct vm_side **ret_side, struct vferry_error *err)
{
	struct vferry_parameters p = parameters->session;
	struct vm_side *side = calloc(1, sizeof(*side));
	int ret;

	if (!side)
		return vferry_error_set(err, -ENOMEM, "no-memory", NULL, "no memory");
	*side = (struct vm_side) {
		.vm = vm, .incoming = incoming, .check = check, .loaded_wanted = true,
		.turned_away_next = 1,
		.ops = { .size = sizeof(side->ops), .stop = op_stop, .start = op_start,
			 .throttle = op_throttle, .hook = parameters->hook[0] ? op_hook : NULL,
			 .state_changed = op_state_changed, .pass_began = op_pass_began },
	};
	(void) snprintf(side->hook, sizeof(side->hook), "%s", parameters->hook);
	p.channels = parameters->multifd ? p.channels : 1;
	p.check_only = check;
	p.record_dir = vm->options.record_dir;
	if (vm->options.machine.trust)
		p.trust = *vm->options.machine.trust;
	p.tls_creds = parameters->tls_creds[0] ? parameters->tls_creds : NULL;
	p.tls_hostname = parameters->tls_hostname[0] ? parameters->tls_hostname : NULL;
	p.tls_allow = parameters->tls_allow[0] ? parameters->tls_allow : NULL;
	ret = vferry_session_new(&side->ops, side, &side->session, err);
	if (!ret)
		ret = vferry_session_set_parameters(side->session, &p, err);
	if (!ret)
		ret = vm_trace_add_session(vm->options.trace, side->session);
	if (!ret)
		ret = machine_add_to_session(vm->machine, side->session, err);
	if (!ret)
		ret = add_component(side, err);
	if (ret) {
		(void) vm_side_free(side);
		return ret;
	}
	*ret_side = side;
	return 0;
}

struct vm_side *vm_side_free(struct vm_side *side)
{
	if (!side)
		return NULL;
	if (side->vm->last == side)
		side->vm->last = NULL;
	(void) vferry_session_free(side->session);
	free(side);
	return NULL;
}

/* The session's descriptor closes with it, and leaves the set then. */
static void watch(struct vm_side *side)
{
	struct epoll_event event = { .events = EPOLLIN };

	(void) epoll_ctl(side->vm->epoll_fd, EPOLL_CTL_ADD, vferry_session_get_fd(side->session),
			 &event);
	side->vm->last = side;
}

/* ---- incoming ---- */

int vm_accept(struct vm *vm, const char *uri, struct vferry_error *err)
{
	bool lent = !strncmp(uri, "tcp:", 4) || !strncmp(uri, "unix:", 5);
	struct vm_side *side;
	char fd_uri[32];
	int ret;

	if (lent && !vm->listener) {
		ret = vm_listener_new(uri, vm->options.machine.trust,
				      !vm->parameters.tls_creds[0] && !vm->parameters.session.insecure,
				      &vm->listener, err);
		if (ret)
			return ret;
	}
	ret = vm_side_new(vm, true, &vm->parameters, false, &side, err);
	if (ret)
		return ret;
	side->file = !strncmp(uri, "file:", 5);
	if (lent)
		(void) snprintf(fd_uri, sizeof(fd_uri), "fd:%d", vm_listener_fd(vm->listener));
	ret = vferry_session_accept(side->session, lent ? fd_uri : uri, err);
	if (ret) {
		(void) vm_side_free(side);
		return ret;
	}
	(void) snprintf(vm->incoming_uri, sizeof(vm->incoming_uri), "%s",
			lent ? vm_listener_uri(vm->listener) : uri);
	vm->incoming = side;
	watch(side);
	return 0;
}

int vm_migrate_incoming(struct vm *vm, const char *uri, struct vferry_error *err)
{
	int ret;

	if (!vm->awaits_uri)
		return vferry_error_set(err, -EPERM, "not-deferred", NULL,
					"'-incoming' was not specified on the command line as defer, "
					"or the migration was started already");
	ret = vm_accept(vm, uri, err);
	if (!ret)
		vm->awaits_uri = false;
	return ret;
}

static void incoming_failed(struct vm *vm, const struct vferry_status *status)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	bool refused = status->outcome == VFERRY_OUTCOME_REFUSED || !vm->incoming->touched;

	vm->listener = vm_listener_free(vm->listener);
	if (!vm->options.incoming || strcmp(vm->options.incoming, "defer")) {
		vm->exit_code = refused ? VFERRY_OUTCOME_REFUSED : EXIT_INCOMING_FAILED;
		vm_quit(vm, VM_SHUTDOWN_ERROR);
		return;
	}
	/* What was loaded is part of one machine and part of another: a fresh one takes its place. */
	vm->incoming = vm_side_free(vm->incoming);
	vm->machine = machine_free(vm->machine);
	(void) snprintf(vm->incoming_uri, sizeof(vm->incoming_uri), "defer");
	vm->awaits_uri = true;
	if (vm_make_machine(vm, &err)) {
		vm_log(vm, "cannot make a fresh machine: %s", err.message);
		vm->exit_code = EXIT_INCOMING_FAILED;
		vm_quit(vm, VM_SHUTDOWN_ERROR);
	}
}

static void accept_again(struct vm *vm)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	char uri[VM_LISTEN_URI_BYTES];

	(void) snprintf(uri, sizeof(uri), "%s", vm->incoming_uri);
	vm->incoming = vm_side_free(vm->incoming);
	if (vm_accept(vm, uri, &err)) {
		vm_log(vm, "cannot go on waiting: %s", err.message);
		vm->exit_code = EXIT_INCOMING_FAILED;
		vm_quit(vm, VM_SHUTDOWN_ERROR);
	}
}

static void end_incoming(struct vm *vm, const struct vferry_status *status)
{
	if (status->outcome == VFERRY_OUTCOME_FAILED_AFTER ||
	    (status->outcome == VFERRY_OUTCOME_DONE && status->owner)) {
		/* It is here, and only here. If it could not be started, `cont` tries again. */
		vm->launched = true;
		if (machine_is_powered_off(vm->machine))
			vm_quit(vm, VM_SHUTDOWN_GUEST);
	} else if (vm->listener && (status->outcome == VFERRY_OUTCOME_DONE ||
				    status->outcome == VFERRY_OUTCOME_REFUSED ||
				    !vm->incoming->touched)) {
		accept_again(vm);
	} else {
		incoming_failed(vm, status);
	}
}

/* ---- outgoing ---- */

int vm_migrate(struct vm *vm, const char *uri, const struct vm_parameters *parameters, bool check,
	       struct vferry_error *err)
{
	enum vm_state state = vm_get_state(vm);
	struct vm_side *side;
	int ret;

	if (vm_side_active(vm->outgoing))
		return vferry_error_set(err, -EBUSY, "in-progress", NULL,
					"There's a migration process in progress");
	if (state == VM_INMIGRATE)
		return vferry_error_set(err, -EPERM, "incoming", NULL,
					"Guest is waiting for an incoming migration");
	if (state == VM_POSTMIGRATE || state == VM_SHUTDOWN)
		return vferry_error_set(err, -EPERM, "no-machine", NULL,
					state == VM_SHUTDOWN ? "The guest powered off"
							     : "The machine was moved away already");
	if (!parameters)
		parameters = &vm->parameters;
	if (vm->options.sandboxed && parameters->hook[0]) {
		ret = hook_runner_check(vm->options.hook_runner, parameters->hook, err);
		if (ret)
			return ret;
	}
	vm->outgoing = vm_side_free(vm->outgoing);
	ret = vm_side_new(vm, false, parameters, check, &side, err);
	if (ret)
		return ret;
	side->file = !strncmp(uri, "file:", 5);
	ret = vferry_session_migrate(side->session, uri, err);
	if (ret) {
		(void) vm_side_free(side);
		return ret;
	}
	vm->outgoing = side;
	watch(side);
	return 0;
}

void vm_parameters_changed(struct vm *vm)
{
	const struct vferry_parameters *p = &vm->parameters.session;

	if (vm_side_active(vm->outgoing))
		(void) vferry_session_set_limits(vm->outgoing->session, p->max_downtime_ns,
						 p->bandwidth);
}

void vm_cancel(struct vm *vm)
{
	if (vm_side_active(vm->outgoing))
		(void) vferry_session_cancel(vm->outgoing->session);
}

int vm_continue(struct vm *vm, struct vferry_error *err)
{
	if (!vm_side_active(vm->outgoing))
		return vferry_error_set(err, -EINVAL, "no-migration", NULL,
					"There is no migration to be continued");
	return vferry_session_continue(vm->outgoing->session);
}

int vm_resolve(struct vm *vm, const char *peer, bool fenced_destination, struct vferry_error *err)
{
	struct vm_side *side = vm->outgoing ? vm->outgoing : vm->incoming;
	struct vferry_status status;

	if (!side)
		return vferry_error_set(err, -EINVAL, "no-migration", NULL,
					"There was no migration, so there is nothing to be resolved");
	vferry_session_get_status(side->session, &status);
	if (!side->incoming && status.outcome != VFERRY_OUTCOME_UNKNOWN)
		return vferry_error_set(err, -EINVAL, "outcome-known", NULL,
					"The outcome of the migration is not unknown");
	return vferry_session_resolve(side->session, peer, fenced_destination, err);
}

/* ---- ends ---- */

/* Each of the first few, then every so many: whoever knocks all day must not fill the disk. */
static void tell_turned_away(struct vm *vm, struct vm_side *side, const struct vferry_status *status)
{
	if (status->turned_away < side->turned_away_next)
		return;
	side->turned_away_next = status->turned_away < TURNED_AWAY_TOLD ? status->turned_away + 1
									: status->turned_away * 2;
	vm_log(vm, "incoming migration: turned a connection away (number %llu): %s",
	       (unsigned long long) status->turned_away, status->turned_away_error.message);
}

static void log_error(struct vm *vm, const char *what, const struct vferry_error *error)
{
	bool named = vm_sentence_names(error->message, error->object);

	vm_log(vm, "%s: %s%s%s", what, named ? "" : error->object, named ? "" : ": ", error->message);
}

/* For whoever reads the log, who may be another than the one who asked for the migration. */
static void log_end(struct vm *vm, struct vm_side *side, const struct vferry_status *status)
{
	const char *what = side->incoming ? "incoming migration" : side->file ? "save" : "migration";
	struct vferry_error *reasons = NULL;
	size_t count = 0, dropped = 0;

	if (vferry_session_reasons(side->session, &reasons, &count, &dropped))
		count = 0;
	for (size_t i = 0; i < count; i++)
		log_error(vm, what, &reasons[i]);
	if (dropped)
		vm_log(vm, "%s: and %zu more reasons against", what, dropped);
	if (status->error.code && !count)
		log_error(vm, what, &status->error);
	if (status->device_lost)
		vm_log(vm, "a device lost its state; `vferry status` tells which");
	free(reasons);
}

static bool is_failure(enum vferry_outcome outcome)
{
	return outcome == VFERRY_OUTCOME_FAILED || outcome == VFERRY_OUTCOME_UNKNOWN ||
	       outcome == VFERRY_OUTCOME_FAILED_AFTER;
}

/* How it came to this, for whoever is to find out. */
static void keep_trace(struct vm *vm, struct vm_side *side, enum vferry_outcome outcome)
{
	struct vm_trace *trace = vm->options.trace;
	int ret;

	if (!trace || side->trace_kept || !is_failure(outcome))
		return;
	side->trace_kept = true;
	ret = vm_trace_write_failure(trace, side->session, &side->trace_path);
	if (ret && ret != -ENOENT)
		vm_log(vm, "what led to it cannot be written down: %s", vferry_errno_name(ret));
	else if (!ret)
		vm_log(vm, "what led to it is in %s", side->trace_path);
}

static void check_side(struct vm *vm, struct vm_side *side)
{
	struct vferry_status status;

	vferry_session_get_status(side->session, &status);
	tell_turned_away(vm, side, &status);
	if (side->ended)
		return;
	if (status.outcome == VFERRY_OUTCOME_PENDING) {
		if (status.error.code && !side->unknown) {
			log_end(vm, side, &status);
			vm_log(vm, "the machine is here, and prepared: it waits for the source to ask, or "
				   "for `vferry resolve`");
		}
		side->unknown = side->unknown || status.error.code;
		return;
	}
	if (status.outcome == VFERRY_OUTCOME_UNKNOWN) {
		/* Status and run state say it; `resolve` ends it. */
		if (!side->unknown) {
			log_end(vm, side, &status);
			vm_log(vm, "the outcome of the migration is unknown: the machine stays stopped "
				   "here; see `vferry resolve`");
			keep_trace(vm, side, status.outcome);
		}
		side->unknown = true;
		return;
	}
	side->ended = true;
	vm_tell(vm, VM_NEWS_MIGRATION, status.state, NULL);
	log_end(vm, side, &status);
	keep_trace(vm, side, status.outcome);
	if (side->incoming)
		end_incoming(vm, &status);
	else
		vm_power_off_done(vm);
}

void vm_sessions_dispatch(struct vm *vm)
{
	if (vm->outgoing)
		check_side(vm, vm->outgoing);
	if (vm->incoming)
		check_side(vm, vm->incoming);
}

int vm_get_migration(struct vm *vm, struct vm_migration *ret)
{
	if (!vm->last)
		return -ENOENT;
	*ret = (struct vm_migration) { .session = vm->last->session, .incoming = vm->last->incoming,
				       .check = vm->last->check };
	vferry_session_get_status(vm->last->session, &ret->status);
	/* Whoever hears of the outcome hears of this, too: it may be news to us. */
	keep_trace(vm, vm->last, ret->status.outcome);
	ret->trace = vm->last->trace_path;
	return 0;
}

int vm_describe_plan(struct vm *vm, enum vferry_phase phase, enum vferry_plan_format format,
		     char **ret_text, struct vferry_error *err)
{
	struct vm_side *side;
	int ret = vm_side_new(vm, false, &vm->parameters, false, &side, err);

	if (ret)
		return ret;
	ret = vferry_session_describe_plan(side->session, phase, format, ret_text, err);
	(void) vm_side_free(side);
	return ret;
}
