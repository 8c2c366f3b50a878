/* SPDX-License-Identifier: MIT */
/*
 * watch.c - watches memory and clocks of the Linux guest that it runs in, while that is moved about.
 *
 *	lab-watch SECONDS MIB
 *
 * A thread on each CPU writes a pattern into MIB of memory, page by page, and checks each page before it
 * writes it anew; now and then it rests, to leave something of a slow machine to others. Meanwhile it
 * reads the clocks: none may ever be behind what another thread has read before. The longest time between
 * two readings of a thread is what the guest lost. The drivers of its accel devices say what they found
 * wrong. A line each second tells how far it is; the last one is the verdict, as is the exit code. A line
 * of standard input is a command: `end` ends it before its time, `reboot` resets the machine.
 */
#define _GNU_SOURCE
#include <glob.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define PAGE	4096u
#define WORDS	(PAGE / sizeof(uint64_t))
#define CPUS	64
#define NS	1000000000ull
#define REST_US	4000u
#define PAGES_AT_ONCE	64u
#define REPORTS	"/sys/bus/pci/drivers/accel_lab/0*/report"

enum { MONOTONIC, BOOTTIME, COUNTER, CLOCKS };

static const char *const clock_names[] = { "CLOCK_MONOTONIC", "CLOCK_BOOTTIME", "the counter" };

static atomic_uint_fast64_t newest[CLOCKS];
static atomic_uint_fast64_t gap_ns, passes, wrong;
static atomic_bool stop;
static uint64_t pages;

static uint64_t read_clock(int clock)
{
	struct timespec t;

	if (clock == COUNTER) {
#ifdef __aarch64__
		uint64_t value;

		__asm__ volatile("isb\n\tmrs %0, cntvct_el0" : "=r" (value) : : "memory");
		return value;
#else
		return 1;
#endif
	}
	(void) clock_gettime(clock == MONOTONIC ? CLOCK_MONOTONIC : CLOCK_BOOTTIME, &t);
	return (uint64_t) t.tv_sec * NS + (uint64_t) t.tv_nsec;
}

static void raise_to(atomic_uint_fast64_t *to, uint64_t value)
{
	uint64_t old = atomic_load(to);

	while (old < value && !atomic_compare_exchange_weak(to, &old, value))
		;
}

/* What was there before this one was read must not be later. */
static void check_clocks(uint64_t *last)
{
	for (int i = 0; i < CLOCKS; i++) {
		uint64_t before = atomic_load(&newest[i]);
		uint64_t now = read_clock(i);

		if (now < before && !atomic_fetch_add(&wrong, 1))
			printf("watch: %s went back from %llu to %llu\n", clock_names[i],
			       (unsigned long long) before, (unsigned long long) now);
		raise_to(&newest[i], now);
		if (i != MONOTONIC)
			continue;
		if (*last)
			raise_to(&gap_ns, now - *last);
		*last = now;
	}
}

static uint64_t pattern(uint64_t seed, uint64_t word)
{
	uint64_t x = (seed + 1) * 0x9e3779b97f4a7c15ull + word * 0xff51afd7ed558ccdull;

	return x ^ x >> 29;
}

static void check_page(const uint64_t *page, uint64_t seed)
{
	for (unsigned int i = 0; i < WORDS; i++) {
		if (page[i] == pattern(seed, i))
			continue;
		if (!atomic_fetch_add(&wrong, 1))
			printf("watch: memory at %p is %#llx, not %#llx\n", (const void *) &page[i],
			       (unsigned long long) page[i], (unsigned long long) pattern(seed, i));
		return;
	}
}

static void *watch(void *arg)
{
	unsigned int cpu = (unsigned int) (uintptr_t) arg;
	uint64_t *memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	uint64_t last = 0;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (memory == MAP_FAILED || sched_setaffinity(0, sizeof(set), &set)) {
		printf("watch: CPU %u: no memory, or it is not there\n", cpu);
		atomic_fetch_add(&wrong, 1);
		return NULL;
	}
	for (uint64_t pass = 0; !atomic_load(&stop); pass++) {
		for (uint64_t p = 0; p < pages && !atomic_load(&stop); p++) {
			uint64_t *page = memory + p * WORDS;
			uint64_t seed = (pass * pages + p) * CPUS + cpu;

			if (pass)
				check_page(page, seed - pages * CPUS);
			for (unsigned int i = 0; i < WORDS; i++)
				page[i] = pattern(seed, i);
			check_clocks(&last);
			if (p % PAGES_AT_ONCE == 0)
				(void) usleep(REST_US);
		}
		atomic_fetch_add(&passes, 1);
	}
	return NULL;
}

struct devices {
	unsigned int count;
	unsigned long long jobs, wrong, spurious, slowest_ms;
};

