/* SPDX-License-Identifier: MIT */
/*
 * test_origin.c - the problem that vferry exists for, on a real kernel: a guest with a device whose
 * messages the host's GICv4 forwards is moved, and every message must be forwarded where it arrives.
 *
 * The guest drives an edu device by MSI; source and destination are machines of `vferry run` in one
 * process, each with a device of its own. What is asserted of forwarding comes from the kernel:
 *
 *   debugfs's vgic-state   an LPI that hardware delivers has its bit H
 *   /proc/interrupts       counts what the host handled: nothing, of a message that is forwarded
 *
 * The historical order is what a VMM does that has config space among the device's state: the guest's
 * MSI is switched on, and connected, when that is loaded, which is before the interrupt controller. Here
 * a component of the test's own does it, by the public interface: what else is done stays the same.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include <vferry/trace.h>

#include "../sysfs.h"
#include "../vgic.h"
#include "../../unit/told.h"
#include "base/bytes.h"
#include "vfio/device_internal.h"
#include "vmm/kvm/kvm.h"

#define SECOND		1000000000ull
#define WAIT_MS		120000	/* an emulated machine is slow, and may share its host */
#define EDU_VENDOR	0x1234
#define EDU_DEVICE	0x11e8
#define EDU_CAUSES	0x24
#define ADDRESS		"00:01.0"	/* the guest's */
#define ARGUMENTS	"rate=1 working-set=4M irq=msi notice-ms=20000 lost-ms=60000"
#define PENDING_TRIES	8u
#define READ_TRIES	1000u

#define PCI_CAPABILITIES 0x34
#define PCI_CAP_MSI	0x05
#define MSI_CONTROL	2
#define MSI_ENABLE	1u
#define MSI_SECTION	1u

struct side {
	struct machine *m;
	char bdf[SYSFS_BDF];
	struct machine_verdict v;
};

static void sleep_ms(long ms)
{
	const struct timespec time = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	(void) nanosleep(&time, NULL);
}

static void log_line(void *user, const char *line)
{
	(void) user;
	print_message("machine: %s\n", line);
}

static const struct machine_callbacks callbacks = { .size = sizeof(callbacks), .log = log_line };

/* ---- machines ---- */

/* With the nth edu device. */
static void side_up(struct side *side, unsigned nth, bool incoming)
{
	struct machine_options options = MACHINE_OPTIONS_INIT;
	struct machine_device_options device = { 0 };
	struct vferry_error err = VFERRY_ERROR_INIT;
	char uri[32];

	*side = (struct side) { 0 };
	assert_true(sysfs_find_pci(EDU_VENDOR, EDU_DEVICE, nth, side->bdf));
	assert_int_equal(sysfs_bind_pci(side->bdf, "edu_vfio_pci"), 0);
	(void) snprintf(uri, sizeof(uri), "vfio:%s", side->bdf);
	device.uri = uri;
	device.address = ADDRESS;
	options.accel = "kvm";
	options.memory_bytes = 64 << 20;
	options.guest_args = ARGUMENTS;
	options.devices = &device;
	options.device_count = 1;
	options.incoming = incoming;
	options.callbacks = &callbacks;
	if (machine_new(&options, &side->m, &err) < 0)
		fail_msg("%s", err.message);
	if (!incoming && machine_start(side->m, &err) < 0)
		fail_msg("%s", err.message);
}

static void side_down(struct side *side)
{
	side->m = machine_free(side->m);
}

static void look(struct side *side)
{
	assert_int_equal(machine_get_verdict(side->m, &side->v), 0);
}

static void wait_for_jobs(struct side *side, uint64_t more)
{
	uint64_t enough;

	look(side);
	enough = side->v.verified_jobs + more;
	for (unsigned ms = 0; ms < WAIT_MS && side->v.verified_jobs < enough; ms += 5) {
		sleep_ms(5);
		look(side);
	}
	if (side->v.verified_jobs < enough)
		fail_msg("the guest got %llu of %llu jobs done: %s",
			 (unsigned long long) side->v.verified_jobs, (unsigned long long) enough,
			 side->v.first_fault);
}

