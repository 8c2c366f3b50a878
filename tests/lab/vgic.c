/* SPDX-License-Identifier: MIT */
/* vgic.c - see vgic.h. */
#define _GNU_SOURCE
#include <string.h>
#include <unistd.h>

#include "vgic.h"

void vgic_path(int vm, char ret_path[VGIC_PATH])
{
	(void) snprintf(ret_path, VGIC_PATH, "/sys/kernel/debug/kvm/%d-%d/vgic-state", getpid(), vm);
}

bool vgic_next_lpi(FILE *state, struct vgic_lpi *ret_lpi)
{
	char line[256];

	while (fgets(line, sizeof(line), state)) {
		char type[8], bits[16];
		unsigned int intid;
		int cpu;

		if (sscanf(line, " %7s %u %d %15s", type, &intid, &cpu, bits) != 4 ||
		    strcmp(type, "LPI") || strlen(bits) < 5)
			continue;
		*ret_lpi = (struct vgic_lpi) {
			.intid = intid, .pending = bits[0] == '1', .hw = bits[4] == '1',
		};
		return true;
	}
	return false;
}
