/* SPDX-License-Identifier: MIT */
/* control.c - see control.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "control.h"
#include "control_check.h"
#include "listen.h"

struct control_client {
	struct control *control;
	int fd;			/* -1: this place is free */
	bool negotiated;
	bool leaving;		/* dropped when the output is sent, or at once if that can't be */
	struct json_tokener *tokener;
	size_t request_bytes;	/* of the request that is being read */
	bool skipping;		/* to the end of a line that was no JSON */
	struct control_call *open;	/* the call under way; nothing is read meanwhile */
	char *input;		/* read, not yet parsed */
	size_t input_bytes, input_at;
	char *output;
	size_t output_bytes, output_at, output_room;
};

struct control {
	const struct control_command *commands;
	void *user;
	int epoll_fd;
	struct vm_listener *listener;
	const struct vferry_trust *trust;
	struct control_client clients[CONTROL_CLIENTS_MAX];
};

struct control_call {
	struct control_client *client;	/* NULL: it has gone */
	struct json_object *id;		/* or NULL */
	bool running;			/* its command's run() has not returned */
	bool ended;
};

/* ---- output ---- */

static void watch(struct control_client *c)
{
	struct epoll_event event = { .data.ptr = c };

	if (!c->open && !c->leaving)
		event.events |= EPOLLIN;
	if (c->output_at < c->output_bytes)
		event.events |= EPOLLOUT;
	(void) epoll_ctl(c->control->epoll_fd, EPOLL_CTL_MOD, c->fd, &event);
}

static void drop(struct control_client *c)
{
	if (c->fd < 0)
		return;
	if (c->open)
		c->open->client = NULL;
	(void) epoll_ctl(c->control->epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
	(void) close(c->fd);
	json_tokener_free(c->tokener);
	free(c->input);
	free(c->output);
	*c = (struct control_client) { .control = c->control, .fd = -1 };
}

/* Sends what goes now. */
static void push(struct control_client *c)
{
	while (c->output_at < c->output_bytes) {
		ssize_t n = send(c->fd, c->output + c->output_at, c->output_bytes - c->output_at,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			c->output_at = c->output_bytes = 0;
			c->leaving = true;
			return;
		}
		c->output_at += (size_t) n;
	}
	c->output_at = c->output_bytes = 0;
}

static void queue(struct control_client *c, const char *text, size_t bytes)
{
	if (c->leaving)
		return;
	if (c->output_at) {
		memmove(c->output, c->output + c->output_at, c->output_bytes - c->output_at);
		c->output_bytes -= c->output_at;
		c->output_at = 0;
	}
	if (c->output_bytes + bytes + 2 > c->output_room) {
		size_t room = (c->output_bytes + bytes + 2) * 2;
		char *output = room <= 2 * (size_t) CONTROL_OUTPUT_MAX ? realloc(c->output, room) : NULL;

		if (!output) {	/* it does not read: what is queued is lost with it */
			c->output_bytes = 0;
			c->leaving = true;
			return;
		}
		c->output = output;
		c->output_room = room;
	}
	memcpy(c->output + c->output_bytes, text, bytes);
	memcpy(c->output + c->output_bytes + bytes, "\r\n", 2);
	c->output_bytes += bytes + 2;
	if (c->output_bytes > CONTROL_OUTPUT_MAX) {
		c->output_bytes = 0;
		c->leaving = true;
	}
}

static void queue_json(struct control_client *c, struct json_object *take_message)
{
	size_t bytes = 0;
	const char *text = take_message ? json_object_to_json_string_length(
		take_message, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &bytes) : NULL;

	if (text)
		queue(c, text, bytes);
	else
		c->leaving = true;
	(void) json_object_put(take_message);
}

static struct json_object *error_json(const char *class_name, const char *text)
{
	struct json_object *error = json_object_new_object();

	json_object_object_add(error, "class", json_object_new_string(class_name));
	json_object_object_add(error, "desc", json_object_new_string(text));
	return error;
}

/* Ends a call, of which the client may be gone. */
static void answer(struct control_call *call, const char *member, struct json_object *take_value)
{
	struct control_client *c = call->client;
	struct json_object *message = json_object_new_object();

	json_object_object_add(message, member, take_value);
	if (call->id)
		json_object_object_add(message, "id", json_object_get(call->id));
	if (c) {
		queue_json(c, message);
		c->open = NULL;
	} else {
		(void) json_object_put(message);
	}
	(void) json_object_put(call->id);
	call->id = NULL;
	call->ended = true;
	if (call->running)
		return;
	free(call);
	if (c) {
		push(c);
		watch(c);
	}
}

void control_return(struct control_call *call, struct json_object *take_value)
{
	answer(call, "return", take_value ? take_value : json_object_new_object());
}

void control_fail(struct control_call *call, const char *fmt, ...)
{
	char text[1024];
	va_list args;

	va_start(args, fmt);
	(void) vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	answer(call, "error", error_json("GenericError", text));
}

static void fail_class(struct control_client *c, struct json_object *id, const char *class_name,
		       const char *text)
{
	struct json_object *message = json_object_new_object();

	json_object_object_add(message, "error", error_json(class_name, text));
	if (id)
		json_object_object_add(message, "id", json_object_get(id));
	queue_json(c, message);
}

void control_event(struct control *control, const char *name, struct json_object *take_data)
{
	struct json_object *message = json_object_new_object();
	struct json_object *stamp = json_object_new_object();
	struct timespec now;

	(void) clock_gettime(CLOCK_REALTIME, &now);
	json_object_object_add(stamp, "seconds", json_object_new_int64(now.tv_sec));
	json_object_object_add(stamp, "microseconds", json_object_new_int64(now.tv_nsec / 1000));
	json_object_object_add(message, "timestamp", stamp);
	json_object_object_add(message, "event", json_object_new_string(name));
	if (take_data)
		json_object_object_add(message, "data", take_data);
	for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		struct control_client *c = &control->clients[i];

		if (c->fd < 0 || !c->negotiated)
			continue;
		queue_json(c, json_object_get(message));
		push(c);
		watch(c);	/* one that is leaving is dropped by the next dispatch */
	}
	(void) json_object_put(message);
}

