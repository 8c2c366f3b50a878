/* SPDX-License-Identifier: MIT */
/*
 * kvm.c - the scenarios' backend that is a real kernel: each call is the ioctl that a VMM would make.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "kvm.h"
#include "scenarios/scenario.h"
#include "vferry_kvm_arm64.h"

/* Where scenarios keep the ITS's command queue */
#define QUEUE		0x40220000ull
#define QUEUE_BYTES	0x10000u
#define COMMAND_BYTES	32u
#define ITS_MAPTI	0x0au

#define TABLE_ADDRESS	0x0000fffffffff000ull
#define TABLE_INDIRECT	(1ull << 62)
#define TABLE_VALID	(1ull << 63)

/* --- the host --- */

static int kvm_host(struct scenario_host *host)
{
	unsigned int major = 0, minor = 0;
	struct utsname name;
	cpu_set_t first;

	CPU_ZERO(&first);
	CPU_SET(0, &first);
	if (sched_setaffinity(0, sizeof(first), &first))	/* where interrupts go: edu_fire() */
		return -errno;
	if (seen_open() || uname(&name) || sscanf(name.release, "%u.%u", &major, &minor) != 2)
		return -EIO;
	host->kind = seen_kind();
	host->release = major * 100 + minor;
	host->kernel = major > 6 || minor >= 16 ? "6.16" : minor > 12 ? "6.15" : "6.12";
	printf("lab: Linux %s, host %s, rules of %s\n", name.release, host->kind, host->kernel);
	return 0;
}

/* --- a VM and its RAM --- */

static unsigned int vms;

static int add_slot(int fd, uint32_t slot, uint64_t gpa, void *at, uint64_t bytes, uint32_t flags)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.flags = flags,
		.guest_phys_addr = gpa,
		.memory_size = bytes,
		.userspace_addr = (uintptr_t) at,
	};

	return ioctl(fd, KVM_SET_USER_MEMORY_REGION, &region) ? -errno : 0;
}

static void backend_close(void *opaque)
{
	struct kvm_vm *vm = opaque;

	for (unsigned int i = 0; i < vm->cpu_count; i++)
		(void) kvm_cpu_leave(vm, i);
	for (unsigned int i = 0; i < vm->token_count; i++) {
		struct kvm_token *token = &vm->tokens[i];
		struct kvm_irqfd irqfd = {
			.fd = (uint32_t) token->eventfd,
			.gsi = token->gsi,
			.flags = VF_KVM_IRQFD_DEASSIGN,
		};

		if (token->connected)
			(void) ioctl(vm->fd, KVM_IRQFD, &irqfd);
		(void) edu_vector(token, false);
		close(token->eventfd);
	}
	for (unsigned int i = 0; i < vm->cpu_count; i++)
		kvm_cpu_close(&vm->cpus[i]);
	for (unsigned int i = 0; i < vm->device_count; i++)
		close(vm->devices[i]);
	if (vm->fd >= 0) {
		close(vm->fd);
		vms--;
	}
	(void) munmap(vm->ram, RAM_BYTES);
	(void) munmap(vm->code, CODE_BYTES);
	free(vm);
}

static int backend_open(const struct scenario_host *host, void **ret_vm)
{
	int prot = PROT_READ | PROT_WRITE, flags = MAP_SHARED | MAP_ANONYMOUS;
	struct kvm_vm *vm = calloc(1, sizeof(*vm));
	int kvm, err;

	(void) host;
	if (!vm)
		return -ENOMEM;
	vm->its = -1;
	vm->ram = mmap(NULL, RAM_BYTES, prot, flags, -1, 0);
	vm->code = mmap(NULL, CODE_BYTES, prot, flags, -1, 0);
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	vm->fd = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);
	err = vm->fd < 0 ? -errno : 0;
	if (!err && !vms++)
		(void) seen_log();	/* what earlier ones left when they went */
	if (kvm >= 0)
		close(kvm);
	if (!err)
		err = add_slot(vm->fd, 0, RAM_BASE, vm->ram, RAM_BYTES, KVM_MEM_LOG_DIRTY_PAGES);
	if (!err)
		err = add_slot(vm->fd, 1, CODE_BASE, vm->code, CODE_BYTES, 0);
	if (err) {
		backend_close(vm);
		return err;
	}
	kvm_guest_install(vm);
	vgic_path(vm->fd, vm->debugfs);
	*ret_vm = vm;
	return 0;
}

