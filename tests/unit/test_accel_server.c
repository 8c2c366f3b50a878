/* SPDX-License-Identifier: MIT */
/*
 * test_accel_server.c - the accel device through the vfio-user client: jobs, interrupts, migration
 * and peers as a VMM sees them, with the device's threads running.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "devices/accel_pattern.h"
#include "devices/accel_server.h"
#include "vfio-user/client.h"
#include "vfio-user/protocol.h"

#define RAM_AT 0x40000000ull
#define RAM_BYTES (4u << 20)
#define ENTRIES 64u
#define DATA_AT (RAM_AT + 0x100000)
#define PEER_AT 0x80000000ull
#define BAR0 VF_VFIO_PCI_BAR0_REGION
#define BAR2 (VF_VFIO_PCI_BAR0_REGION + 2)
#define CONFIG VF_VFIO_PCI_CONFIG_REGION

/* RAM of a machine that has the devices under test. */
struct ram {
	int fd;
	uint8_t *map;
};

struct side {
	struct accel_server *server;
	struct vf_vfio_user_client *client;
	pthread_t thread;
	int stop;
	int run_result;
	struct ram *ram;
	uint64_t ring_at;
	uint32_t tail;
	char note[256];
};

static void take_note(void *user, const char *text)
{
	struct side *s = user;

	snprintf(s->note, sizeof(s->note), "%s", text);
}

static void *serve(void *arg)
{
	struct side *s = arg;

	s->run_result = accel_server_run(s->server, s->stop, false, NULL);
	return NULL;
}

static struct accel_server_options defaults(void)
{
	return (struct accel_server_options) {
		.device = { .state_bytes = 4 << 20, .seed = 11, .overlay_bytes = 1 << 20,
			    .msix_vectors = 16 },
		.precopy = true, .p2p = true, .dma_log = true, .extensions = true,
		.note = take_note,
	};
}

static struct vf_vfio_user_client *join(struct side *s, uint32_t timeout_ms)
{
	struct vf_vfio_user_client_options o = { .size = sizeof(o), .timeout_ms = timeout_ms };
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_vfio_user_client *client;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(accel_server_attach(s->server, pair[0], &err), 0);
	if (pthread_create(&s->thread, NULL, serve, s))
		fail();
	if (vf_vfio_user_client_attach(pair[1], "test", &o, &client, &err))
		fail_msg("%s", err.message);
	return client;
}

static void side_new(struct side *s, struct accel_server_options o, const char *script_text,
		     uint32_t timeout_ms)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_script script;

	memset(s, 0, sizeof(*s));
	vf_script_init(&script);
	if (script_text && vf_script_parse(&script, script_text, strlen(script_text), "script", &err))
		fail_msg("%s", err.message);
	o.user = s;
	if (accel_server_new(&o, &script, &s->server, &err))
		fail_msg("%s", err.message);
	s->stop = eventfd(0, EFD_CLOEXEC);
	assert_true(s->stop >= 0);
	s->client = join(s, timeout_ms);
}

/* Ends the dispatch thread; the server's state may be looked at afterwards. */
static void side_stop(struct side *s)
{
	eventfd_t count;

	(void) eventfd_write(s->stop, 1);
	(void) pthread_join(s->thread, NULL);
	(void) eventfd_read(s->stop, &count);
}

static void side_free(struct side *s)
{
	side_stop(s);
	vf_vfio_user_client_free(s->client);
	accel_server_free(s->server);
	close(s->stop);
}

static void ram_new(struct ram *ram)
{
	ram->fd = memfd_create("ram", MFD_CLOEXEC);
	assert_true(ram->fd >= 0);
	assert_int_equal(ftruncate(ram->fd, RAM_BYTES), 0);
	ram->map = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, ram->fd, 0);
	assert_ptr_not_equal(ram->map, MAP_FAILED);
}

static void ram_free(struct ram *ram)
{
	munmap(ram->map, RAM_BYTES);
	close(ram->fd);
}

static uint8_t *at(struct side *s, uint64_t iova)
{
	return s->ram->map + (iova - RAM_AT);
}

/* --- register access --- */

