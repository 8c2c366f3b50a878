/* SPDX-License-Identifier: MIT */
/*
 * machine.c - RAM, PCI host, devices and interrupt plan, put together around an accelerator; see
 * machine.h and machine_accel.h.
 */
#include "machine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "machine_accel.h"

#define HUGE_PAGE	(2ull << 20)
#define JUDGE_POLL_NS	5000000

/* ---- accelerators ---- */

/* `auto` takes the first whose probe succeeds. */
static const struct machine_accel *const accels[] = { &machine_accel_kvm, &machine_accel_soft };

#define ACCELS (sizeof(accels) / sizeof(accels[0]))

int machine_open_kvm(void)
{
	return open("/dev/kvm", O_RDWR | O_CLOEXEC);
}

static int choose_accel(const struct machine_options *options, const struct machine_accel **ret,
			struct vferry_error *err)
{
	const char *name = options->accel;
	bool any = !name || strcmp(name, "auto") == 0;
	struct vferry_error last = VFERRY_ERROR_INIT;

	for (size_t i = 0; i < ACCELS; i++) {
		int r;

		if (!any && strcmp(name, accels[i]->name) != 0)
			continue;
		vferry_error_clear(&last);
		r = accels[i]->probe(options, any ? &last : err);
		if (r == 0) {
			*ret = accels[i];
			return 0;
		}
		if (!any)
			return r;
	}
	return vferry_error_set(err, -EINVAL, "no-such-accelerator", "machine",
				"there is no accelerator \"%s\"; try auto, soft or kvm", name);
}

const char *machine_name_accel(size_t index, const char **ret_summary)
{
	if (index >= ACCELS)
		return NULL;
	if (ret_summary)
		*ret_summary = accels[index]->summary;
	return accels[index]->name;
}

const char *machine_name_guest(size_t index, const char **ret_summary)
{
	return machine_accel_soft.guest(index, ret_summary);
}

/* ---- words of options ---- */

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char *const gic_names[] = { "off", "v3", "v4.0", "v4.1" };
static const char *const irqchip_names[] = { "", "kernel", "split" };
static const char *const dirty_names[] = { "auto", "log", "ring" };

static int find_word(const char *word, const char *const *words, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (*word && strcmp(word, words[i]) == 0)
			return (int) i;
	return -EINVAL;
}

int machine_gic_parse(const char *word, enum machine_gic *ret)
{
	int found = find_word(word, gic_names, COUNT(gic_names));

	if (found >= 0)
		*ret = (enum machine_gic) found;
	return found < 0 ? found : 0;
}

int machine_irqchip_parse(const char *word, enum machine_irqchip *ret)
{
	int found = find_word(word, irqchip_names, COUNT(irqchip_names));

	if (found >= 0)
		*ret = (enum machine_irqchip) found;
	return found < 0 ? found : 0;
}

int machine_dirty_parse(const char *word, enum machine_dirty *ret)
{
	int found = find_word(word, dirty_names, COUNT(dirty_names));

	if (found >= 0)
		*ret = (enum machine_dirty) found;
	return found < 0 ? found : 0;
}

const char *machine_gic_name(enum machine_gic gic)
{
	return (unsigned) gic < COUNT(gic_names) ? gic_names[gic] : "?";
}

/* ---- devices ---- */

static uint32_t config_read(void *user, uint32_t offset, unsigned size)
{
	return vferry_device_config_read(((struct machine_slot *) user)->device, offset, size);
}

static void complain(struct machine *machine, const struct vferry_error *err)
{
	if (machine->callbacks.log)
		machine->callbacks.log(machine->user, err->message);
}

static int config_write(void *user, uint32_t offset, unsigned size, uint32_t value)
{
	struct machine_slot *slot = user;
	struct vferry_error err = VFERRY_ERROR_INIT;
	int r = vferry_device_config_write(slot->device, offset, size, value, &err);

	if (r < 0)
		complain(slot->machine, &err);
	return r;
}

static int bar_read(void *user, unsigned bar, uint64_t offset, unsigned size, uint64_t *ret_value)
{
	struct machine_slot *slot = user;
	struct vferry_error err = VFERRY_ERROR_INIT;
	int r = vferry_device_bar_read(slot->device, bar, offset, size, ret_value, &err);

	if (r < 0)
		complain(slot->machine, &err);
	return r;
}