static void ask_devices(struct devices *d)
{
	glob_t found = { 0 };

	*d = (struct devices) { 0 };
	if (glob(REPORTS, 0, NULL, &found) == 0)
		d->count = (unsigned int) found.gl_pathc;
	for (unsigned int i = 0; i < d->count; i++) {
		unsigned long long jobs, bad, spurious, ms;
		FILE *f = fopen(found.gl_pathv[i], "re");

		if (!f || fscanf(f, "%llu jobs, %llu wrong, %llu spurious, slowest %llu ms", &jobs, &bad,
				 &spurious, &ms) != 4) {
			d->wrong++;
		} else {
			d->jobs += jobs;
			d->wrong += bad;
			d->spurious += spurious;
			d->slowest_ms = ms > d->slowest_ms ? ms : d->slowest_ms;
		}
		if (f)
			fclose(f);
	}
	globfree(&found);
}

/* Return: true, nothing was wrong so far. */
static bool tell(const char *what)
{
	unsigned long long bad = atomic_load(&wrong);
	struct devices d;

	ask_devices(&d);
	bad += d.wrong;
	printf("watch: %s, %llu passes, %llu wrong, longest gap %llu ms", what,
	       (unsigned long long) atomic_load(&passes), bad,
	       (unsigned long long) atomic_load(&gap_ns) / 1000000);
	if (d.count)
		printf(", %u devices, %llu jobs, %llu spurious, slowest %llu ms", d.count, d.jobs,
		       d.spurious, d.slowest_ms);
	printf("\n");
	return bad == 0;
}

/* For a second, or until something is said. Return: true, it is to end. */
static bool obey(struct pollfd *input)
{
	char line[64];
	ssize_t n;

	if (poll(input, 1, 1000) <= 0)
		return false;
	n = read(input->fd, line, sizeof(line) - 1);
	if (n <= 0) {
		input->fd = -1;
		return false;
	}
	line[n] = '\0';
	line[strcspn(line, "\n")] = '\0';
	if (strcmp(line, "reboot") == 0) {
		printf("watch: reboots\n");
		(void) reboot(RB_AUTOBOOT);
	}
	return strcmp(line, "end") == 0;
}

/* Not the guest's doing, so all that is known of it is told: the kernel's own line is kept off the console. */
static void on_fault(int number, siginfo_t *info, void *context)
{
	const mcontext_t *at = &((const ucontext_t *) context)->uc_mcontext;
	char text[160];
	int length;

#ifdef __aarch64__
	length = snprintf(text, sizeof(text), "watch: signal %d, code %d, address %p, at %#llx\n", number,
			  info->si_code, info->si_addr, (unsigned long long) at->pc);
#else
	length = snprintf(text, sizeof(text),
			  "watch: signal %d, code %d, address %p, at %#llx, trap %lld, error %#llx, cr2 %#llx\n",
			  number, info->si_code, info->si_addr, (unsigned long long) at->gregs[REG_RIP],
			  (long long) at->gregs[REG_TRAPNO], (unsigned long long) at->gregs[REG_ERR],
			  (unsigned long long) at->gregs[REG_CR2]);
#endif
	if (write(STDOUT_FILENO, text, (size_t) length) < 0)
		_exit(1);
	(void) signal(number, SIG_DFL);	/* comes again, and ends it */
}

static void tell_of_faults(void)
{
	const struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };

	(void) sigaction(SIGSEGV, &action, NULL);
	(void) sigaction(SIGBUS, &action, NULL);
	(void) sigaction(SIGILL, &action, NULL);
	(void) sigaction(SIGFPE, &action, NULL);
}

int main(int argc, char **argv)
{
	unsigned int cpus = (unsigned int) sysconf(_SC_NPROCESSORS_ONLN);
	unsigned int seconds = argc > 1 ? (unsigned int) atoi(argv[1]) : 10;
	struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };
	pthread_t threads[CPUS];
	char what[32];
	bool clean;

	(void) setvbuf(stdout, NULL, _IOLBF, 0);
	tell_of_faults();
	pages = (argc > 2 ? (uint64_t) atoi(argv[2]) : 16) * (1 << 20) / PAGE;
	printf("watch: %u CPUs, %llu pages each\n", cpus, (unsigned long long) pages);
	if (cpus > CPUS)
		return 1;
	for (unsigned int i = 0; i < cpus; i++)
		if (pthread_create(&threads[i], NULL, watch, (void *) (uintptr_t) i))
			return 1;
	for (unsigned int i = 1; i <= seconds && !obey(&input); i++) {
		(void) snprintf(what, sizeof(what), "%u s", i);
		(void) tell(what);
	}
	atomic_store(&stop, true);
	for (unsigned int i = 0; i < cpus; i++)
		(void) pthread_join(threads[i], NULL);
	clean = tell("end");
	printf("watch: %s\n", clean ? "clean" : "BAD");
	return clean ? 0 : 1;
}
