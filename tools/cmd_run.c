/* SPDX-License-Identifier: MIT */
/* cmd_run.c - `vferry run`: one machine, its control socket and its console, in one event loop. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <json-c/json.h>

#include "command.h"
#include "kernel_files.h"
#include "terminal.h"
#include "sandbox/sandbox.h"
#include "vmm/control.h"
#include "vmm/control_commands.h"
#include "vmm/hook_runner.h"
#include "vmm/vm.h"

#define FLUSH_MS 2000
#define TYPE_AGAIN_MS 20	/* until a guest that did not read is offered again what was typed */

enum {
	OPT_ACCEL = 1, OPT_CPUS, OPT_MEMORY, OPT_HUGETLB, OPT_GIC, OPT_GUEST, OPT_GUEST_ARGS, OPT_KERNEL,
	OPT_INITRD, OPT_APPEND, OPT_DEVICE, OPT_PEERS, OPT_CONTROL, OPT_INCOMING, OPT_PAUSED,
	OPT_GUEST_TIME, OPT_RECORD_DIR, OPT_FILES, OPT_HOOK, OPT_ALLOW_UID, OPT_SANDBOX, OPT_DUMP,
	OPT_TRACE, OPT_TRACE_FAILED, OPT_STALL_TIMEOUT, OPT_TLS, OPT_TLS_ALLOW, OPT_INSECURE, OPT_JSON,
	OPT_IRQCHIP, OPT_DIRTY,
};

static const struct tool_option options[] = {
	{ "accel", "auto|kvm|soft", "what runs the vCPUs (auto)", OPT_ACCEL },
	{ "cpus", "N", "number of vCPUs (1)", OPT_CPUS },
	{ "memory", "SIZE", "guest memory, e.g. 512M (256M)", OPT_MEMORY },
	{ "hugetlb", NULL, "guest memory of 2 MiB pages", OPT_HUGETLB },
	{ "gic", "off|v3|v4.0|v4.1", "interrupt controller of the soft machine (v4.0)", OPT_GIC },
	{ "irqchip", "kernel|split", "where KVM's interrupt controllers are (kernel)", OPT_IRQCHIP },
	{ "dirty", "auto|log|ring", "how KVM tells what the guest wrote (auto)", OPT_DIRTY },
	{ "guest", "NAME", "guest program (worker)", OPT_GUEST },
	{ "guest-args", "\"KEY=VALUE ...\"", "its command line", OPT_GUEST_ARGS },
	{ "kernel", "FILE", "kernel to boot in place of a guest program (KVM)", OPT_KERNEL },
	{ "initrd", "FILE", "its initial RAM disk", OPT_INITRD },
	{ "append", "TEXT", "its command line", OPT_APPEND },
	{ "device", "URI[,addr=BB:DD.F][,timeout-ms=N]", "pass a device through; several",
	  OPT_DEVICE },
	{ "peers", "on|off", "devices may write into each other's BARs (on)", OPT_PEERS },
	{ "control", "PATH", "control socket, QMP", OPT_CONTROL },
	{ "incoming", "URI|defer", "wait for a machine to come", OPT_INCOMING },
	{ "paused", NULL, "do not run it yet", OPT_PAUSED },
	{ "guest-time", "running|paused", "the guest's counter while it is stopped (running)",
	  OPT_GUEST_TIME },
	{ "record-dir", "DIR", "where a destination records `ran` or `aborted`", OPT_RECORD_DIR },
	{ "files", "DIR", "where machines may be saved and loaded (current directory); several",
	  OPT_FILES },
	{ "hook", "FILE", "program told before the switchover, after commit or roll-back; several: "
	  "`migrate` may name them", OPT_HOOK },
	{ "allow-uid", "UID", "this user, too, may connect, and serve devices; several", OPT_ALLOW_UID },
	{ "dump-guest-core", "on|off", "guest memory is part of core dumps (off)", OPT_DUMP },
	{ "sandbox", "on|off|log", "give up what is not needed (on)", OPT_SANDBOX },
	{ "trace", "FILE", "every event of its migrations, as a line of JSON", OPT_TRACE },
	{ "trace-failed", "FILE|none", "the last events of a migration that failed (CONTROL.trace)",
	  OPT_TRACE_FAILED },
	{ "stall-timeout", "SECONDS", "a peer that is silent for so long is given up (30)",
	  OPT_STALL_TIMEOUT },
	{ "tls-creds", "DIR", "TLS, with the certificates or the keys in DIR", OPT_TLS },
	{ "tls-allow", "NAME", "only this peer may send a machine here; several", OPT_TLS_ALLOW },
	{ "insecure", NULL, "plain tcp beyond this host is meant", OPT_INSECURE },
	{ "json", NULL, "lines on standard output are JSON", OPT_JSON },
	{ 0 }
};

