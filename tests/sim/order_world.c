/* SPDX-License-Identifier: MIT */
/* order_world.c - see order_world.h. Every FACT is one thing that was seen or is documented. */
#include "order_world.h"

#include <assert.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define FACT(wrong, text) do { if ((wrong) && !w->failure) w->failure = (text); } while (0)

static const char *const device_key[WORLD_MAX_DEVICES] = { "00:04.0", "00:05.0" };
static const char *const vfio_name[WORLD_MAX_DEVICES] = { "vfio/00:04.0", "vfio/00:05.0" };
static const char *const pci_name[WORLD_MAX_DEVICES] = { "pci/00:04.0", "pci/00:05.0" };
static const char *const cpu_name[WORLD_MAX_CPUS] = { "cpu/0", "cpu/1" };
static const char *const lapic_name[WORLD_MAX_CPUS] = { "lapic/0", "lapic/1" };

static const struct world_machine machines[] = {
	{ .name = "arm64 GICv4.0, 2 devices", .arm = true, .gic_v4 = true, .cpus = 2,
	  .devices = 2 },
	{ .name = "x86, 2 cpus, 1 device", .cpus = 2, .devices = 1 },
	{ .name = "arm64 GICv3, no device", .arm = true, .cpus = 2 },
};

const struct world_machine *world_machines(size_t *ret_count)
{
	*ret_count = COUNT(machines);
	return machines;
}

enum who { EACH_CPU, EACH_DEVICE, EACH_PCI, EACH_LAPIC, ONCE };
enum where { EVERY, ARM, X86, WITH_DEVICES };

