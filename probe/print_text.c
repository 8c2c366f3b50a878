/* SPDX-License-Identifier: MIT */
/* print_text.c - facts and findings for people; see probe.h. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "print.h"
#include "vferry_vfio.h"

#define LABEL "  %-18s "
#define TABLE "%-14s %-10s %-18s %-9s %s%s\n"

static void line(FILE *to, const char *label, const char *value)
{
	(void) fprintf(to, LABEL "%s\n", label, value);
}

static void print_bytes(FILE *to, const char *label, struct probe_number bytes)
{
	char size[32];

	line(to, label, bytes.known ? probe_bytes_text(bytes.value, size) : "unknown");
}

/* ---- the host ---- */

static void print_host(FILE *to, const struct probe_host *h)
{
	(void) fprintf(to, "host\n");
	(void) fprintf(to, LABEL "%s %s\n", "kernel", h->release[0] ? h->release : "unknown",
		       h->architecture);
	(void) fprintf(to, LABEL "%s%s\n", "IOMMU",
		       h->iommu == PROBE_YES ? "on" : h->iommu == PROBE_NO ? "off" : "unknown",
		       h->iommu_tracks == PROBE_YES ? ", can track dirty memory" :
		       h->iommu_tracks == PROBE_NO ? ", cannot track dirty memory" : "");
	(void) fprintf(to, LABEL "%s%s\n", "VFIO",
		       h->container == PROBE_YES ? "container" : "no container",
		       h->iommufd == PROBE_YES ? ", iommufd" : ", no iommufd");
	line(to, "KVM", probe_answer_name(h->kvm));
	(void) fprintf(to, LABEL "%s (%s)\n", "direct injection",
		       h->injection == PROBE_YES ? "on" : h->injection == PROBE_NO ? "off" : "unknown",
		       h->injection_why);
	if (h->lock_exempt == PROBE_YES)
		line(to, "memory lock limit", "none (CAP_IPC_LOCK)");
	else if (h->lock_limit.known && h->lock_limit.value == UINT64_MAX)
		line(to, "memory lock limit", "none");
	else
		print_bytes(to, "memory lock limit", h->lock_limit);
	print_bytes(to, "memory", h->memory);
}

/* ---- a device ---- */

static void print_group(FILE *to, const struct probe_sysfs *s)
{
	if (s->group < 0) {
		line(to, "IOMMU group", "none");
		return;
	}
	(void) fprintf(to, LABEL "%d", "IOMMU group", s->group);
	for (uint32_t i = 0; i < s->member_count; i++) {
		const struct probe_member *m = &s->members[i];

		if (strcmp(m->name, s->address) != 0)
			(void) fprintf(to, ", with %s (%s%s)", m->name, m->bridge ? "bridge, " : "",
				       m->driver[0] ? m->driver : "no driver");
	}
	(void) fprintf(to, "%s\n", s->members_cut ? ", and more" : s->member_count == 1 ? ", alone" : "");
}

static void print_resets(FILE *to, const struct probe_facts *f)
{
	if (f->sysfs.reset_methods[0])
		line(to, "reset", f->sysfs.reset_methods);
	else if (f->vfio.asked == PROBE_ASKED)
		line(to, "reset", f->vfio.resets ? "yes" : "none");
	else
		line(to, "reset", probe_answer_name(f->sysfs.resets));
}

static void print_interrupts(FILE *to, const struct probe_facts *f)
{
	if (f->vfio.asked == PROBE_ASKED)
		(void) fprintf(to, LABEL "MSI-X %u, MSI %u, INTx %u\n", "interrupts",
			       f->vfio.irqs[VF_VFIO_PCI_MSIX_IRQ], f->vfio.irqs[VF_VFIO_PCI_MSI_IRQ],
			       f->vfio.irqs[VF_VFIO_PCI_INTX_IRQ]);
	else if (f->msix_vectors.known)
		(void) fprintf(to, LABEL "MSI-X %" PRIu64 "\n", "interrupts", f->msix_vectors.value);
	else
		line(to, "interrupts", "unknown");
}