static const struct tool_usage usage = {
	.name = "vferry run", .arguments = "[options]",
	.summary = "Runs a machine whose only PCI devices are passed through ones.",
	.options = options,
};

struct run {
	struct vm_options vm_options;
	struct machine_device_options devices[MACHINE_DEVICES_MAX];
	char *device_words[MACHINE_DEVICES_MAX];	/* owned; what devices[] points into */
	char *tls_creds;			/* owned */
	char tls_allow[VM_TLS_ALLOW_BYTES];
	const char *control_path;
	const char *trace_failed;	/* as given; NULL: the default */
	const char *trace_file;
	struct kernel_files kernel;
	struct terminal terminal;	/* of a kernel */
	char *hooks[HOOK_PROGRAMS_MAX];	/* owned; the first is the default */
	size_t hook_count;
	struct hook_runner *hook_runner;
	struct sandbox_options sandbox;
	bool files;			/* --files was given */
	struct vferry_trust trust;
	bool json;
	struct vm *vm;
	struct vm_control control;
};

/* ---- the command line ---- */

static int take_device(struct run *r, const char *value)
{
	struct machine_options *m = &r->vm_options.machine;
	struct machine_device_options *d = &r->devices[m->device_count];
	char *words, *word, *save = NULL;

	if (m->device_count == MACHINE_DEVICES_MAX)
		return -E2BIG;
	words = strdup(value);
	if (!words)
		return -ENOMEM;
	r->device_words[m->device_count++] = words;
	d->uri = strtok_r(words, ",", &save);
	if (!d->uri || !strchr(d->uri, ':'))
		return -EINVAL;
	while ((word = strtok_r(NULL, ",", &save)) != NULL) {
		uint64_t ms;

		if (!strncmp(word, "addr=", 5) && word[5]) {
			d->address = word + 5;
		} else if (!strncmp(word, "timeout-ms=", 11) &&
			   !tool_number(word + 11, 1, 3600000, &ms)) {
			d->timeout_ns = ms * 1000000;
		} else {
			return -EINVAL;
		}
	}
	return 0;
}

static int take_cpus(struct machine_options *m, const char *value)
{
	uint64_t number;
	int ret = tool_number(value, 1, MACHINE_CPUS_MAX, &number);

	if (!ret)
		m->cpus = (unsigned) number;
	return ret;
}

static int take_word(const char *value, const char *first, const char *second, bool *ret)
{
	if (strcmp(value, first) && strcmp(value, second))
		return -EINVAL;
	*ret = !strcmp(value, second);
	return 0;
}

static int take_machine(struct machine_options *m, int id, const char *value)
{
	bool second;
	int ret;

	switch (id) {
	case OPT_ACCEL:
		m->accel = value;
		return tool_accel(value);
	case OPT_CPUS:
		return take_cpus(m, value);
	case OPT_MEMORY:
		return tool_size(value, &m->memory_bytes);
	case OPT_HUGETLB:
		m->hugetlb = true;
		return 0;
	case OPT_GIC:
		return machine_gic_parse(value, &m->gic);
	case OPT_IRQCHIP:
		return machine_irqchip_parse(value, &m->irqchip);
	case OPT_DIRTY:
		return machine_dirty_parse(value, &m->dirty);
	case OPT_GUEST:
		m->guest = value;
		return 0;
	case OPT_GUEST_ARGS:
		m->guest_args = value;
		return 0;
	case OPT_PEERS:
		return take_word(value, "off", "on", &m->peers);
	case OPT_PAUSED:
		m->paused = true;
		return 0;
	default:
		ret = take_word(value, "running", "paused", &second);
		m->guest_time = !ret && second ? MACHINE_GUEST_TIME_PAUSED
					       : MACHINE_GUEST_TIME_RUNNING;
		return ret;
	}
}