/* ---- requests ---- */

static const struct control_command *find_command(const struct control_command *commands,
						  const char *name)
{
	for (; commands->name; commands++)
		if (!strcmp(commands->name, name))
			return commands;
	return NULL;
}

struct json_object *control_command_names(const struct control_command *commands)
{
	struct json_object *names = json_object_new_array();

	for (; commands->name; commands++) {
		struct json_object *entry = json_object_new_object();

		json_object_object_add(entry, "name", json_object_new_string(commands->name));
		json_object_array_add(names, entry);
	}
	return names;
}

/* What every request must look like. Return: NULL, or what is wrong. */
static const char *check_request(struct json_object *request, char *text, size_t size)
{
	struct json_object *value;

	if (!json_object_is_type(request, json_type_object))
		return "QMP input must be a JSON object";
	json_object_object_foreach(request, key, member) {
		(void) member;
		if (strcmp(key, "execute") && strcmp(key, "arguments") && strcmp(key, "id")) {
			(void) snprintf(text, size, "QMP input member '%.64s' is unexpected", key);
			return text;
		}
	}
	if (!json_object_object_get_ex(request, "execute", &value))
		return "QMP input lacks member 'execute'";
	if (!json_object_is_type(value, json_type_string))
		return "QMP input member 'execute' must be a string";
	if (json_object_object_get_ex(request, "arguments", &value) &&
	    !json_object_is_type(value, json_type_object))
		return "QMP input member 'arguments' must be an object";
	return NULL;
}

static const struct control_argument negotiation_arguments[] = {
	{ "enable", CONTROL_LIST, true, 0, 0, NULL, NULL, NULL },
	{ 0 }
};

