/* SPDX-License-Identifier: MIT */
/* play.c - see play.h. */
#define _GNU_SOURCE
#include "play.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/clock.h"
#include "wire/message.h"

/* ---- what the other side says ---- */

/* Keeps track of frames without believing them more than needed. */
struct listener {
	int fd;
	bool closed;
	uint8_t header[VF_FRAME_HEADER_BYTES];
	size_t have;
	uint64_t skip;
	uint64_t *seen;
	uint64_t probes;	/* KEEPALIVE that wants an answer */
	bool initial_end;	/* a stream's initial bytes are all sent */
	uint8_t mark[8];	/* the first bytes of a body */
	size_t mark_have;
};

static void take_header(struct listener *l)
{
	uint16_t type = vf_get_u16(l->header + 4);

	l->skip = vf_get_u32(l->header + 12);
	l->have = 0;
	l->mark_have = 0;
	if (type < 32)
		l->seen[type]++;
	if (type == VF_FRAME_KEEPALIVE && l->skip >= 4)
		l->probes++;
}

static void take(struct listener *l, const uint8_t *data, size_t size)
{
	while (size) {
		size_t n;

		if (l->skip) {
			n = vf_min_u64(l->skip, size);
			for (size_t i = 0; i < n && l->mark_have < sizeof(l->mark); i++)
				l->mark[l->mark_have++] = data[i];
			l->skip -= n;
			if (vf_get_u16(l->header + 4) == VF_FRAME_STREAM_MARK &&
			    l->mark_have == sizeof(l->mark) &&
			    vf_get_u32(l->mark + 4) == VF_MARK_INITIAL_END)
				l->initial_end = true;
		} else {
			n = vf_min_u64(sizeof(l->header) - l->have, size);
			memcpy(l->header + l->have, data, n);
			l->have += n;
			if (l->have == sizeof(l->header))
				take_header(l);
		}
		data += n;
		size -= n;
	}
}

static void listen_once(struct listener *l)
{
	uint8_t piece[65536];
	ssize_t n;

	while ((n = recv(l->fd, piece, sizeof(piece), MSG_DONTWAIT)) > 0)
		take(l, piece, (size_t) n);
	if (!n || (errno != EAGAIN && errno != EINTR))
		l->closed = true;
}

/* ---- whose turn is it? ---- */

static bool given_up(const struct hostile_play *p)
{
	return p->role == HOSTILE_SOURCE ? p->seen[VF_FRAME_FAILED] || p->seen[VF_FRAME_REFUSE]
					 : p->seen[VF_FRAME_CANCEL];
}

static bool source_turn(const struct hostile_play *p, uint16_t type)
{
	switch (type) {
	case VF_FRAME_HELLO:
	case VF_FRAME_JOIN:
		return true;
	case VF_FRAME_MACHINE:
	case VF_FRAME_KEEPALIVE:
	case VF_FRAME_RESOLVE:
	case VF_FRAME_CANCEL:
		return p->seen[VF_FRAME_HELLO];
	case VF_FRAME_COMMIT:
		return p->seen[VF_FRAME_PREPARED];
	default:
		return p->seen[VF_FRAME_ACCEPT];
	}
}

static bool destination_turn(const struct hostile_play *p, const struct listener *l, uint16_t type,
			     uint64_t keepalives)
{
	switch (type) {
	case VF_FRAME_KEEPALIVE:
		return l->probes > keepalives || p->seen[VF_FRAME_MACHINE];
	case VF_FRAME_ACCEPT:
	case VF_FRAME_REFUSE:
		return p->seen[VF_FRAME_MACHINE];
	case VF_FRAME_CREDIT:
	case VF_FRAME_INITIAL_ACK:
		return l->initial_end;
	case VF_FRAME_PREPARED:
		return p->seen[VF_FRAME_MANIFEST];
	case VF_FRAME_RUNNING:
	case VF_FRAME_REPORT:
	case VF_FRAME_VECTORS:
	case VF_FRAME_RESOLVED:
		return p->seen[VF_FRAME_COMMIT];
	default:
		return p->seen[VF_FRAME_HELLO];
	}
}

