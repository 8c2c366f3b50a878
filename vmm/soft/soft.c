/* SPDX-License-Identifier: MIT */
/*
 * soft.c - the soft machine's vCPU threads: run, park, throttle; see soft.h.
 *
 * A thread runs its program in bursts of about a millisecond. A burst is what KVM_RUN is to the
 * kernel: the GIC model is told of its begin and end, and refuses access to its registers inside.
 * Between bursts the thread publishes its words for whoever asks, sleeps what the throttle wants,
 * waits for an interrupt, or parks.
 *
 * Stopping sets every vCPU's flag, wakes them, and waits until all are parked. A step ends soon: it
 * waits for one device at most (soft_bus.c), so the bound is that device's timeout.
 */
#include "soft.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../worker_verdict.h"
#include "vferry_kvm_arm64.h"

#define BURST_NS	1000000ull
#define STOP_DEFAULT_NS	10000000000ull
#define WAIT_MAX_NS	100000000ull	/* a waiting vCPU looks again after this */
#define ARGUMENT_REASON_MAX 640u	/* quotes an argument */

static const struct guest_program *const programs[] = { &guest_worker, &guest_idle };

_Static_assert(WORKER_WORDS <= SOFT_STATE_WORDS_MAX, "must fit a section");

const struct guest_program *soft_program_at(size_t index)
{
	return index < sizeof(programs) / sizeof(programs[0]) ? programs[index] : NULL;
}

const struct guest_program *soft_program_find(const char *name)
{
	for (size_t i = 0; soft_program_at(i); i++)
		if (strcmp(programs[i]->name, name) == 0)
			return programs[i];
	return NULL;
}

/* ---- one vCPU's thread ---- */

static void take_interrupts(struct soft_vcpu *vcpu)
{
	struct soft_machine *m = vcpu->machine;

	while (atomic_exchange(&vcpu->kicked, false)) {
		uint32_t intid = soft_gic_ack(m->gic, vcpu->guest.id);

		if (intid == SOFT_GIC_SPURIOUS)
			continue;
		/* Another may wait behind this one: look again after its end. */
		atomic_store(&vcpu->kicked, true);
		vcpu->bus_failed = false;
		if (m->config.program->interrupt)
			m->config.program->interrupt(&vcpu->guest, vcpu->words, intid);
		soft_gic_eoi(m->gic, vcpu->guest.id, intid);
		soft_irq_ended(m->irq, intid);
	}
}

/* Runs for about a millisecond, or until there is nothing to do. */
static enum guest_step burst(struct soft_vcpu *vcpu)
{
	struct soft_machine *m = vcpu->machine;
	uint64_t began = run_clock_now();
	enum guest_step r = GUEST_STEP_GO;

	vcpu->wait_until = UINT64_MAX;
	if (soft_gic_vcpu_enter(m->gic, vcpu->guest.id, true) < 0)
		return GUEST_STEP_WAIT;
	do {
		take_interrupts(vcpu);
		vcpu->bus_failed = false;
		vcpu->wait_until = UINT64_MAX;
		r = m->config.program->step(&vcpu->guest, vcpu->words);
	} while (r == GUEST_STEP_GO && !atomic_load(&vcpu->parker.stop) &&
		 run_clock_now() - began < BURST_NS);
	soft_gic_vcpu_leave(m->gic, vcpu->guest.id);
	vcpu->throttle_due += run_clock_now() - began;
	return r;
}

static void publish(struct soft_vcpu *vcpu)
{
	pthread_mutex_lock(&vcpu->parker.lock);
	memcpy(vcpu->published, vcpu->words,
	       vcpu->machine->config.program->words * sizeof(uint64_t));
	pthread_mutex_unlock(&vcpu->parker.lock);
}

/* Wait for interrupt: until kicked, stopped, or the time the program named. */
static void wait_for_interrupt(struct soft_vcpu *vcpu)
{
	uint64_t now = run_clock_run(&vcpu->machine->clock);
	uint64_t ns = WAIT_MAX_NS;

	if (vcpu->wait_until <= now)
		return;
	if (vcpu->wait_until - now < ns)
		ns = vcpu->wait_until - now;
	if (soft_gic_pending(vcpu->machine->gic, vcpu->guest.id))
		atomic_store(&vcpu->kicked, true);
	pthread_mutex_lock(&vcpu->parker.lock);
	if (!atomic_load(&vcpu->kicked) && !atomic_load(&vcpu->parker.stop))
		parker_wait_locked(&vcpu->parker, run_clock_now() + ns);
	pthread_mutex_unlock(&vcpu->parker.lock);
}