static int bar_write(void *user, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
	struct machine_slot *slot = user;
	struct vferry_error err = VFERRY_ERROR_INIT;
	int r = vferry_device_bar_write(slot->device, bar, offset, size, value, &err);

	if (r < 0)
		complain(slot->machine, &err);
	return r;
}

static int bar_area(void *user, unsigned bar, unsigned index, struct vferry_bar_area *ret_area)
{
	return vferry_device_bar_area(((struct machine_slot *) user)->device, bar, index, ret_area);
}

static int bar_ioeventfd(void *user, unsigned bar, unsigned index,
			 struct vferry_bar_ioeventfd *ret_ioeventfd)
{
	return vferry_device_bar_ioeventfd(((struct machine_slot *) user)->device, bar, index,
					   ret_ioeventfd);
}

static const struct pci_function_ops function_ops = {
	.config_read = config_read,
	.config_write = config_write,
	.bar_read = bar_read,
	.bar_write = bar_write,
	.bar_area = bar_area,
	.bar_ioeventfd = bar_ioeventfd,
};

static void bar_changed(void *user, unsigned bar, bool mapped, uint64_t gpa, uint64_t bytes)
{
	struct machine_slot *slot = user;

	pci_host_bar_changed(slot->machine->pci, slot->slot, bar, mapped, gpa, bytes);
}

static void bars_reachable(void *user, bool reachable)
{
	struct machine_slot *slot = user;

	pci_host_bars_reachable(slot->machine->pci, slot->slot, reachable);
}

/* Once for each time that the machine runs: a device whose errors don't end fills no log. */
static void device_error(void *user)
{
	struct machine_slot *slot = user;
	const struct machine *machine = slot->machine;

	if (!atomic_exchange(&slot->failed, true) && machine->callbacks.device_error)
		machine->callbacks.device_error(machine->user, slot->name);
}

/* The kernel asks again and again; its user is told once. */
static void device_requested(void *user)
{
	struct machine_slot *slot = user;
	const struct machine *machine = slot->machine;

	if (!atomic_exchange(&slot->requested, true) && machine->callbacks.device_requested)
		machine->callbacks.device_requested(machine->user, slot->name);
}

static const struct vferry_device_callbacks device_callbacks = {
	.size = sizeof(device_callbacks),
	.bar_changed = bar_changed,
	.bars_reachable = bars_reachable,
	.device_error = device_error,
	.device_requested = device_requested,
};

/* "00:04.0": bus 0, slot 1..31, function 0. Return: the slot, or -EINVAL. */
static int parse_address(const char *text, struct vferry_error *err)
{
	unsigned bus, slot, function;
	char rest;

	if (sscanf(text, "%2x:%2x.%1x%c", &bus, &slot, &function, &rest) == 3 && bus == 0 &&
	    slot > 0 && slot < PCI_HOST_SLOTS && function == 0)
		return (int) slot;
	return vferry_error_set(err, -EINVAL, "bad-address", "machine",
				"guest PCI address \"%s\": 00:01.0 to 00:1f.0 can be used", text);
}

static bool slot_taken(const struct machine *machine, unsigned slot)
{
	for (size_t i = 0; i < machine->slots; i++)
		if (machine->slot[i].slot == slot)
			return true;
	return false;
}

static int choose_slot(const struct machine *machine, const char *address,
		       struct vferry_error *err)
{
	unsigned slot = 1;
	int r;

	if (!address) {
		while (slot_taken(machine, slot))
			slot++;
		return (int) slot;
	}
	r = parse_address(address, err);
	if (r >= 0 && slot_taken(machine, (unsigned) r))
		return vferry_error_set(err, -EINVAL, "address-taken", "machine",
					"two devices at guest PCI address %s", address);
	return r;
}

static bool is_kernel_device(const struct machine_device_options *options)
{
	return options->uri && strncmp(options->uri, "vfio:", 5) == 0;
}

