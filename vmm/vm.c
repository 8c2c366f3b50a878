/* SPDX-License-Identifier: MIT */
/* vm.c - life, run state and the queue of news; see vm.h and vm_internal.h. */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vm_internal.h"

#define EXIT_RESET_FAILED 3
#define RESETS_TOLD 8

const char *vm_state_name(enum vm_state state)
{
	static const char *const names[] = {
		[VM_PRELAUNCH] = "prelaunch",
		[VM_INMIGRATE] = "inmigrate",
		[VM_RUNNING] = "running",
		[VM_PAUSED] = "paused",
		[VM_FINISH_MIGRATE] = "finish-migrate",
		[VM_POSTMIGRATE] = "postmigrate",
		[VM_SHUTDOWN] = "shutdown",
		[VM_INTERNAL_ERROR] = "internal-error",
	};

	return names[state];
}

bool vm_sentence_names(const char *sentence, const char *object)
{
	size_t length = object ? strlen(object) : 0;
	const char *at = sentence;

	if (!length)
		return true;
	while ((at = strstr(at, object)) != NULL) {
		if ((at == sentence || !isalnum((unsigned char) at[-1])) &&
		    !isalnum((unsigned char) at[length]))
			return true;
		at++;
	}
	return false;
}

const char *vm_shutdown_name(enum vm_shutdown reason)
{
	static const char *const names[] = {
		[VM_SHUTDOWN_GUEST] = "guest-shutdown",
		[VM_SHUTDOWN_QMP] = "host-qmp-quit",
		[VM_SHUTDOWN_SIGNAL] = "host-signal",
		[VM_SHUTDOWN_ERROR] = "host-error",
	};

	return names[reason];
}

/* ---- news ---- */

void vm_tell(struct vm *vm, enum vm_news_kind kind, uint32_t number, const char *text)
{
	size_t bytes = text ? strlen(text) + 1 : 0;
	struct vm_news *news = malloc(sizeof(*news) + bytes);
	uint64_t one = 1;

	if (!news)
		return;
	*news = (struct vm_news) { .kind = kind, .number = number };
	if (text)
		memcpy(news->text, text, bytes);
	(void) pthread_mutex_lock(&vm->queue_lock);
	if (kind == VM_NEWS_CONSOLE && vm->console_lines == VM_CONSOLE_LINES_MAX) {
		vm->console_lost++;
		free(news);
	} else {
		vm->console_lines += kind == VM_NEWS_CONSOLE;
		*vm->end = news;
		vm->end = &news->next;
	}
	(void) pthread_mutex_unlock(&vm->queue_lock);
	(void) !write(vm->event_fd, &one, sizeof(one));
}

void vm_log(struct vm *vm, const char *fmt, ...)
{
	char text[1024];
	va_list args;

	va_start(args, fmt);
	(void) vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	vm_tell(vm, VM_NEWS_LOG, 0, text);
}

static void on_console(void *user, const char *line)
{
	vm_tell(user, VM_NEWS_CONSOLE, 0, line);
}

/* The guest goes on if nobody looks: what does not fit is lost, and counted. */
static void on_console_bytes(void *user, const void *bytes, size_t count)
{
	struct vm *vm = user;
	uint64_t one = 1;
	bool first;

	(void) pthread_mutex_lock(&vm->queue_lock);
	first = !vm->console_bytes;	/* else it was told already */
	if (count <= VM_CONSOLE_BYTES_MAX - vm->console_bytes) {
		memcpy(vm->console + vm->console_bytes, bytes, count);
		vm->console_bytes += count;
	} else {
		vm->console_lost += count;
	}
	(void) pthread_mutex_unlock(&vm->queue_lock);
	if (first)
		(void) !write(vm->event_fd, &one, sizeof(one));
}

static void on_power_off(void *user)
{
	vm_tell(user, VM_NEWS_POWER_OFF, 0, NULL);
}

static void on_reset(void *user)
{
	vm_tell(user, VM_NEWS_RESET, 0, NULL);
}

static void on_device_error(void *user, const char *device)
{
	vm_tell(user, VM_NEWS_DEVICE_ERROR, 0, device);
}