static void expect_clean(struct side *side, uint64_t spurious)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (machine_judge(side->m, WAIT_MS / 1000 * SECOND, &side->v, &err) < 0)
		fail_msg("%s", err.message);
	print_message("%llu jobs, %llu interrupts, %llu of them spurious\n",
		      (unsigned long long) side->v.verified_jobs,
		      (unsigned long long) side->v.interrupts, (unsigned long long) side->v.spurious);
	if (!machine_verdict_clean(&side->v, spurious))
		fail_msg("%llu spurious; %s", (unsigned long long) side->v.spurious,
			 side->v.first_fault);
}

static struct vferry_device_info device_info(struct side *side)
{
	struct vferry_device_info info;

	vferry_device_get_info(machine_device(side->m, 0), &info);
	return info;
}

/* ---- what the kernel shows ---- */

/* Return: LPIs that hardware delivers; -1: it can't be read now. */
static int read_lpis(FILE *f)
{
	struct vgic_lpi lpi;
	int count = 0;

	while (vgic_next_lpi(f, &lpi))
		count += lpi.hw;
	return ferror(f) ? -1 : count;
}

/* LPIs of the machine that hardware delivers; -1: the file can't be read. The machine looks into it, too. */
static int lpis_in_hardware(const struct side *side)
{
	const struct kvm_machine *kvm = side->m->accel_data;
	char path[VGIC_PATH];
	int count = -1;

	vgic_path(kvm->vm, path);
	for (unsigned i = 0; i < READ_TRIES && count < 0; i++) {
		FILE *f = fopen(path, "re");

		if (!f)
			return -1;
		count = read_lpis(f);
		(void) fclose(f);
		if (count < 0)
			sleep_ms(1);
	}
	return count;
}

static unsigned long host_interrupts(const struct side *side)
{
	unsigned long count;

	assert_true(sysfs_vfio_irq(side->bdf, &count) >= 0);
	return count;
}

/* The guest's interrupts reach it past the host. */
static void expect_forwarded(struct side *side)
{
	unsigned long before = host_interrupts(side);
	struct vferry_device_info info;

	assert_int_equal(lpis_in_hardware(side), 1);
	wait_for_jobs(side, 8);
	assert_int_equal(host_interrupts(side), before);
	assert_int_equal(lpis_in_hardware(side), 1);
	info = device_info(side);
	assert_int_equal(info.vectors_connected, 1);
	assert_int_equal(info.vectors_forwarded, 1);
	assert_int_equal(info.vectors_forward_unknown, 0);
}

/* The host handles each of them. */
static void expect_software(struct side *side)
{
	unsigned long before = host_interrupts(side);
	struct vferry_device_info info;

	assert_int_equal(lpis_in_hardware(side), 0);
	wait_for_jobs(side, 8);
	assert_true(host_interrupts(side) >= before + 8);
	assert_int_equal(lpis_in_hardware(side), 0);
	info = device_info(side);
	assert_int_equal(info.vectors_connected, 1);
	assert_int_equal(info.vectors_forwarded, 0);
	assert_int_equal(info.vectors_forward_unknown, 0);
	assert_string_equal(info.not_forwarded_reason, "KVM injects it");
}

/* Lines of the kernel's log that say so, since it was opened. */
static unsigned refusals(int log)
{
	char record[8192];
	unsigned count = 0;
	ssize_t n;

	while ((n = read(log, record, sizeof(record) - 1)) > 0 || errno == EPIPE) {
		if (n <= 0)
			continue;	/* some were overwritten */
		record[n] = '\0';
		count += strstr(record, "irq bypass") && strstr(record, "registration fails: -16");
	}
	return count;
}

static int open_log(void)
{
	int log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	assert_true(log >= 0);
	(void) lseek(log, 0, SEEK_END);
	return log;
}

/* ---- the order in which the destination did things ---- */

struct order {
	pthread_mutex_t lock;
	unsigned count;
	/* When each came first, as a number of the event; 0: never. */
	unsigned accepted, staged, data, enabled, connected;
	bool fail;		/* the destination, when all is loaded */
	bool software;		/* what will deliver the destination's interrupts */
};

