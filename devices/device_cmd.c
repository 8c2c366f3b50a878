/* SPDX-License-Identifier: MIT */
/* device_cmd.c - see device_cmd.h. The options are one table, for getopt and for the help. */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

#include "accel_server.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "device_cmd.h"
#include "replay_server.h"
#include "sandbox/sandbox.h"

enum {
	EXIT_USAGE = 1,
	EXIT_BAD_INPUT = 2,
	EXIT_FAILED = 3,
	EXIT_SCRIPT = 70,
};

#define DEFAULT_STATE VF_MIB
#define DEFAULT_OVERLAY (16 * VF_MIB)

struct command {
	const char *name;
	const char *model, *replay, *socket, *script;
	const char *accel_option;	/* one that was given and is for that model only */
	struct accel_server_options server;
	bool state_size;		/* was given */
	struct sandbox_options sandbox;
	struct vferry_trust trust;
	bool once, help;
};

enum option_id {
	OPT_MODEL = 256, OPT_REPLAY, OPT_SOCKET, OPT_STATE_SIZE, OPT_DIRTY_RATE, OPT_SCRIPT, OPT_SEED,
	OPT_WRITTEN_LIMIT, OPT_MSIX_VECTORS, OPT_PRECOPY, OPT_P2P, OPT_DMA_LOG, OPT_EXTENSIONS,
	OPT_IOEVENTFD, OPT_ONCE, OPT_ALLOW_UID, OPT_SANDBOX, OPT_HELP,
};

static const struct {
	const char *name, *value, *help;
	enum option_id id;
	bool any_model;
} options[] = {
	{ "model", "accel", "what device to be", OPT_MODEL, true },
	{ "replay", "DIR", "be the device that vferry probe captured there", OPT_REPLAY, true },
	{ "socket", "PATH", "where clients come", OPT_SOCKET, true },
	{ "state-size", "SIZE", "internal memory, multiple of 4 KiB (1M)", OPT_STATE_SIZE, true },
	{ "dirty-rate", "RATE", "internal memory that changes by itself, e.g. 64M/s (0)",
	  OPT_DIRTY_RATE },
	{ "script", "FILE", "latencies and faults", OPT_SCRIPT },
	{ "seed", "N", "of the pattern in internal memory (0)", OPT_SEED },
	{ "written-limit", "SIZE", "internal memory that jobs may write, in all (16M)",
	  OPT_WRITTEN_LIMIT },
	{ "msix-vectors", "N", "0 to 16, 0 = no MSI-X (16)", OPT_MSIX_VECTORS },
	{ "precopy", "on|off", "offer PRE_COPY (on)", OPT_PRECOPY },
	{ "p2p", "on|off", "offer the P2P states (on)", OPT_P2P },
	{ "dma-log", "on|off", "offer DMA logging (on)", OPT_DMA_LOG },
	{ "extensions", "on|off", "offer vferry's additions to vfio-user (on)", OPT_EXTENSIONS },
	{ "ioeventfd", "on|off", "offer that the doorbell comes by eventfd (on)", OPT_IOEVENTFD },
	{ "once", NULL, "end when the first client has gone", OPT_ONCE, true },
	{ "allow-uid", "UID", "this user, too, may connect; several", OPT_ALLOW_UID, true },
	{ "sandbox", "on|off|log", "give up what is not needed (on)", OPT_SANDBOX, true },
	{ "help", NULL, "show this", OPT_HELP, true },
};

static void show_help(const char *name)
{
	printf("usage: %s --model accel|--replay DIR --socket PATH [options]\n", name);
	for (size_t i = 0; i < VF_ARRAY_COUNT(options); i++) {
		char left[40];

		snprintf(left, sizeof(left), "--%s %s", options[i].name,
			 options[i].value ? options[i].value : "");
		printf("  %-24s %s\n", left, options[i].help);
	}
}

static int bad_value(const struct command *c, const char *option, const char *value)
{
	fprintf(stderr, "%s: --%s: '%s' is not possible here\n", c->name, option, value);
	return -EINVAL;
}

static int take_switch(const char *value, bool *ret)
{
	if (strcmp(value, "on") && strcmp(value, "off"))
		return -EINVAL;
	*ret = !strcmp(value, "on");
	return 0;
}

/* Decimal, or hexadecimal with 0x. */
static int take_number(const char *value, uint64_t max, uint64_t *ret)
{
	char *end;

	if (*value < '0' || *value > '9')
		return -EINVAL;
	errno = 0;
	*ret = strtoull(value, &end, strncmp(value, "0x", 2) ? 10 : 16);
	return errno || *end || *ret > max ? -EINVAL : 0;
}