static const struct recipe {
	enum vferry_step_class step_class;
	enum who who;
	enum where where;
	const char *component;	/* ONCE */
	const char *name;
} recipes[] = {
	{ VFERRY_SAVE_CONFIG_EARLY, EACH_PCI, EVERY, NULL, "config-early" },
	{ VFERRY_SAVE_VCPU_STOP, ONCE, EVERY, "machine", "stop" },
	{ VFERRY_SAVE_VCPU_COMPLETE, EACH_CPU, EVERY, NULL, "complete" },
	{ VFERRY_SAVE_DEVICE_P2P, EACH_DEVICE, EVERY, NULL, "p2p" },
	{ VFERRY_SAVE_DEVICE_STOP, EACH_DEVICE, EVERY, NULL, "stop" },
	{ VFERRY_SAVE_CONFIG, EACH_PCI, EVERY, NULL, "config" },
	{ VFERRY_SAVE_DEVICE_DATA, EACH_DEVICE, EVERY, NULL, "data" },
	{ VFERRY_SAVE_DEVICE_DIRTY, ONCE, WITH_DEVICES, "iommu", "dirty" },
	{ VFERRY_SAVE_IRQ_FLUSH, ONCE, EVERY, "irq", "flush" },
	{ VFERRY_SAVE_ITS_RELEASE, ONCE, ARM, "its/0", "release" },
	{ VFERRY_SAVE_GIC_PENDING, ONCE, ARM, "gic", "pending" },
	{ VFERRY_SAVE_ITS_TABLES, ONCE, ARM, "its/0", "tables" },
	{ VFERRY_SAVE_GIC, ONCE, ARM, "gic", "registers" },
	{ VFERRY_SAVE_LAPIC, EACH_LAPIC, X86, NULL, "registers" },
	{ VFERRY_SAVE_IOAPIC, ONCE, X86, "ioapic", "registers" },
	{ VFERRY_SAVE_CPU, EACH_CPU, EVERY, NULL, "registers" },
	{ VFERRY_SAVE_CLOCK, ONCE, EVERY, "clock", "value" },
	{ VFERRY_SAVE_OTHER, ONCE, EVERY, "uart", "registers" },
	{ VFERRY_SAVE_RAM_LAST, ONCE, EVERY, "ram", "last" },

	{ VFERRY_LOAD_DEVICE_RESUMING, EACH_DEVICE, EVERY, NULL, "resuming" },
	{ VFERRY_LOAD_CONFIG_STAGE, EACH_PCI, EVERY, NULL, "stage" },
	{ VFERRY_LOAD_DEVICE_DATA, EACH_DEVICE, EVERY, NULL, "data" },
	{ VFERRY_LOAD_CONFIG_RESTAGE, EACH_PCI, EVERY, NULL, "restage" },
	{ VFERRY_LOAD_DEVICE_DATA_LAST, EACH_DEVICE, EVERY, NULL, "data-last" },
	{ VFERRY_LOAD_DEVICE_VALIDATE, EACH_DEVICE, EVERY, NULL, "validate" },
	{ VFERRY_LOAD_VECTOR_ALLOC, EACH_PCI, EVERY, NULL, "vectors" },
	{ VFERRY_LOAD_RAM, ONCE, EVERY, "ram", "pages" },
	{ VFERRY_LOAD_IRQCHIP_CREATE, ONCE, EVERY, "irqchip", "create" },
	{ VFERRY_LOAD_CPU_ID, EACH_CPU, EVERY, NULL, "id" },
	{ VFERRY_LOAD_CPU_SREGS, EACH_CPU, X86, NULL, "sregs" },
	{ VFERRY_LOAD_CPU_REGS, EACH_CPU, EVERY, NULL, "regs" },
	{ VFERRY_LOAD_GIC_DIST, ONCE, ARM, "gic", "distributor" },
	{ VFERRY_LOAD_GIC_LPI_BASES, ONCE, ARM, "gic", "lpi-bases" },
	{ VFERRY_LOAD_GIC_REDIST, ONCE, ARM, "gic", "redistributors" },
	{ VFERRY_LOAD_ITS_REGS, ONCE, ARM, "its/0", "registers" },
	{ VFERRY_LOAD_ITS_TABLES, ONCE, ARM, "its/0", "tables" },
	{ VFERRY_LOAD_ITS_CTLR, ONCE, ARM, "its/0", "enable" },
	{ VFERRY_LOAD_LAPIC, EACH_LAPIC, X86, NULL, "registers" },
	{ VFERRY_LOAD_TSC_DEADLINE, EACH_LAPIC, X86, NULL, "deadline" },
	{ VFERRY_LOAD_IOAPIC, ONCE, X86, "ioapic", "registers" },
	{ VFERRY_LOAD_PIT, ONCE, X86, "ioapic", "pit" },
	{ VFERRY_LOAD_IRQ_ROUTES, ONCE, EVERY, "irq", "routes" },
	{ VFERRY_LOAD_IRQ_CONNECT, EACH_PCI, EVERY, NULL, "connect" },
	{ VFERRY_LOAD_CONFIG_ARM, EACH_PCI, EVERY, NULL, "arm" },
	{ VFERRY_LOAD_OTHER, ONCE, EVERY, "uart", "registers" },
	{ VFERRY_LOAD_PREPARED, ONCE, EVERY, "session", "prepared" },
	{ VFERRY_LOAD_COMMIT, ONCE, EVERY, "session", "commit" },
	{ VFERRY_LOAD_DEVICE_RUN_P2P, EACH_DEVICE, EVERY, NULL, "run-p2p" },
	{ VFERRY_LOAD_DEVICE_RUN, EACH_DEVICE, EVERY, NULL, "run" },
	{ VFERRY_LOAD_CLOCK, ONCE, X86, "clock", "value" },
	{ VFERRY_LOAD_COUNTER, ONCE, ARM, "clock", "counter" },
	{ VFERRY_LOAD_VCPU_RUN, ONCE, EVERY, "machine", "run" },

	{ VFERRY_UNDO_BAR_MAP, EACH_PCI, EVERY, NULL, "bars" },
	{ VFERRY_UNDO_IRQ_CONNECT, EACH_PCI, EVERY, NULL, "connect" },
	{ VFERRY_UNDO_INTX, EACH_PCI, EVERY, NULL, "intx" },
	{ VFERRY_UNDO_DEVICE_RUN_P2P, EACH_DEVICE, EVERY, NULL, "run-p2p" },
	{ VFERRY_UNDO_DEVICE_RUN, EACH_DEVICE, EVERY, NULL, "run" },
	{ VFERRY_UNDO_LOGGING_OFF, EACH_DEVICE, EVERY, NULL, "logging-off" },
	{ VFERRY_UNDO_CLOCK, ONCE, EVERY, "clock", "value" },
	{ VFERRY_UNDO_OTHER, ONCE, EVERY, "uart", "back" },
	{ VFERRY_UNDO_VCPU_RUN, ONCE, EVERY, "machine", "run" },
};

