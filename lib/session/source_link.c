/* SPDX-License-Identifier: MIT */
/*
 * source_link.c - the source's channels: connecting and what is sent. What is answered: source_answers.c.
 *
 * Sections and streams of one device travel on one channel, so that a restart of the device and the
 * config space that follows it keep their order; everything else goes on channel 0, pages on all.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/crc32c.h"
#include "session/link.h"
#include "session/source.h"
#include "vf_config.h"
#include "wire/frame.h"

#define CONNECT_NS (10 * VF_SECOND_NS)
#define CANCEL_NS VF_SECOND_NS		/* a peer that takes no CANCEL for so long is cut off */
#define PROBE_BYTES (256u << 10)

/* ---- sending ---- */

int vf_source_send(struct vf_source_side *side, enum vf_frame_type type, const void *body,
		   size_t bytes, struct vferry_error *err)
{
	return vf_channel_send(side->channels[0], type, 0, VF_NO_COMPONENT, body, (uint32_t) bytes,
			       err);
}

/* All parts of a device share the channel of the first of them. */
static unsigned channel_of(struct vf_source_side *side, uint32_t component)
{
	struct vferry_session *s = side->session;
	const struct vf_session_component *c = &s->components[component];

	if (!c->device[0])
		return 0;
	for (size_t i = 0; i < s->component_count; i++)
		if (!strcmp(s->components[i].device, c->device))
			return (unsigned) i % side->channel_count;
	return 0;
}

int vf_source_send_for(struct vf_source_side *side, enum vf_frame_type type, uint32_t component,
		       const void *head, size_t head_bytes, const void *body, size_t body_bytes,
		       uint32_t body_crc, struct vferry_error *err)
{
	struct vf_outgoing out = { .frame = { .type = (uint16_t) type, .component = component } };
	struct iovec iov[3] = {
		{ .iov_base = out.header, .iov_len = sizeof(out.header) },
		{ .iov_base = (void *) head, .iov_len = head_bytes },
		{ .iov_base = (void *) body, .iov_len = body_bytes },
	};

	if (head_bytes + body_bytes > VF_FRAME_MAX_BYTES)
		return -EMSGSIZE;
	out.frame.length = (uint32_t) (head_bytes + body_bytes);
	out.frame.body_crc = vf_crc32c_combine(vf_crc32c(0, head, head_bytes), body_crc, body_bytes);
	return vf_channel_send_vector(side->channels[channel_of(side, component)], &out, 1, iov,
				      body_bytes ? 3 : 2, false, err);
}

static int note_section(struct vf_source_side *side, const struct vf_manifest_section *section)
{
	struct vf_manifest_section *grown;
	int ret = 0;

	(void) pthread_mutex_lock(&side->lock);
	side->section_bytes += section->bytes;
	for (uint32_t i = 0; i < side->section_count; i++) {
		struct vf_manifest_section *have = &side->sections[i];

		if (have->component == section->component && have->id == section->id) {
			*have = *section;
			goto out;
		}
	}
	if (side->section_count == side->section_room) {
		side->section_room = side->section_room ? side->section_room * 2 : 32;
		grown = realloc(side->sections, side->section_room * sizeof(*grown));
		if (!grown) {
			ret = -ENOMEM;
			goto out;
		}
		side->sections = grown;
	}
	side->sections[side->section_count++] = *section;
out:
	(void) pthread_mutex_unlock(&side->lock);
	return ret;
}

int vf_source_send_section(struct vferry_session *s, const struct vf_session_component *c,
			   const struct vferry_section_desc *section, const void *body, size_t bytes,
			   struct vferry_error *err)
{
	uint8_t head[VF_SECTION_HEADER_BYTES];
	struct vf_section_header header = { .id = section->id, .version = section->version };
	struct vf_manifest_section sent = {
		.component = c->index, .id = section->id, .bytes = (uint32_t) bytes,
		.crc = vf_crc32c(0, body, bytes),
	};
	int ret;

