/* SPDX-License-Identifier: MIT */
/* qmp.c - see qmp.h. */
#define _GNU_SOURCE
#include "qmp.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES (16u << 20)
#define CALL_TIMEOUT_MS 120000

struct qmp {
	int fd;
	char *buffer;
	size_t used, room;
	void (*on_event)(void *user, const char *name, struct json_object *data);
	void *user;
};

struct json_object *qmp_member(struct json_object *object, const char *name)
{
	struct json_object *value = NULL;

	(void) json_object_object_get_ex(object, name, &value);
	return value;
}

uint64_t qmp_uint(struct json_object *object, const char *name, uint64_t otherwise)
{
	struct json_object *value = qmp_member(object, name);

	return value ? json_object_get_uint64(value) : otherwise;
}

const char *qmp_string(struct json_object *object, const char *name, const char *otherwise)
{
	struct json_object *value = qmp_member(object, name);

	return value ? json_object_get_string(value) : otherwise;
}

bool qmp_bool(struct json_object *object, const char *name)
{
	struct json_object *value = qmp_member(object, name);

	return value && json_object_get_boolean(value);
}

static int gone(struct vferry_error *err)
{
	return vferry_error_set(err, -ECONNRESET, "control-lost", NULL,
				"the machine closed its control socket");
}

/* A whole line, if there is one: a message that the caller puts. */
static struct json_object *take_line(struct qmp *qmp)
{
	char *end = memchr(qmp->buffer, '\n', qmp->used);
	struct json_object *message;

	if (!end)
		return NULL;
	*end = '\0';
	message = json_tokener_parse(qmp->buffer);
	qmp->used -= (size_t) (end + 1 - qmp->buffer);
	memmove(qmp->buffer, end + 1, qmp->used);
	return message ? message : json_object_new_object();
}

static int fill(struct qmp *qmp, int timeout_ms, struct vferry_error *err)
{
	struct pollfd p = { .fd = qmp->fd, .events = POLLIN };
	ssize_t n;
	int ret;

	if (qmp->used == qmp->room) {
		size_t room = qmp->room * 2;
		char *buffer = room <= LINE_MAX_BYTES ? realloc(qmp->buffer, room) : NULL;

		if (!buffer)
			return vferry_error_set(err, -EPROTO, "control-protocol", NULL,
						"the machine's answer is too long");
		qmp->buffer = buffer;
		qmp->room = room;
	}
	ret = poll(&p, 1, timeout_ms);
	if (ret < 0)
		return errno == EINTR ? 0 : -errno;
	if (ret == 0)
		return -ETIMEDOUT;
	n = recv(qmp->fd, qmp->buffer + qmp->used, qmp->room - qmp->used, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0)
		return gone(err);
	qmp->used += (size_t) n;
	return 0;
}

static bool is_event(struct qmp *qmp, struct json_object *message)
{
	const char *name = qmp_string(message, "event", NULL);

	if (name && qmp->on_event)
		qmp->on_event(qmp->user, name, qmp_member(message, "data"));
	return name != NULL;
}

