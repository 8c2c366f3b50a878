/* SPDX-License-Identifier: MIT */
/* host.c - what is true of the host; see probe.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/checked.h"
#include "files.h"

#define PROC_BYTES 16384u		/* of a file in /proc with lines; theirs have 1 to 4 KiB */
#define CAP_IPC_LOCK_BIT 14u

static int found_one(void *arg, const char *name)
{
	(void) name;
	*(bool *) arg = true;
	return 1;
}

static enum probe_answer has_groups(const struct vf_kernel *k)
{
	bool any = false;
	int r = k->calls->list(k->user, "/sys/kernel/iommu_groups", found_one, &any);

	if (r < 0 && r != -ENOENT)
		return PROBE_UNKNOWN;
	return any ? PROBE_YES : PROBE_NO;
}

static enum probe_answer has_node(const struct vf_kernel *k, const char *path)
{
	return probe_exists(k, path) ? PROBE_YES : PROBE_NO;
}

/* The line of @text that begins with @key, behind the key; NULL. */
static const char *find_line(const char *text, const char *key)
{
	size_t length = strlen(key);

	while (text) {
		if (!strncmp(text, key, length))
			return text + length;
		text = strchr(text, '\n');
		text = text ? text + 1 : NULL;
	}
	return NULL;
}

/* A file of /proc as a string. False: it can't be read. */
static bool read_proc(const struct vf_kernel *k, const char *path, char to[PROC_BYTES])
{
	ssize_t n = probe_read(k, path, to, PROC_BYTES - 1);

	to[n < 0 ? 0 : n] = '\0';
	return n > 0;
}

static void learn_limits(const struct vf_kernel *k, struct probe_host *host)
{
	char text[PROC_BYTES], word[32];
	const char *line;
	unsigned long long value;

	line = read_proc(k, "/proc/self/limits", text) ? find_line(text, "Max locked memory") : NULL;
	if (line && sscanf(line, " %31s", word) == 1) {
		if (!strcmp(word, "unlimited"))
			host->lock_limit = (struct probe_number) { UINT64_MAX, true };
		else if (sscanf(word, "%llu", &value) == 1)
			host->lock_limit = (struct probe_number) { value, true };
	}
	line = read_proc(k, "/proc/self/status", text) ? find_line(text, "CapEff:") : NULL;
	if (line && sscanf(line, " %llx", &value) == 1)
		host->lock_exempt = value >> CAP_IPC_LOCK_BIT & 1 ? PROBE_YES : PROBE_NO;
	line = read_proc(k, "/proc/meminfo", text) ? find_line(text, "MemTotal:") : NULL;
	if (line && sscanf(line, " %llu", &value) == 1 && value < UINT64_MAX / VF_KIB)
		host->memory = (struct probe_number) { value * VF_KIB, true };
}

void probe_host(const struct probe_root *root, struct probe_host *ret)
{
	const struct vf_kernel *k = probe_root_files(root);
	struct probe_host host = { 0 };
	struct utsname name;

	(void) probe_read_line(k, "/proc/sys/kernel/osrelease", host.release, sizeof(host.release));
	(void) probe_read_line(k, "/proc/sys/kernel/arch", host.architecture,
			       sizeof(host.architecture));
	if (!host.architecture[0] && probe_root_is_host(root) && uname(&name) == 0)
		(void) snprintf(host.architecture, sizeof(host.architecture), "%.15s", name.machine);
	host.iommu = has_groups(k);
	host.iommu_tracks = probe_iommus_track(k);
	host.container = has_node(k, "/dev/vfio/vfio");
	host.iommufd = has_node(k, "/dev/iommu");
	host.kvm = has_node(k, "/dev/kvm");
	learn_limits(k, &host);
	host.mappings = probe_read_number(k, "/sys/module/vfio_iommu_type1/parameters/dma_entry_limit");
	probe_injection(k, &host);
	*ret = host;
}
