/* SPDX-License-Identifier: MIT */
/*
 * replay_server.h - a captured device (capture/capture.h) served over vfio-user.
 *
 * Model: what the device showed of itself is as captured: config space, regions, interrupts, migration
 * flags, the size of its state. What it did is not known: regions are memory, it raises no interrupt and
 * reaches no guest memory, so its DMA log stays empty. It migrates by the states that it had, and what
 * was written into its regions goes with it (replay_state.h).
 *
 * Threads: one, which serves.
 */
#ifndef VF_DEVICES_REPLAY_SERVER_H
#define VF_DEVICES_REPLAY_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include <vferry/error.h>
#include <vferry/trust.h>
#include "capture/capture.h"

struct replay_server;

struct replay_server_options {
	uint64_t state_bytes;	/* where the capture does not say how large its state is */
	const struct vferry_trust *trust;	/* who may connect; borrowed, may be NULL */
	/* Says what went wrong in the device, may be NULL. */
	void (*note)(void *user, const char *text);
	void *user;
};

/* @capture is copied. */
int replay_server_new(const struct capture *capture, const struct replay_server_options *options,
		      struct replay_server **ret_server, struct vferry_error *err);
void replay_server_free(struct replay_server *s);
int replay_server_listen(struct replay_server *s, const char *path, struct vferry_error *err);
/* Serves a connected socket instead; taken also on failure. */
int replay_server_attach(struct replay_server *s, int take_fd, struct vferry_error *err);
/* Serves until @stop_fd is readable, or, with @once, until a client has come and gone. */
int replay_server_run(struct replay_server *s, int stop_fd, bool once, struct vferry_error *err);

#endif