static int64_t now_ms(void)
{
	struct timespec now;

	(void) clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The next message that is no event. */
static int next_message(struct qmp *qmp, struct json_object **ret_message, struct vferry_error *err)
{
	int64_t until = now_ms() + CALL_TIMEOUT_MS;

	for (;;) {
		struct json_object *message;
		int ret;

		while ((message = take_line(qmp)) != NULL) {
			if (!is_event(qmp, message)) {
				*ret_message = message;
				return 0;
			}
			(void) json_object_put(message);
		}
		if (now_ms() >= until)
			return vferry_error_set(err, -ETIMEDOUT, "control-timeout", NULL,
						"the machine did not answer within %d s",
						CALL_TIMEOUT_MS / 1000);
		ret = fill(qmp, (int) (until - now_ms()), err);
		if (ret && ret != -ETIMEDOUT)
			return ret;
	}
}

int qmp_dispatch(struct qmp *qmp, struct vferry_error *err)
{
	struct json_object *message;
	int ret = fill(qmp, 0, err);

	while ((message = take_line(qmp)) != NULL) {
		(void) is_event(qmp, message);
		(void) json_object_put(message);
	}
	return ret == -ETIMEDOUT ? 0 : ret;
}

static int send_all(struct qmp *qmp, const char *text, size_t bytes, struct vferry_error *err)
{
	while (bytes) {
		ssize_t n = send(qmp->fd, text, bytes, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return gone(err);
		text += n;
		bytes -= (size_t) n;
	}
	return 0;
}

int qmp_call(struct qmp *qmp, const char *command, struct json_object *take_arguments,
	     struct json_object **ret_value, struct vferry_error *err)
{
	struct json_object *request = json_object_new_object(), *answer = NULL, *value;
	size_t bytes;
	const char *text;
	int ret;

	json_object_object_add(request, "execute", json_object_new_string(command));
	if (take_arguments)
		json_object_object_add(request, "arguments", take_arguments);
	text = json_object_to_json_string_length(request, JSON_C_TO_STRING_PLAIN, &bytes);
	ret = send_all(qmp, text, bytes, err);
	if (!ret)
		ret = send_all(qmp, "\n", 1, err);
	(void) json_object_put(request);
	if (!ret)
		ret = next_message(qmp, &answer, err);
	if (ret)
		return ret;
	value = qmp_member(answer, "return");
	if (!value) {
		struct json_object *error = qmp_member(answer, "error");

		ret = vferry_error_set(err, error ? -EREMOTEIO : -EPROTO, "control-refused", command,
				       "%s", error ? qmp_string(error, "desc", "refused")
						   : "the machine's answer makes no sense");
	} else if (ret_value) {
		*ret_value = json_object_get(value);
	}
	(void) json_object_put(answer);
	return ret;
}

int qmp_open(const char *path, struct qmp **ret_qmp, struct vferry_error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct json_object *greeting = NULL;
	struct qmp *qmp;
	int ret;

	if (strlen(path) >= sizeof(address.sun_path))
		return vferry_error_set(err, -ENAMETOOLONG, "control", NULL,
					"the path of the control socket is too long");
	memcpy(address.sun_path, path, strlen(path) + 1);
	qmp = calloc(1, sizeof(*qmp));
	if (!qmp)
		return vferry_error_set(err, -ENOMEM, "no-memory", NULL, "no memory");
	qmp->room = 4096;
	qmp->buffer = malloc(qmp->room);
	qmp->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (!qmp->buffer || qmp->fd < 0 ||
	    connect(qmp->fd, (struct sockaddr *) &address, sizeof(address))) {
		ret = vferry_error_set(err, errno ? -errno : -ENOMEM, "control", path,
				       "cannot connect to the control socket %s: %s", path,
				       strerror(errno));
		(void) qmp_close(qmp);
		return ret;
	}
	ret = next_message(qmp, &greeting, err);
	if (!ret && qmp_member(greeting, "error"))
		ret = vferry_error_set(err, -EACCES, "control-refused", path, "%s: %s", path,
				       qmp_string(qmp_member(greeting, "error"), "desc", "refused"));
	if (!ret && !qmp_member(greeting, "QMP"))
		ret = vferry_error_set(err, -EPROTO, "control-protocol", path,
				       "%s does not greet as QMP does", path);
	(void) json_object_put(greeting);
	if (!ret)
		ret = qmp_call(qmp, "qmp_capabilities", NULL, NULL, err);
	if (ret) {
		(void) qmp_close(qmp);
		return ret;
	}
	*ret_qmp = qmp;
	return 0;
}

struct qmp *qmp_close(struct qmp *qmp)
{
	if (!qmp)
		return NULL;
	if (qmp->fd >= 0)
		(void) close(qmp->fd);
	free(qmp->buffer);
	free(qmp);
	return NULL;
}

int qmp_fd(const struct qmp *qmp)
{
	return qmp->fd;
}

void qmp_set_events(struct qmp *qmp, void (*on_event)(void *user, const char *name,
						     struct json_object *data), void *user)
{
	qmp->on_event = on_event;
	qmp->user = user;
}
