/* SPDX-License-Identifier: MIT */
/*
 * source_file.c - saving: the same session with a file for a peer. A file accepts everything, takes
 * any amount of state, acknowledges at once, is prepared when it is complete on disk, and never runs
 * anything: the machine stays stopped here.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "session/source.h"
#include "vf_config.h"
#include "wire/frame.h"

int vf_source_file_open(struct vf_source_side *side, struct vferry_error *err)
{
	struct vferry_session *s = side->session;
	struct vf_hello hello = {
		.major = VF_STREAM_MAJOR, .minor = VF_STREAM_MINOR, .purpose = VF_PURPOSE_FILE,
		.channel_count = 1, .software = "vferry " VFERRY_VERSION,
	};
	struct vf_file_writer *file;
	struct vf_writer w;
	int ret = vf_trace(s->trace, VF_TRACE_FILE_OPEN, s->uri, 0, 0, 0);

	if (ret)
		return vferry_error_set(err, ret, "file-open", s->uri, "cannot open for writing: %s",
					vferry_errno_name(ret));
	ret = vf_file_writer_new(s->target.path, s->ram, &file, err);
	if (ret)
		return ret;
	vf_file_writer_set_trace(file, s->trace);
	(void) pthread_mutex_lock(&side->lock);
	side->file = file;
	(void) pthread_mutex_unlock(&side->lock);
	side->channels[0] = vf_file_writer_channel(side->file);
	vf_channel_set_limiter(side->channels[0], side->limiter);
	memcpy(hello.session_id, s->id, sizeof(hello.session_id));
	vf_writer_init(&w, 512);
	vf_hello_encode(&w, &hello);
	ret = w.bad ? -ENOMEM : vf_source_send(side, VF_FRAME_HELLO, w.data, w.size, err);
	vf_writer_done(&w);
	return ret;
}

void vf_source_file_accept(struct vf_source_side *side)
{
	struct vferry_session *s = side->session;

	for (size_t i = 0; i < s->component_count; i++)
		if (s->components[i].stream_source)
			vf_stream_source_add_credit(s->components[i].stream_source, UINT64_MAX / 2);
	vf_session_post_kind(s, VF_SRC_PEER_ACCEPTED);
}

static int write_round(struct vf_source_side *side, uint32_t round, struct vferry_error *err)
{
	struct vf_file_write_options options = {
		.round = round, .threads = side->session->parameters.channels > 1
						   ? side->session->parameters.channels : 2,
		.limiter = side->limiter,
	};
	struct vf_file_stats stats = { 0 };
	int ret = vf_file_write_pages(side->file, &options, &stats, err);

	(void) pthread_mutex_lock(&side->lock);
	side->file_round = stats;
	side->file_total.bytes += stats.bytes;
	side->file_total.pages_normal += stats.pages_normal;
	side->file_total.pages_zero += stats.pages_zero;
	(void) pthread_mutex_unlock(&side->lock);
	return ret;
}

static void *round_main(void *user)
{
	struct vf_source_side *side = user;
	struct vf_event event = { .kind = VF_SRC_OWN_ROUND_FINISHED, .generation = side->file_number };
	int ret = write_round(side, side->file_number, &event.error);

	event.number = (uint64_t) ret;
	event.has_error = ret != 0;
	vf_session_post(side->session, &event);
	return NULL;
}

int vf_source_file_start_round(struct vf_source_side *side, uint32_t round)
{
	int ret;

	vf_source_file_join(side);
	side->file_number = round;
	ret = vf_trace_thread(side->session->trace, "file-round", &side->round_thread, round_main,
			      side);
	side->round_exists = !ret;
	return ret;
}

void vf_source_file_join(struct vf_source_side *side)
{
	if (side->round_exists)
		(void) pthread_join(side->round_thread, NULL);
	side->round_exists = false;
}

int vf_source_file_last_round(struct vf_source_side *side, uint32_t round, uint64_t *ret_bytes,
			      struct vferry_error *err)
{
	int ret = write_round(side, round, err);

	*ret_bytes = side->file_round.bytes;
	return ret;
}

int vf_source_file_finish(struct vf_source_side *side, struct vferry_error *err)
{
	int ret = vf_file_writer_finish(side->file, err);

	if (!ret)
		vf_session_post_kind(side->session, VF_SRC_PEER_PREPARED);
	return ret;
}