static void on_device_requested(void *user, const char *device)
{
	vm_log(user, "the host wants the device %s back, and waits until this process has ended: end the "
	       "machine, or move it away and quit (a device can't be taken out while it runs)", device);
}

static void on_log(void *user, const char *line)
{
	vm_tell(user, VM_NEWS_LOG, 0, line);
}

/* ---- power-off and quitting ---- */

void vm_quit(struct vm *vm, enum vm_shutdown reason)
{
	if (vm->quit)
		return;
	vm->quit = true;
	vm->reason = reason;
	vm->options.callbacks->shutdown(vm->options.user, reason);
}

void vm_power_off_done(struct vm *vm)
{
	if (vm->power_off && !vm_side_active(vm->outgoing))
		vm_quit(vm, VM_SHUTDOWN_GUEST);
}

/*
 * There is nothing left to be moved: a migration under way is cancelled first. If it can't be any
 * more, the destination takes a machine over that is off, and ends in turn.
 */
static void power_off(struct vm *vm)
{
	vm->power_off = true;
	if (vm_side_active(vm->outgoing)) {
		vm_log(vm, "the guest powered off: the migration is cancelled");
		vm_cancel(vm);
	}
	vm_power_off_done(vm);
}

/* Each of the first few, then every so many: a guest that only resets must not fill the disk. */
static void tell_reset(struct vm *vm)
{
	if (++vm->resets < vm->resets_next)
		return;
	vm->resets_next = vm->resets < RESETS_TOLD ? vm->resets + 1 : vm->resets * 2;
	vm_log(vm, "the guest has reset the machine (number %llu)", (unsigned long long) vm->resets);
}

/*
 * Not while a session holds the machine: it is stopped for its switchover then, and the wish is part
 * of its state. Whichever side starts it is told anew.
 * Return: 1 the guest is at its beginning; 0 not now; negative errno.
 */
static int reset_locked(struct vm *vm, struct vferry_error *err)
{
	int r;

	if (!machine_is_running(vm->machine) || (vm->outgoing && vm->outgoing->holds))
		return 0;
	r = machine_reset(vm->machine, err);
	return r < 0 ? r : 1;
}

static void reset(struct vm *vm)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	int r;

	(void) pthread_mutex_lock(&vm->run_lock);
	r = reset_locked(vm, &err);
	(void) pthread_mutex_unlock(&vm->run_lock);
	if (r > 0) {
		tell_reset(vm);
	} else if (r < 0) {
		vm_log(vm, "the guest asked for a reset, which failed: %s", err.message);
		vm->exit_code = EXIT_RESET_FAILED;
		vm_quit(vm, VM_SHUTDOWN_ERROR);
	}
}

/* The guest must not go on with what the device may have done; whether it can is up to its owner. */
static void device_error(struct vm *vm, const char *device)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (vm_stop(vm, &err) < 0)
		vm_log(vm, "the device %s had an error that the host could not correct, and the machine "
		       "could not be stopped: %s", device, err.message);
	else
		vm_log(vm, "the device %s had an error that the host could not correct: the machine is "
		       "stopped, and goes on only if `cont` says so", device);
	vm->failed = true;
}

bool vm_should_quit(const struct vm *vm)
{
	return vm->quit;
}

int vm_exit_code(const struct vm *vm)
{
	return vm->exit_code;
}

/* ---- dispatch ---- */

static void handle(struct vm *vm, const struct vm_news *news)
{
	const struct vm_callbacks *cb = vm->options.callbacks;
	void *user = vm->options.user;

	switch (news->kind) {
	case VM_NEWS_STOPPED:
		cb->stopped(user);
		break;
	case VM_NEWS_RESUMED:
		cb->resumed(user);
		break;
	case VM_NEWS_MIGRATION:
		cb->migration(user, (enum vferry_state) news->number);
		break;
	case VM_NEWS_PASS:
		cb->pass(user, news->number);
		break;
	case VM_NEWS_CONSOLE:
		cb->console(user, news->text);
		break;
	case VM_NEWS_LOG:
		cb->log(user, news->text);
		break;
	case VM_NEWS_POWER_OFF:
		power_off(vm);
		break;
	case VM_NEWS_RESET:
		reset(vm);
		break;
	case VM_NEWS_DEVICE_ERROR:
		device_error(vm, news->text);
		break;
	case VM_NEWS_SESSION:
		break;
	}
}

