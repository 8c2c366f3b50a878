/* SPDX-License-Identifier: MIT */
/*
 * registers.c - registers that nothing here uses hold values, and are looked at again and again: so
 * a move of the machine that loses one is noticed. The compiler is told to use no vector registers.
 */
#include "cpu.h"

#define MSR_TSC_AUX	0xc0000103u
#define CPUID_EXTENDED	0x80000001u
#define CPUID_RDTSCP	(1u << 27)	/* its edx */

enum { REGISTER_VECTOR = 0, REGISTER_DEBUG = 0x20 };	/* numbers in faults; else the MSR's own */

/* What may be in it: canonical addresses, or as many bits as there are. */
static const struct held_msr {
	uint32_t msr;
	uint64_t mask;
} held_msrs[] = {
	{ 0x174, 0xfff8 },			/* SYSENTER_CS */
	{ 0x175, 0xffffffff },			/* SYSENTER_ESP: KVM on AMD keeps 32 bits */
	{ 0x176, 0xffffffff },			/* SYSENTER_EIP: likewise */
	{ 0xc0000081, 0xfff8ull << 48 | 0xfff8ull << 32 | 0xffffffff },	/* STAR */
	{ 0xc0000082, 0x7fffffffffff },		/* LSTAR */
	{ 0xc0000083, 0x7fffffffffff },		/* CSTAR */
	{ 0xc0000084, 0x3f7fd5 },		/* SFMASK */
	{ 0xc0000100, 0x7fffffffffff },		/* FS_BASE */
	{ 0xc0000101, 0x7fffffffffff },		/* GS_BASE */
	{ 0xc0000102, 0x7fffffffffff },		/* KERNEL_GS_BASE */
	{ MSR_TSC_AUX, 0xffffffff },
};

static bool tsc_aux;	/* there is one */

static uint64_t msr_value(const struct cpu *cpu, const struct held_msr *held)
{
	return worker_mix(held->msr, cpu->bare.guest.id) & held->mask;
}

static uint64_t debug_value(const struct cpu *cpu, unsigned number)
{
	return worker_mix(REGISTER_DEBUG + number, cpu->bare.guest.id) & 0x7fffffffffff;
}

static bool has_msr(const struct held_msr *held)
{
	return held->msr != MSR_TSC_AUX || tsc_aux;
}

/* ---- ring 0's ---- */

static uint64_t kernel_hold(void *argument)
{
	const struct cpu *cpu = argument;

	if (cpu->bare.guest.id == 0)
		tsc_aux = read_cpuid(CPUID_EXTENDED).d & CPUID_RDTSCP;
	for (size_t i = 0; i < sizeof(held_msrs) / sizeof(held_msrs[0]); i++)
		if (has_msr(&held_msrs[i]))
			write_msr(held_msrs[i].msr, msr_value(cpu, &held_msrs[i]));
	__asm__ volatile("movq %0, %%dr0" : : "r"(debug_value(cpu, 0)));
	__asm__ volatile("movq %0, %%dr1" : : "r"(debug_value(cpu, 1)));
	__asm__ volatile("movq %0, %%dr2" : : "r"(debug_value(cpu, 2)));
	__asm__ volatile("movq %0, %%dr3" : : "r"(debug_value(cpu, 3)));
	return 0;
}

static uint64_t kernel_check(void *argument)
{
	struct cpu *cpu = argument;
	uint64_t debug[4];

	for (size_t i = 0; i < sizeof(held_msrs) / sizeof(held_msrs[0]); i++) {
		const struct held_msr *held = &held_msrs[i];
		uint64_t found;

		if (!has_msr(held))
			continue;
		found = read_msr(held->msr);
		if (found == msr_value(cpu, held))
			continue;
		register_lost(&cpu->bare, held->msr, msr_value(cpu, held), found);
		write_msr(held->msr, msr_value(cpu, held));
	}
	__asm__ volatile("movq %%dr0, %0" : "=r"(debug[0]));
	__asm__ volatile("movq %%dr1, %0" : "=r"(debug[1]));
	__asm__ volatile("movq %%dr2, %0" : "=r"(debug[2]));
	__asm__ volatile("movq %%dr3, %0" : "=r"(debug[3]));
	for (unsigned i = 0; i < 4; i++)
		if (debug[i] != debug_value(cpu, i))
			register_lost(&cpu->bare, REGISTER_DEBUG + i, debug_value(cpu, i), debug[i]);
	return 0;
}

/* ---- vector registers ---- */

#define EACH_VECTOR(do) do(0) do(1) do(2) do(3) do(4) do(5) do(6) do(7) do(8) do(9) do(10) do(11) \
	do(12) do(13) do(14) do(15)
#define LOAD_YMM(n) "vmovdqu " #n "*32(%0), %%ymm" #n "\n\t"
#define LOAD_XMM(n) "movdqu " #n "*32(%0), %%xmm" #n "\n\t"
#define STORE_YMM(n) "vmovdqu %%ymm" #n ", " #n "*32(%0)\n\t"
#define STORE_XMM(n) "movdqu %%xmm" #n ", " #n "*32(%0)\n\t"

static void load_vectors(const struct held_registers *held)
{
	if (held->vector_words == 4)
		__asm__ volatile(EACH_VECTOR(LOAD_YMM) : : "r"(held->vector) : "memory");
	else
		__asm__ volatile(EACH_VECTOR(LOAD_XMM) : : "r"(held->vector) : "memory");
}

static void store_vectors(const struct held_registers *held, uint64_t (*to)[4])
{
	if (held->vector_words == 4)
		__asm__ volatile(EACH_VECTOR(STORE_YMM) : : "r"(to) : "memory");
	else
		__asm__ volatile(EACH_VECTOR(STORE_XMM) : : "r"(to) : "memory");
}

static void check_vectors(struct cpu *cpu)
{
	const struct held_registers *held = &cpu->held;
	uint64_t found[16][4];
	bool good = true;

	store_vectors(held, found);
	for (unsigned i = 0; i < 16; i++) {
		for (unsigned j = 0; j < held->vector_words; j++) {
			if (found[i][j] == held->vector[i][j])
				continue;
			if (good)
				register_lost(&cpu->bare, REGISTER_VECTOR + i,
					      held->vector[i][j], found[i][j]);
			good = false;
		}
	}
	if (!good)
		load_vectors(held);
}

/* ---- both ---- */

void arch_registers_hold(struct bare_cpu *bare)
{
	struct cpu *cpu = cpu_of(bare);

	for (unsigned i = 0; i < 16; i++)
		for (unsigned j = 0; j < 4; j++)
			cpu->held.vector[i][j] = worker_mix(i * 4 + j, bare->guest.id);
	load_vectors(&cpu->held);
	(void) kernel(kernel_hold, cpu);
}

void arch_registers_check(struct bare_cpu *bare)
{
	check_vectors(cpu_of(bare));
	(void) kernel(kernel_check, cpu_of(bare));
}