	vf_section_header_encode(head, &header);
	ret = vf_source_send_for(s->source, VF_FRAME_SECTION, c->index, head, sizeof(head), body,
				 bytes, sent.crc, err);
	return ret ? ret : note_section(s->source, &sent);
}

/* ---- MACHINE ---- */

static int describe_component(struct vf_session_component *c, struct vf_wire_component *to,
			      struct vferry_error *err)
{
	struct vferry_writer *identity;
	const void *data;
	size_t size;
	int ret;

	(void) snprintf(to->name, sizeof(to->name), "%s", c->name);
	(void) snprintf(to->device, sizeof(to->device), "%s", c->device);
	to->has_stream = c->desc.stream != NULL;
	to->has_precopy = c->desc.stream && c->desc.stream->precopy_start;
	to->section_count = (uint32_t) c->desc.section_count;
	to->sections = calloc(to->section_count ? to->section_count : 1, sizeof(*to->sections));
	if (!to->sections)
		return -ENOMEM;
	for (uint32_t i = 0; i < to->section_count; i++) {
		const struct vferry_section_desc *d = &c->desc.sections[i];

		to->sections[i] = (struct vf_wire_section) {
			.id = d->id, .version = d->version, .max_bytes = d->max_bytes,
		};
		(void) snprintf(to->sections[i].name, sizeof(to->sections[i].name), "%s", d->name);
	}
	if (!c->desc.identity)
		return 0;
	ret = vferry_writer_new(VF_MAX_IDENTITY_BYTES, &identity);
	if (ret)
		return ret;
	ret = c->desc.identity(c->desc.user, identity, err);
	data = vferry_writer_data(identity, &size);
	if (!ret && !vferry_writer_ok(identity))
		ret = vferry_error_set(err, -EMSGSIZE, "identity-too-large", c->name,
				       "identity over %u bytes", VF_MAX_IDENTITY_BYTES);
	if (!ret && size) {
		to->identity = malloc(size);
		ret = to->identity ? 0 : -ENOMEM;
		if (!ret) {
			memcpy(to->identity, data, size);
			to->identity_bytes = (uint32_t) size;
		}
	}
	(void) vferry_writer_free(identity);
	return ret;
}

static int describe_machine(struct vferry_session *s, struct vf_machine *m, struct vferry_error *err)
{
	int ret = 0;

	*m = (struct vf_machine) {
		.compression = s->parameters.compression,
		.verify = s->parameters.verify,
		.check_only = s->parameters.check_only,
		.max_downtime_ns = s->parameters.max_downtime_ns,
		.pause_budget_ns = s->parameters.pause_budget_ns,
	};
	(void) snprintf(m->description, sizeof(m->description), "%s", s->description);
	m->blocks = calloc(VF_MAX_BLOCKS, sizeof(*m->blocks));
	m->components = calloc(VF_MAX_COMPONENTS, sizeof(*m->components));
	if (!m->blocks || !m->components)
		return -ENOMEM;
	m->block_count = s->ram ? (uint32_t) vferry_ram_block_count(s->ram) : 0;
	for (uint32_t i = 0; i < m->block_count; i++) {
		const struct vferry_ram_block *block = vferry_ram_get_block(s->ram, i);

		m->blocks[i] = (struct vf_wire_block) {
			.gpa = block->gpa, .bytes = block->bytes, .flags = block->flags,
		};
		(void) snprintf(m->blocks[i].name, sizeof(m->blocks[i].name), "%s", block->name);
	}
	m->dependencies = calloc(VF_MAX_DEPENDENCIES, sizeof(*m->dependencies));
	if (!m->dependencies)
		return -ENOMEM;
	m->dependency_count = s->dependency_count;
	memcpy(m->dependencies, s->dependencies, s->dependency_count * sizeof(*m->dependencies));
	for (; m->component_count < s->component_count && !ret; m->component_count++)
		ret = describe_component(&s->components[m->component_count],
					 &m->components[m->component_count], err);
	return ret;
}

