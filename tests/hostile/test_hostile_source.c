/* SPDX-License-Identifier: MIT */
/*
 * hostile source: a destination that is sent streams which are cut, damaged, reordered, repeated,
 * oversized, or somebody else's, and by sources that say nothing for long. Whatever comes: it ends in
 * time with a reason that says where, takes no more memory than was agreed, and runs only a machine
 * that is whole and was handed over.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "hostile.h"
#include "transfer/channel.h"
#include "wire/message.h"

static struct hostile_stream stream;

/* ---- one destination, one stream ---- */

struct outcome {
	struct vferry_status status;
	bool ended, running, whole, prepared;
};

/* @stall_ns: what it waits for a source that says nothing, and is there. */
static struct outcome run_patiently(const char *what, struct hostile_stream *s, size_t cut_at,
				    uint64_t stall_ns)
{
	struct vferry_parameters p = VFERRY_PARAMETERS_INIT;
	struct hostile_play play = {
		.role = HOSTILE_SOURCE, .frames = s, .cut_at = cut_at,
		.gate_ms = s == &good && !cut_at ? 10000 : 300,
	};
	struct small_machine m;
	struct outcome o;

	p.stall_timeout_ns = stall_ns;
	memory_use_reset();
	small_machine_init(&m, false);
	o.ended = !hostile_session(&m, &play, &p, LIMIT_NS, &o.status);

	o.prepared = play.seen[VF_FRAME_PREPARED];
	/* A promise is kept, for as long as it takes. */
	if (!o.ended && !o.prepared)
		fail_msg("%s: a destination that does not end", what);
	o.running = m.running;
	o.whole = small_machine_is_whole(&m);
	if (m.starts > 1 || (o.running && (!o.prepared || o.status.outcome != VFERRY_OUTCOME_DONE)))
		fail_msg("%s: a machine runs that was not handed over", what);
	if (o.ended && o.status.outcome != VFERRY_OUTCOME_DONE)
		check_error(what, &o.status);
	check_memory(what);
	small_machine_done(&m);
	return o;
}

static struct outcome run(const char *what, struct hostile_stream *s, size_t cut_at)
{
	return run_patiently(what, s, cut_at, SMALL_SECOND_NS);
}

static void expect_place(const char *what, const struct outcome *o, unsigned frame)
{
	char place[32];

	(void) snprintf(place, sizeof(place), "channel 0, frame %u ", frame);
	if (!strstr(o->status.error.message, place) || !strstr(o->status.error.message, "at byte "))
		fail_msg("%s: \"%s\" does not name frame %u", what, o->status.error.message, frame);
}

static void good_stream(void **state)
{
	struct outcome o = run("good", &good, 0);

	(void) state;
	if (o.status.outcome != VFERRY_OUTCOME_DONE)
		fail_msg("%s: %s", o.status.error.id, o.status.error.message);
	assert_true(o.running && o.whole);
}

/* ---- without a session: each byte and each bit ---- */

static uint8_t *wire(const struct hostile_stream *s, size_t *ret_size)
{
	uint8_t *all = NULL;
	size_t size = 0;

	for (unsigned i = 0; i < s->count; i++) {
		size_t bytes;
		uint8_t *one = hostile_frame_bytes(&s->frames[i], i, &bytes);

		all = realloc(all, size + bytes);
		assert_non_null(all);
		memcpy(all + size, one, bytes);
		size += bytes;
		free(one);
	}
	*ret_size = size;
	return all;
}

/* Reads frames until the end or an error, located as sessions do. Return: frames, or negative errno. */
static int read_frames(const uint8_t *data, size_t size, struct vferry_error *err)
{
	struct vf_channel *channel;
	struct vf_frame frame;
	uint8_t *body;
	int pair[2], ret, frames = 0;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(vf_channel_from_fd(pair[0], "test", &channel, NULL), 0);
	assert_int_equal(setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &(int) { 1 << 20 },
				    sizeof(int)), 0);
	assert_int_equal(send(pair[1], data, size, 0), size);
	(void) close(pair[1]);
	while ((ret = vf_channel_recv(channel, VF_FRAME_MAX_BYTES, &frame, &body, err)) > 0) {
		free(body);
		frames++;
	}
	if (ret)
		vf_channel_locate(channel, 0, err);
	(void) vf_channel_free(channel);
	return ret ? ret : frames;
}

