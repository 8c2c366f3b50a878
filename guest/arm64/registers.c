/* SPDX-License-Identifier: MIT */
/*
 * registers.c - registers that nothing here uses hold values, and are looked at again and again, as
 * are those that say what the processor is: so a move of the machine that loses one is noticed. The
 * compiler is told to use no vector registers.
 *
 * Each is written, and what is read back then is what it has to hold: not all have all their bits.
 */
#include "cpu.h"

enum { REGISTER_VECTOR = 0 };	/* numbers in faults; else the register's own, as KVM has it */

#define ALL		UINT64_MAX
#define ADDRESS		0x0000fffffffff000ull
#define BREAK_ADDRESS	0x00007ffffffffffcull

/* op0, op1, CRn, CRm, op2; the bits that are written. */
#define HELD_REGISTERS(do)							\
	do(3, 3, 13, 0, 2, ALL)			/* TPIDR_EL0 */			\
	do(3, 3, 13, 0, 3, ALL)			/* TPIDRRO_EL0 */		\
	do(3, 0, 13, 0, 4, ALL)			/* TPIDR_EL1 */			\
	do(3, 0, 13, 0, 1, 0xffffffff)		/* CONTEXTIDR_EL1 */		\
	do(3, 0, 4, 1, 0, ALL)			/* SP_EL0 */			\
	do(3, 0, 2, 0, 1, ADDRESS)		/* TTBR1_EL1: no walks */	\
	do(3, 0, 5, 1, 0, ALL)			/* AFSR0_EL1 */			\
	do(3, 0, 5, 1, 1, ALL)			/* AFSR1_EL1 */			\
	do(3, 0, 5, 2, 0, 0xffffffff)		/* ESR_EL1 */			\
	do(3, 0, 6, 0, 0, ALL)			/* FAR_EL1 */			\
	do(3, 0, 7, 4, 0, ADDRESS)		/* PAR_EL1 */			\
	do(3, 0, 10, 3, 0, ALL)			/* AMAIR_EL1 */			\
	do(3, 2, 0, 0, 0, 0x1)			/* CSSELR_EL1 */		\
	do(3, 0, 14, 1, 0, 0x303)		/* CNTKCTL_EL1 */		\
	do(3, 3, 14, 2, 2, ALL)			/* CNTP_CVAL_EL0: off */	\
	do(3, 3, 4, 4, 0, 0x07c00000)		/* FPCR */			\
	do(3, 3, 4, 4, 1, 0x0800009f)		/* FPSR */			\
	do(2, 0, 0, 0, 4, BREAK_ADDRESS)	/* DBGBVR0_EL1: off */		\
	do(2, 0, 0, 1, 4, BREAK_ADDRESS)	/* DBGBVR1_EL1 */		\
	do(2, 0, 0, 0, 6, BREAK_ADDRESS)	/* DBGWVR0_EL1 */		\
	do(2, 0, 0, 1, 6, BREAK_ADDRESS)	/* DBGWVR1_EL1 */

/* Those that say what the processor is: they hold what they held at power-on. */
#define IDENTITY_REGISTERS(do)							\
	do(3, 0, 0, 0, 0, 0)			/* MIDR_EL1 */			\
	do(3, 0, 0, 0, 5, 0)			/* MPIDR_EL1 */			\
	do(3, 0, 0, 0, 6, 0)			/* REVIDR_EL1 */		\
	do(3, 0, 0, 4, 0, 0)			/* ID_AA64PFR0_EL1 */		\
	do(3, 0, 0, 4, 1, 0)			/* ID_AA64PFR1_EL1 */		\
	do(3, 0, 0, 5, 0, 0)			/* ID_AA64DFR0_EL1 */		\
	do(3, 0, 0, 6, 0, 0)			/* ID_AA64ISAR0_EL1 */		\
	do(3, 0, 0, 6, 1, 0)			/* ID_AA64ISAR1_EL1 */		\
	do(3, 0, 0, 7, 0, 0)			/* ID_AA64MMFR0_EL1 */		\
	do(3, 0, 0, 7, 1, 0)			/* ID_AA64MMFR1_EL1 */		\
	do(3, 0, 0, 7, 2, 0)			/* ID_AA64MMFR2_EL1 */		\
	do(3, 1, 0, 0, 1, 0)			/* CLIDR_EL1 */			\
	do(3, 3, 0, 0, 1, 0)			/* CTR_EL0 */			\
	do(3, 3, 0, 0, 7, 0)			/* DCZID_EL0 */			\
	do(3, 3, 14, 0, 0, 0)			/* CNTFRQ_EL0 */

#define NUMBER(op0, op1, crn, crm, op2) \
	((op0) << 14 | (op1) << 11 | (crn) << 7 | (crm) << 3 | (op2))