int vf_source_send_machine(struct vf_source_side *side, struct vferry_error *err)
{
	struct vf_machine m;
	struct vf_writer w;
	int ret = describe_machine(side->session, &m, err);

	vf_writer_init(&w, VF_FRAME_MAX_MESSAGE_BYTES);
	if (!ret) {
		vf_machine_encode(&w, &m);
		if (w.bad)
			ret = vferry_error_set(err, -EMSGSIZE, "machine-too-large", NULL,
					       "the description of the machine does not fit one message");
	}
	if (!ret)
		ret = vf_source_send(side, VF_FRAME_MACHINE, w.data, w.size, err);
	(void) pthread_mutex_lock(&side->lock);
	side->described_ns = vf_now_ns();
	(void) pthread_mutex_unlock(&side->lock);
	vf_writer_done(&w);
	vf_machine_done(&m);
	return ret;
}

/* ---- MANIFEST, CANCEL ---- */

static int list_streams(struct vferry_session *s, struct vf_manifest *m)
{
	m->streams = calloc(s->component_count ? s->component_count : 1, sizeof(*m->streams));
	if (!m->streams)
		return -ENOMEM;
	for (size_t i = 0; i < s->component_count; i++) {
		struct vf_stream_source_totals totals;

		if (!s->components[i].stream_source)
			continue;
		vf_stream_source_get_totals(s->components[i].stream_source, &totals);
		m->streams[m->stream_count++] = (struct vf_manifest_stream) {
			.component = (uint32_t) i, .generation = totals.generation,
			.bytes = totals.bytes, .crc = totals.crc,
		};
	}
	return 0;
}

int vf_source_send_manifest(struct vf_source_side *side, struct vferry_error *err)
{
	struct vf_channel_count channels[VF_MAX_CHANNELS];
	struct vf_page_stats pages = { 0 };
	struct vf_manifest m = { .channels = channels, .channel_count = side->channel_count };
	struct vf_writer w;
	int ret;

	if (side->pages)
		vf_page_sender_get_stats(side->pages, NULL, &pages);
	if (side->file) {
		pages.pages_normal = side->file_total.pages_normal;
		pages.pages_zero = side->file_total.pages_zero;
	}
	m.pages_normal = pages.pages_normal;
	m.pages_zero = pages.pages_zero;
	for (unsigned i = 0; i < side->channel_count; i++) {
		struct vf_channel_stats stats;

		vf_channel_get_stats(side->channels[i], &stats);
		channels[i] = (struct vf_channel_count) {
			.frames = stats.sent_content, .bytes = stats.sent_bytes,
		};
	}
	m.sections = side->sections;
	m.section_count = side->section_count;
	ret = list_streams(side->session, &m);
	vf_writer_init(&w, VF_FRAME_MAX_MESSAGE_BYTES);
	if (!ret) {
		vf_manifest_encode(&w, &m);
		ret = w.bad ? -EMSGSIZE : vf_source_send(side, VF_FRAME_MANIFEST, w.data, w.size, err);
	}
	vf_writer_done(&w);
	free(m.streams);
	return ret;
}

void vf_source_send_cancel(struct vf_source_side *side, const struct vferry_error *why)
{
	struct vferry_error reason = VFERRY_ERROR_INIT;
	struct vf_writer w;

	if (why && why->code)
		reason = *why;
	else
		(void) vferry_error_set(&reason, -ECANCELED, "cancelled", NULL, "cancelled");
	vf_writer_init(&w, 4096);
	vf_failure_encode(&w, &reason);
	(void) vf_channel_set_stall_timeout(side->channels[0], CANCEL_NS);
	if (!w.bad)
		(void) vf_source_send(side, VF_FRAME_CANCEL, w.data, w.size, NULL);
	vf_writer_done(&w);
}