/* Page frames as messages: their bodies have a checksum of another kind, and are long. */
static void without_pages(struct hostile_stream *s)
{
	copy_good(s);
	for (unsigned i = s->count; i-- > 0;)
		if (hostile_frame_type(&s->frames[i]) == VF_FRAME_PAGES)
			hostile_stream_remove(s, i);
}

static void cut_at_every_byte(void **state)
{
	size_t size, start = 0;
	uint8_t *data;
	unsigned frame = 0;

	(void) state;
	without_pages(&stream);
	data = wire(&stream, &size);
	for (size_t cut = 0; cut < size; cut += STRIDE) {
		struct vferry_error err = VFERRY_ERROR_INIT;
		char place[64];
		int ret;

		while (cut >= start + VF_FRAME_HEADER_BYTES + stream.frames[frame].bytes)
			start += VF_FRAME_HEADER_BYTES + stream.frames[frame++].bytes;
		ret = read_frames(data, cut, &err);
		(void) snprintf(place, sizeof(place), "at byte %zu", start);
		if (cut == start)
			assert_int_equal(ret, frame);
		else if (ret != -ECONNRESET || !strstr(err.message, place))
			fail_msg("cut at %zu: %d: %s", cut, ret, err.message);
	}
	free(data);
	hostile_stream_done(&stream);
}

static void every_bit_is_covered(void **state)
{
	size_t size;
	uint8_t *data;

	(void) state;
	without_pages(&stream);
	data = wire(&stream, &size);
	for (size_t bit = 0; bit < size * 8; bit += STRIDE) {
		struct vferry_error err = VFERRY_ERROR_INIT;
		int ret;

		data[bit / 8] ^= (uint8_t) (1u << bit % 8);
		ret = read_frames(data, size, &err);
		if (ret >= 0 || !strstr(err.message, "channel 0, frame ") || !err.id[0])
			fail_msg("bit %zu: %d: %s", bit, ret, err.message);
		data[bit / 8] ^= (uint8_t) (1u << bit % 8);
	}
	free(data);
	hostile_stream_done(&stream);
}

/* ---- whole sessions: cut, changed, reordered ---- */

static void cut_sessions(void **state)
{
	size_t at = 0;

	(void) state;
	for (unsigned i = 0; i < good.count; i++) {
		size_t size = VF_FRAME_HEADER_BYTES + good.frames[i].bytes;
		const size_t cuts[] = { 1, 31, 32, 33, size / 2, size - 1, size };

		for (unsigned c = 0; c < sizeof(cuts) / sizeof(*cuts); c++) {
			size_t cut = at + (cuts[c] < size ? cuts[c] : size);
			bool all = i + 1 == good.count && cuts[c] >= size;
			struct outcome o;
			char what[64];

			(void) snprintf(what, sizeof(what), "cut at byte %zu", cut);
			o = run_patiently(what, &good, cut, 10 * SMALL_SECOND_NS);
			assert_int_equal(o.running, all);
			if (!all && !o.prepared && cuts[c] < size)
				expect_place(what, &o, i);
		}
		at += size;
	}
}

