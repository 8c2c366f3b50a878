/* SPDX-License-Identifier: MIT */
/*
 * scenario.h - runs scenario files against something that answers like KVM's GIC.
 *
 * A scenario is a list of calls with the answer each must give; gic.scenario says at its top which
 * calls there are. The runner knows no GIC: all calls go to a backend. `model` is the soft
 * machine's (vmm/soft); tests/lab has one for a real kernel, with a guest that carries out loads,
 * stores and acknowledgements, and with the kernel's own traces for `vector`, `lpi` and `log`.
 * A program is linked with one of them.
 *
 * Every member returns 0 or a positive value, or a negative errno which is compared with what the
 * scenario expects. -ENOTSUP: this backend can't do that; the scenario counts as skipped.
 */
#ifndef TESTS_SCENARIO_H
#define TESTS_SCENARIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct scenario_host {
	const char *kind;	/* "v3", "v4.0", "v4.1" */
	const char *kernel;	/* "6.12", "6.15", "6.16": whose rules on failing connections */
	unsigned int release;	/* of a real kernel: 612 is 6.12; 0: the model */
};

struct scenario_route {
	uint32_t gsi;
	bool msi;		/* else an SPI: data is its number from 32 */
	uint32_t flags;
	uint64_t address;
	uint32_t data;
	uint32_t devid;
};

struct scenario_lpi {
	bool mapped;
	bool forwarded;
	bool pending;
	bool pending_unknown;	/* it can't be seen from outside */
};

struct scenario_backend {
	const char *name;
	/* The one host that there is; NULL: it can be all of them. */
	int (*host)(struct scenario_host *host);
	/* One VM on this host; -ENOTSUP if the host at hand isn't of that kind. */
	int (*open)(const struct scenario_host *host, void **ret_vm);
	void (*close)(void *vm);

	int (*vcpu_create)(void *vm);
	int (*vcpu_mpidr)(void *vm, unsigned int cpu, uint64_t mpidr);
	int (*vcpu_enter)(void *vm, unsigned int cpu, bool run);
	int (*vcpu_leave)(void *vm, unsigned int cpu);
	int (*device_create)(void *vm, uint32_t type);
	int (*set_attr)(void *vm, int device, uint32_t group, uint64_t attr, const uint64_t *value);
	int (*get_attr)(void *vm, int device, uint32_t group, uint64_t attr, uint64_t *value);
	int (*has_attr)(void *vm, int device, uint32_t group, uint64_t attr);

	int (*ram_read)(void *vm, uint64_t gpa, void *to, size_t len);
	int (*ram_write)(void *vm, uint64_t gpa, const void *from, size_t len);
	int (*ram_copy)(void *vm, void *from_vm);
	int (*ram_clean)(void *vm);			/* forget what is dirty */
	int (*ram_dirty)(void *vm, uint64_t gpa);	/* 1: KVM's log has this page */

	int (*routing)(void *vm, const struct scenario_route *routes, unsigned int count);
	int (*irqfd)(void *vm, uint64_t token, uint32_t gsi, uint32_t flags);
	int (*vector)(void *vm, uint64_t token, bool on);
	/* Where it went, as a word: "forwarded", "injected", "kept", "lost", "nowhere" */
	const char *(*fire)(void *vm, uint64_t token);
	const char *(*event)(void *vm, uint64_t token);
	int (*event_count)(void *vm, uint64_t token);
	int (*signal_msi)(void *vm, uint64_t address, uint32_t data, uint32_t devid,
			  uint32_t flags);
	int (*line)(void *vm, unsigned int cpu, uint32_t intid, bool level);

	/* The guest's doing */
	int (*load)(void *vm, unsigned int cpu, uint64_t gpa, unsigned int len, uint64_t *value);
	int (*store)(void *vm, unsigned int cpu, uint64_t gpa, unsigned int len, uint64_t value);
	int (*icc_write)(void *vm, unsigned int cpu, uint32_t reg, uint64_t value);
	int (*ack)(void *vm, unsigned int cpu);		/* the INTID, 1023: none */
	int (*eoi)(void *vm, unsigned int cpu, uint32_t intid);

	/* What can be seen from outside. vector_state: NULL if not forwarded, for unknown reasons */
	const char *(*vector_state)(void *vm, uint64_t token);
	int (*lpi_state)(void *vm, uint32_t devid, uint32_t event, struct scenario_lpi *lpi);
	int (*log_count)(void *vm);			/* lines since the last question */
};

extern const struct scenario_backend *const scenario_backend;

/* Commands and their answers: commands.c */
#define SCENARIO_ARGS	24
#define SCENARIO_VMS	3
#define SCENARIO_VARS	64

struct scenario_vm {
	char name[24];
	void *vm;
	int gic, its[2];
};

struct scenario_run {
	const struct scenario_backend *backend;
	struct scenario_host host;
	struct scenario_vm vms[SCENARIO_VMS];
	struct scenario_vm *at;		/* the VM that commands go to */
	struct {
		char name[32];
		uint64_t value;
	} vars[SCENARIO_VARS];
	unsigned int var_count;
};

struct scenario_answer {
	char text[96];		/* "ok", an errno name, a number, words */
	bool is_number;
	uint64_t number;
	bool skipped;
	bool is_start;		/* the rest of the answer is unknown */
	bool is_not;		/* all that is known: it is not this */
};

/* Carries out one command; -EINVAL: it is no command, or its words make no sense. */
int scenario_command(struct scenario_run *run, unsigned int argc, char *const *argv,
		     struct scenario_answer *answer);
int scenario_number(const struct scenario_run *run, const char *word, uint64_t *ret);
int scenario_set_var(struct scenario_run *run, const char *name, uint64_t value);
void scenario_run_done(struct scenario_run *run);

#endif