static bool session_over(const struct hostile_play *p)
{
	return !vferry_session_wait(p->session, 1);
}

static void wait_turn(struct hostile_play *p, struct listener *l, uint16_t type, uint64_t keepalives)
{
	uint64_t until = vf_now_ns() + p->gate_ms * VF_MS_NS;

	for (;;) {
		struct pollfd poll_fd = { .fd = l->fd, .events = POLLIN };

		listen_once(l);
		if (l->closed || given_up(p) || vf_now_ns() >= until ||
		    (p->role == HOSTILE_SOURCE ? source_turn(p, type)
					       : destination_turn(p, l, type, keepalives)) ||
		    session_over(p))
			return;
		(void) poll(&poll_fd, 1, 1);
	}
}

/* ---- playing ---- */

/* Return: all of it went. Nobody may read it, so it gives up after a while. */
static bool say(struct hostile_play *p, struct listener *l, const uint8_t *data, size_t size)
{
	uint64_t until = vf_now_ns() + p->gate_ms * VF_MS_NS;

	while (size && !l->closed) {
		struct pollfd poll_fd = { .fd = l->fd, .events = POLLIN | POLLOUT };
		ssize_t n = send(l->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n > 0) {
			data += n;
			size -= (size_t) n;
			continue;
		}
		if (errno != EAGAIN || vf_now_ns() >= until || session_over(p))
			return false;
		(void) poll(&poll_fd, 1, 1);
		listen_once(l);
	}
	return !size;
}

static void wait_end(struct hostile_play *p, struct listener *l)
{
	uint64_t until = vf_now_ns() + p->gate_ms * VF_MS_NS;

	while (!l->closed && !session_over(p) && (p->stay || vf_now_ns() < until)) {
		struct pollfd poll_fd = { .fd = l->fd, .events = POLLIN };

		(void) poll(&poll_fd, 1, 1);
		listen_once(l);
	}
	if (!l->closed)
		listen_once(l);		/* the last words of a session that is over */
}

void hostile_play(struct hostile_play *p, int take_fd)
{
	struct listener l = { .fd = take_fd, .seen = p->seen };
	uint64_t keepalives = 0;
	size_t total = 0;
	bool whole = true, cut;

	for (unsigned i = 0; i < p->frames->count && whole; i++) {
		const struct hostile_frame *f = &p->frames->frames[i];
		uint16_t type = hostile_frame_type(f);
		uint8_t *bytes;
		size_t size;

		if (!(hostile_frame_flags(f) & HOSTILE_EARLY))
			wait_turn(p, &l, type, keepalives);
		keepalives += type == VF_FRAME_KEEPALIVE;
		bytes = hostile_frame_bytes(f, i, &size);
		cut = p->cut_at && size > p->cut_at - total;
		if (cut)
			size = p->cut_at - total;
		whole = say(p, &l, bytes, size) && !cut;
		free(bytes);
		p->sent += whole;
		p->committed = p->committed || (whole && type == VF_FRAME_COMMIT);
		total += size;
		if (p->cut_at && total == p->cut_at)
			break;
	}
	if (!p->stay)
		(void) shutdown(take_fd, SHUT_WR);
	wait_end(p, &l);
	(void) close(take_fd);
}

static void bind_fd(struct small_machine *m, bool destination, int fd)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	char uri[32];

	(void) snprintf(uri, sizeof(uri), "fd:%d", fd);
	if (destination ? vferry_session_accept(m->session, uri, &err)
			: vferry_session_migrate(m->session, uri, &err)) {
		fprintf(stderr, "%s: %s\n", err.id, err.message);
		abort();
	}
}

