/* SPDX-License-Identifier: MIT */
/*
 * hostile destination: a source whose answers are cut, damaged, reordered, repeated, oversized, false, or
 * none at all. Until it has said COMMIT its machine runs on, whole, and can be moved to somebody else;
 * it ends in time with a reason, and takes no more memory than was agreed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "hostile.h"
#include "wire/message.h"

static struct hostile_stream stream;

static struct vferry_parameters impatient(void)
{
	struct vferry_parameters p = VFERRY_PARAMETERS_INIT;

	p.stall_timeout_ns = SMALL_SECOND_NS;
	p.pause_budget_ns = SMALL_SECOND_NS / 2;
	p.timeout_ns = 2 * SMALL_SECOND_NS;
	return p;
}

/* The machine, which met one hostile destination, is moved to a good one. */
static void move_on(const char *what, struct small_machine *m)
{
	struct vferry_parameters p = VFERRY_PARAMETERS_INIT;
	struct hostile_play play = {
		.role = HOSTILE_DESTINATION, .frames = &good, .gate_ms = 10000, .stay = true,
	};
	struct vferry_status status;

	assert_int_equal(hostile_session(m, &play, &p, LIMIT_NS, &status), 0);
	if (status.outcome != VFERRY_OUTCOME_DONE || m->running)
		fail_msg("%s: cannot be moved afterwards: %s", what, status.error.message);
}

struct outcome {
	struct vferry_status status;
	bool running, committed;
};

static struct outcome run(const char *what, const struct hostile_stream *s, size_t cut_at)
{
	static unsigned count;
	struct vferry_parameters p = impatient();
	struct hostile_play play = {
		.role = HOSTILE_DESTINATION, .frames = s, .gate_ms = 300, .cut_at = cut_at,
	};
	struct small_machine m;
	struct outcome o;

	small_machine_init(&m, true);
	memory_use_reset();
	if (hostile_session(&m, &play, &p, LIMIT_NS, &o.status))
		fail_msg("%s: a source that does not end", what);
	o.running = m.running;
	o.committed = play.seen[VF_FRAME_COMMIT];
	check_memory(what);
	if (!o.committed && (!o.running || !small_machine_is_whole(&m)))
		fail_msg("%s: a machine was lost that was never given away: %s", what,
			 o.status.error.message);
	if (o.running && o.status.outcome != VFERRY_OUTCOME_FAILED &&
	    o.status.outcome != VFERRY_OUTCOME_REFUSED)
		fail_msg("%s: it runs, and the outcome is %d", what, o.status.outcome);
	if (o.status.outcome != VFERRY_OUTCOME_DONE)
		check_error(what, &o.status);
	if (!o.committed && ++count % 16 == 0)
		move_on(what, &m);
	small_machine_done(&m);
	return o;
}

static void good_stream(void **state)
{
	struct small_machine m;

	(void) state;
	small_machine_init(&m, true);
	move_on("good", &m);
	small_machine_done(&m);
}

/* ---- cut, changed, reordered ---- */

static void cut_sessions(void **state)
{
	size_t at = 0;

	(void) state;
	for (unsigned i = 0; i < good.count; i++) {
		size_t size = VF_FRAME_HEADER_BYTES + good.frames[i].bytes;
		const size_t cuts[] = { 1, 16, 31, 32, 33, size / 2, size - 1, size };

		for (unsigned c = 0; c < sizeof(cuts) / sizeof(*cuts); c++) {
			size_t cut = at + (cuts[c] < size ? cuts[c] : size);
			struct outcome o;
			char what[64];

			(void) snprintf(what, sizeof(what), "cut at byte %zu", cut);
			o = run(what, &good, cut);
			if (o.committed && o.status.outcome != VFERRY_OUTCOME_DONE &&
			    o.status.outcome != VFERRY_OUTCOME_UNKNOWN)
				fail_msg("%s: outcome %d", what, o.status.outcome);
		}
		at += size;
	}
}

static void changed_bits(void **state)
{
	(void) state;
	for (unsigned i = 0; i < good.count; i++) {
		uint32_t bits = good.frames[i].bytes * 8;

		for (uint32_t bit = i % 7; bit < bits;
		     bit += (bits > 1000 ? 61 : 7) * STRIDE) {
			char what[64];

			copy_good(&stream);
			stream.frames[i].body[bit / 8] ^= (uint8_t) (1u << bit % 8);
			(void) snprintf(what, sizeof(what), "answer %u, bit %u of its body", i, bit);
			(void) run(what, &stream, 0);
			hostile_stream_done(&stream);
		}
	}
}

