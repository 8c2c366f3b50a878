/* SPDX-License-Identifier: MIT */
/*
 * sim_link.c - connections between the two processes.
 *
 * Each channel is the library's (transfer/channel.h: numbers, checksums, lengths), over a transport
 * that is made up here: what one end sends becomes a packet, which arrives after a while. A channel
 * keeps its order; channels overtake each other. When a connection is cut, the beginning of what was
 * on its way still arrives on each channel, perhaps with a frame torn in two, and each side hears of
 * the end at a moment of its own. What is sent into a broken connection before that is lost.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"
#include "wire/frame.h"

#define WINDOW 32u	/* packets of a channel that are on their way at one time, of pages */

static struct connection *of(const struct transport *t)
{
	return &t->sim->connection[t->connection];
}

static enum side other(enum side side)
{
	return side == SOURCE ? DESTINATION : SOURCE;
}

static bool process_hears(const struct sim *s, enum side side)
{
	return side == SOURCE ? s->src_alive : s->dst_alive;
}

/* ---- transport ---- */

/* A bit that changes must be noticed: that of uncompressed pages only a digest notices. */
static void damage(struct sim *s, struct packet *p)
{
	bool pages = p->data[4] == VF_FRAME_PAGES && !p->data[5];
	size_t covered = pages ? VF_FRAME_HEADER_BYTES + VF_PAGES_HEADER_BYTES : p->bytes;

	p->data[rng_below(&s->rng, covered)] ^= (uint8_t) (1u << rng_below(&s->rng, 8));
	fault(s, FAULT_DAMAGE);
}

