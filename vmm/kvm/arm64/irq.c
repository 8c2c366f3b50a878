/* SPDX-License-Identifier: MIT */
/*
 * irq.c - how KVM's GIC is wired, and where messages go.
 *
 * Forwarding. With GICv4 a message of a device that the host's interrupt controller translates may go
 * straight into a vCPU, past its eventfd. KVM says so in a file of debugfs alone, interrupt by
 * interrupt (LPIs), and does not say which message an LPI stands for: what can be had is how many
 * there are. It is off unless the host's kernel was started with kvm-arm.vgic_v4_enable=1, and only
 * devices of the kernel's can have it: that is looked at first.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "arm64.h"

#define V4_WORD		"kvm-arm.vgic_v4_enable="
#define LPI_FIRST	8192u

/* ---- pins ---- */

/* As KVM has it by itself (kvm_vgic_setup_default_irq_routing). */
void kvm_arch_add_routes(struct kvm_machine *m, struct kvm_irq_routing *table)
{
	(void) m;
	for (uint32_t spi = 0; spi < ARM64_SPIS; spi++)
		table->entries[table->nr++] = (struct kvm_irq_routing_entry) {
			.gsi = spi, .type = KVM_IRQ_ROUTING_IRQCHIP, .u.irqchip = { .pin = spi },
		};
}

const struct kvm_arch_pins *kvm_arch_pins(const struct kvm_machine *m)
{
	(void) m;
	return NULL;
}

void kvm_arch_serial_irq(struct kvm_machine *m, bool level)
{
	struct kvm_irq_level line = {
		.irq = KVM_ARM_IRQ_TYPE_SPI << KVM_ARM_IRQ_TYPE_SHIFT |
		       (ARM64_SPI_FIRST + ARM64_SERIAL_SPI),
		.level = level,
	};

	(void) ioctl(m->vm, KVM_IRQ_LINE, &line);
}

const char *kvm_arch_irqchip(const struct kvm_machine *m)
{
	(void) m;
	return "kernel";
}

/* ---- messages ---- */

/* One whose translation KVM has at hand is delivered at once, others by a work queue. */
bool kvm_arch_is_queued(const struct vferry_irq_route *route)
{
	(void) route;
	return true;
}

bool arm64_irq_host_forwards(void)
{
	char line[4096] = "";
	int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t bytes = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);
	const char *word;

	if (fd >= 0)
		(void) close(fd);
	if (bytes < 0)
		return true;	/* who knows */
	word = strstr(line, V4_WORD);
	return word && strchr("1yYtTo", word[sizeof(V4_WORD) - 1]);
}

int arm64_irq_open_state(const struct kvm_machine *m)
{
	char path[64];

	(void) snprintf(path, sizeof(path), "/sys/kernel/debug/kvm/%d-%d/vgic-state", (int) gettid(),
			m->vm);
	return open(path, O_RDONLY | O_CLOEXEC);
}

/* One line: kind, INTID, vCPU, then a digit for each of pending, line, active, enabled, hardware ... */
static bool is_forwarded(const char *line)
{
	char kind[8], flags[16];
	int intid, cpu;

	return sscanf(line, "%7s %d %d %15s", kind, &intid, &cpu, flags) == 4 &&
	       strcmp(kind, "LPI") == 0 && intid >= (int) LPI_FIRST && strlen(flags) >= 5 &&
	       flags[4] == '1';
}

/* Return: false, it can't be read. */
static bool count_forwarded(int state, unsigned *ret_count)
{
	char buffer[4096], line[128] = "";
	size_t used = 0;
	off_t at = 0;
	ssize_t got;

	*ret_count = 0;
	while ((got = pread(state, buffer, sizeof(buffer), at)) > 0) {
		at += got;
		for (ssize_t i = 0; i < got; i++) {
			if (buffer[i] != '\n') {
				if (used < sizeof(line) - 1)
					line[used++] = buffer[i];
				continue;
			}
			line[used] = '\0';
			*ret_count += is_forwarded(line);
			used = 0;
		}
	}
	return got == 0;
}

int kvm_arch_count_forwarded(struct kvm_machine *m, const char **ret_reason)
{
	unsigned count;

	if (!m->arch->forwards) {
		*ret_reason = "the host does not forward";
		return 0;
	}
	if (m->arch->gic_state < 0 || !count_forwarded(m->arch->gic_state, &count)) {
		*ret_reason = "debugfs, where KVM tells it, cannot be read";
		return -ENODATA;
	}
	*ret_reason = "KVM injects it";
	return (int) count;
}
