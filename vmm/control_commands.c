/* SPDX-License-Identifier: MIT */
/* control_commands.c - see control_commands.h. Migration parameters are one table. */
#include "control_commands.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS_NS 1000000ull
#define SECOND_NS 1000000000ull
#define GUEST_REPLY_BYTES 4096

/* ---- members ---- */

static struct json_object *member(struct json_object *arguments, const char *name)
{
	struct json_object *value = NULL;

	(void) json_object_object_get_ex(arguments, name, &value);
	return value;
}

static const char *string_member(struct json_object *arguments, const char *name)
{
	struct json_object *value = member(arguments, name);

	return value ? json_object_get_string(value) : NULL;
}

static bool bool_member(struct json_object *arguments, const char *name)
{
	struct json_object *value = member(arguments, name);

	return value && json_object_get_boolean(value);
}

static int64_t int_member(struct json_object *arguments, const char *name, int64_t otherwise)
{
	struct json_object *value = member(arguments, name);

	return value ? json_object_get_int64(value) : otherwise;
}

static void finish(struct control_call *call, int ret, const struct vferry_error *err)
{
	if (!ret)
		control_return(call, NULL);
	else
		control_fail(call, "%s", err->code ? err->message : vferry_errno_name(ret));
}

static size_t word_index(const char *const *words, const char *word)
{
	size_t i = 0;

	while (words[i] && strcmp(words[i], word))
		i++;
	return i;
}

/* ---- parameters ---- */

static const char *const compressions[] = { "none", "lz4", "zstd", NULL };
static const char *const policies[] = { "throttle", "continue", "give-up", NULL };

/* One table for setting, reading and `migrate`; the members below point into it. */
static const struct control_argument parameter_table[] = {
	{ "downtime-limit", CONTROL_INT, true, 0, 2000000, "ms", NULL, NULL },
	{ "max-bandwidth", CONTROL_INT, true, 0, INT64_MAX - 1, "bytes/second", NULL, NULL },
	{ "multifd-channels", CONTROL_INT, true, 1, 16, NULL, NULL, NULL },
	{ "multifd-compression", CONTROL_WORD, true, 0, 0, NULL, compressions, NULL },
	{ "tls-creds", CONTROL_STRING, true, 0, 0, NULL, NULL, NULL },
	{ "tls-hostname", CONTROL_STRING, true, 0, 0, NULL, NULL, NULL },
	{ "tls-authz", CONTROL_STRING, true, 0, 0, NULL, NULL, NULL },
	{ "x-vferry-tls-allow", CONTROL_STRING, true, 0, 0, NULL, NULL, NULL },
	{ "x-vferry-insecure", CONTROL_BOOL, true, 0, 0, NULL, NULL, NULL },
	{ "x-vferry-pause-budget", CONTROL_INT, true, 0, 20000000, "ms", NULL, NULL },
	{ "x-vferry-policy", CONTROL_WORD, true, 0, 0, NULL, policies, NULL },
	{ "x-vferry-timeout", CONTROL_INT, true, 0, 1000000, "seconds", NULL, NULL },
	{ "x-vferry-stall-timeout", CONTROL_INT, true, 1, 1000000, "seconds", NULL, NULL },
	{ "x-vferry-verify", CONTROL_BOOL, true, 0, 0, NULL, NULL, NULL },
	{ "x-vferry-hook", CONTROL_STRING, true, 0, 0, NULL, NULL, NULL },
	{ 0 }
};

/* Strings and the room that they have. */
#define STRING(name, member, wrong) \
	{ name, offsetof(struct vm_parameters, member), sizeof(((struct vm_parameters *) 0)->member), \
	  "Parameter '" name "' " wrong }

static const struct {
	const char *name;
	size_t at, room;
	const char *wrong;
} strings[] = {
	STRING("tls-creds", tls_creds, "is too long"),
	STRING("tls-hostname", tls_hostname, "is too long"),
	STRING("x-vferry-tls-allow", tls_allow, "is too long"),
	STRING("x-vferry-hook", hook, "is too long"),
};