#define PHYSICAL_TIMER	NUMBER(3, 3, 14, 2, 2)
#define NAME(op0, op1, crn, crm, op2) \
	"s" #op0 "_" #op1 "_c" #crn "_c" #crm "_" #op2
#define LINE(op0, op1, crn, crm, op2, mask) { NUMBER(op0, op1, crn, crm, op2), mask },
#define READ_CASE(op0, op1, crn, crm, op2, mask)				\
	case NUMBER(op0, op1, crn, crm, op2):					\
		return READ_REGISTER(NAME(op0, op1, crn, crm, op2));
#define WRITE_CASE(op0, op1, crn, crm, op2, mask)				\
	case NUMBER(op0, op1, crn, crm, op2):					\
		WRITE_REGISTER(NAME(op0, op1, crn, crm, op2), value);		\
		break;

static const struct held_register {
	uint32_t number;
	uint64_t mask;
} registers[] = { HELD_REGISTERS(LINE) IDENTITY_REGISTERS(LINE) };

#define COUNT	(sizeof(registers) / sizeof(registers[0]))
_Static_assert(COUNT <= HELD_MAX, "all have a place");

static uint64_t read_register(uint32_t number)
{
	switch (number) {
	HELD_REGISTERS(READ_CASE)
	IDENTITY_REGISTERS(READ_CASE)
	default:
		return 0;
	}
}

/* Identity registers can't be written, and are left alone. */
static void write_register(uint32_t number, uint64_t value)
{
	switch (number) {
	HELD_REGISTERS(WRITE_CASE)
	default:
		break;
	}
}

/* Before Linux 6.4 a VMM can't read it, nor write it. */
static bool moves(uint32_t number)
{
	return number != PHYSICAL_TIMER || boot.arm64.physical_timer;
}

static void hold_registers(struct cpu *cpu)
{
	for (unsigned i = 0; i < COUNT; i++) {
		const uint64_t value = worker_mix(registers[i].number, cpu->bare.guest.id);

		write_register(registers[i].number, value & registers[i].mask);
	}
	synchronize();
	for (unsigned i = 0; i < COUNT; i++)
		cpu->held.system[i] = read_register(registers[i].number);
}

static void check_registers(struct cpu *cpu)
{
	for (unsigned i = 0; i < COUNT; i++) {
		const uint64_t expected = cpu->held.system[i];
		const uint64_t found = read_register(registers[i].number);

		if (found == expected || !moves(registers[i].number))
			continue;
		register_lost(&cpu->bare, registers[i].number, expected, found);
		write_register(registers[i].number, expected);
	}
	synchronize();
}

/* ---- vector registers ---- */

#define EACH_PAIR(do) do(0, 1) do(2, 3) do(4, 5) do(6, 7) do(8, 9) do(10, 11) do(12, 13) \
	do(14, 15) do(16, 17) do(18, 19) do(20, 21) do(22, 23) do(24, 25) do(26, 27) \
	do(28, 29) do(30, 31)
#define LOAD_PAIR(a, b) "ldp q" #a ", q" #b ", [%0, #" #a " * 16]\n\t"
#define STORE_PAIR(a, b) "stp q" #a ", q" #b ", [%0, #" #a " * 16]\n\t"

static void load_vectors(const struct held_registers *held)
{
	__asm__ volatile(EACH_PAIR(LOAD_PAIR) : : "r"(held->vector) : "memory");
}

static void check_vectors(struct cpu *cpu)
{
	const struct held_registers *held = &cpu->held;
	uint64_t found[32][2];
	bool good = true;

	__asm__ volatile(EACH_PAIR(STORE_PAIR) : : "r"(found) : "memory");
	for (unsigned i = 0; i < 32; i++) {
		const unsigned wrong = found[i][0] == held->vector[i][0];

		if (found[i][wrong] == held->vector[i][wrong])
			continue;
		register_lost(&cpu->bare, REGISTER_VECTOR + i, held->vector[i][wrong],
			      found[i][wrong]);
		good = false;
	}
	if (!good)
		load_vectors(held);
}

/* ---- both ---- */

void arch_registers_hold(struct bare_cpu *bare)
{
	struct cpu *cpu = cpu_of(bare);

	for (unsigned i = 0; i < 32; i++)
		for (unsigned j = 0; j < 2; j++)
			cpu->held.vector[i][j] = worker_mix(i * 2 + j, bare->guest.id);
	load_vectors(&cpu->held);
	hold_registers(cpu);
}

void arch_registers_check(struct bare_cpu *bare)
{
	check_vectors(cpu_of(bare));
	check_registers(cpu_of(bare));
}
