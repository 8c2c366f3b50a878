/* SPDX-License-Identifier: MIT */
/*
 * destination_accept.c - who may connect to a destination.
 *
 * The listener stays for as long as the session lives. With credentials a connection begins with a
 * TLS handshake. The first greeting of a migration binds the session to its id; its further
 * channels must name the same id, and show by JOIN (link.h) that they come from the same source;
 * others are turned away. Whoever comes to ask how it ended must be that source, too, and is heard at
 * any time. A connection that talks nonsense before it is
 * bound is told so and closed, and changes nothing.
 *
 * Each greeting has a thread of its own and GREETING_NS, so that one who dawdles keeps nobody out;
 * of more than VF_GREETINGS at once, the oldest goes. Once a source is bound, its channels and the
 * description of its machine must be there within the stall timeout: destination_link.c sees to it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "session/destination.h"
#include "session/link.h"
#include "transfer/socket.h"
#include "vf_config.h"
#include "wire/frame.h"

#define GREETING_NS (5 * VF_SECOND_NS)
#define GREETING_BYTES 4096u

/* ---- what becomes of a greeting ---- */

/* From now on the channel is not the greeting's any more: nobody shuts it down for being slow. */
static void let_go(struct vf_greeting *g)
{
	(void) pthread_mutex_lock(&g->side->lock);
	g->channel = NULL;
	(void) pthread_mutex_unlock(&g->side->lock);
}

static int reply_hello(struct vf_channel *channel, const struct vf_hello *hello)
{
	struct vf_hello mine = *hello;
	struct vf_writer w;
	int ret;

	mine.major = VF_STREAM_MAJOR;
	mine.minor = VF_STREAM_MINOR;
	mine.features = hello->features & VF_FEATURE_JOIN;
	(void) snprintf(mine.software, sizeof(mine.software), "vferry %s", VFERRY_VERSION);
	vf_writer_init(&w, 512);
	vf_hello_encode(&w, &mine);
	ret = w.bad ? -ENOMEM : vf_channel_send(channel, VF_FRAME_HELLO, 0, VF_NO_COMPONENT, w.data,
						(uint32_t) w.size, NULL);
	vf_writer_done(&w);
	return ret;
}

/* Does the connection come from whoever opened channel 0? */
static int check_join_locked(struct vf_destination_side *side, const struct vf_greeted *hello,
			     const struct vf_channel *channel, struct vferry_error *err)
{
	if (!side->joins)
		return 0;
	if (hello->joins && vf_link_join_matches(channel, side->secret, &hello->hello, hello->join))
		return 0;
	return vferry_error_set(err, -EACCES, "not-of-this-session", vf_channel_name(channel),
				"it names this migration, but does not come from its source");
}

static int bind_first_locked(struct vf_destination_side *side, const struct vf_greeted *hello,
			     const struct vf_channel *channel, struct vferry_error *err)
{
	int ret = 0;

	side->joins = hello->joins;
	if (side->session->tls)
		ret = vf_link_secret(channel, side->secret, err);
	else
		memcpy(side->secret, hello->join, sizeof(side->secret));
	if (!ret)
		ret = check_join_locked(side, hello, channel, err);
	if (ret)
		return ret;
	side->bound = true;
	side->bound_ns = vf_now_ns();
	side->channel_count = hello->hello.channel_count;
	memcpy(side->session->id, hello->hello.session_id, sizeof(side->session->id));
	return 0;
}

static int bind_locked(struct vf_destination_side *side, const struct vf_greeted *hello,
		       struct vf_channel *channel, struct vferry_error *err)
{
	const struct vf_hello *h = &hello->hello;
	struct vferry_session *s = side->session;
	int ret;

	if (!side->bound && h->channel == 0)
		ret = bind_first_locked(side, hello, channel, err);
	else if (!side->bound || memcmp(s->id, h->session_id, sizeof(s->id)) ||
		 h->channel_count != side->channel_count || side->channels[h->channel])
		ret = vferry_error_set(err, -EBUSY, "session-taken", NULL,
				       "this destination waits for another migration, or has one");
	else
		ret = check_join_locked(side, hello, channel, err);
	if (ret)
		return ret;
	(void) vf_channel_set_stall_timeout(channel, s->parameters.stall_timeout_ns);
	side->channels[h->channel] = channel;
	return 0;
}