static int open_device(struct machine *machine, const struct machine_device_options *options,
		       const struct vferry_trust *trust, struct vferry_error *err)
{
	const struct machine_layout *layout = machine->accel->layout;
	struct machine_slot *slot = &machine->slot[machine->slots];
	int chosen = choose_slot(machine, options->address, err);
	struct vferry_device_options open;
	char address[16];
	int r;

	if (chosen < 0)
		return chosen;
	(void) snprintf(address, sizeof(address), "00:%02x.0", (unsigned) chosen);
	slot->machine = machine;
	slot->slot = (unsigned) chosen;
	slot->kernel = is_kernel_device(options);
	(void) snprintf(slot->name, sizeof(slot->name), "%s (%s)", address, options->uri);
	open = (struct vferry_device_options) {
		.size = sizeof(open),
		.address = address,
		.requester_id = (uint32_t) chosen << 3,
		.intx_pin = layout->intx_first + (uint32_t) chosen % layout->intx_pins,
		.irqs = machine->irqs,
		.callbacks = &device_callbacks,
		.user = slot,
		.timeout_ns = options->timeout_ns,
		.trust = trust,
		.dma_space = machine->space,
	};
	r = vferry_device_open(options->uri, &open, &slot->device, err);
	if (r < 0)
		return r;
	machine->slots++;
	r = vferry_device_attach_ram(slot->device, machine->ram, err);
	if (r < 0)
		return r;
	return pci_host_add(machine->pci, slot->slot, &function_ops, slot);
}

bool machine_has_kernel_devices(const struct machine_options *options)
{
	for (size_t i = 0; i < options->device_count; i++)
		if (is_kernel_device(&options->devices[i]))
			return true;
	return false;
}

static int make_dma_space(struct machine *machine, struct vferry_error *err)
{
	struct vferry_dma_space_options options = { .size = sizeof(options), .iommufd = -1 };

	if (machine->accel->open_vfio)
		machine->kvm_vfio = machine->accel->open_vfio(machine);
	options.kvm_vfio = machine->kvm_vfio;
	return vferry_dma_space_new(&options, &machine->space, err);
}

/* Where BARs can't be mapped into a device, no guest was promised that they are. */
static int add_peer(struct machine *machine, struct machine_slot *slot, struct machine_slot *peer,
		    struct vferry_error *err)
{
	struct vferry_error why = VFERRY_ERROR_INIT;
	int r = vferry_device_add_peer(slot->device, peer->device, &why);

	if (r == -ENOTSUP) {
		complain(machine, &why);
		return 0;
	}
	return r < 0 ? vferry_error_set(err, r, why.id, why.object, "%s", why.message) : 0;
}

static int open_devices(struct machine *machine, const struct machine_options *options,
			struct vferry_error *err)
{
	int r = machine_has_kernel_devices(options) ? make_dma_space(machine, err) : 0;

	for (size_t i = 0; r >= 0 && i < options->device_count; i++)
		r = open_device(machine, &options->devices[i], options->trust, err);
	for (size_t i = 0; r >= 0 && options->peers && i < machine->slots; i++)
		for (size_t j = 0; r >= 0 && j < machine->slots; j++)
			if (i != j)
				r = add_peer(machine, &machine->slot[i], &machine->slot[j], err);
	return r < 0 ? r : 0;
}

/* ---- life ---- */

static int check_options(const struct machine_options *options, const struct machine_accel *accel,
			 struct vferry_error *err)
{
	uint64_t granule = options->hugetlb ? HUGE_PAGE : 4096, memory_max = 0;

	for (unsigned i = 0; i < MACHINE_RAM_RANGES; i++)
		memory_max += accel->layout->ram[i].bytes_max;
	if (options->size != sizeof(*options))
		return vferry_error_set(err, -EINVAL, "bad-options", "machine",
					"options of another version");
	if (options->cpus < 1 || options->cpus > MACHINE_CPUS_MAX)
		return vferry_error_set(err, -EINVAL, "bad-cpus", "machine",
					"%u vCPUs: 1 to %u are possible", options->cpus,
					MACHINE_CPUS_MAX);
	if (options->memory_bytes < MACHINE_MEMORY_MIN ||
	    options->memory_bytes > memory_max || options->memory_bytes % granule)
		return vferry_error_set(err, -EINVAL, "bad-memory", "machine",
					"%llu bytes of memory: 16 MiB to %llu GiB, in units of %llu bytes",
					(unsigned long long) options->memory_bytes,
					(unsigned long long) (memory_max >> 30),
					(unsigned long long) granule);
	if (options->device_count > MACHINE_DEVICES_MAX)
		return vferry_error_set(err, -EINVAL, "too-many-devices", "machine",
					"%zu devices: at most %u are possible",
					options->device_count, MACHINE_DEVICES_MAX);
	return 0;
}

static int create_ram(struct machine *machine, const struct machine_options *options,
		      struct vferry_error *err)
{
	const struct machine_layout *layout = machine->accel->layout;
	uint32_t flags = (options->hugetlb ? VFERRY_RAM_HUGETLB : 0) |
			 (machine_has_kernel_devices(options) ? VFERRY_RAM_PINNED : 0) |
			 (options->dump_memory ? VFERRY_RAM_DUMPED : 0);
	uint64_t left = options->memory_bytes;
	int r = vferry_ram_new(&machine->ram);