static void write_to(struct side *s, uint32_t region, uint64_t offset, uint64_t value, size_t len)
{
	uint8_t le[8];

	vf_put_u64(le, value);
	assert_int_equal(vf_vfio_user_client_region_write(s->client, region, offset, le, len, NULL),
			 0);
}

static uint64_t read_from(struct side *s, uint32_t region, uint64_t offset, size_t len)
{
	uint8_t le[8] = { 0 };

	assert_int_equal(vf_vfio_user_client_region_read(s->client, region, offset, le, len, NULL),
			 0);
	return vf_get_u64(le);
}

/* Maps RAM and lets the device be a bus master. */
static void plug(struct side *s, struct ram *ram, uint64_t ring_at)
{
	s->ram = ram;
	s->ring_at = ring_at;
	assert_int_equal(vf_vfio_user_client_dma_map(s->client, RAM_AT, RAM_BYTES, true, ram->fd, 0,
						     NULL), 0);
	write_to(s, CONFIG, 4, 6, 2);
}

static void enable(struct side *s)
{
	write_to(s, BAR0, ACCEL_REG_RING_BASE, s->ring_at, 8);
	write_to(s, BAR0, ACCEL_REG_RING_ENTRIES, ENTRIES, 4);
	write_to(s, BAR0, ACCEL_REG_CTRL, ACCEL_CTRL_ENABLE, 4);
	assert_int_equal(read_from(s, BAR0, ACCEL_REG_CTRL, 4), ACCEL_CTRL_ENABLE);
	s->tail = 0;
}

static struct accel_descriptor *submit(struct side *s, struct accel_descriptor d)
{
	struct accel_descriptor *slot = (struct accel_descriptor *) (void *) at(s, s->ring_at);

	slot += s->tail;
	*slot = d;
	s->tail = (s->tail + 1) % ENTRIES;
	write_to(s, BAR0, ACCEL_REG_RING_TAIL, s->tail, 4);
	return slot;
}

/* Waits until the device has written a status. */
static uint32_t await_job(struct accel_descriptor *slot)
{
	uint64_t deadline = vf_now_ns() + 20 * VF_SECOND_NS;
	uint32_t status;

	while (!(status = __atomic_load_n(&slot->status, __ATOMIC_ACQUIRE))) {
		assert_true(vf_now_ns() < deadline);
		usleep(100);
	}
	return status;
}

static int events(int fd, int wait_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	eventfd_t count;

	if (poll(&p, 1, wait_ms) != 1)
		return 0;
	return eventfd_read(fd, &count) ? -1 : (int) count;
}

static enum vf_vfio_state state_of(struct side *s)
{
	enum vf_vfio_state state;

	assert_int_equal(vf_vfio_user_client_get_state(s->client, &state, NULL), 0);
	return state;
}

static void go(struct side *s, enum vf_vfio_state state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (vf_vfio_user_client_set_state(s->client, state, &err))
		fail_msg("to state %d: %s", state, err.message);
}

/* Moves what there is now. Return: bytes. */
static uint64_t move_data(struct side *from, struct side *to)
{
	uint8_t *chunk = malloc(300000);
	uint64_t total = 0;
	ssize_t got;

	assert_non_null(chunk);
	while ((got = vf_vfio_user_client_mig_data_read(from->client, chunk, 300000, NULL)) > 0) {
		assert_int_equal(vf_vfio_user_client_mig_data_write(to->client, chunk, (size_t) got,
								    NULL), 0);
		total += (uint64_t) got;
	}
	assert_int_equal(got, 0);
	free(chunk);
	return total;
}

/* --- tests --- */