static int take_hook(struct run *r, const char *value)
{
	char *path = strlen(value) < VM_HOOK_BYTES ? realpath(value, NULL) : NULL;

	if (!path || strlen(path) >= VM_HOOK_BYTES || r->hook_count == HOOK_PROGRAMS_MAX) {
		free(path);
		return -EINVAL;
	}
	r->hooks[r->hook_count++] = path;
	r->vm_options.hook = r->hooks[0];
	return 0;
}

static int take_seconds(const char *value, uint64_t *ret_ns)
{
	uint64_t seconds;
	int ret = tool_number(value, 1, 1000000, &seconds);

	if (!ret)
		*ret_ns = seconds * 1000000000;
	return ret;
}

static int take_uid(struct vferry_trust *trust, const char *value)
{
	uint64_t uid;

	if (tool_number(value, 0, UINT32_MAX - 1, &uid) || trust->count == VFERRY_TRUST_MAX)
		return -EINVAL;
	trust->uids[trust->count++] = (uint32_t) uid;
	return 0;
}

/* One name a line. */
static int take_allowed(struct run *r, const char *value)
{
	size_t used = strlen(r->tls_allow), left = sizeof(r->tls_allow) - used;

	r->vm_options.tls_allow = r->tls_allow;
	if (!*value || strchr(value, '\n'))
		return -EINVAL;
	return (size_t) snprintf(r->tls_allow + used, left, "%s%s", used ? "\n" : "", value) < left
		       ? 0 : -E2BIG;
}

static int take(void *user, int id, const char *value)
{
	struct run *r = user;

	switch (id) {
	case OPT_KERNEL:
		r->kernel.image_path = value;
		return 0;
	case OPT_INITRD:
		r->kernel.initrd_path = value;
		return 0;
	case OPT_APPEND:
		r->kernel.kernel.append = value;
		return 0;
	case OPT_DEVICE:
		return take_device(r, value);
	case OPT_CONTROL:
		r->control_path = value;
		return 0;
	case OPT_INCOMING:
		r->vm_options.incoming = value;
		return strcmp(value, "defer") && !strchr(value, ':') ? -EINVAL : 0;
	case OPT_RECORD_DIR:
		r->vm_options.record_dir = value;
		return 0;
	case OPT_HOOK:
		return take_hook(r, value);
	case OPT_FILES:
		r->files = true;
		return access(value, X_OK) ? -errno
			: sandbox_allow(&r->sandbox, value, SANDBOX_WRITE | SANDBOX_SOCKET);
	case OPT_ALLOW_UID:
		return take_uid(&r->trust, value);
	case OPT_DUMP:
		return take_word(value, "off", "on", &r->vm_options.machine.dump_memory);
	case OPT_SANDBOX:
		return sandbox_mode_parse(value, &r->sandbox.mode);
	case OPT_TRACE:
		r->trace_file = value;
		return 0;
	case OPT_TRACE_FAILED:
		r->trace_failed = value;
		return 0;
	case OPT_STALL_TIMEOUT:
		return take_seconds(value, &r->vm_options.stall_timeout_ns);
	case OPT_TLS:
		free(r->tls_creds);
		r->tls_creds = tool_directory(value);
		r->vm_options.tls_creds = r->tls_creds;
		return r->tls_creds && strlen(r->tls_creds) < VM_TLS_DIR_BYTES ? 0 : -EINVAL;
	case OPT_TLS_ALLOW:
		return take_allowed(r, value);
	case OPT_INSECURE:
		r->vm_options.insecure = true;
		return 0;
	case OPT_JSON:
		r->json = true;
		return 0;
	default:
		return take_machine(&r->vm_options.machine, id, value);
	}
}

/* Told to others, who may be elsewhere, so it is absolute. False: too long, or nowhere. */
static bool make_absolute(const char *path, const char *suffix, char *to, size_t size)
{
	char here[PATH_MAX] = "";

	if (path[0] != '/' && !getcwd(here, sizeof(here)))
		return false;
	return (size_t) snprintf(to, size, "%s%s%s%s", here, here[0] ? "/" : "", path, suffix) < size;
}

/* Traces of failures go beside the control socket, where whoever asks what happened is at home. */
static int open_trace(struct run *r, struct vferry_error *err)
{
	struct vm_trace_options wanted = {
		.actions = getenv("VFERRY_TRACE"), .file = r->trace_file,
	};
	const char *failed = r->trace_failed ? r->trace_failed : r->control_path;
	char path[2 * PATH_MAX];

	if (failed && strcmp(failed, "none") &&
	    make_absolute(failed, r->trace_failed ? "" : ".trace", path, sizeof(path)))
		wanted.failed = path;
	return vm_trace_new(&wanted, &r->vm_options.trace, err);
}

