/* SPDX-License-Identifier: MIT */
/*
 * accel_calls.c - what a client asks of an accel device's migration, as far as the script lets it.
 *
 * Each callback makes a struct accel_call of its arguments. What the script says about it is asked
 * first: at once if that is all, else the call is put by with the time it is due, and the loop performs
 * and completes it then. At most one call is put by, as requests are answered one after the other.
 */
#include <assert.h>
#include <errno.h>

#include "accel_server_internal.h"
#include "base/checked.h"
#include "base/clock.h"

static void end_save(struct accel_server *s)
{
	if (s->save.active && accel_device_window_late(&s->device))
		accel_server_note(s, "BAR2 was written while the device was stopped: what was saved "
				  "lacks that");
	accel_save_end(&s->save);
}

void accel_calls_end_sessions(struct accel_server *s)
{
	end_save(s);
	accel_load_abort(&s->load);
	s->reinit_done = false;
}

static int finish_load(struct accel_server *s)
{
	int ret = accel_load_finish(&s->load);

	if (ret)
		accel_server_note(s, s->load.error.message);
	return ret;
}

static enum accel_run run_of(const struct accel_server *s, bool p2p)
{
	return p2p && !s->options.p2p_ignored ? ACCEL_RUN_NO_PEERS : ACCEL_RUN_ALL;
}

/* One single arc, with the lock held. */
static int change_state(struct accel_server *s, enum vf_vfio_state from, enum vf_vfio_state to)
{
	struct accel_device *a = &s->device;
	uint64_t now = vf_now_ns();
	bool was_saving = vf_vfio_state_is_precopy(from);

	switch (to) {
	case VF_VFIO_STATE_RUNNING:
	case VF_VFIO_STATE_RUNNING_P2P:
		if (was_saving)
			end_save(s);
		accel_device_set_run(a, run_of(s, to == VF_VFIO_STATE_RUNNING_P2P), now);
		return 0;
	case VF_VFIO_STATE_PRE_COPY:
	case VF_VFIO_STATE_PRE_COPY_P2P:
		if (!was_saving)
			accel_save_start(&s->save);
		accel_device_set_run(a, run_of(s, to == VF_VFIO_STATE_PRE_COPY_P2P), now);
		return 0;
	case VF_VFIO_STATE_STOP_COPY:
		accel_device_set_run(a, ACCEL_RUN_STOPPED, now);
		if (was_saving)
			accel_save_stop(&s->save);
		else
			accel_save_start(&s->save);
		return 0;
	case VF_VFIO_STATE_RESUMING:
		accel_load_start(&s->load, now);
		return 0;
	case VF_VFIO_STATE_STOP:
		if (from == VF_VFIO_STATE_RESUMING)
			return finish_load(s);
		if (from == VF_VFIO_STATE_STOP_COPY)
			end_save(s);
		accel_device_set_run(a, ACCEL_RUN_STOPPED, now);
		return 0;
	default:
		return -EINVAL;
	}
}

static bool begins_session(enum vf_vfio_state from, enum vf_vfio_state to)
{
	return to == VF_VFIO_STATE_RESUMING ||
	       (!vf_vfio_state_is_precopy(from) &&
		(vf_vfio_state_is_precopy(to) || to == VF_VFIO_STATE_STOP_COPY));
}

static int64_t do_arc(struct accel_server *s, const struct accel_call *c)
{
	int ret;

	accel_server_lock(s);
	ret = change_state(s, c->from, c->to);
	accel_server_unlock(s);
	if (!ret && begins_session(c->from, c->to)) {
		s->read_bytes = 0;
		s->written_bytes = 0;
		s->reinit_done = false;
	}
	return ret;
}

static uint64_t free_at(uint64_t last_ns, uint64_t bytes, uint64_t rate)
{
	if (!rate)
		return 0;
	return vf_max_u64(last_ns, vf_now_ns()) +
	       (uint64_t) ((double) bytes * (double) VF_SECOND_NS / (double) rate);
}

static int64_t do_data_read(struct accel_server *s, const struct accel_call *c)
{
	uint64_t left = s->script.truncate_at - vf_min_u64(s->read_bytes, s->script.truncate_at);
	size_t len = (size_t) vf_min_u64(c->len, left);
	int64_t got;

	accel_server_lock(s);
	if (!s->reinit_done && s->read_bytes >= s->script.reinit_at && !s->save.stopping) {
		accel_save_reinit(&s->save);
		s->reinit_done = true;
	}
	got = accel_save_read(&s->save, c->to_buffer, len, vf_now_ns());
	accel_server_unlock(s);
	if (got > 0) {
		s->read_bytes += (uint64_t) got;
		s->read_free_ns = free_at(s->read_free_ns, (uint64_t) got, s->script.read_rate);
	}
	return got;
}

static int64_t do_data_write(struct accel_server *s, const struct accel_call *c)
{
	int ret;

	accel_server_lock(s);
	ret = accel_load_write(&s->load, c->from_buffer, c->len);
	accel_server_unlock(s);
	if (ret)
		accel_server_note(s, s->load.error.message);
	s->written_bytes += c->len;
	s->write_free_ns = free_at(s->write_free_ns, c->len, s->script.write_rate);
	return ret;
}