size_t world_steps(const struct world_machine *m, enum vferry_phase phase, struct world_step *to,
		   size_t max)
{
	size_t n = 0;

	for (size_t i = 0; i < COUNT(recipes); i++) {
		const struct recipe *r = &recipes[i];
		int times = 1;

		if (VFERRY_PHASE_OF(r->step_class) != (unsigned) phase ||
		    (r->where == ARM && !m->arm) || (r->where == X86 && m->arm) ||
		    (r->where == WITH_DEVICES && !m->devices))
			continue;
		if (r->who == EACH_CPU || r->who == EACH_LAPIC)
			times = m->cpus;
		else if (r->who != ONCE)
			times = m->devices;
		for (int k = 0; k < times; k++) {
			struct world_step *s = &to[n++];

			assert(n <= max);
			*s = (struct world_step) {
				.step_class = r->step_class, .name = r->name,
				.component = r->component, .index = r->who == ONCE ? -1 : k,
			};
			if (r->who == EACH_CPU)
				s->component = cpu_name[k];
			else if (r->who == EACH_LAPIC)
				s->component = lapic_name[k];
			else if (r->who != ONCE)
				s->component = r->who == EACH_PCI ? pci_name[k] : vfio_name[k];
			if (r->who == EACH_PCI || r->who == EACH_DEVICE)
				s->device = device_key[k];
		}
	}
	/* The IOMMU's report is asked for by the first device, and covers both. */
	for (size_t i = 0; i < n; i++) {
		if (to[i].step_class == VFERRY_SAVE_DEVICE_DIRTY)
			to[i].device = device_key[0];
	}
	return n;
}

static bool can_fail(const struct world_step *s)
{
	return VFERRY_PHASE_OF(s->step_class) == VFERRY_PHASE_LOAD &&
	       (s->step_class < VFERRY_LOAD_PREPARED || s->step_class == VFERRY_LOAD_PIT);
}

void world_init(struct world *w, const struct world_machine *m, enum vferry_phase phase)
{
	struct world_step steps[WORLD_MAX_STEPS];
	size_t n = world_steps(m, phase, steps, WORLD_MAX_STEPS);

	*w = (struct world) { .machine = m, .phase = phase };
	for (size_t i = 0; i < n; i++)
		w->fallible += can_fail(&steps[i]);
	w->vcpus_run = phase == VFERRY_PHASE_SAVE;
	w->vectors_forwarded = phase == VFERRY_PHASE_SAVE && m->gic_v4 && m->devices;
	for (int i = 0; i < m->cpus; i++)
		w->pending_io[i] = phase == VFERRY_PHASE_SAVE;
	for (int i = 0; i < m->devices; i++) {
		struct world_device *d = &w->device[i];

		d->running = phase == VFERRY_PHASE_SAVE;
		d->d3 = phase == VFERRY_PHASE_LOAD;	/* a fresh one may sleep */
		d->dma_unreported = phase == VFERRY_PHASE_SAVE;
		d->logging = phase == VFERRY_PHASE_UNDO;
		d->stopped = phase == VFERRY_PHASE_UNDO;
	}
}

static bool is_vgic(enum vferry_step_class c)
{
	return c == VFERRY_SAVE_ITS_RELEASE || c == VFERRY_SAVE_GIC_PENDING ||
	       c == VFERRY_SAVE_ITS_TABLES || c == VFERRY_SAVE_GIC || c == VFERRY_LOAD_GIC_DIST ||
	       c == VFERRY_LOAD_GIC_LPI_BASES || c == VFERRY_LOAD_GIC_REDIST ||
	       c == VFERRY_LOAD_ITS_REGS || c == VFERRY_LOAD_ITS_TABLES ||
	       c == VFERRY_LOAD_ITS_CTLR;
}