/* ---- what the VM tells ---- */

static void print_line(struct run *r, const char *what, const char *line)
{
	struct json_object *object;

	if (!r->json) {
		puts(line);
	} else {
		object = json_object_new_object();
		json_object_object_add(object, "event", json_object_new_string(what));
		json_object_object_add(object, "line", json_object_new_string(line));
		puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN));
		(void) json_object_put(object);
	}
	(void) fflush(stdout);
}

static void on_stopped(void *user)
{
	vm_control_stopped(&((struct run *) user)->control);
}

static void on_resumed(void *user)
{
	vm_control_resumed(&((struct run *) user)->control);
}

static void on_migration(void *user, enum vferry_state state)
{
	vm_control_migration(&((struct run *) user)->control, state);
}

static void on_pass(void *user, uint32_t pass)
{
	vm_control_pass(&((struct run *) user)->control, pass);
}

static void on_console(void *user, const char *line)
{
	print_line(user, "console", line);
}

static void on_console_bytes(void *user, const void *bytes, size_t count)
{
	(void) user;
	(void) fwrite(bytes, 1, count, stdout);
	(void) fflush(stdout);
}

static void on_log(void *user, const char *line)
{
	(void) user;
	fprintf(stderr, "vferry run: %s\n", line);
}

static void on_shutdown(void *user, enum vm_shutdown reason)
{
	vm_control_shutdown(&((struct run *) user)->control, reason);
}

#define CALLBACKS \
	.stopped = on_stopped, .resumed = on_resumed, .migration = on_migration, .pass = on_pass, \
	.console = on_console, .log = on_log, .shutdown = on_shutdown

static const struct vm_callbacks callbacks = { CALLBACKS };
/* A kernel's console is the terminal's; in JSON it is lines as any other. */
static const struct vm_callbacks kernel_callbacks = { CALLBACKS, .console_bytes = on_console_bytes };

/* ---- life ---- */

static void print_ready(struct run *r)
{
	const char *incoming = vm_incoming_uri(r->vm);
	struct json_object *object;

	if (!r->json) {
		printf("ready%s%s%s%s\n", r->control_path ? " control=" : "",
		       r->control_path ? r->control_path : "", incoming ? " incoming=" : "",
		       incoming ? incoming : "");
	} else {
		object = json_object_new_object();
		json_object_object_add(object, "event", json_object_new_string("ready"));
		json_object_object_add(object, "control", r->control_path
				       ? json_object_new_string(r->control_path) : NULL);
		json_object_object_add(object, "incoming", incoming
				       ? json_object_new_string(incoming) : NULL);
		json_object_object_add(object, "status",
				       json_object_new_string(vm_state_name(vm_get_state(r->vm))));
		puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN));
		(void) json_object_put(object);
	}
	(void) fflush(stdout);
}

/* What was typed, to the guest; what it does not take now it is offered again. */
static void type(struct run *r, bool readable)
{
	if (readable && terminal_read(&r->terminal))
		vm_quit(r->vm, VM_SHUTDOWN_SIGNAL);
	if (r->terminal.count)
		terminal_taken(&r->terminal, machine_console_put(vm_machine(r->vm), r->terminal.bytes,
								 r->terminal.count));
}

static void loop(struct run *r, int signal_fd)
{
	struct pollfd fds[] = {
		{ .fd = vm_get_fd(r->vm), .events = POLLIN },
		{ .fd = control_get_fd(r->control.control), .events = POLLIN },
		{ .fd = signal_fd, .events = POLLIN },
		{ .fd = STDIN_FILENO, .events = POLLIN },
	};

	while (!vm_should_quit(r->vm)) {
		bool types = r->terminal.open && !r->terminal.count &&
			     vm_get_state(r->vm) == VM_RUNNING;

		fds[3].fd = types ? STDIN_FILENO : -1;
		fds[3].revents = 0;
		if (poll(fds, 4, r->terminal.count ? TYPE_AGAIN_MS : -1) < 0 && errno != EINTR)
			break;
		type(r, fds[3].revents != 0);
		if (fds[2].revents)
			vm_quit(r->vm, VM_SHUTDOWN_SIGNAL);
		if (fds[1].revents)
			control_dispatch(r->control.control);
		vm_dispatch(r->vm);	/* always: a request may have read what would have woken us */
	}
}

