/* SPDX-License-Identifier: MIT */
/*
 * commands.c - the words of a scenario file, each turned into calls of the backend. What they mean
 * is said at the top of gic.scenario.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <vferry/error.h>

#include "scenario.h"
#include "vferry_kvm_arm64.h"

/* --- numbers and answers --- */

int scenario_number(const struct scenario_run *run, const char *word, uint64_t *ret)
{
	char *end;

	if (word[0] == '$') {
		for (unsigned int i = 0; i < run->var_count; i++) {
			if (strcmp(run->vars[i].name, word + 1))
				continue;
			*ret = run->vars[i].value;
			return 0;
		}
		return -EINVAL;
	}
	if (word[0] < '0' || word[0] > '9')
		return -EINVAL;
	*ret = strtoull(word, &end, 0);
	return *end ? -EINVAL : 0;
}

int scenario_set_var(struct scenario_run *run, const char *name, uint64_t value)
{
	unsigned int i = 0;

	while (i < run->var_count && strcmp(run->vars[i].name, name))
		i++;
	if (i == SCENARIO_VARS || strlen(name) >= sizeof(run->vars[i].name))
		return -EINVAL;
	(void) strcpy(run->vars[i].name, name);
	run->vars[i].value = value;
	if (i == run->var_count)
		run->var_count++;
	return 0;
}

static int say_word(struct scenario_answer *answer, const char *word)
{
	(void) snprintf(answer->text, sizeof(answer->text), "%s", word);
	return 0;
}

static int say_number(struct scenario_answer *answer, uint64_t number)
{
	answer->is_number = true;
	answer->number = number;
	(void) snprintf(answer->text, sizeof(answer->text), "0x%llx", (unsigned long long) number);
	return 0;
}

/* A call's result: the errno's name, or "ok". */
static int say_result(struct scenario_answer *answer, int result)
{
	if (result == -ENOTSUP)
		answer->skipped = true;
	return say_word(answer, result < 0 ? vferry_errno_name(result) : "ok");
}

/* As say_result(), but what comes back counts. */
static int say_value(struct scenario_answer *answer, int result, uint64_t value)
{
	return result < 0 ? say_result(answer, result) : say_number(answer, value);
}

/* --- names of attributes --- */

struct name {
	const char *name;
	uint64_t value;
	bool wide;	/* a redistributor's 64-bit register: two attributes */
};

static const struct name gic_names[] = {
	{ .name = "dist", .value = VF_VGIC_ADDR_DIST },
	{ .name = "redist", .value = VF_VGIC_ADDR_REDIST },
	{ .name = "region", .value = VF_VGIC_ADDR_REDIST_REGION },
	{ .name = NULL },
};

static const struct name gic_ctrl_names[] = {
	{ .name = "init", .value = VF_VGIC_CTRL_INIT },
	{ .name = "save_pending", .value = VF_VGIC_SAVE_PENDING_TABLES },
	{ .name = NULL },
};

static const struct name its_ctrl_names[] = {
	{ .name = "init", .value = VF_VGIC_CTRL_INIT },
	{ .name = "save", .value = VF_ITS_SAVE_TABLES },
	{ .name = "restore", .value = VF_ITS_RESTORE_TABLES },
	{ .name = "reset", .value = VF_ITS_CTRL_RESET },
	{ .name = NULL },
};

static const struct name gicd_names[] = {
	{ .name = "ctlr", .value = VF_GICD_CTLR },
	{ .name = "typer", .value = VF_GICD_TYPER },
	{ .name = "iidr", .value = VF_GICD_IIDR },
	{ .name = "typer2", .value = VF_GICD_TYPER2 },
	{ .name = "isenabler1", .value = VF_GICD_ISENABLER + 4 },
	{ .name = "icenabler1", .value = VF_GICD_ICENABLER + 4 },
	{ .name = "ispendr1", .value = VF_GICD_ISPENDR + 4 },
	{ .name = "icpendr1", .value = VF_GICD_ICPENDR + 4 },
	{ .name = "icfgr2", .value = VF_GICD_ICFGR + 8 },
	{ .name = NULL },
};

