/* SPDX-License-Identifier: MIT */
/* print_forecast.c - what was measured and what is predicted, for people; see probe.h. */
#include <stdio.h>

#include "base/checked.h"
#include "print.h"
#include "vferry_vfio.h"

#define ROUNDS_SHOWN 6u		/* the first ones; then the last */

const char *probe_bytes_text(uint64_t bytes, char to[32])
{
	static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB" };
	double value = (double) bytes;
	size_t unit = 0;

	while (value >= 1024 && unit + 1 < VF_ARRAY_COUNT(units)) {
		value /= 1024;
		unit++;
	}
	(void) snprintf(to, 32, value == (double) (uint64_t) value ? "%.0f %s" : "%.1f %s", value,
			units[unit]);
	return to;
}

static const char *time_text(uint64_t ns, char to[32])
{
	if (ns < 1000000)
		(void) snprintf(to, 32, "%.0f us", (double) ns / 1e3);
	else if (ns < 1000000000)
		(void) snprintf(to, 32, "%.1f ms", (double) ns / 1e6);
	else
		(void) snprintf(to, 32, "%.2f s", (double) ns / 1e9);
	return to;
}

void probe_text_measured(FILE *to, const struct probe_report *report)
{
	bool p2p = report->facts->vfio.flags & VF_VFIO_MIGRATION_P2P;
	char time[32], size[32], rate[32];

	(void) fprintf(to, "\nmeasured\n");
	for (int i = 0; i < PROBE_LEGS; i++) {
		const uint64_t ns = report->measured->legs[i].ns, bytes = report->measured->legs[i].bytes;

		if (!report->measured->legs[i].there)
			continue;
		(void) fprintf(to, "  %-24s %10s", probe_leg_name((enum probe_leg) i, p2p),
			       time_text(ns, time));
		if (bytes && ns)
			(void) fprintf(to, "  %s, %s/s", probe_bytes_text(bytes, size),
				       probe_bytes_text((uint64_t) ((double) bytes * 1e9 / (double) ns),
							rate));
		(void) fputc('\n', to);
	}
}

static void print_round(FILE *to, uint32_t number, const struct probe_round *round)
{
	char size[32], time[32], left[32];

	(void) fprintf(to, "  round %-3u %10s in %s, %s left", number,
		       probe_bytes_text(round->bytes, size), time_text(round->ns, time),
		       probe_bytes_text(round->left, left));
	if (round->throttle)
		(void) fprintf(to, ", guest slowed by %u %%", round->throttle);
	(void) fputc('\n', to);
}

/* What it comes to, where it does not come to a switchover, or not without harm. */
static void print_outcome(FILE *to, const struct probe_report *report)
{
	const struct probe_forecast *f = report->forecast;
	char limit[32];

	(void) time_text(report->wish->max_downtime_ns, limit);
	if (f->end == PROBE_SWITCHES)
		return;
	if (f->never == PROBE_NEVER_BLIND)
		(void) fprintf(to, "  it never fits %s: nobody knows which memory the device wrote, "
			       "so all of it goes in the pause\n", limit);
	else if (f->never == PROBE_NEVER_FIXED)
		(void) fprintf(to, "  it never fits %s: the device's state and steps alone take longer\n",
			       limit);
	else
		(void) fprintf(to, "  it does not come to %s: memory is dirtied as fast as it is sent\n",
			       limit);
	if (f->end == PROBE_GIVES_UP)
		(void) fprintf(to, "  the policy gives up then\n");
}

void probe_text_forecast(FILE *to, const struct probe_report *report)
{
	const struct probe_forecast *f = report->forecast;
	const struct probe_wish *w = report->wish;
	char a[32], b[32], c[32];

	(void) fprintf(to, "\nprediction: %s of memory at %s/s, dirtied at %s/s\n",
		       probe_bytes_text(w->memory.value, a), probe_bytes_text(w->bandwidth.value, b),
		       probe_bytes_text(w->dirty_rate, c));
	for (uint32_t i = 0; i < f->round_count; i++)
		if (i < ROUNDS_SHOWN || i + 1 == f->round_count)
			print_round(to, i + 1, &f->rounds[i]);
		else if (i == ROUNDS_SHOWN)
			(void) fprintf(to, "  ...\n");
	(void) fprintf(to, "  pause    %10s%s:", time_text(f->downtime_ns, a),
		       f->lower_bound ? " or more" : "");
	for (unsigned i = 0; i < PROBE_TERMS; i++)
		(void) fprintf(to, "%s %s %s", i ? "," : "", f->terms[i].name,
			       f->terms[i].known || f->terms[i].ns ? time_text(f->terms[i].ns, b)
								   : "unknown");
	(void) fputc('\n', to);
	if (f->end == PROBE_SWITCHES)
		(void) fprintf(to, "  total    %10s in %u round%s\n", time_text(f->total_ns, a),
			       f->round_count, f->round_count == 1 ? "" : "s");
	print_outcome(to, report);
}