static void print_bars(FILE *to, const struct probe_vfio *v)
{
	char size[32];
	bool any = false;

	for (uint32_t i = 0; i <= VF_VFIO_PCI_BAR5_REGION; i++) {
		if (!v->regions[i].size)
			continue;
		if (!any)
			(void) fprintf(to, LABEL, "BARs");
		(void) fprintf(to, "%s%u: %s", any ? ", " : "", i,
			       probe_bytes_text(v->regions[i].size, size));
		any = true;
	}
	if (any)
		(void) fputc('\n', to);
}

static void print_migration(FILE *to, const struct probe_vfio *v)
{
	if (v->asked != PROBE_ASKED || v->migration == PROBE_UNKNOWN) {
		line(to, "migration", "unknown");
		return;
	}
	if (v->migration == PROBE_NO) {
		line(to, "migration", "none");
		return;
	}
	(void) fprintf(to, LABEL "STOP_COPY%s%s\n", "migration",
		       v->flags & VF_VFIO_MIGRATION_P2P ? " P2P" : "",
		       v->flags & VF_VFIO_MIGRATION_PRE_COPY ? " PRE_COPY" : "");
	line(to, "dirty tracking",
	     v->dma_log ? "by the device" : v->iommu_dirty ? "by the IOMMU" : "none");
	print_bytes(to, "state size", v->state_bytes);
}

void probe_text_device(FILE *to, const struct probe_host *host, const struct probe_report *report)
{
	const struct probe_facts *f = report->facts;
	const struct probe_verdict *v = report->verdict;

	print_host(to, host);
	(void) fprintf(to, "\n%s", f->name);
	if (f->has_ids)
		(void) fprintf(to, "  %04x:%04x", f->vendor, f->device);
	(void) fprintf(to, "%s%s\n", report->product[0] ? "  " : "", report->product);
	if (f->sysfs.found) {
		line(to, "driver", f->sysfs.driver[0] ? f->sysfs.driver : "none");
		if (f->sysfs.better_driver[0])
			line(to, "made for it", f->sysfs.better_driver);
		if (f->sysfs.cdev[0])
			line(to, "character device", f->sysfs.cdev);
		print_group(to, &f->sysfs);
		if (f->sysfs.physical_function[0])
			line(to, "virtual of", f->sysfs.physical_function);
		if (f->sysfs.numa_node.known)
			(void) fprintf(to, LABEL "%" PRIu64 "\n", "NUMA node", f->sysfs.numa_node.value);
	}
	print_resets(to, f);
	print_interrupts(to, f);
	if (f->vfio.asked == PROBE_ASKED)
		line(to, "reached by", f->vfio.backend);
	print_bars(to, &f->vfio);
	print_migration(to, &f->vfio);
	(void) fprintf(to, "\nmigratable: %s\n", probe_answer_name(v->migratable));
	for (uint32_t i = 0; i < v->count; i++) {
		const struct probe_finding *finding = &v->findings[i];

		(void) fprintf(to, "  %-6s %s (%s)\n", probe_weight_name(finding->weight), finding->text,
			       finding->id);
		if (finding->remedy[0])
			(void) fprintf(to, "         -> %s\n", finding->remedy);
	}
	if (report->measured)
		probe_text_measured(to, report);
	if (report->forecast)
		probe_text_forecast(to, report);
}

void probe_text_head(FILE *to)
{
	(void) fprintf(to, TABLE, "device", "id", "driver", "migrates", "because", "");
}

void probe_text_line(FILE *to, const struct probe_report *report)
{
	const struct probe_facts *f = report->facts;
	const struct probe_verdict *v = report->verdict;
	const char *name = strncmp(f->name, "vfio:", 5) ? f->name : f->name + 5;
	char ids[16] = "-";

	if (f->has_ids)
		(void) snprintf(ids, sizeof(ids), "%04x:%04x", f->vendor, f->device);
	(void) fprintf(to, TABLE, name, ids, f->sysfs.driver[0] ? f->sysfs.driver : "-",
		       probe_answer_name(v->migratable),
		       v->count && v->findings[0].weight >= PROBE_DOUBT ? v->findings[0].id : "",
		       v->count > 1 && v->findings[1].weight >= PROBE_DOUBT ? " ..." : "");
}
