/* SPDX-License-Identifier: MIT */
/* vgic.h - the interrupts of a VM, as KVM itself tells of them: debugfs's vgic-state. */
#ifndef TESTS_LAB_VGIC_H
#define TESTS_LAB_VGIC_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define VGIC_PATH	64	/* bytes */

struct vgic_lpi {
	uint32_t intid;
	bool pending;
	bool hw;	/* hardware delivers it */
};

/* The file of a VM that this process's first thread made. It has one reader at a time, others get EBUSY. */
void vgic_path(int vm, char ret_path[VGIC_PATH]);

/* The next LPI; false: there is none, or ferror(). */
bool vgic_next_lpi(FILE *state, struct vgic_lpi *ret_lpi);

#endif