	for (unsigned i = 0; r >= 0 && left > 0; i++) {
		uint64_t max = layout->ram[i].bytes_max, bytes = left < max ? left : max;
		char name[8];

		(void) snprintf(name, sizeof(name), "ram%u", i);
		r = vferry_ram_create_block(machine->ram, name, layout->ram[i].gpa, bytes, flags, err);
		left -= bytes;
	}
	return r < 0 ? r : 0;
}

static int make_irq_plan(struct machine *machine, struct vferry_error *err)
{
	struct vferry_irq_sink sink;

	machine->accel->get_sink(machine, &sink);
	return vferry_irq_plan_new(&sink, &machine->irqs, err);
}

int machine_new(const struct machine_options *options, struct machine **ret_machine,
		struct vferry_error *err)
{
	const struct machine_accel *accel = NULL;
	struct machine *machine;
	int r = choose_accel(options, &accel, err);

	if (r == 0)
		r = check_options(options, accel, err);
	if (r < 0)
		return r;
	machine = calloc(1, sizeof(*machine));
	if (!machine)
		return vferry_error_set(err, -ENOMEM, "no-memory", "machine", "no memory");
	machine->accel = accel;
	machine->kvm_vfio = -1;
	machine->cpus = options->cpus;
	machine->hugetlb = options->hugetlb;
	machine->paused = options->paused;
	if (options->callbacks)
		machine->callbacks = *options->callbacks;
	machine->user = options->user;
	r = create_ram(machine, options, err);
	if (r >= 0)
		r = pci_host_new(&accel->layout->pci, &machine->pci);
	if (r >= 0)
		r = accel->create(machine, options, err);
	if (r >= 0)
		r = make_irq_plan(machine, err);
	if (r >= 0)
		r = open_devices(machine, options, err);
	if (r < 0) {
		(void) vferry_error_set(err, r, "machine-setup", "machine",
					"the machine could not be set up (%s)", vferry_errno_name(r));
		(void) machine_free(machine);
		return r;
	}
	*ret_machine = machine;
	return 0;
}

struct machine *machine_free(struct machine *machine)
{
	if (!machine)
		return NULL;
	if (machine->accel_data)
		(void) machine->accel->stop(machine, NULL);
	for (size_t i = 0; i < machine->slots; i++) {
		if (machine->pci)
			pci_host_remove(machine->pci, machine->slot[i].slot);
		machine->slot[i].device = vferry_device_close(machine->slot[i].device);
	}
	machine->space = vferry_dma_space_free(machine->space);
	if (machine->kvm_vfio >= 0)
		(void) close(machine->kvm_vfio);
	if (machine->irqs)
		machine->irqs = vferry_irq_plan_free(machine->irqs);
	if (machine->accel_data)
		machine->accel->destroy(machine);
	machine->pci = pci_host_free(machine->pci);
	if (machine->ram)
		machine->ram = vferry_ram_free(machine->ram);
	free(machine);
	return NULL;
}

/* ---- running ---- */

int machine_start(struct machine *machine, struct vferry_error *err)
{
	for (size_t i = 0; i < machine->slots; i++)
		atomic_store(&machine->slot[i].failed, false);
	return machine->accel->start(machine, err);
}

int machine_stop(struct machine *machine, struct vferry_error *err)
{
	return machine->accel->stop(machine, err);
}

bool machine_is_running(struct machine *machine)
{
	struct machine_info info;

	machine_get_info(machine, &info);
	return info.running;
}

bool machine_is_powered_off(struct machine *machine)
{
	struct machine_info info;

	machine_get_info(machine, &info);
	return info.powered_off;
}

bool machine_is_loaded(struct machine *machine)
{
	return machine->accel->is_loaded(machine);
}

void machine_throttle(struct machine *machine, unsigned percent)
{
	machine->accel->throttle(machine, percent);
}

int machine_reset(struct machine *machine, struct vferry_error *err)
{
	bool ran = machine_is_running(machine) || machine_is_powered_off(machine);
	int r = machine_stop(machine, err);

	for (size_t i = 0; r == 0 && i < machine->slots; i++)
		r = vferry_device_reset(machine->slot[i].device, err);
	if (r == 0)
		r = machine->accel->reset(machine, err);
	if (r == 0 && ran)
		r = machine_start(machine, err);
	return r;
}

