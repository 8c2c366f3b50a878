/* SPDX-License-Identifier: MIT */
/*
 * test_device_accel.c - the device module over real vfio-user: accel devices served by threads of this
 * process, opened by URI, driven by a guest's driver, moved step by step, and used by several threads
 * at once.
 */
#include "test_device_steps.h"

#include <sched.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "accel.h"
#include "base/clock.h"
#include "devices/accel_server.h"
#include "ram/ram.h"
#include "session/irq_plan.h"

#define RING_AT 0x40000000ull
#define ENTRIES 64u
#define SOURCE_AT 0x40010000ull
#define TARGET_AT 0x40100000ull
#define BAR0_AT 0xc0000000u
#define BAR2_AT 0xd0000000u

/* ---- a device process, as a thread ---- */

struct server {
	struct accel_server *accel;
	pthread_t thread;
	int stop;
	char path[64];
};

struct world {
	char dir[32];
	struct server servers[4];
	unsigned int server_count;
};

static void *serve(void *arg)
{
	struct server *s = arg;

	(void) accel_server_run(s->accel, s->stop, false, NULL);
	return NULL;
}

static struct accel_server_options accel_defaults(void)
{
	return (struct accel_server_options) {
		.device = { .state_bytes = 1 << 20, .seed = 3, .overlay_bytes = 1 << 20,
			    .msix_vectors = 8 },
		.precopy = true, .p2p = true, .dma_log = true, .extensions = true,
	};
}

static const char *server_new(struct world *w, struct accel_server_options options)
{
	struct server *s = &w->servers[w->server_count++];
	char path[sizeof(s->path)];
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_script script;

	vf_script_init(&script);
	if (accel_server_new(&options, &script, &s->accel, &err))
		fail_msg("%s", err.message);
	(void) snprintf(path, sizeof(path), "vfio-user:%s/%u", w->dir, w->server_count);
	memcpy(s->path, path, sizeof(path));
	if (accel_server_listen(s->accel, s->path + strlen("vfio-user:"), &err))
		fail_msg("%s", err.message);
	s->stop = eventfd(0, EFD_CLOEXEC);
	if (pthread_create(&s->thread, NULL, serve, s))
		fail();
	return s->path;
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	(void) snprintf(w->dir, sizeof(w->dir), "/tmp/vferry-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	for (unsigned int i = 0; i < w->server_count; i++) {
		(void) eventfd_write(w->servers[i].stop, 1);
		pthread_join(w->servers[i].thread, NULL);
		accel_server_free(w->servers[i].accel);
		close(w->servers[i].stop);
	}
	assert_int_equal(rmdir(w->dir), 0);
	free(w);
	return 0;
}

/* ---- a machine with one ---- */

/* The controller: takes events of connected vectors on a thread of its own. */
struct controller {
	struct sink *sink;
	pthread_t thread;
	atomic_bool stop;
};

static void *control(void *arg)
{
	struct controller *c = arg;

	while (!c->stop) {
		sink_pump(c->sink);
		usleep(50);
	}
	return NULL;
}

struct board {
	struct machine m;	/* first */
	struct controller controller;
	uint32_t tail;
};

static struct board *board_new(const char *uri)
{
	struct board *b = calloc(1, sizeof(*b));
	struct vferry_device_options options;
	struct vferry_error err = VFERRY_ERROR_INIT;

	pthread_mutex_init(&b->m.notes.lock, NULL);
	machine_init_parts(&b->m);
	b->m.sink.quiet = true;
	options = machine_options(&b->m, "00:04.0");
	if (vferry_device_open(uri, &options, &b->m.device, &err) ||
	    vferry_device_attach_ram(b->m.device, b->m.ram, &err))
		fail_msg("%s: %s", err.id, err.message);
	b->controller.sink = &b->m.sink;
	if (pthread_create(&b->controller.thread, NULL, control, &b->controller))
		fail();
	return b;
}

static void board_free(struct board *b)
{
	b->controller.stop = true;
	pthread_join(b->controller.thread, NULL);
	vferry_device_close(b->m.device);
	assert_int_equal(b->m.sink.producers, 0);
	vferry_irq_plan_free(b->m.plan);
	vferry_ram_free(b->m.ram);
	free(b);
}

/* ---- its driver ---- */

