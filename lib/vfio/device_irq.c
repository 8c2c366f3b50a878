/* SPDX-License-Identifier: MIT */
/*
 * device_irq.c - from the device's eventfds to the guest: modes, masks, pending bits.
 *
 * Model: the device signals one eventfd per vector, all given to it in one call when the guest switches
 * a mode on (unused ones too: growing later costs much more). A vector the guest can hear is connected
 * to the machine's controller through the interrupt plan; a silent one is not, and its eventfd then
 * holds what the device signals: it *is* the pending bit. When somebody looks (the guest reads the
 * PBA, a save), eventfds of silent vectors are emptied into the view's pending bits; a pending bit
 * goes back as one write to the eventfd before the connect, which makes the controller take it.
 *
 * MSI has its masks and pending bits in the device, so its vectors are always connected. INTx is level
 * triggered: the controller signals `resample` at the end of interrupt, and the device unmasks itself.
 *
 * Threads: all of it under the device's lock.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "vfio/device_internal.h"
#include "vfio/pci_regs.h"

#define POLL_CHUNK 64u
#define SETTLE_PAUSE_NS 50000
#define SETTLE_PAUSES 40u	/* 2 ms in all */

static uint32_t index_of(enum vf_config_interrupt_mode mode)
{
	switch (mode) {
	case VF_CONFIG_INTERRUPT_MSI:
		return VF_VFIO_PCI_MSI_IRQ;
	case VF_CONFIG_INTERRUPT_MSIX:
		return VF_VFIO_PCI_MSIX_IRQ;
	default:
		return VF_VFIO_PCI_INTX_IRQ;
	}
}

static const char *mode_name(enum vf_config_interrupt_mode mode)
{
	static const char *const names[] = { "no interrupt", "INTx", "MSI", "MSI-X" };

	return names[mode];
}

static void signal_eventfd(int fd)
{
	(void) eventfd_write(fd, 1);
}

static bool take_eventfd(int fd)
{
	eventfd_t n;

	return eventfd_read(fd, &n) == 0;
}

static void close_eventfds(struct vf_device_irq *irq)
{
	for (uint32_t i = 0; i < irq->count; i++)
		vf_close(&irq->eventfds[i]);
	free(irq->eventfds);
	irq->eventfds = NULL;
	irq->count = 0;
	vf_close(&irq->resample);
	irq->mode = VF_CONFIG_INTERRUPT_NONE;
}

static int make_eventfds(struct vf_device_irq *irq, uint32_t count)
{
	irq->eventfds = malloc(count * sizeof(*irq->eventfds));
	if (!irq->eventfds)
		return -ENOMEM;
	for (irq->count = 0; irq->count < count; irq->count++) {
		int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

		if (fd < 0)
			return -errno;
		irq->eventfds[irq->count] = fd;
	}
	return 0;
}

void vf_device_irq_teardown_locked(struct vferry_device *d)
{
	if (d->irq.mode == VF_CONFIG_INTERRUPT_NONE)
		return;
	/* The guest's side first: nothing may come from a vector that is being taken away. */
	vf_irq_free(d->irqs, d->irq_source);
	(void) d->backend->ops->set_irqs(d->backend, index_of(d->irq.mode),
					 VF_VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0, NULL, NULL);
	close_eventfds(&d->irq);
}

static int give_to_device(struct vferry_device *d, struct vf_device_irq *irq,
			  struct vferry_error *err)
{
	const struct vf_backend_ops *ops = d->backend->ops;
	struct vf_vfio_irq_info info = { .argsz = sizeof(info) };
	uint32_t index = index_of(irq->mode);
	int r = ops->get_irq_info(d->backend, index, &info, err);

	if (r < 0)
		return r;
	if (info.count < irq->count || !(info.flags & VF_VFIO_IRQ_INFO_EVENTFD))
		return vferry_error_set(err, -ENOSPC, "irq-vectors", d->pci_name,
					"the guest asks for %u %s vectors, the device offers %u",
					irq->count, mode_name(irq->mode), info.count);
	r = ops->set_irqs(d->backend, index, VF_VFIO_IRQ_SET_ACTION_TRIGGER, 0, irq->count,
			  irq->eventfds, err);
	if (r > 0)
		r = vferry_error_set(err, -ENOSPC, "irq-vectors", d->pci_name,
				     "only %d of %u vectors could be allocated for the device", r,
				     irq->count);
	if (r < 0)
		return r;
	if (irq->mode != VF_CONFIG_INTERRUPT_INTX)
		return 0;
	irq->automasked = (info.flags & VF_VFIO_IRQ_INFO_AUTOMASKED) != 0;
	if (irq->automasked)
		r = ops->set_irqs(d->backend, index, VF_VFIO_IRQ_SET_ACTION_UNMASK, 0, 1,
				  &irq->resample, err);
	return r;
}

