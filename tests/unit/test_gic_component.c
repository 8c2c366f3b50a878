/* SPDX-License-Identifier: MIT */
/*
 * test_gic_component.c - the library's GIC and ITS components on the soft machine's model: what is
 * saved on one side arrives on the other, in the order of the rules; any other order, any damage,
 * any host that is not the same is refused by name.
 */
#define _GNU_SOURCE
#include <stdio.h>

#include <vferry/irqchip.h>

#include "fake_step.h"
#include "gic_machine.h"

/* The session's side of a list of reasons, as far as a component sees it. */
struct vferry_reasons {
	unsigned int count;
	char last[48];
};

void vferry_reasons_add(struct vferry_reasons *reasons, const char *id, const char *object,
			const char *fmt, ...)
{
	(void) object;
	(void) fmt;
	reasons->count++;
	(void) snprintf(reasons->last, sizeof(reasons->last), "%s", id);
}

static int set_attr(void *user, int device, uint32_t group, uint64_t attr, const uint64_t *value)
{
	return soft_gic_set_attr(((struct gic_machine *) user)->gic, device, group, attr, value);
}

static int get_attr(void *user, int device, uint32_t group, uint64_t attr, uint64_t *value)
{
	return soft_gic_get_attr(((struct gic_machine *) user)->gic, device, group, attr, value);
}

static int release(void *user, struct vferry_error *err)
{
	(void) err;
	return machine_release(user);
}

static const struct vferry_gic_ops ops = { .size = sizeof(ops), .set_attr = set_attr,
	.get_attr = get_attr, .release = release };
static const struct vferry_gic_ops ops_without_release = { .size = sizeof(ops),
							   .set_attr = set_attr,
							   .get_attr = get_attr };

static struct vferry_gic *gic_of(struct gic_machine *m, const struct vferry_gic_ops *with,
				 uint32_t cpus)
{
	static const uint32_t affinity[] = { 0, 1, 2 };
	const int its[] = { m->its_device };
	struct vferry_gic_config config = { .size = sizeof(config), .ops = with, .user = m,
		.device = m->gic_device, .affinity = affinity, .cpu_count = cpus, .its = its,
		.its_count = m->its_device >= 0 };
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vferry_gic *gic = NULL;

	if (vferry_gic_new(&config, &gic, &err))
		fail_msg("%s", err.message);
	return gic;
}

/* What one side sends: the section of each component. */
struct sections {
	uint8_t data[2][65536];
	size_t size[2];
};

/* One step of a class on all components that have it. Return: the first failure. */
static int run_class(struct vferry_gic *gic, enum vferry_step_class class,
		     struct sections *sections, struct vferry_error *err)
{
	int ret = 0;
	bool found = false;

	for (size_t i = 0; i < vferry_gic_component_count(gic) && !ret; i++) {
		const struct vferry_component *c = vferry_gic_component(gic, i);

		for (size_t j = 0; j < c->step_count && !ret; j++) {
			struct vferry_step step = { 0 };
			bool saves = VFERRY_PHASE_OF(class) == VFERRY_PHASE_SAVE;

			if (c->steps[j].step_class != class)
				continue;
			found = true;
			if (c->steps[j].section && saves)
				assert_int_equal(vferry_writer_new(c->sections[0].max_bytes,
								   &step.writer), 0);
			else if (c->steps[j].section)
				assert_int_equal(vferry_reader_new(sections->data[i],
								   sections->size[i], &step.reader),
						 0);
			ret = c->steps[j].run(c->user, &step, err);
			if (step.writer && !ret) {
				const void *data =
					vferry_writer_data(step.writer, &sections->size[i]);

				assert_true(vferry_writer_ok(step.writer));
				assert_true(sections->size[i] <= sizeof(sections->data[i]));
				memcpy(sections->data[i], data, sections->size[i]);
			}
			vferry_writer_free(step.writer);
			vferry_reader_free(step.reader);
		}
	}
	assert_true(found);
	return ret;
}

static const enum vferry_step_class save_order[] = { VFERRY_SAVE_ITS_RELEASE,
						     VFERRY_SAVE_GIC_PENDING,
						     VFERRY_SAVE_ITS_TABLES, VFERRY_SAVE_GIC };