static const char *apply_strings(struct json_object *from, struct vm_parameters *p)
{
	const char *authz = string_member(from, "tls-authz");
	const char *creds = string_member(from, "tls-creds");

	if (authz && *authz)
		return "Parameter 'tls-authz': there are no authorization objects here; list the names "
		       "that may come in 'x-vferry-tls-allow'";
	if (creds && *creds && *creds != '/')
		return "Parameter 'tls-creds' must be the absolute path of a directory; there are no "
		       "objects here";
	for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++) {
		const char *value = string_member(from, strings[i].name);

		if (value && strlen(value) >= strings[i].room)
			return strings[i].wrong;
	}
	for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++) {
		const char *value = string_member(from, strings[i].name);

		if (value)
			(void) snprintf((char *) p + strings[i].at, strings[i].room, "%s", value);
	}
	return NULL;
}

/* Return: NULL, or what is wrong; then nothing was changed. */
static const char *apply_parameters(struct json_object *from, struct vm_parameters *p)
{
	struct vferry_parameters *s = &p->session;
	const char *word = apply_strings(from, p);

	if (word)
		return word;
	/* A limit of 0 never fits, as in QEMU; the library has no such value. */
	if (member(from, "downtime-limit"))
		s->max_downtime_ns = (uint64_t) int_member(from, "downtime-limit", 0) * MS_NS;
	if (!s->max_downtime_ns)
		s->max_downtime_ns = 1;
	s->bandwidth = (uint64_t) int_member(from, "max-bandwidth", (int64_t) s->bandwidth);
	s->channels = (uint32_t) int_member(from, "multifd-channels", s->channels);
	word = string_member(from, "multifd-compression");
	if (word)
		s->compression = (enum vferry_compression) word_index(compressions, word);
	word = string_member(from, "x-vferry-policy");
	if (word)
		s->policy = (enum vferry_policy) word_index(policies, word);
	if (member(from, "x-vferry-pause-budget"))
		s->pause_budget_ns = (uint64_t) int_member(from, "x-vferry-pause-budget", 0) * MS_NS;
	if (member(from, "x-vferry-timeout"))
		s->timeout_ns = (uint64_t) int_member(from, "x-vferry-timeout", 0) * SECOND_NS;
	if (member(from, "x-vferry-stall-timeout"))
		s->stall_timeout_ns = (uint64_t) int_member(from, "x-vferry-stall-timeout", 0) *
				      SECOND_NS;
	if (member(from, "x-vferry-verify"))
		s->verify = bool_member(from, "x-vferry-verify");
	if (member(from, "x-vferry-insecure"))
		s->insecure = bool_member(from, "x-vferry-insecure");
	return NULL;
}

static void set_parameters(void *user, struct json_object *arguments, struct control_call *call)
{
	struct vm *vm = ((struct vm_control *) user)->vm;
	const char *wrong = apply_parameters(arguments, vm_parameters(vm));

	if (wrong) {
		control_fail(call, "%s", wrong);
		return;
	}
	vm_parameters_changed(vm);
	control_return(call, NULL);
}

static void add_int(struct json_object *to, const char *name, uint64_t value)
{
	json_object_object_add(to, name, json_object_new_uint64(value));
}

static void add_string(struct json_object *to, const char *name, const char *value)
{
	json_object_object_add(to, name, json_object_new_string(value));
}