/* qmp_capabilities: there is none to be enabled, so the list must be empty. */
static void negotiate(struct control_client *c, struct json_object *id, struct json_object *arguments)
{
	struct json_object *list, *message;
	char text[256];

	if (c->negotiated) {
		fail_class(c, id, "CommandNotFound",
			   "Capabilities negotiation is already complete, command ignored");
		return;
	}
	if (arguments && json_object_object_get_ex(arguments, "enable", &list) &&
	    json_object_is_type(list, json_type_array) && json_object_array_length(list)) {
		fail_class(c, id, "GenericError", "Parameter 'enable' names a capability that "
			   "is not there: this server has none");
		return;
	}
	if (control_check(negotiation_arguments, arguments, text, sizeof(text))) {
		fail_class(c, id, "GenericError", text);
		return;
	}
	c->negotiated = true;
	message = json_object_new_object();
	json_object_object_add(message, "return", json_object_new_object());
	if (id)
		json_object_object_add(message, "id", json_object_get(id));
	queue_json(c, message);
}

static void run_command(struct control_client *c, const struct control_command *command,
			struct json_object *id, struct json_object *arguments)
{
	struct json_object *empty = arguments ? NULL : json_object_new_object();
	struct control_call *call = calloc(1, sizeof(*call));

	if (!call) {
		c->leaving = true;
		(void) json_object_put(empty);
		return;
	}
	*call = (struct control_call) { .client = c, .id = json_object_get(id), .running = true };
	c->open = call;
	command->run(c->control->user, arguments ? arguments : empty, call);
	call->running = false;
	if (call->ended)
		free(call);
	(void) json_object_put(empty);
}

static void on_request(struct control_client *c, struct json_object *request)
{
	struct json_object *id = NULL, *arguments = NULL, *name = NULL;
	const struct control_command *command;
	char text[256];
	const char *wrong = check_request(request, text, sizeof(text));

	if (json_object_is_type(request, json_type_object))
		(void) json_object_object_get_ex(request, "id", &id);
	if (wrong) {
		fail_class(c, id, "GenericError", wrong);
		return;
	}
	(void) json_object_object_get_ex(request, "execute", &name);
	(void) json_object_object_get_ex(request, "arguments", &arguments);
	if (!strcmp(json_object_get_string(name), "qmp_capabilities")) {
		negotiate(c, id, arguments);
		return;
	}
	if (!c->negotiated) {
		fail_class(c, id, "CommandNotFound",
			   "Expecting capabilities negotiation with 'qmp_capabilities'");
		return;
	}
	command = find_command(c->control->commands, json_object_get_string(name));
	if (!command) {
		(void) snprintf(text, sizeof(text), "The command %.64s has not been found",
				json_object_get_string(name));
		fail_class(c, id, "CommandNotFound", text);
		return;
	}
	if (control_check(command->arguments, arguments, text, sizeof(text))) {
		fail_class(c, id, "GenericError", text);
		return;
	}
	run_command(c, command, id, arguments);
}

/* ---- input ---- */

static bool is_blank(char b)
{
	return b == ' ' || b == '\t' || b == '\r' || b == '\n';
}

static void begin_request(struct control_client *c)
{
	json_tokener_reset(c->tokener);
	c->request_bytes = 0;
}