static struct vm_news *take_news(struct vm *vm, uint64_t *ret_lost)
{
	struct vm_news *news;

	(void) pthread_mutex_lock(&vm->queue_lock);
	news = vm->first;
	if (news) {
		vm->first = news->next;
		if (!vm->first)
			vm->end = &vm->first;
		vm->console_lines -= news->kind == VM_NEWS_CONSOLE;
	}
	*ret_lost = news ? 0 : vm->console_lost;
	vm->console_lost = news ? vm->console_lost : 0;
	(void) pthread_mutex_unlock(&vm->queue_lock);
	return news;
}

static void drain_console(struct vm *vm)
{
	char *bytes;
	size_t count;

	(void) pthread_mutex_lock(&vm->queue_lock);
	bytes = vm->console;
	count = vm->console_bytes;
	vm->console = vm->console_read;
	vm->console_read = bytes;
	vm->console_bytes = 0;
	(void) pthread_mutex_unlock(&vm->queue_lock);
	if (count)
		vm->options.callbacks->console_bytes(vm->options.user, bytes, count);
}

static void drain_news(struct vm *vm)
{
	struct vm_news *news;
	uint64_t lost;

	if (vm->console)
		drain_console(vm);
	while ((news = take_news(vm, &lost)) != NULL) {
		handle(vm, news);
		free(news);
	}
	if (lost) {
		char text[80];

		(void) snprintf(text, sizeof(text), "%llu %s of the console were lost",
				(unsigned long long) lost, vm->console ? "bytes" : "lines");
		vm->options.callbacks->log(vm->options.user, text);
	}
}

static void finish_judging(struct vm *vm)
{
	struct vm_judging *j = &vm->judging;
	bool finished;

	(void) pthread_mutex_lock(&vm->queue_lock);
	finished = j->finished;
	(void) pthread_mutex_unlock(&vm->queue_lock);
	if (!j->active || !finished)
		return;
	(void) pthread_join(j->thread, NULL);
	j->active = false;
	j->done(j->user, j->ret, &j->verdict, &j->err);
}

void vm_dispatch(struct vm *vm)
{
	uint64_t count;

	(void) !read(vm->event_fd, &count, sizeof(count));
	drain_news(vm);
	finish_judging(vm);
	vm_sessions_dispatch(vm);
	drain_news(vm);
}

int vm_get_fd(const struct vm *vm)
{
	return vm->epoll_fd;
}

/* ---- run state ---- */

int vm_stop_locked(struct vm *vm, struct vferry_error *err)
{
	bool ran = machine_is_running(vm->machine);
	int ret = machine_stop(vm->machine, err);

	if (!ret && ran)
		vm_tell(vm, VM_NEWS_STOPPED, 0, NULL);
	return ret;
}

int vm_start_locked(struct vm *vm, struct vferry_error *err)
{
	bool ran = machine_is_running(vm->machine);
	int ret;

	if (machine_is_powered_off(vm->machine))
		return 0;	/* there is nothing to run, and nothing wrong with that */
	ret = machine_start(vm->machine, err);
	if (!ret && !ran)
		vm_tell(vm, VM_NEWS_RESUMED, 0, NULL);
	return ret;
}

static bool moved_away(const struct vm *vm, enum vferry_outcome *ret_outcome)
{
	struct vferry_status status;

	if (!vm->outgoing || vm->outgoing->check || !vm->outgoing->session)
		return false;
	vferry_session_get_status(vm->outgoing->session, &status);
	*ret_outcome = status.outcome;
	return status.outcome == VFERRY_OUTCOME_DONE || status.outcome == VFERRY_OUTCOME_UNKNOWN ||
	       status.outcome == VFERRY_OUTCOME_FAILED_AFTER;
}

static bool held(struct vm *vm)
{
	bool holds;

	(void) pthread_mutex_lock(&vm->run_lock);
	holds = vm->outgoing && vm->outgoing->holds;
	(void) pthread_mutex_unlock(&vm->run_lock);
	return holds;
}

enum vm_state vm_get_state(struct vm *vm)
{
	enum vferry_outcome outcome;