/* What both sides say of interrupts comes last, or is known not to come. */
static struct vferry_interrupts *wait_interrupts(struct vferry_session *session)
{
	struct vferry_interrupts *in;

	for (;;) {
		if (vferry_session_interrupts(session, &in))
			abort();
		if (in->after != VFERRY_KNOWN_SOON)
			return in;
		free(in);
		(void) poll(NULL, 0, 1);
	}
}

int hostile_session(struct small_machine *m, struct hostile_play *play,
		    const struct vferry_parameters *p, uint64_t limit_ns,
		    struct vferry_status *ret_status)
{
	bool destination = play->role == HOSTILE_SOURCE;
	int pair[2], ret;
	bool held;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		abort();
	small_machine_session(m, p);
	play->session = m->session;
	bind_fd(m, destination, pair[0]);
	hostile_play(play, pair[1]);
	/* A destination that has promised, and hears no COMMIT, keeps the promise: no end to wait for. */
	held = destination && play->seen[VF_FRAME_PREPARED] && !play->committed;
	ret = vferry_session_wait(m->session, held ? SMALL_SECOND_NS / 20 : limit_ns);
	(void) close(pair[0]);
	vferry_session_get_status(m->session, ret_status);
	if (play->ret_interrupts)
		*play->ret_interrupts = wait_interrupts(m->session);
	m->session = vferry_session_free(m->session);
	return ret;
}

/* ---- recording ---- */

struct tap {
	int from, to;
	uint8_t *bytes;
	size_t size, room;
};

static void *tap_main(void *user)
{
	struct tap *t = user;
	uint8_t piece[65536];
	ssize_t n;

	while ((n = recv(t->from, piece, sizeof(piece), 0)) > 0) {
		if (t->size + (size_t) n > t->room) {
			t->room = 2 * (t->size + (size_t) n);
			t->bytes = realloc(t->bytes, t->room);
			if (!t->bytes)
				abort();
		}
		memcpy(t->bytes + t->size, piece, (size_t) n);
		t->size += (size_t) n;
		for (ssize_t at = 0; at < n;) {
			ssize_t sent = send(t->to, piece + at, (size_t) (n - at), MSG_NOSIGNAL);

			if (sent <= 0)
				return NULL;
			at += sent;
		}
	}
	(void) shutdown(t->to, SHUT_WR);
	return NULL;
}

bool hostile_record(const struct vferry_parameters *p, struct hostile_recording *ret)
{
	struct small_machine from, to;
	struct vferry_status status;
	struct tap taps[2] = { 0 };
	pthread_t threads[2];
	int near[2], far[2];
	bool done;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, near) ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, far))
		abort();
	taps[0].from = taps[1].to = near[1];
	taps[0].to = taps[1].from = far[1];
	small_machine_init(&from, true);
	small_machine_init(&to, false);
	small_machine_session(&from, p);
	small_machine_session(&to, p);
	for (unsigned i = 0; i < 2; i++)
		if (pthread_create(&threads[i], NULL, tap_main, &taps[i]))
			abort();
	bind_fd(&to, true, far[0]);
	bind_fd(&from, false, near[0]);
	(void) vferry_session_wait(from.session, 20 * SMALL_SECOND_NS);
	(void) vferry_session_wait(to.session, 20 * SMALL_SECOND_NS);
	vferry_session_get_status(from.session, &status);
	done = status.outcome == VFERRY_OUTCOME_DONE && small_machine_is_whole(&to);
	free(wait_interrupts(from.session));
	(void) close(near[0]);
	(void) close(far[0]);
	small_machine_done(&from);
	small_machine_done(&to);
	for (unsigned i = 0; i < 2; i++)
		(void) pthread_join(threads[i], NULL);
	(void) close(near[1]);
	(void) close(far[1]);
	*ret = (struct hostile_recording) {
		.from_source = taps[0].bytes, .source_bytes = taps[0].size,
		.from_destination = taps[1].bytes, .destination_bytes = taps[1].size,
	};
	return done;
}