/* One step of the parser. Return: false: nothing more can be done with what is there. */
static bool parse_some(struct control_client *c)
{
	const char *at = c->input + c->input_at;
	size_t left = c->input_bytes - c->input_at;
	struct json_object *request;
	enum json_tokener_error state;
	size_t used;

	if (c->skipping) {
		const char *end = memchr(at, '\n', left);

		c->skipping = !end;
		c->input_at += end ? (size_t) (end - at) + 1 : left;
		return true;
	}
	if (!c->request_bytes && is_blank(*at)) {
		c->input_at++;
		return true;
	}
	request = json_tokener_parse_ex(c->tokener, at, (int) left);
	state = json_tokener_get_error(c->tokener);
	used = json_tokener_get_parse_end(c->tokener);
	if (state == json_tokener_continue) {
		c->request_bytes += left;
		c->input_at += left;
	} else if (state == json_tokener_success) {
		c->input_at += used;
		c->request_bytes += used;
		if (c->request_bytes <= CONTROL_REQUEST_MAX)
			on_request(c, request);
		(void) json_object_put(request);
	} else {
		char text[128];

		(void) snprintf(text, sizeof(text), "JSON parse error, %s",
				json_tokener_error_desc(state));
		fail_class(c, NULL, "GenericError", text);
		c->skipping = true;
	}
	if (c->request_bytes > CONTROL_REQUEST_MAX) {
		fail_class(c, NULL, "GenericError", "The request is too long");
		c->leaving = true;
		return false;
	}
	if (state != json_tokener_continue)
		begin_request(c);
	return true;
}

static void parse(struct control_client *c)
{
	while (c->input_at < c->input_bytes && !c->open && !c->leaving)
		if (!parse_some(c))
			break;
	if (c->input_at == c->input_bytes)
		c->input_at = c->input_bytes = 0;
}

static void receive(struct control_client *c)
{
	ssize_t n;

	if (c->input_bytes)	/* kept while a call was open */
		return;
	n = recv(c->fd, c->input, CONTROL_REQUEST_MAX, MSG_DONTWAIT);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) {
		c->leaving = true;
		c->output_at = c->output_bytes = 0;
		return;
	}
	c->input_bytes = (size_t) n;
}

/* ---- clients ---- */

static void greet(struct control_client *c)
{
	/* The version of QEMU whose schema this follows, which clients look at. */
	static const char text[] =
		"{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 0, \"minor\": 2, \"major\": 7}, "
		"\"package\": \"vferry\"}, \"capabilities\": []}}";

	queue(c, text, sizeof(text) - 1);
}

int control_add_client(struct control *control, int take_fd)
{
	struct control_client *c = NULL;
	struct epoll_event event = { .events = EPOLLIN };

	for (size_t i = 0; i < CONTROL_CLIENTS_MAX && !c; i++)
		if (control->clients[i].fd < 0)
			c = &control->clients[i];
	if (!c) {
		(void) close(take_fd);
		return -ENOSPC;
	}
	c->tokener = json_tokener_new_ex(CONTROL_DEPTH_MAX);
	c->input = malloc(CONTROL_REQUEST_MAX);
	event.data.ptr = c;
	if (!c->tokener || !c->input ||
	    epoll_ctl(control->epoll_fd, EPOLL_CTL_ADD, take_fd, &event)) {
		if (c->tokener)
			json_tokener_free(c->tokener);
		free(c->input);
		c->tokener = NULL;
		c->input = NULL;
		(void) close(take_fd);
		return -ENOMEM;
	}
	json_tokener_set_flags(c->tokener, JSON_TOKENER_STRICT | JSON_TOKENER_ALLOW_TRAILING_CHARS |
					   JSON_TOKENER_VALIDATE_UTF8);
	c->fd = take_fd;
	greet(c);
	push(c);
	watch(c);
	return 0;
}

/* One line, which a new socket always has room for. */
static void refuse(int take_fd, const char *why)
{
	struct json_object *message = json_object_new_object();
	const char *text;
	size_t bytes;

	json_object_object_add(message, "error", error_json("GenericError", why));
	text = json_object_to_json_string_length(message, JSON_C_TO_STRING_PLAIN |
						 JSON_C_TO_STRING_NOSLASHESCAPE, &bytes);
	(void) send(take_fd, text, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
	(void) send(take_fd, "\r\n", 2, MSG_NOSIGNAL | MSG_DONTWAIT);
	(void) json_object_put(message);
	(void) close(take_fd);
}

static void accept_client(struct control *control)
{
	int fd = accept4(vm_listener_fd(control->listener), NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (fd < 0)
		return;
	if (vferry_trust_check(control->trust, fd, &err))
		refuse(fd, err.message);
	else if (control_client_count(control) == CONTROL_CLIENTS_MAX)
		refuse(fd, "There are too many clients");
	else
		(void) control_add_client(control, fd);
}

static void serve(struct control_client *c, uint32_t events)
{
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR) && !c->open && !c->leaving)
		receive(c);
	else if (events & (EPOLLHUP | EPOLLERR))
		c->leaving = true;
	parse(c);
	push(c);
	if (c->leaving && (c->output_at == c->output_bytes || events & (EPOLLHUP | EPOLLERR)))
		drop(c);
	else
		watch(c);
}

