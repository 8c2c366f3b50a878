/* SPDX-License-Identifier: MIT */
/*
 * uri.h - where a migration goes to or comes from.
 *
 *   tcp:HOST:PORT    HOST a name, an IPv4 address or an IPv6 address in []; empty: all addresses
 *   unix:PATH
 *   fd:N             a connected stream socket, or, for a listener, a listening one
 *   file:PATH
 */
#ifndef VF_TRANSFER_URI_H
#define VF_TRANSFER_URI_H

#include <stdint.h>

#include <vferry/error.h>

enum vf_uri_kind { VF_URI_TCP = 1, VF_URI_UNIX = 2, VF_URI_FD = 3, VF_URI_FILE = 4 };

struct vf_uri {
	enum vf_uri_kind kind;
	char host[256];		/* tcp */
	uint16_t port;		/* tcp; 0: any, for a listener */
	int fd;			/* fd */
	char path[4096];	/* file, unix (there at most 107 bytes) */
};

/* Return: 0; -EINVAL with the reason. */
int vf_uri_parse(const char *text, struct vf_uri *ret_uri, struct vferry_error *err);

#endif
