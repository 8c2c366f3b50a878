/* SPDX-License-Identifier: MIT */
/*
 * worker.c - the self-checking guest: the judge of every end-to-end test.
 *
 * It sets its machine up as an operating system does, keeps every accel device busy with jobs that
 * it verifies, dirties RAM at a commanded rate in a pattern that it verifies, takes account of every
 * interrupt and watches the clock. It trusts nobody: what is wrong is counted, and the first thing
 * that was wrong is kept.
 *
 * Arguments, "key=value", separated by blanks (sizes take K, M, G, T; rates are MB/s, or "max"):
 *   working-set=64M rate=50 fill=0 fill-kind=random|zero|half seed=1
 *   jobs=on|off irq=msix|msi|intx|poll vectors=4 job-bytes=2048 job-delay-us=1000
 *   notice-ms=1000 lost-ms=5000 tick-us=10000 (a waiting guest looks around this often) p2p=on|off
 *   at=MS:COMMAND (blanks as commas; several; running time since power-on)
 * Commands: see commands[].
 */
#include "guest/worker.h"

#include <errno.h>

#define US_NS		1000ull
#define MS_NS		1000000ull
#define SECOND_NS	1000000000ull
#define TICK_NS		10000000ull
#define TICK_MIN_NS	100000ull
#define POLL_NS		500000ull	/* without interrupts: this often */
#define ARGUMENTS_MAX	512u
#define WORD_MAX	64u	/* of a command */

void worker_fault(struct worker *w, enum worker_fault fault, uint64_t a, uint64_t b, uint64_t c)
{
	if (w->fault != WORKER_FAULT_NONE)
		return;
	w->fault = fault;
	w->fault_a = a;
	w->fault_b = b;
	w->fault_c = c;
}

/* ---- words ---- */

static int parse_number(const char *text, uint64_t *ret)
{
	return guest_text_number(text, ret) ? 0 : -EINVAL;
}

static int parse_size(const char *text, uint64_t *ret)
{
	static const char units[] = "KMGT";
	char digits[32];
	size_t length = guest_text_length(text);
	unsigned shift = 0;
	uint64_t value;

	if (length == 0 || length >= sizeof(digits))
		return -EINVAL;
	for (size_t i = 0; i <= length; i++)
		digits[i] = text[i];
	for (unsigned i = 0; units[i]; i++) {
		if (digits[length - 1] == units[i]) {
			shift = (i + 1) * 10;
			digits[length - 1] = '\0';
		}
	}
	if (parse_number(digits, &value) < 0 || value > UINT64_MAX >> shift)
		return -EINVAL;
	*ret = value << shift;
	return 0;
}

static int parse_rate(const char *text, uint64_t *ret)
{
	uint64_t value;

	if (guest_text_equal(text, "max")) {
		*ret = UINT64_MAX;
		return 0;
	}
	if (parse_number(text, &value) < 0 || value > 1000000)
		return -EINVAL;
	*ret = value * 1000000;
	return 0;
}

static int parse_word(const char *text, const char *const *words, uint64_t *ret)
{
	for (unsigned i = 0; words[i]; i++) {
		if (guest_text_equal(text, words[i])) {
			*ret = i;
			return 0;
		}
	}
	return -EINVAL;
}

static const char *const on_off[] = { "off", "on", NULL };
static const char *const irq_modes[] = { "poll", "intx", "msi", "msix", NULL };
static const char *const fill_kinds[] = { "random", "zero", "half", NULL };

/* ---- commands ---- */

enum operand { OPERAND_NONE, OPERAND_DEVICE, OPERAND_NUMBER, OPERAND_MS, OPERAND_RATE, OPERAND_ON,
	       OPERAND_MODE };

