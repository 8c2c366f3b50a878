/* SPDX-License-Identifier: MIT */
/*
 * entry.S - the way from real mode into ring 3, and from there into ring 0 and back.
 *
 * Every vCPU comes in at `entry` and ends up in user_main() in ring 3, where all work is done, with
 * interrupts on. Ring 0 does no more than it must: it counts interrupts, waits, and makes calls.
 */
#include "layout.h"

	.section .entry, "ax"
	.code16
	.globl	entry
entry:
	cli
	xorw	%ax, %ax
	movw	%ax, %ds
	lgdtl	gdt_pointer
	movl	$0x20, %eax		/* PAE */
	movl	%eax, %cr4
	movl	$level4, %eax
	movl	%eax, %cr3
	movl	$MSR_EFER, %ecx
	rdmsr
	orl	$EFER_LONG, %eax
	wrmsr
	movl	$0x80000033, %eax	/* PG, NE, ET, MP, PE; caches on */
	movl	%eax, %cr0
	ljmpl	$KERNEL_CODE, $start64

	.balign	8
gdt_pointer:
	.word	gdt_end - gdt - 1
	.long	gdt

	.text
	.code64
start64:
	movl	$KERNEL_DATA, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	xorl	%eax, %eax
	movl	%eax, %fs
	movl	%eax, %gs
	movl	$(LAPIC + LAPIC_ID), %eax
	movl	(%rax), %edi
	shrl	$24, %edi
	cmpl	$8, %edi		/* GUEST_CPUS_MAX */
	jae	halt
	movl	%edi, %ebx
	shlq	$CPU_SHIFT, %rbx
	leaq	cpu_areas(%rbx), %rbx
	leaq	CPU_KERNEL_STACK(%rbx), %rsp
	call	kernel_start
	/* As if coming back from an interrupt; IF on. */
	pushq	$USER_DATA
	leaq	(CPU_BYTES - 8)(%rbx), %rax
	pushq	%rax
	pushq	$0x202
	pushq	$USER_CODE
	pushq	$user_main
	movq	%rbx, %rdi
	xorl	%ebp, %ebp
	iretq

halt:
	cli
	hlt
	jmp	halt

/* ---- out of ring 3, or of `wait` ---- */

	.balign	16
	.globl	stubs
stubs:
	.set	vector, 0
	.rept	256
	.balign	16
	.if	vector >= 32
	pushq	$vector
	jmp	interrupt
	.else
	/* Those that the processor pushes an error code for: one less. */
	.set	coded, vector == 8 || (vector >= 10 && vector <= 14) || vector == 17
	.if	!(coded || vector == 21 || vector == 29 || vector == 30)
	pushq	$0
	.endif
	pushq	$vector
	jmp	exception
	.endif
	.set	vector, vector + 1
	.endr

/*
 * Counted for ring 3 to take. Ended here, but for levels: those when their handler has run, and
 * until then the task priority keeps their class back.
 */
	.balign	16
interrupt:
	pushq	%rax
	pushq	%rcx
	movl	16(%rsp), %ecx
	movq	%rsp, %rax
	andq	$-CPU_BYTES, %rax
	incl	CPU_ARRIVED(%rax, %rcx, 4)
	movl	$1, CPU_ATTENTION(%rax)
	cmpl	$VECTOR_MESSAGE, %ecx
	jb	1f
	cmpl	$VECTOR_SPURIOUS, %ecx
	je	2f
	movl	$(LAPIC + LAPIC_END), %eax
	movl	$0, (%rax)
	jmp	2f
1:
	movl	$(LAPIC + LAPIC_TASK), %eax
	movl	$VECTOR_LEVEL, (%rax)
2:
	popq	%rcx
	popq	%rax
	addq	$8, %rsp
	iretq

/*
 * ud2 of ring 3. rdi: function to call with rsi; rax is what it returned. rdi 0: wait until an
 * interrupt is counted, the timer set to rsi ticks from now (0: as it is set). What else is no
 * instruction, or in ring 0, is an exception like others.
 */
	.balign	16
	.globl	kernel_entry
kernel_entry:
	testb	$3, 8(%rsp)
	jz	stubs + 16 * VECTOR_CALL
	movq	(%rsp), %rax
	cmpw	$CALL_OPCODE, (%rax)
	jne	stubs + 16 * VECTOR_CALL
	addq	$CALL_BYTES, (%rsp)
	testq	%rdi, %rdi
	jz	wait
	movq	%rdi, %rax
	movq	%rsi, %rdi
	subq	$8, %rsp
	call	*%rax
	addq	$8, %rsp
	iretq

wait:
	movq	%rsp, %rdi
	andq	$-CPU_BYTES, %rdi
	rdtsc
	shlq	$32, %rdx
	orq	%rdx, %rax
	movq	%rax, CPU_KERNEL_TSC(%rdi)
	testq	%rsi, %rsi
	jz	2f
	cmpl	$0, CPU_DEADLINE(%rdi)
	je	1f
	addq	%rsi, %rax
	movq	%rax, %rdx
	shrq	$32, %rdx
	movl	$MSR_DEADLINE, %ecx
	wrmsr
	jmp	2f
1:
	movl	$(LAPIC + LAPIC_COUNT), %eax
	movl	%esi, (%rax)
2:
	cmpl	$0, CPU_ATTENTION(%rdi)
	jne	3f
	sti				/* takes effect behind hlt */
	hlt
	cli
3:
	iretq

exception:
	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	pushq	%rbx
	pushq	%rbp
	pushq	%rsi
	pushq	%rdi
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	movq	%rsp, %rdi
	andq	$-16, %rsp
	call	kernel_exception
	jmp	halt

/* ---- tables ---- */

	.data
	.balign	16
	.globl	gdt
gdt:
	.quad	0
	.quad	0x00af9b000000ffff	/* KERNEL_CODE */
	.quad	0x00cf93000000ffff	/* KERNEL_DATA */
	.quad	0x00cff3000000ffff	/* USER_DATA */
	.quad	0x00affb000000ffff	/* USER_CODE */
	.fill	16, 8, 0		/* TASK_FIRST, two for each vCPU */
gdt_end:

/* The first 4 GiB, for ring 3 too; paging.c adds the rest. From ALIAS on all of it once more. */
	.balign	4096
level4:
	.quad	level3_low + 7, level3_high + 7, level3_low + 7, level3_high + 7
	.fill	508, 8, 0
	.globl	level3_low
level3_low:
	.quad	level2 + 7, level2 + 0x1007, level2 + 0x2007, level2 + 0x3007
	.fill	508, 8, 0
	.globl	level3_high
level3_high:
	.fill	512, 8, 0
level2:
	.set	page, 0
	.rept	2048
	.quad	page + 0x87		/* 2 MiB */
	.set	page, page + 0x200000
	.endr

	.section .note.GNU-stack, "", @progbits