static bool is_vcpu_ioctl(const struct world *w, enum vferry_step_class c)
{
	/* arm64 keeps its counter in a vCPU register. */
	return c == VFERRY_SAVE_VCPU_COMPLETE || c == VFERRY_SAVE_CPU || c == VFERRY_LOAD_CPU_ID ||
	       c == VFERRY_LOAD_CPU_SREGS || c == VFERRY_LOAD_CPU_REGS ||
	       (c == VFERRY_SAVE_CLOCK && w->machine->arm);
}

static void write_ram(struct world *w)
{
	FACT(w->ram_taken, "guest RAM was written after its last pages were taken");
}

static bool all_devices(const struct world *w, bool (*is)(const struct world_device *))
{
	for (int i = 0; i < w->machine->devices; i++) {
		if (!is(&w->device[i]))
			return false;
	}
	return true;
}

static bool is_quiet_p2p(const struct world_device *d) { return d->p2p || d->stopped; }
static bool is_awake_p2p(const struct world_device *d) { return d->p2p || d->running; }
static bool is_running(const struct world_device *d) { return d->running; }
static bool is_restaged(const struct world_device *d) { return d->restaged; }
static bool is_mapped(const struct world_device *d) { return d->bar_mapped; }
static bool is_unlogged(const struct world_device *d) { return !d->logging; }

static void all_lapics_set(struct world *w, const char *text)
{
	for (int i = 0; i < w->machine->cpus; i++)
		FACT(!w->lapic[i], text);
}

static void begin_save(struct world *w, const struct world_step *s, struct world_device *d)
{
	switch (s->step_class) {
	case VFERRY_SAVE_CONFIG_EARLY:
	case VFERRY_SAVE_VCPU_STOP:
		return;
	default:
		FACT(w->vcpus_run, "a running vCPU changed what was being saved");
		break;
	}
	switch (s->step_class) {
	case VFERRY_SAVE_VCPU_COMPLETE:
		for (int i = 0; i < w->machine->devices; i++)
			FACT(!w->device[i].running, "a pending access touched a quiet device");
		w->completing[s->index] = true;
		break;
	case VFERRY_SAVE_DEVICE_P2P:
	case VFERRY_SAVE_DEVICE_STOP:
		for (int i = 0; i < w->machine->cpus; i++)
			FACT(w->completing[i], "a device was stopped under a pending access");
		if (s->step_class == VFERRY_SAVE_DEVICE_STOP)
			FACT(!all_devices(w, is_quiet_p2p), "a peer wrote into a stopped device");
		d->running = false;
		break;
	case VFERRY_SAVE_CONFIG:
		FACT(!d->stopped, "config space changed after it was read");
		FACT(d->masked_in_eventfd, "a masked vector's message is not in its pending bit");
		break;
	case VFERRY_SAVE_DEVICE_DATA:
		FACT(!d->stopped, "a device that is not stopped has no end of state");
		break;
	case VFERRY_SAVE_DEVICE_DIRTY:
		/* What is written after this report is in none. */
		for (int i = 0; i < w->machine->devices; i++)
			w->device[i].dma_unreported = false;
		break;
	case VFERRY_SAVE_ITS_RELEASE:
		for (int i = 0; i < w->machine->devices; i++) {
			struct world_device *each = &w->device[i];

			FACT(each->in_eventfd, "a count left in an eventfd went with its irqfd");
			each->soft_pending |= each->hw_pending;	/* re-sent */
			each->hw_pending = false;
		}
		break;
	case VFERRY_SAVE_GIC_PENDING:
		for (int i = 0; i < w->machine->devices; i++) {
			w->device[i].saved_message = w->device[i].soft_pending;
			w->device[i].soft_pending = false;
		}
		w->pending_read = true;
		break;
	case VFERRY_SAVE_ITS_TABLES:
		FACT(w->vectors_forwarded, "ITS_SAVE_TABLES: -EACCES, vectors are forwarded");
		break;
	case VFERRY_SAVE_GIC:
		w->gic_read = true;
		break;
	case VFERRY_SAVE_LAPIC:
		w->lapic_read = true;
		break;
	case VFERRY_SAVE_IOAPIC:
		w->ioapic_read = true;
		break;
	case VFERRY_SAVE_CPU:
		FACT(w->pending_io[s->index], "half an access is in no register");
		w->cpu_read = true;
		break;
	case VFERRY_SAVE_RAM_LAST:
		for (int i = 0; i < w->machine->devices; i++)
			FACT(w->device[i].dma_unreported, "a page of DMA is in no report");
		w->ram_taken = true;
		break;
	default:
		break;
	}
}