static void test_job_and_msix(void **state)
{
	struct side s;
	struct ram ram;
	struct accel_descriptor *slot;
	int fds[16];

	(void) state;
	side_new(&s, defaults(), NULL, 5000);
	ram_new(&ram);
	plug(&s, &ram, RAM_AT);
	for (int i = 0; i < 16; i++)
		fds[i] = i == 3 || i == 9 ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
	assert_int_equal(vf_vfio_user_client_set_irqs(s.client, VF_VFIO_PCI_MSIX_IRQ,
						      VF_VFIO_IRQ_SET_ACTION_TRIGGER, 0, 16, fds,
						      NULL), 0);
	enable(&s);
	accel_pattern_fill(at(&s, DATA_AT), 300000, 5, 0);
	slot = submit(&s, (struct accel_descriptor) { .opcode = ACCEL_OP_COPY, .src = DATA_AT,
			.dst = DATA_AT + 0x100000, .length = 300000, .flags = ACCEL_FLAG_IRQ,
			.vector = 3, .cookie = 42 });
	assert_int_equal(events(fds[3], 20000), 1);
	assert_int_equal(slot->status, ACCEL_JOB_OK);	/* before the interrupt */
	assert_int_equal(slot->cookie_echo, 42);
	assert_true(accel_pattern_equal(at(&s, DATA_AT + 0x100000), 300000, 5, 0));
	assert_int_equal(read_from(&s, BAR0, ACCEL_REG_RING_HEAD, 4), 1);
	/* A vector that nobody listens to. */
	slot = submit(&s, (struct accel_descriptor) { .flags = ACCEL_FLAG_IRQ, .vector = 4 });
	assert_int_equal(await_job(slot), ACCEL_JOB_OK);
	assert_int_equal(events(fds[9], 0) + events(fds[3], 0), 0);
	close(fds[3]);
	close(fds[9]);
	side_free(&s);
	ram_free(&ram);
}

static void test_intx_line(void **state)
{
	struct side s;
	struct ram ram;
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	(void) state;
	side_new(&s, defaults(), NULL, 5000);
	ram_new(&ram);
	plug(&s, &ram, RAM_AT);
	enable(&s);
	/* Asserted before there is a receiver: it hears of it when it comes. */
	(void) await_job(submit(&s, (struct accel_descriptor) { .flags = 1, .vector = 2 }));
	assert_int_equal(vf_vfio_user_client_set_irqs(s.client, VF_VFIO_PCI_INTX_IRQ,
						      VF_VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1, &fd,
						      NULL), 0);
	assert_int_equal(events(fd, 5000), 1);
	/* Masked since: one more cause is silent, the unmask says it is still up. */
	(void) await_job(submit(&s, (struct accel_descriptor) { .flags = 1, .vector = 3 }));
	assert_int_equal(events(fd, 20), 0);
	assert_int_equal(vf_vfio_user_client_set_irqs(s.client, VF_VFIO_PCI_INTX_IRQ,
						      VF_VFIO_IRQ_SET_ACTION_UNMASK, 0, 1, NULL,
						      NULL), 0);
	assert_int_equal(events(fd, 5000), 1);
	assert_int_equal(read_from(&s, BAR0, ACCEL_REG_IRQ_STATUS, 4), 0xc);
	write_to(&s, BAR0, ACCEL_REG_IRQ_STATUS, 0xc, 4);
	assert_int_equal(vf_vfio_user_client_set_irqs(s.client, VF_VFIO_PCI_INTX_IRQ,
						      VF_VFIO_IRQ_SET_ACTION_UNMASK, 0, 1, NULL,
						      NULL), 0);
	assert_int_equal(events(fd, 20), 0);
	close(fd);
	side_free(&s);
	ram_free(&ram);
}