static uint8_t *ram_at(const struct kvm_vm *vm, uint64_t gpa, size_t len)
{
	if (gpa < RAM_BASE || gpa - RAM_BASE >= RAM_BYTES || len > RAM_BYTES - (gpa - RAM_BASE))
		return NULL;
	return vm->ram + (gpa - RAM_BASE);
}

static int backend_ram_read(void *vm, uint64_t gpa, void *to, size_t len)
{
	const uint8_t *at = ram_at(vm, gpa, len);

	return at ? memcpy(to, at, len), 0 : -EFAULT;
}

static int backend_ram_write(void *vm, uint64_t gpa, const void *from, size_t len)
{
	uint8_t *at = ram_at(vm, gpa, len);

	return at ? memcpy(at, from, len), 0 : -EFAULT;
}

static int backend_ram_copy(void *vm, void *from_vm)
{
	memcpy(((struct kvm_vm *) vm)->ram, ((struct kvm_vm *) from_vm)->ram, RAM_BYTES);
	return 0;
}

/* Takes KVM's log; what it has is kept until it is to be forgotten. */
static int take_log(struct kvm_vm *vm, bool keep)
{
	uint64_t bits[RAM_BYTES / PAGE / 64];
	struct kvm_dirty_log log = { .slot = 0, .dirty_bitmap = bits };

	memset(bits, 0, sizeof(bits));
	if (ioctl(vm->fd, KVM_GET_DIRTY_LOG, &log))
		return -errno;
	for (unsigned int i = 0; keep && i < RAM_BYTES / PAGE; i++)
		vm->dirty[i] |= bits[i / 64] >> (i % 64) & 1;
	return 0;
}

static int backend_ram_clean(void *opaque)
{
	struct kvm_vm *vm = opaque;

	memset(vm->dirty, 0, sizeof(vm->dirty));
	return take_log(vm, false);
}

static int backend_ram_dirty(void *opaque, uint64_t gpa)
{
	struct kvm_vm *vm = opaque;
	int err = ram_at(vm, gpa, 1) ? take_log(vm, true) : -EFAULT;

	return err ? err : vm->dirty[(gpa - RAM_BASE) / PAGE];
}

/* --- interrupt controllers --- */

static int backend_device_create(void *opaque, uint32_t type)
{
	struct kvm_create_device create = { .type = type };
	struct kvm_vm *vm = opaque;

	if (vm->device_count == KVM_DEVICES)
		return -E2BIG;
	if (ioctl(vm->fd, KVM_CREATE_DEVICE, &create))
		return -errno;
	vm->devices[vm->device_count++] = (int) create.fd;
	if (type == VF_KVM_DEV_VGIC_ITS && vm->its < 0)
		vm->its = (int) create.fd;
	return (int) create.fd;
}

static int attr_call(int device, unsigned long call, uint32_t group, uint64_t attr, uint64_t *value)
{
	struct kvm_device_attr a = {
		.group = group,
		.attr = attr,
		.addr = (uintptr_t) value,
	};
	int ret = ioctl(device, call, &a);

	return ret < 0 ? -errno : ret;
}

static int backend_set_attr(void *vm, int device, uint32_t group, uint64_t attr,
			    const uint64_t *value)
{
	uint64_t copy = value ? *value : 0;

	(void) vm;
	return attr_call(device, KVM_SET_DEVICE_ATTR, group, attr, value ? &copy : NULL);
}

static int backend_get_attr(void *vm, int device, uint32_t group, uint64_t attr, uint64_t *value)
{
	(void) vm;
	return attr_call(device, KVM_GET_DEVICE_ATTR, group, attr, value);
}

static int backend_has_attr(void *vm, int device, uint32_t group, uint64_t attr)
{
	(void) vm;
	return attr_call(device, KVM_HAS_DEVICE_ATTR, group, attr, NULL);
}

/* --- routes, irqfds, vectors --- */