static int on_event(void *user, const struct vferry_trace_event *event)
{
	const char *name = event->point->name, *object = event->object;
	struct order *order = user;
	unsigned *first = NULL;

	if (!strcmp(name, "send-accept"))
		first = &order->accepted;
	else if (!strcmp(name, "device-data-write"))
		first = &order->data;
	else if (!strcmp(name, "step-end") && !strcmp(object, "pci/" ADDRESS ":stage"))
		first = event->arguments[0] == 0 ? &order->staged : NULL;
	else if (!strcmp(name, "step-end") && !strcmp(object, "its/0:enable"))
		first = &order->enabled;
	else if (!strcmp(name, "step-begin") && !strcmp(object, "pci/" ADDRESS ":connect"))
		first = &order->connected;
	pthread_mutex_lock(&order->lock);
	order->count++;
	if (first && !*first)
		*first = order->count;
	pthread_mutex_unlock(&order->lock);
	return order->fail && !strcmp(name, "send-prepared") ? -EIO : 0;
}

/* Identity and layout agreed to, config space in place, then the first byte of the device's state. */
static void expect_config_first(const struct order *order)
{
	assert_true(order->accepted > 0);
	assert_true(order->accepted < order->staged);
	assert_true(order->staged < order->data);
	assert_true(order->enabled > 0);
	assert_true(order->enabled < order->connected);
}

/* ---- moves ---- */

static void session_new(struct side *side, const struct vferry_component *extra,
			struct vferry_session **ret)
{
	struct vferry_parameters parameters = VFERRY_PARAMETERS_INIT;
	struct vferry_error err = VFERRY_ERROR_INIT;

	parameters.max_downtime_ns = 8 * SECOND;
	parameters.pause_budget_ns = 60 * SECOND;
	if (vferry_session_new(machine_session_ops(), side->m, ret, &err) < 0 ||
	    machine_add_to_session(side->m, *ret, &err) < 0 ||
	    (extra && vferry_session_add_component(*ret, extra, &err) < 0) ||
	    vferry_session_set_parameters(*ret, &parameters, &err) < 0)
		fail_msg("%s", err.message);
}

static void expect_outcome(struct vferry_session *session, enum vferry_outcome outcome,
			   const char *who)
{
	struct vferry_status status;
	int r = vferry_session_wait(session, WAIT_MS / 1000 * SECOND);

	vferry_session_get_status(session, &status);
	if (r < 0 || status.outcome != outcome)
		fail_msg("%s: %s, outcome %d: %s: %s", who, vferry_state_name(status.state),
			 status.outcome, status.error.object, status.error.message);
}

/* The source knows it of both sides, when the destination has told: its one vector. */
static void expect_told(struct vferry_session *source, bool forwarded)
{
	struct vferry_interrupts *in = told_interrupts(source);
	const struct vferry_device_interrupts *d;

	assert_int_equal(in->device_count, 1);
	d = &in->devices[0];
	assert_string_equal(d->address, ADDRESS);
	assert_int_equal(d->before.connected, 1);
	assert_int_equal(d->before.forwarded, 1);
	assert_int_equal(d->after.connected, 1);
	assert_int_equal(d->after.forwarded, forwarded);
	assert_int_equal(d->after.unknown, 0);
	assert_int_equal(d->lost, !forwarded);
	assert_string_equal(d->after.runs[0].reason, forwarded ? "" : "KVM injects it");
	free(in);
}