/* Checksums are right, so that what was changed is looked at. */
static void changed_bits(void **state)
{
	(void) state;
	for (unsigned i = 0; i < good.count; i++) {
		uint32_t bits = good.frames[i].bytes * 8;

		/* Of pages and device state, the tables; each bit of each message is the fuzzer's work. */
		if (bits > 32 * 8 && hostile_frame_type(&good.frames[i]) != VF_FRAME_MACHINE &&
		    hostile_frame_type(&good.frames[i]) != VF_FRAME_MANIFEST)
			bits = 28 * 8;
		for (uint32_t bit = i % 11; bit < bits; bit += 11 * STRIDE) {
			struct outcome o;
			char what[64];

			copy_good(&stream);
			stream.frames[i].body[bit / 8] ^= (uint8_t) (1u << bit % 8);
			(void) snprintf(what, sizeof(what), "frame %u, bit %u of its body", i, bit);
			o = run(what, &stream, 0);
			/* What changed may be what the source wants, or what the guest wrote. */
			if (o.running && !o.whole &&
			    hostile_frame_type(&stream.frames[i]) != VF_FRAME_PAGES)
				fail_msg("%s: a machine runs that is not whole", what);
			hostile_stream_done(&stream);
		}
	}
}

/* Frames that only wish to be answered. */
static bool is_probe(const struct hostile_frame *f)
{
	return hostile_frame_type(f) == VF_FRAME_KEEPALIVE ||
	       (hostile_frame_type(f) == VF_FRAME_STREAM_MARK &&
		vf_get_u32(f->body + 4) == VF_MARK_INITIAL_END);
}

static bool comes_once(const struct hostile_frame *f)
{
	switch (hostile_frame_type(f)) {
	case VF_FRAME_MACHINE:
	case VF_FRAME_SWITCHOVER:
	case VF_FRAME_MANIFEST:
	case VF_FRAME_ROUND_END:
	case VF_FRAME_PAGES:
		return true;
	default:
		return false;
	}
}

/* A frame is dropped, repeated, swapped with the next, or comes last; @kept: its number with it. */
static void rearranged(void **state)
{
	static const char *const ways[] = { "dropped", "repeated", "swapped", "last" };

	(void) state;
	for (unsigned i = 0; i < 8 * good.count; i++) {
		unsigned at = i / 8, way = i % 4;
		bool kept = i % 8 >= 4;
		struct hostile_frame f;
		struct outcome o;
		char what[64];

		copy_good(&stream);
		for (unsigned k = 0; kept && k < stream.count; k++) {
			vf_put_u64(stream.frames[k].header + 16, k);
			hostile_frame_set_flags(&stream.frames[k], HOSTILE_SEQUENCE |
						hostile_frame_flags(&stream.frames[k]));
		}
		(void) snprintf(what, sizeof(what), "frame %u (%s) %s%s", at,
				vf_frame_type_name(hostile_frame_type(&stream.frames[at])), ways[way],
				kept ? " with its number" : "");
		if ((way >= 2 && at + 1 == stream.count)) {
			hostile_stream_done(&stream);
			continue;	/* it is the last */
		}
		if (way == 1)
			assert_true(hostile_stream_insert(&stream, at, &stream.frames[at]));
		if (way == 2) {
			f = stream.frames[at];
			stream.frames[at] = stream.frames[at + 1];
			stream.frames[at + 1] = f;
		}
		if (way == 3)
			assert_true(hostile_stream_insert(&stream, stream.count, &stream.frames[at]));
		if (way == 0 || way == 3)
			hostile_stream_remove(&stream, at);
		o = run(what, &stream, 0);
		if (o.running && !o.whole)
			fail_msg("%s: a machine runs that is not whole", what);
		if (o.running && kept && at + 1 < good.count)
			fail_msg("%s: nobody noticed", what);
		if (o.running && way == 0 && !is_probe(&good.frames[at]))
			fail_msg("%s: nobody missed it", what);
		if (o.running && way == 1 && comes_once(&good.frames[at]))
			fail_msg("%s: taken twice", what);
		hostile_stream_done(&stream);
	}
}