void machine_describe(const struct machine *machine, char *to, size_t size)
{
	machine->accel->describe(machine, to, size);
}

struct vferry_ram *machine_ram(struct machine *machine)
{
	return machine->ram;
}

size_t machine_device_count(const struct machine *machine)
{
	return machine->slots;
}

struct vferry_device *machine_device(struct machine *machine, size_t index)
{
	return index < machine->slots ? machine->slot[index].device : NULL;
}

bool machine_device_failed(struct machine *machine, size_t index)
{
	return index < machine->slots && atomic_load(&machine->slot[index].failed);
}

bool machine_device_requested(struct machine *machine, size_t index)
{
	return index < machine->slots && atomic_load(&machine->slot[index].requested);
}

unsigned machine_device_ioeventfds(struct machine *machine, size_t index)
{
	return index < machine->slots ? pci_host_listening(machine->pci, machine->slot[index].slot) : 0;
}

/* ---- the guest ---- */

size_t machine_console_put(struct machine *machine, const void *bytes, size_t count)
{
	return machine->accel->console_put ? machine->accel->console_put(machine, bytes, count) : 0;
}

int machine_guest_command(struct machine *machine, const char *text, char *reply, size_t reply_size,
			  struct vferry_error *err)
{
	return machine->accel->command(machine, text, reply, reply_size, err);
}

int machine_get_verdict(struct machine *machine, struct machine_verdict *ret_verdict)
{
	machine->accel->verdict(machine, ret_verdict);
	return 0;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	(void) clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t) ts.tv_sec * 1000000000ull + (uint64_t) ts.tv_nsec;
}

int machine_judge(struct machine *machine, uint64_t timeout_ns, struct machine_verdict *ret_verdict,
		  struct vferry_error *err)
{
	const struct timespec poll = { .tv_nsec = JUDGE_POLL_NS };
	uint64_t until = now_ns() + timeout_ns;
	struct machine_verdict verdict;
	uint64_t before;
	int r;

	machine->accel->verdict(machine, &verdict);
	if (!verdict.judging)
		return vferry_error_set(err, -ENOTSUP, "guest-does-not-check", "machine",
					"this guest checks nothing");
	if (!machine_is_running(machine))
		return vferry_error_set(err, -EAGAIN, "not-running", "machine",
					"the guest cannot check while the machine is stopped");
	before = verdict.passes;
	r = machine_guest_command(machine, "judge", NULL, 0, err);
	while (r == 0) {
		machine->accel->verdict(machine, &verdict);
		if (verdict.passes > before)
			break;
		if (!machine_is_running(machine))
			r = vferry_error_set(err, -EAGAIN, "not-running", "machine",
					     "the machine was stopped before the guest had checked all");
		else if (now_ns() > until)
			r = vferry_error_set(err, -ETIMEDOUT, "judge-timeout", "machine",
					     "the guest has not checked all within %llu ms",
					     (unsigned long long) (timeout_ns / 1000000));
		else
			(void) nanosleep(&poll, NULL);
	}
	if (r == 0)
		*ret_verdict = verdict;
	return r;
}

bool machine_verdict_clean(const struct machine_verdict *v, uint64_t allowed_spurious)
{
	return v->judging && v->first_fault[0] == '\0' && v->corrupt_pages == 0 &&
	       v->corrupt_jobs == 0 && v->failed_jobs == 0 && v->lost_jobs == 0 &&
	       v->unnoticed_jobs == 0 && v->lost_peer_writes == 0 && v->bus_errors == 0 &&
	       v->unknown_interrupts == 0 && v->clock_backward == 0 && v->lost_timers == 0 &&
	       v->lost_registers == 0 &&
	       v->spurious <= allowed_spurious;
}

void machine_get_info(struct machine *machine, struct machine_info *ret_info)
{
	memset(ret_info, 0, sizeof(*ret_info));
	ret_info->accel = machine->accel->name;
	machine_describe(machine, ret_info->description, sizeof(ret_info->description));
	ret_info->cpus = machine->cpus;
	ret_info->memory_bytes = vferry_ram_bytes(machine->ram);
	ret_info->hugetlb = machine->hugetlb;
	ret_info->paused_at_start = machine->paused;
	ret_info->blocked_accesses = pci_host_blocked(machine->pci);
	machine->accel->get_info(machine, ret_info);
}