static int backend_routing(void *opaque, const struct scenario_route *routes, unsigned int count)
{
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry entries[KVM_ROUTES];
	} table = { .head.nr = count };
	struct kvm_vm *vm = opaque;

	if (count > KVM_ROUTES)
		return -E2BIG;
	for (unsigned int i = 0; i < count; i++) {
		const struct scenario_route *route = &routes[i];
		struct kvm_irq_routing_entry *entry = &table.entries[i];

		entry->gsi = route->gsi;
		if (!route->msi) {
			entry->type = VF_KVM_ROUTING_IRQCHIP;
			entry->u.irqchip.pin = route->data - 32;
			continue;
		}
		entry->type = VF_KVM_ROUTING_MSI;
		entry->flags = route->flags;
		entry->u.msi.address_lo = (uint32_t) route->address;
		entry->u.msi.address_hi = (uint32_t) (route->address >> 32);
		entry->u.msi.data = route->data;
		entry->u.msi.devid = route->devid;
	}
	return ioctl(vm->fd, KVM_SET_GSI_ROUTING, &table) ? -errno : 0;
}

static struct kvm_token *token_of(struct kvm_vm *vm, uint64_t number)
{
	struct kvm_token *token;

	for (unsigned int i = 0; i < vm->token_count; i++)
		if (vm->tokens[i].token == number)
			return &vm->tokens[i];
	if (vm->token_count == KVM_TOKENS)
		return NULL;
	token = &vm->tokens[vm->token_count];
	*token = (struct kvm_token) { .token = number, .edu = -1 };
	token->eventfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (token->eventfd < 0)
		return NULL;
	vm->token_count++;
	return token;
}

/* What becomes of an eventfd that was signalled; NULL if the kernel never says. */
static const char *software_fate(const struct kvm_token *token)
{
	for (unsigned int i = 0; i < 5000; i++) {
		const char *fate = token->connected ? seen_injection() :
				   seen_event_count(token->eventfd) > 0 ? "kept" : NULL;

		if (fate)
			return fate;
		(void) usleep(1000);
	}
	return "never handled";
}

static int backend_irqfd(void *opaque, uint64_t number, uint32_t gsi, uint32_t flags)
{
	struct kvm_vm *vm = opaque;
	struct kvm_token *token = token_of(vm, number);
	struct kvm_irqfd irqfd = { .gsi = gsi, .flags = flags };
	bool waiting;

	if (!token)
		return -E2BIG;
	irqfd.fd = (uint32_t) token->eventfd;
	waiting = seen_event_count(token->eventfd) > 0;
	seen_injection_clear();
	if (ioctl(vm->fd, KVM_IRQFD, &irqfd))
		return -errno;
	if (!(flags & VF_KVM_IRQFD_DEASSIGN)) {
		token->connected = true;
		token->gsi = gsi;
		if (waiting)		/* is injected by a worker of the kernel's */
			(void) software_fate(token);
	} else if (token->gsi == gsi) {
		token->connected = false;
	}
	return 0;
}

static int backend_vector(void *opaque, uint64_t number, bool on)
{
	struct kvm_vm *vm = opaque;
	struct kvm_token *token = token_of(vm, number);

	return token ? edu_vector(token, on) : -E2BIG;
}

static const char *backend_fire(void *opaque, uint64_t number)
{
	struct kvm_vm *vm = opaque;
	struct kvm_token *token = token_of(vm, number);
	int ret;

	if (!token)
		return "too many tokens";
	if (token->edu < 0)
		return "nowhere";
	seen_injection_clear();
	ret = edu_fire(token);
	if (ret < 0)
		return "device does not answer";
	if (ret)
		return software_fate(token);
	return edu_forwarded(token) ? "forwarded" : "never raised";
}

static const char *backend_event(void *vm, uint64_t number)
{
	struct kvm_token *token = token_of(vm, number);
	uint64_t one = 1;

	if (!token)
		return "too many tokens";
	seen_injection_clear();
	if (write(token->eventfd, &one, sizeof(one)) != sizeof(one))
		return "eventfd does not take it";
	return software_fate(token);
}