/* What was handed over is not the source's any more. */
static void after_the_commit(void **state)
{
	(void) state;
	for (unsigned i = 2; i < good.count; i++) {
		struct hostile_frame *f;
		struct outcome o;
		char what[64];

		copy_good(&stream);
		assert_true(hostile_stream_insert(&stream, stream.count, &good.frames[i]));
		f = &stream.frames[stream.count - 1];
		if (hostile_frame_type(f) == VF_FRAME_PAGES || hostile_frame_type(f) == VF_FRAME_SECTION ||
		    hostile_frame_type(f) == VF_FRAME_STREAM_DATA)
			f->body[f->bytes - 1] ^= 1;	/* the content, not what is said of it */
		(void) snprintf(what, sizeof(what), "frame %u (%s) after COMMIT", i,
				vf_frame_type_name(hostile_frame_type(f)));
		o = run_patiently(what, &stream, 0, 10 * SMALL_SECOND_NS);
		if (!o.running || !o.whole)
			fail_msg("%s: %s", what, o.running ? "written over a machine that runs"
							   : o.status.error.message);
		hostile_stream_done(&stream);
	}
}

/* ---- lies about sizes ---- */

static void oversized(void **state)
{
	static const uint32_t lengths[] = {
		VF_FRAME_MAX_BYTES + 1, 0x7fffffff, 0xffffffff,
	};

	(void) state;
	for (unsigned i = 0; i < good.count * 3; i++) {
		struct hostile_frame *f;
		struct outcome o;
		char what[64];

		copy_good(&stream);
		f = &stream.frames[i / 3];
		vf_put_u32(f->header + 12, lengths[i % 3]);
		hostile_frame_set_flags(f, HOSTILE_LENGTH | hostile_frame_flags(f));
		(void) snprintf(what, sizeof(what), "frame %u of %u bytes", i / 3, lengths[i % 3]);
		o = run(what, &stream, 0);
		assert_false(o.running);
		if (!o.prepared) {
			expect_place(what, &o, i / 3);
			if (!strstr(o.status.error.message, "length"))
				fail_msg("%s: %s", what, o.status.error.message);
		}
		hostile_stream_done(&stream);
	}
}

/* Counts and lengths in messages, by the field that must be named. */
static void lying_counts(void **state)
{
	static const struct {
		uint16_t type;
		unsigned nth;
		uint32_t at;		/* in the body; of MACHINE behind the description */
		uint32_t value;
		const char *field;
	} lies[] = {
		{ VF_FRAME_HELLO, 0, 28, 0, "channel_count" },
		{ VF_FRAME_HELLO, 0, 28, 17, "channel_count" },
		{ VF_FRAME_HELLO, 0, 28, 0xffffffff, "channel_count" },
		{ VF_FRAME_HELLO, 0, 24, 1, "channel_count" },
		{ VF_FRAME_HELLO, 0, 4, 9, "purpose" },
		{ VF_FRAME_HELLO, 0, 0, 2, "major" },
		{ VF_FRAME_MACHINE, 0, 10 + 22, 0xffffffff, "block_count" },
		{ VF_FRAME_MACHINE, 0, 10 + 22, 64, "block_count" },
		{ VF_FRAME_MACHINE, 0, 10 + 22, 1, "component" },
		{ VF_FRAME_MANIFEST, 0, 16, 0xffffffff, "section_count" },
		{ VF_FRAME_MANIFEST, 0, 16, 8192, "section_count" },
		{ VF_FRAME_STREAM_MARK, 0, 4, 4, "kind" },
		{ VF_FRAME_STREAM_DATA, 0, 4, 1, "reserved" },
		{ VF_FRAME_SECTION, 0, 0, 0, "id" },
		{ VF_FRAME_SECTION, 0, 0, 77, "section 77 of component" },
		{ VF_FRAME_PAGES, 0, 2, 2, "block" },
		{ VF_FRAME_PAGES, 0, 2, 0xffff, "block" },
		{ VF_FRAME_PAGES, 0, 4, 0xffff, "runs" },
		{ VF_FRAME_PAGES, 0, 8, 0xffffff00, "page" },
		{ VF_FRAME_PAGES, 0, 16, 0xffffffff, "stored" },
		{ VF_FRAME_ROUND_END, 0, 0, 5, "round 5" },
	};

	(void) state;
	for (unsigned i = 0; i < sizeof(lies) / sizeof(*lies); i++) {
		struct outcome o;
		char what[64];
		int frame;

		copy_good(&stream);
		frame = hostile_stream_find(&stream, lies[i].type, lies[i].nth);
		assert_true(frame >= 0);
		if (lies[i].value > 0xffff || lies[i].type == VF_FRAME_MACHINE ||
		    lies[i].type == VF_FRAME_MANIFEST)
			vf_put_u32(stream.frames[frame].body + lies[i].at, lies[i].value);
		else
			vf_put_u16(stream.frames[frame].body + lies[i].at, (uint16_t) lies[i].value);
		(void) snprintf(what, sizeof(what), "%s: %u at %u", vf_frame_type_name(lies[i].type),
				lies[i].value, lies[i].at);
		o = run(what, &stream, 0);
		assert_false(o.running);
		if (!strstr(o.status.error.message, lies[i].field))
			fail_msg("%s: \"%s\" does not name %s", what, o.status.error.message,
				 lies[i].field);
		expect_place(what, &o, (unsigned) frame);
		hostile_stream_done(&stream);
	}
}