static void driver_entry(struct machine *m, uint32_t vector, bool masked)
{
	uint64_t at = ACCEL_MSIX_TABLE + vector * 16;

	guest_bar(m, 0, at, 4, (uint32_t) DOORBELL);
	guest_bar(m, 0, at + 4, 4, 0);
	guest_bar(m, 0, at + 8, 4, 0x4000 + vector);
	guest_bar(m, 0, at + 12, 4, masked);
}

static void driver_mask(struct machine *m, uint32_t vector, bool masked)
{
	guest_bar(m, 0, ACCEL_MSIX_TABLE + vector * 16 + 12, 4, masked);
}

static void driver_start(struct board *b)
{
	struct machine *m = &b->m;

	guest_config(m, VF_PCI_BAR0, 4, BAR0_AT);
	guest_config(m, VF_PCI_BAR0 + 8, 4, BAR2_AT);
	guest_config(m, VF_PCI_BAR0 + 12, 4, 0);
	guest_config(m, VF_PCI_COMMAND, 2, VF_PCI_COMMAND_MEM | VF_PCI_COMMAND_BUS_MASTER |
		     VF_PCI_COMMAND_INTX_DISABLE);
	guest_config(m, ACCEL_CAP_MSIX + 2, 2, VF_PCI_MSIX_CONTROL_ENABLE |
		     VF_PCI_MSIX_CONTROL_MASK);
	for (uint32_t i = 0; i < 4; i++)
		driver_entry(m, i, false);
	guest_config(m, ACCEL_CAP_MSIX + 2, 2, VF_PCI_MSIX_CONTROL_ENABLE);
	guest_bar(m, 0, ACCEL_REG_RING_BASE, 8, RING_AT);
	guest_bar(m, 0, ACCEL_REG_RING_ENTRIES, 4, ENTRIES);
	guest_bar(m, 0, ACCEL_REG_CTRL, 4, ACCEL_CTRL_ENABLE);
	assert_int_equal(guest_bar_value(m, 0, ACCEL_REG_CTRL, 4), ACCEL_CTRL_ENABLE);
	b->tail = 0;
}

static uint64_t job_at(uint32_t index)
{
	return RING_AT + (uint64_t) index * sizeof(struct accel_descriptor);
}

static uint32_t driver_submit(struct board *b, struct accel_descriptor job)
{
	uint32_t index = b->tail;

	assert_int_equal(vferry_ram_write(b->m.ram, job_at(index), &job, sizeof(job)), 0);
	b->tail = (index + 1) % ENTRIES;
	guest_bar(&b->m, 0, ACCEL_REG_RING_TAIL, 4, b->tail);
	return index;
}

static uint32_t driver_wait(struct board *b, uint32_t index)
{
	struct accel_descriptor *job = vferry_ram_host(b->m.ram, job_at(index), sizeof(*job));
	uint64_t deadline = vf_now_ns() + 20 * VF_SECOND_NS;
	uint32_t status;

	while ((status = __atomic_load_n(&job->status, __ATOMIC_ACQUIRE)) == ACCEL_JOB_PENDING) {
		if (vf_now_ns() > deadline)
			fail_msg("job %u is not done", index);
		usleep(100);
	}
	return status;
}

static struct accel_descriptor fill_job(uint64_t dst, uint64_t seed, uint16_t vector)
{
	return (struct accel_descriptor) {
		.opcode = ACCEL_OP_FILL, .flags = ACCEL_FLAG_IRQ, .vector = vector,
		.dst = dst, .length = 4096, .seed = seed,
	};
}

static void check_filled(struct board *b, uint64_t gpa, uint64_t seed)
{
	const uint64_t *words = vferry_ram_host(b->m.ram, gpa, 4096);

	for (uint64_t i = 0; i < 512; i++)
		assert_int_equal(words[i], accel_pattern(seed, i));
}

static void wait_delivered(struct board *b, unsigned int gsi, unsigned int count)
{
	uint64_t deadline = vf_now_ns() + 20 * VF_SECOND_NS;

	while (sink_delivered(&b->m.sink, gsi) < count) {
		if (vf_now_ns() > deadline)
			fail_msg("vector %u came %u of %u times", gsi,
				 sink_delivered(&b->m.sink, gsi), count);
		usleep(100);
	}
}

/* ---- the mover: what a session does ---- */

struct mover {
	struct board *from, *to;
	struct sections wire;
	uint32_t generation;
	uint64_t bytes;
};

