/* SPDX-License-Identifier: MIT */
/*
 * fuzz_kvm_board.c - sections of a KVM machine's board and serial port, as a source sends them.
 *
 * The first byte says what follows: 0 the section of serial/0, others that of the board. What is
 * accepted is written again and must come out as it went in; then a guest uses the port. There is no
 * KVM behind: nobody hears the interrupt.
 */
#include <stdlib.h>

#include "must_be.h"
#include "vmm/kvm/serial.h"
#include "vmm/kvm/x86/x86.h"

#define SECTION_MAX 4096u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct kvm_arch arch = { .config_lock = PTHREAD_MUTEX_INITIALIZER };
static struct kvm_machine machine = { .vm = -1, .lock = PTHREAD_MUTEX_INITIALIZER, .arch = &arch };

static void set_up(void)
{
	if (machine.console)
		return;
	if (kvm_console_new(&machine, kvm_arch_serial_irq, &machine.console) < 0 ||
	    kvm_components_new(&machine, &machine.components) < 0)
		abort();
}

/* Everything that is queued is read, and something said. */
static void use_port(void)
{
	kvm_console_starting(machine.console);
	for (unsigned i = 0; i <= SERIAL_QUEUE; i++)
		(void) kvm_console_read(machine.console, i % 8);
	for (unsigned i = 0; i < 8; i++)
		kvm_console_write(machine.console, i, (uint8_t) (0x15 * i));
	kvm_console_write(machine.console, 3, 0);
	for (const char *c = "\nreply + so\n"; *c; c++)
		kvm_console_write(machine.console, 0, (uint8_t) *c);
	kvm_console_interrupt(machine.console);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vferry_reader *r;
	struct vferry_writer *w;
	bool serial;
	int ret;

	set_up();
	if (size < 1 || vferry_reader_new(data + 1, size - 1, &r) < 0)
		return 0;
	serial = data[0] == 0;
	ret = serial ? kvm_console_load(machine.console, r, NULL)
		     : kvm_board_load(machine.components, r, NULL);
	(void) vferry_reader_free(r);
	if (ret < 0 || vferry_writer_new(SECTION_MAX, &w) < 0)
		return 0;
	if (serial) {
		kvm_console_save(machine.console, w);
		must_be(w, data + 1, size - 1);
		use_port();
	} else {
		kvm_board_apply(machine.components);
		kvm_board_save(&machine, w);
		/* The time of the stop is the real clock's where none came. */
		if (machine.clock.stopped_real_ns)
			must_be(w, data + 1, size - 1);
	}
	(void) vferry_writer_free(w);
	return 0;
}