	if (moved_away(vm, &outcome))
		return VM_POSTMIGRATE;
	if (machine_is_powered_off(vm->machine))
		return VM_SHUTDOWN;
	if (vm->incoming_uri[0] && !vm->launched)
		return VM_INMIGRATE;
	if (held(vm) && vm_side_active(vm->outgoing))
		return VM_FINISH_MIGRATE;
	if (machine_is_running(vm->machine))
		return VM_RUNNING;
	if (!vm->launched)
		return VM_PRELAUNCH;
	return vm->failed ? VM_INTERNAL_ERROR : VM_PAUSED;
}

int vm_stop(struct vm *vm, struct vferry_error *err)
{
	int ret;

	(void) pthread_mutex_lock(&vm->run_lock);
	vm->wanted = false;
	ret = vm->launched ? vm_stop_locked(vm, err) : 0;
	if (ret)
		vm->wanted = true;
	(void) pthread_mutex_unlock(&vm->run_lock);
	return ret;
}

int vm_cont(struct vm *vm, struct vferry_error *err)
{
	enum vm_state state = vm_get_state(vm);
	int ret = 0;

	if (state == VM_POSTMIGRATE)
		return vferry_error_set(err, -EPERM, "moved-away", NULL,
					"The machine was moved away, or may have been: it must not "
					"run here");
	if (state == VM_SHUTDOWN)
		return vferry_error_set(err, -EPERM, "powered-off", NULL, "The guest powered off");
	(void) pthread_mutex_lock(&vm->run_lock);
	if (state == VM_INMIGRATE) {
		vm->wanted = true;	/* as QEMU: takes effect when it is here */
	} else if (vm->outgoing && vm->outgoing->holds) {
		ret = vferry_error_set(err, -EBUSY, "switchover", NULL,
				       "The machine is stopped for its switchover");
	} else {
		ret = vm_start_locked(vm, err);
		vm->wanted = vm->wanted || !ret;
		vm->launched = vm->launched || !ret;
	}
	vm->failed = vm->failed && ret;
	(void) pthread_mutex_unlock(&vm->run_lock);
	return ret;
}

int vm_launch(struct vm *vm, struct vferry_error *err)
{
	if (vm->incoming_uri[0] || vm->options.machine.paused)
		return 0;
	return vm_cont(vm, err);
}

/* ---- judging ---- */

static void *judge_main(void *user)
{
	struct vm_judging *j = user;

	j->ret = machine_judge(j->vm->machine, j->timeout_ns, &j->verdict, &j->err);
	(void) pthread_mutex_lock(&j->vm->queue_lock);
	j->finished = true;
	(void) pthread_mutex_unlock(&j->vm->queue_lock);
	vm_tell(j->vm, VM_NEWS_SESSION, 0, NULL);
	return NULL;
}

int vm_judge(struct vm *vm, uint64_t timeout_ns,
	     void (*done)(void *user, int ret, const struct machine_verdict *verdict,
			  const struct vferry_error *err),
	     void *user, struct vferry_error *err)
{
	struct vm_judging *j = &vm->judging;

	if (j->active)
		return vferry_error_set(err, -EBUSY, "judging", NULL,
					"The guest is being asked already");
	*j = (struct vm_judging) { .vm = vm, .timeout_ns = timeout_ns, .done = done, .user = user };
	if (pthread_create(&j->thread, NULL, judge_main, j))
		return vferry_error_set(err, -EAGAIN, "no-thread", NULL, "Cannot start a thread");
	j->active = true;
	return 0;
}

/* ---- life ---- */

int vm_make_machine(struct vm *vm, struct vferry_error *err)
{
	struct machine_options options = vm->options.machine;

	options.incoming = vm->incoming_uri[0] != '\0';
	options.callbacks = &vm->machine_callbacks;
	options.user = vm;
	vm->failed = false;
	return machine_new(&options, &vm->machine, err);
}

static int watch(struct vm *vm)
{
	struct epoll_event event = { .events = EPOLLIN };

	vm->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	vm->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (vm->event_fd < 0 || vm->epoll_fd < 0 ||
	    epoll_ctl(vm->epoll_fd, EPOLL_CTL_ADD, vm->event_fd, &event))
		return -errno;
	return 0;
}

