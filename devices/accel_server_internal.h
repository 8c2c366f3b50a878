/* SPDX-License-Identifier: MIT */
/*
 * accel_server_internal.h - what the server's files share: accel_server.c has the device, its worker and
 * the loop, accel_calls.c what a client asks of migration.
 */
#ifndef VF_DEVICES_ACCEL_SERVER_INTERNAL_H
#define VF_DEVICES_ACCEL_SERVER_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/types.h>

#include "accel_server.h"
#include "accel_stream.h"
#include "vfio-user/server.h"

enum accel_call_kind {
	CALL_NONE = 0,
	CALL_REQUEST,		/* the script's word about a message, before anything is done */
	CALL_ARC,
	CALL_DATA_READ,
	CALL_DATA_WRITE,
};

struct accel_call {
	enum accel_call_kind kind;
	enum vf_vfio_state from, to;
	void *to_buffer;
	const void *from_buffer;
	size_t len;
	struct vf_script_action action;
	uint64_t due_ns;		/* UINT64_MAX = never */
};

struct accel_server {
	struct accel_server_options options;
	struct vf_script script;		/* dispatch thread */
	struct vf_vfio_user_server *wire;
	int window_fd;
	uint8_t *window;
	struct accel_call put_by;		/* dispatch thread, as all below up to the lock */
	uint64_t read_bytes, written_bytes;	/* of the session */
	uint64_t read_free_ns, write_free_ns;	/* when the rate limits let the next one go */
	bool reinit_done;
	bool was_connected, gone, wants_exit, wants_disconnect;

	pthread_mutex_t lock;		/* device, save, load, quit */
	pthread_cond_t wake;		/* of the worker */
	atomic_uint waiting;		/* others that want the lock: the worker lets them pass */
	struct accel_device device;
	struct accel_save save;
	struct accel_load load;
	bool quit;
	pthread_t worker;
	bool worker_runs;
};

void accel_server_note(struct accel_server *s, const char *text);
void accel_server_lock(struct accel_server *s);
/* Whatever was done under the lock may be work for the worker. */
void accel_server_unlock(struct accel_server *s);

/* Callbacks of struct vf_vfio_user_server_ops; @user is the accel_server. */
int accel_calls_on_request(void *user, uint16_t command);
int accel_calls_on_arc(void *user, enum vf_vfio_state from, enum vf_vfio_state to);
ssize_t accel_calls_on_data_read(void *user, void *to, size_t len);
int accel_calls_on_data_write(void *user, const void *from, size_t len);
int accel_calls_on_data_size(void *user, uint64_t *ret_bytes);
int accel_calls_on_precopy_info(void *user, struct vf_vfio_precopy_info *ret_info);

/* The call that was put by, once its time has come. */
void accel_calls_do_due(struct accel_server *s);
/* Sessions end with a reset, however it came. The lock is held. */
void accel_calls_end_sessions(struct accel_server *s);

#endif