static const struct name gicr_names[] = {
	{ .name = "ctlr", .value = VF_GICR_CTLR },
	{ .name = "typer", .value = VF_GICR_TYPER, .wide = true },
	{ .name = "propbaser", .value = VF_GICR_PROPBASER, .wide = true },
	{ .name = "pendbaser", .value = VF_GICR_PENDBASER, .wide = true },
	{ .name = "isenabler0", .value = VF_GICR_ISENABLER0 },
	{ .name = "ispendr0", .value = VF_GICR_ISPENDR0 },
	{ .name = NULL },
};

static const struct name gits_names[] = {
	{ .name = "ctlr", .value = VF_GITS_CTLR },
	{ .name = "iidr", .value = VF_GITS_IIDR },
	{ .name = "typer", .value = VF_GITS_TYPER },
	{ .name = "cbaser", .value = VF_GITS_CBASER },
	{ .name = "cwriter", .value = VF_GITS_CWRITER },
	{ .name = "creadr", .value = VF_GITS_CREADR },
	{ .name = "baser0", .value = VF_GITS_BASER(0) },
	{ .name = "baser1", .value = VF_GITS_BASER(1) },
	{ .name = NULL },
};

static const struct name icc_names[] = {
	{ .name = "pmr", .value = VF_ICC_PMR_EL1 },
	{ .name = "ctlr", .value = VF_ICC_CTLR_EL1 },
	{ .name = "sre", .value = VF_ICC_SRE_EL1 },
	{ .name = "igrpen1", .value = VF_ICC_IGRPEN1_EL1 },
	{ .name = "ap1r0", .value = VF_ICC_AP1R_EL1(0u) },
	{ .name = "ap1r1", .value = VF_ICC_AP1R_EL1(1u) },
	{ .name = NULL },
};

static const struct name *name_find(const struct name *names, const char *word)
{
	for (; names->name; names++)
		if (!strcmp(names->name, word))
			return names;
	return NULL;
}

struct attr {
	int device;
	uint32_t group;
	uint64_t attr;
	bool wide;
	bool no_value;
};

/* A register by its name, or by its offset in hex. */
static int register_attr(const struct name *names, const char *word, struct attr *attr)
{
	const struct name *name = name_find(names, word);
	char *end;

	if (name) {
		attr->attr |= name->value;
		attr->wide = name->wide;
		return 0;
	}
	if (strncmp(word, "0x", 2))
		return -EINVAL;
	attr->attr |= strtoull(word, &end, 16);
	return *end ? -EINVAL : 0;
}

static int device_attr(const char *prefix, const char *word, struct attr *attr)
{
	bool its = !strncmp(prefix, "its", 3);
	const struct name *name;

	name = name_find(its ? its_ctrl_names : gic_ctrl_names, word);
	if (name) {
		attr->group = VF_VGIC_GRP_CTRL;
		attr->attr = name->value;
		attr->no_value = true;
		return 0;
	}
	attr->group = VF_VGIC_GRP_ADDR;
	if (its) {
		attr->attr = VF_VGIC_ADDR_ITS;
		return strcmp(word, "addr") ? -EINVAL : 0;
	}
	if (!strcmp(word, "nr_irqs")) {
		attr->group = VF_VGIC_GRP_NR_IRQS;
		return 0;
	}
	name = name_find(gic_names, word);
	if (name)
		attr->attr = name->value;
	return name ? 0 : -EINVAL;
}