static void end_save(struct world *w, const struct world_step *s, struct world_device *d)
{
	switch (s->step_class) {
	case VFERRY_SAVE_VCPU_STOP:
		w->vcpus_run = false;
		break;
	case VFERRY_SAVE_VCPU_COMPLETE:
		w->pending_io[s->index] = false;
		w->completing[s->index] = false;
		write_ram(w);
		break;
	case VFERRY_SAVE_DEVICE_P2P:
		d->p2p = true;
		break;
	case VFERRY_SAVE_DEVICE_STOP:
		/* Its last moment: one write, and one message by each way there is. */
		d->stopped = true;
		d->dma_unreported = true;
		write_ram(w);
		d->hw_pending = w->vectors_forwarded;
		FACT(w->machine->gic_v4 && !w->vectors_forwarded,
		     "a message came while its vector was disconnected");
		d->in_eventfd = d->masked_in_eventfd = d->line_in_eventfd = true;
		break;
	case VFERRY_SAVE_IRQ_FLUSH:
		for (int i = 0; i < w->machine->devices; i++) {
			struct world_device *each = &w->device[i];

			if (!each->in_eventfd)
				continue;
			FACT(w->pending_read || w->lapic_read, "a message came after the reading");
			FACT(w->gic_read || w->ioapic_read, "a line rose after it was read");
			FACT(!w->machine->arm && w->cpu_read, "an NMI came after the vCPU was read");
			each->soft_pending = true;
			each->pba = each->line = true;
			each->in_eventfd = each->masked_in_eventfd = each->line_in_eventfd = false;
		}
		break;
	case VFERRY_SAVE_ITS_RELEASE:
		w->vectors_forwarded = false;
		write_ram(w);
		break;
	case VFERRY_SAVE_GIC_PENDING:
	case VFERRY_SAVE_ITS_TABLES:
		write_ram(w);
		break;
	default:
		break;
	}
}

static void begin_load_device(struct world *w, const struct world_step *s, struct world_device *d)
{
	switch (s->step_class) {
	case VFERRY_LOAD_CONFIG_STAGE:
		FACT(!d->resuming, "bus master became live on a device that runs");
		FACT(d->restaged, "older values went on top of those of the stopped device");
		break;
	case VFERRY_LOAD_VECTOR_ALLOC:
		FACT(d->d3, "vectors cannot be set up outside D0");
		break;
	case VFERRY_LOAD_DEVICE_DATA:
		FACT(!d->staged, "the driver got state before its config space");
		FACT(d->data_last, "bytes of one stream changed places");
		break;
	case VFERRY_LOAD_CONFIG_RESTAGE:
		FACT(!d->staged, "values went in before they were compared");
		break;
	case VFERRY_LOAD_DEVICE_DATA_LAST:
		FACT(!d->data, "bytes of one stream changed places");
		FACT(!d->restaged, "the last state met the older config space");
		FACT(d->d3, "a device outside D0 takes no state");
		FACT(!d->resuming || d->validated, "a device that left RESUMING takes no state");
		break;
	case VFERRY_LOAD_DEVICE_VALIDATE:
		FACT(!d->data_last, "the driver found its state too short");
		FACT(d->d3, "a device outside D0 cannot be validated");
		break;
	case VFERRY_LOAD_IRQ_CONNECT:
		FACT(!d->allocated, "the vector has no eventfd");
		FACT(!w->routes, "the GSI has no route: never forwarded");
		FACT(w->machine->arm && !w->its_on, "the ITS is not there: software for ever");
		if (!w->machine->arm)
			all_lapics_set(w, "posted to a LAPIC that is overwritten later");
		break;
	case VFERRY_LOAD_CONFIG_ARM:
		FACT(!d->connected, "an asserted line signalled nobody");
		d->d3 = true;		/* as it was saved */
		break;
	case VFERRY_LOAD_DEVICE_RUN:
		FACT(!all_devices(w, is_awake_p2p), "a device wrote into a stopped peer");
		break;
	default:
		break;
	}
}