static void copy_ram(struct mover *v, bool dirty_only)
{
	for (size_t b = 0; b < vferry_ram_block_count(v->from->m.ram); b++) {
		const struct vferry_ram_block *from = vferry_ram_get_block(v->from->m.ram, b);
		const struct vferry_ram_block *to = vferry_ram_get_block(v->to->m.ram, b);
		uint64_t pages = vf_ram_block_pages(from);

		for (uint64_t w = 0; w < pages / 64; w++) {
			uint64_t bits = vf_ram_take_dirty(v->from->m.ram, b, w);

			for (unsigned int i = 0; i < 64; i++)
				if (!dirty_only || (bits >> i & 1))
					memcpy(vf_ram_page(to, w * 64 + i),
					       vf_ram_page(from, w * 64 + i), 4096);
		}
	}
}

/* One piece of the stream. False: nothing now, or the end. */
static bool pump(struct mover *v)
{
	static uint8_t buffer[65536];
	struct vferry_device *from = v->from->m.device, *to = v->to->m.device;
	struct vferry_error err = VFERRY_ERROR_INIT;
	int64_t n = stream_of(&v->from->m)->read(from, buffer, sizeof(buffer), &err);
	uint32_t generation = stream_of(&v->from->m)->generation(from);

	if (n < 0)
		fail_msg("%s: %s", err.id, err.message);
	if (generation != v->generation) {
		v->generation = generation;
		if (stream_of(&v->to->m)->restart(to, &err))
			fail_msg("%s: %s", err.id, err.message);
	}
	v->bytes += (uint64_t) n;
	if (n > 0 && stream_of(&v->to->m)->write(to, buffer, (size_t) n, &err))
		fail_msg("%s: %s", err.id, err.message);
	return n > 0;
}

static void begin_move(struct mover *v)
{
	assert_int_equal(vf_device_session_begin(v->from->m.device, VF_DEVICE_SOURCE, NULL), 0);
	assert_int_equal(vf_device_session_begin(v->to->m.device, VF_DEVICE_DESTINATION, NULL), 0);
	assert_int_equal(vf_ram_tracking_start(v->from->m.ram, NULL), 0);
	assert_true(stream_of(&v->from->m)->precopy_start(v->from->m.device, NULL) >= 0);
	v->generation = stream_of(&v->from->m)->generation(v->from->m.device);
	run_ok(&v->from->m, VFERRY_SAVE_CONFIG_EARLY, &v->wire);
	run_ok(&v->to->m, VFERRY_LOAD_DEVICE_RESUMING, NULL);
	run_ok(&v->to->m, VFERRY_LOAD_CONFIG_STAGE, &v->wire);
	run_ok(&v->to->m, VFERRY_LOAD_VECTOR_ALLOC, NULL);
	copy_ram(v, false);
}

static void stop_source(struct mover *v)
{
	run_ok(&v->from->m, VFERRY_SAVE_DEVICE_P2P, NULL);
	run_ok(&v->from->m, VFERRY_SAVE_DEVICE_STOP, NULL);
	while (pump(v))
		;
	run_ok(&v->from->m, VFERRY_SAVE_CONFIG, &v->wire);
	run_ok(&v->from->m, VFERRY_SAVE_IRQ_FLUSH, NULL);
	run_ok(&v->from->m, VFERRY_SAVE_DEVICE_DIRTY, NULL);
}

static void finish_move(struct mover *v)
{
	struct vf_ram_collected collected;
	struct vferry_component irq;

	assert_int_equal(vf_ram_collect(v->from->m.ram, &collected), 0);
	copy_ram(v, true);
	run_ok(&v->to->m, VFERRY_LOAD_CONFIG_RESTAGE, &v->wire);
	run_ok(&v->to->m, VFERRY_LOAD_DEVICE_VALIDATE, NULL);
	assert_int_equal(vf_irq_plan_component(v->to->m.plan, &irq), 0);
	assert_int_equal(irq.steps[0].run(irq.user, NULL, NULL), 0);
	run_ok(&v->to->m, VFERRY_LOAD_IRQ_CONNECT, NULL);
	run_ok(&v->to->m, VFERRY_LOAD_CONFIG_ARM, NULL);
	run_ok(&v->to->m, VFERRY_LOAD_DEVICE_RUN_P2P, NULL);
	run_ok(&v->to->m, VFERRY_LOAD_DEVICE_RUN, NULL);
	vf_ram_tracking_stop(v->from->m.ram);
	vf_device_finish_source(v->from->m.device);
	vf_device_session_end(v->from->m.device);
	vf_device_session_end(v->to->m.device);
	v->to->tail = v->from->tail;
	sections_free(&v->wire);
}