static int backend_event_count(void *vm, uint64_t number)
{
	const struct kvm_token *token = token_of(vm, number);

	return token ? (int) seen_event_count(token->eventfd) : -E2BIG;
}

static int backend_signal_msi(void *opaque, uint64_t address, uint32_t data, uint32_t devid,
			      uint32_t flags)
{
	struct kvm_msi msi = {
		.address_lo = (uint32_t) address,
		.address_hi = (uint32_t) (address >> 32),
		.data = data,
		.devid = devid,
		.flags = flags,
	};
	int ret = ioctl(((struct kvm_vm *) opaque)->fd, KVM_SIGNAL_MSI, &msi);

	return ret < 0 ? -errno : ret;
}

static int backend_line(void *vm, unsigned int cpu, uint32_t intid, bool level)
{
	unsigned int type = intid < 32 ? KVM_ARM_IRQ_TYPE_PPI : KVM_ARM_IRQ_TYPE_SPI;
	struct kvm_irq_level line = {
		.irq = type << KVM_ARM_IRQ_TYPE_SHIFT | cpu << KVM_ARM_IRQ_VCPU_SHIFT | intid,
		.level = level,
	};

	return ioctl(((struct kvm_vm *) vm)->fd, KVM_IRQ_LINE, &line) ? -errno : 0;
}

/* --- the guest's doing --- */

static int backend_load(void *vm, unsigned int cpu, uint64_t gpa, unsigned int len, uint64_t *value)
{
	return kvm_cpu_does(vm, cpu, len == 1 ? GUEST_LOAD8 : len == 4 ? GUEST_LOAD32 : GUEST_LOAD64,
			    gpa, 0, value);
}

static int backend_store(void *vm, unsigned int cpu, uint64_t gpa, unsigned int len, uint64_t value)
{
	return kvm_cpu_does(vm, cpu,
			    len == 1 ? GUEST_STORE8 : len == 4 ? GUEST_STORE32 : GUEST_STORE64,
			    gpa, value, NULL);
}

static int backend_icc_write(void *vm, unsigned int cpu, uint32_t reg, uint64_t value)
{
	enum guest_does what = reg == VF_ICC_PMR_EL1 ? GUEST_ICC_PMR :
			       reg == VF_ICC_IGRPEN1_EL1 ? GUEST_ICC_IGRPEN1 : GUEST_ICC_CTLR;

	if (what == GUEST_ICC_CTLR && reg != VF_ICC_CTLR_EL1)
		return -ENOTSUP;
	return kvm_cpu_does(vm, cpu, what, value, 0, NULL);
}

static int backend_ack(void *vm, unsigned int cpu)
{
	uint64_t intid = 0;
	int err = kvm_cpu_does(vm, cpu, GUEST_ACK, 0, 0, &intid);

	return err ? err : (int) (intid & 0xffffff);
}

static int backend_eoi(void *vm, unsigned int cpu, uint32_t intid)
{
	return kvm_cpu_does(vm, cpu, GUEST_EOI, intid, 0, NULL);
}

/* --- what can be seen from outside --- */

static uint64_t table_word(const struct kvm_vm *vm, uint64_t gpa)
{
	const uint8_t *at = ram_at(vm, gpa, sizeof(uint64_t));
	uint64_t word = 0;

	if (at)
		memcpy(&word, at, sizeof(word));
	return word;
}

/* The LPI of a device's event, as the saved tables have it; 0: none. */
static uint32_t saved_lpi(const struct kvm_vm *vm, uint32_t devid, uint32_t event)
{
	uint64_t baser = 0, table, entry;

	if (attr_call(vm->its, KVM_GET_DEVICE_ATTR, VF_VGIC_GRP_ITS_REGS, VF_GITS_BASER(0),
		      &baser) || !(baser & TABLE_VALID))
		return 0;
	table = baser & TABLE_ADDRESS;
	if (baser & TABLE_INDIRECT) {
		entry = table_word(vm, table + devid / 8192 * 8);
		if (!(entry & TABLE_VALID))
			return 0;
		table = entry & TABLE_ADDRESS;
		devid %= 8192;
	}
	entry = table_word(vm, table + 8ull * devid);
	if (!(entry & TABLE_VALID) || event >= 2u << (entry & 31))
		return 0;
	entry = table_word(vm, (entry >> 5 << 8 & 0x000fffffffffff00ull) + 8ull * event);
	return (uint32_t) (entry >> 16);
}