/* Each frame of a component says that it is another's, or nobody's. */
static void lying_components(void **state)
{
	static const uint32_t components[] = { 0, 1, 2, 3, 0x7fffffff, 0xffffffff };

	(void) state;
	for (unsigned i = 0; i < good.count * 6; i++) {
		struct hostile_frame *f;
		uint32_t real, claimed = components[i % 6];
		struct outcome o;
		char what[64];

		copy_good(&stream);
		f = &stream.frames[i / 6];
		real = vf_get_u32(f->header + 8);
		vf_put_u32(f->header + 8, claimed);
		(void) snprintf(what, sizeof(what), "frame %u of component %u", i / 6, claimed);
		if (real != VF_NO_COMPONENT && real != claimed) {
			o = run(what, &stream, 0);
			assert_false(o.running);
		}
		hostile_stream_done(&stream);
	}
}

/* ---- whoever knocks at the door ---- */

struct door {
	struct small_machine machine;
	char path[64];
};

static void door_open(struct door *d, uint64_t stall_ns)
{
	static unsigned count;
	struct vferry_parameters p = VFERRY_PARAMETERS_INIT;
	struct vferry_error err = VFERRY_ERROR_INIT;
	char uri[96];

	p.stall_timeout_ns = stall_ns;
	small_machine_init(&d->machine, false);
	small_machine_session(&d->machine, &p);
	(void) snprintf(d->path, sizeof(d->path), "/tmp/vferry-hostile-%d-%u", (int) getpid(), count++);
	(void) snprintf(uri, sizeof(uri), "unix:%s", d->path);
	if (vferry_session_accept(d->machine.session, uri, &err))
		fail_msg("%s", err.message);
}

static int door_connect(struct door *d)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void) snprintf(address.sun_path, sizeof(address.sun_path), "%s", d->path);
	assert_int_equal(connect(fd, (struct sockaddr *) &address, sizeof(address)), 0);
	return fd;
}

static struct vferry_status door_status(struct door *d)
{
	struct vferry_status status;

	vferry_session_get_status(d->machine.session, &status);
	return status;
}

static void sleep_ms(long ms)
{
	(void) nanosleep(&(struct timespec) { .tv_nsec = ms * 1000000 }, NULL);
}

/* The real source comes, and is heard. */
static void door_good_source(struct door *d)
{
	struct hostile_play play = {
		.role = HOSTILE_SOURCE, .frames = &good, .gate_ms = 10000,
		.session = d->machine.session, .stay = true,
	};

	hostile_play(&play, door_connect(d));
	assert_int_equal(vferry_session_wait(d->machine.session, LIMIT_NS), 0);
	if (door_status(d).outcome != VFERRY_OUTCOME_DONE)
		fail_msg("%s", door_status(d).error.message);
	assert_true(d->machine.running && small_machine_is_whole(&d->machine));
}