/* ---- tests ---- */

static void move_with_options(struct world *w, struct accel_server_options options)
{
	struct mover v = { .from = board_new(server_new(w, options)),
			   .to = board_new(server_new(w, options)) };
	uint32_t job, pending_job;

	driver_start(v.from);
	job = driver_submit(v.from, fill_job(TARGET_AT, 5, 0));
	assert_int_equal(driver_wait(v.from, job), ACCEL_JOB_OK);
	wait_delivered(v.from, 0, 1);
	begin_move(&v);
	/* It works on while it is copied: jobs land after the first pass over RAM. */
	for (uint64_t i = 1; i < 6; i++) {
		job = driver_submit(v.from, fill_job(TARGET_AT + i * 4096, 5 + i, 1));
		(void) pump(&v);
		assert_int_equal(driver_wait(v.from, job), ACCEL_JOB_OK);
	}
	driver_mask(&v.from->m, 2, true);
	pending_job = driver_submit(v.from, fill_job(TARGET_AT + 6 * 4096, 11, 2));
	assert_int_equal(driver_wait(v.from, pending_job), ACCEL_JOB_OK);
	/* One under way at the stop: the other device finishes it. */
	job = driver_submit(v.from, (struct accel_descriptor) {
		.opcode = ACCEL_OP_FILL, .flags = ACCEL_FLAG_IRQ, .vector = 3, .delay_us = 300000,
		.dst = TARGET_AT + 7 * 4096, .length = 4096, .seed = 12 });
	stop_source(&v);
	finish_move(&v);
	assert_int_equal(driver_wait(v.to, job), ACCEL_JOB_OK);
	for (uint64_t i = 0; i < 8; i++)
		check_filled(v.to, TARGET_AT + i * 4096, 5 + i);
	wait_delivered(v.to, 3, 1);
	assert_int_equal(sink_delivered(&v.to->m.sink, 2), 0);
	assert_int_equal(guest_bar_value(&v.to->m, 0, ACCEL_MSIX_PBA, 8), 4);
	driver_mask(&v.to->m, 2, false);
	wait_delivered(v.to, 2, 1);
	job = driver_submit(v.to, fill_job(TARGET_AT, 99, 0));
	assert_int_equal(driver_wait(v.to, job), ACCEL_JOB_OK);
	check_filled(v.to, TARGET_AT, 99);
	wait_delivered(v.to, 0, 1);
	assert_true(v.bytes > 0);
	board_free(v.from);
	board_free(v.to);
}

static void a_working_device_moves(void **state)
{
	move_with_options(*state, accel_defaults());
}

static void a_foreign_server_moves_too(void **state)
{
	struct accel_server_options options = accel_defaults();

	options.extensions = false;
	move_with_options(*state, options);
}

static void a_server_that_only_stops_and_copies(void **state)
{
	struct accel_server_options options = accel_defaults();

	options.precopy = options.p2p = options.dma_log = false;
	move_with_options(*state, options);
}

static void undone_it_works_on_and_moves_later(void **state)
{
	struct world *w = *state;
	struct mover v = { .from = board_new(server_new(w, accel_defaults())),
			   .to = board_new(server_new(w, accel_defaults())) };
	uint32_t job;

	driver_start(v.from);
	for (int round = 0; round < 2; round++) {
		begin_move(&v);
		while (pump(&v))
			;
		job = driver_submit(v.from, (struct accel_descriptor) {
			.opcode = ACCEL_OP_FILL, .flags = ACCEL_FLAG_IRQ, .delay_us = 100000,
			.dst = TARGET_AT, .length = 4096, .seed = 77 + (uint64_t) round });
		stop_source(&v);
		assert_int_equal(vf_device_abort_load(v.to->m.device, NULL), 0);
		assert_int_equal(undo_all(&v.from->m, NULL), 0);
		vf_ram_tracking_stop(v.from->m.ram);
		vf_device_session_end(v.from->m.device);
		vf_device_session_end(v.to->m.device);
		assert_int_equal(driver_wait(v.from, job), ACCEL_JOB_OK);
		check_filled(v.from, TARGET_AT, 77 + (uint64_t) round);
		wait_delivered(v.from, 0, (unsigned int) round + 1);
	}
	begin_move(&v);
	stop_source(&v);
	finish_move(&v);
	job = driver_submit(v.to, fill_job(TARGET_AT, 1, 0));
	assert_int_equal(driver_wait(v.to, job), ACCEL_JOB_OK);
	board_free(v.from);
	board_free(v.to);
}