/* "gits1.cbaser": what is before the dot has a number at its end, or none, which is 0. */
static int parse_attr(const struct scenario_run *run, const char *word, struct attr *attr)
{
	const char *dot = strchr(word, '.');
	size_t letters = strspn(word, "abcdefghijklmnopqrstuvwxyz");
	uint64_t number;
	char prefix[16];
	char *end;

	if (!dot || letters >= sizeof(prefix) || word + letters > dot)
		return -EINVAL;
	(void) snprintf(prefix, sizeof(prefix), "%.*s", (int) letters, word);
	number = strtoull(word + letters, &end, 0);
	if (end != dot)
		return -EINVAL;
	*attr = (struct attr) { .device = run->at->gic };
	if (!strcmp(prefix, "its") || !strcmp(prefix, "gits")) {
		if (number > 1)
			return -EINVAL;
		attr->device = run->at->its[number];
	} else {
		attr->attr = number << VF_VGIC_MPIDR_SHIFT;
	}
	if (!strcmp(prefix, "gic") || !strcmp(prefix, "its"))
		return device_attr(prefix, dot + 1, attr);
	if (!strcmp(prefix, "gits")) {
		attr->group = VF_VGIC_GRP_ITS_REGS;
		return register_attr(gits_names, dot + 1, attr);
	}
	if (!strcmp(prefix, "gicd")) {
		attr->group = VF_VGIC_GRP_DIST_REGS;
		return register_attr(gicd_names, dot + 1, attr);
	}
	if (!strcmp(prefix, "gicr")) {
		attr->group = VF_VGIC_GRP_REDIST_REGS;
		return register_attr(gicr_names, dot + 1, attr);
	}
	if (!strcmp(prefix, "icc")) {
		attr->group = VF_VGIC_GRP_CPU_SYSREGS;
		return register_attr(icc_names, dot + 1, attr);
	}
	if (!strcmp(prefix, "level")) {
		attr->group = VF_VGIC_GRP_LEVEL_INFO;
		attr->attr |= strtoull(dot + 1, &end, 0) & VF_VGIC_LEVEL_INTID_MASK;
		return *end ? -EINVAL : 0;
	}
	return -EINVAL;
}

/* --- commands on attributes --- */

struct call {
	struct scenario_run *run;
	const struct scenario_backend *backend;
	void *vm;
	unsigned int argc;
	char *const *argv;
	uint64_t arg[SCENARIO_ARGS];	/* argv[i] as a number, where it is one */
	bool is_number[SCENARIO_ARGS];
	struct scenario_answer *answer;
};

static int set_attr(struct call *c, const struct attr *attr, uint64_t value)
{
	uint64_t half = value & UINT32_MAX;
	int ret;

	if (!attr->wide)
		return c->backend->set_attr(c->vm, attr->device, attr->group, attr->attr,
					    attr->no_value ? NULL : &value);
	ret = c->backend->set_attr(c->vm, attr->device, attr->group, attr->attr, &half);
	half = value >> 32;
	return ret ? ret
		   : c->backend->set_attr(c->vm, attr->device, attr->group, attr->attr + 4, &half);
}

static int get_attr(struct call *c, const struct attr *attr, uint64_t *value)
{
	uint64_t low = *value;
	uint64_t high = 0;
	int ret = c->backend->get_attr(c->vm, attr->device, attr->group, attr->attr, &low);

	if (!ret && attr->wide)
		ret = c->backend->get_attr(c->vm, attr->device, attr->group, attr->attr + 4, &high);
	if (!ret)
		*value = attr->wide ? high << 32 | low : low;
	return ret;
}

static int do_set(struct call *c)
{
	struct attr attr;

	if (parse_attr(c->run, c->argv[1], &attr) || attr.no_value != (c->argc == 2) ||
	    (c->argc == 3 && !c->is_number[2]))
		return -EINVAL;
	return say_result(c->answer, set_attr(c, &attr, c->arg[2]));
}

static int do_get(struct call *c)
{
	uint64_t value = c->argc > 2 ? c->arg[2] : 0;
	struct attr attr;
	int ret;

	if (parse_attr(c->run, c->argv[1], &attr))
		return -EINVAL;
	ret = get_attr(c, &attr, &value);
	return say_value(c->answer, ret, value);
}

static int do_has(struct call *c)
{
	struct attr attr;

	if (parse_attr(c->run, c->argv[1], &attr))
		return -EINVAL;
	return say_result(c->answer,
			  c->backend->has_attr(c->vm, attr.device, attr.group, attr.attr));
}