static void begin_load(struct world *w, const struct world_step *s)
{
	bool its = w->machine->arm;

	FACT(can_fail(s) && w->prepared, "a step that may fail came after the promise");
	switch (s->step_class) {
	case VFERRY_LOAD_CPU_SREGS:
		FACT(!w->cpu_id[s->index], "SREGS do not fit the default CPUID");
		FACT(!w->ram_complete, "PDPTRs were read from RAM that was not there");
		break;
	case VFERRY_LOAD_CPU_REGS:
		FACT(!w->cpu_id[s->index], "no such register yet");
		FACT(!its && !w->sregs[s->index], "nested state does not fit EFER and CR4");
		break;
	case VFERRY_LOAD_GIC_DIST:
		FACT(!w->created, "distributor access before init: -EBUSY");
		break;
	case VFERRY_LOAD_GIC_LPI_BASES:
		FACT(!w->created, "PROPBASER is reset when the ITS is created");
		FACT(w->lpis_on, "PROPBASER is ignored once LPIs are on");
		FACT(!w->iidr, "written under the wrong revision");
		for (int i = 0; i < w->machine->cpus; i++)
			FACT(!w->cpu_id[i], "no redistributor has that affinity");
		break;
	case VFERRY_LOAD_GIC_REDIST:
		FACT(!w->created, "EnableLPIs is ignored without an ITS");
		FACT(!w->ram_complete, "pending bits were read from RAM that was not there");
		break;
	case VFERRY_LOAD_ITS_REGS:
		FACT(!w->created, "ITS register before its address: -ENXIO");
		FACT(w->its_tables, "writing BASER freed the restored tables");
		FACT(w->its_on, "BASER is frozen");
		break;
	case VFERRY_LOAD_ITS_TABLES:
		FACT(!w->its_regs, "BASER says nothing yet");
		FACT(!w->lpis_on, "RESTORE_TABLES: -EFAULT, no PROPBASER");
		FACT(!w->ram_complete, "tables were read from RAM that was not there");
		break;
	case VFERRY_LOAD_ITS_CTLR:
		FACT(!w->its_tables, "the ITS was enabled without its tables");
		break;
	case VFERRY_LOAD_LAPIC:
		FACT(!w->created, "there is no LAPIC yet");
		FACT(!w->sregs[s->index], "the LAPIC's format does not fit its mode");
		FACT(w->ioapic, "what the IOAPIC injected was overwritten");
		break;
	case VFERRY_LOAD_TSC_DEADLINE:
		FACT(!w->lapic[s->index], "TSC_DEADLINE is ignored outside deadline mode");
		break;
	case VFERRY_LOAD_IOAPIC:
		all_lapics_set(w, "what the IOAPIC injects will be overwritten");
		break;
	case VFERRY_LOAD_PIT:
		FACT(!w->ioapic, "the PIT waits for ever for its first tick to be acknowledged");
		break;
	case VFERRY_LOAD_IRQ_ROUTES:
		FACT(!all_devices(w, is_restaged), "a route has an old message");
		FACT(!its && !w->ioapic, "the IOAPIC's pins have no messages yet");
		break;
	case VFERRY_LOAD_PREPARED:
		FACT(w->fallible, "promised before everything was done");
		break;
	case VFERRY_LOAD_COMMIT:
		FACT(!w->prepared, "nobody may commit without the promise");
		break;
	case VFERRY_LOAD_CLOCK:
	case VFERRY_LOAD_COUNTER:
		FACT(w->vcpus_run, "the clock jumped under a running guest");
		FACT(!all_devices(w, is_running), "time ran on while devices were started");
		break;
	case VFERRY_LOAD_VCPU_RUN:
		FACT(!all_devices(w, is_running), "the guest touched a stopped device");
		w->vcpus_run = true;
		break;
	default:
		break;
	}
	FACT(s->step_class > VFERRY_LOAD_COMMIT && !can_fail(s) && !w->committed,
	     "it ran on two sides");
}

