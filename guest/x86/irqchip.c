/* SPDX-License-Identifier: MIT */
/*
 * irqchip.c - local APIC and IOAPIC, and from vectors to the program's interrupt numbers.
 *
 * Each vCPU has its own devices, and for each of those GUEST_X86_VECTORS vectors from VECTOR_MESSAGE
 * on. INTx pins are levels and have vectors of the lowest class: while one is being dealt with, none
 * of its likes comes, and messages do.
 *
 * A level must not be ended before its cause is dealt with, or it comes once more. Some hypervisors
 * end it themselves when they deliver it (there is nothing in service then), and each device that
 * has the pin is asked whether it still has a cause. So behind each such interrupt with a cause, as
 * many without are no fault as devices have the pin: not otherwise.
 */
#include "cpu.h"

#define MESSAGE_ADDRESS	0xfee00000ull
#define MESSAGE_END	0xf0u	/* the vector behind the last */

#define IOAPIC		0xfec00000ull
#define IOAPIC_SELECT	0x00u
#define IOAPIC_DATA	0x10u
#define IOAPIC_PINS	24u
#define ROUTE(pin)	(0x10u + 2 * (pin))
#define ROUTE_LEVEL	0x8000u
#define ROUTE_MASKED	0x10000u

#define PIC_MASTER_MASK	0x21u
#define PIC_SLAVE_MASK	0xa1u

#define COMMAND_PENDING	0x1000u
#define SEND_FIXED	0x000c4000u	/* with the vector; to all others */
#define SEND_INIT	0x000c4500u
#define SEND_START	0x000c4600u	/* with the page to start at */
#define INIT_NS		10000000ull
#define START_NS	200000ull

/* ---- set-up ---- */

static void ioapic_write(uint32_t reg, uint32_t value)
{
	write32(IOAPIC + IOAPIC_SELECT, reg);
	write32(IOAPIC + IOAPIC_DATA, value);
}

static void route(uint32_t pin, uint32_t vector, uint32_t cpu)
{
	ioapic_write(ROUTE(pin) + 1, cpu << 24);
	ioapic_write(ROUTE(pin), vector | ROUTE_LEVEL);
}

void irqchip_boot(void)
{
	port_write8(PIC_MASTER_MASK, 0xff);
	port_write8(PIC_SLAVE_MASK, 0xff);
	for (uint32_t pin = 0; pin < IOAPIC_PINS; pin++)
		ioapic_write(ROUTE(pin), ROUTE_MASKED);
	route(boot.serial_irq, VECTOR_SERIAL, 0);
}

static void pass_time(uint64_t ns)
{
	uint64_t until = clock_now_ns() + ns;

	while (clock_now_ns() < until)
		arch_relax();
}

static void send(uint32_t command)
{
	lapic_write(LAPIC_COMMAND, command);
	while (lapic_read(LAPIC_COMMAND) & COMMAND_PENDING)
		arch_relax();
}

void arch_start_others(void)
{
	if (platform.cpus == 1)
		return;
	send(SEND_INIT);
	pass_time(INIT_NS);
	send(SEND_START | GUEST_ENTRY_OFFSET >> 12);
	pass_time(START_NS);
	send(SEND_START | GUEST_ENTRY_OFFSET >> 12);
}

void arch_wake_others(void)
{
	if (platform.cpus > 1)
		send(SEND_FIXED | VECTOR_WAKE);
}

/* Each pin goes to the vCPU that has its device. Two vCPUs can't share one. */
void worker_irqchip_step(struct guest_vcpu *vcpu, struct worker *w)
{
	uint64_t routed = 0, owner[IOAPIC_PINS] = { 0 };

	for (uint64_t i = 0; i < w->found; i++) {
		uint64_t slot = worker_load(vcpu, platform.ram[0].gpa + 8 * WORKER_BOOT_SLOT(i));
		uint32_t pin = (uint32_t) (slot % platform.intx_pins);

		if (!(routed & 1ull << pin)) {
			routed |= 1ull << pin;
			owner[pin] = i % platform.cpus;
			route(boot.intx_first + pin, VECTOR_LEVEL + pin, (uint32_t) owner[pin]);
		} else if (owner[pin] != i % platform.cpus && w->mode == WORKER_IRQ_INTX) {
			worker_dead(w, slot);
			return;
		}
	}
	worker_next_phase(w, WORKER_PHASE_RELEASE);
}