/* Each answer is dropped, repeated, at once or last; in its turn, or before. */
static void rearranged(void **state)
{
	static const char *const ways[] = { "dropped", "repeated", "early", "last" };

	(void) state;
	for (unsigned i = 0; i < 4 * good.count; i++) {
		unsigned at = i / 4, way = i % 4;
		struct hostile_frame *f;
		struct outcome o;
		char what[64];

		copy_good(&stream);
		f = &stream.frames[at];
		(void) snprintf(what, sizeof(what), "answer %u (%s) %s", at,
				vf_frame_type_name(hostile_frame_type(f)), ways[way]);
		if (way == 1)
			assert_true(hostile_stream_insert(&stream, at, f));
		if (way == 2)
			hostile_frame_set_flags(f, HOSTILE_EARLY | hostile_frame_flags(f));
		if (way == 2 && at > 1)		/* with a greeting in front, at the most */
			assert_true(hostile_stream_insert(&stream, 1, f));
		if (way == 3)
			assert_true(hostile_stream_insert(&stream, stream.count, f));
		if (way == 0 || way == 3)
			hostile_stream_remove(&stream, at);
		o = run(what, &stream, 0);
		if (way == 1 && hostile_frame_type(&good.frames[at]) == VF_FRAME_ACCEPT &&
		    (!o.running || strcmp(o.status.error.id, "unexpected-frame")))
			fail_msg("%s: taken twice: %s", what, o.status.error.message);
		hostile_stream_done(&stream);
	}
}

/* Everything that a destination may never say, at every moment. */
static void out_of_place(void **state)
{
	static const uint16_t types[] = {
		VF_FRAME_MACHINE, VF_FRAME_PAGES, VF_FRAME_SECTION, VF_FRAME_STREAM_DATA,
		VF_FRAME_COMMIT, VF_FRAME_CANCEL, VF_FRAME_RESOLVE, VF_FRAME_RESOLVED,
		VF_FRAME_RUNNING, VF_FRAME_PREPARED, VF_FRAME_REFUSE, VF_FRAME_DIGEST, 77,
	};

	(void) state;
	for (unsigned i = 0; i < sizeof(types) / sizeof(*types); i++) {
		for (unsigned at = 0; at < 6; at++) {
			struct hostile_frame f = { .body = (uint8_t[8]) { 1 }, .bytes = 8 };
			struct outcome o;
			char what[64];

			copy_good(&stream);
			vf_put_u16(f.header + 4, types[i]);
			vf_put_u16(f.header + 6, HOSTILE_EARLY);
			vf_put_u32(f.header + 8, VF_NO_COMPONENT);
			assert_true(hostile_stream_insert(&stream, at, &f));
			(void) snprintf(what, sizeof(what), "type %u as answer %u", types[i], at);
			o = run(what, &stream, 0);
			assert_int_not_equal(o.status.outcome, VFERRY_OUTCOME_DONE);
			assert_true(o.running);
			hostile_stream_done(&stream);
		}
	}
}

/* ---- lies ---- */

static void oversized(void **state)
{
	static const uint32_t lengths[] = { VF_FRAME_MAX_MESSAGE_BYTES + 1, 0xffffffff };

	(void) state;
	for (unsigned i = 0; i < good.count * 2; i++) {
		struct hostile_frame *f;
		struct outcome o;
		char what[64];

		copy_good(&stream);
		f = &stream.frames[i / 2];
		vf_put_u32(f->header + 12, lengths[i % 2]);
		hostile_frame_set_flags(f, HOSTILE_LENGTH | hostile_frame_flags(f));
		(void) snprintf(what, sizeof(what), "answer %u of %u bytes", i / 2, lengths[i % 2]);
		o = run(what, &stream, 0);
		if (hostile_frame_type(f) == VF_FRAME_VECTORS)	/* by then it is done */
			assert_int_equal(o.status.outcome, VFERRY_OUTCOME_DONE);
		else if (!strstr(o.status.error.message, "length"))
			fail_msg("%s: %s", what, o.status.error.message);
		hostile_stream_done(&stream);
	}
}

/* ---- older versions ---- */

static struct vferry_interrupts *interrupts_after(const struct hostile_stream *s)
{
	struct vferry_interrupts *in = NULL;
	struct vferry_parameters p = VFERRY_PARAMETERS_INIT;
	struct hostile_play play = {
		.role = HOSTILE_DESTINATION, .frames = s, .gate_ms = 10000, .ret_interrupts = &in,
	};
	struct vferry_status status;
	struct small_machine m;