static int do_create(struct call *c)
{
	bool its = !strcmp(c->argv[1], "its");
	int ret;

	if (!its && strcmp(c->argv[1], "gic"))
		return -EINVAL;
	ret = c->backend->device_create(c->vm, its ? VF_KVM_DEV_VGIC_ITS : VF_KVM_DEV_VGIC_V3);
	if (ret >= 0 && !its)
		c->run->at->gic = ret;
	else if (ret >= 0)
		c->run->at->its[c->run->at->its[0] >= 0] = ret;
	return say_result(c->answer, ret);
}

/* --- VMs, vCPUs, RAM --- */

static struct scenario_vm *vm_find(struct scenario_run *run, const char *name)
{
	for (unsigned int i = 0; i < SCENARIO_VMS; i++)
		if (run->vms[i].vm && !strcmp(run->vms[i].name, name))
			return &run->vms[i];
	return NULL;
}

static int do_vm(struct call *c)
{
	struct scenario_vm *vm = vm_find(c->run, c->argv[1]);
	int ret;

	if (vm) {
		c->run->at = vm;
		return say_word(c->answer, "ok");
	}
	for (unsigned int i = 0; i < SCENARIO_VMS && !vm; i++)
		if (!c->run->vms[i].vm)
			vm = &c->run->vms[i];
	if (!vm || strlen(c->argv[1]) >= sizeof(vm->name))
		return -EINVAL;
	*vm = (struct scenario_vm) { .gic = -1, .its = { -1, -1 } };
	(void) strcpy(vm->name, c->argv[1]);
	ret = c->backend->open(&c->run->host, &vm->vm);
	if (!ret)
		c->run->at = vm;
	return say_result(c->answer, ret);
}

static int do_vcpus(struct call *c)
{
	int ret = 0;

	for (uint64_t i = 0; i < c->arg[1] && ret >= 0; i++)
		ret = c->backend->vcpu_create(c->vm);
	return say_result(c->answer, ret);
}

static int do_mpidr(struct call *c)
{
	return say_result(c->answer,
			  c->backend->vcpu_mpidr(c->vm, (unsigned int) c->arg[1], c->arg[2]));
}

static int do_hold(struct call *c)
{
	return say_result(c->answer,
			  c->backend->vcpu_enter(c->vm, (unsigned int) c->arg[1], false));
}

static int do_run(struct call *c)
{
	return say_result(c->answer, c->backend->vcpu_enter(c->vm, (unsigned int) c->arg[1], true));
}

static int do_release(struct call *c)
{
	return say_result(c->answer, c->backend->vcpu_leave(c->vm, (unsigned int) c->arg[1]));
}

static unsigned int width_of(const char *word, const char *verb)
{
	const char *digits = word + strlen(verb);

	return !strcmp(digits, "8") ? 1 : !strcmp(digits, "64") ? 8 : 4;
}

static int do_poke(struct call *c)
{
	unsigned int len = width_of(c->argv[0], "poke");
	uint8_t bytes[8];

	for (unsigned int i = 0; i < len; i++)
		bytes[i] = (uint8_t) (c->arg[2] >> 8 * i);
	return say_result(c->answer, c->backend->ram_write(c->vm, c->arg[1], bytes, len));
}

static int do_peek(struct call *c)
{
	unsigned int len = width_of(c->argv[0], "peek");
	uint8_t bytes[8] = { 0 };
	uint64_t value = 0;
	int ret = c->backend->ram_read(c->vm, c->arg[1], bytes, len);

	for (unsigned int i = 0; i < len; i++)
		value |= (uint64_t) bytes[i] << 8 * i;
	return say_value(c->answer, ret, value);
}

static int do_copy_ram(struct call *c)
{
	struct scenario_vm *from = vm_find(c->run, c->argv[1]);

	return from ? say_result(c->answer, c->backend->ram_copy(c->vm, from->vm)) : -EINVAL;
}

static int do_clean(struct call *c)
{
	return say_result(c->answer, c->backend->ram_clean(c->vm));
}