/* Either side may have a component beside those of the machine. ret_order says how it is to end. */
static void move(struct side *from, struct side *to, const struct vferry_component *from_extra,
		 const struct vferry_component *to_extra, struct order *ret_order)
{
	struct vferry_session *source, *destination;
	struct vferry_error err = VFERRY_ERROR_INIT;
	char dir[] = "/tmp/origin-XXXXXX", uri[64];

	assert_non_null(mkdtemp(dir));
	(void) snprintf(uri, sizeof(uri), "unix:%s/s", dir);
	*ret_order = (struct order) { .lock = PTHREAD_MUTEX_INITIALIZER, .fail = ret_order->fail,
				      .software = ret_order->software };
	session_new(from, from_extra, &source);
	session_new(to, to_extra, &destination);
	assert_int_equal(vferry_session_set_trace(destination, on_event, ret_order), 0);
	if (vferry_session_accept(destination, uri, &err) < 0 ||
	    vferry_session_migrate(source, uri, &err) < 0)
		fail_msg("%s", err.message);
	expect_outcome(source, ret_order->fail ? VFERRY_OUTCOME_FAILED : VFERRY_OUTCOME_DONE, "source");
	expect_outcome(destination, ret_order->fail ? VFERRY_OUTCOME_FAILED : VFERRY_OUTCOME_DONE,
		       "destination");
	assert_int_equal(machine_is_running(from->m), ret_order->fail);
	assert_int_equal(machine_is_running(to->m), !ret_order->fail);
	if (!ret_order->fail)
		expect_told(source, !ret_order->software);
	(void) vferry_session_free(source);
	(void) vferry_session_free(destination);
	(void) unlink(uri + strlen("unix:"));
	(void) rmdir(dir);
}

static void test_declared_order(void **state)
{
	struct side a, b;
	struct order order = { 0 };

	(void) state;
	side_up(&a, 0, false);
	wait_for_jobs(&a, 4);
	expect_forwarded(&a);
	side_up(&b, 1, true);
	move(&a, &b, NULL, NULL, &order);
	expect_config_first(&order);
	assert_int_equal(lpis_in_hardware(&a), 0);
	expect_forwarded(&b);
	/* What was pending in hardware is sent once more, whether there was anything or not. */
	expect_clean(&b, 1);
	side_down(&a);
	side_down(&b);
}

/* What was released for the save is forwarded again, when the destination fails at last. */
static void test_undone(void **state)
{
	struct order order = { .fail = true };
	struct side a, b;

	(void) state;
	side_up(&a, 0, false);
	wait_for_jobs(&a, 4);
	side_up(&b, 1, true);
	move(&a, &b, NULL, NULL, &order);
	assert_true(order.connected > 0);
	side_down(&b);
	expect_forwarded(&a);
	expect_clean(&a, 1);
	side_down(&a);
}

/* ---- the historical order ---- */

struct msi {
	struct vferry_device *device;
	bool loaded;
};

static uint32_t find_msi(struct vferry_device *device)
{
	uint32_t at = vferry_device_config_read(device, PCI_CAPABILITIES, 1);

	while (at && vferry_device_config_read(device, at, 1) != PCI_CAP_MSI)
		at = vferry_device_config_read(device, at + 1, 1);
	assert_true(at > 0);
	return at;
}

static int save_msi(void *user, struct vferry_step *step, struct vferry_error *err)
{
	const struct msi *msi = user;
	uint32_t at = find_msi(msi->device);

	(void) err;
	for (uint32_t i = 4; i <= 12; i += 4)
		vferry_write_u32(vferry_step_writer(step),
				 vferry_device_config_read(msi->device, at + i, 4));
	return 0;
}

/* As the guest did it: the device's driver and KVM are told at once. */
static int load_msi(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct msi *msi = user;
	uint32_t at = find_msi(msi->device);
	int r = vferry_device_config_write(msi->device, at + MSI_CONTROL, 2, 0, err);

	for (uint32_t i = 4; i <= 12 && r == 0; i += 4)
		r = vferry_device_config_write(msi->device, at + i, i < 12 ? 4 : 2,
					       vferry_read_u32(vferry_step_reader(step)), err);
	if (r == 0)
		r = vferry_device_config_write(msi->device, at + MSI_CONTROL, 2, MSI_ENABLE, err);
	msi->loaded = r == 0;
	return r;
}

static const struct vferry_section_desc msi_sections[] = {
	{ .id = MSI_SECTION, .name = "msi", .version = 1, .oldest = 1, .max_bytes = 12 },
};

/* Beside the device's own state, so before the interrupt controller. */
static const struct vferry_step_desc msi_steps[] = {
	{ .size = sizeof(struct vferry_step_desc), .step_class = VFERRY_SAVE_CONFIG_EARLY,
	  .name = "save", .section = MSI_SECTION, .run = save_msi },
	{ .size = sizeof(struct vferry_step_desc), .step_class = VFERRY_LOAD_DEVICE_DATA,
	  .name = "load", .section = MSI_SECTION, .run = load_msi },
};