/* At p percent, each n ns of running are followed by n * p / (100 - p) ns of sleep. */
static void pay_throttle(struct soft_vcpu *vcpu)
{
	unsigned percent = atomic_load(&vcpu->machine->throttle);
	uint64_t due = vcpu->throttle_due;

	if (percent == 0) {
		vcpu->throttle_due = 0;
		return;
	}
	due = due * percent / (100 - percent);
	if (due < BURST_NS)
		return;
	vcpu->throttle_due = 0;
	parker_sleep(&vcpu->parker, run_clock_now() + due);
}

/* Return: false, the thread ends. */
static bool park(struct soft_vcpu *vcpu)
{
	/* Published after the last burst, or by who loaded it; not to be read here: a vCPU that never
	 * ran counts as parked before its thread comes here. */
	bool goes_on = parker_park(&vcpu->parker);

	/* What became deliverable meanwhile kicked nobody. */
	atomic_store(&vcpu->kicked, true);
	return goes_on;
}

static void power_off(struct soft_machine *m)
{
	if (atomic_exchange(&m->powered_off, true))
		return;
	for (unsigned i = 0; i < m->config.cpus; i++) {
		atomic_store(&m->vcpu[i].parker.stop, true);
		soft_vcpu_kick(&m->vcpu[i]);
	}
	if (m->config.power_off)
		m->config.power_off(m->config.user);
}

static void *vcpu_thread(void *user)
{
	struct soft_vcpu *vcpu = user;

	for (;;) {
		enum guest_step r;

		if (atomic_load(&vcpu->parker.stop) && !park(vcpu))
			return NULL;
		r = burst(vcpu);
		publish(vcpu);
		if (r == GUEST_STEP_POWER_OFF)
			power_off(vcpu->machine);
		else if (r == GUEST_STEP_WAIT)
			wait_for_interrupt(vcpu);
		pay_throttle(vcpu);
	}
}

void soft_vcpu_kick(struct soft_vcpu *vcpu)
{
	atomic_store(&vcpu->kicked, true);
	parker_wake(&vcpu->parker);
}

/* ---- run and park ---- */

static void let_run(struct soft_machine *m)
{
	for (unsigned i = 0; i < m->config.cpus; i++)
		parker_let_run(&m->vcpu[i].parker);
}

static int find_running(void *user)
{
	struct soft_machine *m = user;

	for (unsigned i = 0; i < m->config.cpus; i++)
		if (!parker_is_parked(&m->vcpu[i].parker))
			return (int) i;
	return -1;
}

/* Return: 0; -ETIMEDOUT, with all flags set still. */
static int park_all(struct soft_machine *m, struct vferry_error *err)
{
	int cpu;

	for (unsigned i = 0; i < m->config.cpus; i++) {
		atomic_store(&m->vcpu[i].parker.stop, true);
		soft_vcpu_kick(&m->vcpu[i]);
	}
	pci_host_wake(m->config.pci);
	cpu = parking_wait(&m->parking, m->config.stop_timeout_ns, find_running, m);
	if (cpu >= 0)
		return vferry_error_set(err, -ETIMEDOUT, "vcpu-does-not-stop", "cpu",
					"vCPU %d did not stop within %llu ms: it waits for an access to %#llx",
					cpu, (unsigned long long) (m->config.stop_timeout_ns / 1000000),
					(unsigned long long) atomic_load(&m->vcpu[cpu].waiting_gpa));
	return 0;
}

static int stop_locked(struct soft_machine *m, struct vferry_error *err)
{
	uint64_t began = run_clock_now();
	int r;

	if (!m->running)
		return 0;
	r = park_all(m, err);
	if (r < 0) {
		if (!atomic_load(&m->powered_off))
			let_run(m);
		return r;
	}
	run_clock_stop(&m->clock);
	m->running = false;
	m->stops++;
	m->last_stop_ns = run_clock_now() - began;
	return 0;
}

static int start_locked(struct soft_machine *m, struct vferry_error *err)
{
	if (m->running)
		return 0;
	if (atomic_load(&m->powered_off))
		return vferry_error_set(err, -EPERM, "powered-off", "machine",
					"the guest has powered off; reset the machine first");
	if (!m->loaded)
		return vferry_error_set(err, -EPERM, "not-loaded", "machine",
					"this machine waits for an incoming migration");
	run_clock_start(&m->clock);
	m->running = true;
	m->starts++;
	let_run(m);
	return 0;
}

