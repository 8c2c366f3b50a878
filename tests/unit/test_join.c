/* SPDX-License-Identifier: MIT */
/*
 * test_join.c - a destination's session and connections made by hand: who may join it, who may ask how
 * it ended, and what each that may not is told. Plain and over TLS.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <vferry/vferry.h>

#include "base/clock.h"
#include "session/link.h"
#include "tls_files.h"
#include "transfer/tls.h"
#include "wire/frame.h"

static struct tls_ca ca;
static char good[64], other[64];	/* both are known to the CA */

static int make_world(void **state)
{
	(void) state;
	tls_ca_new(&ca, "Lab CA");
	tls_new_dir(good, sizeof(good));
	tls_new_dir(other, sizeof(other));
	tls_write_ca(good, &ca);
	tls_write_ca(other, &ca);
	(void) tls_write_cert(good, &ca, &(struct tls_cert) { .file = "server", .name = "host-b",
							      .san = "IP:127.0.0.1" });
	(void) tls_write_cert(good, &ca, &(struct tls_cert) { .file = "client", .name = "host-a" });
	(void) tls_write_cert(other, &ca, &(struct tls_cert) { .file = "client", .name = "host-c" });
	return 0;
}

static int end_world(void **state)
{
	(void) state;
	tls_remove_dir(good);
	tls_remove_dir(other);
	tls_ca_free(&ca);
	return 0;
}

static int nothing(void *user, struct vferry_error *err)
{
	(void) user;
	(void) err;
	return 0;
}

static const struct vferry_machine_ops machine_ops = {
	.size = sizeof(machine_ops), .stop = nothing, .start = nothing,
};

static struct vferry_session *destination(const char *tls, const char *allow, struct vf_uri *ret_uri)
{
	struct vferry_parameters p = VFERRY_PARAMETERS_INIT;
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vferry_session *s;
	struct vferry_status status;

	p.tls_creds = tls;
	p.tls_allow = allow;
	assert_int_equal(vferry_session_new(&machine_ops, NULL, &s, &err), 0);
	assert_int_equal(vferry_session_set_parameters(s, &p, &err), 0);
	if (vferry_session_accept(s, "tcp:127.0.0.1:0", &err))
		fail_msg("%s", err.message);
	vferry_session_get_status(s, &status);
	assert_int_equal(vf_uri_parse(status.uri, ret_uri, NULL), 0);
	return s;
}

/* A client by hand: a session that lends its credentials, and is never started. */
struct client {
	struct vferry_session *s;
	uint8_t secret[VF_JOIN_BYTES];
	struct vf_hello hello;
};

static void client_new(struct client *c, const char *tls)
{
	struct vferry_parameters p = VFERRY_PARAMETERS_INIT;
	struct vferry_error err = VFERRY_ERROR_INIT;

	*c = (struct client) {
		.hello = { .major = VF_STREAM_MAJOR, .minor = VF_STREAM_MINOR,
			   .purpose = VF_PURPOSE_MIGRATE, .session_id = { 7, 7, 7 }, .channel_count = 2,
			   .features = VF_FEATURE_JOIN, .software = "by hand" },
	};
	p.tls_creds = tls;
	assert_int_equal(vferry_session_new(&machine_ops, NULL, &c->s, &err), 0);
	assert_int_equal(vferry_session_set_parameters(c->s, &p, &err), 0);
	if (vf_link_prepare(c->s, false, &err))
		fail_msg("%s", err.message);
}

static void client_free(struct client *c)
{
	c->s = vferry_session_free(c->s);
}

static struct vf_channel *connect_to(struct client *c, const struct vf_uri *uri)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_channel *channel;

	if (vf_link_connect(c->s, uri, 20 * VF_SECOND_NS, -1, &channel, &err))
		fail_msg("%s", err.message);
	assert_int_equal(vf_channel_set_stall_timeout(channel, 20 * VF_SECOND_NS), 0);
	return channel;
}