/* Return: 0 the channel is taken over; negative: turn it away. */
static int join_migration(struct vf_greeting *g, const struct vf_greeted *hello,
			  struct vf_channel *channel, struct vferry_error *err)
{
	struct vf_destination_side *side = g->side;
	bool complete;
	int ret;

	(void) pthread_mutex_lock(&side->lock);
	ret = bind_locked(side, hello, channel, err);
	if (!ret)
		g->channel = NULL;	/* as let_go() */
	(void) pthread_mutex_unlock(&side->lock);
	if (ret)
		return ret;
	vf_link_note(side->session, channel);
	/* If it fails, the receiver finds the link broken. */
	(void) reply_hello(channel, &hello->hello);
	(void) pthread_mutex_lock(&side->lock);
	complete = ++side->channels_there == side->channel_count;
	(void) pthread_mutex_unlock(&side->lock);
	if (complete)
		(void) vf_destination_receive(side);
	return 0;
}

/* Return: 0 and the question was read, of the session that the greeting names. */
static int read_question(const struct vf_hello *hello, struct vf_channel *channel,
			 struct vferry_error *err)
{
	uint8_t id[VF_SESSION_ID_BYTES];
	struct vf_frame frame;
	uint8_t *body = NULL;
	int ret = reply_hello(channel, hello);

	if (!ret)
		ret = vf_channel_recv(channel, GREETING_BYTES, &frame, &body, err);
	if (ret > 0)
		ret = frame.type == VF_FRAME_RESOLVE
			      ? vf_id_decode(body, frame.length, id, err) : -EPROTO;
	else if (!ret)
		ret = -ECONNRESET;
	free(body);
	if (!ret && memcmp(id, hello->session_id, sizeof(id)))
		ret = vferry_error_set(err, -EPROTO, "wrong-session", NULL,
				       "RESOLVE names another session than its greeting");
	return ret;
}

/*
 * Of this session only its source may ask. Of earlier ones that a process before this one had nothing
 * is known but the record; over TLS it is at least one who may come.
 */
static int hear_question(struct vf_greeting *g, const struct vf_greeted *greeted,
			 struct vf_channel *channel, struct vferry_error *err)
{
	const struct vf_hello *hello = &greeted->hello;
	struct vf_destination_side *side = g->side;
	struct vferry_session *s = side->session;
	bool ours;
	int ret;

	(void) pthread_mutex_lock(&side->lock);
	ours = side->bound && !memcmp(s->id, hello->session_id, sizeof(s->id));
	ret = ours ? check_join_locked(side, greeted, channel, err) : 0;
	(void) pthread_mutex_unlock(&side->lock);
	if (!ret)
		ret = read_question(hello, channel, err);
	if (ret)
		return ret;
	if (!ours) {
		ret = vf_destination_answer_earlier(side, hello->session_id, channel, err);
		if (ret)
			return ret;
		let_go(g);
		(void) vf_channel_free(channel);
		return 0;
	}
	let_go(g);
	(void) pthread_mutex_lock(&side->lock);
	(void) vf_channel_free(side->asker);
	side->asker = channel;
	(void) pthread_mutex_unlock(&side->lock);
	vf_session_post_kind(s, VF_DST_RESOLVE_QUERY);
	return 0;
}

static int receive_hello(struct vf_channel *channel, struct vf_hello *hello,
			 struct vferry_error *err)
{
	struct vf_frame frame;
	uint8_t *body = NULL;
	int ret = vf_channel_recv(channel, GREETING_BYTES, &frame, &body, err);

	if (ret > 0)
		ret = frame.type == VF_FRAME_HELLO
			      ? vf_hello_decode(body, frame.length, hello, err)
			      : vferry_error_set(err, -EPROTO, "unexpected-frame", NULL,
						 "a connection begins with a greeting, not with %s",
						 vf_frame_type_name(frame.type));
	else if (!ret)
		ret = vferry_error_set(err, -ECONNRESET, "no-greeting", vf_channel_name(channel),
				       "the connection was closed without a greeting");
	free(body);
	if (!ret && hello->purpose == VF_PURPOSE_FILE)
		ret = vferry_error_set(err, -EPROTO, "bad-purpose", NULL,
				       "hello: purpose %u is that of a file", hello->purpose);
	return ret;
}

static int receive_join(struct vf_channel *channel, uint8_t ret_join[VF_JOIN_BYTES],
			struct vferry_error *err)
{
	struct vf_frame frame;
	uint8_t *body = NULL;
	int ret = vf_channel_recv(channel, GREETING_BYTES, &frame, &body, err);