static int do_dirty(struct call *c)
{
	int ret = c->backend->ram_dirty(c->vm, c->arg[1]);

	return ret < 0 ? say_result(c->answer, ret) : say_word(c->answer, ret ? "yes" : "no");
}

/* --- routes, irqfds, vectors --- */

/* GSI=spi:N, or GSI=DEVID:EVENT with what may follow: @ADDRESS, !nodevid. */
static int parse_route(const struct scenario_run *run, char *word, struct scenario_route *route)
{
	uint64_t gsi, first, second, address = 0;
	char *equals = strchr(word, '=');
	char *colon = equals ? strchr(equals, ':') : NULL;
	char *flag, *at;

	if (!colon)
		return -EINVAL;
	*equals = '\0';
	*colon = '\0';
	flag = strchr(colon + 1, '!');
	if (flag)
		*flag = '\0';
	at = strchr(colon + 1, '@');
	if (at)
		*at = '\0';
	if (scenario_number(run, word, &gsi) || scenario_number(run, colon + 1, &second) ||
	    scenario_number(run, at ? at + 1 : "$doorbell", &address))
		return -EINVAL;
	*route = (struct scenario_route) {
		.gsi = (uint32_t) gsi,
		.data = (uint32_t) second,
		.msi = strcmp(equals + 1, "spi"),
	};
	if (!route->msi)
		return 0;
	if (scenario_number(run, equals + 1, &first))
		return -EINVAL;
	route->devid = (uint32_t) first;
	route->address = address;
	route->flags = flag ? 0 : VF_KVM_MSI_VALID_DEVID;
	return 0;
}

static int do_routing(struct call *c)
{
	struct scenario_route routes[SCENARIO_ARGS];
	unsigned int count = c->argc - 1;

	if (!strcmp(c->argv[1], "none"))
		count = 0;
	for (unsigned int i = 0; i < count; i++) {
		char *word = strdup(c->argv[i + 1]);
		int err = word ? parse_route(c->run, word, &routes[i]) : -ENOMEM;

		free(word);
		if (err)
			return err;
	}
	return say_result(c->answer, c->backend->routing(c->vm, routes, count));
}

static int do_irqfd(struct call *c)
{
	return say_result(c->answer, c->backend->irqfd(c->vm, c->arg[1], (uint32_t) c->arg[2], 0));
}

static int do_irqfd_off(struct call *c)
{
	return say_result(c->answer, c->backend->irqfd(c->vm, c->arg[1], (uint32_t) c->arg[2],
						       VF_KVM_IRQFD_DEASSIGN));
}

static int do_vectors(struct call *c)
{
	bool on = !strcmp(c->argv[0], "vectors");
	int ret = 0;

	for (unsigned int i = 1; i < c->argc && ret >= 0; i++)
		ret = c->backend->vector(c->vm, c->arg[i], on);
	return say_result(c->answer, ret);
}

static int do_fire(struct call *c)
{
	return say_word(c->answer, c->backend->fire(c->vm, c->arg[1]));
}

static int do_event(struct call *c)
{
	return say_word(c->answer, c->backend->event(c->vm, c->arg[1]));
}

static int do_count(struct call *c)
{
	int ret = c->backend->event_count(c->vm, c->arg[1]);

	return say_value(c->answer, ret, (uint64_t) ret);
}

static int do_msi(struct call *c)
{
	uint64_t address = c->arg[3];
	int ret;

	if (c->argc < 4 && scenario_number(c->run, "$doorbell", &address))
		return -EINVAL;
	ret = c->backend->signal_msi(c->vm, address, (uint32_t) c->arg[2], (uint32_t) c->arg[1],
				     c->argc > 4 ? 0 : VF_KVM_MSI_VALID_DEVID);
	return say_value(c->answer, ret, (uint64_t) ret);
}

static int do_line(struct call *c)
{
	return say_result(c->answer, c->backend->line(c->vm, (unsigned int) c->arg[1],
						      (uint32_t) c->arg[2], c->arg[3]));
}

/* --- the guest --- */