int vf_device_irq_alloc_locked(struct vferry_device *d, const struct vf_config_state *state,
			       struct vferry_error *err)
{
	struct vf_config_interrupts wish = vf_config_interrupts_of(state);
	struct vf_device_irq irq = { .mode = wish.mode, .resample = -1 };
	bool given = false;
	int r;

	if (!d->irqs)
		return 0;
	if (wish.mode == d->irq.mode && wish.count == d->irq.count)
		return 0;
	vf_device_irq_teardown_locked(d);
	if (wish.mode == VF_CONFIG_INTERRUPT_NONE)
		return 0;
	r = make_eventfds(&irq, wish.count);
	if (r == 0 && wish.mode == VF_CONFIG_INTERRUPT_INTX) {
		irq.resample = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (irq.resample < 0)
			r = -errno;
	}
	if (r == 0) {
		r = give_to_device(d, &irq, err);
		given = r == 0;
	}
	if (r == 0)
		r = vf_irq_alloc(d->irqs, d->irq_source,
				 wish.mode == VF_CONFIG_INTERRUPT_INTX ? VFERRY_IRQ_PIN
								       : VFERRY_IRQ_MSI,
				 wish.count, irq.eventfds, irq.resample, err);
	if (r < 0) {
		if (given)
			(void) d->backend->ops->set_irqs(d->backend, index_of(wish.mode),
							 VF_VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0,
							 NULL, NULL);
		close_eventfds(&irq);
		return vferry_error_set(err, r, "irq-vectors", d->pci_name,
					"%u %s vectors could not be allocated: %s", wish.count,
					mode_name(wish.mode), vferry_errno_name(r));
	}
	d->irq = irq;
	return 0;
}

/* A message that no guest wrote yet is all zeros; a route to nowhere is not worth its place. */
static bool has_message(const struct vf_config_vector *v)
{
	return v->address != 0;
}

void vf_device_irq_messages_locked(struct vferry_device *d, const struct vf_config_state *state)
{
	struct vf_config_vector v;

	if (d->irq.mode != VF_CONFIG_INTERRUPT_MSI && d->irq.mode != VF_CONFIG_INTERRUPT_MSIX)
		return;
	for (uint32_t i = 0; i < d->irq.count; i++)
		if (vf_config_vector_at(state, i, &v) && has_message(&v))
			(void) vf_irq_set_message(d->irqs, d->irq_source, i, v.address, v.data);
}

static bool intx_enabled(const struct vferry_device *d)
{
	return !(vf_get_u16(&d->config->state.bytes[VF_PCI_COMMAND]) & VF_PCI_COMMAND_INTX_DISABLE);
}

static int update_intx_locked(struct vferry_device *d, struct vferry_error *err)
{
	if (intx_enabled(d))
		return vf_irq_connect(d->irqs, d->irq_source, 0, err);
	return vf_irq_disconnect(d->irqs, d->irq_source, 0, err);
}

int vf_device_irq_update_vector_locked(struct vferry_device *d, uint32_t vector,
				       struct vferry_error *err)
{
	struct vf_msix *msix = &d->config->state.msix;
	struct vf_config_vector v;

	if (vector >= d->irq.count || !vf_config_vector_at(&d->config->state, vector, &v))
		return 0;
	if (d->irq.mode == VF_CONFIG_INTERRUPT_MSIX && vf_msix_silent(msix, vector))
		return vf_irq_disconnect(d->irqs, d->irq_source, vector, err);
	if (!has_message(&v))
		return 0;
	(void) vf_irq_set_message(d->irqs, d->irq_source, vector, v.address, v.data);
	if (d->irq.mode == VF_CONFIG_INTERRUPT_MSIX && vf_msix_is_pending(msix, vector)) {
		msix->pending[vector / 64] &= ~(1ull << vector % 64);
		signal_eventfd(d->irq.eventfds[vector]);
	}
	return vf_irq_connect(d->irqs, d->irq_source, vector, err);
}