static void end_load_device(struct world *w, const struct world_step *s, struct world_device *d)
{
	switch (s->step_class) {
	case VFERRY_LOAD_DEVICE_RESUMING:
		d->resuming = true;
		d->d3 = false;
		break;
	case VFERRY_LOAD_CONFIG_STAGE:
		d->staged = true;
		break;
	case VFERRY_LOAD_DEVICE_DATA:
		d->data = true;
		break;
	case VFERRY_LOAD_CONFIG_RESTAGE:
		d->restaged = true;
		break;
	case VFERRY_LOAD_DEVICE_DATA_LAST:
		FACT(d->d3, "a device outside D0 takes no state");
		d->data_last = true;
		break;
	case VFERRY_LOAD_DEVICE_VALIDATE:
		FACT(d->d3, "a device outside D0 cannot be validated");
		d->validated = true;
		break;
	case VFERRY_LOAD_VECTOR_ALLOC:
		d->allocated = true;
		break;
	case VFERRY_LOAD_IRQ_CONNECT:
		d->connected = true;
		break;
	case VFERRY_LOAD_DEVICE_RUN_P2P:
		d->p2p = true;
		break;
	case VFERRY_LOAD_DEVICE_RUN:
		d->running = true;
		break;
	default:
		break;
	}
}

static void end_load(struct world *w, const struct world_step *s)
{
	w->fallible -= can_fail(s);
	switch (s->step_class) {
	case VFERRY_LOAD_RAM:
		w->ram_complete = true;
		break;
	case VFERRY_LOAD_IRQCHIP_CREATE:
		FACT(w->routes, "initialising the controller wiped the routes");
		FACT(w->lpi_bases, "creating the ITS reset PROPBASER");
		w->created = true;
		break;
	case VFERRY_LOAD_CPU_ID:
		w->cpu_id[s->index] = true;
		break;
	case VFERRY_LOAD_CPU_SREGS:
		w->sregs[s->index] = true;
		break;
	case VFERRY_LOAD_GIC_DIST:
		w->iidr = true;
		break;
	case VFERRY_LOAD_GIC_LPI_BASES:
		w->lpi_bases = true;
		break;
	case VFERRY_LOAD_GIC_REDIST:
		w->lpis_on = true;
		break;
	case VFERRY_LOAD_ITS_REGS:
		w->its_regs = true;
		break;
	case VFERRY_LOAD_ITS_TABLES:
		w->its_tables = true;
		break;
	case VFERRY_LOAD_ITS_CTLR:
		w->its_on = true;
		break;
	case VFERRY_LOAD_LAPIC:
		w->lapic[s->index] = true;
		break;
	case VFERRY_LOAD_IOAPIC:
		w->ioapic = true;
		break;
	case VFERRY_LOAD_IRQ_ROUTES:
		w->routes = true;
		break;
	case VFERRY_LOAD_PREPARED:
		w->prepared = true;
		break;
	case VFERRY_LOAD_COMMIT:
		w->committed = true;
		break;
	default:
		break;
	}
}