static void foreign_streams(void **state)
{
	static const char zeros[64], qemu[64] = "QEVM\0\0\0\3";
	static const struct {
		const char *data;
		size_t size;
		const char *said;
	} strangers[] = {
		{ "", 0, "without a greeting" },
		{ "V", 1, "byte 0" },
		{ zeros, sizeof(zeros), "mark" },
		{ qemu, sizeof(qemu), "QEVM" },
		{ "GET / HTTP/1.1\r\nHost: example\r\n\r\n", 34, "GET " },
		{ "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n", 40, "SSH-" },
		{ "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03...........................", 38, "speaks TLS" },
		{ "{\"execute\":\"qmp_capabilities\"}\r\n\r\n", 34, "{\"ex" },
	};
	struct door d;

	(void) state;
	door_open(&d, 10 * SMALL_SECOND_NS);
	for (unsigned i = 0; i < sizeof(strangers) / sizeof(*strangers); i++) {
		struct vferry_status status;
		int fd = door_connect(&d);

		if (strangers[i].size)
			assert_int_equal(send(fd, strangers[i].data, strangers[i].size, 0),
					 strangers[i].size);
		(void) shutdown(fd, SHUT_WR);
		do {
			sleep_ms(1);
			status = door_status(&d);
		} while (status.turned_away <= i);
		if (!strstr(status.turned_away_error.message, strangers[i].said))
			fail_msg("stranger %u: %s", i, status.turned_away_error.message);
		assert_int_equal(status.outcome, VFERRY_OUTCOME_PENDING);
		(void) close(fd);
	}
	door_good_source(&d);
	small_machine_done(&d.machine);
}

/* Connections that say nothing, or one byte and no more, keep the source out for no time at all. */
static void dawdlers(void **state)
{
	struct door d;
	int fds[24];

	(void) state;
	door_open(&d, 10 * SMALL_SECOND_NS);
	for (unsigned i = 0; i < 24; i++) {
		fds[i] = door_connect(&d);
		if (i % 2)
			assert_int_equal(send(fds[i], "V", 1, 0), 1);
	}
	door_good_source(&d);
	for (unsigned i = 0; i < 24; i++)
		(void) close(fds[i]);
	small_machine_done(&d.machine);
}

static void send_frames(int fd, unsigned first, unsigned count)
{
	for (unsigned i = first; i < first + count; i++) {
		size_t size;
		uint8_t *bytes = hostile_frame_bytes(&stream.frames[i], i, &size);

		assert_int_equal(send(fd, bytes, size, MSG_NOSIGNAL), size);
		free(bytes);
	}
}

static void expect_end(struct door *d, const char *id)
{
	assert_int_equal(vferry_session_wait(d->machine.session, LIMIT_NS), 0);
	if (strcmp(door_status(d).error.id, id))
		fail_msg("%s instead of %s: %s", door_status(d).error.id, id,
			 door_status(d).error.message);
	assert_false(d->machine.running);
}

/* It greets, of more channels than ever come, or describes no machine: and is there for ever. */
static void bound_and_silent(void **state)
{
	(void) state;
	for (unsigned channels = 1; channels <= 2; channels++) {
		struct door d;
		int fd;

		door_open(&d, SMALL_SECOND_NS);
		fd = door_connect(&d);
		copy_good(&stream);
		vf_put_u32(stream.frames[0].body + 28, channels);
		send_frames(fd, 0, 2);	/* HELLO, and its JOIN */
		if (channels == 2)
			expect_end(&d, "setup-timeout");
		assert_int_equal(vferry_session_wait(d.machine.session, LIMIT_NS), 0);
		assert_int_equal(door_status(&d).error.code, -ETIMEDOUT);
		(void) close(fd);
		hostile_stream_done(&stream);
		small_machine_done(&d.machine);
	}
}