static const enum vferry_step_class load_order[] = {
	VFERRY_LOAD_IRQCHIP_CREATE, VFERRY_LOAD_GIC_DIST, VFERRY_LOAD_GIC_LPI_BASES,
	VFERRY_LOAD_GIC_REDIST, VFERRY_LOAD_ITS_REGS, VFERRY_LOAD_ITS_TABLES,
	VFERRY_LOAD_ITS_CTLR
};

static void save_all(struct vferry_gic *gic, struct sections *sections)
{
	for (size_t i = 0; i < sizeof(save_order) / sizeof(save_order[0]); i++) {
		struct vferry_error err = VFERRY_ERROR_INIT;

		if (run_class(gic, save_order[i], sections, &err))
			fail_msg("step class %d: %s", save_order[i], err.message);
	}
}

static void load_all(struct vferry_gic *gic, struct sections *sections)
{
	for (size_t i = 0; i < sizeof(load_order) / sizeof(load_order[0]); i++) {
		struct vferry_error err = VFERRY_ERROR_INIT;

		if (run_class(gic, load_order[i], sections, &err))
			fail_msg("step class %d: %s", load_order[i], err.message);
	}
}

static unsigned int differences(struct vferry_gic *source, struct vferry_gic *target, int *ret_err,
				char id[48])
{
	struct vferry_reasons reasons = { 0 };

	*ret_err = 0;
	for (size_t i = 0; i < vferry_gic_component_count(source); i++) {
		const struct vferry_component *s = vferry_gic_component(source, i);
		const struct vferry_component *t = vferry_gic_component(target, i);
		struct vferry_writer *w;
		struct vferry_reader *r;
		const void *data;
		size_t size;

		assert_int_equal(vferry_writer_new(65536, &w), 0);
		assert_int_equal(s->identity(s->user, w, NULL), 0);
		data = vferry_writer_data(w, &size);
		assert_int_equal(vferry_reader_new(data, size, &r), 0);
		if (t->check(t->user, r, &reasons))
			*ret_err = -EINVAL;
		vferry_reader_free(r);
		vferry_writer_free(w);
	}
	(void) strcpy(id, reasons.last);
	return reasons.count;
}

struct pair {
	struct gic_machine *source, *target;
	struct vferry_gic *from, *to;
	struct sections sections;
};

static struct pair *pair_new(enum soft_gic_kind kind)
{
	struct pair *p = calloc(1, sizeof(*p));

	p->source = machine_create(kind, CPUS, true);
	p->target = machine_create(kind, CPUS, true);
	p->from = gic_of(p->source, &ops, CPUS);
	p->to = gic_of(p->target, &ops, CPUS);
	guest_boot(p->source);
	machine_connect(p->source);
	return p;
}

static void pair_free(struct pair *p)
{
	vferry_gic_free(p->from);
	vferry_gic_free(p->to);
	machine_free(p->source);
	machine_free(p->target);
	free(p);
}

static void copy_ram(struct pair *p)
{
	memcpy(p->target->ram, p->source->ram, RAM_BYTES);
}

/* Some of everything that a guest can set up. */
static void dress(struct gic_machine *m)
{
	guest_store(m, DIST + VF_GICD_ISENABLER + 4, 4, 0xf0);
	guest_store(m, DIST + VF_GICD_ISPENDR + 8, 4, 0x3);
	guest_store(m, DIST + VF_GICD_ISACTIVER + 8, 4, 0x8);
	guest_store(m, DIST + VF_GICD_IPRIORITYR + 40, 4, 0x20304050);
	guest_store(m, DIST + VF_GICD_ICFGR + 8, 4, 0xaaaa0000);
	guest_store(m, DIST + VF_GICD_IROUTER + 8 * 50, 8, 1);
	guest_store(m, RD(0) + VF_GICR_ICENABLER0, 4, 0xff);	/* SGIs come up enabled */
	guest_store(m, RD(1) + VF_GICR_ISENABLER0, 4, 1u << 27);
	guest_store(m, RD(1) + VF_GICR_IPRIORITYR0 + 24, 4, 0x10000000);
	assert_int_equal(soft_gic_irq_line(m->gic, 1, 27, true), 0);
	assert_int_equal(soft_gic_irq_line(m->gic, 0, 33, true), 0);
	assert_int_equal(soft_gic_icc_write(m->gic, 1, VF_ICC_BPR1_EL1, 5), 0);
	assert_int_equal(soft_gic_sgi(m->gic, 0, 9), 0);
}