static void begin_undo(struct world *w, const struct world_step *s, struct world_device *d)
{
	switch (s->step_class) {
	case VFERRY_UNDO_INTX:
		FACT(!d->connected, "an asserted line signalled nobody");
		break;
	case VFERRY_UNDO_DEVICE_RUN_P2P:
		FACT(!d->connected || !d->intx, "a message came before its vector was back");
		break;
	case VFERRY_UNDO_DEVICE_RUN:
		FACT(!all_devices(w, is_awake_p2p), "a device wrote into a stopped peer");
		FACT(!all_devices(w, is_mapped), "a peer's BAR was not there");
		break;
	case VFERRY_UNDO_LOGGING_OFF:
		FACT(!d->running, "the tracker ended before the session that was begun after it");
		break;
	case VFERRY_UNDO_CLOCK:
		FACT(w->vcpus_run, "the clock jumped under a running guest");
		FACT(!all_devices(w, is_running), "time ran on while devices were started");
		break;
	case VFERRY_UNDO_VCPU_RUN:
		FACT(!all_devices(w, is_running), "the guest touched a stopped device");
		FACT(!all_devices(w, is_mapped), "the guest found no BAR");
		FACT(!all_devices(w, is_unlogged), "migrated again at once: the log is still on");
		FACT(!w->clock, "the clock will jump under a running guest");
		FACT(!w->other, "the guest saw a component that was not back");
		w->vcpus_run = true;
		break;
	default:
		break;
	}
}

static void end_undo(struct world *w, const struct world_step *s, struct world_device *d)
{
	switch (s->step_class) {
	case VFERRY_UNDO_BAR_MAP:
		d->bar_mapped = true;
		break;
	case VFERRY_UNDO_IRQ_CONNECT:
		d->connected = true;
		break;
	case VFERRY_UNDO_INTX:
		d->intx = true;
		break;
	case VFERRY_UNDO_DEVICE_RUN_P2P:
		d->p2p = true;
		break;
	case VFERRY_UNDO_DEVICE_RUN:
		d->running = true;
		break;
	case VFERRY_UNDO_LOGGING_OFF:
		d->logging = false;
		break;
	case VFERRY_UNDO_CLOCK:
		w->clock = true;
		break;
	case VFERRY_UNDO_OTHER:
		w->other = true;
		break;
	default:
		break;
	}
}

static struct world_device *device_of(struct world *w, const struct world_step *s)
{
	return s->device ? &w->device[s->index < 0 ? 0 : s->index] : NULL;
}

void world_begin(struct world *w, const struct world_step *s)
{
	struct world_device *d = device_of(w, s);

	FACT(is_vgic(s->step_class) && w->vcpus_run, "VGIC access beside a running vCPU: -EBUSY");
	FACT(is_vgic(s->step_class) && w->cpu_ioctls, "VGIC access beside a vCPU ioctl: -EBUSY");
	w->cpu_ioctls += is_vcpu_ioctl(w, s->step_class);
	if (w->phase == VFERRY_PHASE_SAVE) {
		begin_save(w, s, d);
	} else if (w->phase == VFERRY_PHASE_UNDO) {
		begin_undo(w, s, d);
	} else {
		begin_load(w, s);
		if (d)
			begin_load_device(w, s, d);
	}
}

void world_end(struct world *w, const struct world_step *s)
{
	struct world_device *d = device_of(w, s);

	w->cpu_ioctls -= is_vcpu_ioctl(w, s->step_class);
	if (w->phase == VFERRY_PHASE_SAVE) {
		end_save(w, s, d);
	} else if (w->phase == VFERRY_PHASE_UNDO) {
		end_undo(w, s, d);
	} else {
		end_load(w, s);
		if (d)
			end_load_device(w, s, d);
	}
}

void world_finish(struct world *w)
{
	for (int i = 0; w->phase == VFERRY_PHASE_SAVE && i < w->machine->devices; i++) {
		const struct world_device *d = &w->device[i];

		FACT(d->hw_pending, "a message stayed in hardware that nobody reads");
		FACT(d->in_eventfd || d->line_in_eventfd, "a message stayed in an eventfd");
		FACT(w->machine->arm && !d->saved_message, "a message came after it was read for");
	}
	FACT(w->phase == VFERRY_PHASE_LOAD && !w->vcpus_run, "nobody runs the machine");
}