/* ---- connecting ---- */

/* The peer says why it turns this side away: that is the error, not where it said so. */
static int take_failure(const struct vf_frame *frame, const uint8_t *body, struct vferry_error *err)
{
	struct vferry_error said;
	int ret = vf_failure_decode(body, frame->length, &said, err);

	if (ret)
		return ret;
	if (err && !err->code)
		*err = said;
	return said.code < 0 ? said.code : -EPROTO;
}

/* HELLO and JOIN, at once: a peer that says no after the first must not find us writing the second. */
static int send_greeting(struct vf_source_side *side, struct vf_channel *channel,
			 const struct vf_hello *hello, struct vferry_error *err)
{
	struct vf_outgoing out[2] = {
		{ .frame = { .type = VF_FRAME_HELLO, .component = VF_NO_COMPONENT } },
		{ .frame = { .type = VF_FRAME_JOIN, .flags = VF_FRAME_OPTIONAL,
			     .component = VF_NO_COMPONENT, .length = VF_JOIN_BYTES } },
	};
	uint8_t join[VF_JOIN_BYTES];
	struct vf_writer w;
	int ret = vf_link_join(channel, side->secret, hello, join, err);

	if (ret)
		return ret;
	vf_writer_init(&w, 512);
	vf_hello_encode(&w, hello);
	if (w.bad) {
		ret = -ENOMEM;
	} else {
		struct iovec iov[4] = {
			{ out[0].header, sizeof(out[0].header) }, { w.data, w.size },
			{ out[1].header, sizeof(out[1].header) }, { join, sizeof(join) },
		};

		out[0].frame.length = (uint32_t) w.size;
		out[0].frame.body_crc = vf_crc32c(0, w.data, w.size);
		out[1].frame.body_crc = vf_crc32c(0, join, sizeof(join));
		ret = vf_channel_send_vector(channel, out, 2, iov, 4, false, err);
	}
	vf_writer_done(&w);
	return ret;
}

static int exchange_hello(struct vf_source_side *side, struct vf_channel *channel,
			  const struct vf_hello *hello, struct vferry_error *err)
{
	struct vf_hello answer;
	struct vf_frame frame;
	uint8_t *body = NULL;
	int ret = send_greeting(side, channel, hello, err);

	if (ret)
		return ret;
	ret = vf_channel_recv(channel, VF_FRAME_MAX_MESSAGE_BYTES, &frame, &body, err);
	if (ret > 0 && frame.type == VF_FRAME_FAILED) {
		ret = take_failure(&frame, body, err);
		free(body);
		return ret;
	}
	if (ret == 0)
		ret = vferry_error_set(err, -ECONNRESET, "peer-closed", vf_channel_name(channel),
				       "the peer closed the connection without a greeting");
	else if (ret > 0 && frame.type != VF_FRAME_HELLO)
		ret = vferry_error_set(err, -EPROTO, "unexpected-frame", vf_channel_name(channel),
				       "%s where a greeting was due", vf_frame_type_name(frame.type));
	else if (ret > 0)
		ret = vf_hello_decode(body, frame.length, &answer, err);
	if (ret)
		vf_channel_locate(channel, hello->channel, err);
	free(body);
	return ret;
}