#define LOCKED_MORE (64ull << 20)	/* what else of the process the kernel pins */

/* A device of the kernel's needs all guest memory locked, and the sandbox keeps no privilege for that. So
 * the limit is raised while it may be; where it may not, opening the device says what is needed. */
static void raise_lock_limit(const struct machine_options *m)
{
	rlim_t need = m->memory_bytes + LOCKED_MORE;
	struct rlimit limit;

	if (getrlimit(RLIMIT_MEMLOCK, &limit) || limit.rlim_cur == RLIM_INFINITY ||
	    limit.rlim_cur >= need)
		return;
	limit.rlim_cur = need;
	if (limit.rlim_max != RLIM_INFINITY && limit.rlim_max < need)
		limit.rlim_max = need;
	(void) setrlimit(RLIMIT_MEMLOCK, &limit);
}

/* Nodes of the kernel's devices, and where they are looked up. */
static int allow_kernel_devices(struct run *r)
{
	static const struct { const char *path; unsigned access; } paths[] = {
		{ "/dev/vfio", SANDBOX_NODE }, { "/dev/iommu", SANDBOX_NODE },
		{ "/sys/devices", SANDBOX_READ }, { "/sys/kernel/iommu_groups", SANDBOX_READ },
		/* arm64: which of their messages does KVM forward? */
		{ "/proc/cmdline", SANDBOX_READ }, { "/sys/kernel/debug/kvm", SANDBOX_READ },
	};
	int ret = 0;

	for (size_t i = 0; !ret && i < sizeof(paths) / sizeof(paths[0]); i++)
		ret = sandbox_allow(&r->sandbox, paths[i].path, paths[i].access);
	return ret;
}

/* What this machine may open; vfio-user devices it connects to, which is not opening. */
static int allow_paths(struct run *r)
{
	const char *incoming = r->vm_options.incoming ? r->vm_options.incoming : "";
	char here[PATH_MAX];
	int ret = 0;

	/* The root directory would be everything. */
	if (!r->files && getcwd(here, sizeof(here)) && strcmp(here, "/"))
		ret = sandbox_allow(&r->sandbox, here, SANDBOX_WRITE | SANDBOX_SOCKET);
	if (!ret)
		ret = sandbox_allow_parent(&r->sandbox, r->control_path, SANDBOX_SOCKET);
	if (!ret)
		ret = sandbox_allow(&r->sandbox, r->vm_options.record_dir, SANDBOX_WRITE);
	if (!ret)
		ret = sandbox_allow(&r->sandbox, r->tls_creds, SANDBOX_READ);
	if (!ret && !strncmp(incoming, "unix:", 5))
		ret = sandbox_allow_parent(&r->sandbox, incoming + 5, SANDBOX_SOCKET);
	if (!ret && !strncmp(incoming, "file:", 5))
		ret = sandbox_allow(&r->sandbox, incoming + 5, SANDBOX_READ);
	return ret;
}

/* Before there is a second thread, or a byte of somebody else's. */
static int enter_sandbox(struct run *r, struct vferry_error *err)
{
	struct sandbox_result result;
	int ret;

	r->vm_options.sandboxed = r->sandbox.mode != SANDBOX_OFF;
	if (r->vm_options.sandboxed && r->hook_count) {
		ret = hook_runner_new((const char *const *) r->hooks, r->hook_count, &r->hook_runner,
				      err);
		if (ret)
			return ret;
		r->vm_options.hook_runner = r->hook_runner;
	}
	ret = open_trace(r, err);
	if (ret)
		return ret;
	if (!r->vm_options.machine.accel || strcmp(r->vm_options.machine.accel, "soft"))
		r->vm_options.machine.kvm = machine_open_kvm();
	/* Sockets for others get mode 0666, and who comes is checked; all else says 0600 itself. */
	if (r->trust.count)
		(void) umask(0);
	r->sandbox.role = SANDBOX_MACHINE | (r->vm_options.machine.kvm >= 0 ? SANDBOX_KVM : 0);
	ret = allow_paths(r);
	if (!ret && machine_has_kernel_devices(&r->vm_options.machine)) {
		raise_lock_limit(&r->vm_options.machine);
		r->sandbox.role |= SANDBOX_VFIO;
		ret = allow_kernel_devices(r);
	}
	if (ret)
		return vferry_error_set(err, ret, "sandbox", NULL, "too many paths, or one too long");
	ret = sandbox_enter(&r->sandbox, &result, err);
	if (!ret && r->vm_options.sandboxed && !result.seccomp)
		on_log(r, "this build was made without libseccomp: system calls are not filtered");
	return ret;
}