static int64_t perform(struct accel_server *s, const struct accel_call *c)
{
	switch (c->kind) {
	case CALL_ARC:
		return do_arc(s, c);
	case CALL_DATA_READ:
		return do_data_read(s, c);
	case CALL_DATA_WRITE:
		return do_data_write(s, c);
	default:
		return 0;
	}
}

static void give_notice(struct accel_server *s, enum vf_script_notice notice)
{
	if (notice)
		(void) vf_vfio_user_server_irq_trigger(s->wire, notice == VF_SCRIPT_ERROR
						       ? VF_VFIO_PCI_ERR_IRQ : VF_VFIO_PCI_REQ_IRQ, 0);
}

/* The end of a call whose delay is over. LATER = never. */
static int64_t act(struct accel_server *s, const struct accel_call *c)
{
	give_notice(s, c->action.notice);
	switch (c->action.what) {
	case VF_SCRIPT_GO_ON:
		return perform(s, c);
	case VF_SCRIPT_FAIL:
		if (c->action.error_state) {
			accel_server_lock(s);
			accel_calls_end_sessions(s);
			accel_device_set_run(&s->device, ACCEL_RUN_STOPPED, vf_now_ns());
			accel_server_unlock(s);
			vf_vfio_user_server_device_lost(s->wire);
		}
		return c->action.code;
	case VF_SCRIPT_DISCONNECT:
		s->wants_disconnect = true;
		return VF_VFIO_USER_LATER;
	case VF_SCRIPT_EXIT:
		s->wants_exit = true;
		return VF_VFIO_USER_LATER;
	default:
		return VF_VFIO_USER_LATER;
	}
}

/* Does the call now, or puts it by: the script's delay, and at the earliest at @free_ns. */
static int64_t start(struct accel_server *s, struct accel_call c, uint64_t free_ns)
{
	uint64_t now = vf_now_ns();
	int64_t ret;

	c.due_ns = vf_max_u64(now + c.action.delay_ns, free_ns);
	if (c.due_ns <= now) {
		ret = act(s, &c);
		if (ret != VF_VFIO_USER_LATER)
			return ret;
		c.due_ns = UINT64_MAX;
	}
	assert(s->put_by.kind == CALL_NONE);
	s->put_by = c;
	return VF_VFIO_USER_LATER;
}

void accel_calls_do_due(struct accel_server *s)
{
	struct accel_call c = s->put_by;
	int64_t ret;

	if (c.kind == CALL_NONE || vf_now_ns() < c.due_ns)
		return;
	ret = act(s, &c);
	if (ret == VF_VFIO_USER_LATER) {
		s->put_by.due_ns = UINT64_MAX;
		return;
	}
	s->put_by.kind = CALL_NONE;
	vf_vfio_user_server_complete(s->wire, ret);
}

int accel_calls_on_request(void *user, uint16_t command)
{
	struct accel_server *s = user;
	struct accel_call c = { .kind = CALL_REQUEST };

	c.action = vf_script_on_message(&s->script, command);
	return (int) start(s, c, 0);
}

int accel_calls_on_arc(void *user, enum vf_vfio_state from, enum vf_vfio_state to)
{
	struct accel_server *s = user;
	struct accel_call c = { .kind = CALL_ARC, .from = from, .to = to };

	c.action = vf_script_on_arc(&s->script, from, to);
	return (int) start(s, c, 0);
}

ssize_t accel_calls_on_data_read(void *user, void *to, size_t len)
{
	struct accel_server *s = user;
	struct accel_call c = { .kind = CALL_DATA_READ, .to_buffer = to, .len = len };

	c.action = vf_script_on_data(&s->script, false, s->read_bytes, len);
	return start(s, c, s->read_free_ns);
}

int accel_calls_on_data_write(void *user, const void *from, size_t len)
{
	struct accel_server *s = user;
	struct accel_call c = { .kind = CALL_DATA_WRITE, .from_buffer = from, .len = len };

	c.action = vf_script_on_data(&s->script, true, s->written_bytes, len);
	return (int) start(s, c, s->write_free_ns);
}

int accel_calls_on_data_size(void *user, uint64_t *ret_bytes)
{
	struct accel_server *s = user;

	accel_server_lock(s);
	*ret_bytes = accel_save_estimate(&s->save, vf_now_ns());
	accel_server_unlock(s);
	return 0;
}

int accel_calls_on_precopy_info(void *user, struct vf_vfio_precopy_info *ret_info)
{
	struct accel_server *s = user;

	accel_server_lock(s);
	accel_save_pending(&s->save, vf_now_ns(), &ret_info->initial_bytes, &ret_info->dirty_bytes);
	ret_info->flags = s->save.reinit ? VF_VFIO_PRECOPY_INFO_REINIT : 0;
	s->save.reinit = false;
	accel_server_unlock(s);
	return 0;
}