/* The same, as the guest's last MAPTI said. */
static uint32_t queued_lpi(const struct kvm_vm *vm, uint32_t devid, uint32_t event)
{
	uint32_t lpi = 0;

	for (uint64_t at = QUEUE; at < QUEUE + QUEUE_BYTES; at += COMMAND_BYTES) {
		uint64_t first = table_word(vm, at), second = table_word(vm, at + 8);

		if ((first & 0xff) == ITS_MAPTI && first >> 32 == devid &&
		    (uint32_t) second == event)
			lpi = (uint32_t) (second >> 32);
	}
	return lpi;
}

/*
 * KVM shows no mapping of events, so its tables are saved, read and put back. That is refused while
 * an LPI is forwarded (GICv4.0); then what the guest asked for must do, and the LPI must exist.
 */
static int backend_lpi_state(void *opaque, uint32_t devid, uint32_t event,
			     struct scenario_lpi *lpi)
{
	struct kvm_vm *vm = opaque;
	struct vgic_lpi seen;
	uint32_t intid;
	uint8_t *ram;
	int err;

	*lpi = (struct scenario_lpi) { .mapped = false };
	ram = malloc(RAM_BYTES);
	if (!ram || vm->its < 0 || take_log(vm, true)) {
		free(ram);
		return -EIO;
	}
	memcpy(ram, vm->ram, RAM_BYTES);
	err = attr_call(vm->its, KVM_SET_DEVICE_ATTR, VF_VGIC_GRP_CTRL, VF_ITS_SAVE_TABLES, NULL);
	intid = err ? 0 : saved_lpi(vm, devid, event);
	memcpy(vm->ram, ram, RAM_BYTES);
	free(ram);
	if (take_log(vm, false))
		return -EIO;
	if (err == -EACCES)
		intid = queued_lpi(vm, devid, event);
	else if (err)
		return err;
	if (!intid || !seen_lpi(vm, intid, &seen))
		return 0;
	*lpi = (struct scenario_lpi) {
		.mapped = true,
		.forwarded = seen.hw,
		.pending = seen.pending,
		.pending_unknown = seen.hw,
	};
	return 0;
}

/* By the LPI that its device's interrupt became; KVM keeps no reason for those that did not. */
static const char *backend_vector_state(void *opaque, uint64_t number)
{
	struct kvm_vm *vm = opaque;
	struct kvm_token *token = token_of(vm, number);

	if (!token)
		return "too many tokens";
	return edu_forwarded(token) ? "forwarded" : NULL;
}

static int backend_log_count(void *vm)
{
	(void) vm;
	return (int) seen_log();
}

static const struct scenario_backend kvm_backend = {
	.name = "kvm",
	.host = kvm_host,
	.open = backend_open,
	.close = backend_close,
	.vcpu_create = kvm_cpu_create,
	.vcpu_mpidr = kvm_cpu_mpidr,
	.vcpu_enter = kvm_cpu_enter,
	.vcpu_leave = kvm_cpu_leave,
	.device_create = backend_device_create,
	.set_attr = backend_set_attr,
	.get_attr = backend_get_attr,
	.has_attr = backend_has_attr,
	.ram_read = backend_ram_read,
	.ram_write = backend_ram_write,
	.ram_copy = backend_ram_copy,
	.ram_clean = backend_ram_clean,
	.ram_dirty = backend_ram_dirty,
	.routing = backend_routing,
	.irqfd = backend_irqfd,
	.vector = backend_vector,
	.fire = backend_fire,
	.event = backend_event,
	.event_count = backend_event_count,
	.signal_msi = backend_signal_msi,
	.line = backend_line,
	.load = backend_load,
	.store = backend_store,
	.icc_write = backend_icc_write,
	.ack = backend_ack,
	.eoi = backend_eoi,
	.vector_state = backend_vector_state,
	.lpi_state = backend_lpi_state,
	.log_count = backend_log_count,
};

const struct scenario_backend *const scenario_backend = &kvm_backend;