/* Says HELLO and @join (NULL: does not), and hears the answer: "" HELLO, else FAILED's id. */
static void greet(struct vf_channel *channel, const struct vf_hello *hello, const uint8_t *join,
		  char id[48])
{
	struct vferry_error said;
	struct vf_hello answer;
	struct vf_frame frame;
	struct vf_writer w;
	uint8_t *body;

	vf_writer_init(&w, 512);
	vf_hello_encode(&w, hello);
	assert_int_equal(vf_channel_send(channel, VF_FRAME_HELLO, 0, VF_NO_COMPONENT, w.data, w.size,
					 NULL), 0);
	vf_writer_done(&w);
	if (join)
		assert_int_equal(vf_channel_send(channel, VF_FRAME_JOIN, VF_FRAME_OPTIONAL,
						 VF_NO_COMPONENT, join, VF_JOIN_BYTES, NULL), 0);
	assert_int_equal(vf_channel_recv(channel, 4096, &frame, &body, NULL), 1);
	*id = '\0';
	if (frame.type == VF_FRAME_FAILED) {
		assert_int_equal(vf_failure_decode(body, frame.length, &said, NULL), 0);
		(void) snprintf(id, 48, "%s", said.id);
	} else {
		assert_int_equal(frame.type, VF_FRAME_HELLO);
		assert_int_equal(vf_hello_decode(body, frame.length, &answer, NULL), 0);
		assert_int_equal(answer.features, hello->features & VF_FEATURE_JOIN);
	}
	free(body);
}

/* As a source does. */
static struct vf_channel *join(struct client *c, const struct vf_uri *uri, uint32_t purpose,
			       uint32_t number, const char *expect)
{
	struct vf_channel *channel = connect_to(c, uri);
	uint8_t proof[VF_JOIN_BYTES];
	char id[48];

	c->hello.purpose = purpose;
	c->hello.channel = number;
	if (purpose == VF_PURPOSE_MIGRATE && !number)
		assert_int_equal(vf_link_secret(channel, c->secret, NULL), 0);
	assert_int_equal(vf_link_join(channel, c->secret, &c->hello, proof, NULL), 0);
	greet(channel, &c->hello, proof, id);
	assert_string_equal(id, expect);
	return channel;
}

static void assert_turned_away(struct vferry_session *s, uint64_t count, const char *id)
{
	struct vferry_status status;
	uint64_t until = vf_now_ns() + 20 * VF_SECOND_NS;

	do {	/* told a moment after the peer heard it */
		vferry_session_get_status(s, &status);
		(void) usleep(1000);
	} while (status.turned_away < count && vf_now_ns() < until);
	assert_int_equal(status.turned_away, count);
	assert_string_equal(status.turned_away_error.id, id);
}

/* Somebody who knows everything but the secret, even the id; and the source, unharmed by all that. */
static void only_the_source_joins(const char *mine, const char *theirs)
{
	struct vf_channel *channels[4];
	struct client source, rogue;
	struct vferry_session *s;
	struct vferry_status status;
	struct vf_uri uri;
	char id[48];

	s = destination(mine, NULL, &uri);
	client_new(&source, mine);
	client_new(&rogue, theirs);
	channels[0] = join(&source, &uri, VF_PURPOSE_MIGRATE, 0, "");
	channels[1] = join(&rogue, &uri, VF_PURPOSE_MIGRATE, 1, "not-of-this-session");
	assert_turned_away(s, 1, "not-of-this-session");
	(void) vf_channel_free(channels[1]);
	/* The whole secret wrong but for one bit. */
	memcpy(rogue.secret, source.secret, sizeof(rogue.secret));
	rogue.secret[31] ^= 1;
	channels[1] = join(&rogue, &uri, VF_PURPOSE_RESOLVE, 0, "not-of-this-session");
	(void) vf_channel_free(channels[1]);
	/* No proof at all. */
	channels[1] = connect_to(&rogue, &uri);
	rogue.hello.features = 0;
	rogue.hello.purpose = VF_PURPOSE_MIGRATE;
	rogue.hello.channel = 1;
	greet(channels[1], &rogue.hello, NULL, id);
	assert_string_equal(id, mine ? "no-join" : "not-of-this-session");
	(void) vf_channel_free(channels[1]);
	/* Another session's channel 0. */
	rogue.hello.features = VF_FEATURE_JOIN;
	rogue.hello.session_id[0]++;
	channels[1] = join(&rogue, &uri, VF_PURPOSE_MIGRATE, 0, "session-taken");
	(void) vf_channel_free(channels[1]);
	/* The source itself. */
	channels[1] = join(&source, &uri, VF_PURPOSE_MIGRATE, 1, "");
	channels[2] = join(&source, &uri, VF_PURPOSE_RESOLVE, 0, "");
	channels[3] = join(&source, &uri, VF_PURPOSE_MIGRATE, 1, "session-taken");
	vferry_session_get_status(s, &status);
	assert_int_equal(status.outcome, VFERRY_OUTCOME_PENDING);
	assert_int_equal(status.tls.encrypted, mine != NULL);
	if (mine)
		assert_string_equal(status.tls.peer, "CN=host-a,O=Lab");
	for (int i = 0; i < 4; i++)
		(void) vf_channel_free(channels[i]);
	client_free(&source);
	client_free(&rogue);
	(void) vferry_session_free(s);
}