static int take_option(struct command *c, int id, const char *value)
{
	struct accel_options *device = &c->server.device;
	uint64_t number = 0;
	bool on = true;
	int ret;

	switch (id) {
	case OPT_MODEL:
		c->model = value;
		return strcmp(value, "accel") ? -EINVAL : 0;
	case OPT_REPLAY:
		c->replay = value;
		return 0;
	case OPT_SOCKET:
		c->socket = value;
		return 0;
	case OPT_STATE_SIZE:
		c->state_size = true;
		ret = vf_script_size(value, &device->state_bytes);
		return ret || !device->state_bytes || device->state_bytes % ACCEL_PAGE_BYTES ||
		       device->state_bytes > ACCEL_MEMORY_MAX ? -EINVAL : 0;
	case OPT_DIRTY_RATE:
		return vf_script_rate(value, &device->dirty_rate);
	case OPT_SCRIPT:
		c->script = value;
		return 0;
	case OPT_SEED:
		return take_number(value, UINT64_MAX, &device->seed);
	case OPT_WRITTEN_LIMIT:
		return vf_script_size(value, &device->overlay_bytes);
	case OPT_MSIX_VECTORS:
		ret = take_number(value, ACCEL_MSIX_VECTORS, &number);
		device->msix_vectors = (uint32_t) number;
		return ret;
	case OPT_PRECOPY:
		return take_switch(value, &c->server.precopy);
	case OPT_P2P:
		return take_switch(value, &c->server.p2p);
	case OPT_DMA_LOG:
		return take_switch(value, &c->server.dma_log);
	case OPT_EXTENSIONS:
		return take_switch(value, &c->server.extensions);
	case OPT_IOEVENTFD:
		ret = take_switch(value, &on);
		c->server.no_ioeventfd = !on;
		return ret;
	case OPT_ALLOW_UID:
		if (take_number(value, UINT32_MAX - 1, &number) || c->trust.count == VFERRY_TRUST_MAX)
			return -EINVAL;
		c->trust.uids[c->trust.count++] = (uint32_t) number;
		return 0;
	case OPT_SANDBOX:
		return sandbox_mode_parse(value, &c->sandbox.mode);
	case OPT_ONCE:
		c->once = true;
		return 0;
	default:
		c->help = true;
		return 0;
	}
}

static int parse(struct command *c, int argc, char **argv)
{
	struct option longs[VF_ARRAY_COUNT(options) + 1] = { 0 };
	int id, at = 0;

	for (size_t i = 0; i < VF_ARRAY_COUNT(options); i++)
		longs[i] = (struct option) { options[i].name,
					     options[i].value ? required_argument : no_argument,
					     NULL, options[i].id };
	optind = 0;	/* glibc: start anew, a sub-command's words may have been parsed before */
	while ((id = getopt_long(argc, argv, "", longs, &at)) != -1) {
		if (id == '?')
			return -EINVAL;		/* getopt has said why */
		if (take_option(c, id, optarg))
			return bad_value(c, options[id - OPT_MODEL].name, optarg);
		if (!options[id - OPT_MODEL].any_model)
			c->accel_option = options[id - OPT_MODEL].name;
	}
	if (c->help)
		return 0;
	if (optind < argc) {
		fprintf(stderr, "%s: '%s' is no option\n", c->name, argv[optind]);
		return -EINVAL;
	}
	if ((!c->model && !c->replay) || !c->socket) {
		fprintf(stderr, "%s: --%s is missing\n", c->name,
			c->model || c->replay ? "socket" : "model");
		return -EINVAL;
	}
	if (c->replay && (c->model || c->accel_option)) {
		fprintf(stderr, "%s: --%s has no meaning with --replay: the capture says it\n", c->name,
			c->model ? "model" : c->accel_option);
		return -EINVAL;
	}
	return 0;
}

static void print_note(void *user, const char *text)
{
	const struct command *c = user;

	fprintf(stderr, "%s: %s: %s\n", c->name, c->socket, text);
}

static int complain(const struct command *c, const struct vferry_error *err, int code)
{
	fprintf(stderr, "%s: %s\n", c->name, err->message);
	return code;
}

static int read_capture(const struct command *c, struct capture **ret_capture,
			struct vferry_error *err)
{
	struct capture *capture = calloc(1, sizeof(*capture));
	int ret = capture ? capture_load(c->replay, capture, err) :
		  vferry_error_set(err, -ENOMEM, "no-memory", NULL, "out of memory");