/* Time until a probe of @bytes is answered. */
static int probe(struct vf_channel *channel, uint8_t *body, size_t bytes, uint64_t limit_ns,
		 uint64_t *ret_ns, struct vferry_error *err)
{
	uint64_t start = vf_now_ns();
	int ret;

	vf_put_u32(body, (uint32_t) bytes);
	ret = vf_channel_send(channel, VF_FRAME_KEEPALIVE, VF_FRAME_OPTIONAL, VF_NO_COMPONENT, body,
			      (uint32_t) bytes, err);
	while (!ret) {
		struct vf_frame frame;
		uint8_t *answer = NULL;
		bool mine;

		ret = vf_channel_recv(channel, VF_FRAME_MAX_MESSAGE_BYTES, &frame, &answer, err);
		mine = ret > 0 && frame.type == VF_FRAME_KEEPALIVE && frame.length == 4 &&
		       vf_get_u32(answer) == bytes;
		free(answer);
		if (mine) {
			*ret_ns = vf_now_ns() - start;
			return 0;
		}
		if (ret == 0)
			ret = -ECONNRESET;
		else if (ret > 0 && frame.type == VF_FRAME_KEEPALIVE)
			ret = limit_ns && vf_now_ns() - start > limit_ns ? -ETIMEDOUT : 0;
		else if (ret > 0)
			ret = vferry_error_set(err, -EPROTO, "unexpected-frame",
					       vf_channel_name(channel),
					       "%s where the answer to a probe was due",
					       vf_frame_type_name(frame.type));
	}
	(void) vferry_error_set(err, ret, "probe-failed", vf_channel_name(channel),
				"the destination did not answer the first message: %s",
				vferry_errno_name(ret));
	vf_channel_locate(channel, 0, err);
	return ret;
}

static int measure_link(struct vf_source_side *side, struct vferry_error *err)
{
	uint64_t limit = side->session->parameters.stall_timeout_ns;
	uint8_t *body = calloc(1, PROBE_BYTES);
	uint64_t small, large;
	int ret;

	if (!body)
		return -ENOMEM;
	ret = probe(side->channels[0], body, 4, limit, &small, err);
	if (!ret)
		ret = probe(side->channels[0], body, PROBE_BYTES, limit, &large, err);
	free(body);
	if (ret)
		return ret;
	side->round_trip_known = true;
	side->round_trip_ns = small;
	if (large > small)
		side->link_rate = PROBE_BYTES * VF_SECOND_NS / (large - small);
	return 0;
}

static int connect_to(struct vferry_session *s, const struct vf_uri *uri, int cancel_fd,
		      struct vf_channel **ret_channel, struct vferry_error *err)
{
	int ret = vf_trace(s->trace, VF_TRACE_LINK_CONNECT, s->uri, 0, 0, 0);

	if (ret)
		return vferry_error_set(err, ret, "connect", s->uri, "cannot connect: %s",
					vferry_errno_name(ret));
	ret = vf_link_connect(s, uri, CONNECT_NS, cancel_fd, ret_channel, err);
	if (!ret)
		vf_channel_set_trace(*ret_channel, s->trace);
	return ret;
}

int vf_source_connect(struct vf_source_side *side, struct vferry_error *err)
{
	struct vferry_session *s = side->session;
	struct vf_hello hello = {
		.major = VF_STREAM_MAJOR, .minor = VF_STREAM_MINOR, .purpose = VF_PURPOSE_MIGRATE,
		.channel_count = side->channel_count, .features = VF_FEATURE_JOIN,
		.software = "vferry " VFERRY_VERSION,
	};
	int ret = 0;

	memcpy(hello.session_id, s->id, sizeof(hello.session_id));
	for (unsigned i = 0; i < side->channel_count && !ret; i++) {
		ret = connect_to(s, &s->target, s->cancel_fd, &side->channels[i], err);
		if (ret)
			break;
		vf_channel_set_limiter(side->channels[i], side->limiter);
		ret = vf_channel_set_stall_timeout(side->channels[i],
						   s->parameters.stall_timeout_ns);
		hello.channel = i;
		if (!ret && !i)
			ret = vf_link_secret(side->channels[0], side->secret, err);
		if (!ret)
			ret = exchange_hello(side, side->channels[i], &hello, err);
		if (!ret)
			vf_link_note(s, side->channels[i]);
	}
	return ret ? ret : measure_link(side, err);
}

