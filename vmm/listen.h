/* SPDX-License-Identifier: MIT */
/*
 * listen.h - a listening socket that outlives the sessions it is lent to.
 *
 * A destination that answered `migrate --check`, or refused, listens on for the next; between two
 * sessions nobody may find the door shut. So the socket is the VMM's, and a session gets it as fd:N.
 */
#ifndef VMM_LISTEN_H
#define VMM_LISTEN_H

#include <stdbool.h>

#include <vferry/error.h>
#include <vferry/trust.h>

#define VM_LISTEN_URI_BYTES 384

struct vm_listener;

/**
 * vm_listener_new() - listen at tcp:HOST:PORT (port 0: any) or unix:PATH (mode: vferry_trust_mode())
 * Who comes is not checked here.
 * A unix socket on which nobody listens any more is replaced. @loopback_only: a tcp host that has an
 * address beyond this host is refused.
 * Return: 0; -EINVAL bad URI; -EPERM not this host; -EADDRINUSE, -EEXIST, and what the system said.
 */
int vm_listener_new(const char *uri, const struct vferry_trust *trust, bool loopback_only,
		    struct vm_listener **ret_listener, struct vferry_error *err);
/* Removes a unix socket's file. NULL is fine; returns NULL. */
struct vm_listener *vm_listener_free(struct vm_listener *listener);
int vm_listener_fd(const struct vm_listener *listener);
const char *vm_listener_uri(const struct vm_listener *listener);	/* with the real port */

#endif