int soft_machine_start(struct soft_machine *m, struct vferry_error *err)
{
	int r;

	pthread_mutex_lock(&m->lock);
	r = start_locked(m, err);
	pthread_mutex_unlock(&m->lock);
	return r;
}

int soft_machine_stop(struct soft_machine *m, struct vferry_error *err)
{
	int r;

	pthread_mutex_lock(&m->lock);
	r = stop_locked(m, err);
	pthread_mutex_unlock(&m->lock);
	return r;
}

int soft_machine_command(struct soft_machine *m, const char *text, char *reply, size_t reply_size,
			 struct vferry_error *err)
{
	const struct guest_program *program = m->config.program;
	bool ran;
	int r;

	if (reply && reply_size > 0)
		reply[0] = '\0';
	pthread_mutex_lock(&m->lock);
	ran = m->running;
	if (!m->loaded)
		r = vferry_error_set(err, -EPERM, "not-loaded", "machine",
				     "this machine has no guest yet");
	else if (!program->command)
		r = vferry_error_set(err, -EINVAL, "guest-command", program->name,
				     "guest %s takes no commands", program->name);
	else
		r = ran ? park_all(m, err) : 0;
	for (unsigned i = 0; r >= 0 && i < m->config.cpus; i++) {
		struct soft_vcpu *vcpu = &m->vcpu[i];
		struct guest_text answer;
		char line[256];

		guest_text_init(&answer, line, sizeof(line));
		r = program->command(&m->platform, i, vcpu->words, text, &answer);
		if (answer.length > 0 && reply && reply_size > 0)
			(void) snprintf(reply, reply_size, "%s", line);
		if (r < 0)
			(void) vferry_error_set(err, r, "guest-command", program->name,
						"guest %s refused \"%s\"", program->name, text);
		publish(vcpu);
	}
	if (ran && !atomic_load(&m->powered_off))
		let_run(m);
	pthread_mutex_unlock(&m->lock);
	return r < 0 ? r : 0;
}

void soft_machine_verdict(struct soft_machine *m, struct machine_verdict *ret)
{
	const struct guest_program *program = m->config.program;
	uint64_t *words;

	memset(ret, 0, sizeof(*ret));
	pthread_mutex_lock(&m->lock);
	ret->paused_ns = run_clock_paused(&m->clock);
	pthread_mutex_unlock(&m->lock);
	words = calloc(program->words, sizeof(*words));
	if (program != &guest_worker || !words) {	/* the one that checks */
		free(words);
		return;
	}
	worker_verdict_begin(ret);
	for (unsigned i = 0; i < m->config.cpus; i++) {
		struct soft_vcpu *vcpu = &m->vcpu[i];

		pthread_mutex_lock(&vcpu->parker.lock);
		memcpy(words, vcpu->published, program->words * sizeof(*words));
		pthread_mutex_unlock(&vcpu->parker.lock);
		worker_verdict_add(&m->platform, i, words, ret);
	}
	free(words);
}

/* ---- making one ---- */

static int gic_read(void *user, uint64_t gpa, void *to, size_t len)
{
	struct soft_machine *m = user;

	return vferry_ram_read(m->config.ram, gpa, to, len) < 0 ? -EFAULT : 0;
}

static int gic_write(void *user, uint64_t gpa, const void *from, size_t len)
{
	struct soft_machine *m = user;

	return vferry_ram_write(m->config.ram, gpa, from, len) < 0 ? -EFAULT : 0;
}

static void gic_kick(void *user, unsigned cpu)
{
	struct soft_machine *m = user;

	if (cpu < m->config.cpus)
		soft_vcpu_kick(&m->vcpu[cpu]);
}

static void gic_log(void *user, const char *line)
{
	struct soft_machine *m = user;

	if (m->config.log)
		m->config.log(m->config.user, line);
}

