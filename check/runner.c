/* SPDX-License-Identifier: MIT */
/*
 * runner.c - runs what was asked for, one assertion after the other, and watches the clock.
 *
 * The worker thread owns struct check. What both threads see (progress, who gives results) is under
 * `lock`. When time is up the watching thread takes the results over: `abandoned` is set, the worker's
 * later words go nowhere, and struct run is freed by whoever comes last.
 */
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/clock.h"
#include "dma.h"
#include "internal.h"
#include "vfio/pci_regs.h"

#define GONE_MAX 3u		/* then nobody waits for it any more */
#define REOPEN_NS (3 * VF_SECOND_NS)	/* a server may take a while to see that a client has gone */
#define GRACE_NS VF_SECOND_NS		/* loops end by themselves before the watchdog bites */

struct run {
	struct check_options options;	/* `only` is not used after the start of the run */
	struct check c;

	pthread_mutex_t lock;
	pthread_cond_t moved;
	const struct check_assertion **list;	/* what is run in each round */
	size_t count;
	size_t at;			/* results given so far, over all rounds */
	uint64_t due_ns;		/* when the running one must have ended; UINT64_MAX = none runs */
	bool finished, abandoned;
	struct check_report report;
};

const char *check_verdict_name(enum check_verdict verdict)
{
	static const char *const names[CHECK_VERDICTS] = {
		[CHECK_PASS] = "pass", [CHECK_WARN] = "warn", [CHECK_SKIP] = "skip",
		[CHECK_BLOCKED] = "blocked", [CHECK_FAIL] = "fail",
	};

	return names[verdict];
}

void check_say(struct check *c, enum check_verdict verdict, const char *fmt, ...)
{
	va_list args;

	if (check_decided(c))
		return;
	c->result->verdict = verdict;
	va_start(args, fmt);
	(void) vsnprintf(c->result->text, sizeof(c->result->text), fmt, args);
	va_end(args);
}

bool check_decided(const struct check *c)
{
	return c->result->verdict != CHECK_PASS;
}

/* --- the device --- */

static int open_device(const struct check *c, struct vf_backend **ret, struct vferry_error *err)
{
	struct vf_backend_options options = {
		.timeout_ns = c->options->answer_ns ? c->options->answer_ns : CHECK_ANSWER_NS,
	};

	if (c->options->open)
		return c->options->open(c->options->user, ret, err);
	return vf_backend_open(c->options->device, &options, ret, err);
}

static void close_device(struct check *c)
{
	check_memory_forget(c);
	if (c->backend)
		c->backend->ops->close(c->backend);
	c->backend = NULL;
}

/* After the connection was lost. */
static int reopen_device(struct check *c)
{
	uint64_t until = vf_now_ns() + REOPEN_NS;
	struct vferry_error err = VFERRY_ERROR_INIT;
	int r;

	close_device(c);
	while ((r = open_device(c, &c->backend, &err)) < 0 && vf_now_ns() < until) {
		struct timespec nap = { .tv_nsec = 50 * (long) VF_MS_NS };

		(void) nanosleep(&nap, NULL);
		vferry_error_clear(&err);
	}
	c->gone = r == 0 ? 0 : c->gone + 1;
	if (r == 0)
		atomic_store(&c->lost, false);
	return r;
}

static void look_at_config(struct check *c, const struct vf_vfio_device_info *info)
{
	uint8_t id[4];

	if (info->num_regions <= VF_VFIO_PCI_CONFIG_REGION ||
	    c->backend->ops->region_read(c->backend, VF_VFIO_PCI_CONFIG_REGION, VF_PCI_VENDOR, id,
					 sizeof(id), NULL) < 0)
		return;
	c->has |= CHECK_NEEDS_CONFIG;
	c->vendor = vf_get_u16(id);
	c->device = vf_get_u16(id + 2);
}