int vf_device_irq_update_locked(struct vferry_device *d, struct vferry_error *err)
{
	int r = 0;

	if (!d->irqs || d->irq.mode == VF_CONFIG_INTERRUPT_NONE)
		return 0;
	if (d->irq.mode == VF_CONFIG_INTERRUPT_INTX)
		return update_intx_locked(d, err);
	/* All messages first, so that the table goes to the sink once. */
	vf_device_irq_messages_locked(d, &d->config->state);
	for (uint32_t i = 0; i < d->irq.count; i++) {
		int r1 = vf_device_irq_update_vector_locked(d, i, r ? NULL : err);

		if (r == 0)
			r = r1;
	}
	return r;
}

void vf_device_irq_take_pending_locked(struct vferry_device *d, uint32_t first, uint32_t count)
{
	struct vf_msix *msix = &d->config->state.msix;
	uint32_t end = (uint32_t) vf_min_u64((uint64_t) first + count, d->irq.count);

	if (d->irq.mode != VF_CONFIG_INTERRUPT_MSIX)
		return;
	for (uint32_t at = first; at < end; at += POLL_CHUNK) {
		struct pollfd fds[POLL_CHUNK];
		nfds_t n = 0;

		for (; n < POLL_CHUNK && at + n < end; n++)
			fds[n] = (struct pollfd) {
				/* An eventfd that is heard belongs to the controller: -1 is skipped. */
				.fd = vf_msix_silent(msix, at + (uint32_t) n) ?
					      d->irq.eventfds[at + n] : -1,
				.events = POLLIN,
			};
		if (poll(fds, n, 0) <= 0)
			continue;
		for (nfds_t i = 0; i < n; i++)
			if ((fds[i].revents & POLLIN) && take_eventfd(fds[i].fd))
				(void) vf_msix_raise(msix, at + (uint32_t) i);
	}
}

/* ---- INTx ---- */

static int unmask_intx_locked(struct vferry_device *d, struct vferry_error *err)
{
	if (!d->irq.automasked)
		return 0;
	return d->backend->ops->set_irqs(d->backend, VF_VFIO_PCI_INTX_IRQ,
					 VF_VFIO_IRQ_SET_ACTION_UNMASK, 0, 1, NULL, err);
}

int vf_device_irq_intx_disable_locked(struct vferry_device *d, struct vferry_error *err)
{
	int r;

	if (!d->irqs || d->irq.mode != VF_CONFIG_INTERRUPT_INTX)
		return 0;
	/*
	 * What the line did while it was switched off is history: it is asked for its level now. Once: a
	 * second event, taken when the guest has served the first, would be spurious.
	 */
	if (intx_enabled(d) && d->irq.automasked)
		(void) take_eventfd(d->irq.eventfds[0]);
	r = update_intx_locked(d, err);
	return r < 0 || !intx_enabled(d) ? r : unmask_intx_locked(d, err);
}

void vf_device_irq_raise_intx_locked(struct vferry_device *d)
{
	if (d->irq.mode == VF_CONFIG_INTERRUPT_INTX && intx_enabled(d))
		signal_eventfd(d->irq.eventfds[0]);
}

/* A device whose line was up when it was saved signals again as it begins to run, and the controller
 * knows the line to be up already. Taken before the guest runs, the two are one; taken after the guest
 * has served the first, the second would be spurious. Short, since it may also never come. */
void vf_device_irq_settle_intx_locked(struct vferry_device *d)
{
	const struct timespec pause = { .tv_nsec = SETTLE_PAUSE_NS };

	if (d->irq.mode != VF_CONFIG_INTERRUPT_INTX || !intx_enabled(d))
		return;
	for (unsigned int i = 0; i < SETTLE_PAUSES; i++) {
		struct pollfd fd = { .fd = d->irq.eventfds[0], .events = POLLIN };

		if (poll(&fd, 1, 0) <= 0)
			return;
		(void) nanosleep(&pause, NULL);
	}
}

bool vf_device_irq_intx_level_locked(struct vferry_device *d, const uint8_t *image)
{
	struct pollfd fd = { .events = POLLIN };

	if (vf_config_interrupts_of(&d->config->state).mode != VF_CONFIG_INTERRUPT_INTX ||
	    !intx_enabled(d))
		return false;
	if (vf_get_u16(&image[VF_PCI_STATUS]) & VF_PCI_STATUS_INTX)
		return true;
	if (d->irq.mode != VF_CONFIG_INTERRUPT_INTX)
		return false;
	fd.fd = d->irq.eventfds[0];
	return poll(&fd, 1, 0) > 0;
}