static void round_trip(enum soft_gic_kind kind)
{
	struct pair *p = pair_new(kind);
	struct sections *again = calloc(1, sizeof(*again));
	char id[48];
	int err;

	assert_int_equal(soft_gic_fire(p->source->gic, 2), kind == SOFT_GIC_V3 ?
			 SOFT_GIC_SENT_INJECTED : SOFT_GIC_SENT_FORWARDED);
	assert_int_equal(differences(p->from, p->to, &err, id), 0);
	assert_int_equal(err, 0);
	dress(p->source);
	save_all(p->from, &p->sections);
	copy_ram(p);
	/* What the other side had of its own is gone after the load. */
	machine_set(p->target, 0, VF_VGIC_GRP_DIST_REGS, VF_GICD_ISENABLER + 8, 0x80);
	machine_set(p->target, 0, VF_VGIC_GRP_DIST_REGS, VF_GICD_ISACTIVER + 8, 0x80);
	machine_set(p->target, 0, VF_VGIC_GRP_DIST_REGS, VF_GICD_ISPENDR + 8, 0x80);
	load_all(p->to, &p->sections);

	machine_connect(p->target);
	assert_int_equal(soft_gic_vector_state(p->target->gic, 1),
			 kind == SOFT_GIC_V3 ? SOFT_GIC_NO_GICV4 : SOFT_GIC_FORWARDED);
	assert_int_equal(p->target->logs, 0);
	assert_int_equal(machine_release(p->target), kind == SOFT_GIC_V3 ? 0 : 3);

	save_all(p->to, again);		/* what arrived is what was sent */
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(again->size[i], p->sections.size[i]);
		assert_memory_equal(again->data[i], p->sections.data[i], again->size[i]);
	}
	assert_int_equal(guest_take(p->target, 1), 27);		/* the line is up, priority 0x10 */
	assert_int_equal(soft_gic_irq_line(p->target->gic, 1, 27, false), 0);
	assert_int_equal(guest_take(p->target, 1), 8193);
	assert_int_equal(guest_take(p->target, 1), SOFT_GIC_SPURIOUS);
	free(again);
	pair_free(p);
}

static void test_round_trip(void **state)
{
	(void) state;
	round_trip(SOFT_GIC_V3);
	round_trip(SOFT_GIC_V4_0);
	round_trip(SOFT_GIC_V4_1);
}

/* Nobody has written to the controller yet: a guest that has just started, or does not use it. */
static void test_guest_that_set_nothing_up(void **state)
{
	(void) state;
	for (int kind = SOFT_GIC_V3; kind <= SOFT_GIC_V4_1; kind++) {
		struct gic_machine *source = machine_create(kind, CPUS, true);
		struct gic_machine *target = machine_create(kind, CPUS, true);
		struct vferry_gic *from = gic_of(source, &ops, CPUS), *to = gic_of(target, &ops, CPUS);
		struct sections *sections = calloc(1, sizeof(*sections));

		save_all(from, sections);
		load_all(to, sections);
		free(sections);
		vferry_gic_free(from);
		vferry_gic_free(to);
		machine_free(source);
		machine_free(target);
	}
}

static void test_forwarded_without_release_is_refused(void **state)
{
	struct gic_machine *m = machine_create(SOFT_GIC_V4_0, CPUS, true);
	struct vferry_gic *gic = gic_of(m, &ops_without_release, CPUS);
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct sections *sections = calloc(1, sizeof(*sections));

	(void) state;
	guest_boot(m);
	machine_connect(m);
	assert_int_equal(run_class(gic, VFERRY_SAVE_ITS_RELEASE, sections, &err), -EACCES);
	assert_string_equal(err.object, "its/0");
	assert_string_equal(err.id, "its-save-tables");
	free(sections);
	vferry_gic_free(gic);
	machine_free(m);
}