/* All through a migration: a long job, memory that changes, the window, and the DMA log. */
static void test_migration(void **state)
{
	struct accel_server_options o = defaults(), other = defaults();
	struct accel_descriptor *slow, *behind;
	struct vf_vfio_precopy_info info;
	struct side a, b;
	struct ram ram;
	uint64_t words[RAM_BYTES / 4096 / 64] = { 0 }, page, bytes, flags;

	(void) state;
	o.device.dirty_rate = 8 << 20;
	other.device.seed = 99;
	side_new(&a, o, NULL, 5000);
	side_new(&b, other, NULL, 5000);
	ram_new(&ram);
	plug(&a, &ram, RAM_AT);
	enable(&a);
	assert_int_equal(vf_vfio_user_client_get_migration(a.client, &flags, NULL), 0);
	assert_int_equal(flags, VF_VFIO_MIGRATION_STOP_COPY | VF_VFIO_MIGRATION_P2P |
				VF_VFIO_MIGRATION_PRE_COPY);
	memset(at(&a, DATA_AT), 0x5a, 100000);
	assert_int_equal(await_job(submit(&a, (struct accel_descriptor) { .opcode = ACCEL_OP_STORE,
			.src = DATA_AT, .dst = 123456, .length = 100000 })), ACCEL_JOB_OK);
	write_to(&a, BAR0, ACCEL_REG_SCRATCH, 0xabcdef0123, 8);
	write_to(&a, BAR2, 4096, 0x77, 1);

	assert_int_equal(vf_vfio_user_client_dma_log_start(a.client, 4096, NULL, 0, &page, NULL), 0);
	assert_int_equal(page, 4096);
	go(&b, VF_VFIO_STATE_RESUMING);
	go(&a, VF_VFIO_STATE_PRE_COPY);
	assert_int_equal(vf_vfio_user_client_get_precopy_info(a.client, &info, NULL), 0);
	assert_true(info.initial_bytes > o.device.state_bytes);
	assert_true(move_data(&a, &b) > o.device.state_bytes);
	usleep(50000);
	assert_int_equal(vf_vfio_user_client_get_precopy_info(a.client, &info, NULL), 0);
	assert_int_equal(info.initial_bytes, 0);
	assert_true(info.dirty_bytes > 0);
	slow = submit(&a, (struct accel_descriptor) { .opcode = ACCEL_OP_FILL, .seed = 3,
			.dst = DATA_AT + 0x100000, .length = 70000, .delay_us = 60000 });
	behind = submit(&a, (struct accel_descriptor) { .opcode = ACCEL_OP_LOAD, .src = 123456,
			.dst = DATA_AT, .length = 100000, .cookie = 6 });
	usleep(10000);
	go(&a, VF_VFIO_STATE_PRE_COPY_P2P);
	go(&a, VF_VFIO_STATE_STOP_COPY);
	assert_int_equal(slow->status, ACCEL_JOB_PENDING);
	assert_int_equal(vf_vfio_user_client_get_data_size(a.client, &bytes, NULL), 0);
	assert_int_equal(move_data(&a, &b), bytes);
	assert_int_equal(vf_vfio_user_client_dma_log_report(a.client, RAM_AT, RAM_BYTES, 4096, words,
							    NULL), 0);
	bytes = (DATA_AT + 0x100000 - RAM_AT) / 4096;
	assert_true(words[bytes / 64] >> bytes % 64 & 1);	/* the fill has been done, not ended */
	bytes = (DATA_AT - RAM_AT) / 4096;
	assert_false(words[bytes / 64] >> bytes % 64 & 1);
	usleep(80000);
	assert_int_equal(slow->status, ACCEL_JOB_PENDING);
	go(&b, VF_VFIO_STATE_STOP);

	/* The destination's VMM: RAM (here the same), config space, run. */
	memset(at(&a, DATA_AT), 0, 100000);
	plug(&b, &ram, RAM_AT);
	assert_int_equal(read_from(&b, BAR0, ACCEL_REG_SCRATCH, 8), 0xabcdef0123);
	assert_int_equal(read_from(&b, BAR0, ACCEL_REG_SEED, 8), 11);
	assert_int_equal(read_from(&b, BAR2, 4096, 1), 0x77);
	assert_int_equal(slow->status, ACCEL_JOB_PENDING);
	go(&b, VF_VFIO_STATE_RUNNING);
	assert_int_equal(await_job(slow), ACCEL_JOB_OK);
	assert_int_equal(await_job(behind), ACCEL_JOB_OK);
	assert_int_equal(behind->cookie_echo, 6);
	for (int i = 0; i < 100000; i++)
		assert_int_equal(at(&a, DATA_AT)[i], 0x5a);
	assert_int_equal(read_from(&b, BAR0, ACCEL_REG_JOBS_DONE, 8), 3);
	side_free(&a);
	side_free(&b);
	ram_free(&ram);
}

/* The source goes on after a cancelled migration, and can migrate at once again. */
#define TAIL_AT (RAM_AT + RAM_BYTES - 4096)

