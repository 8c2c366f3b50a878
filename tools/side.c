/* SPDX-License-Identifier: MIT */
/* side.c - see side.h. */
#include "side.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "migration.h"

#define JUDGE_SECONDS 60
#define ARGUMENTS 40

static int start_device(struct side *side, struct processes *processes,
			const struct side_options *options, unsigned number, struct vferry_error *err)
{
	char name[48], socket[256];
	const char *const argv[] = {
		"device", "--model", "accel", "--socket", socket,
		"--state-size", number ? options->state_size : "1M",
		"--dirty-rate", number ? options->dirty_rate : "0", NULL,
	};

	(void) snprintf(name, sizeof(name), "%s-device-%u", side->name, number);
	(void) snprintf(socket, sizeof(socket), "%s/%s.sock", processes_dir(processes), name);
	(void) snprintf(side->device[number], sizeof(side->device[number]), "vfio-user:%s", socket);
	return processes_start(processes, name, argv, NULL, 0, err);
}

static int start_machine(struct side *side, struct processes *processes,
			 const struct side_options *options, bool incoming, struct vferry_error *err)
{
	const char *argv[ARGUMENTS] = {
		"run", "--accel", options->accel, "--cpus", options->cpus, "--memory", options->memory,
		"--guest-args", options->guest_args, "--control", side->control,
	};
	char listen[300], line[400];
	size_t count = 11;
	int ret;

	(void) snprintf(side->control, sizeof(side->control), "%s/%s.qmp", processes_dir(processes),
			side->name);
	for (unsigned i = 0; i < options->devices; i++) {
		argv[count++] = "--device";
		argv[count++] = side->device[i];
	}
	for (size_t i = 0; options->more && options->more[i] && count < ARGUMENTS - 3; i++)
		argv[count++] = options->more[i];
	if (options->over_unix)
		(void) snprintf(listen, sizeof(listen), "unix:%s/%s.sock", processes_dir(processes),
				side->name);
	else
		(void) snprintf(listen, sizeof(listen), "tcp:127.0.0.1:0");
	if (incoming) {
		argv[count++] = "--incoming";
		argv[count++] = listen;
	}
	ret = processes_start(processes, side->name, argv, line, sizeof(line), err);
	if (!ret && strstr(line, "incoming="))
		(void) snprintf(side->uri, sizeof(side->uri), "%.255s",
				strstr(line, "incoming=") + strlen("incoming="));
	return ret ? ret : qmp_open(side->control, &side->qmp, err);
}

int side_start(struct side *side, struct processes *processes, const struct side_options *options,
	       const char *name, bool incoming, struct vferry_error *err)
{
	int ret = 0;

	*side = (struct side) { 0 };
	(void) snprintf(side->name, sizeof(side->name), "%s", name);
	if (options->devices > SIDE_DEVICES_MAX)
		return vferry_error_set(err, -E2BIG, "too-many-devices", name, "at most %d devices",
					SIDE_DEVICES_MAX);
	for (unsigned i = 0; i < options->devices && !ret; i++)
		ret = start_device(side, processes, options, i, err);
	return ret ? ret : start_machine(side, processes, options, incoming, err);
}

void side_end(struct side *side, struct processes *processes)
{
	side->qmp = qmp_close(side->qmp);
	if (side->name[0])
		processes_end(processes, side->name);
	side->name[0] = '\0';
}

int side_migrate(const struct tool_usage *usage, struct side *from, const struct side *to,
		 bool progress, struct json_object **ret_state)
{
	const struct migration_request request = { .control = from->control, .uri = to->uri };
	struct vferry_error err = VFERRY_ERROR_INIT;
	int code;

	if (migration_start(from->qmp, &request, &err))
		return tool_fail(usage, TOOL_FAILED, "%s", err.message);
	code = migration_follow(usage, from->qmp, progress, ret_state);
	if (code)
		return tool_fail(usage, code, "the migration did not end well: %s",
				 qmp_string(*ret_state, "error-desc", "no reason was given"));
	return TOOL_DONE;
}

int side_vectors(struct side *side, uint64_t *ret_count, struct vferry_error *err)
{
	struct json_object *state, *devices;
	int ret = qmp_call(side->qmp, "query-migrate", NULL, &state, err);

	if (ret)
		return ret;
	*ret_count = 0;
	devices = qmp_member(state, "x-vferry-devices");
	for (size_t i = 0; devices && i < json_object_array_length(devices); i++)
		*ret_count += qmp_uint(json_object_array_get_idx(devices, i), "vectors-connected", 0);
	(void) json_object_put(state);
	return 0;
}

int side_judge(struct side *side, uint64_t allowed_spurious, struct json_object **ret_verdict,
	       struct vferry_error *err)
{
	struct json_object *arguments = json_object_new_object();

	json_object_object_add(arguments, "judge", json_object_new_boolean(true));
	json_object_object_add(arguments, "timeout", json_object_new_int(JUDGE_SECONDS));
	json_object_object_add(arguments, "allowed-spurious",
			       json_object_new_uint64(allowed_spurious));
	return qmp_call(side->qmp, "x-vferry-verdict", arguments, ret_verdict, err);
}

int side_expect(struct side *side, const char *wanted, struct vferry_error *err)
{
	struct json_object *answer;
	int ret = qmp_call(side->qmp, "query-status", NULL, &answer, err);
	const char *status;

	if (ret)
		return ret;
	status = qmp_string(answer, "status", "");
	if (strcmp(status, wanted))
		ret = vferry_error_set(err, -EPROTO, "wrong-state", side->name, "the %s is %s, not %s",
				       side->name, status, wanted);
	(void) json_object_put(answer);
	return ret;
}