/* GICv4.1 saves with everything connected: nothing may be released there. */
static void test_release_only_where_needed(void **state)
{
	struct pair *p = pair_new(SOFT_GIC_V4_1);

	(void) state;
	save_all(p->from, &p->sections);
	assert_int_equal(soft_gic_vector_state(p->source->gic, 1), SOFT_GIC_FORWARDED);
	pair_free(p);

	p = pair_new(SOFT_GIC_V4_0);
	assert_int_equal(soft_gic_fire(p->source->gic, 1), SOFT_GIC_SENT_FORWARDED);
	save_all(p->from, &p->sections);
	assert_int_equal(soft_gic_vector_state(p->source->gic, 1), SOFT_GIC_NO_IRQFD);
	copy_ram(p);
	load_all(p->to, &p->sections);
	assert_int_equal(guest_take(p->target, 0), 8192);	/* not lost */
	pair_free(p);
}

static void test_busy_vcpu(void **state)
{
	struct pair *p = pair_new(SOFT_GIC_V3);
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vferry_gic *none = NULL;
	static const uint32_t affinity[] = { 0, 1 };
	struct vferry_gic_config config = { .size = sizeof(config), .ops = &ops, .user = p->source,
		.affinity = affinity, .cpu_count = CPUS };

	(void) state;
	assert_int_equal(soft_gic_vcpu_enter(p->source->gic, 0, true), 0);
	for (size_t i = 0; i < sizeof(save_order) / sizeof(save_order[0]); i++) {
		vferry_error_clear(&err);
		assert_int_equal(run_class(p->from, save_order[i], &p->sections, &err), -EBUSY);
		assert_non_null(strstr(err.message, "vCPU"));
	}
	vferry_error_clear(&err);
	assert_int_equal(vferry_gic_new(&config, &none, &err), -EBUSY);
	assert_null(none);
	assert_string_equal(err.id, "irqchip-probe");
	soft_gic_vcpu_leave(p->source->gic, 0);
	pair_free(p);
}

static int load_one(struct pair *p, enum vferry_step_class class, struct vferry_error *err)
{
	vferry_error_clear(err);
	return run_class(p->to, class, &p->sections, err);
}

/* Orders that the rules forbid, and what each does: nothing goes wrong in silence. */
static void test_wrong_orders_fail_by_name(void **state)
{
	struct pair *p = pair_new(SOFT_GIC_V4_0);
	struct vferry_error err = VFERRY_ERROR_INIT;

	(void) state;
	save_all(p->from, &p->sections);
	copy_ram(p);
	assert_int_equal(load_one(p, VFERRY_LOAD_ITS_CTLR, &err), -EIO);	/* no bases yet */
	assert_string_equal(err.id, "irqchip-write-dropped");
	assert_string_equal(err.object, "its/0");
	assert_int_equal(load_one(p, VFERRY_LOAD_ITS_REGS, &err), 0);
	assert_int_equal(load_one(p, VFERRY_LOAD_ITS_TABLES, &err), -EFAULT); /* no PROPBASER yet */
	assert_string_equal(err.id, "its-restore-tables");
	assert_int_equal(load_one(p, VFERRY_LOAD_GIC_DIST, &err), 0);
	assert_int_equal(load_one(p, VFERRY_LOAD_GIC_REDIST, &err), 0);
	assert_int_equal(load_one(p, VFERRY_LOAD_GIC_LPI_BASES, &err), -EIO);	/* LPIs are on */
	assert_string_equal(err.id, "irqchip-write-dropped");
	assert_string_equal(err.object, "gic");
	pair_free(p);

	p = pair_new(SOFT_GIC_V4_0);
	save_all(p->from, &p->sections);
	copy_ram(p);
	load_all(p->to, &p->sections);
	assert_int_equal(load_one(p, VFERRY_LOAD_ITS_TABLES, &err), -EEXIST);
	assert_int_equal(load_one(p, VFERRY_LOAD_ITS_REGS, &err), -EBUSY); /* CREADR is frozen */
	pair_free(p);
}