	if (ret > 0)
		ret = frame.type == VF_FRAME_JOIN
			      ? vf_join_decode(body, frame.length, ret_join, err)
			      : vferry_error_set(err, -EPROTO, "unexpected-frame", NULL,
						 "%s where join was due",
						 vf_frame_type_name(frame.type));
	else if (!ret)
		ret = vferry_error_set(err, -ECONNRESET, "no-greeting", vf_channel_name(channel),
				       "the connection was closed in the middle of its greeting");
	free(body);
	return ret;
}

/* HELLO, and JOIN if it is announced. A source that knows TLS knows JOIN. */
static int receive_greeting(struct vferry_session *s, struct vf_channel *channel,
			    struct vf_greeted *greeted, struct vferry_error *err)
{
	int ret = receive_hello(channel, &greeted->hello, err);

	if (ret)
		return ret;
	greeted->joins = greeted->hello.features & VF_FEATURE_JOIN;
	if (greeted->joins)
		return receive_join(channel, greeted->join, err);
	return s->tls ? vferry_error_set(err, -EPROTO, "no-join", vf_channel_name(channel),
					 "hello: over TLS, features must announce join") : 0;
}

/* Somebody should know who knocked: the embedder tells them, by the status. */
static void note_turned_away(struct vferry_session *s, const struct vferry_error *err)
{
	(void) pthread_mutex_lock(&s->lock);
	s->status.turned_away++;
	s->status.turned_away_error = *err;
	(void) pthread_mutex_unlock(&s->lock);
	vf_session_notify(s);
}

/* ---- greetings under way ---- */

/*
 * From descriptor to channel, which may be there to say no even if this fails; it is shut down
 * with the greeting from now on.
 */
static int open_channel(struct vf_greeting *g, struct vf_channel **ret_channel,
			struct vferry_error *err)
{
	struct vf_destination_side *side = g->side;
	int ret = vf_link_accept(side->session, g->fd, !vf_listener_is_connection(side->listener),
				 vf_listener_uri(side->listener), GREETING_NS, g->cancel_fd,
				 ret_channel, err);

	if (!*ret_channel)
		return ret;
	vf_channel_set_trace(*ret_channel, side->session->trace);
	(void) vf_channel_set_stall_timeout(*ret_channel, GREETING_NS);
	vf_channel_set_frame_limit(*ret_channel, GREETING_NS);
	(void) pthread_mutex_lock(&side->lock);
	g->channel = *ret_channel;
	if (g->ending)
		vf_channel_shutdown(*ret_channel);
	(void) pthread_mutex_unlock(&side->lock);
	return ret;
}

/* Return: 0 the channel is taken over; negative: turn it away. */
static int hear(struct vf_greeting *g, struct vf_channel **ret_channel, struct vferry_error *err)
{
	struct vferry_session *s = g->side->session;
	struct vf_greeted greeted = { 0 };
	struct vf_channel *channel;
	int ret = open_channel(g, ret_channel, err);

	channel = *ret_channel;
	if (ret && channel)	/* heard out, so that the answer gets there */
		(void) receive_greeting(s, channel, &greeted, NULL);
	if (ret && ret != -ECANCELED)
		return ret;
	if (!ret)
		ret = receive_greeting(s, channel, &greeted, err);
	if (ret == -ECANCELED) {
		vferry_error_clear(err);
		return vferry_error_set(err, ret, "crowded-out", vf_listener_uri(g->side->listener),
					"it had not greeted when newer connections needed its place");
	}
	if (ret) {
		vf_channel_locate(channel, 0, err);
		return ret;
	}
	ret = vf_link_check_peer(s, channel, err);
	if (ret)
		return ret;
	return greeted.hello.purpose == VF_PURPOSE_RESOLVE
		       ? hear_question(g, &greeted, channel, err)
		       : join_migration(g, &greeted, channel, err);
}

static void *greeting_main(void *user)
{
	struct vf_greeting *g = user;
	struct vf_channel *channel = NULL;
	struct vferry_error err = VFERRY_ERROR_INIT;
	int ret = hear(g, &channel, &err);

	if (ret) {
		(void) vferry_error_set(&err, ret, "bad-greeting", NULL,
					"no greeting that makes sense: %s", vferry_errno_name(ret));
		if (channel)
			(void) vf_destination_refuse(channel, VF_FRAME_FAILED, &err);
		let_go(g);
		(void) vf_channel_free(channel);
		note_turned_away(g->side->session, &err);
	}
	(void) pthread_mutex_lock(&g->side->lock);
	g->over = true;
	(void) pthread_mutex_unlock(&g->side->lock);
	return NULL;
}