static const struct command {
	const char *name;
	enum worker_act_op op;
	enum operand first, second;
} commands[] = {
	{ "flr", WORKER_ACT_FLR, OPERAND_DEVICE, OPERAND_NONE },
	{ "reset-device", WORKER_ACT_RESET, OPERAND_DEVICE, OPERAND_NONE },
	{ "move-bar", WORKER_ACT_MOVE_BAR, OPERAND_DEVICE, OPERAND_NUMBER },
	{ "irq-mode", WORKER_ACT_IRQ_MODE, OPERAND_DEVICE, OPERAND_MODE },
	{ "mask-vector", WORKER_ACT_MASK, OPERAND_DEVICE, OPERAND_NUMBER },
	{ "unmask-vector", WORKER_ACT_UNMASK, OPERAND_DEVICE, OPERAND_NUMBER },
	{ "mask-function", WORKER_ACT_MASK_ALL, OPERAND_DEVICE, OPERAND_NONE },
	{ "unmask-function", WORKER_ACT_UNMASK_ALL, OPERAND_DEVICE, OPERAND_NONE },
	{ "mask-cycle", WORKER_ACT_MASK_CYCLE, OPERAND_DEVICE, OPERAND_MS },
	{ "add-vectors", WORKER_ACT_ADD_VECTORS, OPERAND_DEVICE, OPERAND_NUMBER },
	{ "rate", WORKER_ACT_RATE, OPERAND_RATE, OPERAND_NONE },
	{ "jobs", WORKER_ACT_JOBS, OPERAND_ON, OPERAND_NONE },
	{ "p2p", WORKER_ACT_PEER, OPERAND_ON, OPERAND_NONE },
	{ "judge", WORKER_ACT_JUDGE, OPERAND_NONE, OPERAND_NONE },
	{ "forget-gap", WORKER_ACT_FORGET_GAP, OPERAND_NONE, OPERAND_NONE },
	{ "poweroff", WORKER_ACT_POWER_OFF, OPERAND_NONE, OPERAND_NONE },
};

static int parse_operand(enum operand kind, const char *text, uint64_t *ret)
{
	int r;

	if (kind == OPERAND_NONE)
		return text[0] ? -EINVAL : 0;
	if (!text[0])
		return -EINVAL;
	switch (kind) {
	case OPERAND_RATE:
		return parse_rate(text, ret);
	case OPERAND_ON:
		return parse_word(text, on_off, ret);
	case OPERAND_MODE:
		return parse_word(text, irq_modes, ret);
	default:
		break;
	}
	r = parse_number(text, ret);
	if (r == 0 && kind == OPERAND_DEVICE && *ret >= WORKER_DEVICES)
		return -EINVAL;
	if (r == 0 && kind == OPERAND_MS) {
		if (*ret > 1000000000)
			return -EINVAL;
		*ret *= MS_NS;
	}
	return r;
}

static int parse_command(const char *text, const char *separators, struct worker_act *ret)
{
	char word[WORD_MAX], first[WORD_MAX] = "", second[WORD_MAX] = "";

	if (!guest_text_word(&text, separators, word, sizeof(word)))
		return -EINVAL;
	(void) guest_text_word(&text, separators, first, sizeof(first));
	(void) guest_text_word(&text, separators, second, sizeof(second));
	while (*text && guest_text_find(separators, *text))
		text++;
	if (*text)
		return -EINVAL;
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		const struct command *command = &commands[i];
		struct worker_act act = { .op = command->op };

		if (!guest_text_equal(word, command->name))
			continue;
		if (parse_operand(command->first, first, &act.a) < 0 ||
		    parse_operand(command->second, second, &act.b) < 0)
			return -EINVAL;
		*ret = act;
		return 0;
	}
	return -EINVAL;
}

static int add_act(struct worker *w, const struct worker_act *act)
{
	for (unsigned i = 0; i < WORKER_ACTS; i++) {
		if (w->act[i].op == WORKER_ACT_NONE) {
			w->act[i] = *act;
			return 0;
		}
	}
	return -ENOSPC;
}