static void query_parameters(void *user, struct json_object *arguments, struct control_call *call)
{
	const struct vm_parameters *p = vm_parameters(((struct vm_control *) user)->vm);
	const struct vferry_parameters *s = &p->session;
	struct json_object *to = json_object_new_object();

	(void) arguments;
	add_int(to, "downtime-limit", s->max_downtime_ns / MS_NS);
	add_int(to, "max-bandwidth", s->bandwidth);
	add_int(to, "multifd-channels", s->channels);
	add_string(to, "multifd-compression", compressions[s->compression]);
	add_string(to, "tls-creds", p->tls_creds);
	add_string(to, "tls-hostname", p->tls_hostname);
	add_string(to, "tls-authz", "");
	add_string(to, "x-vferry-tls-allow", p->tls_allow);
	json_object_object_add(to, "x-vferry-insecure", json_object_new_boolean(s->insecure));
	add_int(to, "x-vferry-pause-budget", s->pause_budget_ns / MS_NS);
	add_string(to, "x-vferry-policy", policies[s->policy]);
	add_int(to, "x-vferry-timeout", s->timeout_ns / SECOND_NS);
	add_int(to, "x-vferry-stall-timeout", s->stall_timeout_ns / SECOND_NS);
	json_object_object_add(to, "x-vferry-verify", json_object_new_boolean(s->verify));
	add_string(to, "x-vferry-hook", p->hook);
	control_return(call, to);
}

/* ---- capabilities ---- */

static const char *const capabilities[] = {
	"auto-converge", "events", "return-path", "pause-before-switchover", "multifd", NULL,
};

static bool capability_get(struct vm_control *c, const char *name)
{
	const struct vm_parameters *p = vm_parameters(c->vm);

	if (!strcmp(name, "auto-converge"))
		return p->session.policy == VFERRY_POLICY_THROTTLE;
	if (!strcmp(name, "events"))
		return c->events;
	if (!strcmp(name, "pause-before-switchover"))
		return p->session.hold_before_switchover;
	if (!strcmp(name, "multifd"))
		return p->multifd;
	return true;	/* return-path: there is no migration without */
}

static void capability_set(struct vm_control *c, const char *name, bool on)
{
	struct vm_parameters *p = vm_parameters(c->vm);

	if (!strcmp(name, "auto-converge"))
		p->session.policy = on ? VFERRY_POLICY_THROTTLE
				       : p->session.policy == VFERRY_POLICY_THROTTLE
					       ? VFERRY_POLICY_CONTINUE : p->session.policy;
	else if (!strcmp(name, "events"))
		c->events = on;
	else if (!strcmp(name, "pause-before-switchover"))
		p->session.hold_before_switchover = on;
	else if (!strcmp(name, "multifd"))
		p->multifd = on;
}

static const struct control_argument capability_members[] = {
	{ "capability", CONTROL_WORD, false, 0, 0, NULL, capabilities, NULL },
	{ "state", CONTROL_BOOL, false, 0, 0, NULL, NULL, NULL },
	{ 0 }
};

static const struct control_argument set_capabilities_arguments[] = {
	{ "capabilities", CONTROL_LIST, false, 0, 0, NULL, NULL, capability_members },
	{ 0 }
};

static void set_capabilities(void *user, struct json_object *arguments, struct control_call *call)
{
	struct json_object *list = member(arguments, "capabilities");
	size_t count = json_object_array_length(list);

	for (size_t i = 0; i < count; i++) {
		struct json_object *entry = json_object_array_get_idx(list, i);

		if (!strcmp(string_member(entry, "capability"), "return-path") &&
		    !bool_member(entry, "state")) {
			control_fail(call, "Capability 'return-path' cannot be switched off: "
				     "the hand-over needs it");
			return;
		}
	}
	for (size_t i = 0; i < count; i++) {
		struct json_object *entry = json_object_array_get_idx(list, i);

		capability_set(user, string_member(entry, "capability"),
			       bool_member(entry, "state"));
	}
	control_return(call, NULL);
}

static void query_capabilities(void *user, struct json_object *arguments, struct control_call *call)
{
	struct json_object *list = json_object_new_array();

	(void) arguments;
	for (size_t i = 0; capabilities[i]; i++) {
		struct json_object *entry = json_object_new_object();

		json_object_object_add(entry, "state",
				       json_object_new_boolean(capability_get(user, capabilities[i])));
		add_string(entry, "capability", capabilities[i]);
		json_object_array_add(list, entry);
	}
	control_return(call, list);
}

/* ---- run state ---- */