static struct vf_vfio_user_ioeventfd doorbell_of(struct side *s)
{
	struct vf_vfio_user_ioeventfd list[VF_VFIO_USER_MAX_IO_FDS];
	uint32_t count = 0;

	assert_int_equal(vf_vfio_user_client_get_ioeventfds(s->client, BAR0, ACCEL_BAR0_BYTES, list,
							    &count, NULL), 0);
	assert_int_equal(count, 1);
	assert_int_equal(list[0].offset, ACCEL_REG_DOORBELL);
	assert_int_equal(list[0].size, 4);
	assert_false(list[0].matches);
	return list[0];
}

/*
 * A driver rings by eventfd, and its device is moved there and back again, each time right behind a
 * ring: every job is done once, and every ring is counted once. One that comes when the device has
 * stopped waits until it runs.
 */
static void test_doorbell_moves_along(void **state)
{
	struct side sides[2];
	struct vf_vfio_user_ioeventfd bell[2];
	struct accel_descriptor *slots[8];
	uint64_t rings = 0;
	struct ram ram;

	(void) state;
	ram_new(&ram);
	for (int i = 0; i < 2; i++) {
		side_new(&sides[i], defaults(), NULL, 5000);
		plug(&sides[i], &ram, RAM_AT);
		bell[i] = doorbell_of(&sides[i]);
	}
	write_to(&sides[0], BAR0, ACCEL_REG_TAIL_ADDRESS, TAIL_AT, 8);
	enable(&sides[0]);
	for (uint32_t round = 0; round < 40; round++) {
		struct side *from = &sides[round % 2], *to = &sides[(round + 1) % 2];
		uint32_t *tail = (uint32_t *) (void *) at(from, TAIL_AT);

		for (uint32_t i = 0; i < 8; i++) {
			uint32_t n = (round * 8 + i) % ENTRIES;

			slots[i] = (struct accel_descriptor *) (void *) at(from, RAM_AT) + n;
			*slots[i] = (struct accel_descriptor) { .cookie = round, .delay_us = 50 };
			__atomic_store_n(tail, (n + 1) % ENTRIES, __ATOMIC_RELEASE);
			if (i == 7 && round % 3 == 0)	/* stopped before the last one */
				go(from, VF_VFIO_STATE_STOP);
			assert_int_equal(eventfd_write(bell[round % 2].fd, 1), 0);
			rings++;
		}
		if (round % 3 == 0)
			go(from, VF_VFIO_STATE_RUNNING);
		go(from, VF_VFIO_STATE_STOP_COPY);
		go(to, VF_VFIO_STATE_RESUMING);
		(void) move_data(from, to);
		go(to, VF_VFIO_STATE_STOP);
		go(to, VF_VFIO_STATE_RUNNING);
		go(from, VF_VFIO_STATE_STOP);
		for (uint32_t i = 0; i < 8; i++)
			assert_int_equal(await_job(slots[i]), ACCEL_JOB_OK);
		assert_int_equal(read_from(to, BAR0, ACCEL_REG_DOORBELLS, 8), rings);
		assert_int_equal(read_from(to, BAR0, ACCEL_REG_JOBS_DONE, 8), rings);
	}
	for (int i = 0; i < 2; i++) {
		close(bell[i].fd);
		side_free(&sides[i]);
	}
	ram_free(&ram);
}