static void test_its_that_came_late(void **state)
{
	struct gic_machine *m = machine_create(SOFT_GIC_V3, CPUS, false);
	struct vferry_gic *gic = gic_of(m, &ops, CPUS);
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct sections *sections = calloc(1, sizeof(*sections));

	(void) state;
	assert_int_equal(vferry_gic_component_count(gic), 1);
	assert_null(vferry_gic_component(gic, 1));
	assert_int_equal(run_class(gic, VFERRY_LOAD_IRQCHIP_CREATE, sections, &err), 0);
	assert_int_equal(soft_gic_device_create(m->gic, VF_KVM_DEV_VGIC_ITS), 1);
	assert_int_equal(run_class(gic, VFERRY_LOAD_IRQCHIP_CREATE, sections, &err), -EINVAL);
	assert_string_equal(err.id, "irqchip-not-ready");
	free(sections);
	vferry_gic_free(gic);
	machine_free(m);
}

/* LPIs can't be enabled where there is no ITS: dropped by the controller, found by reading back. */
static void test_lpis_without_its(void **state)
{
	struct pair *p = pair_new(SOFT_GIC_V3);
	struct gic_machine *bare = machine_create(SOFT_GIC_V3, CPUS, false);
	struct vferry_gic *gic = gic_of(bare, &ops, CPUS);
	struct vferry_error err = VFERRY_ERROR_INIT;

	(void) state;
	save_all(p->from, &p->sections);
	assert_int_equal(run_class(gic, VFERRY_LOAD_GIC_DIST, &p->sections, &err), 0);
	assert_int_equal(run_class(gic, VFERRY_LOAD_GIC_LPI_BASES, &p->sections, &err), 0);
	assert_int_equal(run_class(gic, VFERRY_LOAD_GIC_REDIST, &p->sections, &err), -EIO);
	vferry_gic_free(gic);
	machine_free(bare);
	pair_free(p);
}

static void test_damaged_sections(void **state)
{
	struct pair *p = pair_new(SOFT_GIC_V3);
	struct vferry_error err = VFERRY_ERROR_INIT;
	size_t size, whole;

	(void) state;
	save_all(p->from, &p->sections);
	copy_ram(p);
	whole = p->sections.size[1];
	for (size = 0; size < whole; size++) {
		p->sections.size[1] = size;
		assert_int_equal(load_one(p, VFERRY_LOAD_ITS_REGS, &err), -EINVAL);
	}
	p->sections.size[1] = whole + 1;
	assert_int_equal(load_one(p, VFERRY_LOAD_ITS_REGS, &err), -EINVAL);
	p->sections.size[1] = whole;
	p->sections.data[1][0]++;	/* a count of more than there are */
	assert_int_equal(load_one(p, VFERRY_LOAD_ITS_REGS, &err), -EINVAL);
	p->sections.data[1][0]--;
	whole = p->sections.size[0];
	for (size = 0; size < whole; size += 7) {
		p->sections.size[0] = size;
		assert_int_equal(load_one(p, VFERRY_LOAD_GIC_DIST, &err), -EINVAL);
	}
	p->sections.size[0] = whole;
	p->sections.data[0][4 + 4] ^= 4;	/* another register's offset */
	assert_int_equal(load_one(p, VFERRY_LOAD_GIC_DIST, &err), -EINVAL);
	assert_string_equal(err.id, "irqchip-register-unknown");
	p->sections.data[0][4 + 4] ^= 4;
	p->sections.data[0][4 + 8 + 1] ^= 0x10;	/* GICD_IIDR's value: revision 2, which is fine */
	assert_int_equal(load_one(p, VFERRY_LOAD_GIC_DIST, &err), 0);
	p->sections.data[0][4 + 8 + 1] ^= 0x40;	/* 6 is not */
	assert_int_equal(load_one(p, VFERRY_LOAD_GIC_DIST, &err), -EINVAL);
	assert_string_equal(err.id, "irqchip-access");
	pair_free(p);
}

