/* SPDX-License-Identifier: MIT */
/* session_cut: a link that is cut at a message, and how the outcome is settled then. */
#include <sys/socket.h>
#include <sys/un.h>

#include "made_up_machine.h"

/* ---- a link that is cut at a message ---- */

struct proxy {
	char listen_path[100], target_path[100];
	uint16_t cut_at;	/* frame type that is not passed on any more */
	int listener, near, far;
	pthread_t accept_thread, up, down;
};

static bool move_bytes(int from, int to, uint8_t *buffer, size_t bytes)
{
	while (bytes) {
		ssize_t n = recv(from, buffer, bytes < 65536 ? bytes : 65536, 0);

		if (n <= 0 || send(to, buffer, (size_t) n, MSG_NOSIGNAL) != n)
			return false;
		bytes -= (size_t) n;
	}
	return true;
}

static void pump(struct proxy *p, int from, int to)
{
	uint8_t header[32], *buffer = malloc(65536);

	for (;;) {
		uint32_t length;

		if (recv(from, header, sizeof(header), MSG_WAITALL) != sizeof(header) ||
		    (uint16_t) (header[4] | header[5] << 8) == p->cut_at)
			break;
		memcpy(&length, header + 12, 4);
		if (send(to, header, sizeof(header), MSG_NOSIGNAL) != sizeof(header) ||
		    !move_bytes(from, to, buffer, length))
			break;
	}
	(void) shutdown(p->near, SHUT_RDWR);
	(void) shutdown(p->far, SHUT_RDWR);
	free(buffer);
}

static void *pump_up(void *user)
{
	struct proxy *p = user;

	pump(p, p->near, p->far);
	return NULL;
}

static void *pump_down(void *user)
{
	struct proxy *p = user;

	pump(p, p->far, p->near);
	return NULL;
}

static void *proxy_main(void *user)
{
	struct proxy *p = user;
	struct sockaddr_un to = { .sun_family = AF_UNIX };

	p->near = accept(p->listener, NULL, NULL);
	p->far = socket(AF_UNIX, SOCK_STREAM, 0);
	(void) snprintf(to.sun_path, sizeof(to.sun_path), "%s", p->target_path);
	if (p->near < 0 || connect(p->far, (struct sockaddr *) &to, sizeof(to)))
		return NULL;
	(void) pthread_create(&p->up, NULL, pump_up, p);
	(void) pthread_create(&p->down, NULL, pump_down, p);
	(void) pthread_join(p->up, NULL);
	(void) pthread_join(p->down, NULL);
	return NULL;
}

static void proxy_start(struct proxy *p, const char *target_uri, uint16_t cut_at)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };

	*p = (struct proxy) { .cut_at = cut_at };
	(void) snprintf(p->target_path, sizeof(p->target_path), "%s", target_uri + strlen("unix:"));
	(void) snprintf(p->listen_path, sizeof(p->listen_path), "%.80s-proxy", p->target_path);
	(void) snprintf(at.sun_path, sizeof(at.sun_path), "%s", p->listen_path);
	p->listener = socket(AF_UNIX, SOCK_STREAM, 0);
	(void) unlink(p->listen_path);
	assert_int_equal(bind(p->listener, (struct sockaddr *) &at, sizeof(at)), 0);
	assert_int_equal(listen(p->listener, 1), 0);
	assert_int_equal(pthread_create(&p->accept_thread, NULL, proxy_main, p), 0);
}

static void proxy_end(struct proxy *p)
{
	(void) pthread_join(p->accept_thread, NULL);
	(void) close(p->listener);
	(void) close(p->near);
	(void) close(p->far);
	(void) unlink(p->listen_path);
}

#define COMMIT_FRAME 13
#define RUNNING_FRAME 19

/* Migrates over a link that is cut at @cut_at. Returns the URI to ask at. */
static void cut_migration(struct machine *from, struct machine *to, uint16_t cut_at, char uri[128],
			  char record_dir[64])
{
	struct vferry_parameters p = VFERRY_PARAMETERS_INIT;
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct proxy proxy;
	char through[160];

	strcpy(record_dir, "/tmp/vferry-record-XXXXXX");
	assert_non_null(mkdtemp(record_dir));
	p.record_dir = record_dir;
	machine_init(from, true);
	machine_init(to, true);
	machine_fill(from);
	socket_uri(uri, 128);
	machine_session(from, &machine_ops, NULL);
	machine_session(to, &machine_ops, &p);
	assert_int_equal(vferry_session_accept(to->session, uri, &err), 0);
	proxy_start(&proxy, uri, cut_at);
	(void) snprintf(through, sizeof(through), "unix:%s", proxy.listen_path);
	assert_int_equal(vferry_session_migrate(from->session, through, &err), 0);
	assert_int_equal(vferry_session_wait(from->session, 20 * SECOND), 0);
	assert_int_equal(outcome_of(from), VFERRY_OUTCOME_UNKNOWN);
	assert_false(from->running);
	assert_int_equal(vferry_session_cancel(from->session), -EALREADY);
	proxy_end(&proxy);
}

