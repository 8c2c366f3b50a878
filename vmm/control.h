/* SPDX-License-Identifier: MIT */
/*
 * control.h - a QMP server: JSON requests over a unix socket, answers and events back.
 *
 * Model: framing, capability negotiation, the check of arguments against a table, and queues; what a
 * command does is the table's. A call is answered at once or later; a client's next request is read
 * when the one before is answered, as in QMP. Errors are worded and classed as QEMU words them.
 *
 * Bounds: clients, bytes and nesting of a request, bytes queued to a client. One that sends too much,
 * or does not read its answers, is dropped.
 *
 * Threads: everything on the owner's. control_get_fd() is readable when control_dispatch() has work.
 */
#ifndef VMM_CONTROL_H
#define VMM_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <json-c/json.h>

#include <vferry/error.h>
#include <vferry/trust.h>

#define CONTROL_CLIENTS_MAX	16u
#define CONTROL_REQUEST_MAX	(64u << 10)
#define CONTROL_DEPTH_MAX	16
#define CONTROL_OUTPUT_MAX	(4u << 20)

struct control;
struct control_call;

enum control_kind {
	CONTROL_STRING = 0,
	CONTROL_INT = 1,	/* in [min, max] */
	CONTROL_BOOL = 2,
	CONTROL_WORD = 3,	/* one of `words` */
	CONTROL_OBJECT = 4,	/* of `members` */
	CONTROL_LIST = 5,	/* of objects of `members` */
};

/* Tables of arguments end with one without a name. */
struct control_argument {
	const char *name;
	enum control_kind kind;
	bool optional;
	int64_t min, max;
	const char *unit;			/* of an integer, for messages; may be NULL */
	const char *const *words;		/* NULL ends */
	const struct control_argument *members;
};

/* Tables of commands end with one without a name. */
struct control_command {
	const char *name;
	const struct control_argument *arguments;	/* NULL: none */
	/*
	 * Ends with control_return() or control_fail(), now or later. @arguments was checked against
	 * the table, is never NULL, and is borrowed for the call.
	 */
	void (*run)(void *user, struct json_object *arguments, struct control_call *call);
};

/** control_new() - @commands borrowed while it lives. Return: 0; -ENOMEM; -errno of descriptors. */
int control_new(const struct control_command *commands, void *user, struct control **ret_control,
		struct vferry_error *err);
/** control_listen() - at @path, vferry_trust_mode(); others are told no and turned away; a dead socket in the way is replaced. -EADDRINUSE. */
int control_listen(struct control *control, const char *path, struct vferry_error *err);
/* Who may connect; borrowed while it lives. Before control_listen(). */
void control_set_trust(struct control *control, const struct vferry_trust *trust);
/** control_add_client() - a connected socket. -ENOSPC: too many; @take_fd is closed then. */
int control_add_client(struct control *control, int take_fd);
/* Removes the socket; calls that are still open may be ended afterwards. Returns NULL. */
struct control *control_free(struct control *control);

int control_get_fd(const struct control *control);
void control_dispatch(struct control *control);
/* Sends what is queued, for at most @timeout_ms. */
void control_flush(struct control *control, int timeout_ms);
size_t control_client_count(const struct control *control);

/* To every client that negotiated. @take_data may be NULL. */
void control_event(struct control *control, const char *name, struct json_object *take_data);

/* @take_value NULL: an empty object. */
void control_return(struct control_call *call, struct json_object *take_value);
/* Class GenericError. */
void control_fail(struct control_call *call, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* The names of all commands, as query-commands gives them. */
struct json_object *control_command_names(const struct control_command *commands);

#endif