static void test_cancel(void **state)
{
	struct side a, b;
	struct ram ram;

	(void) state;
	side_new(&a, defaults(), NULL, 5000);
	side_new(&b, defaults(), NULL, 5000);
	ram_new(&ram);
	plug(&a, &ram, RAM_AT);
	enable(&a);
	go(&b, VF_VFIO_STATE_RESUMING);
	go(&a, VF_VFIO_STATE_PRE_COPY);
	(void) move_data(&a, &b);
	go(&a, VF_VFIO_STATE_STOP_COPY);
	go(&a, VF_VFIO_STATE_RUNNING);
	assert_int_equal(await_job(submit(&a, (struct accel_descriptor) { 0 })), ACCEL_JOB_OK);
	/* Half loaded: only a reset leads out. */
	assert_int_equal(vf_vfio_user_client_set_state(b.client, VF_VFIO_STATE_RUNNING, NULL),
			 -EINVAL);
	assert_int_equal(state_of(&b), VF_VFIO_STATE_RESUMING);
	assert_int_equal(vf_vfio_user_client_reset(b.client, NULL), 0);
	assert_int_equal(state_of(&b), VF_VFIO_STATE_RUNNING);
	go(&b, VF_VFIO_STATE_RESUMING);
	go(&a, VF_VFIO_STATE_STOP_COPY);
	(void) move_data(&a, &b);
	go(&b, VF_VFIO_STATE_RUNNING_P2P);
	side_free(&a);
	side_free(&b);
	ram_free(&ram);
}

/*
 * Device A writes a row of numbers into B's BAR2 while both are stopped, one after the other; B's
 * state is what counts. Return: did B's saved state have all that A says it has written?
 */
static bool peers(bool use_p2p)
{
	struct accel_server_options o = defaults();
	struct vf_vfio_user_region bar;
	struct side a, b, copy;
	struct ram ram;
	uint64_t done = 0, seen;
	uint32_t first;

	side_new(&a, o, NULL, 5000);
	side_new(&b, o, NULL, 5000);
	side_new(&copy, o, NULL, 5000);
	ram_new(&ram);
	plug(&a, &ram, RAM_AT);
	plug(&b, &ram, RAM_AT + 0x10000);
	enable(&a);
	assert_int_equal(vf_vfio_user_client_get_region(b.client, BAR2, &bar, NULL), 0);
	assert_true(bar.fd >= 0);
	assert_int_equal(vf_vfio_user_client_dma_map(a.client, PEER_AT, ACCEL_BAR2_BYTES, true,
						     bar.fd, bar.fd_offset, NULL), 0);
	for (uint32_t i = 1; i < ENTRIES; i++) {
		vf_put_u64(at(&a, DATA_AT + i * 8), i);
		(void) submit(&a, (struct accel_descriptor) { .opcode = ACCEL_OP_COPY_PEER,
				.src = DATA_AT + i * 8, .dst = PEER_AT + 0x5000, .length = 8,
				.delay_us = 4000 });
	}
	while (read_from(&a, BAR0, ACCEL_REG_RING_HEAD, 4) < 2)	/* it is at work */
		usleep(1000);
	if (use_p2p) {
		go(&a, VF_VFIO_STATE_RUNNING_P2P);
		go(&b, VF_VFIO_STATE_RUNNING_P2P);
	}
	go(&b, VF_VFIO_STATE_STOP);
	if (use_p2p) {
		usleep(20000);		/* B is stopped, A is not, and keeps away */
	} else {
		/* Until A has written what B can't have taken along. */
		first = (uint32_t) read_from(&a, BAR0, ACCEL_REG_RING_HEAD, 4);
		while (read_from(&a, BAR0, ACCEL_REG_RING_HEAD, 4) < first + 2)
			usleep(1000);
	}
	go(&a, VF_VFIO_STATE_STOP);
	go(&copy, VF_VFIO_STATE_RESUMING);
	go(&b, VF_VFIO_STATE_STOP_COPY);
	(void) move_data(&b, &copy);
	go(&copy, VF_VFIO_STATE_STOP);
	go(&b, VF_VFIO_STATE_STOP);
	for (struct accel_descriptor *d = (void *) at(&a, RAM_AT); d->status; d++)
		done++;
	assert_in_range(done, 1, ENTRIES - 2);
	seen = read_from(&copy, BAR2, 0x5000, 8);
	vf_vfio_user_region_done(&bar);
	side_free(&a);
	side_free(&copy);
	side_stop(&b);
	assert_int_equal(!b.note[0], use_p2p);	/* B has noticed what was written behind its back */
	(void) pthread_create(&b.thread, NULL, serve, &b);
	side_free(&b);
	ram_free(&ram);
	return seen >= done;
}

static void test_peers(void **state)
{
	(void) state;
	assert_true(peers(true));
	assert_false(peers(false));
}

