/* SPDX-License-Identifier: MIT */
/*
 * qmp.h - the client's side of a machine's control socket.
 *
 * Model: one call at a time; events that come in between are handed to a callback. Threads: one.
 */
#ifndef TOOLS_QMP_H
#define TOOLS_QMP_H

#include <stdbool.h>
#include <stdint.h>

#include <json-c/json.h>

#include <vferry/error.h>

struct qmp;

/** qmp_open() - connect and negotiate. Return: 0; -errno; -EACCES turned away; -EPROTO somebody else is there. */
int qmp_open(const char *path, struct qmp **ret_qmp, struct vferry_error *err);
struct qmp *qmp_close(struct qmp *qmp);	/* NULL is fine; returns NULL */
int qmp_fd(const struct qmp *qmp);
/* @event: borrowed for the call; on_event must not call. */
void qmp_set_events(struct qmp *qmp, void (*on_event)(void *user, const char *name,
						     struct json_object *data), void *user);

/**
 * qmp_call() - one command and its answer
 * @take_arguments: or NULL
 * @ret_value: the caller's, json_object_put(); may be NULL
 * Return: 0; -EREMOTEIO refused, @err has the words; -ECONNRESET gone; -EPROTO; -ETIMEDOUT (120 s).
 */
int qmp_call(struct qmp *qmp, const char *command, struct json_object *take_arguments,
	     struct json_object **ret_value, struct vferry_error *err);
/* Events that are there. Return: 0; -ECONNRESET, -EPROTO. */
int qmp_dispatch(struct qmp *qmp, struct vferry_error *err);

/* Members, with a value for "not there". */
uint64_t qmp_uint(struct json_object *object, const char *name, uint64_t otherwise);
const char *qmp_string(struct json_object *object, const char *name, const char *otherwise);
bool qmp_bool(struct json_object *object, const char *name);
struct json_object *qmp_member(struct json_object *object, const char *name);

#endif