void control_dispatch(struct control *control)
{
	struct epoll_event events[CONTROL_CLIENTS_MAX + 1];
	int n = epoll_wait(control->epoll_fd, events, CONTROL_CLIENTS_MAX + 1, 0);

	for (int i = 0; i < n; i++) {
		if (!events[i].data.ptr)
			accept_client(control);
		else if (((struct control_client *) events[i].data.ptr)->fd >= 0)
			serve(events[i].data.ptr, events[i].events);
	}
	/* Those whose call was answered later may have sent more; those that do not read go. */
	for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		struct control_client *c = &control->clients[i];

		if (c->fd < 0)
			continue;
		if (c->input_bytes && !c->open)
			serve(c, 0);
		else if (c->leaving && c->output_at == c->output_bytes)
			drop(c);
	}
}

void control_flush(struct control *control, int timeout_ms)
{
	for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		struct control_client *c = &control->clients[i];

		if (c->fd < 0)
			continue;
		push(c);
		while (c->output_at < c->output_bytes) {
			struct pollfd p = { .fd = c->fd, .events = POLLOUT };

			if (poll(&p, 1, timeout_ms) <= 0)
				break;
			push(c);
		}
	}
}

size_t control_client_count(const struct control *control)
{
	size_t count = 0;

	for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
		count += control->clients[i].fd >= 0;
	return count;
}

/* ---- life ---- */

int control_new(const struct control_command *commands, void *user, struct control **ret_control,
		struct vferry_error *err)
{
	struct control *control = calloc(1, sizeof(*control));

	if (!control)
		return vferry_error_set(err, -ENOMEM, "no-memory", NULL, "no memory");
	*control = (struct control) { .commands = commands, .user = user };
	for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
		control->clients[i] = (struct control_client) { .control = control, .fd = -1 };
	control->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (control->epoll_fd < 0) {
		int code = -errno;

		free(control);
		return vferry_error_set(err, code, "no-descriptor", NULL, "no descriptor: %s",
					vferry_errno_name(code));
	}
	*ret_control = control;
	return 0;
}

void control_set_trust(struct control *control, const struct vferry_trust *trust)
{
	control->trust = trust;
}

int control_listen(struct control *control, const char *path, struct vferry_error *err)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };
	char uri[VM_LISTEN_URI_BYTES];
	int ret;

	if (control->listener)
		return vferry_error_set(err, -EBUSY, "control", path, "there is a socket already");
	if ((size_t) snprintf(uri, sizeof(uri), "unix:%s", path) >= sizeof(uri))
		return vferry_error_set(err, -ENAMETOOLONG, "control", NULL,
					"the path of the control socket is too long");
	ret = vm_listener_new(uri, control->trust, true, &control->listener, err);
	if (ret)
		return ret;
	if (epoll_ctl(control->epoll_fd, EPOLL_CTL_ADD, vm_listener_fd(control->listener), &event))
		return vferry_error_set(err, -errno, "control", path, "cannot watch it: %s",
					vferry_errno_name(errno));
	return 0;
}

struct control *control_free(struct control *control)
{
	if (!control)
		return NULL;
	for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
		drop(&control->clients[i]);
	(void) vm_listener_free(control->listener);
	(void) close(control->epoll_fd);
	free(control);
	return NULL;
}

int control_get_fd(const struct control *control)
{
	return control->epoll_fd;
}