static void test_function_level_reset_ends_the_session(void **state)
{
	struct side s;
	uint64_t ctl;

	(void) state;
	side_new(&s, defaults(), NULL, 5000);
	write_to(&s, BAR0, ACCEL_REG_SCRATCH, 5, 8);
	go(&s, VF_VFIO_STATE_PRE_COPY);
	ctl = read_from(&s, CONFIG, ACCEL_CAP_PCIE + 8, 2);
	write_to(&s, CONFIG, ACCEL_CAP_PCIE + 8, ctl | 0x8000, 2);
	assert_int_equal(state_of(&s), VF_VFIO_STATE_RUNNING);
	assert_int_equal(read_from(&s, BAR0, ACCEL_REG_SCRATCH, 8), 0);
	go(&s, VF_VFIO_STATE_PRE_COPY);
	side_free(&s);
}

static void test_features_off(void **state)
{
	struct accel_server_options o = defaults();
	struct side s;
	uint64_t flags, page;

	(void) state;
	o.precopy = o.p2p = o.dma_log = false;
	side_new(&s, o, NULL, 5000);
	assert_int_equal(vf_vfio_user_client_get_migration(s.client, &flags, NULL), 0);
	assert_int_equal(flags, VF_VFIO_MIGRATION_STOP_COPY);
	assert_true(vf_vfio_user_client_dma_log_start(s.client, 4096, NULL, 0, &page, NULL) < 0);
	assert_int_equal(vf_vfio_user_client_set_state(s.client, VF_VFIO_STATE_PRE_COPY, NULL),
			 -EINVAL);
	go(&s, VF_VFIO_STATE_STOP_COPY);
	go(&s, VF_VFIO_STATE_RUNNING);
	side_free(&s);
}

/* --- scripts --- */

static void test_script_transitions(void **state)
{
	struct side s;
	uint64_t start;

	(void) state;
	side_new(&s, defaults(), "on RUNNING_P2P->STOP delay 60ms\n"
				 "on STOP->STOP_COPY fail EBUSY times 1\n"
				 "on STOP->RESUMING fail EIO error-state\n", 5000);
	start = vf_now_ns();
	go(&s, VF_VFIO_STATE_STOP);
	assert_true(vf_now_ns() - start >= 60 * VF_MS_NS);
	assert_int_equal(vf_vfio_user_client_set_state(s.client, VF_VFIO_STATE_STOP_COPY, NULL),
			 -EBUSY);
	assert_int_equal(state_of(&s), VF_VFIO_STATE_STOP);
	go(&s, VF_VFIO_STATE_STOP_COPY);
	go(&s, VF_VFIO_STATE_STOP);
	assert_int_equal(vf_vfio_user_client_set_state(s.client, VF_VFIO_STATE_RESUMING, NULL),
			 -EIO);
	assert_int_equal(state_of(&s), VF_VFIO_STATE_ERROR);
	assert_true(vf_vfio_user_client_set_state(s.client, VF_VFIO_STATE_RUNNING, NULL) < 0);
	assert_int_equal(vf_vfio_user_client_reset(s.client, NULL), 0);
	assert_int_equal(state_of(&s), VF_VFIO_STATE_RUNNING);
	side_free(&s);
}

static void test_script_data(void **state)
{
	struct side a, b;
	uint8_t chunk[100000];
	ssize_t got;

	(void) state;
	side_new(&a, defaults(), "truncate data at 1MiB\n", 5000);
	side_new(&b, defaults(), "on data-write after 500KiB fail ENOSPC times 1\n", 5000);
	go(&a, VF_VFIO_STATE_STOP_COPY);
	go(&b, VF_VFIO_STATE_RESUMING);
	for (uint64_t total = 0; (got = vf_vfio_user_client_mig_data_read(a.client, chunk,
			sizeof(chunk), NULL)) > 0; total += (uint64_t) got) {
		int ret = vf_vfio_user_client_mig_data_write(b.client, chunk, (size_t) got, NULL);

		assert_int_equal(ret, total == 500000 ? -ENOSPC : 0);
		if (ret) {	/* the rule fires once: the write was not taken */
			ret = vf_vfio_user_client_mig_data_write(b.client, chunk, (size_t) got, NULL);
			assert_int_equal(ret, 0);
		}
	}
	assert_int_equal(got, 0);
	assert_int_equal(vf_vfio_user_client_set_state(b.client, VF_VFIO_STATE_STOP, NULL), -EINVAL);
	side_stop(&b);
	assert_non_null(strstr(b.note, "cut off"));
	(void) pthread_create(&b.thread, NULL, serve, &b);
	side_free(&a);
	side_free(&b);
}