static void query_status(void *user, struct json_object *arguments, struct control_call *call)
{
	enum vm_state state = vm_get_state(((struct vm_control *) user)->vm);
	struct json_object *to = json_object_new_object();

	(void) arguments;
	add_string(to, "status", vm_state_name(state));
	json_object_object_add(to, "singlestep", json_object_new_boolean(false));
	json_object_object_add(to, "running", json_object_new_boolean(state == VM_RUNNING));
	control_return(call, to);
}

static void stop(void *user, struct json_object *arguments, struct control_call *call)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	int ret = vm_stop(((struct vm_control *) user)->vm, &err);

	(void) arguments;
	finish(call, ret, &err);
}

static void cont(void *user, struct json_object *arguments, struct control_call *call)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	int ret = vm_cont(((struct vm_control *) user)->vm, &err);

	(void) arguments;
	finish(call, ret, &err);
}

static void quit(void *user, struct json_object *arguments, struct control_call *call)
{
	(void) arguments;
	vm_quit(((struct vm_control *) user)->vm, VM_SHUTDOWN_QMP);
	control_return(call, NULL);
}

/* ---- migration ---- */

static void query_migrate(void *user, struct json_object *arguments, struct control_call *call)
{
	(void) arguments;
	control_return(call, vm_control_query_migrate(((struct vm_control *) user)->vm));
}

static const struct control_argument migrate_arguments[] = {
	{ "uri", CONTROL_STRING, false, 0, 0, NULL, NULL, NULL },
	{ "blk", CONTROL_BOOL, true, 0, 0, NULL, NULL, NULL },
	{ "inc", CONTROL_BOOL, true, 0, 0, NULL, NULL, NULL },
	{ "detach", CONTROL_BOOL, true, 0, 0, NULL, NULL, NULL },
	{ "resume", CONTROL_BOOL, true, 0, 0, NULL, NULL, NULL },
	{ "x-vferry-check", CONTROL_BOOL, true, 0, 0, NULL, NULL, NULL },
	{ "x-vferry-parameters", CONTROL_OBJECT, true, 0, 0, NULL, NULL, parameter_table },
	{ 0 }
};

static void migrate(void *user, struct json_object *arguments, struct control_call *call)
{
	struct vm *vm = ((struct vm_control *) user)->vm;
	struct json_object *own = member(arguments, "x-vferry-parameters");
	struct vm_parameters parameters = *vm_parameters(vm);
	struct vferry_error err = VFERRY_ERROR_INIT;
	const char *wrong;

	if (bool_member(arguments, "blk") || bool_member(arguments, "inc") ||
	    bool_member(arguments, "resume")) {
		control_fail(call, "Block migration and resume (of post-copy) are not there");
		return;
	}
	wrong = own ? apply_parameters(own, &parameters) : NULL;
	if (wrong) {
		control_fail(call, "%s", wrong);
		return;
	}
	if (own && member(own, "multifd-channels"))
		parameters.multifd = true;
	finish(call, vm_migrate(vm, string_member(arguments, "uri"), &parameters,
				bool_member(arguments, "x-vferry-check"), &err), &err);
}

static const struct control_argument incoming_arguments[] = {
	{ "uri", CONTROL_STRING, false, 0, 0, NULL, NULL, NULL },
	{ 0 }
};

static void migrate_incoming(void *user, struct json_object *arguments, struct control_call *call)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	finish(call, vm_migrate_incoming(((struct vm_control *) user)->vm,
					 string_member(arguments, "uri"), &err), &err);
}

static void migrate_cancel(void *user, struct json_object *arguments, struct control_call *call)
{
	(void) arguments;
	vm_cancel(((struct vm_control *) user)->vm);
	control_return(call, NULL);
}

static const char *const continue_states[] = {
	"none", "setup", "cancelling", "cancelled", "active", "completed", "failed",
	"pre-switchover", "device", NULL,
};