static void plain(void **state)
{
	(void) state;
	only_the_source_joins(NULL, NULL);
}

static void tls(void **state)
{
	(void) state;
	only_the_source_joins(good, other);
}

/* Over TLS a proof is of its connection: the right one from elsewhere is wrong here. */
static void a_proof_cannot_be_passed_on(void **state)
{
	struct vf_channel *first, *second, *relayed;
	struct vferry_session *s;
	struct client source, rogue;
	uint8_t proof[VF_JOIN_BYTES];
	struct vf_uri uri;
	char id[48];

	(void) state;
	s = destination(good, NULL, &uri);
	client_new(&source, good);
	client_new(&rogue, other);
	first = join(&source, &uri, VF_PURPOSE_MIGRATE, 0, "");
	second = connect_to(&source, &uri);
	source.hello.channel = 1;
	assert_int_equal(vf_link_join(second, source.secret, &source.hello, proof, NULL), 0);
	relayed = connect_to(&rogue, &uri);
	greet(relayed, &source.hello, proof, id);
	assert_string_equal(id, "not-of-this-session");
	greet(second, &source.hello, proof, id);
	assert_string_equal(id, "");
	(void) vf_channel_free(first);
	(void) vf_channel_free(second);
	(void) vf_channel_free(relayed);
	client_free(&source);
	client_free(&rogue);
	(void) vferry_session_free(s);
}

/* A source of version 1.0 knows no JOIN: over plain connections it is let in as before. */
static void an_older_source(void **state)
{
	struct vf_channel *channels[3];
	struct vferry_session *s;
	struct client source;
	struct vf_uri uri;
	char id[48];

	(void) state;
	s = destination(NULL, NULL, &uri);
	client_new(&source, NULL);
	source.hello.features = 0;
	source.hello.minor = 0;
	for (unsigned i = 0; i < 3; i++) {
		channels[i] = connect_to(&source, &uri);
		source.hello.purpose = i < 2 ? VF_PURPOSE_MIGRATE : VF_PURPOSE_RESOLVE;
		source.hello.channel = i % 2;
		greet(channels[i], &source.hello, NULL, id);
		assert_string_equal(id, "");
	}
	for (unsigned i = 0; i < 3; i++)
		(void) vf_channel_free(channels[i]);
	client_free(&source);
	(void) vferry_session_free(s);
}

static void only_names_that_may_come(void **state)
{
	struct vf_channel *channel;
	struct vferry_session *s;
	struct client known, unknown;
	struct vferry_status status;
	struct vf_uri uri;

	(void) state;
	s = destination(good, "CN=host-x,O=Lab\nCN=host-a,O=Lab", &uri);
	client_new(&known, good);
	client_new(&unknown, other);
	channel = join(&unknown, &uri, VF_PURPOSE_MIGRATE, 0, "tls-not-allowed");
	(void) vf_channel_free(channel);
	assert_turned_away(s, 1, "tls-not-allowed");
	vferry_session_get_status(s, &status);
	assert_non_null(strstr(status.turned_away_error.message, "CN=host-c,O=Lab"));
	channel = join(&known, &uri, VF_PURPOSE_MIGRATE, 0, "");
	(void) vf_channel_free(channel);
	client_free(&known);
	client_free(&unknown);
	(void) vferry_session_free(s);
}

/* Both mix-ups end with a sentence on both sides. */
static void plain_meets_tls(void **state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_channel *channel;
	struct vferry_session *s;
	struct client client;
	struct vf_uri uri;

	(void) state;
	s = destination(good, NULL, &uri);
	client_new(&client, NULL);
	channel = join(&client, &uri, VF_PURPOSE_MIGRATE, 0, "tls-plain-peer");
	(void) vf_channel_free(channel);
	assert_turned_away(s, 1, "tls-plain-peer");
	client_free(&client);
	(void) vferry_session_free(s);

	s = destination(NULL, NULL, &uri);
	client_new(&client, good);
	assert_int_equal(vf_link_connect(client.s, &uri, 20 * VF_SECOND_NS, -1, &channel, &err), -EPROTO);
	assert_string_equal(err.id, "tls-plain-peer");
	assert_turned_away(s, 1, "tls-unexpected");
	client_free(&client);
	(void) vferry_session_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain),
		cmocka_unit_test(tls),
		cmocka_unit_test(a_proof_cannot_be_passed_on),
		cmocka_unit_test(an_older_source),
		cmocka_unit_test(only_names_that_may_come),
		cmocka_unit_test(plain_meets_tls),
	};

	return cmocka_run_group_tests(tests, make_world, end_world);
}