	if (!ret && capture->has_data_size && c->state_size)
		ret = vferry_error_set(err, -EINVAL, "bad-argument", NULL,
				       "--state-size: %s says how large its state is", c->replay);
	if (ret)
		free(capture);
	else
		*ret_capture = capture;
	return ret;
}

/* After files were read, and before there is a second thread or a client. */
static int enter_sandbox(struct command *c, struct vferry_error *err)
{
	struct sandbox_result result;
	int ret = sandbox_allow_parent(&c->sandbox, c->socket, SANDBOX_SOCKET);

	c->sandbox.role = SANDBOX_DEVICE;
	if (!ret)
		ret = sandbox_enter(&c->sandbox, &result, err);
	if (!ret && c->sandbox.mode != SANDBOX_OFF && !result.seccomp)
		print_note(c, "this build was made without libseccomp: system calls are not filtered");
	return ret ? vferry_error_set(err, ret, "sandbox", NULL, "the sandbox can't be entered: %s",
				      vferry_errno_name(ret)) : 0;
}

static void say_ready(void)
{
	puts("ready");
	(void) fflush(stdout);
}

static int serve_accel(struct command *c, struct vf_script *take_script, int stop_fd,
		       struct vferry_error *err)
{
	struct accel_server *server = NULL;
	int ret;

	c->server.trust = &c->trust;
	c->server.note = print_note;
	c->server.user = c;
	ret = accel_server_new(&c->server, take_script, &server, err);
	if (!ret)
		ret = accel_server_listen(server, c->socket, err);
	if (!ret) {
		say_ready();
		ret = accel_server_run(server, stop_fd, c->once, err);
	}
	if (ret == ACCEL_SERVER_EXIT)	/* as if it had died: nothing is tidied up */
		_exit(EXIT_SCRIPT);
	accel_server_free(server);
	return ret;
}

static int serve_replay(struct command *c, const struct capture *capture, int stop_fd,
			struct vferry_error *err)
{
	const struct replay_server_options how = {
		.state_bytes = c->server.device.state_bytes,
		.trust = &c->trust, .note = print_note, .user = c,
	};
	struct replay_server *server = NULL;
	int ret = replay_server_new(capture, &how, &server, err);

	if (!ret)
		ret = replay_server_listen(server, c->socket, err);
	if (!ret) {
		say_ready();
		ret = replay_server_run(server, stop_fd, c->once, err);
	}
	replay_server_free(server);
	return ret;
}

/* Files are read first: in the sandbox there are none. */
static int serve(struct command *c, int stop_fd)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct capture *capture = NULL;
	struct vf_script script;
	int ret = 0;

	vf_script_init(&script);
	if (c->replay)
		ret = read_capture(c, &capture, &err);
	else if (c->script)
		ret = vf_script_load(&script, c->script, &err);
	if (ret)
		return complain(c, &err, EXIT_BAD_INPUT);
	/* A socket for others gets mode 0666, and who comes is checked. */
	if (c->trust.count)
		(void) umask(0);
	ret = enter_sandbox(c, &err);
	if (!ret)
		ret = capture ? serve_replay(c, capture, stop_fd, &err) :
		      serve_accel(c, &script, stop_fd, &err);
	if (ret < 0)
		(void) complain(c, &err, 0);
	vf_script_done(&script);
	free(capture);
	return ret ? EXIT_FAILED : 0;
}

int vf_device_main(int argc, char **argv)
{
	struct command c = {
		.name = argv[0],
		.server = {
			.device = { .state_bytes = DEFAULT_STATE, .overlay_bytes = DEFAULT_OVERLAY,
				    .msix_vectors = ACCEL_MSIX_VECTORS },
			.precopy = true, .p2p = true, .dma_log = true, .extensions = true,
		},
	};
	sigset_t signals;
	int stop_fd, ret;

	if (parse(&c, argc, argv))
		return EXIT_USAGE;
	if (c.help) {
		show_help(c.name);
		return 0;
	}
	(void) sigemptyset(&signals);
	(void) sigaddset(&signals, SIGTERM);
	(void) sigaddset(&signals, SIGINT);
	(void) sigprocmask(SIG_BLOCK, &signals, NULL);
	stop_fd = signalfd(-1, &signals, SFD_CLOEXEC);
	if (stop_fd < 0) {
		fprintf(stderr, "%s: no signal descriptor: %s\n", c.name, strerror(errno));
		return EXIT_FAILED;
	}
	ret = serve(&c, stop_fd);
	vf_close(&stop_fd);
	return ret;
}