static int gic_setup(struct soft_machine *m)
{
	const uint64_t gicd = SOFT_GICD_BASE, its = SOFT_ITS_BASE, spis = SOFT_SPIS + 32;
	const uint64_t gicr = SOFT_GICR_BASE | (uint64_t) m->config.cpus << 52;
	int r;

	for (unsigned i = 0; i < m->config.cpus; i++) {
		r = soft_gic_vcpu_create(m->gic);
		if (r < 0)
			return r;
	}
	if (m->config.gic == SOFT_GIC_OFF)
		return 0;
	m->gic_device = soft_gic_device_create(m->gic, VF_KVM_DEV_VGIC_V3);
	if (m->gic_device < 0)
		return m->gic_device;
	m->its_device = soft_gic_device_create(m->gic, VF_KVM_DEV_VGIC_ITS);
	if (m->its_device < 0)
		return m->its_device;
	r = soft_gic_set_attr(m->gic, m->gic_device, VF_VGIC_GRP_NR_IRQS, 0, &spis);
	if (r >= 0)
		r = soft_gic_set_attr(m->gic, m->gic_device, VF_VGIC_GRP_ADDR,
				      VF_VGIC_ADDR_DIST, &gicd);
	if (r >= 0)
		r = soft_gic_set_attr(m->gic, m->gic_device, VF_VGIC_GRP_ADDR,
				      VF_VGIC_ADDR_REDIST_REGION, &gicr);
	if (r >= 0)
		r = soft_gic_set_attr(m->gic, m->its_device, VF_VGIC_GRP_ADDR, VF_VGIC_ADDR_ITS,
				      &its);
	if (r >= 0)
		r = soft_gic_set_attr(m->gic, m->gic_device, VF_VGIC_GRP_CTRL,
				      VF_VGIC_CTRL_INIT, NULL);
	if (r >= 0)
		r = soft_gic_set_attr(m->gic, m->its_device, VF_VGIC_GRP_CTRL,
				      VF_VGIC_CTRL_INIT, NULL);
	return r;
}

/* A vCPU's words as after power-on. */
static int program_init(struct soft_machine *m, struct soft_vcpu *vcpu, struct vferry_error *err)
{
	const struct guest_program *program = m->config.program;
	struct guest_text why;
	char reason[ARGUMENT_REASON_MAX];
	int r;

	guest_text_init(&why, reason, sizeof(reason));
	r = program->init(&m->platform, vcpu->guest.id, m->args, vcpu->words, &why);
	if (r < 0)
		return vferry_error_set(err, r, "guest-arguments", program->name, "%s", reason);
	publish(vcpu);
	return 0;
}

static int vcpu_setup(struct soft_machine *m, unsigned id, struct vferry_error *err)
{
	struct soft_vcpu *vcpu = &m->vcpu[id];
	const struct guest_program *program = m->config.program;
	int r;

	vcpu->words = calloc(program->words, sizeof(uint64_t));
	vcpu->published = calloc(program->words, sizeof(uint64_t));
	if (!vcpu->words || !vcpu->published)
		return vferry_error_set(err, -ENOMEM, "no-memory", "cpu", "no memory for vCPU %u", id);
	r = program_init(m, vcpu, err);
	if (r < 0)
		return r;
	r = -pthread_create(&vcpu->thread, NULL, vcpu_thread, vcpu);
	if (r < 0)
		return vferry_error_set(err, r, "no-thread", "cpu",
					"no thread for vCPU %u (%s)", id, vferry_errno_name(r));
	vcpu->started = true;
	return 0;
}

static void sync_init(struct soft_machine *m)
{
	(void) pthread_mutex_init(&m->lock, NULL);
	parking_init(&m->parking);
	for (unsigned i = 0; i < MACHINE_CPUS_MAX; i++) {
		struct soft_vcpu *vcpu = &m->vcpu[i];

		vcpu->machine = m;
		vcpu->guest = (struct guest_vcpu) { .id = i, .platform = &m->platform };
		parker_init(&vcpu->parker, &m->parking);
	}
}

static struct guest_platform platform_of(const struct soft_config *config,
					 const struct vferry_ram_block *block)
{
	return (struct guest_platform) {
		.cpus = config->cpus,
		.irqchip = config->gic == SOFT_GIC_OFF ? GUEST_IRQCHIP_NONE : GUEST_IRQCHIP_GIC,
		.ram = { { .gpa = block->gpa, .bytes = block->bytes } },
		.ecam_gpa = SOFT_ECAM_BASE,
		.window32 = { .gpa = SOFT_WINDOW32_BASE, .bytes = SOFT_WINDOW32_BYTES },
		.window64 = { .gpa = SOFT_WINDOW64_BASE, .bytes = SOFT_WINDOW64_BYTES },
		.intx_first = WORKER_PIN_FIRST,
		.intx_pins = SOFT_SPIS,
		.vectors = MACHINE_VECTORS_MAX,
		.gicd_gpa = SOFT_GICD_BASE,
		.gicr_gpa = SOFT_GICR_BASE,
		.its_gpa = SOFT_ITS_BASE,
	};
}