static int do_load(struct call *c)
{
	uint64_t value = 0;
	int ret = c->backend->load(c->vm, (unsigned int) c->arg[1], c->arg[2],
				   width_of(c->argv[0], "load"), &value);

	return say_value(c->answer, ret, value);
}

static int do_store(struct call *c)
{
	return say_result(c->answer, c->backend->store(c->vm, (unsigned int) c->arg[1], c->arg[2],
						       width_of(c->argv[0], "store"), c->arg[3]));
}

static int do_icc(struct call *c)
{
	const struct name *name = name_find(icc_names, c->argv[2]);

	if (!name)
		return -EINVAL;
	return say_result(c->answer, c->backend->icc_write(c->vm, (unsigned int) c->arg[1],
							   (uint32_t) name->value, c->arg[3]));
}

static int do_ack(struct call *c)
{
	int ret = c->backend->ack(c->vm, (unsigned int) c->arg[1]);

	return say_value(c->answer, ret, (uint64_t) ret);
}

static int do_eoi(struct call *c)
{
	return say_result(c->answer,
			  c->backend->eoi(c->vm, (unsigned int) c->arg[1], (uint32_t) c->arg[2]));
}

static int do_take(struct call *c)
{
	int ret = c->backend->ack(c->vm, (unsigned int) c->arg[1]);
	int err = ret < 0 || ret == 1023 ? 0 :
		  c->backend->eoi(c->vm, (unsigned int) c->arg[1], (uint32_t) ret);

	return say_value(c->answer, err < 0 ? err : ret, (uint64_t) ret);
}

struct its_command {
	const char *name;
	unsigned int args;
	uint8_t code;
};

static const struct its_command its_commands[] = {
	{ .name = "mapd", .args = 3, .code = 0x08 },	/* device, ITT, event bits; no ITT: unmap */
	{ .name = "mapc", .args = 2, .code = 0x09 },	/* collection, cpu */
	{ .name = "unmapc", .args = 1, .code = 0x09 },	/* collection */
	{ .name = "mapti", .args = 4, .code = 0x0a },	/* device, event, LPI, collection */
	{ .name = "movi", .args = 3, .code = 0x01 },	/* device, event, collection */
	{ .name = "discard", .args = 2, .code = 0x0f },	/* device, event */
	{ .name = "int", .args = 2, .code = 0x03 },
	{ .name = "clear", .args = 2, .code = 0x04 },
	{ .name = "inv", .args = 2, .code = 0x0c },
	{ .name = "invall", .args = 1, .code = 0x0d },	/* collection */
	{ .name = "movall", .args = 2, .code = 0x0e },	/* from cpu, to cpu */
	{ .name = "sync", .args = 0, .code = 0x05 },
};

static void its_encode(const struct its_command *command, const uint64_t *a, uint64_t word[4])
{
	bool device_first = command->code != 0x09 && command->code != 0x0d && command->code != 0x0e;

	word[0] = command->code | (device_first ? a[0] << 32 : 0);
	switch (command->code) {
	case 0x08:
		word[1] = a[2] - 1;
		word[2] = a[1] ? 1ull << 63 | a[1] : 0;
		break;
	case 0x09:
		word[2] = a[0] | (command->args == 2 ? a[1] << 16 | 1ull << 63 : 0);
		break;
	case 0x0a:
		word[1] = a[1] | a[2] << 32;
		word[2] = a[3];
		break;
	case 0x01:
		word[1] = a[1];
		word[2] = a[2];
		break;
	case 0x0d:
		word[2] = a[0];
		break;
	case 0x0e:
		word[2] = a[0] << 16;
		word[3] = a[1] << 16;
		break;
	default:
		word[1] = a[1];
	}
}

