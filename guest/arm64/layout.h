/* SPDX-License-Identifier: MIT */
/* layout.h - numbers that C and assembly of the bare-metal guest share. */
#ifndef GUEST_ARM64_LAYOUT_H
#define GUEST_ARM64_LAYOUT_H

/* The area of a vCPU: struct cpu at its beginning, found from the stack, which is at its end. */
#define CPU_BYTES	0x8000
#define CPU_SHIFT	15

/* Kinds of entries of MAIR_EL1, and what it holds of them. */
#define MEMORY_NORMAL	0		/* write-back */
#define MEMORY_DEVICE	1		/* nGnRE */
#define MEMORY_KINDS	0x04ff

/* Page table entries: 1 GiB of such a kind, that is not executed or shared; a table. */
#define ENTRY_NORMAL	0x701		/* valid, accessed, inner shareable */
#define ENTRY_DEVICE	0x60000000000405
#define ENTRY_TABLE	0x3

/* What an exception came by: what is behind entry.S's vectors. */
#define BY_SYNC		0
#define BY_SERROR	1
#define BY_OTHER	2

#endif