static int64_t transport_send(void *transport, const struct iovec *iov, size_t count, bool guest)
{
	struct transport *t = transport;
	struct sim *s = t->sim;
	struct connection *c = of(t);
	size_t bytes = 0, at = 0;
	struct packet *p;
	uint64_t when;

	(void) guest;
	if (c->down[t->side])
		return -EPIPE;
	for (size_t i = 0; i < count; i++)
		bytes += iov[i].iov_len;
	p = world_alloc(sizeof(*p) + bytes);
	*p = (struct packet) { .connection = t->connection, .channel = t->channel,
			       .to = other(t->side), .bytes = bytes };
	for (size_t i = 0; i < count; i++) {
		if (iov[i].iov_len)
			memcpy(p->data + at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	s->seen_frames[t->side] |= 1ull << p->data[4];
	if (++s->packets == s->faults.damage)
		damage(s, p);
	p->lost = c->cut;
	c->flying[t->side][t->channel]++;
	when = vf_max_u64(s->now_ns, c->busy_ns[t->side][t->channel]) +
	       bytes * 1000000000ull / s->rate;
	c->busy_ns[t->side][t->channel] = when;
	when += s->delay_ns + c->skew_ns[t->channel] + some(s, 0, s->delay_ns / 4);
	when = vf_max_u64(when, vf_max_u64(c->stalled_ns, c->last_ns[t->side][t->channel] + 1));
	c->last_ns[t->side][t->channel] = when;
	post(s, when - s->now_ns, (struct event) { .kind = EV_PACKET, .packet = p });
	if (!t->connection)
		spring_frame_traps(s, t->side, p->data[4]);
	return (int64_t) bytes;
}

/* Everything that will come has come: whoever reads never waits. */
static int64_t transport_recv(void *transport, const struct iovec *iov, size_t count, bool guest)
{
	struct transport *t = transport;
	int64_t n = 0;

	(void) guest;
	for (size_t i = 0; i < count && t->at < t->bytes; i++) {
		size_t part = vf_min_u64(iov[i].iov_len, t->bytes - t->at);

		memcpy(iov[i].iov_base, t->data + t->at, part);
		t->at += part;
		n += (int64_t) part;
	}
	if (!n && !t->ended) {
		wrong(t->sim, "a frame was read before it came");
		return -EIO;
	}
	return n;
}

static int transport_set_stall_timeout(void *transport, uint64_t ns)
{
	(void) transport;
	(void) ns;
	return 0;
}

static void transport_shutdown(void *transport)
{
	(void) transport;	/* link_close() did it for all channels */
}

static void transport_free(void *transport)
{
	struct transport *t = transport;

	world_free(t->data);
	t->data = NULL;
}

static const struct vf_transport_ops transport_ops = {
	.send = transport_send,
	.recv = transport_recv,
	.set_stall_timeout = transport_set_stall_timeout,
	.shutdown = transport_shutdown,
	.free = transport_free,
};

/* ---- connections ---- */

int link_open(struct sim *s, enum vf_purpose purpose, unsigned channels)
{
	unsigned index = s->connections;
	struct connection *c = &s->connection[index];

	if (index == MAX_CONNECTIONS)
		return -EMFILE;
	*c = (struct connection) { .purpose = purpose, .channels = channels };
	s->connections++;
	for (unsigned i = 0; i < channels; i++) {
		c->skew_ns[i] = rng_percent(&s->rng, 30) ? some(s, 0, 4 * s->delay_ns) : 0;
		for (int side = SOURCE; side <= DESTINATION; side++) {
			struct transport *t = &c->transport[side][i];
			int ret;

			*t = (struct transport) { .sim = s, .connection = (uint8_t) index,
						  .channel = (uint8_t) i, .side = side };
			ret = vf_channel_new(&transport_ops, t,
					     side == SOURCE ? "source" : "destination",
					     &c->channel[side][i]);
			if (ret)	/* accept() or connect() of one side: the other finds it shut */
				return ret;
		}
	}
	return (int) index;
}

int link_send_bytes(struct sim *s, unsigned connection, enum side from, unsigned channel,
		    enum vf_frame_type type, uint32_t component, const void *body, size_t bytes)
{
	struct connection *c = &s->connection[connection];

	if (!c->channel[from][channel])
		return -ENOTCONN;
	return vf_channel_send(c->channel[from][channel], type,
			       type == VF_FRAME_REPORT || type == VF_FRAME_VECTORS
				       ? VF_FRAME_OPTIONAL : 0,
			       component, body, bytes, NULL);
}

int link_send(struct sim *s, unsigned connection, enum side from, unsigned channel,
	      enum vf_frame_type type, uint32_t component, struct vf_writer *w)
{
	int ret = w->bad ? -ENOMEM : link_send_bytes(s, connection, from, channel, type, component,
						     w->data, w->size);

	vf_writer_done(w);
	return ret;
}

uint64_t link_free_ns(const struct sim *s, enum side from, unsigned channel)
{
	const struct connection *c = &s->connection[0];

	if (c->flying[from][channel] >= WINDOW)
		return s->now_ns + MS / 2;
	return vf_max_u64(s->now_ns, c->busy_ns[from][channel]);
}

static void will_hear(struct sim *s, unsigned connection, enum side side, unsigned channel,
		      uint64_t ns)
{
	post(s, ns, (struct event) { .kind = EV_HEARS, .a = connection,
				     .b = (uint32_t) side | channel << 1 });
}

/* What was sent still arrives, then the other side hears of it, on each channel for itself. */
void link_close(struct sim *s, unsigned connection, enum side side)
{
	struct connection *c = &s->connection[connection];
	uint64_t last;

	if (connection >= s->connections || c->down[side])
		return;
	c->down[side] = true;
	for (unsigned i = 0; i < c->channels; i++) {
		if (c->channel[side][i])
			vf_channel_shutdown(c->channel[side][i]);
		last = vf_max_u64(s->now_ns, c->last_ns[side][i]);
		if (!c->cut)
			will_hear(s, connection, other(side), i,
				  last - s->now_ns + some(s, 1, s->delay_ns));
	}
}

/* On each channel and each way, the beginning of what was under way still arrives. */
static void lose_packets(struct sim *s, unsigned connection)
{
	for (int to = SOURCE; to <= DESTINATION; to++) {
		for (unsigned channel = 0; channel < MAX_CHANNELS; channel++) {
			struct packet *flying[MAX_EVENTS];
			uint64_t order[MAX_EVENTS];
			size_t n = 0, keep;

			for (size_t i = 0; i < s->queued; i++) {
				struct packet *p = s->queue[i].packet;
				size_t k = n;

				if (!p || p->connection != connection || p->channel != channel ||
				    p->to != (enum side) to)
					continue;
				for (; k && order[k - 1] > s->queue[i].order; k--) {
					order[k] = order[k - 1];
					flying[k] = flying[k - 1];
				}
				order[k] = s->queue[i].order;
				flying[k] = p;
				n++;
			}
			keep = rng_percent(&s->rng, 40) ? n : rng_below(&s->rng, n + 1);
			for (size_t i = keep; i < n; i++)
				flying[i]->lost = true;
			if (keep < n)
				fault(s, FAULT_FRAMES_LOST);
			if (keep < n && rng_percent(&s->rng, 30)) {
				flying[keep]->lost = false;
				flying[keep]->torn = true;
				flying[keep]->bytes = rng_below(&s->rng, flying[keep]->bytes);
				fault(s, FAULT_FRAME_TORN);
			}
		}
	}
}

void link_cut(struct sim *s, unsigned connection)
{
	struct connection *c = &s->connection[connection];

	if (connection >= s->connections || c->cut || (c->down[SOURCE] && c->down[DESTINATION]))
		return;
	fault(s, FAULT_CUT);
	c->cut = true;
	lose_packets(s, connection);
	for (int side = SOURCE; side <= DESTINATION; side++) {
		bool late = rng_percent(&s->rng, 15);

		if (late)
			fault(s, FAULT_HALF_OPEN);
		for (unsigned i = 0; i < c->channels; i++)
			will_hear(s, connection, (enum side) side, i,
				  some(s, MS / 2, late ? 2 * s->stall_timeout_ns : 30 * MS));
	}
}

/* Nothing arrives for @ns; the source, which hears nothing, may give up meanwhile. */
void link_stall(struct sim *s, unsigned connection, uint64_t ns)
{
	struct connection *c = &s->connection[connection];

	if (connection >= s->connections || c->cut || c->down[SOURCE] || c->down[DESTINATION])
		return;
	fault(s, FAULT_STALL);
	c->stalled_ns = s->now_ns + ns;
	for (size_t i = 0; i < s->queued; i++) {
		struct event *e = &s->queue[i];

		if (e->kind == EV_PACKET && e->packet->connection == connection)
			e->at_ns += ns;
	}
	for (int side = SOURCE; side <= DESTINATION; side++)
		for (unsigned i = 0; i < MAX_CHANNELS; i++)
			c->last_ns[side][i] += ns;
	if (ns > s->stall_timeout_ns && !connection)
		post(s, s->stall_timeout_ns, (struct event) { .kind = EV_STALLED });
}

/* ---- arriving ---- */

/* The thread that reads answers ends; what the source sends still goes out. */
void link_source_stalls(struct sim *s)
{
	struct connection *c = &s->connection[0];

	/* Whoever waits for a greeting waits for nothing else. */
	if (!s->connections || c->down[SOURCE] || c->transport[SOURCE][0].closed ||
	    (c->stalled_ns <= s->now_ns && s->src.state != VF_SRC_NONE))
		return;
	c->transport[SOURCE][0].closed = true;
	if (s->src.state == VF_SRC_NONE)
		source_link_lost(s, 0, NULL);
	else
		SRC(s, STALL);
}

static void read_at_source(struct sim *s, unsigned connection, struct transport *t)
{
	struct connection *c = &s->connection[connection];
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_frame frame;
	uint8_t *body = NULL;
	int ret = vf_channel_recv(c->channel[SOURCE][t->channel], VF_FRAME_MAX_MESSAGE_BYTES, &frame,
				  &body, &err);

	if (ret > 0)
		ret = source_frame(s, connection, &frame, body, &err) ?: 1;
	free(body);
	if (ret > 0)
		return;
	t->closed = true;
	if (!c->down[SOURCE])
		source_link_lost(s, connection, &err);
}

static void read_at_destination(struct sim *s, unsigned connection, struct transport *t)
{
	struct connection *c = &s->connection[connection];
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_frame frame;
	int ret = vf_channel_recv_header(c->channel[DESTINATION][t->channel], VF_FRAME_MAX_BYTES,
					 &frame, &err);

	if (ret > 0)
		ret = destination_frame(s, connection, t->channel, &frame, &err) ?: 1;
	if (ret > 0)
		return;
	t->closed = true;
	if (!c->down[DESTINATION])
		destination_link_lost(s, connection, &err, ret);
}

static void read_now(struct sim *s, unsigned connection, enum side side, unsigned channel)
{
	struct connection *c = &s->connection[connection];
	struct transport *t = &c->transport[side][channel];

	while ((t->at < t->bytes || t->ended) && !t->closed && !c->down[side] &&
	       process_hears(s, side) && c->channel[side][channel]) {
		s->acting = side;
		if (side == SOURCE)
			read_at_source(s, connection, t);
		else
			read_at_destination(s, connection, t);
	}
}

void link_arrives(struct sim *s, struct packet *p)
{
	struct connection *c = &s->connection[p->connection];
	struct transport *t = &c->transport[p->to][p->channel];
	size_t left = t->bytes - t->at;

	c->flying[other(p->to)][p->channel]--;
	if (p->lost || c->down[p->to] || t->closed || t->ended || !c->channel[p->to][p->channel]) {
		world_free(p);
		return;
	}
	if (t->room < left + p->bytes) {
		uint8_t *more = world_alloc(2 * (left + p->bytes));

		if (left)
			memcpy(more, t->data + t->at, left);
		world_free(t->data);
		t->data = more;
		t->room = 2 * (left + p->bytes);
	} else if (left) {
		memmove(t->data, t->data + t->at, left);
	}
	if (p->bytes)
		memcpy(t->data + left, p->data, p->bytes);
	t->at = 0;
	t->bytes = left + p->bytes;
	/* The rest of a torn frame never comes: who reads it waits until it hears of the end. */
	if (!p->torn)
		read_now(s, p->connection, p->to, p->channel);
	world_free(p);
}

void link_hears(struct sim *s, unsigned connection, enum side side, unsigned channel)
{
	s->connection[connection].transport[side][channel].ended = true;
	read_now(s, connection, side, channel);
}

void link_free(struct sim *s)
{
	for (unsigned i = 0; i < s->connections; i++)
		for (int side = SOURCE; side <= DESTINATION; side++)
			for (unsigned k = 0; k < MAX_CHANNELS; k++)
				s->connection[i].channel[side][k] =
					vf_channel_free(s->connection[i].channel[side][k]);
}