static const struct control_argument continue_arguments[] = {
	{ "state", CONTROL_WORD, false, 0, 0, NULL, continue_states, NULL },
	{ 0 }
};

static void migrate_continue(void *user, struct json_object *arguments, struct control_call *call)
{
	struct vm *vm = ((struct vm_control *) user)->vm;
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vm_migration m;
	const char *now = "none";

	if (!vm_get_migration(vm, &m))
		now = vferry_state_name(m.status.state);
	if (strcmp(now, string_member(arguments, "state")) || strcmp(now, "pre-switchover")) {
		control_fail(call, "Migration not in expected state: %s", now);
		return;
	}
	finish(call, vm_continue(vm, &err), &err);
}

static const char *const sides[] = { "source", "destination", NULL };

static const struct control_argument resolve_arguments[] = {
	{ "peer", CONTROL_STRING, true, 0, 0, NULL, NULL, NULL },
	{ "fenced", CONTROL_WORD, true, 0, 0, NULL, sides, NULL },
	{ 0 }
};

static void resolve(void *user, struct json_object *arguments, struct control_call *call)
{
	const char *peer = string_member(arguments, "peer");
	const char *fenced = string_member(arguments, "fenced");
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (!peer == !fenced) {
		control_fail(call, "Exactly one of 'peer' and 'fenced' must be given");
		return;
	}
	finish(call, vm_resolve(((struct vm_control *) user)->vm, peer,
				fenced && !strcmp(fenced, "destination"), &err), &err);
}

/* ---- x-vferry-: plan, guest, verdict, figures ---- */

static const char *const phases[] = { "save", "load", "undo", NULL };
static const char *const formats[] = { "text", "json", "dot", NULL };

static const struct control_argument plan_arguments[] = {
	{ "phase", CONTROL_WORD, false, 0, 0, NULL, phases, NULL },
	{ "format", CONTROL_WORD, true, 0, 0, NULL, formats, NULL },
	{ 0 }
};

static void plan(void *user, struct json_object *arguments, struct control_call *call)
{
	const char *format = string_member(arguments, "format");
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct json_object *to;
	char *text;
	int ret = vm_describe_plan(((struct vm_control *) user)->vm,
				   (enum vferry_phase) word_index(phases,
								  string_member(arguments, "phase")),
				   (enum vferry_plan_format) word_index(formats,
									format ? format : "text"),
				   &text, &err);

	if (ret) {
		finish(call, ret, &err);
		return;
	}
	to = json_object_new_object();
	add_string(to, "plan", text);
	free(text);
	control_return(call, to);
}

static const struct control_argument guest_arguments[] = {
	{ "command", CONTROL_STRING, false, 0, 0, NULL, NULL, NULL },
	{ 0 }
};

static void guest_command(void *user, struct json_object *arguments, struct control_call *call)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	char reply[GUEST_REPLY_BYTES] = "";
	struct json_object *to;
	int ret = machine_guest_command(vm_machine(((struct vm_control *) user)->vm),
					string_member(arguments, "command"), reply, sizeof(reply),
					&err);

	if (ret) {
		control_fail(call, "%s", err.code ? err.message
					 : reply[0] ? reply : vferry_errno_name(ret));
		return;
	}
	to = json_object_new_object();
	add_string(to, "reply", reply);
	control_return(call, to);
}

static const struct control_argument verdict_arguments[] = {
	{ "judge", CONTROL_BOOL, true, 0, 0, NULL, NULL, NULL },
	{ "timeout", CONTROL_INT, true, 1, 3600, "seconds", NULL, NULL },
	{ "allowed-spurious", CONTROL_INT, true, 0, INT64_MAX - 1, NULL, NULL, NULL },
	{ 0 }
};

static void judged(void *user, int ret, const struct machine_verdict *v,
		   const struct vferry_error *err)
{
	struct vm_control *c = user;
	struct control_call *call = c->judging;

	c->judging = NULL;
	if (ret)
		finish(call, ret, err);
	else
		control_return(call, vm_control_verdict(v, c->allowed_spurious));
}