static struct vferry_component historical(struct side *side, struct msi *msi)
{
	*msi = (struct msi) { .device = machine_device(side->m, 0) };
	return (struct vferry_component) {
		.size = sizeof(struct vferry_component), .name = "historical/" ADDRESS,
		.device = ADDRESS, .user = msi, .sections = msi_sections, .section_count = 1,
		.steps = msi_steps, .step_count = 2,
	};
}

static void test_historical_order(void **state)
{
	struct vferry_component from, to;
	struct msi saved, loaded;
	struct order order = { .software = true };
	struct side a, b;
	int log = open_log();

	(void) state;
	side_up(&a, 0, false);
	wait_for_jobs(&a, 4);
	expect_forwarded(&a);
	assert_int_equal(refusals(log), 0);
	side_up(&b, 1, true);
	from = historical(&a, &saved);
	to = historical(&b, &loaded);
	move(&a, &b, &from, &to, &order);
	assert_true(loaded.loaded);
	assert_true(refusals(log) > 0);
	expect_software(&b);
	/* That is all there is to be seen: the guest goes on, and nothing failed. */
	expect_clean(&b, 1);
	side_down(&a);
	side_down(&b);
	(void) close(log);
}

/* ---- what is pending in hardware ---- */

struct pending {
	struct side *side;
	uint64_t causes;	/* of an interrupt that the device raised, and the guest did not take */
	unsigned long host;	/* interrupts that the host handled until then */
	int in_hardware;
};

/* The device has stopped, vectors are still forwarded. On a thread of the session. */
static int look_at_pending(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct pending *pending = user;
	struct vf_backend *backend = machine_device(pending->side->m, 0)->backend;
	uint8_t causes[4];
	int r;

	(void) step;
	pending->in_hardware = lpis_in_hardware(pending->side);
	(void) sysfs_vfio_irq(pending->side->bdf, &pending->host);
	/* Not as a guest, which may not touch a device that is being saved. */
	r = backend->ops->region_read(backend, 0, EDU_CAUSES, causes, sizeof(causes), err);
	pending->causes = r < 0 ? 0 : vf_get_u32(causes);
	return r;
}

static const struct vferry_step_desc pending_steps[] = {
	{ .size = sizeof(struct vferry_step_desc), .step_class = VFERRY_SAVE_IRQ_FLUSH,
	  .name = "look", .run = look_at_pending },
};

/*
 * The guest's jobs follow each other without a pause, and most of their time is DMA, which ends while
 * the device is asked to stop: after the vCPUs. Its interrupt then is in hardware, where nobody can read
 * it (GICv4.0), and the job is not done for the guest until it comes. Now and then a move meets the
 * guest between two jobs: then there is one more.
 */
static void test_pending_in_hardware(void **state)
{
	struct pending pending = { 0 };
	struct order order = { 0 };
	struct side a, b;

	(void) state;
	for (unsigned i = 0; i < PENDING_TRIES && !pending.causes; i++) {
		struct vferry_component extra = {
			.size = sizeof(extra), .name = "pending/" ADDRESS, .device = ADDRESS,
			.user = &pending, .steps = pending_steps, .step_count = 1,
		};
		unsigned long before;

		side_up(&a, 0, false);
		pending.side = &a;
		wait_for_jobs(&a, 4);
		before = host_interrupts(&a);
		side_up(&b, 1, true);
		move(&a, &b, &extra, &extra, &order);	/* what saves does nothing at the other end */
		assert_int_equal(pending.in_hardware, 1);
		assert_int_equal(pending.host, before);
		print_message("pending when it stopped: %#llx\n", (unsigned long long) pending.causes);
		expect_forwarded(&b);
		expect_clean(&b, 1);
		side_down(&a);
		side_down(&b);
	}
	assert_true(pending.causes != 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_declared_order),
		cmocka_unit_test(test_undone),
		cmocka_unit_test(test_historical_order),
		cmocka_unit_test(test_pending_in_hardware),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
