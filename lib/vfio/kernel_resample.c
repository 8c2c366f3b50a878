/* SPDX-License-Identifier: MIT */
/* kernel_resample.c - see kernel_resample.h. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/thread.h"
#include "vfio/kernel_resample.h"
#include "vferry_vfio.h"

struct vf_kernel_resample {
	struct vf_kernel kernel;
	int device;
	int eventfd;	/* a copy: the caller may close his before he frees this */
	int end;	/* readable: the thread ends */
	pthread_t thread;
};

static void unmask(const struct vf_kernel_resample *s)
{
	struct vf_vfio_irq_set set = {
		.argsz = sizeof(set),
		.flags = VF_VFIO_IRQ_SET_DATA_NONE | VF_VFIO_IRQ_SET_ACTION_UNMASK,
		.index = VF_VFIO_PCI_INTX_IRQ,
		.count = 1,
	};

	/* A line that can't be unmasked stays silent; the guest's driver will notice. */
	(void) vf_kernel_ioctl(&s->kernel, s->device, VF_VFIO_DEVICE_SET_IRQS, &set);
}

static void *run(void *arg)
{
	const struct vf_kernel_resample *s = arg;
	struct pollfd fds[] = {
		{ .fd = s->eventfd, .events = POLLIN },
		{ .fd = s->end, .events = POLLIN },
	};

	while (!(fds[1].revents)) {
		eventfd_t n;

		if (poll(fds, 2, -1) < 0) {
			if (errno != EINTR)
				break;
			continue;
		}
		if ((fds[0].revents & POLLIN) && eventfd_read(s->eventfd, &n) == 0)
			unmask(s);
		else if (fds[0].revents & ~POLLIN)
			break;
	}
	return NULL;
}

int vf_kernel_resample_new(const struct vf_kernel *kernel, int device, int eventfd_,
			   struct vf_kernel_resample **ret_resample)
{
	struct vf_kernel_resample *s = calloc(1, sizeof(*s));
	int r = 0;

	if (!s)
		return -ENOMEM;
	*s = (struct vf_kernel_resample) { .kernel = *kernel, .device = device, .end = -1 };
	s->eventfd = kernel->calls->dup(kernel->user, eventfd_);
	if (s->eventfd < 0)
		r = s->eventfd;
	if (r == 0) {
		s->end = eventfd(0, EFD_CLOEXEC);
		r = s->end < 0 ? -errno : vf_thread_start(&s->thread, run, s);
	}
	if (r < 0) {
		vf_close(&s->end);
		vf_close(&s->eventfd);
		free(s);
		return r;
	}
	*ret_resample = s;
	return 0;
}

struct vf_kernel_resample *vf_kernel_resample_free(struct vf_kernel_resample *s)
{
	if (!s)
		return NULL;
	(void) eventfd_write(s->end, 1);
	(void) pthread_join(s->thread, NULL);
	vf_close(&s->end);
	vf_close(&s->eventfd);
	free(s);
	return NULL;
}