static bool act_is_mine(const struct guest_platform *platform, unsigned cpu, uint64_t op,
			uint64_t device)
{
	switch (op) {
	case WORKER_ACT_POWER_OFF:
		return cpu == 0;
	case WORKER_ACT_RATE:
	case WORKER_ACT_JOBS:
	case WORKER_ACT_PEER:
	case WORKER_ACT_JUDGE:
	case WORKER_ACT_FORGET_GAP:
		return true;
	default:
		return worker_owns(platform, cpu, device);
	}
}

static int worker_command(const struct guest_platform *platform, unsigned cpu, uint64_t *words,
			  const char *text, struct guest_text *reply)
{
	struct worker *w = (struct worker *) words;
	struct worker_act act;
	int r = parse_command(text, " \t", &act);

	if (r < 0) {
		guest_text_add(reply, "unknown command, or wrong operands");
		return r;
	}
	if (!act_is_mine(platform, cpu, act.op, act.a))
		return 0;
	r = add_act(w, &act);
	guest_text_add(reply, r < 0 ? "too much to do already" : "ok");
	return r;
}

/* ---- power-on ---- */

struct sizes {
	uint64_t set, fill;
};

/* "MS:COMMAND,OPERAND": done when that much running time has passed. */
static int parse_at(const struct guest_platform *platform, unsigned cpu, struct worker *w,
		    const char *value)
{
	struct worker_act act;
	char digits[16];
	uint64_t ms;

	if (value[0] == ':' || !guest_text_word(&value, ":", digits, sizeof(digits)) ||
	    *value != ':' || parse_number(digits, &ms) < 0 || ms > 1000000000 ||
	    parse_command(value + 1, ",", &act) < 0)
		return -EINVAL;
	act.at_ns = ms * MS_NS;
	return act_is_mine(platform, cpu, act.op, act.a) ? add_act(w, &act) : 0;
}

static int parse_tick(struct worker *w, const char *value)
{
	struct worker_act act = { .op = WORKER_ACT_TICK };
	uint64_t us;

	if (parse_number(value, &us) < 0 || us < TICK_MIN_NS / US_NS || us > SECOND_NS / US_NS)
		return -EINVAL;
	act.a = us * US_NS;
	return add_act(w, &act);
}

static int parse_argument(const struct guest_platform *platform, unsigned cpu, struct worker *w,
			  struct sizes *sizes, const char *key, const char *value)
{
	uint64_t ms;

	if (guest_text_equal(key, "working-set"))
		return parse_size(value, &sizes->set);
	if (guest_text_equal(key, "fill"))
		return parse_size(value, &sizes->fill);
	if (guest_text_equal(key, "fill-kind"))
		return parse_word(value, fill_kinds, &w->fill_kind);
	if (guest_text_equal(key, "rate"))
		return parse_rate(value, &w->rate);
	if (guest_text_equal(key, "seed"))
		return parse_number(value, &w->seed);
	if (guest_text_equal(key, "jobs"))
		return parse_word(value, on_off, &w->jobs);
	if (guest_text_equal(key, "p2p"))
		return parse_word(value, on_off, &w->peer);
	if (guest_text_equal(key, "irq"))
		return parse_word(value, irq_modes, &w->mode);
	if (guest_text_equal(key, "vectors"))
		return parse_number(value, &w->vectors);
	if (guest_text_equal(key, "job-bytes"))
		return parse_size(value, &w->job_bytes);
	if (guest_text_equal(key, "job-delay-us"))
		return parse_number(value, &w->job_delay_us);
	if (guest_text_equal(key, "tick-us"))
		return parse_tick(w, value);
	if (guest_text_equal(key, "at"))
		return parse_at(platform, cpu, w, value);
	if (!guest_text_equal(key, "notice-ms") && !guest_text_equal(key, "lost-ms"))
		return -EINVAL;
	if (parse_number(value, &ms) < 0 || ms == 0 || ms > 1000000000)
		return -EINVAL;
	*(key[0] == 'n' ? &w->notice_ns : &w->lost_ns) = ms * MS_NS;
	return 0;
}