static void a_reset_during_precopy_is_survived(void **state)
{
	struct world *w = *state;
	struct mover v = { .from = board_new(server_new(w, accel_defaults())),
			   .to = board_new(server_new(w, accel_defaults())) };
	uint32_t first, job;

	driver_start(v.from);
	begin_move(&v);
	first = v.generation;
	for (int i = 0; i < 3; i++)
		(void) pump(&v);
	guest_config(&v.from->m, ACCEL_CAP_PCIE + VF_PCI_PCIE_DEVCTL, 2, VF_PCI_PCIE_DEVCTL_FLR);
	(void) pump(&v);
	assert_int_equal(v.generation, first + 1);
	while (pump(&v))
		;
	driver_start(v.from);
	job = driver_submit(v.from, fill_job(TARGET_AT, 8, 0));
	assert_int_equal(driver_wait(v.from, job), ACCEL_JOB_OK);
	stop_source(&v);
	finish_move(&v);
	check_filled(v.to, TARGET_AT, 8);
	job = driver_submit(v.to, fill_job(TARGET_AT, 9, 1));
	assert_int_equal(driver_wait(v.to, job), ACCEL_JOB_OK);
	wait_delivered(v.to, 1, 1);
	board_free(v.from);
	board_free(v.to);
}

static void peers_write_into_bars_where_they_are(void **state)
{
	struct world *w = *state;
	struct board *a = board_new(server_new(w, accel_defaults()));
	struct board *b = board_new(server_new(w, accel_defaults()));
	struct accel_descriptor job = { .opcode = ACCEL_OP_COPY_PEER, .src = SOURCE_AT,
					.dst = BAR2_AT + 0x1000, .length = 64 };
	struct vferry_error err = VFERRY_ERROR_INIT;
	uint64_t value = 0x1122334455667788;

	if (vferry_device_add_peer(a->m.device, b->m.device, &err))
		fail_msg("%s", err.message);
	driver_start(a);
	driver_start(b);
	assert_int_equal(vferry_ram_write(a->m.ram, SOURCE_AT, &value, 8), 0);
	assert_int_equal(driver_wait(a, driver_submit(a, job)), ACCEL_JOB_OK);
	assert_int_equal(guest_bar_value(&b->m, 2, 0x1000, 8), value);
	guest_config(&b->m, VF_PCI_BAR0 + 8, 4, 0xe0000000);
	assert_int_equal(driver_wait(a, driver_submit(a, job)), ACCEL_JOB_BAD_ADDRESS);
	job.dst = 0xe0002000;
	assert_int_equal(driver_wait(a, driver_submit(a, job)), ACCEL_JOB_OK);
	assert_int_equal(guest_bar_value(&b->m, 2, 0x2000, 8), value);
	board_free(b);
	assert_int_equal(driver_wait(a, driver_submit(a, job)), ACCEL_JOB_BAD_ADDRESS);
	board_free(a);
}

/* ---- many threads ---- */

struct vcpu {
	struct board *b;
	pthread_t thread;
	atomic_bool *stop;
	unsigned int work;
	unsigned int rounds;
};

static void vcpu_masks(struct vcpu *c)
{
	uint64_t value;

	driver_mask(&c->b->m, 3, c->rounds & 1);
	(void) vferry_device_bar_read(c->b->m.device, 0, ACCEL_MSIX_PBA, 8, &value, NULL);
	(void) vferry_device_bar_read(c->b->m.device, 0, ACCEL_MSIX_TABLE + 0x30, 8, &value, NULL);
}

static void vcpu_config(struct vcpu *c)
{
	struct vferry_device_info info;

	(void) vferry_device_config_read(c->b->m.device, VF_PCI_STATUS, 2);
	guest_config(&c->b->m, VF_PCI_BAR0 + 8, 4, c->rounds & 1 ? BAR2_AT : 0xe0000000);
	vferry_device_get_info(c->b->m.device, &info);
}

static void vcpu_jobs(struct vcpu *c)
{
	uint32_t job = driver_submit(c->b, fill_job(TARGET_AT, c->rounds, 3));

	assert_int_equal(driver_wait(c->b, job), ACCEL_JOB_OK);
}