static int set_up(struct run *r, struct vferry_error *err)
{
	int ret = enter_sandbox(r, err);

	if (!ret)
		ret = control_new(vm_control_commands(), &r->control, &r->control.control, err);
	if (!ret)
		control_set_trust(r->control.control, &r->trust);

	if (!ret)
		ret = vm_new(&r->vm_options, &r->vm, err);
	r->control.vm = r->vm;
	if (!ret && r->control_path)
		ret = control_listen(r->control.control, r->control_path, err);
	if (!ret)
		ret = vm_launch(r->vm, err);
	return ret;
}

/* A saved machine that is none, or is damaged, is bad input. */
static int set_up_exit(int ret)
{
	if (ret == -EINVAL)
		return TOOL_USAGE;
	return ret == -EBADMSG || ret == -EPROTONOSUPPORT ? TOOL_REFUSED : TOOL_FAILED;
}

static int run(struct run *r, int signal_fd)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	int code = TOOL_DONE, ret = set_up(r, &err);

	if (ret) {
		bool named = vm_sentence_names(err.message, err.object);

		/* What was asked for is not possible, or what was asked for did not work out. */
		code = set_up_exit(ret);
		(void) tool_fail(&usage, 0, "%s%s%s", named ? "" : err.object, named ? "" : ": ",
				 err.code ? err.message : vferry_errno_name(ret));
	} else {
		print_ready(r);
		loop(r, signal_fd);
		code = vm_exit_code(r->vm);
	}
	/* Open calls are answered while the machine goes down, so the socket goes last. */
	r->vm = vm_free(r->vm);
	if (r->control.control) {
		control_flush(r->control.control, FLUSH_MS);
		r->control.control = control_free(r->control.control);
	}
	r->vm_options.trace = vm_trace_free(r->vm_options.trace);
	r->hook_runner = hook_runner_free(r->hook_runner);
	return code;
}

static int block_signals(void)
{
	sigset_t signals;

	tool_block_end_signals(&signals);
	return signalfd(-1, &signals, SFD_CLOEXEC);
}

int cmd_run(int argc, char **argv)
{
	struct run r = {
		.vm_options = { .machine = MACHINE_OPTIONS_INIT, .callbacks = &callbacks },
		.terminal = { .keeper = -1, .kept = -1 },
	};
	char why[256];
	int signal_fd, code;

	r.vm_options.user = &r;
	r.vm_options.machine.peers = true;
	r.vm_options.machine.devices = r.devices;
	r.vm_options.machine.trust = &r.trust;
	code = tool_parse(&usage, argc, argv, take, &r, NULL);
	if (code < 0 && kernel_files_read(&r.kernel, &r.vm_options.machine, why, sizeof(why)))
		code = tool_fail(&usage, TOOL_USAGE, "%s", why);
	if (code < 0 && r.vm_options.machine.kernel && !r.json) {
		int ret = terminal_open(&r.terminal);

		r.vm_options.callbacks = &kernel_callbacks;
		if (ret)
			code = tool_fail(&usage, TOOL_FAILED, "the terminal: %s", strerror(-ret));
	}
	if (code < 0) {
		signal_fd = block_signals();
		code = signal_fd < 0 ? tool_fail(&usage, TOOL_FAILED, "no signal descriptor: %s",
						 strerror(errno))
				     : run(&r, signal_fd);
		if (signal_fd >= 0)
			(void) close(signal_fd);
	}
	terminal_close(&r.terminal);
	if (r.vm_options.machine.kvm >= 0)
		(void) close(r.vm_options.machine.kvm);
	free(r.tls_creds);
	kernel_files_done(&r.kernel);
	for (size_t i = 0; i < r.vm_options.machine.device_count; i++)
		free(r.device_words[i]);
	for (size_t i = 0; i < r.hook_count; i++)
		free(r.hooks[i]);
	return code;
}