/* kernel_start() has done it. */
void worker_irqchip_cpu(struct guest_vcpu *vcpu)
{
	(void) vcpu;
}

struct worker_message worker_message(struct guest_vcpu *vcpu, unsigned device, unsigned vector)
{
	(void) vcpu;
	return (struct worker_message) {
		.address = MESSAGE_ADDRESS | device % platform.cpus << 12,
		.data = VECTOR_MESSAGE + device / platform.cpus * GUEST_X86_VECTORS + vector,
	};
}

/* ---- what came ---- */

static uint32_t number_of(const struct cpu *cpu, uint32_t vector)
{
	uint32_t message = vector - VECTOR_MESSAGE;
	uint32_t device = message / GUEST_X86_VECTORS * platform.cpus + cpu->bare.guest.id;

	if (vector < VECTOR_MESSAGE)
		return WORKER_PIN_FIRST + vector - VECTOR_LEVEL;
	if (vector >= MESSAGE_END)
		return vector;
	return WORKER_MSI_FIRST + device * WORKER_SLOTS + message % GUEST_X86_VECTORS;
}

static uint32_t devices_of(const struct cpu *cpu, uint32_t pin)
{
	uint32_t count = 0;

	for (unsigned i = 0; i < WORKER_DEVICES; i++) {
		const struct worker_device *device = &cpu->bare.worker->device[i];

		count += device->phase != WORKER_DEVICE_NONE &&
			 device->pci_slot % platform.intx_pins == pin;
	}
	return count;
}

static void take_pin(struct cpu *cpu, uint32_t vector)
{
	const uint32_t pin = vector - VECTOR_LEVEL;
	const uint64_t spurious = cpu->bare.worker->spurious;

	guest_worker.interrupt(&cpu->bare.guest, (uint64_t *) cpu->bare.worker,
			       number_of(cpu, vector));
	if (cpu->bare.worker->spurious == spurious) {
		if (!(lapic_read(LAPIC_IN_SERVICE) & 1u << pin))
			cpu->excused[pin] = devices_of(cpu, pin);
	} else if (cpu->excused[pin] > 0) {
		cpu->excused[pin]--;
		cpu->bare.worker->spurious = spurious;
	}
}

static void take_level(struct cpu *cpu, uint32_t vector)
{
	if (vector == VECTOR_SERIAL)
		console_interrupt();
	else
		take_pin(cpu, vector);
	lapic_write(LAPIC_END, 0);
	lapic_write(LAPIC_TASK, 0);
}

static void take(struct cpu *cpu, uint32_t vector)
{
	if (vector < VECTOR_MESSAGE)
		take_level(cpu, vector);
	else if (vector == VECTOR_TIMER)
		clock_timer(&cpu->bare);
	else if (vector != VECTOR_WAKE && vector != VECTOR_SPURIOUS)
		guest_worker.interrupt(&cpu->bare.guest, (uint64_t *) cpu->bare.worker,
				       number_of(cpu, vector));
}

void arch_take(struct bare_cpu *bare)
{
	struct cpu *cpu = cpu_of(bare);

	if (!__atomic_load_n(&cpu->attention, __ATOMIC_RELAXED))
		return;
	/* Before looking: what comes later will set it again. */
	__atomic_store_n(&cpu->attention, 0, __ATOMIC_SEQ_CST);
	for (uint32_t v = VECTOR_LEVEL; v < 256; v++) {
		while (cpu->taken[v] != __atomic_load_n(&cpu->arrived[v], __ATOMIC_RELAXED)) {
			cpu->taken[v]++;
			take(cpu, v);
		}
	}
}
