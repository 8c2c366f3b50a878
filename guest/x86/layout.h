/* SPDX-License-Identifier: MIT */
/* layout.h - numbers that C and assembly of the bare-metal guest share. */
#ifndef GUEST_X86_LAYOUT_H
#define GUEST_X86_LAYOUT_H

/* Segments */
#define KERNEL_CODE	0x08
#define KERNEL_DATA	0x10
#define USER_DATA	0x1b
#define USER_CODE	0x23
#define TASK_FIRST	0x28	/* 16 bytes for each vCPU */

/*
 * The area of a vCPU: struct cpu at its beginning, the stack of ring 0 down from its middle, that
 * of ring 3 down from its end. So ring 0 finds the struct from its stack pointer.
 */
#define CPU_BYTES	0x8000
#define CPU_SHIFT	15
#define CPU_KERNEL_STACK 0x4000
#define CPU_ATTENTION	0
#define CPU_DEADLINE	4
#define CPU_KERNEL_TSC	8
#define CPU_ARRIVED	16

/*
 * Vectors. Ring 3 calls ring 0 by ud2: that works wherever exceptions do, and hypervisors that run
 * ring 3 natively and emulate ring 0 may know neither `int` nor `syscall`. It is a fault: a vCPU that
 * is stopped and moved on the way from one ring to the other is so before ud2 or behind it. int3 is
 * no fault, and KVM_GET_VCPU_EVENTS does not tell of it: where a hypervisor has advanced RIP by then,
 * such a call is lost. A class of 16 is a priority; levels have the lowest, they are ended late.
 */
#define VECTOR_CALL	6	/* an invalid opcode, ud2 being one for ever */
#define CALL_OPCODE	0x0b0f
#define CALL_BYTES	2
#define VECTOR_LEVEL	0x20	/* + INTx pin; the serial line is the last of the class */
#define VECTOR_SERIAL	0x2f
#define VECTOR_MESSAGE	0x30	/* 12 for each device of the vCPU, up to 0xef */
#define VECTOR_TIMER	0xf0
#define VECTOR_WAKE	0xf1	/* from another vCPU */
#define VECTOR_SPURIOUS	0xff

/* The local APIC, and its registers */
#define LAPIC		0xfee00000
#define LAPIC_ID	0x20
#define LAPIC_TASK	0x80
#define LAPIC_END	0xb0
#define LAPIC_SPURIOUS	0xf0
#define LAPIC_IN_SERVICE 0x110	/* of vectors 0x20 to 0x3f */
#define LAPIC_COMMAND	0x300
#define LAPIC_TIMER	0x320
#define LAPIC_LINT0	0x350
#define LAPIC_LINT1	0x360
#define LAPIC_COUNT	0x380
#define LAPIC_DIVIDE	0x3e0

#define MSR_DEADLINE	0x6e0
#define MSR_EFER	0xc0000080
#define EFER_LONG	0x100

/* RAM appears a second time here, so that no address of it is NULL. */
#define ALIAS		0x10000000000

#endif