/* What the device has; from then on it is the one that is checked. */
static int look_at_device(struct check *c, struct vferry_error *err)
{
	const struct vf_backend_caps *caps = &c->backend->caps;
	struct vf_vfio_device_info info;
	int r = c->backend->ops->get_info(c->backend, &info, err);

	if (r == 0)
		r = c->backend->ops->get_migration(c->backend, &c->flags, err);
	if (r == 0)
		r = c->backend->ops->get_state(c->backend, &c->first_state, err);
	if (r < 0)
		return r;
	look_at_config(c, &info);
	c->driver = check_driver_find(c->vendor, c->device);
	c->has |= c->driver ? CHECK_NEEDS_DMA : 0;
	c->has |= c->flags & VF_VFIO_MIGRATION_P2P ? CHECK_NEEDS_P2P : 0;
	c->has |= c->flags & VF_VFIO_MIGRATION_PRE_COPY ? CHECK_NEEDS_PRECOPY : 0;
	c->has |= caps->features & VFERRY_DEVICE_DMA_LOG ? CHECK_NEEDS_LOG : 0;
	c->has |= caps->features & VFERRY_DEVICE_DATA_SIZE ? CHECK_NEEDS_SIZE : 0;
	c->has |= caps->features & VFERRY_DEVICE_PRECOPY_INFO ? CHECK_NEEDS_INFO : 0;
	c->has |= info.flags & VF_VFIO_DEVICE_FLAGS_RESET ? CHECK_NEEDS_RESET : 0;
	c->has |= caps->data_fd ? CHECK_NEEDS_DESCRIPTOR : 0;
	c->has |= c->backend->ops->feature ? CHECK_NEEDS_FEATURE : 0;
	(void) snprintf(c->report->device, sizeof(c->report->device), "%s, %04x:%04x",
			c->backend->ops->name, c->vendor, c->device);
	(void) snprintf(c->report->features, sizeof(c->report->features), "STOP_COPY%s%s%s",
			c->flags & VF_VFIO_MIGRATION_P2P ? " P2P" : "",
			c->flags & VF_VFIO_MIGRATION_PRE_COPY ? " PRE_COPY" : "",
			c->has & CHECK_NEEDS_LOG ? " DMA-log" : "");
	return 0;
}

/* The state that the device has after a reset, for all that needs an image. */
static void save_first_image(struct check *c)
{
	struct check_result ignored = { 0 };

	c->result = &ignored;
	c->deadline_ns = vf_now_ns() + c->options->limit_ns - GRACE_NS;
	if (check_reset(c) < 0)
		(void) check_settle(c);
	if (check_save(c, &c->image, VF_MIB) && c->image.size)
		c->has |= CHECK_NEEDS_IMAGE;
	(void) check_settle(c);
	c->report->image_bytes = c->image.size;
	c->result = NULL;
}

/* --- one assertion --- */

static const struct {
	unsigned int need;
	const char *why;
} lacks[] = {
	{ CHECK_NEEDS_P2P, "the device has no P2P states" },
	{ CHECK_NEEDS_PRECOPY, "the device has no PRE_COPY" },
	{ CHECK_NEEDS_LOG, "the device has no DMA logging" },
	{ CHECK_NEEDS_SIZE, "the device doesn't tell the size of its state" },
	{ CHECK_NEEDS_INFO, "the device gives no precopy information" },
	{ CHECK_NEEDS_RESET, "the device says that it has no reset" },
	{ CHECK_NEEDS_DESCRIPTOR, "migration data has no descriptor here: it goes in messages" },
	{ CHECK_NEEDS_FEATURE, "requests can't be made as they stand here" },
	{ CHECK_NEEDS_DMA, "no driver here makes this device do DMA" },
	{ CHECK_NEEDS_CONFIG, "config space can't be read" },
};

static bool applies(struct check *c, const struct check_assertion *a)
{
	for (size_t i = 0; i < VF_ARRAY_COUNT(lacks); i++)
		if (a->needs & lacks[i].need & ~c->has) {
			check_skip(c, "%s", lacks[i].why);
			return false;
		}
	if (a->needs & CHECK_NEEDS_IMAGE & ~c->has) {
		check_blocked(c, "no image of the device could be saved at the beginning");
		return false;
	}
	return true;
}

/* What is found after an assertion counts more than what it said, unless that is a failure. */
static void override(struct check_result *result, const char *text, const char *detail)
{
	char before[sizeof(result->text)];

	if (result->verdict == CHECK_FAIL)
		return;
	memcpy(before, result->text, sizeof(before));
	result->verdict = CHECK_FAIL;
	(void) snprintf(result->text, sizeof(result->text), "%s%s%s%.200s", text, detail,
			before[0] ? "; before: " : "", before);
}