/* Puts one command into the queue and rings, as a guest does: `its map... ` on vCPU 0. */
static int do_its(struct call *c)
{
	uint64_t doorbell, cbaser = 0, at = 0, word[4] = { 0 };
	const struct its_command *command = NULL;
	uint8_t bytes[32];
	int ret;

	for (unsigned int i = 0; i < sizeof(its_commands) / sizeof(its_commands[0]); i++)
		if (!strcmp(its_commands[i].name, c->argv[1]) &&
		    its_commands[i].args == c->argc - 2)
			command = &its_commands[i];
	if (!command || scenario_number(c->run, "$doorbell", &doorbell))
		return -EINVAL;
	its_encode(command, &c->arg[2], word);
	for (unsigned int i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t) (word[i / 8] >> 8 * (i % 8));
	doorbell -= VF_GITS_TRANSLATER;
	ret = c->backend->load(c->vm, 0, doorbell + VF_GITS_CBASER, 8, &cbaser);
	if (!ret)
		ret = c->backend->load(c->vm, 0, doorbell + VF_GITS_CWRITER, 8, &at);
	if (!ret)
		ret = c->backend->ram_write(c->vm, (cbaser & 0xffffffff0000ull) + at, bytes,
					    sizeof(bytes));
	at = (at + sizeof(bytes)) % (((cbaser & 0xff) + 1) * 4096);
	if (!ret)
		ret = c->backend->store(c->vm, 0, doorbell + VF_GITS_CWRITER, 8, at);
	return say_result(c->answer, ret);
}

/* --- questions --- */

static int do_lpi(struct call *c)
{
	struct scenario_lpi lpi;
	int ret = c->backend->lpi_state(c->vm, (uint32_t) c->arg[1], (uint32_t) c->arg[2], &lpi);

	if (ret < 0)
		return say_result(c->answer, ret);
	if (!lpi.mapped)
		return say_word(c->answer, "unmapped");
	c->answer->is_start = lpi.pending_unknown;
	(void) snprintf(c->answer->text, sizeof(c->answer->text), "%s %s",
			lpi.forwarded ? "forwarded" : "software",
			lpi.pending_unknown ? "" : lpi.pending ? "pending" : "idle");
	return 0;
}

static int do_vector(struct call *c)
{
	const char *state = c->backend->vector_state(c->vm, c->arg[1]);

	c->answer->is_not = !state;
	return say_word(c->answer, state ? state : "forwarded");
}

static int do_log(struct call *c)
{
	int ret = c->backend->log_count(c->vm);

	return say_value(c->answer, ret, (uint64_t) ret);
}

static int do_let(struct call *c)
{
	int ret = scenario_set_var(c->run, c->argv[1], c->arg[2]);

	return ret ? ret : say_word(c->answer, "ok");
}

struct command {
	const char *name;
	unsigned int least, most;	/* words after the name */
	unsigned int first_number;	/* from this word on all are numbers; 0: none need be */
	bool no_vm;
	int (*run)(struct call *c);
};