/* What is said of the whole machine is said on channel 0. */
static void on_another_channel(void **state)
{
	static const uint16_t types[] = {
		VF_FRAME_MACHINE, VF_FRAME_SWITCHOVER, VF_FRAME_MANIFEST, VF_FRAME_COMMIT,
	};

	(void) state;
	for (unsigned i = 0; i < sizeof(types) / sizeof(*types); i++) {
		struct pollfd greeted[2];
		struct door d;
		int frame;

		door_open(&d, 10 * SMALL_SECOND_NS);
		copy_good(&stream);
		vf_put_u32(stream.frames[0].body + 28, 2);
		for (unsigned c = 0; c < 2; c++) {
			greeted[c] = (struct pollfd) { .fd = door_connect(&d), .events = POLLIN };
			vf_put_u32(stream.frames[0].body + 24, c);
			send_frames(greeted[c].fd, 0, 2);	/* HELLO, and its JOIN */
			assert_int_equal(poll(&greeted[c], 1, 10000), 1);
		}
		frame = hostile_stream_find(&stream, types[i], 0);
		assert_true(frame > 1);
		while (frame > 2)
			hostile_stream_remove(&stream, (unsigned) --frame);
		send_frames(greeted[1].fd, 2, 1);
		expect_end(&d, "unexpected-frame");
		if (!strstr(door_status(&d).error.message, "channel 1"))
			fail_msg("%s", door_status(&d).error.message);
		for (unsigned c = 0; c < 2; c++)
			(void) close(greeted[c].fd);
		hostile_stream_done(&stream);
		small_machine_done(&d.machine);
	}
}

/* Half a frame, and then nothing; or one byte at a time, each within the stall timeout. */
static void half_a_frame(void **state)
{
	(void) state;
	for (unsigned drip = 0; drip < 2; drip++) {
		struct door d;
		struct pollfd answer;
		uint8_t *bytes;
		size_t size;
		int machine;

		door_open(&d, SMALL_SECOND_NS);
		copy_good(&stream);
		answer = (struct pollfd) { .fd = door_connect(&d), .events = POLLIN };
		machine = hostile_stream_find(&stream, VF_FRAME_MACHINE, 0);
		send_frames(answer.fd, 0, 2);
		assert_int_equal(poll(&answer, 1, 10000), 1);
		bytes = hostile_frame_bytes(&stream.frames[machine], 2, &size);
		assert_int_equal(send(answer.fd, bytes, 20, MSG_NOSIGNAL), 20);
		for (size_t i = 20; drip && i < size; i++) {
			if (send(answer.fd, bytes + i, 1, MSG_NOSIGNAL) != 1 ||
			    !vferry_session_wait(d.machine.session, 1))
				break;
			sleep_ms(20);
		}
		assert_int_equal(vferry_session_wait(d.machine.session, LIMIT_NS), 0);
		assert_false(d.machine.running);
		check_error("half a frame", &(struct vferry_status) { .error = door_status(&d).error });
		assert_int_equal(door_status(&d).error.code, -ETIMEDOUT);
		free(bytes);
		(void) close(answer.fd);
		hostile_stream_done(&stream);
		small_machine_done(&d.machine);
	}
}

static int set_up(void **state)
{
	(void) state;
	return record_good(true);
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
		cmocka_unit_test(cut_at_every_byte),
		cmocka_unit_test(every_bit_is_covered),
		cmocka_unit_test(cut_sessions),
		cmocka_unit_test(changed_bits),
		cmocka_unit_test(rearranged),
		cmocka_unit_test(after_the_commit),
		cmocka_unit_test(oversized),
		cmocka_unit_test(lying_counts),
		cmocka_unit_test(lying_components),
		cmocka_unit_test(foreign_streams),
		cmocka_unit_test(dawdlers),
		cmocka_unit_test(bound_and_silent),
		cmocka_unit_test(on_another_channel),
		cmocka_unit_test(half_a_frame),
	};

	return cmocka_run_group_tests(tests, set_up, clean_up);
}
