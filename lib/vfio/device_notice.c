/* SPDX-License-Identifier: MIT */
/*
 * device_notice.c - what the host has to say of a device: that it failed, and that it is wanted back.
 *
 * Model: VFIO has an interrupt index for each (ERR, REQ). Where the device offers it and the VMM has a
 * callback, an eventfd is given to it at open and a thread waits there; the library knows no loop of the
 * VMM's. Not the guest's business: nothing of it is saved or moved.
 *
 * A device that does not take the eventfd is opened all the same: it tells nothing, as many don't.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/thread.h"
#include "vfio/device_internal.h"

enum { NOTICE_ERROR, NOTICE_REQUEST, NOTICES };

static const uint32_t indexes[NOTICES] = {
	[NOTICE_ERROR] = VF_VFIO_PCI_ERR_IRQ,
	[NOTICE_REQUEST] = VF_VFIO_PCI_REQ_IRQ,
};

struct vf_device_notices {
	void (*tell[NOTICES])(void *user);
	void *user;
	int eventfd[NOTICES];	/* -1: not asked for, or not offered */
	int end;		/* readable: the thread ends */
	pthread_t thread;
	bool started;
};

static void *run(void *arg)
{
	const struct vf_device_notices *n = arg;
	struct pollfd fds[NOTICES + 1];

	for (unsigned int i = 0; i < NOTICES; i++)
		fds[i] = (struct pollfd) { .fd = n->eventfd[i], .events = POLLIN };
	fds[NOTICES] = (struct pollfd) { .fd = n->end, .events = POLLIN };
	for (;;) {
		if (poll(fds, NOTICES + 1, -1) < 0) {
			if (errno != EINTR)
				return NULL;
			continue;
		}
		if (fds[NOTICES].revents)
			return NULL;
		for (unsigned int i = 0; i < NOTICES; i++) {
			eventfd_t count;

			if (fds[i].revents & POLLIN && eventfd_read(fds[i].fd, &count) == 0)
				n->tell[i](n->user);
			else if (fds[i].revents & ~POLLIN)
				fds[i].fd = -1;
		}
	}
}

static int start_thread(struct vf_device_notices *n)
{
	int r;

	n->end = eventfd(0, EFD_CLOEXEC);
	if (n->end < 0)
		return -errno;
	r = vf_thread_start(&n->thread, run, n);
	n->started = r == 0;
	return r;
}

/* Return: an eventfd that the device signals; -1 it has no such index, or does not want to. */
static int ask_for(struct vferry_device *d, uint32_t index)
{
	const struct vf_backend_ops *ops = d->backend->ops;
	struct vf_vfio_irq_info info = { .argsz = sizeof(info) };
	int fd;

	if (ops->get_irq_info(d->backend, index, &info, NULL) < 0 || info.count == 0 ||
	    !(info.flags & VF_VFIO_IRQ_INFO_EVENTFD))
		return -1;
	fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (fd >= 0 && ops->set_irqs(d->backend, index, VF_VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1, &fd,
				     NULL) != 0)
		vf_close(&fd);
	return fd;
}

int vf_device_notices_begin(struct vferry_device *d, struct vferry_error *err)
{
	struct vf_device_notices *n;
	bool any = false;
	int r = 0;

	if (!d->callbacks.device_error && !d->callbacks.device_requested)
		return 0;
	n = calloc(1, sizeof(*n));
	if (!n)
		return vferry_error_set(err, -ENOMEM, "no-memory", d->vfio_name, "no memory");
	n->tell[NOTICE_ERROR] = d->callbacks.device_error;
	n->tell[NOTICE_REQUEST] = d->callbacks.device_requested;
	n->user = d->user;
	n->end = -1;
	d->notices = n;
	for (unsigned int i = 0; i < NOTICES; i++) {
		n->eventfd[i] = n->tell[i] ? ask_for(d, indexes[i]) : -1;
		any |= n->eventfd[i] >= 0;
	}
	if (any)
		r = start_thread(n);
	if (r < 0)
		return vferry_error_set(err, r, "no-thread", d->vfio_name, "no thread for what the "
					"host tells of the device: %s", vferry_errno_name(r));
	return 0;
}

void vf_device_notices_end(struct vferry_device *d)
{
	struct vf_device_notices *n = d->notices;

	if (!n)
		return;
	for (unsigned int i = 0; i < NOTICES; i++)
		if (n->eventfd[i] >= 0)
			(void) d->backend->ops->set_irqs(d->backend, indexes[i],
							 VF_VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0, NULL,
							 NULL);
	if (n->started) {
		(void) eventfd_write(n->end, 1);
		(void) pthread_join(n->thread, NULL);
	}
	for (unsigned int i = 0; i < NOTICES; i++)
		vf_close(&n->eventfd[i]);
	vf_close(&n->end);
	free(n);
	d->notices = NULL;
}
