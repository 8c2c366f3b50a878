/* SPDX-License-Identifier: MIT */
/* kernel.c - what ring 0 sets up on each vCPU, and what it does about exceptions; see cpu.h. */
#include "cpu.h"

#define STUB_BYTES	16u
#define GATE_INTERRUPT	0x8e00ull	/* and present */
#define GATE_RING_3	0x6000ull	/* may be used by ring 3 */
#define TASK_BYTES	104u
#define TASK_AVAILABLE	0x89ull
#define CR4_SSE		0x600ull	/* OSFXSR, OSXMMEXCPT */
#define CR4_XSAVE	0x40000ull
#define CPUID_DEADLINE	(1u << 24)	/* leaf 1, ecx */
#define CPUID_XSAVE	(1u << 26)
#define CPUID_AVX	(1u << 28)
#define LVT_MASKED	0x10000u
#define LVT_DEADLINE	0x40000u
#define LAPIC_ENABLE	0x100u
#define DIVIDE_BY_1	0xbu
#define EXCEPTION_PAGE	14u

union cpu_area cpu_areas[GUEST_CPUS_MAX] __attribute__((aligned(CPU_BYTES)));

/* entry.S */
extern const uint8_t stubs[256][STUB_BYTES];
extern const uint8_t kernel_entry[];
extern uint64_t gdt[];

struct gate {
	uint64_t low, high;
};

struct task {
	uint8_t bytes[TASK_BYTES];
} __attribute__((aligned(8)));

struct __attribute__((packed)) table_pointer {
	uint16_t limit;
	uint64_t base;
};

static struct gate idt[256] __attribute__((aligned(16)));
static struct task tasks[GUEST_CPUS_MAX];

static struct gate gate_to(const void *code, uint64_t type)
{
	const uint64_t at = (uint64_t) code;

	return (struct gate) {
		.low = (at & 0xffff) | (uint64_t) KERNEL_CODE << 16 | type << 32 |
		       (at >> 16 & 0xffff) << 48,
		.high = at >> 32,
	};
}

static void build_idt(void)
{
	for (unsigned v = 0; v < 256; v++)
		idt[v] = gate_to(stubs[v], GATE_INTERRUPT);
	idt[VECTOR_CALL] = gate_to(kernel_entry, GATE_INTERRUPT | GATE_RING_3);
}

/* What an interrupt needs to leave ring 3: this vCPU's stack. */
static void load_task(unsigned id)
{
	const uint64_t at = (uint64_t) &tasks[id];
	const uint64_t stack = (uint64_t) cpu_areas[id].bytes + CPU_KERNEL_STACK;
	uint64_t *descriptor = &gdt[TASK_FIRST / 8 + 2 * id];

	*(uint32_t *) &tasks[id].bytes[4] = (uint32_t) stack;
	*(uint32_t *) &tasks[id].bytes[8] = (uint32_t) (stack >> 32);
	*(uint16_t *) &tasks[id].bytes[102] = TASK_BYTES;	/* no port bitmap */
	descriptor[0] = (TASK_BYTES - 1) | (at & 0xffffff) << 16 | TASK_AVAILABLE << 40 |
			(at >> 24 & 0xff) << 56;
	descriptor[1] = at >> 32;
	__asm__ volatile("ltr %0" : : "r"((uint16_t) (TASK_FIRST + 16 * id)) : "memory");
}

static void enable_vectors(const struct cpuid *id)
{
	uint64_t cr4;

	__asm__ volatile("movq %%cr4, %0" : "=r"(cr4));
	cr4 |= CR4_SSE | (id->c & CPUID_XSAVE ? CR4_XSAVE : 0);
	__asm__ volatile("movq %0, %%cr4" : : "r"(cr4));
	if (id->c & CPUID_XSAVE)
		__asm__ volatile("xsetbv" : : "c"(0), "d"(0), "a"(id->c & CPUID_AVX ? 7 : 3));
}

static void enable_lapic(struct cpu *cpu)
{
	lapic_write(LAPIC_SPURIOUS, LAPIC_ENABLE | VECTOR_SPURIOUS);
	lapic_write(LAPIC_TASK, 0);
	lapic_write(LAPIC_LINT0, LVT_MASKED);
	lapic_write(LAPIC_LINT1, LVT_MASKED);
	lapic_write(LAPIC_DIVIDE, DIVIDE_BY_1);
	lapic_write(LAPIC_TIMER, VECTOR_TIMER | (cpu->deadline ? LVT_DEADLINE : 0));
}