static void vcpu_resets(struct vcpu *c)
{
	guest_config(&c->b->m, ACCEL_CAP_PCIE + VF_PCI_PCIE_DEVCTL, 2, VF_PCI_PCIE_DEVCTL_FLR);
	driver_start(c->b);
	usleep(2000);
}

static void *vcpu_run(void *arg)
{
	static void (*const works[])(struct vcpu *c) = { vcpu_masks, vcpu_config, vcpu_jobs,
							 vcpu_resets };
	struct vcpu *c = arg;

	for (; !*c->stop || c->rounds < 4; c->rounds++)
		works[c->work](c);
	return NULL;
}

static void vcpus_start(struct vcpu *vcpus, unsigned int count, struct board *b, atomic_bool *stop,
			unsigned int first_work)
{
	for (unsigned int i = 0; i < count; i++) {
		vcpus[i] = (struct vcpu) { .b = b, .stop = stop, .work = first_work + i };
		if (pthread_create(&vcpus[i].thread, NULL, vcpu_run, &vcpus[i]))
			fail();
	}
}

static void vcpus_stop(struct vcpu *vcpus, unsigned int count, atomic_bool *stop)
{
	*stop = true;
	for (unsigned int i = 0; i < count; i++)
		pthread_join(vcpus[i].thread, NULL);
}

static void vcpus_work_while_it_is_moved(void **state)
{
	struct world *w = *state;
	struct mover v = { .from = board_new(server_new(w, accel_defaults())),
			   .to = board_new(server_new(w, accel_defaults())) };
	uint64_t until = vf_now_ns() + 300 * VF_MS_NS;
	struct vferry_device_info info;
	atomic_bool stop = false;
	struct vcpu vcpus[3];
	uint32_t job;

	driver_start(v.from);
	vcpus_start(vcpus, 3, v.from, &stop, 0);
	begin_move(&v);
	while (vf_now_ns() < until) {
		struct vf_ram_collected collected;

		if (!pump(&v))
			usleep(200);
		assert_int_equal(vf_ram_collect(v.from->m.ram, &collected), 0);
		assert_int_equal(collected.failed_sources, 0);
	}
	vcpus_stop(vcpus, 3, &stop);
	driver_mask(&v.from->m, 3, false);
	copy_ram(&v, false);
	stop_source(&v);
	finish_move(&v);
	vferry_device_get_info(v.to->m.device, &info);
	assert_int_equal(info.bar_gpa[2], vcpus[1].rounds & 1 ? 0xe0000000 : BAR2_AT);
	check_filled(v.to, TARGET_AT, vcpus[2].rounds - 1);
	job = driver_submit(v.to, fill_job(TARGET_AT, 4242, 3));
	assert_int_equal(driver_wait(v.to, job), ACCEL_JOB_OK);
	check_filled(v.to, TARGET_AT, 4242);
	board_free(v.from);
	board_free(v.to);
}

static void resets_race_with_the_stream(void **state)
{
	struct world *w = *state;
	struct mover v = { .from = board_new(server_new(w, accel_defaults())),
			   .to = board_new(server_new(w, accel_defaults())) };
	uint64_t until = vf_now_ns() + 300 * VF_MS_NS;
	atomic_bool stop = false;
	struct vcpu vcpus[1];
	uint32_t first, job;

	driver_start(v.from);
	begin_move(&v);
	first = v.generation;
	vcpus_start(vcpus, 1, v.from, &stop, 3);
	while (vf_now_ns() < until)
		(void) pump(&v);
	vcpus_stop(vcpus, 1, &stop);
	stop_source(&v);
	assert_int_equal(v.generation, first + vcpus[0].rounds);
	copy_ram(&v, false);
	finish_move(&v);
	job = driver_submit(v.to, fill_job(TARGET_AT, 4242, 3));
	assert_int_equal(driver_wait(v.to, job), ACCEL_JOB_OK);
	wait_delivered(v.to, 3, 1);
	board_free(v.from);
	board_free(v.to);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_working_device_moves),
		TEST(a_foreign_server_moves_too),
		TEST(a_server_that_only_stops_and_copies),
		TEST(undone_it_works_on_and_moves_later),
		TEST(a_reset_during_precopy_is_survived),
		TEST(peers_write_into_bars_where_they_are),
		TEST(vcpus_work_while_it_is_moved),
		TEST(resets_race_with_the_stream),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