int vf_source_ask(struct vf_source_side *side, const char *uri, struct vferry_error *err)
{
	struct vferry_session *s = side->session;
	struct vf_hello hello = {
		.major = VF_STREAM_MAJOR, .minor = VF_STREAM_MINOR, .purpose = VF_PURPOSE_RESOLVE,
		.channel_count = 1, .features = VF_FEATURE_JOIN,
		.software = "vferry " VFERRY_VERSION,
	};
	struct vf_channel *channel = NULL;
	struct vf_frame frame;
	struct vf_uri target;
	uint8_t *body = NULL;
	uint32_t answer = 0;
	int ret = vf_uri_parse(uri, &target, err);

	memcpy(hello.session_id, s->id, sizeof(hello.session_id));
	if (!ret)
		ret = connect_to(s, &target, -1, &channel, err);
	if (!ret)
		ret = vf_channel_set_stall_timeout(channel, CONNECT_NS);
	if (!ret)
		ret = exchange_hello(side, channel, &hello, err);
	if (!ret)
		ret = vf_channel_send(channel, VF_FRAME_RESOLVE, 0, VF_NO_COMPONENT, s->id,
				      sizeof(s->id), err);
	if (!ret) {
		ret = vf_channel_recv(channel, VF_FRAME_MAX_MESSAGE_BYTES, &frame, &body, err);
		if (ret > 0 && frame.type == VF_FRAME_RESOLVED)
			ret = vf_source_resolution(body, frame.length, &answer, err);
		else if (ret > 0 && frame.type == VF_FRAME_FAILED)
			ret = take_failure(&frame, body, err);
		else
			ret = vferry_error_set(err, ret < 0 ? ret : -EPROTO, "no-answer", uri,
					       "the destination gave no answer on how it ended");
	}
	free(body);
	(void) vf_channel_free(channel);
	return ret ? ret : (int) answer;
}

/* ---- its life ---- */

/* Signs of life are no answer. */
static void check_setup(struct vf_source_side *side)
{
	uint64_t limit = side->session->parameters.stall_timeout_ns;
	struct vferry_error err = VFERRY_ERROR_INIT;
	bool late;

	(void) pthread_mutex_lock(&side->lock);
	late = side->described_ns && !side->answered && limit &&
	       vf_now_ns() - side->described_ns > limit;
	side->answered = side->answered || late;	/* said once */
	(void) pthread_mutex_unlock(&side->lock);
	if (!late)
		return;
	(void) vferry_error_set(&err, -ETIMEDOUT, "setup-timeout",
				vf_channel_name(side->channels[0]),
				"the destination neither accepted nor refused the machine within %llu ms",
				(unsigned long long) (limit / VF_MS_NS));
	vf_session_post_error(side->session, VF_SRC_STALL, &err);
}

/* A silent peer is a dead one: so nobody stays silent. */
static void tick(void *user)
{
	struct vf_source_side *side = user;

	check_setup(side);
	for (unsigned i = 0; i < side->channel_count; i++)
		(void) vf_channel_keepalive(side->channels[i]);
}

int vf_source_link_start(struct vf_source_side *side, struct vferry_error *err)
{
	int ret = vf_source_answers_start(side);

	if (!ret)
		ret = vf_ticker_start(&side->ticker, VF_KEEPALIVE_NS, tick, side);
	return ret ? vferry_error_set(err, ret, "no-thread", NULL, "cannot start a thread: %s",
				      vferry_errno_name(ret)) : 0;
}

void vf_source_link_stop(struct vf_source_side *side)
{
	if (side->file)
		return;		/* its channel is the writer's */
	for (unsigned i = 0; i < side->channel_count; i++)
		if (side->channels[i])
			vf_channel_shutdown(side->channels[i]);
	if (side->return_exists)
		(void) pthread_join(side->return_thread, NULL);
	vf_ticker_stop(&side->ticker);
	side->return_exists = false;
	for (unsigned i = 0; i < side->channel_count; i++)
		side->channels[i] = vf_channel_free(side->channels[i]);
}