static void take_options(struct vm_parameters *p, const struct vm_options *options)
{
	(void) snprintf(p->hook, sizeof(p->hook), "%s", options->hook ?: "");
	(void) snprintf(p->tls_creds, sizeof(p->tls_creds), "%s", options->tls_creds ?: "");
	(void) snprintf(p->tls_allow, sizeof(p->tls_allow), "%s", options->tls_allow ?: "");
	p->session.insecure = options->insecure;
	if (options->stall_timeout_ns)
		p->session.stall_timeout_ns = options->stall_timeout_ns;
}

int vm_new(const struct vm_options *options, struct vm **ret_vm, struct vferry_error *err)
{
	struct vm *vm = calloc(1, sizeof(*vm));
	int ret;

	if (!vm)
		return vferry_error_set(err, -ENOMEM, "no-memory", NULL, "no memory");
	vm->options = *options;
	vm->machine_callbacks = (struct machine_callbacks) {
		.size = sizeof(vm->machine_callbacks), .console = on_console,
		.power_off = on_power_off, .reset = on_reset, .log = on_log,
		.device_error = on_device_error, .device_requested = on_device_requested,
	};
	if (options->machine.kernel && options->callbacks->console_bytes) {
		vm->console = malloc(VM_CONSOLE_BYTES_MAX);
		vm->console_read = malloc(VM_CONSOLE_BYTES_MAX);
		if (!vm->console || !vm->console_read) {
			free(vm->console);
			free(vm->console_read);
			free(vm);
			return vferry_error_set(err, -ENOMEM, "no-memory", NULL, "no memory");
		}
		vm->machine_callbacks.console_bytes = on_console_bytes;
	}
	vm->parameters.session = (struct vferry_parameters) VFERRY_PARAMETERS_INIT;
	vm->parameters.session.channels = 2;
	take_options(&vm->parameters, options);
	vm->end = &vm->first;
	vm->wanted = !options->machine.paused;
	vm->event_fd = vm->epoll_fd = -1;
	(void) pthread_mutex_init(&vm->run_lock, NULL);
	(void) pthread_mutex_init(&vm->queue_lock, NULL);
	ret = watch(vm);
	if (ret)
		(void) vferry_error_set(err, ret, "no-descriptor", NULL, "no descriptor: %s",
					vferry_errno_name(ret));
	if (options->incoming)
		(void) snprintf(vm->incoming_uri, sizeof(vm->incoming_uri), "%s", options->incoming);
	vm->awaits_uri = options->incoming && !strcmp(options->incoming, "defer");
	if (!ret)
		ret = vm_make_machine(vm, err);
	if (!ret && options->incoming && !vm->awaits_uri)
		ret = vm_accept(vm, options->incoming, err);
	if (ret) {
		(void) vm_free(vm);
		return ret;
	}
	*ret_vm = vm;
	return 0;
}

struct vm *vm_free(struct vm *vm)
{
	if (!vm)
		return NULL;
	if (vm->judging.active) {
		(void) pthread_join(vm->judging.thread, NULL);
		vm->judging.active = false;
		vm->judging.done(vm->judging.user, vm->judging.ret, &vm->judging.verdict,
				 &vm->judging.err);
	}
	vm->outgoing = vm_side_free(vm->outgoing);
	vm->incoming = vm_side_free(vm->incoming);
	vm->listener = vm_listener_free(vm->listener);
	vm->machine = machine_free(vm->machine);
	while (vm->first) {
		struct vm_news *news = vm->first;

		vm->first = news->next;
		free(news);
	}
	if (vm->event_fd >= 0)
		(void) close(vm->event_fd);
	if (vm->epoll_fd >= 0)
		(void) close(vm->epoll_fd);
	(void) pthread_mutex_destroy(&vm->run_lock);
	(void) pthread_mutex_destroy(&vm->queue_lock);
	free(vm->console);
	free(vm->console_read);
	free(vm);
	return NULL;
}

struct machine *vm_machine(struct vm *vm)
{
	return vm->machine;
}

const char *vm_incoming_uri(const struct vm *vm)
{
	return vm->incoming_uri[0] ? vm->incoming_uri : NULL;
}

struct vm_parameters *vm_parameters(struct vm *vm)
{
	return &vm->parameters;
}
