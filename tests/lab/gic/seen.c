/* SPDX-License-Identifier: MIT */
/*
 * seen.c - what the kernel shows of itself: its log, debugfs's vgic-state, and probes on its own
 * functions, which say what became of an interrupt and which host interrupts are forwarded.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kvm.h"

#define TRACING		"/sys/kernel/tracing/"
#define IRQS_MAX	1024

struct probe {
	const char *name;
	const char *definition;
	const char *instance;	/* each has a buffer of its own */
};

static const struct probe probes[] = {
	{ "fast", "r:lab/fast vgic_its_inject_cached_translation ret=$retval:s32", "fates" },
	{ "spi", "r:lab/spi kvm_vgic_inject_irq ret=$retval:s32", "fates" },
	{ "msi", "r:lab/msi kvm_set_msi ret=$retval:s32", "fates" },
	{ "irq", "r:lab/irq kvm_set_irq ret=$retval:s32", "fates" },
	{ "vcpu", "p:lab/vcpu irq_set_vcpu_affinity irq=$arg1:u32 info=$arg2:x64 cmd=+0($arg2):u32",
	  "vectors" },
};

static struct {
	int log;
	FILE *fates, *vectors;
	char kind[8];
	const char *fate;
	bool forwarded[IRQS_MAX];
} seen = { .log = -1 };

/* --- the log --- */

static unsigned int read_log(void)
{
	unsigned int lines = 0;
	char record[8192];

	for (;;) {
		ssize_t n = read(seen.log, record, sizeof(record) - 1);

		if (n < 0 && errno == EPIPE)
			continue;	/* some were overwritten */
		if (n <= 0)
			return lines;
		record[n] = '\0';
		if (strstr(record, "GICv4.1 support enabled"))
			strcpy(seen.kind, "v4.1");
		else if (strstr(record, "GICv4 support enabled"))
			strcpy(seen.kind, "v4.0");
		if (strstr(record, "registration fails") || strstr(record, "WARNING:"))
			lines++;
	}
}

unsigned int seen_log(void)
{
	return read_log();
}

const char *seen_kind(void)
{
	return seen.kind;
}

/* --- probes --- */

static int write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));

	if (fd >= 0)
		close(fd);
	if (n != (ssize_t) strlen(text))
		fprintf(stderr, "lab: %s: cannot write '%s': %s\n", path, text, strerror(errno));
	return n == (ssize_t) strlen(text) ? 0 : -EIO;
}

static FILE *open_pipe(const char *instance)
{
	char path[96];
	int fd;

	(void) snprintf(path, sizeof(path), TRACING "instances/%s/trace_pipe", instance);
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	return fd < 0 ? NULL : fdopen(fd, "r");
}

int seen_open(void)
{
	char path[96];

	if (seen.log >= 0)
		return 0;
	seen.log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (seen.log < 0)
		return -errno;
	strcpy(seen.kind, "v3");
	(void) read_log();
	(void) mkdir(TRACING "instances/fates", 0700);
	(void) mkdir(TRACING "instances/vectors", 0700);
	for (unsigned int i = 0; i < sizeof(probes) / sizeof(probes[0]); i++) {
		(void) snprintf(path, sizeof(path), TRACING "instances/%s/events/lab/%s/enable",
				probes[i].instance, probes[i].name);
		if (write_to(TRACING "kprobe_events", probes[i].definition) || write_to(path, "1"))
			return -EIO;
	}
	seen.fates = open_pipe("fates");
	seen.vectors = open_pipe("vectors");
	return seen.fates && seen.vectors ? 0 : -EIO;
}

/* The value after "NAME=" in a line of a trace. */
static long long field(const char *line, const char *name)
{
	const char *at = strstr(line, name);

	return at ? strtoll(at + strlen(name), NULL, 0) : -1;
}

/* One line that is there already; false: there is none. */
static bool next_line(FILE *pipe, char *line, int size)
{
	clearerr(pipe);
	return fgets(line, size, pipe);
}

/*
 * The first function that has the last word: an atomic injection that worked, else what the
 * routes' own functions said. A message that no ITS takes is 0, or an errno.
 */
static void read_fates(void)
{
	char line[512];

	while (next_line(seen.fates, line, sizeof(line))) {
		bool took = field(line, " ret=") >= 0;

		if (seen.fate)
			continue;
		if (strstr(line, " fast: ") && took)
			seen.fate = "injected";
		else if (strstr(line, " msi: "))
			seen.fate = field(line, " ret=") > 0 ? "injected" : "lost";
		else if (strstr(line, " spi: ") || strstr(line, " irq: "))
			seen.fate = took ? "injected" : "lost";
	}
}

void seen_injection_clear(void)
{
	read_fates();
	seen.fate = NULL;
}

const char *seen_injection(void)
{
	read_fates();
	return seen.fate;
}

bool seen_forwarded(unsigned int irq)
{
	char line[512];

	while (next_line(seen.vectors, line, sizeof(line))) {
		long long which = field(line, " irq=");

		if (which < 0 || which >= IRQS_MAX)
			continue;
		if (!field(line, " info="))
			seen.forwarded[which] = false;
		else if (!field(line, " cmd="))		/* MAP_VLPI */
			seen.forwarded[which] = true;
	}
	return irq < IRQS_MAX && seen.forwarded[irq];
}

/* --- files --- */

bool seen_lpi(const struct kvm_vm *vm, uint32_t intid, struct vgic_lpi *lpi)
{
	FILE *f = fopen(vm->debugfs, "re");
	bool found = false;

	while (f && !found && vgic_next_lpi(f, lpi))
		found = lpi->intid == intid;
	if (f)
		fclose(f);
	return found;
}

long seen_event_count(int eventfd)
{
	char path[64], line[128];
	long count = -EIO;
	FILE *f;

	(void) snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", eventfd);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, "eventfd-count:", 14))
			count = strtol(line + 14, NULL, 16);
	if (f)
		fclose(f);
	return count;
}
