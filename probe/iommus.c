/* SPDX-License-Identifier: MIT */
/*
 * iommus.c - what all of a host's IOMMUs can, by the registers that sysfs shows.
 *
 * Which of them a device is behind does not matter to an answer that is true of all; where they differ it
 * is "no", since a guest may be given any device.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>

#include "files.h"

#define IOMMUS "/sys/class/iommu"
#define INTEL_ECAP_TRACKS 45u	/* second-level access and dirty bits */
#define INTEL_ECAP_SCALABLE 43u	/* the mode in which they are */
#define AMD_FEATURE_TRACKS 52u	/* host dirty support */

struct iommu_search {
	const struct vf_kernel *k;
	const char *file;	/* below the IOMMU's folder */
	unsigned bit;
	unsigned seen, with;
};

/*
 * One hexadecimal number; or two, AMD's features and the second set of them, of which kernels before 6.7
 * put the second first. The first set has bits above 32 on every IOMMU, the second none that is defined.
 */
static bool parse_register(const char *text, uint64_t *ret)
{
	unsigned long long a, b;
	int n = sscanf(text, "%llx:%llx", &a, &b);

	if (n < 1 || (n == 2 && !(a >> 32) == !(b >> 32)))
		return false;
	*ret = n == 1 || a >> 32 ? a : b;
	return true;
}

static int look_at_iommu(void *arg, const char *name)
{
	struct iommu_search *s = arg;
	char folder[160], path[224], text[64];
	uint64_t value;

	if (!probe_path(folder, sizeof(folder), IOMMUS, name) ||
	    !probe_path(path, sizeof(path), folder, s->file) ||
	    probe_read_line(s->k, path, text, sizeof(text)) < 0 || !parse_register(text, &value))
		return 0;
	s->seen++;
	s->with += (unsigned) (value >> s->bit & 1);
	return 0;
}

enum probe_answer probe_iommus_can(const struct vf_kernel *k, const char *file, unsigned bit)
{
	struct iommu_search s = { .k = k, .file = file, .bit = bit };

	(void) k->calls->list(k->user, IOMMUS, look_at_iommu, &s);
	if (!s.seen)
		return PROBE_UNKNOWN;
	return s.with == s.seen ? PROBE_YES : PROBE_NO;
}

/* Arm's SMMUs show no registers there. */
enum probe_answer probe_iommus_track(const struct vf_kernel *k)
{
	enum probe_answer tracks = probe_iommus_can(k, "intel-iommu/ecap", INTEL_ECAP_TRACKS);

	if (tracks == PROBE_YES)
		return probe_iommus_can(k, "intel-iommu/ecap", INTEL_ECAP_SCALABLE);
	if (tracks == PROBE_NO)
		return tracks;
	return probe_iommus_can(k, "amd-iommu/features", AMD_FEATURE_TRACKS);
}