	small_machine_init(&m, true);
	assert_int_equal(hostile_session(&m, &play, &p, LIMIT_NS, &status), 0);
	assert_int_equal(status.outcome, VFERRY_OUTCOME_DONE);
	small_machine_done(&m);
	assert_int_equal(in->before, VFERRY_KNOWN);
	return in;
}

/* Who delivers interrupts is told by destinations since 1.2, last; nobody waits for one that does not. */
static void does_not_tell_of_interrupts(void **state)
{
	struct vferry_interrupts *in = interrupts_after(&good);
	int accept, vectors;

	(void) state;
	assert_int_equal(in->after, VFERRY_KNOWN);
	free(in);
	copy_good(&stream);
	vectors = hostile_stream_find(&stream, VF_FRAME_VECTORS, 0);
	assert_true(vectors > hostile_stream_find(&stream, VF_FRAME_RUNNING, 0));
	assert_true(hostile_frame_flags(&stream.frames[vectors]) & VF_FRAME_OPTIONAL);
	hostile_stream_remove(&stream, (unsigned) vectors);
	in = interrupts_after(&stream);		/* it said that it would, and was killed, say */
	assert_int_equal(in->after, VFERRY_KNOWN_NOT);
	assert_string_equal(in->after_reason, "the link ended before the destination told");
	free(in);
	vf_put_u16(stream.frames[hostile_stream_find(&stream, VF_FRAME_HELLO, 0)].body + 2, 1);
	accept = hostile_stream_find(&stream, VF_FRAME_ACCEPT, 0);
	vf_put_u64(stream.frames[accept].body, 0);
	in = interrupts_after(&stream);
	assert_int_equal(in->after, VFERRY_KNOWN_NOT);
	assert_string_equal(in->after_reason, "the destination's version does not tell");
	free(in);
	hostile_stream_done(&stream);
}

static void lying_fields(void **state)
{
	static const struct {
		uint16_t type;
		uint32_t at;
		uint32_t value;
		const char *field;	/* NULL: it may say so, and is believed or ignored */
	} lies[] = {
		{ VF_FRAME_HELLO, 0, 2, "major" },
		{ VF_FRAME_HELLO, 28, 0, "channel_count" },
		{ VF_FRAME_ACCEPT, 24, 0xffffffff, "credit_count" },
		{ VF_FRAME_ACCEPT, 24, 512, "credit_count" },
		{ VF_FRAME_ACCEPT, 24, 0, "bytes too many" },
		{ VF_FRAME_ACCEPT, 28, 77, NULL },		/* credit for nobody */
		{ VF_FRAME_ACCEPT, 32, 0, NULL },		/* no credit at all */
		{ VF_FRAME_ACCEPT, 36, 0xffffffff, NULL },	/* credit without end */
		{ VF_FRAME_ACCEPT, 20, 0xfffffffe, NULL },	/* loading takes centuries */
		{ VF_FRAME_INITIAL_ACK, 0, 7, NULL },
	};

	(void) state;
	for (unsigned i = 0; i < sizeof(lies) / sizeof(*lies); i++) {
		struct outcome o;
		char what[64];
		int frame;

		copy_good(&stream);
		frame = hostile_stream_find(&stream, lies[i].type, 0);
		assert_true(frame >= 0);
		vf_put_u32(stream.frames[frame].body + lies[i].at, lies[i].value);
		(void) snprintf(what, sizeof(what), "%s: %u at %u", vf_frame_type_name(lies[i].type),
				lies[i].value, lies[i].at);
		o = run(what, &stream, 0);
		if (lies[i].field && (!strstr(o.status.error.message, lies[i].field) ||
				      !strstr(o.status.error.message, "at byte ")))
			fail_msg("%s: \"%s\" does not name %s", what, o.status.error.message,
				 lies[i].field);
		hostile_stream_done(&stream);
	}
}

static void lying_components(void **state)
{
	(void) state;
	for (unsigned i = 0; i < 2 * good.count; i++) {
		char what[64];

		copy_good(&stream);
		vf_put_u32(stream.frames[i / 2].header + 8, i % 2 ? 0 : 0x7fffffff);
		(void) snprintf(what, sizeof(what), "answer %u for another component", i / 2);
		(void) run(what, &stream, 0);
		hostile_stream_done(&stream);
	}
}