/* entry.S comes here once, on each vCPU. Of the others' state nothing is touched but by vCPU 0. */
void kernel_start(unsigned id);

void kernel_start(unsigned id)
{
	const struct table_pointer pointer = { .limit = sizeof(idt) - 1, .base = (uint64_t) idt };
	const struct cpuid features = read_cpuid(1);
	struct cpu *cpu = &cpu_areas[id].cpu;

	if (id == 0)
		build_idt();
	__asm__ volatile("lidt %0" : : "m"(pointer));
	load_task(id);
	enable_vectors(&features);
	bare_cpu_init(&cpu->bare, id);
	cpu->deadline = (features.c & CPUID_DEADLINE) != 0;
	cpu->held.vector_words = (features.c & CPUID_XSAVE) && (features.c & CPUID_AVX) ? 4 : 2;
	enable_lapic(cpu);
}

/* ---- ports ---- */

struct port_access {
	uint16_t port;
	uint16_t value;
	enum { PORT_READ8, PORT_WRITE8, PORT_WRITE16 } kind;
};

static uint64_t kernel_port(void *argument)
{
	const struct port_access *access = argument;
	uint8_t value = 0;

	switch (access->kind) {
	case PORT_READ8:
		__asm__ volatile("inb %1, %0" : "=a"(value) : "d"(access->port));
		break;
	case PORT_WRITE8:
		__asm__ volatile("outb %0, %1" : : "a"((uint8_t) access->value), "d"(access->port));
		break;
	case PORT_WRITE16:
		__asm__ volatile("outw %0, %1" : : "a"(access->value), "d"(access->port));
		break;
	}
	return value;
}

static uint64_t access_port(struct port_access access)
{
	uint32_t code;

	__asm__ volatile("movl %%cs, %0" : "=r"(code));
	return code & 3 ? kernel(kernel_port, &access) : kernel_port(&access);
}

uint8_t port_read8(uint32_t port)
{
	return (uint8_t) access_port((struct port_access) { .port = (uint16_t) port,
							    .kind = PORT_READ8 });
}

void port_write8(uint32_t port, uint8_t value)
{
	(void) access_port((struct port_access) { .port = (uint16_t) port, .value = value,
						  .kind = PORT_WRITE8 });
}

void port_write16(uint32_t port, uint16_t value)
{
	(void) access_port((struct port_access) { .port = (uint16_t) port, .value = value,
						  .kind = PORT_WRITE16 });
}

uint8_t arch_serial_read(unsigned reg)
{
	return port_read8((uint32_t) boot.serial_at + reg);
}

void arch_serial_write(unsigned reg, uint8_t value)
{
	port_write8((uint32_t) boot.serial_at + reg, value);
}

void arch_power_off(void)
{
	port_write16(GUEST_POWER_PORT, GUEST_POWER_OFF);
}

void arch_reboot(void)
{
	port_write8(GUEST_RESET_PORT, GUEST_RESET);
}

static uint64_t kernel_no_idt(void *unused)
{
	static const struct table_pointer none;

	(void) unused;
	__asm__ volatile("lidt %0" : : "m"(none));
	return 0;
}

const char arch_end_hard_name[] = "triple-fault";

/* An exception, and no table that says what to do about it. */
void arch_end_hard(void)
{
	(void) kernel(kernel_no_idt, NULL);
	__asm__ volatile("ud2");
}

/* ---- exceptions ---- */

/* As entry.S pushes it. */
struct frame {
	uint64_t registers[15];
	uint64_t vector, error;
	uint64_t instruction, code, flags, stack, data;
};

void kernel_exception(const struct frame *frame);

void kernel_exception(const struct frame *frame)
{
	struct cpu *cpu = (struct cpu *) ((uint64_t) frame & -(uint64_t) CPU_BYTES);
	struct guest_text text;
	uint64_t address;
	char what[128];

	__asm__ volatile("movq %%cr2, %0" : "=r"(address));
	guest_text_init(&text, what, sizeof(what));
	guest_text_add_number(&text, frame->vector);
	guest_text_add(&text, " at ");
	guest_text_add_hex(&text, frame->instruction);
	guest_text_add(&text, frame->code & 3 ? " in ring 3, error " : " in ring 0, error ");
	guest_text_add_hex(&text, frame->error);
	guest_text_add(&text, ", address ");
	guest_text_add_hex(&text, address);
	exception_end(&cpu->bare, what, frame->vector, frame->instruction,
		      frame->vector == EXCEPTION_PAGE ? address : frame->error);
}
