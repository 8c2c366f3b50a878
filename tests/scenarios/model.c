/* SPDX-License-Identifier: MIT */
/* model.c - the backend that is the soft machine's GIC, with a few MiB of RAM behind it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "scenario.h"
#include "soft/gic.h"
#include "vferry_kvm_arm64.h"

#define RAM_BASE	0x40000000ull
#define RAM_BYTES	0x400000ull
#define PAGE		4096u

struct model_vm {
	struct soft_gic *gic;
	uint8_t *ram;
	bool dirty[RAM_BYTES / PAGE];
	unsigned int logs;
};

static int ram_at(uint64_t gpa, size_t len, size_t *ret)
{
	if (gpa < RAM_BASE || gpa - RAM_BASE >= RAM_BYTES || len > RAM_BYTES - (gpa - RAM_BASE))
		return -EFAULT;
	*ret = (size_t) (gpa - RAM_BASE);
	return 0;
}

static int gic_reads(void *user, uint64_t gpa, void *to, size_t len)
{
	struct model_vm *vm = user;
	size_t at;

	if (ram_at(gpa, len, &at))
		return -EFAULT;
	memcpy(to, vm->ram + at, len);
	return 0;
}

static int gic_writes(void *user, uint64_t gpa, const void *from, size_t len)
{
	struct model_vm *vm = user;
	size_t at;

	if (ram_at(gpa, len, &at))
		return -EFAULT;
	memcpy(vm->ram + at, from, len);
	for (size_t page = at / PAGE; page <= (at + len - 1) / PAGE; page++)
		vm->dirty[page] = true;
	return 0;
}

static void count_log(void *user, const char *line)
{
	struct model_vm *vm = user;

	(void) line;
	vm->logs++;
}

static void model_close(void *opaque)
{
	struct model_vm *vm = opaque;

	if (!vm)
		return;
	soft_gic_free(vm->gic);
	free(vm->ram);
	free(vm);
}

static int model_open(const struct scenario_host *host, void **ret_vm)
{
	struct soft_gic_config config = {
		.size = sizeof(config),
		.read = gic_reads,
		.write = gic_writes,
		.log = count_log,
	};
	struct model_vm *vm = calloc(1, sizeof(*vm));
	int err = -ENOMEM;

	if (!vm)
		return -ENOMEM;
	vm->ram = calloc(1, RAM_BYTES);
	if (!vm->ram)
		goto out;
	config.user = vm;
	if (!strcmp(host->kernel, "6.12"))
		config.rules = SOFT_GIC_LINUX_6_12;
	else if (!strcmp(host->kernel, "6.15"))
		config.rules = SOFT_GIC_LINUX_6_15;
	else
		config.rules = SOFT_GIC_LINUX_6_16;
	err = soft_gic_kind_parse(host->kind, &config.kind);
	if (!err)
		err = soft_gic_new(&config, &vm->gic);
	if (err)
		goto out;
	*ret_vm = vm;
	return 0;
out:
	model_close(vm);
	return err;
}

static int model_vcpu_create(void *vm)
{
	return soft_gic_vcpu_create(((struct model_vm *) vm)->gic);
}

static int model_vcpu_mpidr(void *vm, unsigned int cpu, uint64_t mpidr)
{
	return soft_gic_vcpu_set_mpidr(((struct model_vm *) vm)->gic, cpu, mpidr);
}

static int model_vcpu_enter(void *vm, unsigned int cpu, bool run)
{
	return soft_gic_vcpu_enter(((struct model_vm *) vm)->gic, cpu, run);
}

static int model_vcpu_leave(void *vm, unsigned int cpu)
{
	soft_gic_vcpu_leave(((struct model_vm *) vm)->gic, cpu);
	return 0;
}

static int model_device_create(void *vm, uint32_t type)
{
	return soft_gic_device_create(((struct model_vm *) vm)->gic, type);
}

static int model_set_attr(void *vm, int device, uint32_t group, uint64_t attr,
			  const uint64_t *value)
{
	return soft_gic_set_attr(((struct model_vm *) vm)->gic, device, group, attr, value);
}

static int model_get_attr(void *vm, int device, uint32_t group, uint64_t attr, uint64_t *value)
{
	return soft_gic_get_attr(((struct model_vm *) vm)->gic, device, group, attr, value);
}

static int model_has_attr(void *vm, int device, uint32_t group, uint64_t attr)
{
	return soft_gic_has_attr(((struct model_vm *) vm)->gic, device, group, attr);
}

static int model_ram_read(void *vm, uint64_t gpa, void *to, size_t len)
{
	return gic_reads(vm, gpa, to, len);
}

/* What the VMM writes is not in KVM's log. */
static int model_ram_write(void *opaque, uint64_t gpa, const void *from, size_t len)
{
	struct model_vm *vm = opaque;
	size_t at;

	if (ram_at(gpa, len, &at))
		return -EFAULT;
	memcpy(vm->ram + at, from, len);
	return 0;
}

static int model_ram_copy(void *vm, void *from_vm)
{
	memcpy(((struct model_vm *) vm)->ram, ((struct model_vm *) from_vm)->ram, RAM_BYTES);
	return 0;
}

static int model_ram_clean(void *vm)
{
	memset(((struct model_vm *) vm)->dirty, 0, sizeof(((struct model_vm *) vm)->dirty));
	return 0;
}

static int model_ram_dirty(void *vm, uint64_t gpa)
{
	size_t at;

	return ram_at(gpa, 1, &at) ? -EFAULT : ((struct model_vm *) vm)->dirty[at / PAGE];
}