/* All of them. Return: 0, -EINVAL with the reason. */
static int parse_arguments(const struct guest_platform *platform, unsigned cpu, struct worker *w,
			   struct sizes *sizes, const char *args, struct guest_text *why)
{
	char word[ARGUMENTS_MAX];

	while (guest_text_word(&args, " \t", word, sizeof(word))) {
		char *value = word;

		while (*value && *value != '=')
			value++;
		if (*value == '=') {
			*value++ = '\0';
			if (parse_argument(platform, cpu, w, sizes, word, value) == 0)
				continue;
			value[-1] = '=';
		}
		guest_text_add(why, "guest worker does not understand \"");
		guest_text_add(why, word);
		guest_text_add(why, "\"");
		return -EINVAL;
	}
	return 0;
}

static int worker_init(const struct guest_platform *platform, unsigned cpu, const char *args,
		       uint64_t *words, struct guest_text *why)
{
	struct worker *w = (struct worker *) words;
	struct sizes sizes = { .set = 64ull << 20 };

	if (platform->ram[0].bytes < WORKER_MEMORY_MIN || guest_text_length(args) >= ARGUMENTS_MAX) {
		guest_text_add(why, "guest worker needs ");
		guest_text_add_number(why, WORKER_MEMORY_MIN >> 20);
		guest_text_add(why, " MiB of RAM and arguments below ");
		guest_text_add_number(why, ARGUMENTS_MAX);
		guest_text_add(why, " bytes");
		return -EINVAL;
	}
	*w = (struct worker) { 0 };
	w->phase = cpu == 0 ? WORKER_PHASE_PCI : WORKER_PHASE_HELD;
	w->seed = 1;
	w->rate = 50000000;
	w->vectors = 4;
	w->mode = platform->irqchip == GUEST_IRQCHIP_NONE ? WORKER_IRQ_POLL : WORKER_IRQ_MSIX;
	w->jobs = 1;
	w->job_bytes = 2048;
	w->job_delay_us = 1000;
	w->notice_ns = SECOND_NS;
	w->lost_ns = 5 * SECOND_NS;
	w->next32 = platform->window32.gpa;
	w->next64 = platform->window64.gpa;
	if (parse_arguments(platform, cpu, w, &sizes, args, why) < 0)
		return -EINVAL;
	if (w->job_bytes < 8 || w->job_bytes > WORKER_PAGE || w->job_bytes % 8 ||
	    w->vectors < 1 || w->vectors > platform->vectors ||
	    w->job_delay_us > ACCEL_DELAY_MAX_US) {
		guest_text_add(why, "job-bytes is a multiple of 8 up to 4096, vectors 1 to ");
		guest_text_add_number(why, platform->vectors);
		guest_text_add(why, ", job-delay-us at most ");
		guest_text_add_number(why, ACCEL_DELAY_MAX_US);
		return -EINVAL;
	}
	if (platform->irqchip == GUEST_IRQCHIP_NONE && w->mode != WORKER_IRQ_POLL) {
		guest_text_add(why, "there is no interrupt controller: irq=poll is all that goes");
		return -EINVAL;
	}
	if (w->rate != UINT64_MAX)
		w->rate /= platform->cpus;
	worker_memory_plan(w, platform, cpu, sizes.set, sizes.fill);
	return 0;
}

