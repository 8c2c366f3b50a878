/* SPDX-License-Identifier: MIT */
/* uri.c - parses what uri.h describes; nothing is looked up here. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "transfer/uri.h"

#define UNIX_PATH_MAX_BYTES 107u	/* sun_path without its NUL */

static int bad(struct vferry_error *err, const char *text, const char *why)
{
	return vferry_error_set(err, -EINVAL, "uri", text,
				"%s; expected tcp:HOST:PORT, unix:PATH, fd:N or file:PATH", why);
}

/* A decimal number without sign or blanks. Return: it; -1 if it is none, or above @max. */
static long parse_number(const char *text, long max)
{
	long value = 0;

	if (!*text)
		return -1;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -1;
		value = value * 10 + (*text - '0');
		if (value > max)
			return -1;
	}
	return value;
}

static int parse_tcp(const char *text, const char *rest, struct vf_uri *uri,
		     struct vferry_error *err)
{
	const char *colon = strrchr(rest, ':');
	size_t length;
	long port;

	if (!colon)
		return bad(err, text, "the port is missing");
	port = parse_number(colon + 1, UINT16_MAX);
	if (port < 0)
		return bad(err, text, "the port is not a number from 0 to 65535");
	length = (size_t) (colon - rest);
	if (length >= 2 && rest[0] == '[' && rest[length - 1] == ']') {
		rest++;
		length -= 2;
	} else if (memchr(rest, ':', length)) {
		return bad(err, text, "an IPv6 address must stand in []");
	}
	if (length >= sizeof(uri->host))
		return bad(err, text, "the host name is too long");
	memcpy(uri->host, rest, length);
	uri->port = (uint16_t) port;
	return 0;
}

static int parse_path(const char *text, const char *rest, size_t max, struct vf_uri *uri,
		      struct vferry_error *err)
{
	size_t length = strlen(rest);

	if (!length)
		return bad(err, text, "the path is missing");
	if (length > max)
		return bad(err, text, "the path is too long");
	memcpy(uri->path, rest, length + 1);
	return 0;
}

int vf_uri_parse(const char *text, struct vf_uri *ret_uri, struct vferry_error *err)
{
	struct vf_uri uri = { .fd = -1 };
	int ret;

	if (!text)
		return bad(err, "", "no URI");
	if (!strncmp(text, "tcp:", 4)) {
		uri.kind = VF_URI_TCP;
		ret = parse_tcp(text, text + 4, &uri, err);
	} else if (!strncmp(text, "unix:", 5)) {
		uri.kind = VF_URI_UNIX;
		ret = parse_path(text, text + 5, UNIX_PATH_MAX_BYTES, &uri, err);
	} else if (!strncmp(text, "file:", 5)) {
		uri.kind = VF_URI_FILE;
		ret = parse_path(text, text + 5, sizeof(uri.path) - 1, &uri, err);
	} else if (!strncmp(text, "fd:", 3)) {
		uri.kind = VF_URI_FD;
		uri.fd = (int) parse_number(text + 3, INT32_MAX);
		ret = uri.fd < 0 ? bad(err, text, "not a descriptor number") : 0;
	} else {
		ret = bad(err, text, "unknown kind of URI");
	}
	if (!ret)
		*ret_uri = uri;
	return ret;
}