static int model_routing(void *vm, const struct scenario_route *routes, unsigned int count)
{
	struct soft_gic_route *list = calloc(count ? count : 1, sizeof(*list));
	int ret;

	if (!list)
		return -ENOMEM;
	for (unsigned int i = 0; i < count; i++)
		list[i] = (struct soft_gic_route) {
			.gsi = routes[i].gsi,
			.type = routes[i].msi ? VF_KVM_ROUTING_MSI : VF_KVM_ROUTING_IRQCHIP,
			.pin = routes[i].msi ? 0 : routes[i].data - 32,
			.flags = routes[i].flags,
			.address = routes[i].address,
			.data = routes[i].msi ? routes[i].data : 0,
			.devid = routes[i].devid,
		};
	ret = soft_gic_set_routing(((struct model_vm *) vm)->gic, list, count);
	free(list);
	return ret;
}

static int model_irqfd(void *vm, uint64_t token, uint32_t gsi, uint32_t flags)
{
	return soft_gic_irqfd(((struct model_vm *) vm)->gic, token, gsi, flags);
}

static int model_vector(void *vm, uint64_t token, bool on)
{
	if (on)
		return soft_gic_vector_set(((struct model_vm *) vm)->gic, token);
	soft_gic_vector_clear(((struct model_vm *) vm)->gic, token);
	return 0;
}

static const char *sent_name(enum soft_gic_sent sent)
{
	static const char *const names[] = {
		[SOFT_GIC_SENT_FORWARDED] = "forwarded",
		[SOFT_GIC_SENT_INJECTED] = "injected",
		[SOFT_GIC_SENT_KEPT] = "kept",
		[SOFT_GIC_SENT_LOST] = "lost",
		[SOFT_GIC_SENT_NOWHERE] = "nowhere",
	};

	return names[sent];
}

static const char *model_fire(void *vm, uint64_t token)
{
	return sent_name(soft_gic_fire(((struct model_vm *) vm)->gic, token));
}

static const char *model_event(void *vm, uint64_t token)
{
	return sent_name(soft_gic_event_write(((struct model_vm *) vm)->gic, token));
}

static int model_event_count(void *vm, uint64_t token)
{
	return (int) soft_gic_event_count(((struct model_vm *) vm)->gic, token);
}

static int model_signal_msi(void *vm, uint64_t address, uint32_t data, uint32_t devid,
			    uint32_t flags)
{
	return soft_gic_signal_msi(((struct model_vm *) vm)->gic, address, data, devid, flags);
}

static int model_line(void *vm, unsigned int cpu, uint32_t intid, bool level)
{
	return soft_gic_irq_line(((struct model_vm *) vm)->gic, cpu, intid, level);
}

static int model_load(void *vm, unsigned int cpu, uint64_t gpa, unsigned int len, uint64_t *value)
{
	return soft_gic_mmio_read(((struct model_vm *) vm)->gic, cpu, gpa, len, value);
}

static int model_store(void *vm, unsigned int cpu, uint64_t gpa, unsigned int len, uint64_t value)
{
	return soft_gic_mmio_write(((struct model_vm *) vm)->gic, cpu, gpa, len, value);
}

static int model_icc_write(void *vm, unsigned int cpu, uint32_t reg, uint64_t value)
{
	return soft_gic_icc_write(((struct model_vm *) vm)->gic, cpu, reg, value);
}

static int model_ack(void *vm, unsigned int cpu)
{
	return (int) soft_gic_ack(((struct model_vm *) vm)->gic, cpu);
}

static int model_eoi(void *vm, unsigned int cpu, uint32_t intid)
{
	soft_gic_eoi(((struct model_vm *) vm)->gic, cpu, intid);
	return 0;
}

static const char *model_vector_state(void *vm, uint64_t token)
{
	return soft_gic_reason_name(soft_gic_vector_state(((struct model_vm *) vm)->gic, token));
}

/* The first ITS that maps it. */
static int model_lpi_state(void *vm, uint32_t devid, uint32_t event, struct scenario_lpi *lpi)
{
	struct soft_gic_lpi state;

	*lpi = (struct scenario_lpi) { .mapped = false };
	for (int device = 1; device <= (int) SOFT_GIC_ITS_MAX; device++) {
		if (soft_gic_lpi_state(((struct model_vm *) vm)->gic, device, devid, event, &state))
			continue;
		*lpi = (struct scenario_lpi) {
			.mapped = true,
			.forwarded = state.forwarded,
			.pending = state.pending,
		};
		break;
	}
	return 0;
}

static int model_log_count(void *vm)
{
	int count = (int) ((struct model_vm *) vm)->logs;

	((struct model_vm *) vm)->logs = 0;
	return count;
}

static const struct scenario_backend model = {
	.name = "model",
	.open = model_open,
	.close = model_close,
	.vcpu_create = model_vcpu_create,
	.vcpu_mpidr = model_vcpu_mpidr,
	.vcpu_enter = model_vcpu_enter,
	.vcpu_leave = model_vcpu_leave,
	.device_create = model_device_create,
	.set_attr = model_set_attr,
	.get_attr = model_get_attr,
	.has_attr = model_has_attr,
	.ram_read = model_ram_read,
	.ram_write = model_ram_write,
	.ram_copy = model_ram_copy,
	.ram_clean = model_ram_clean,
	.ram_dirty = model_ram_dirty,
	.routing = model_routing,
	.irqfd = model_irqfd,
	.vector = model_vector,
	.fire = model_fire,
	.event = model_event,
	.event_count = model_event_count,
	.signal_msi = model_signal_msi,
	.line = model_line,
	.load = model_load,
	.store = model_store,
	.icc_write = model_icc_write,
	.ack = model_ack,
	.eoi = model_eoi,
	.vector_state = model_vector_state,
	.lpi_state = model_lpi_state,
	.log_count = model_log_count,
};

const struct scenario_backend *const scenario_backend = &model;