int soft_machine_new(const struct soft_config *config, struct soft_machine **ret_machine,
		     struct vferry_error *err)
{
	const struct soft_gic_config gic = { .size = sizeof(gic), .kind = config->gic,
		.rules = SOFT_GIC_LINUX_6_12, .read = gic_read, .write = gic_write,
		.kick = gic_kick, .log = gic_log };
	const struct vferry_ram_block *block = vferry_ram_get_block(config->ram, 0);
	struct soft_gic_config with_user = gic;
	struct soft_machine *m;
	int r;

	if (config->cpus < 1 || config->cpus > MACHINE_CPUS_MAX || !config->program || !block ||
	    config->program->words > SOFT_STATE_WORDS_MAX)
		return -EINVAL;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->config = *config;
	if (m->config.stop_timeout_ns == 0)
		m->config.stop_timeout_ns = STOP_DEFAULT_NS;
	m->clock.mode = config->guest_time;
	m->loaded = !config->incoming;
	m->gic_device = -1;
	m->its_device = -1;
	m->platform = platform_of(config, block);
	sync_init(m);
	m->args = strdup(config->args ? config->args : "");
	with_user.user = m;
	r = m->args ? soft_gic_new(&with_user, &m->gic) : -ENOMEM;
	if (r >= 0)
		r = gic_setup(m);
	if (r >= 0)
		r = soft_irq_new(config->gic != SOFT_GIC_OFF ? m->gic : NULL, &m->irq);
	if (r < 0)
		(void) vferry_error_set(err, r, "gic-setup", "gic",
					"the interrupt controller could not be set up (%s)",
					vferry_errno_name(r));
	for (unsigned i = 0; r >= 0 && i < config->cpus; i++)
		r = vcpu_setup(m, i, err);
	/* From now on a machine that does not run has its vCPUs parked. */
	if (r >= 0)
		r = park_all(m, err);
	if (r < 0) {
		(void) soft_machine_free(m);
		return r;
	}
	*ret_machine = m;
	return 0;
}

struct soft_machine *soft_machine_free(struct soft_machine *m)
{
	if (!m)
		return NULL;
	for (unsigned i = 0; i < MACHINE_CPUS_MAX; i++) {
		struct soft_vcpu *vcpu = &m->vcpu[i];

		atomic_store(&vcpu->parker.exit, true);
		atomic_store(&vcpu->parker.stop, true);
		soft_vcpu_kick(vcpu);
	}
	pci_host_wake(m->config.pci);
	for (unsigned i = 0; i < MACHINE_CPUS_MAX; i++) {
		struct soft_vcpu *vcpu = &m->vcpu[i];

		if (vcpu->started)
			(void) pthread_join(vcpu->thread, NULL);
	}
	m->irq = soft_irq_free(m->irq);
	m->gic = soft_gic_free(m->gic);
	for (unsigned i = 0; i < MACHINE_CPUS_MAX; i++) {
		struct soft_vcpu *vcpu = &m->vcpu[i];

		free(vcpu->words);
		free(vcpu->published);
		parker_done(&vcpu->parker);
	}
	parking_done(&m->parking);
	(void) pthread_mutex_destroy(&m->lock);
	free(m->args);
	free(m);
	return NULL;
}

/* ---- reset ---- */

/* As firmware does: the mailbox where the other vCPUs wait to be released is empty again. */
static int clear_mailbox(struct soft_machine *m)
{
	static const uint8_t zeros[4096];

	return vferry_ram_write(m->config.ram, m->platform.ram[0].gpa, zeros, sizeof(zeros));
}

/*
 * The ITS forgets its mappings; all else of the interrupt controller is set anew by the guest as it
 * boots. No interrupt is active then: an acknowledged one is ended before its vCPU parks.
 */
int soft_machine_reset(struct soft_machine *m, struct vferry_error *err)
{
	int r;

	pthread_mutex_lock(&m->lock);
	r = stop_locked(m, err);
	if (r == 0 && !m->loaded)
		r = vferry_error_set(err, -EPERM, "not-loaded", "machine",
				     "this machine waits for an incoming migration");
	if (r == 0 && m->its_device >= 0) {
		r = soft_gic_set_attr(m->gic, m->its_device, VF_VGIC_GRP_CTRL, VF_ITS_CTRL_RESET,
				      NULL);
		if (r < 0)
			(void) vferry_error_set(err, r, "gic-reset", "gic",
						"the interrupt controller could not be reset (%s)",
						vferry_errno_name(r));
	}
	if (r == 0)
		r = clear_mailbox(m);
	for (unsigned i = 0; r == 0 && i < m->config.cpus; i++)
		r = program_init(m, &m->vcpu[i], err);
	if (r == 0)
		atomic_store(&m->powered_off, false);
	pthread_mutex_unlock(&m->lock);
	return r;
}
