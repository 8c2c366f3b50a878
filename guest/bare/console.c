/* SPDX-License-Identifier: MIT */
/*
 * console.c - the serial line: what is said, and commands.
 *
 * A line that comes in is a command. vCPU 0 collects it, tries it on itself, and hands it to the
 * others through `command`; each answers between two of its steps, and when all have, one line
 * goes back. Meanwhile vCPU 0 makes no step, so that even `poweroff` is answered before it is done,
 * and nothing more is read: the next line waits in the device.
 */
#include <errno.h>

#include "bare.h"

#define UART_DATA	0u
#define UART_ENABLE	1u	/* interrupts */
#define UART_FIFO	2u
#define UART_LINE	3u
#define UART_MODEM	4u
#define UART_STATUS	5u
#define ENABLE_RECEIVED	0x01u
#define FIFO_ON		0x07u	/* emptied; an interrupt for each byte */
#define LINE_8N1	0x03u
#define MODEM_READY	0x0bu	/* DTR, RTS, OUT2: interrupts get out */
#define STATUS_RECEIVED	0x01u
#define STATUS_EMPTY	0x20u
#define FIFO_BYTES	16u
#define LINE_MAX	256u
#define ANSWER_MAX	64u

static uint32_t lock;	/* of what goes out; held by 1 */

/* The line coming in; vCPU 0's. */
static char line[LINE_MAX];
static size_t line_length;
static bool line_too_long, line_complete;

/* The command under way. */
static struct {
	uint64_t number;	/* grows; written last */
	bool pending;		/* vCPU 0's */
	struct {
		uint64_t number;	/* that was answered; written last */
		int64_t result;
		char text[ANSWER_MAX];
	} answer[GUEST_CPUS_MAX];
} command;

/* ---- out ---- */

static void send(const char *text)
{
	while (*text) {
		while (!(arch_serial_read(UART_STATUS) & STATUS_EMPTY))
			arch_relax();
		for (unsigned i = 0; i < FIFO_BYTES && *text; i++)
			arch_serial_write(UART_DATA, (uint8_t) *text++);
	}
}

void console_line(const char *text)
{
	send(text);
	send("\n");
}

static void take_lock(void)
{
	while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE))
		arch_relax();
}

static void drop_lock(void)
{
	__atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
}

void console_say(const char *text)
{
	take_lock();
	console_line(text);
	drop_lock();
}

static void reply(bool yes, const char *text)
{
	take_lock();
	send(yes ? GUEST_REPLY_YES : GUEST_REPLY_NO);
	console_line(text);
	drop_lock();
}

/* ---- in ---- */

static void listen(bool on)
{
	arch_serial_write(UART_ENABLE, on ? ENABLE_RECEIVED : 0);
}

void console_boot(void)
{
	arch_serial_write(UART_LINE, LINE_8N1);
	arch_serial_write(UART_MODEM, MODEM_READY);
	arch_serial_write(UART_FIFO, FIFO_ON);
	listen(true);
}

static void add_byte(char byte)
{
	if (byte == '\r')
		return;
	if (byte == '\n') {
		line[line_length] = '\0';
		line_complete = line_length > 0 || line_too_long;
		return;
	}
	if (line_length + 1 < LINE_MAX)
		line[line_length++] = byte;
	else
		line_too_long = true;
}

void console_interrupt(void)
{
	while (!line_complete && (arch_serial_read(UART_STATUS) & STATUS_RECEIVED))
		add_byte((char) arch_serial_read(UART_DATA));
	if (line_complete)
		listen(false);
}

static void next_line(void)
{
	line_length = 0;
	line_too_long = false;
	line_complete = false;
	command.pending = false;
	listen(true);
}

/* ---- commands ---- */

static int64_t answer(struct bare_cpu *cpu)
{
	const unsigned id = cpu->guest.id;
	struct guest_text text;

	guest_text_init(&text, command.answer[id].text, ANSWER_MAX);
	command.answer[id].result = guest_worker.command(&platform, id, (uint64_t *) cpu->worker,
							 line, &text);
	return command.answer[id].result;
}

static void begin(struct bare_cpu *cpu)
{
	if (line_too_long) {
		reply(false, "the line is too long");
		next_line();
		return;
	}
	/* Of the machine, not of the program. There is nobody left to answer. */
	if (guest_text_equal(line, "reboot"))
		arch_reboot();
	if (guest_text_equal(line, arch_end_hard_name))
		arch_end_hard();
	if (answer(cpu) == -EINVAL) {
		reply(false, command.answer[0].text);
		next_line();
		return;
	}
	command.pending = true;
	__atomic_store_n(&command.number, command.number + 1, __ATOMIC_RELEASE);
	command.answer[0].number = command.number;
	arch_wake_others();
}

static bool all_answered(void)
{
	for (unsigned i = 0; i < platform.cpus; i++)
		if (__atomic_load_n(&command.answer[i].number, __ATOMIC_ACQUIRE) != command.number)
			return false;
	return true;
}

/* What went wrong first; else what somebody said. */
static void finish(void)
{
	const char *text = "";

	for (unsigned i = 0; i < platform.cpus; i++) {
		if (command.answer[i].result < 0) {
			reply(false, command.answer[i].text);
			next_line();
			return;
		}
		if (!text[0])
			text = command.answer[i].text;
	}
	reply(true, text);
	next_line();
}

bool console_commands(struct bare_cpu *cpu)
{
	uint64_t number = __atomic_load_n(&command.number, __ATOMIC_ACQUIRE);

	if (cpu->guest.id == 0) {
		if (line_complete && !command.pending)
			begin(cpu);
		if (command.pending && all_answered())
			finish();
	} else if (number != cpu->command_seen) {
		cpu->command_seen = number;
		(void) answer(cpu);
		__atomic_store_n(&command.answer[cpu->guest.id].number, number, __ATOMIC_RELEASE);
	}
	return cpu->guest.id == 0 && command.pending;
}