static void test_other_machines_are_refused(void **state)
{
	struct pair *p = pair_new(SOFT_GIC_V4_0);
	struct gic_machine *other;
	struct vferry_gic *gic;
	char id[48];
	int err;

	(void) state;
	other = machine_create(SOFT_GIC_V4_0, 3, true);
	gic = gic_of(other, &ops, 3);
	assert_int_equal(differences(p->from, gic, &err, id), 1);	/* a vCPU more */
	assert_string_equal(id, "irqchip-mismatch");
	vferry_gic_free(gic);
	machine_free(other);

	other = machine_create(SOFT_GIC_V4_1, CPUS, true);
	gic = gic_of(other, &ops, CPUS);
	/* GICD_TYPER2: SGIs without active state. */
	assert_int_equal(differences(p->from, gic, &err, id), 1);
	assert_int_equal(err, 0);
	vferry_gic_free(gic);
	machine_free(other);

	other = machine_create(SOFT_GIC_V4_0, CPUS, true);
	machine_set(other, 0, VF_VGIC_GRP_DIST_REGS, VF_GICD_IIDR, 0x4b00243b);
	gic = gic_of(other, &ops, CPUS);
	assert_int_equal(differences(p->from, gic, &err, id), 1);	/* revision 3 to 2 */
	assert_string_equal(id, "irqchip-revision");
	assert_int_equal(differences(gic, p->from, &err, id), 0);	/* 2 to 3 is fine */
	vferry_gic_free(gic);
	machine_free(other);
	pair_free(p);
}

static void test_damaged_identity(void **state)
{
	struct pair *p = pair_new(SOFT_GIC_V3);

	(void) state;
	for (size_t i = 0; i < 2; i++) {
		const struct vferry_component *c = vferry_gic_component(p->from, i);
		struct vferry_reasons reasons = { 0 };
		struct vferry_writer *w;
		const uint8_t *data;
		size_t size;

		assert_int_equal(vferry_writer_new(65536, &w), 0);
		assert_int_equal(c->identity(c->user, w, NULL), 0);
		data = vferry_writer_data(w, &size);
		for (size_t cut = 0; cut < size; cut++) {
			struct vferry_reader *r;

			assert_int_equal(vferry_reader_new(data, cut, &r), 0);
			assert_int_equal(c->check(c->user, r, &reasons), -EINVAL);
			vferry_reader_free(r);
		}
		vferry_writer_free(w);
	}
	pair_free(p);
}

static void test_config_is_checked(void **state)
{
	static const uint32_t affinity[] = { 0, 1 };
	struct gic_machine *m = machine_create(SOFT_GIC_V3, CPUS, true);
	struct vferry_gic_config good = { .size = sizeof(good), .ops = &ops, .user = m,
		.affinity = affinity, .cpu_count = CPUS }, config = good;
	struct vferry_gic *gic = NULL;

	(void) state;
	assert_int_equal(vferry_gic_new(NULL, &gic, NULL), -EINVAL);
	config.cpu_count = 0;
	assert_int_equal(vferry_gic_new(&config, &gic, NULL), -EINVAL);
	config = good;
	config.its_count = 1;
	assert_int_equal(vferry_gic_new(&config, &gic, NULL), -EINVAL);
	config = good;
	config.ops = NULL;
	assert_int_equal(vferry_gic_new(&config, &gic, NULL), -EINVAL);
	config = good;
	config.device = 5;
	assert_int_equal(vferry_gic_new(&config, &gic, NULL), -EBADF);
	assert_null(gic);
	assert_null(vferry_gic_free(NULL));
	machine_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_guest_that_set_nothing_up),
		cmocka_unit_test(test_forwarded_without_release_is_refused),
		cmocka_unit_test(test_release_only_where_needed),
		cmocka_unit_test(test_busy_vcpu),
		cmocka_unit_test(test_wrong_orders_fail_by_name),
		cmocka_unit_test(test_its_that_came_late),
		cmocka_unit_test(test_lpis_without_its),
		cmocka_unit_test(test_damaged_sections),
		cmocka_unit_test(test_other_machines_are_refused),
		cmocka_unit_test(test_damaged_identity),
		cmocka_unit_test(test_config_is_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
