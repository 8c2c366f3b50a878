/* SPDX-License-Identifier: MIT */
/*
 * accel_server.h - an accel device served over vfio-user: the device, its worker, its script.
 *
 * Model: the caller's thread is the dispatch thread of the vfio-user server; it answers the client
 * and changes states. A worker thread does the jobs. Both touch the device under one lock, which
 * the worker gives up after each chunk, so a transition never waits for a whole job.
 *
 * What the script delays is put by, and the loop goes on: the client may leave meanwhile.
 */
#ifndef VF_DEVICES_ACCEL_SERVER_H
#define VF_DEVICES_ACCEL_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include <vferry/error.h>
#include <vferry/trust.h>
#include "accel_device.h"
#include "script.h"

struct accel_server;

struct accel_server_options {
	struct accel_options device;
	bool precopy, p2p, dma_log;
	bool extensions;		/* false: speak plain vfio-user only */
	bool no_ioeventfd;		/* the doorbell comes as a message only */
	bool p2p_ignored;		/* a bad device: goes on writing to its peers in P2P states */
	const struct vferry_trust *trust;	/* who may connect; borrowed, may be NULL */
	/* Says what went wrong in the device, may be NULL; dispatch thread. */
	void (*note)(void *user, const char *text);
	void *user;
};

/* @take_script: its rules are the server's from now on, also on failure. */
int accel_server_new(const struct accel_server_options *options, struct vf_script *take_script,
		     struct accel_server **ret_server, struct vferry_error *err);
void accel_server_free(struct accel_server *s);
int accel_server_listen(struct accel_server *s, const char *path, struct vferry_error *err);
/* Serves a connected socket instead; taken also on failure. */
int accel_server_attach(struct accel_server *s, int take_fd, struct vferry_error *err);
/* Serves until @stop_fd is readable, or, with @once, until a client has come and gone. Return: 0,
 * ACCEL_SERVER_EXIT when the script wants the process to end, or the failure of the server. */
int accel_server_run(struct accel_server *s, int stop_fd, bool once, struct vferry_error *err);

#define ACCEL_SERVER_EXIT 1

#endif