static void run_one(struct check *c, const struct check_assertion *a)
{
	int r;

	if (c->gone >= GONE_MAX) {
		check_blocked(c, "the device is gone: it could not be opened again, %u times in a row", GONE_MAX);
		return;
	}
	if (!c->backend || atomic_load(&c->lost)) {
		r = reopen_device(c);
		if (r < 0) {
			check_blocked(c, "the device can't be opened again: %s", check_errno(r));
			return;
		}
	}
	if (!applies(c, a))
		return;
	r = check_settle(c);
	if (r < 0 && (r = reopen_device(c)) == 0)	/* the last resort */
		r = check_settle(c);
	if (r < 0) {
		check_blocked(c, "the device can't be brought to RUNNING: %s", check_errno(r));
		return;
	}
	a->run(c, a);
	r = atomic_load(&c->lost) ? 0 : check_settle(c);
	if (r < 0)
		override(c->result, "afterwards the device could not be brought back to RUNNING: ",
			 check_errno(r));
	if (atomic_load(&c->lost))
		override(c->result, "the device answers no more, or its connection ended",
			 "");
}

/* --- the run --- */

static struct check_result new_result(const struct run *run, size_t at)
{
	return (struct check_result) { .assertion = run->list[at % run->count],
				       .round = (uint32_t) (at / run->count) };
}

static void give_locked(struct run *run, const struct check_result *result)
{
	run->at++;
	run->due_ns = UINT64_MAX;
	run->report.verdicts[result->verdict]++;
	if (run->options.result)
		run->options.result(run->options.user, result);
}

static void say_how_it_was_left(struct check *c)
{
	uint32_t state;
	int r = atomic_load(&c->lost) || !c->backend ? -ENODEV : check_settle(c);

	if (r == 0)
		r = check_get(c, &state);
	if (r < 0)
		(void) snprintf(c->report->left, sizeof(c->report->left),
				"unknown: it can't be brought to RUNNING (%s)", check_errno(r));
	else
		(void) snprintf(c->report->left, sizeof(c->report->left), "%s",
				check_state_name(state));
}

static void free_run(struct run *run)
{
	close_device(&run->c);
	check_memory_done(&run->c);
	check_image_done(&run->c.image);
	(void) pthread_cond_destroy(&run->moved);
	(void) pthread_mutex_destroy(&run->lock);
	free(run->c.report);
	free((void *) run->list);
	free(run);
}

/* What a long phase may take; false: it was given up. */
static bool begin(struct run *run)
{
	bool abandoned;

	(void) pthread_mutex_lock(&run->lock);
	run->due_ns = vf_now_ns() + run->options.limit_ns;
	run->c.deadline_ns = run->due_ns - GRACE_NS;
	abandoned = run->abandoned;
	(void) pthread_cond_signal(&run->moved);
	(void) pthread_mutex_unlock(&run->lock);
	return !abandoned;
}

static void *work(void *arg)
{
	struct run *run = arg;
	struct check *c = &run->c;
	size_t total = run->count * run->options.repeat;
	bool abandoned = !begin(run);

	if (!abandoned)
		save_first_image(c);
	for (size_t at = 0; at < total && !abandoned; at++) {
		struct check_result result = new_result(run, at);
		uint64_t start = vf_now_ns();

		if (!begin(run))
			break;
		c->result = &result;
		run_one(c, result.assertion);
		result.ns = vf_now_ns() - start;
		(void) pthread_mutex_lock(&run->lock);
		abandoned = run->abandoned;
		if (!abandoned)
			give_locked(run, &result);
		(void) pthread_mutex_unlock(&run->lock);
		c->result = NULL;
	}
	if (!abandoned && begin(run))
		say_how_it_was_left(c);
	(void) pthread_mutex_lock(&run->lock);
	run->finished = true;
	abandoned = run->abandoned;
	(void) pthread_cond_signal(&run->moved);
	(void) pthread_mutex_unlock(&run->lock);
	if (abandoned)
		free_run(run);
	return NULL;
}

/* What the worker will not come to. */
static void give_up_locked(struct run *run)
{
	unsigned long long seconds = run->options.limit_ns / VF_SECOND_NS;
	size_t total = run->count * run->options.repeat;
	struct check_result result;
	bool first = true;

	run->abandoned = run->report.hung = true;
	while (run->at < total) {
		result = new_result(run, run->at);
		result.verdict = first ? CHECK_FAIL : CHECK_BLOCKED;
		result.ns = first ? run->options.limit_ns : 0;
		if (first)
			(void) snprintf(result.text, sizeof(result.text),
					"the device hangs: no answer within %llu s", seconds);
		else
			(void) snprintf(result.text, sizeof(result.text), "not run: the device hangs");
		first = false;
		give_locked(run, &result);
	}
	(void) snprintf(run->report.left, sizeof(run->report.left),
			"unknown: it hangs; this process can't end what it waits for");
}

