/* SPDX-License-Identifier: MIT */
/*
 * entry.S - the way into C with the MMU on, and exceptions. Everything runs in EL1, on one stack.
 */
#include "layout.h"

	.section .entry, "ax"
	.globl	entry
entry:
	mov	x19, #0
	b	start
	/* By CPU_ON, with the vCPU's number. */
	.globl	entry_other
entry_other:
	mov	x19, x0
	b	start

	.text
	/*
	 * Nothing is written before caches are on: what a VMM wrote there through its own, and what is
	 * written here around them, could be two things.
	 */
start:
	ldr	x0, =MEMORY_KINDS
	msr	mair_el1, x0
	/* 48 bits by TTBR0 alone, pages of 4 KiB, tables in write-back, inner shareable memory. */
	ldr	x0, =0x803510
	mrs	x1, id_aa64mmfr0_el1
	and	x1, x1, #0xf
	cmp	x1, #5			/* 48 bits; more takes other tables */
	mov	x2, #5
	csel	x1, x1, x2, lo
	orr	x0, x0, x1, lsl #32
	msr	tcr_el1, x0
	adrp	x0, level0
	msr	ttbr0_el1, x0
	ldr	x0, =vectors
	msr	vbar_el1, x0
	mov	x0, #(3 << 20)		/* vector registers */
	msr	cpacr_el1, x0
	tlbi	vmalle1
	ic	iallu
	dsb	nsh
	isb
	ldr	x0, =0x30d0180d		/* MMU, caches, stack alignment */
	msr	sctlr_el1, x0
	isb
	ldr	x0, =cpu_areas
	add	x0, x0, x19, lsl #CPU_SHIFT
	add	x1, x0, #CPU_BYTES
	mov	sp, x1
	mov	x29, #0
	mov	x30, #0
	mov	x1, x19
	bl	kernel_start
halt:
	wfi
	b	halt

/* ---- exceptions ---- */

	.macro	ends by
	.balign	0x80
	mov	x0, sp
	and	x0, x0, #-CPU_BYTES
	mov	x1, #\by
	bl	kernel_exception
	b	halt
	.endm

	.balign	0x800
vectors:
	.rept	4			/* on another stack */
	ends	BY_OTHER
	.endr
	ends	BY_SYNC
	.balign	0x80
	b	interrupt
	ends	BY_OTHER
	ends	BY_SERROR
	.rept	8			/* out of EL0 */
	ends	BY_OTHER
	.endr

	/* Interrupts stay masked, so there is one level of this. No vector register is touched. */
	.balign	0x80
interrupt:
	sub	sp, sp, #176
	stp	x0, x1, [sp, #0]
	stp	x2, x3, [sp, #16]
	stp	x4, x5, [sp, #32]
	stp	x6, x7, [sp, #48]
	stp	x8, x9, [sp, #64]
	stp	x10, x11, [sp, #80]
	stp	x12, x13, [sp, #96]
	stp	x14, x15, [sp, #112]
	stp	x16, x17, [sp, #128]
	stp	x18, x29, [sp, #144]
	str	x30, [sp, #160]
	mov	x0, sp
	and	x0, x0, #-CPU_BYTES
	bl	gic_count
	ldp	x0, x1, [sp, #0]
	ldp	x2, x3, [sp, #16]
	ldp	x4, x5, [sp, #32]
	ldp	x6, x7, [sp, #48]
	ldp	x8, x9, [sp, #64]
	ldp	x10, x11, [sp, #80]
	ldp	x12, x13, [sp, #96]
	ldp	x14, x15, [sp, #112]
	ldp	x16, x17, [sp, #128]
	ldp	x18, x29, [sp, #144]
	ldr	x30, [sp, #160]
	add	sp, sp, #176
	eret

/* ---- page tables ---- */

/* Devices below RAM, and the first of RAM; paging.c adds the rest. */
	.data
	.balign	4096
	.globl	level0
level0:
	.quad	level1 + ENTRY_TABLE
	.fill	511, 8, 0
level1:
	.quad	ENTRY_DEVICE, 0x40000000 + ENTRY_NORMAL
	.fill	510, 8, 0

	.section .note.GNU-stack, "", @progbits