static const struct command commands[] = {
	{ .name = "let", .least = 2, .most = 2, .first_number = 2, .no_vm = true, .run = do_let },
	{ .name = "vm", .least = 1, .most = 1, .no_vm = true, .run = do_vm },
	{ .name = "vcpus", .least = 1, .most = 1, .first_number = 1, .run = do_vcpus },
	{ .name = "mpidr", .least = 2, .most = 2, .first_number = 1, .run = do_mpidr },
	{ .name = "hold", .least = 1, .most = 1, .first_number = 1, .run = do_hold },
	{ .name = "run", .least = 1, .most = 1, .first_number = 1, .run = do_run },
	{ .name = "release", .least = 1, .most = 1, .first_number = 1, .run = do_release },
	{ .name = "create", .least = 1, .most = 1, .run = do_create },
	{ .name = "set", .least = 1, .most = 2, .run = do_set },
	{ .name = "get", .least = 1, .most = 2, .run = do_get },
	{ .name = "has", .least = 1, .most = 1, .run = do_has },
	{ .name = "poke8", .least = 2, .most = 2, .first_number = 1, .run = do_poke },
	{ .name = "poke64", .least = 2, .most = 2, .first_number = 1, .run = do_poke },
	{ .name = "peek8", .least = 1, .most = 1, .first_number = 1, .run = do_peek },
	{ .name = "peek64", .least = 1, .most = 1, .first_number = 1, .run = do_peek },
	{ .name = "copy-ram", .least = 1, .most = 1, .run = do_copy_ram },
	{ .name = "clean", .least = 0, .most = 0, .run = do_clean },
	{ .name = "dirty", .least = 1, .most = 1, .first_number = 1, .run = do_dirty },
	{ .name = "routing", .least = 1, .most = SCENARIO_ARGS - 1, .run = do_routing },
	{ .name = "irqfd", .least = 2, .most = 2, .first_number = 1, .run = do_irqfd },
	{ .name = "irqfd-off", .least = 2, .most = 2, .first_number = 1, .run = do_irqfd_off },
	{ .name = "vectors",
	  .least = 1,
	  .most = SCENARIO_ARGS - 1,
	  .first_number = 1,
	  .run = do_vectors },
	{ .name = "vectors-off",
	  .least = 1,
	  .most = SCENARIO_ARGS - 1,
	  .first_number = 1,
	  .run = do_vectors },
	{ .name = "fire", .least = 1, .most = 1, .first_number = 1, .run = do_fire },
	{ .name = "event", .least = 1, .most = 1, .first_number = 1, .run = do_event },
	{ .name = "count", .least = 1, .most = 1, .first_number = 1, .run = do_count },
	{ .name = "msi", .least = 2, .most = 4, .run = do_msi },
	{ .name = "line", .least = 3, .most = 3, .first_number = 1, .run = do_line },
	{ .name = "load", .least = 2, .most = 2, .first_number = 1, .run = do_load },
	{ .name = "load8", .least = 2, .most = 2, .first_number = 1, .run = do_load },
	{ .name = "load64", .least = 2, .most = 2, .first_number = 1, .run = do_load },
	{ .name = "store", .least = 3, .most = 3, .first_number = 1, .run = do_store },
	{ .name = "store8", .least = 3, .most = 3, .first_number = 1, .run = do_store },
	{ .name = "store64", .least = 3, .most = 3, .first_number = 1, .run = do_store },
	{ .name = "icc", .least = 3, .most = 3, .run = do_icc },
	{ .name = "ack", .least = 1, .most = 1, .first_number = 1, .run = do_ack },
	{ .name = "eoi", .least = 2, .most = 2, .first_number = 1, .run = do_eoi },
	{ .name = "take", .least = 1, .most = 1, .first_number = 1, .run = do_take },
	{ .name = "its", .least = 1, .most = 5, .first_number = 2, .run = do_its },
	{ .name = "lpi", .least = 2, .most = 2, .first_number = 1, .run = do_lpi },
	{ .name = "vector", .least = 1, .most = 1, .first_number = 1, .run = do_vector },
	{ .name = "log", .least = 0, .most = 0, .run = do_log },
};

int scenario_command(struct scenario_run *run, unsigned int argc, char *const *argv,
		     struct scenario_answer *answer)
{
	const struct command *command = NULL;
	struct call c = {
		.run = run,
		.backend = run->backend,
		.vm = run->at ? run->at->vm : NULL,
		.argc = argc,
		.argv = argv,
		.answer = answer,
	};

	memset(answer, 0, sizeof(*answer));
	if (!argc || argc > SCENARIO_ARGS)
		return -EINVAL;
	for (unsigned int i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!strcmp(commands[i].name, argv[0]))
			command = &commands[i];
	if (!command || argc - 1 < command->least || argc - 1 > command->most ||
	    (!c.vm && !command->no_vm))
		return -EINVAL;
	for (unsigned int i = 1; i < argc; i++) {
		c.is_number[i] = !scenario_number(run, argv[i], &c.arg[i]);
		if (command->first_number && i >= command->first_number && !c.is_number[i])
			return -EINVAL;
	}
	return command->run(&c);
}

void scenario_run_done(struct scenario_run *run)
{
	for (unsigned int i = 0; i < SCENARIO_VMS; i++)
		if (run->vms[i].vm)
			run->backend->close(run->vms[i].vm);
	memset(run->vms, 0, sizeof(run->vms));
	run->at = NULL;
}
