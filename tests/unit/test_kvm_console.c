/* SPDX-License-Identifier: MIT */
/*
 * test_kvm_console.c - commands to a KVM guest and their answers, over a stop and a move. There is no
 * KVM: the test is the guest, and reads and writes the port's registers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "vmm/kvm/kvm.h"
#include "vmm/kvm/serial.h"

#define SECOND 1000000000ull

struct bench {
	struct kvm_machine machine;
	struct kvm_console *console;
	char lines[512];	/* for people */
};

struct asking {
	struct kvm_console *console;
	const char *text;
	char reply[64];
	struct vferry_error err;
	int result;
	pthread_t thread;
};

static void on_line(void *user, const char *line)
{
	struct bench *b = user;

	(void) strcat(strcat(b->lines, line), "|");
}

static void to_nobody(struct kvm_machine *m, bool level)
{
	(void) m;
	(void) level;
}

static void up(struct bench *b)
{
	memset(b, 0, sizeof(*b));
	b->machine.vm = -1;
	b->machine.stop_timeout_ns = 20 * SECOND;
	b->machine.callbacks.console = on_line;
	b->machine.user = b;
	assert_int_equal(kvm_console_new(&b->machine, to_nobody, &b->console), 0);
	kvm_console_starting(b->console);
}

static void down(struct bench *b)
{
	b->console = kvm_console_free(b->console);
}

static void *ask_thread(void *user)
{
	struct asking *a = user;

	a->result = kvm_console_command(a->console, a->text, a->reply, sizeof(a->reply), &a->err);
	return NULL;
}

static void ask(struct bench *b, struct asking *a, const char *text)
{
	*a = (struct asking) { .console = b->console, .text = text };
	assert_int_equal(pthread_create(&a->thread, NULL, ask_thread, a), 0);
}

static int answer_of(struct asking *a)
{
	(void) pthread_join(a->thread, NULL);
	return a->result;
}

/* The guest: reads @count bytes when they are there. */
static void hear(struct bench *b, const char *text)
{
	const struct timespec ms = { .tv_nsec = 1000000 };

	for (; *text; text++) {
		for (unsigned i = 0; i < 10000 && !(kvm_console_read(b->console, 5) & 1); i++)
			(void) nanosleep(&ms, NULL);
		assert_int_equal(kvm_console_read(b->console, 0), *text);
	}
}

static void say(struct bench *b, const char *text)
{
	for (; *text; text++)
		kvm_console_write(b->console, 0, (uint8_t) *text);
}

static void test_answers(void **state)
{
	struct asking a;
	struct bench b;

	(void) state;
	up(&b);
	ask(&b, &a, "rate 20");
	hear(&b, "rate 20\n");
	say(&b, "busy\nreply + ok so\n");
	assert_int_equal(answer_of(&a), 0);
	assert_string_equal(a.reply, "ok so");
	ask(&b, &a, "sing");
	hear(&b, "sing\n");
	say(&b, "reply - I can't\n");
	assert_int_equal(answer_of(&a), -EINVAL);
	assert_non_null(strstr(a.err.message, "I can't"));
	/* An answer that nobody asked for is nothing, and lines for people are not cut by it. */
	say(&b, "reply + what\nhalf a ");
	say(&b, "line\n");
	assert_string_equal(b.lines, "busy|half a line|");
	assert_int_equal(kvm_console_command(b.console, "two\nlines", NULL, 0, NULL), -EINVAL);
	down(&b);
}

static void test_silence(void **state)
{
	struct asking a;
	struct bench b;

	(void) state;
	up(&b);
	b.machine.stop_timeout_ns = SECOND / 50;
	ask(&b, &a, "first");
	assert_int_equal(answer_of(&a), -ETIMEDOUT);
	/* Its answer comes when another one is waited for, and is not that one's. */
	b.machine.stop_timeout_ns = 20 * SECOND;
	ask(&b, &a, "second");
	hear(&b, "first\nsecond\n");
	say(&b, "reply + one\n");
	say(&b, "reply + two\n");
	assert_int_equal(answer_of(&a), 0);
	assert_string_equal(a.reply, "two");
	down(&b);
}

/* Saved in the middle of it all, and loaded by somebody else, to whom nobody put that question. */
static void test_move(void **state)
{
	struct vferry_writer *w;
	struct vferry_reader *r;
	struct asking a;
	struct bench from, to;
	const void *section;
	size_t bytes;

	(void) state;
	up(&from);
	ask(&from, &a, "rate 20");
	hear(&from, "rat");
	say(&from, "working ha");
	kvm_console_interrupt(from.console);
	assert_int_equal(answer_of(&a), -EAGAIN);
	/* What comes after the stop would be no part of what is saved. */
	assert_int_equal(kvm_console_command(from.console, "late", NULL, 0, NULL), -EAGAIN);
	assert_int_equal(vferry_writer_new(4096, &w), 0);
	kvm_console_save(from.console, w);
	section = vferry_writer_data(w, &bytes);
	up(&to);
	assert_int_equal(vferry_reader_new(section, bytes, &r), 0);
	assert_int_equal(kvm_console_load(to.console, r, NULL), 0);
	(void) vferry_reader_free(r);
	kvm_console_starting(to.console);
	ask(&to, &a, "judge");
	hear(&to, "e 20\n");
	say(&to, "rd\nreply + ok\n");
	assert_string_equal(to.lines, "working hard|");
	hear(&to, "judge\n");
	say(&to, "reply + judging\n");
	assert_int_equal(answer_of(&a), 0);
	assert_string_equal(a.reply, "judging");
	(void) vferry_writer_free(w);
	down(&from);
	down(&to);
}

static void test_reset(void **state)
{
	struct asking a;
	struct bench b;

	(void) state;
	up(&b);
	ask(&b, &a, "reboot");
	hear(&b, "reboot\n");
	say(&b, "bye by");
	kvm_console_interrupt(b.console);
	assert_int_equal(answer_of(&a), -EAGAIN);
	kvm_console_reset(b.console);
	kvm_console_starting(b.console);
	ask(&b, &a, "rate 1");
	hear(&b, "rate 1\n");
	say(&b, "hello\nreply +\n");
	assert_int_equal(answer_of(&a), 0);
	assert_string_equal(a.reply, "");
	assert_string_equal(b.lines, "hello|");
	/* It answered, and then it was over. */
	ask(&b, &a, "poweroff");
	hear(&b, "poweroff\n");
	say(&b, "reply + ok\n");
	kvm_console_interrupt(b.console);
	assert_int_equal(answer_of(&a), 0);
	down(&b);
}

/* A guest that never reads: the queue is bounded, and the command that does not fit is refused. */
static void test_full(void **state)
{
	char text[500];
	struct bench b;
	int r = -ETIMEDOUT;

	(void) state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	up(&b);
	b.machine.stop_timeout_ns = 1000;
	for (unsigned i = 0; i < SERIAL_QUEUE && r == -ETIMEDOUT; i++)
		r = kvm_console_command(b.console, text, NULL, 0, NULL);
	assert_int_equal(r, -EBUSY);
	down(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers), cmocka_unit_test(test_silence),
		cmocka_unit_test(test_move), cmocka_unit_test(test_reset), cmocka_unit_test(test_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