static void wait_known(struct machine *m)
{
	for (int i = 0; i < 1000 && outcome_of(m) == VFERRY_OUTCOME_UNKNOWN; i++)
		(void) usleep(5000);
}

/* The destination has heard of the lost link, and holds the machine. */
static void wait_held(struct machine *m)
{
	for (int i = 0; i < 4000 && outcome_of(m) == VFERRY_OUTCOME_PENDING; i++)
		(void) usleep(5000);
	assert_int_equal(outcome_of(m), VFERRY_OUTCOME_UNKNOWN);
}

static void expect_record(const char *dir, const char *word)
{
	char command[256];

	(void) snprintf(command, sizeof(command), "grep -qx %s %s/*.vferry && rm -r %s", word, dir,
			dir);
	assert_int_equal(system(command), 0);
}

static void commit_that_never_came_is_resolved_to_aborted(void **state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct machine from, to;
	char uri[128], dir[64];

	(void) state;
	cut_migration(&from, &to, COMMIT_FRAME, uri, dir);
	assert_int_equal(vferry_session_resolve(from.session, uri, false, &err), 0);
	wait_known(&from);
	assert_false(to.running);
	expect_record(dir, "aborted");
	expect_still_there(&from, VFERRY_OUTCOME_FAILED, NULL);
	machine_done(&from);
	machine_done(&to);
}

static void an_answer_that_never_came_is_resolved_to_ran(void **state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct machine from, to;
	char uri[128], dir[64];

	(void) state;
	cut_migration(&from, &to, RUNNING_FRAME, uri, dir);
	assert_int_equal(vferry_session_wait(to.session, 5 * SECOND), 0);
	assert_true(to.running);
	assert_int_equal(vferry_session_resolve(from.session, uri, false, &err), 0);
	wait_known(&from);
	expect_record(dir, "ran");
	assert_int_equal(outcome_of(&from), VFERRY_OUTCOME_DONE);
	assert_false(from.running);
	machine_done(&from);
	machine_done(&to);
}

static void a_fenced_destination_gives_the_machine_back(void **state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct machine from, to;
	char uri[128], dir[64];

	(void) state;
	cut_migration(&from, &to, COMMIT_FRAME, uri, dir);
	/* The operator made sure of it: */
	to.session = vferry_session_free(to.session);
	assert_false(to.running);
	assert_int_equal(vferry_session_resolve(from.session, NULL, true, &err), 0);
	wait_known(&from);
	expect_record(dir, "aborted");
	expect_still_there(&from, VFERRY_OUTCOME_FAILED, NULL);
	machine_done(&from);
	machine_done(&to);
}

static void a_prepared_destination_is_promoted_when_the_source_is_fenced(void **state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct machine from, to;
	char uri[128], dir[64];

	(void) state;
	cut_migration(&from, &to, COMMIT_FRAME, uri, dir);
	assert_false(to.running);
	wait_held(&to);
	assert_int_equal(vferry_session_resolve(to.session, uri, false, &err), -EINVAL);
	assert_int_equal(vferry_session_resolve(to.session, NULL, false, &err), 0);
	assert_int_equal(vferry_session_wait(to.session, 5 * SECOND), 0);
	assert_int_equal(outcome_of(&to), VFERRY_OUTCOME_DONE);
	assert_true(to.running);
	expect_record(dir, "ran");
	/* It is known now: another word is refused. */
	assert_int_equal(vferry_session_resolve(to.session, NULL, true, &err), -EINVAL);
	/* Whoever asks later hears it. */
	assert_int_equal(vferry_session_resolve(from.session, uri, false, &err), 0);
	wait_known(&from);
	assert_int_equal(outcome_of(&from), VFERRY_OUTCOME_DONE);
	assert_false(from.running);
	machine_done(&from);
	machine_done(&to);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(commit_that_never_came_is_resolved_to_aborted),
		cmocka_unit_test(an_answer_that_never_came_is_resolved_to_ran),
		cmocka_unit_test(a_fenced_destination_gives_the_machine_back),
		cmocka_unit_test(a_prepared_destination_is_promoted_when_the_source_is_fenced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