/* Shuts it down if @now is set, and waits for its thread. */
static void end_greeting(struct vf_greeting *g, bool now)
{
	uint64_t one = 1;

	(void) pthread_mutex_lock(&g->side->lock);
	g->ending = now;
	if (now && g->channel)
		vf_channel_shutdown(g->channel);
	(void) pthread_mutex_unlock(&g->side->lock);
	if (now)
		(void) !write(g->cancel_fd, &one, sizeof(one));
	(void) pthread_join(g->thread, NULL);
	vf_close(&g->cancel_fd);
	g->exists = false;
}

/* A place for one more: a free one, or that of the oldest. */
static struct vf_greeting *make_place(struct vf_destination_side *side)
{
	struct vf_greeting *place = NULL, *oldest = &side->greetings[0];

	for (unsigned i = 0; i < VF_GREETINGS; i++) {
		struct vf_greeting *g = &side->greetings[i];
		bool over;

		(void) pthread_mutex_lock(&side->lock);
		over = g->over;
		(void) pthread_mutex_unlock(&side->lock);
		if (g->exists && over)
			end_greeting(g, false);
		if (!g->exists)
			place = g;
		else if (g->number < oldest->number)
			oldest = g;
	}
	if (!place) {
		end_greeting(oldest, true);
		place = oldest;
	}
	return place;
}

static void greet(struct vf_destination_side *side, int take_fd)
{
	struct vf_greeting *g = make_place(side);

	*g = (struct vf_greeting) {
		.side = side, .fd = take_fd, .number = side->greeting_count++,
		.cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
	};
	g->exists = g->cancel_fd >= 0 &&
		    !vf_trace_thread(side->session->trace, "greeting", &g->thread, greeting_main, g);
	if (!g->exists) {	/* it may come again */
		vf_close(&g->cancel_fd);
		vf_close(&take_fd);
	}
}

/* The one connection that this side was given is used up: if it was no source, none will come. */
static void end_of_connections(struct vf_destination_side *side)
{
	struct vferry_session *s = side->session;
	struct vferry_error err = VFERRY_ERROR_INIT;
	bool bound;

	for (unsigned i = 0; i < VF_GREETINGS; i++)
		if (side->greetings[i].exists)
			end_greeting(&side->greetings[i], false);
	(void) pthread_mutex_lock(&side->lock);
	bound = side->bound;
	(void) pthread_mutex_unlock(&side->lock);
	if (bound)
		return;
	(void) pthread_mutex_lock(&s->lock);
	err = s->status.turned_away_error;
	(void) pthread_mutex_unlock(&s->lock);
	vf_session_post_error(s, VF_DST_LINK_LOST, &err);
}

static void *accept_main(void *user)
{
	struct vf_destination_side *side = user;
	struct vferry_session *s = side->session;
	bool once = s->target.kind == VF_URI_FD;

	for (;;) {
		struct vferry_error err = VFERRY_ERROR_INIT;
		int fd = vf_listener_accept_fd(side->listener, 0, s->cancel_fd, &err);

		if (fd >= 0) {
			int ret = vf_trace(s->trace, VF_TRACE_LINK_ACCEPT, s->uri, 0, 0, 0);

			if (ret) {
				vf_close(&fd);
				fd = ret;
			}
		}
		if (fd == -ECANCELED)
			break;
		if (fd >= 0) {
			greet(side, fd);
		} else if (once && fd == -EINVAL) {	/* a single connection, and it was used */
			end_of_connections(side);
			break;
		} else {		/* out of descriptors, say: not so fast */
			struct timespec ts = { .tv_nsec = 50 * (long) VF_MS_NS };

			(void) nanosleep(&ts, NULL);
		}
	}
	return NULL;
}

int vf_destination_accept_start(struct vf_destination_side *side)
{
	int ret = vf_trace_thread(side->session->trace, "accept", &side->accept_thread, accept_main,
				  side);

	side->accept_exists = !ret;
	return ret;
}

void vf_destination_accept_stop(struct vf_destination_side *side)
{
	if (side->accept_exists)
		(void) pthread_join(side->accept_thread, NULL);
	side->accept_exists = false;
	for (unsigned i = 0; i < VF_GREETINGS; i++)
		if (side->greetings[i].exists)
			end_greeting(&side->greetings[i], true);
}
