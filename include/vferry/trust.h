/* SPDX-License-Identifier: MIT */
/*
 * vferry/trust.h - who may be at the other end of a unix socket.
 *
 * The kernel says which user a peer runs as (SO_PEERCRED): whoever connected, or, seen from there,
 * whoever listens. The own user and root are trusted, and the users that are named. Such sockets are
 * made with mode 0600, or, where other users are named, with mode 0666 (both less the umask): then it
 * is this check alone that keeps the others out.
 */
#ifndef VFERRY_TRUST_H
#define VFERRY_TRUST_H

#include <stdint.h>

#include <vferry/error.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VFERRY_TRUST_MAX 8

struct vferry_trust {
	uint32_t count;
	uint32_t uids[VFERRY_TRUST_MAX];
};

/**
 * vferry_trust_check() - is the peer of @fd, a connected unix socket, one of them?
 * @trust: NULL: nobody but the own user and root
 *
 * Return: 0; -EACCES with the user named; -errno if @fd is no such socket.
 */
int vferry_trust_check(const struct vferry_trust *trust, int fd, struct vferry_error *err);

/** vferry_trust_mode() - the mode of a socket's file. */
unsigned vferry_trust_mode(const struct vferry_trust *trust);

#ifdef __cplusplus
}
#endif
#endif