static bool worker_valid(const struct guest_platform *platform, unsigned cpu, const uint64_t *words)
{
	const struct worker *w = (const struct worker *) words;

	if (w->phase >= WORKER_PHASE__COUNT || w->found > WORKER_DEVICES ||
	    w->queue >= WORKER_TABLE_BYTES || w->queue % 32 || w->turn >= WORKER_DEVICES ||
	    w->job_bytes < 8 || w->job_bytes > WORKER_PAGE || w->job_bytes % 8 ||
	    w->vectors < 1 || w->vectors > WORKER_SLOTS || w->mode >= WORKER_IRQ__COUNT ||
	    w->job_delay_us > ACCEL_DELAY_MAX_US || w->fault >= WORKER_FAULT__COUNT ||
	    !worker_memory_valid(w, platform))
		return false;
	if (w->phase <= WORKER_PHASE_RELEASE && cpu != 0)
		return false;
	if (w->phase == WORKER_PHASE_REDIST && w->cursor >= platform->cpus)
		return false;
	if (w->phase == WORKER_PHASE_MAP && w->cursor > w->found)
		return false;
	for (unsigned i = 0; i < WORKER_ACTS; i++)
		if (w->act[i].op >= WORKER_ACT__COUNT)
			return false;
	for (unsigned i = 0; i < WORKER_DEVICES; i++) {
		if (!worker_device_valid(&w->device[i]))
			return false;
		if (w->device[i].phase != WORKER_DEVICE_NONE &&
		    (i >= w->found || !worker_owns(platform, cpu, i)))
			return false;
	}
	return true;
}

/* ---- steps ---- */

/* The time since the last step that it did not mean to wait for. */
static void watch_clock(struct guest_vcpu *vcpu, struct worker *w)
{
	uint64_t run = guest_run_ns(vcpu);
	uint64_t paused = guest_wall_ns(vcpu) - run;
	uint64_t counter = guest_counter(vcpu);

	if (w->began) {
		uint64_t since = w->wake_ns > w->last_run_ns ? w->wake_ns : w->last_run_ns;
		uint64_t gap = run > since ? run - since : 0;

		if (gap > w->gap_running_ns)
			w->gap_running_ns = gap;
		if (paused > w->last_paused_ns)
			gap += paused - w->last_paused_ns;
		if (gap > w->gap_ns)
			w->gap_ns = gap;
		if (counter < w->last_counter) {
			w->clock_backward++;
			worker_fault(w, WORKER_FAULT_CLOCK, w->last_counter - counter, 0, 0);
		}
	} else {
		w->born_ns = run;
	}
	w->began = 1;
	w->last_run_ns = run;
	w->last_paused_ns = paused;
	w->last_counter = counter;
	w->wake_ns = 0;
	w->steps++;
}

static enum guest_step sleep_until(struct guest_vcpu *vcpu, struct worker *w, uint64_t run_ns)
{
	w->wake_ns = run_ns;
	guest_wait_until(vcpu, run_ns);
	return GUEST_STEP_WAIT;
}

static uint64_t tick_of(const struct worker *w)
{
	for (unsigned i = 0; i < WORKER_ACTS; i++)
		if (w->act[i].op == WORKER_ACT_TICK)
			return w->act[i].a;
	return TICK_NS;
}

/* Return: power off. */
static bool do_acts(struct guest_vcpu *vcpu, struct worker *w, uint64_t now_ns)
{
	for (unsigned i = 0; i < WORKER_ACTS; i++) {
		struct worker_act act = w->act[i];

		if (act.op == WORKER_ACT_NONE || act.op == WORKER_ACT_TICK ||
		    act.at_ns > now_ns - w->born_ns)
			continue;
		w->act[i] = (struct worker_act) { 0 };
		switch (act.op) {
		case WORKER_ACT_POWER_OFF:
			return true;
		case WORKER_ACT_RATE:
			w->rate = act.a == UINT64_MAX ? act.a : act.a / vcpu->platform->cpus;
			break;
		case WORKER_ACT_JOBS:
			w->jobs = act.a;
			break;
		case WORKER_ACT_PEER:
			w->peer = act.a;
			break;
		case WORKER_ACT_JUDGE:
			w->judging = 1;
			w->check_position = 0;
			break;
		case WORKER_ACT_FORGET_GAP:
			w->gap_ns = 0;
			w->gap_running_ns = 0;
			break;
		default:
			worker_device_act(vcpu, w, &act, now_ns);
			break;
		}
	}
	return false;
}

