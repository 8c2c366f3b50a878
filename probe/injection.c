/* SPDX-License-Identifier: MIT */
/*
 * injection.c - do interrupts of a passed through device reach a vCPU without the host's help?
 *
 *   arm64         GICv4 VLPIs, which KVM uses only where the command line says so; whether the GIC has
 *                 them, the kernel tells its log once
 *   x86, Intel    posted interrupts: APICv in KVM, and an IOMMU that can post
 *   x86, AMD      AVIC in KVM, and an IOMMU with a guest's virtual APIC
 *
 * Without it every interrupt goes through the host's kernel: correct, and slower.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "files.h"

#define CMDLINE_BYTES 4096u
#define RECORDS_MAX 100000u	/* of the kernel's log */
#define INTEL_CAP_POSTS 59u	/* of an IOMMU's capability register */
#define AMD_FEATURE_VAPIC 21u	/* GAM: of its extended features */

#define MODULE(name) "/sys/module/" name
#define PARAMETER(module, name) MODULE(module) "/parameters/" name

static void say(struct probe_host *host, enum probe_answer answer, const char *why)
{
	host->injection = answer;
	(void) snprintf(host->injection_why, sizeof(host->injection_why), "%s", why);
}

/* Where one question is left, and @answer is the answer to it. */
static void conclude(struct probe_host *host, enum probe_answer answer, const char *yes, const char *no,
		     const char *unknown)
{
	say(host, answer, answer == PROBE_YES ? yes : answer == PROBE_NO ? no : unknown);
}

/* The value of the last KEY=VALUE on the kernel's command line, as the kernel takes it; "" = none. */
static void find_argument(const char *cmdline, const char *key, char *to, size_t size)
{
	size_t length = strlen(key);

	to[0] = '\0';
	for (const char *at = cmdline; (at = strstr(at, key)) != NULL; at += length) {
		size_t n = strcspn(at + length + 1, " ");

		if ((at > cmdline && at[-1] != ' ') || at[length] != '=')
			continue;
		(void) snprintf(to, size, "%.*s", (int) (n < size ? n : size - 1), at + length + 1);
	}
}

/* ---- arm64 ---- */

/* What KVM said of GICv4 when it began. The log forgets, and may not be readable. */
static enum probe_answer ask_log(const struct vf_kernel *k)
{
	int fd = k->calls->open(k->user, "/dev/kmsg", O_RDONLY | O_NONBLOCK);
	enum probe_answer answer = PROBE_UNKNOWN;
	char record[8192 + 1];

	if (fd < 0)
		return PROBE_UNKNOWN;
	for (unsigned i = 0; i < RECORDS_MAX; i++) {
		ssize_t n = k->calls->read(k->user, fd, record, sizeof(record) - 1);

		if (n == -EPIPE)	/* this record was overwritten meanwhile */
			continue;
		if (n <= 0)
			break;
		record[n] = '\0';
		if (strstr(record, "GICv4 support enabled") || strstr(record, "GICv4.1 support enabled"))
			answer = PROBE_YES;
		else if (strstr(record, "GICv4 support disabled") ||
			 strstr(record, "GICv4.1 support disabled"))
			answer = PROBE_NO;
	}
	vf_close(&fd);
	return answer;
}

static void look_at_arm64(const struct vf_kernel *k, const char *cmdline, struct probe_host *host)
{
	char value[16];

	find_argument(cmdline, "kvm-arm.vgic_v4_enable", value, sizeof(value));
	if (!value[0] || !strchr("1yYtT", value[0])) {
		say(host, PROBE_NO, "kvm-arm.vgic_v4_enable=1 is not on the kernel's command line");
		return;
	}
	conclude(host, ask_log(k), "KVM uses GICv4", "KVM has GICv4 support disabled, as its log says",
		 "the command line asks for GICv4; whether the GIC has it the kernel's log does not say, "
		 "or not any more");
}

/* ---- x86 ---- */

static void look_at_intel(const struct vf_kernel *k, const char *cmdline, struct probe_host *host)
{
	enum probe_answer apicv = probe_read_switch(k, PARAMETER("kvm_intel", "enable_apicv"));
	char value[64];

	find_argument(cmdline, "intremap", value, sizeof(value));
	if (apicv == PROBE_NO)
		say(host, PROBE_NO, "APICv is off: no support in the CPU, or kvm_intel.enable_apicv=0");
	else if (strstr(value, "nopost") || strstr(value, "off"))
		say(host, PROBE_NO, "intremap= on the kernel's command line forbids posted interrupts");
	else if (apicv == PROBE_UNKNOWN)
		say(host, PROBE_UNKNOWN, "whether APICv is on can't be read");
	else
		conclude(host, probe_iommus_can(k, "intel-iommu/cap", INTEL_CAP_POSTS),
			 "APICv is on and the IOMMUs post interrupts",
			 "an IOMMU of this host can't post interrupts",
			 "no IOMMU says whether it can post interrupts");
}

static void look_at_amd(const struct vf_kernel *k, const char *cmdline, struct probe_host *host)
{
	enum probe_answer avic = probe_read_switch(k, PARAMETER("kvm_amd", "avic"));
	char value[32];

	find_argument(cmdline, "amd_iommu_intr", value, sizeof(value));
	if (avic == PROBE_NO)
		say(host, PROBE_NO, "AVIC is off: kvm_amd.avic=1 switches it on, where the CPU has it");
	else if (!strcmp(value, "legacy"))
		say(host, PROBE_NO, "amd_iommu_intr=legacy is on the kernel's command line");
	else if (avic == PROBE_UNKNOWN)
		say(host, PROBE_UNKNOWN, "whether AVIC is on can't be read");
	else
		conclude(host, probe_iommus_can(k, "amd-iommu/features", AMD_FEATURE_VAPIC),
			 "AVIC is on and the IOMMUs know guests' APICs",
			 "an IOMMU of this host knows no guest's APIC",
			 "no IOMMU says whether it knows guests' APICs");
}

void probe_injection(const struct vf_kernel *k, struct probe_host *host)
{
	char cmdline[CMDLINE_BYTES];

	(void) probe_read_line(k, "/proc/cmdline", cmdline, sizeof(cmdline));
	if (!strcmp(host->architecture, "aarch64"))
		look_at_arm64(k, cmdline, host);
	else if (probe_exists(k, MODULE("kvm_intel")))
		look_at_intel(k, cmdline, host);
	else if (probe_exists(k, MODULE("kvm_amd")))
		look_at_amd(k, cmdline, host);
	else
		say(host, PROBE_UNKNOWN, "KVM is not loaded, or says nothing of it");
}