/* Return: true when the worker has ended; else @run may be gone already, and *ret is what is known. */
static bool watch(struct run *run, struct check_report *ret)
{
	bool finished;

	(void) pthread_mutex_lock(&run->lock);
	while (!run->finished && !run->abandoned) {
		struct timespec until;
		uint64_t due = vf_min_u64(run->due_ns, vf_now_ns() + VF_SECOND_NS);

		if (vf_now_ns() >= run->due_ns) {
			give_up_locked(run);
			break;
		}
		until = vf_timespec(due);
		(void) pthread_cond_timedwait(&run->moved, &run->lock, &until);
	}
	finished = run->finished;
	*ret = run->report;
	(void) pthread_mutex_unlock(&run->lock);
	return finished;
}

static bool is_asked_for(const struct check_options *o, const struct check_group *group,
			 const struct check_assertion *a)
{
	for (size_t i = 0; i < o->only_count; i++)
		if (!strcmp(o->only[i], group->name) || !strcmp(o->only[i], a->id))
			return true;
	return !o->only_count;
}

static int make_list(struct run *run)
{
	const struct check_group *group;

	run->list = calloc(check_assertion_count(), sizeof(*run->list));
	if (!run->list)
		return -ENOMEM;
	for (size_t g = 0; (group = check_group(g)) != NULL; g++)
		for (size_t i = 0; i < group->count; i++)
			if (is_asked_for(&run->options, group, &group->assertions[i]))
				run->list[run->count++] = &group->assertions[i];
	return run->count ? 0 : -EINVAL;
}

static struct run *new_run(const struct check_options *options)
{
	struct run *run = calloc(1, sizeof(*run));
	pthread_condattr_t clock;

	if (!run)
		return NULL;
	(void) pthread_condattr_init(&clock);
	(void) pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	(void) pthread_mutex_init(&run->lock, NULL);
	(void) pthread_cond_init(&run->moved, &clock);
	(void) pthread_condattr_destroy(&clock);
	run->options = *options;
	run->options.repeat = options->repeat ? options->repeat : 1;
	run->options.limit_ns = vf_max_u64(options->limit_ns ? options->limit_ns : CHECK_LIMIT_NS,
					   2 * GRACE_NS);
	run->due_ns = UINT64_MAX;
	run->c.options = &run->options;
	run->c.memory.fd = -1;
	run->c.sys = options->sys ? options->sys : &check_system;
	run->c.random = options->seed * 0x9e3779b97f4a7c15ull + 1;
	/* The worker's own: the report is merged when it has ended. */
	run->c.report = calloc(1, sizeof(*run->c.report));
	if (make_list(run) < 0 || !run->c.report) {
		free_run(run);
		return NULL;
	}
	return run;
}

static void merge_report(const struct run *run, struct check_report *ret)
{
	*ret = *run->c.report;
	memcpy(ret->verdicts, run->report.verdicts, sizeof(ret->verdicts));
}

int check_run(const struct check_options *options, struct check_report *ret,
	      struct vferry_error *err)
{
	struct vferry_error why = VFERRY_ERROR_INIT;
	struct run *run = new_run(options);
	pthread_t worker;
	bool finished;
	int r;

	if (!run)
		return vferry_error_set(err, -ENOMEM, "no-memory", NULL, "no memory, or nothing to run");
	r = open_device(&run->c, &run->c.backend, &why);
	if (r == -ENOTCONN)	/* a server turns the second user away without a word */
		r = vferry_error_set(err, -EBUSY, "device-busy", NULL,
				     "the device's server hangs up: somebody uses it, or it trusts this user not");
	else if (r < 0 && err)
		*err = why;
	if (r == 0)
		r = look_at_device(&run->c, err);
	if (r == 0) {
		run->report = *run->c.report;	/* what is known of it, should it hang */
		r = -pthread_create(&worker, NULL, work, run);
		if (r < 0)
			(void) vferry_error_set(err, r, "thread", NULL, "no thread to check with");
	}
	if (r < 0) {
		free_run(run);
		return r;
	}
	finished = watch(run, ret);
	if (finished) {
		(void) pthread_join(worker, NULL);
		merge_report(run, ret);
		free_run(run);
	} else {
		(void) pthread_detach(worker);
	}
	return 0;
}