static void test_script_reinit_and_limit(void **state)
{
	struct vf_vfio_precopy_info info;
	struct side a;
	uint8_t *chunk = malloc(1 << 20);
	uint64_t start, total = 0;
	bool reinit = false;

	(void) state;
	assert_non_null(chunk);
	side_new(&a, defaults(), "reinit at 2MiB\nlimit data-read 50MiB/s\n", 5000);
	start = vf_now_ns();
	go(&a, VF_VFIO_STATE_PRE_COPY);
	for (int i = 0; i < 6; i++) {
		total += (uint64_t) vf_vfio_user_client_mig_data_read(a.client, chunk, 1 << 20, NULL);
		assert_int_equal(vf_vfio_user_client_get_precopy_info(a.client, &info, NULL), 0);
		reinit |= info.flags & VF_VFIO_PRECOPY_INFO_REINIT;
		assert_true(info.initial_bytes > 0);
	}
	assert_true(reinit);
	assert_int_equal(total, 6 << 20);
	assert_true(vf_now_ns() - start >= 95 * VF_MS_NS);	/* five of six waits of 20 ms */
	free(chunk);
	side_free(&a);
}

/* A device that hangs: the client gives up, and the device takes the next client, reset. */
static void test_script_hang_and_next_client(void **state)
{
	struct side s;
	uint8_t byte;

	(void) state;
	side_new(&s, defaults(), "on message REGION_READ 3 hang\n"
				 "on message DEVICE_RESET disconnect\n", 300);
	write_to(&s, BAR0, ACCEL_REG_SCRATCH, 9, 8);
	write_to(&s, BAR2, 0, 9, 8);
	assert_int_equal(read_from(&s, BAR0, ACCEL_REG_SCRATCH, 8), 9);
	assert_int_equal(read_from(&s, BAR2, 0, 8), 9);
	assert_int_equal(vf_vfio_user_client_region_read(s.client, BAR0, 0, &byte, 1, NULL),
			 -ETIMEDOUT);
	vf_vfio_user_client_free(s.client);
	usleep(300000);
	side_stop(&s);
	s.client = join(&s, 5000);
	assert_int_equal(read_from(&s, BAR0, ACCEL_REG_SCRATCH, 8), 0);
	assert_int_equal(read_from(&s, BAR2, 0, 8), 0);
	assert_int_equal(vf_vfio_user_client_reset(s.client, NULL), -ENOTCONN);
	side_free(&s);
}

static void test_script_exit(void **state)
{
	struct side s;

	(void) state;
	side_new(&s, defaults(), "on message DEVICE_GET_INFO exit\n", 500);
	assert_int_equal(vf_vfio_user_client_get_info(s.client, &(struct vf_vfio_device_info) { 0 },
						      NULL), -ETIMEDOUT);
	side_stop(&s);
	assert_int_equal(s.run_result, ACCEL_SERVER_EXIT);
	(void) pthread_create(&s.thread, NULL, serve, &s);
	side_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_job_and_msix),
		cmocka_unit_test(test_intx_line),
		cmocka_unit_test(test_migration),
		cmocka_unit_test(test_doorbell_moves_along),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_peers),
		cmocka_unit_test(test_function_level_reset_ends_the_session),
		cmocka_unit_test(test_features_off),
		cmocka_unit_test(test_script_transitions),
		cmocka_unit_test(test_script_data),
		cmocka_unit_test(test_script_reinit_and_limit),
		cmocka_unit_test(test_script_hang_and_next_client),
		cmocka_unit_test(test_script_exit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