/* What a destination says of its reasons is shown to people. */
static void reasons_with_escapes(void **state)
{
	struct vferry_error why = { .code = -EIO, .phase = "setup", .object = "x\x1b[2Jy",
				    .id = "bad\r\nid", .message = "gone\x1b]0;title\x07\xff now" };
	struct hostile_frame f = { 0 };
	struct outcome o;
	struct vf_writer w;

	(void) state;
	vf_writer_init(&w, 4096);
	vf_failure_encode(&w, &why);
	f.body = w.data;
	f.bytes = (uint32_t) w.size;
	vf_put_u16(f.header + 4, VF_FRAME_FAILED);
	copy_good(&stream);
	assert_true(hostile_stream_insert(&stream, 4, &f));
	o = run("a reason with escapes", &stream, 0);
	assert_string_equal(o.status.error.message, "gone?]0;title?? now");
	assert_string_equal(o.status.error.object, "x?[2Jy");
	hostile_stream_done(&stream);
	vf_writer_done(&w);
}

/* ---- time ---- */

/* Signs of life, and never the answer that is waited for: the first @kept frames, then keepalives. */
static void only_keepalives(unsigned kept, const char *id)
{
	struct vferry_parameters p = VFERRY_PARAMETERS_INIT;
	struct hostile_frame alive = { .body = (uint8_t[4]) { 9 }, .bytes = 4 };
	struct small_machine m;
	struct vferry_status status;
	uint64_t began;
	char uri[32];
	int pair[2];

	p.stall_timeout_ns = SMALL_SECOND_NS;
	vf_put_u16(alive.header + 4, VF_FRAME_KEEPALIVE);
	vf_put_u16(alive.header + 6, VF_FRAME_OPTIONAL);
	vf_put_u32(alive.header + 8, VF_NO_COMPONENT);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	(void) snprintf(uri, sizeof(uri), "fd:%d", pair[0]);
	small_machine_init(&m, true);
	small_machine_session(&m, &p);
	began = vf_now_ns();
	assert_int_equal(vferry_session_migrate(m.session, uri, NULL), 0);
	for (uint64_t i = 0; vferry_session_wait(m.session, 10000000); i++) {
		const struct hostile_frame *f = i < kept ? &good.frames[i] : &alive;
		uint8_t waste[65536];
		size_t size;
		uint8_t *bytes = hostile_frame_bytes(f, i, &size);

		while (recv(pair[1], waste, sizeof(waste), MSG_DONTWAIT) > 0)
			continue;
		(void) send(pair[1], bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
		free(bytes);
		if (vf_now_ns() - began > LIMIT_NS)
			fail_msg("after %u answers: waited for ever", kept);
	}
	vferry_session_get_status(m.session, &status);
	if (strcmp(status.error.id, id))
		fail_msg("%s instead of %s: %s", status.error.id, id, status.error.message);
	assert_true(m.running);
	small_machine_done(&m);
	(void) close(pair[0]);
	(void) close(pair[1]);
}

static void nothing_but_signs_of_life(void **state)
{
	(void) state;
	only_keepalives(0, "unexpected-frame");	/* where a greeting was due */
	only_keepalives(1, "probe-failed");
	only_keepalives(3, "setup-timeout");
}

/* It takes the connection, or reads some, and says no word. */
static void silent(void **state)
{
	(void) state;
	for (unsigned kept = 0; kept < 4; kept++) {
		struct outcome o;
		char what[64];

		copy_good(&stream);
		while (stream.count > kept)
			hostile_stream_remove(&stream, stream.count - 1);
		(void) snprintf(what, sizeof(what), "silent after %u answers", kept);
		o = run(what, &stream, 0);
		assert_true(o.running);
		hostile_stream_done(&stream);
	}
}

static int set_up(void **state)
{
	(void) state;
	return record_good(false);
}

static int clean_up(void **state)
{
	(void) state;
	forget_good();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_stream),
		cmocka_unit_test(cut_sessions),
		cmocka_unit_test(changed_bits),
		cmocka_unit_test(rearranged),
		cmocka_unit_test(out_of_place),
		cmocka_unit_test(oversized),
		cmocka_unit_test(does_not_tell_of_interrupts),
		cmocka_unit_test(lying_fields),
		cmocka_unit_test(lying_components),
		cmocka_unit_test(reasons_with_escapes),
		cmocka_unit_test(nothing_but_signs_of_life),
		cmocka_unit_test(silent),
	};

	return cmocka_run_group_tests(tests, set_up, clean_up);
}