static bool judge(struct guest_vcpu *vcpu, struct worker *w)
{
	if (!w->judging || !worker_devices_quiet(vcpu, w))
		return false;
	if (w->check_position == 0)
		worker_devices_count(vcpu, w);
	if (worker_memory_check(vcpu, w)) {
		w->judging = 0;
		w->passes++;
	}
	return true;
}

static enum guest_step run_step(struct guest_vcpu *vcpu, struct worker *w)
{
	uint64_t now = guest_run_ns(vcpu);
	uint64_t wake = now + (w->mode == WORKER_IRQ_POLL && w->found ? POLL_NS : tick_of(w));
	bool did = false;

	if (do_acts(vcpu, w, now)) {
		w->phase = WORKER_PHASE_OFF;
		return GUEST_STEP_POWER_OFF;
	}
	did |= judge(vcpu, w);
	did |= worker_memory_dirty(vcpu, w, now);
	if (w->found) {
		w->turn = (w->turn + 1) % w->found;
		did |= worker_device_step(vcpu, w, (unsigned) w->turn, now);
	}
	if (did) {
		w->idle_turns = 0;
		return GUEST_STEP_GO;
	}
	/* Not before every device had its turn. */
	if (++w->idle_turns <= w->found)
		return GUEST_STEP_GO;
	w->idle_turns = 0;
	if (w->due_ns < wake && wake > now + MS_NS)
		wake = w->due_ns > now + MS_NS ? w->due_ns : now + MS_NS;
	return sleep_until(vcpu, w, wake);
}

static void say_running(struct guest_vcpu *vcpu, const struct worker *w)
{
	struct guest_text text;
	char line[80];

	guest_text_init(&text, line, sizeof(line));
	guest_text_add(&text, "worker: vCPU ");
	guest_text_add_number(&text, vcpu->id);
	guest_text_add(&text, " runs, ");
	guest_text_add_number(&text, w->found);
	guest_text_add(&text, " devices found");
	guest_console(vcpu, line);
}

static enum guest_step worker_step(struct guest_vcpu *vcpu, uint64_t *words)
{
	struct worker *w = (struct worker *) words;
	uint64_t now = guest_run_ns(vcpu);

	watch_clock(vcpu, w);
	switch (w->phase) {
	case WORKER_PHASE_HELD:
		if (worker_load(vcpu, vcpu->platform->ram[0].gpa) == WORKER_BOOT_MAGIC)
			w->phase = WORKER_PHASE_CPU;
		else
			return sleep_until(vcpu, w, now + MS_NS);
		break;
	case WORKER_PHASE_CPU:
		if (vcpu->platform->irqchip != GUEST_IRQCHIP_NONE)
			worker_irqchip_cpu(vcpu);
		worker_device_find(vcpu, w);
		w->phase = WORKER_PHASE_FILL;
		break;
	case WORKER_PHASE_FILL:
		if (worker_memory_fill(vcpu, w)) {
			w->phase = WORKER_PHASE_RUN;
			say_running(vcpu, w);
		}
		break;
	case WORKER_PHASE_RUN:
		return run_step(vcpu, w);
	case WORKER_PHASE_OFF:
		return GUEST_STEP_POWER_OFF;
	case WORKER_PHASE_DEAD:
		return sleep_until(vcpu, w, now + SECOND_NS);
	default:
		worker_boot_step(vcpu, w);
		break;
	}
	return GUEST_STEP_GO;
}

static void worker_interrupt(struct guest_vcpu *vcpu, uint64_t *words, uint32_t intid)
{
	worker_device_interrupt(vcpu, (struct worker *) words, intid);
}

_Static_assert(sizeof(struct worker) % sizeof(uint64_t) == 0, "words only");

const struct guest_program guest_worker = {
	.name = "worker",
	.summary = "keeps RAM, devices and interrupts busy and verifies all of it",
	.version = 1,
	.words = (uint32_t) WORKER_WORDS,
	.init = worker_init,
	.valid = worker_valid,
	.step = worker_step,
	.interrupt = worker_interrupt,
	.command = worker_command,
};