static void verdict(void *user, struct json_object *arguments, struct control_call *call)
{
	struct vm_control *c = user;
	uint64_t spurious = (uint64_t) int_member(arguments, "allowed-spurious", 0);
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct machine_verdict v;
	int ret;

	if (bool_member(arguments, "judge")) {
		ret = vm_judge(c->vm, (uint64_t) int_member(arguments, "timeout", 60) * SECOND_NS,
			       judged, c, &err);
		if (!ret) {
			c->judging = call;
			c->allowed_spurious = spurious;
			return;
		}
	} else {
		ret = machine_get_verdict(vm_machine(c->vm), &v);
	}
	if (ret)
		finish(call, ret, &err);
	else
		control_return(call, vm_control_verdict(&v, spurious));
}

static void figures(void *user, struct json_object *arguments, struct control_call *call)
{
	struct json_object *to;
	char *text;
	int ret = machine_figures(vm_machine(((struct vm_control *) user)->vm), &text);

	(void) arguments;
	if (ret) {
		control_fail(call, "%s", vferry_errno_name(ret));
		return;
	}
	to = json_tokener_parse(text);
	free(text);
	control_return(call, to);
}

static void query_commands(void *user, struct json_object *arguments, struct control_call *call)
{
	struct json_object *names = control_command_names(vm_control_commands());
	struct json_object *first = json_object_new_object();

	(void) user;
	(void) arguments;
	add_string(first, "name", "qmp_capabilities");	/* the one that control.c answers itself */
	json_object_array_add(names, first);
	control_return(call, names);
}

const struct control_command *vm_control_commands(void)
{
	static const struct control_command commands[] = {
		{ "query-status", NULL, query_status },
		{ "query-migrate", NULL, query_migrate },
		{ "migrate", migrate_arguments, migrate },
		{ "migrate-incoming", incoming_arguments, migrate_incoming },
		{ "migrate_cancel", NULL, migrate_cancel },
		{ "migrate-continue", continue_arguments, migrate_continue },
		{ "migrate-set-parameters", parameter_table, set_parameters },
		{ "query-migrate-parameters", NULL, query_parameters },
		{ "migrate-set-capabilities", set_capabilities_arguments, set_capabilities },
		{ "query-migrate-capabilities", NULL, query_capabilities },
		{ "stop", NULL, stop },
		{ "cont", NULL, cont },
		{ "quit", NULL, quit },
		{ "query-commands", NULL, query_commands },
		{ "x-vferry-resolve", resolve_arguments, resolve },
		{ "x-vferry-plan", plan_arguments, plan },
		{ "x-vferry-guest-command", guest_arguments, guest_command },
		{ "x-vferry-verdict", verdict_arguments, verdict },
		{ "x-vferry-query-machine", NULL, figures },
		{ 0 }
	};

	return commands;
}

/* ---- events ---- */

void vm_control_stopped(struct vm_control *c)
{
	control_event(c->control, "STOP", NULL);
}

void vm_control_resumed(struct vm_control *c)
{
	control_event(c->control, "RESUME", NULL);
}

void vm_control_migration(struct vm_control *c, enum vferry_state state)
{
	struct json_object *data;

	if (!c->events)
		return;
	data = json_object_new_object();
	add_string(data, "status", vferry_state_name(state));
	control_event(c->control, "MIGRATION", data);
}

void vm_control_pass(struct vm_control *c, uint32_t pass)
{
	struct json_object *data;

	if (!c->events)
		return;
	data = json_object_new_object();
	add_int(data, "pass", pass);
	control_event(c->control, "MIGRATION_PASS", data);
}

void vm_control_shutdown(struct vm_control *c, enum vm_shutdown reason)
{
	struct json_object *data = json_object_new_object();

	json_object_object_add(data, "guest", json_object_new_boolean(reason == VM_SHUTDOWN_GUEST));
	add_string(data, "reason", vm_shutdown_name(reason));
	control_event(c->control, "SHUTDOWN", data);
}
