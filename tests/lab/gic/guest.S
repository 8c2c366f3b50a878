/* SPDX-License-Identifier: MIT */
/*
 * guest.S - what a guest does for a scenario. The VMM copies all of it into the guest's memory, puts
 * arguments into x0 and x1, the address that ends it into x28, and the PC on a routine. The result
 * is what is stored to [x28]. Interrupts are masked, the MMU is off.
 */
	.macro routine name
	.globl	\name
\name:
	.endm

	.section .rodata
	.balign	16
	.globl	guest_start
guest_start:
	b	guest_done

routine guest_load8
	ldrb	w0, [x0]
	b	guest_done
routine guest_load32
	ldr	w0, [x0]
	b	guest_done
routine guest_load64
	ldr	x0, [x0]
	b	guest_done
routine guest_store8
	strb	w1, [x0]
	b	guest_done
routine guest_store32
	str	w1, [x0]
	b	guest_done
routine guest_store64
	str	x1, [x0]
	b	guest_done
routine guest_ack
	mrs	x0, S3_0_C12_C12_0	/* ICC_IAR1_EL1 */
	b	guest_done
routine guest_eoi
	msr	S3_0_C12_C12_1, x0	/* ICC_EOIR1_EL1 */
	b	guest_done
routine guest_icc_pmr
	msr	S3_0_C4_C6_0, x0
	b	guest_done
routine guest_icc_igrpen1
	msr	S3_0_C12_C12_7, x0
	b	guest_done
routine guest_icc_ctlr
	msr	S3_0_C12_C12_4, x0
guest_done:
	isb
	dsb	sy
	str	x0, [x28]
1:	b	1b

/* Runs for ever, and says so first. */
routine guest_spin
	mov	w1, #1
	str	w1, [x0]
2:	b	2b

	.globl	guest_end
guest_end:
