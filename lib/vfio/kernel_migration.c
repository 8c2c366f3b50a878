/* SPDX-License-Identifier: MIT */
/*
 * kernel_migration.c - a kernel VFIO device's migration: features, states, data, written pages.
 *
 * Data. The kernel gives a descriptor when a session begins, and with each session a new one. Reads do
 * not block: -ENOMSG is "nothing now" (PRE_COPY), 0 the end, -EAGAIN a driver that is still at work and
 * is waited for. Writes may block for as long as the driver takes to load a record: whoever writes has
 * a thread for it.
 *
 * If no number is left for the descriptor, the kernel fails the call after the state has changed, and
 * what the device had to say is lost. So one number is kept free, given up for the call alone; where
 * even that one can't be had, the call isn't made and the device stays where it is.
 *
 * Written pages. The device's own log where it has one, else the IOMMU's (kernel_space.h). The kernel
 * pins the bitmap while it sets bits, and leaves out, silently, what it can't pin: so bits go to memory
 * of our own, touched and locked before.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "vfio/kernel_device.h"

#define LOG_BYTES (64 * VF_KIB)		/* of bits: 2 GiB in pages of 4 KiB, in one call */
#define LOG_RANGES_MAX 4096u		/* the kernel takes 256 of them, or with larger pages more */

/* ---- features ---- */

/* The header, and @len bytes of data that are given and come back: the answer to a SET does, too. */
static int call_feature(struct vf_kernel_device *d, uint32_t flags, void *data, size_t len)
{
	struct {
		struct vf_vfio_device_feature head;
		uint8_t data[64] __attribute__((aligned(8)));
	} call = { .head = { .argsz = (uint32_t) (sizeof(call.head) + len), .flags = flags } };
	int r;

	if (len > sizeof(call.data))
		return -EINVAL;
	if (len)
		memcpy(call.data, data, len);
	r = vf_kernel_device_ioctl(d, VF_VFIO_DEVICE_FEATURE, &call);
	if (r >= 0 && len)
		memcpy(data, call.data, len);
	return r < 0 ? r : 0;
}

int vf_kernel_feature(struct vf_backend *backend, void *arg, size_t bytes, size_t room,
		      struct vferry_error *err)
{
	struct vf_kernel_device *d = vf_kernel_device_of(backend);
	int r;

	(void) bytes;
	if (room < sizeof(struct vf_vfio_device_feature))
		return vferry_error_set(err, -EINVAL, "device-feature", d->name,
					"no room for the header of a feature call");
	r = vf_kernel_device_ioctl(d, VF_VFIO_DEVICE_FEATURE, arg);
	if (r < 0)
		return vferry_error_set(err, r, "device-feature", d->name,
					"feature call of %s failed: %s", d->name,
					vferry_errno_name(r));
	return r;
}

int vf_kernel_get_migration(struct vf_backend *backend, uint64_t *ret_flags,
			    struct vferry_error *err)
{
	struct vf_kernel_device *d = vf_kernel_device_of(backend);
	struct vf_vfio_feature_migration migration = { 0 };
	int r = call_feature(d, VF_VFIO_FEATURE_MIGRATION | VF_VFIO_FEATURE_GET, &migration,
			     sizeof(migration));

	if (r < 0)
		return vferry_error_set(err, r, "device-migration", d->name,
					"%s has no migration support: %s", d->name,
					vferry_errno_name(r));
	*ret_flags = migration.flags;
	return 0;
}

/* ---- the descriptor of a session ---- */

static void put_stream_locked(struct vf_kernel_stream *stream)
{
	if (!stream || --stream->users > 0)
		return;
	vf_close(&stream->fd);
	free(stream);
}

/* @take_fd < 0: none follows. */
static int replace_stream(struct vf_kernel_device *d, int take_fd)
{
	struct vf_kernel_stream *stream = NULL;

	if (take_fd >= 0) {
		stream = malloc(sizeof(*stream));
		if (!stream) {
			vf_close(&take_fd);
			return -ENOMEM;
		}
		*stream = (struct vf_kernel_stream) { .fd = take_fd, .users = 1 };
	}
	pthread_mutex_lock(&d->stream_lock);
	put_stream_locked(d->stream);
	d->stream = stream;
	pthread_mutex_unlock(&d->stream_lock);
	return 0;
}

void vf_kernel_drop_stream(struct vf_kernel_device *d)
{
	(void) replace_stream(d, -1);
}

static struct vf_kernel_stream *get_stream(struct vf_kernel_device *d)
{
	struct vf_kernel_stream *stream;

	pthread_mutex_lock(&d->stream_lock);
	stream = d->stream;
	if (stream)
		stream->users++;
	pthread_mutex_unlock(&d->stream_lock);
	return stream;
}

static void put_stream(struct vf_kernel_device *d, struct vf_kernel_stream *stream)
{
	pthread_mutex_lock(&d->stream_lock);
	put_stream_locked(stream);
	pthread_mutex_unlock(&d->stream_lock);
}

/* ---- states ---- */

int vf_kernel_get_state(struct vf_backend *backend, uint32_t *ret_state, struct vferry_error *err)
{
	struct vf_kernel_device *d = vf_kernel_device_of(backend);
	struct vf_vfio_feature_mig_state state = { .data_fd = -1 };
	int r = call_feature(d, VF_VFIO_FEATURE_MIG_DEVICE_STATE | VF_VFIO_FEATURE_GET, &state,
			     sizeof(state));

	if (r < 0)
		return vferry_error_set(err, r, "device-state", d->name,
					"%s does not say which state it is in: %s", d->name,
					vferry_errno_name(r));
	*ret_state = state.device_state;
	return 0;
}

static bool has_session(uint32_t state)
{
	return state == VF_VFIO_STATE_STOP_COPY || state == VF_VFIO_STATE_RESUMING ||
	       vf_vfio_state_is_precopy(state);
}

/* The number kept free; see above. */
static int make_spare(struct vf_kernel_device *d)
{
	if (d->spare < 0)
		d->spare = d->kernel.calls->dup(d->kernel.user, d->seat.fd);
	return d->spare < 0 ? d->spare : 0;
}

/* @ret_fd: of the session that begins; -1 = none does. */
static int call_set_state(struct vf_kernel_device *d, uint32_t state, int *ret_fd)
{
	struct vf_vfio_feature_mig_state set = { .device_state = state, .data_fd = -1 };
	int r;

	if (has_session(state)) {
		r = make_spare(d);
		if (r < 0)
			return r;
		vf_close(&d->spare);
	}
	r = call_feature(d, VF_VFIO_FEATURE_MIG_DEVICE_STATE | VF_VFIO_FEATURE_SET, &set, sizeof(set));
	*ret_fd = set.data_fd;
	return r;
}

int vf_kernel_set_state(struct vf_backend *backend, uint32_t state, struct vferry_error *err)
{
	struct vf_kernel_device *d = vf_kernel_device_of(backend);
	int fd = -1, r = call_set_state(d, state, &fd);

	if (r == 0)
		d->stopped = state == VF_VFIO_STATE_STOP_COPY;
	if (r == 0 && fd >= 0) {
		r = d->kernel.calls->set_nonblocking(d->kernel.user, fd);
		if (r < 0)
			vf_close(&fd);
		else
			r = replace_stream(d, fd);
	} else if (r == 0 && !has_session(state)) {
		vf_kernel_drop_stream(d);
	}
	/* Sessions that begin may take the number; the next one needs another. Not now: not a failure. */
	(void) make_spare(d);
	if (r < 0)
		return vferry_error_set(err, r, "device-state", d->name,
					"%s did not go to state %u: %s%s", d->name, state,
					vferry_errno_name(r), r == -EMFILE ?
					"; this process has too many descriptors open" : "");
	return 0;
}

/* ---- data ---- */

static int no_session(struct vf_kernel_device *d, struct vferry_error *err)
{
	return vferry_error_set(err, -ENODATA, "device-data", d->name,
				"%s has no migration session", d->name);
}

static ssize_t read_stream(struct vf_kernel_device *d, int fd, void *to, size_t len)
{
	uint64_t until = vf_now_ns() + d->timeout_ns;

	for (;;) {
		bool stopped = d->stopped;
		ssize_t n = d->kernel.calls->read(d->kernel.user, fd, to, len);
		uint64_t now;
		int r;

		/* In STOP_COPY that would be taken for the end. */
		if (n == -ENOMSG)
			return stopped ? -EPROTO : 0;
		if (n == -EINTR)
			continue;
		if (n != -EAGAIN)
			return n;
		now = vf_now_ns();
		if (now >= until)
			return -ETIMEDOUT;
		r = d->kernel.calls->wait_readable(d->kernel.user, fd, until - now);
		if (r < 0)
			return r;
	}
}

ssize_t vf_kernel_data_read(struct vf_backend *backend, void *to, size_t len,
			    struct vferry_error *err)
{
	struct vf_kernel_device *d = vf_kernel_device_of(backend);
	struct vf_kernel_stream *stream = get_stream(d);
	ssize_t n;

	if (!stream)
		return no_session(d, err);
	n = read_stream(d, stream->fd, to, len);
	put_stream(d, stream);
	if (n > 0 && (size_t) n > len)
		n = -EPROTO;
	if (n < 0)
		return vferry_error_set(err, (int) n, "device-data", d->name,
					"the state of %s could not be read: %s", d->name,
					vferry_errno_name((int) n));
	return n;
}

int vf_kernel_data_write(struct vf_backend *backend, const void *from, size_t len,
			 struct vferry_error *err)
{
	struct vf_kernel_device *d = vf_kernel_device_of(backend);
	struct vf_kernel_stream *stream = get_stream(d);
	const uint8_t *at = from;
	int r = 0;

	if (!stream)
		return no_session(d, err);
	for (size_t done = 0; done < len && r == 0;) {
		ssize_t n = d->kernel.calls->write(d->kernel.user, stream->fd, at + done, len - done);

		if (n == -EINTR)
			continue;
		if (n <= 0 || (size_t) n > len - done)
			r = n < 0 ? (int) n : -EIO;
		else
			done += (size_t) n;
	}
	put_stream(d, stream);
	if (r < 0)
		return vferry_error_set(err, r, "device-data", d->name,
					"%s did not take its state: %s", d->name, vferry_errno_name(r));
	return 0;
}

int vf_kernel_data_size(struct vf_backend *backend, uint64_t *ret_bytes, struct vferry_error *err)
{
	struct vf_kernel_device *d = vf_kernel_device_of(backend);
	struct vf_vfio_feature_mig_data_size size = { 0 };
	int r = call_feature(d, VF_VFIO_FEATURE_MIG_DATA_SIZE | VF_VFIO_FEATURE_GET, &size,
			     sizeof(size));

	if (r < 0)
		return vferry_error_set(err, r, "device-data-size", d->name,
					"%s does not say how large its state is: %s", d->name,
					vferry_errno_name(r));
	*ret_bytes = size.stop_copy_length;
	return 0;
}

int vf_kernel_precopy_info(struct vf_backend *backend, struct vf_vfio_precopy_info *ret_info,
			   struct vferry_error *err)
{
	struct vf_kernel_device *d = vf_kernel_device_of(backend);
	struct vf_vfio_precopy_info info = { .argsz = sizeof(info) };
	struct vf_kernel_stream *stream = get_stream(d);
	int r;

	if (!stream)
		return no_session(d, err);
	r = vf_kernel_ioctl(&d->kernel, stream->fd, VF_VFIO_MIG_GET_PRECOPY_INFO, &info);
	put_stream(d, stream);
	if (r < 0)
		return vferry_error_set(err, r, "device-precopy-info", d->name,
					"%s does not say how much is left: %s", d->name,
					vferry_errno_name(r));
	if (!d->precopy_reinit)
		info.flags = 0;
	*ret_info = info;
	return 0;
}

/* ---- written pages ---- */

static int make_log_words(struct vf_kernel_device *d)
{
	if (d->log_words)
		return 0;
	if (posix_memalign((void **) &d->log_words, (size_t) sysconf(_SC_PAGESIZE), LOG_BYTES)) {
		d->log_words = NULL;
		return -ENOMEM;
	}
	memset(d->log_words, 0, LOG_BYTES);
	/* Touched is what counts; locked only keeps it so, where the limit allows. */
	(void) mlock(d->log_words, LOG_BYTES);
	return 0;
}

void vf_kernel_log_done(struct vf_kernel_device *d)
{
	if (d->log_words)
		(void) munlock(d->log_words, LOG_BYTES);
	free(d->log_words);
	d->log_words = NULL;
}

static int start_device_log(struct vf_kernel_device *d, uint64_t page_bytes,
			    const struct vf_vfio_dma_log_range *ranges, uint32_t count,
			    uint64_t *ret_page_bytes)
{
	struct vf_vfio_dma_log_control control = {
		.page_size = page_bytes, .num_ranges = count, .ranges = (uintptr_t) ranges,
	};
	int r = call_feature(d, VF_VFIO_FEATURE_DMA_LOGGING_START | VF_VFIO_FEATURE_SET, &control,
			     sizeof(control));

	if (r < 0)
		return r;
	*ret_page_bytes = control.page_size;
	return 0;
}

static int stop_log(struct vf_kernel_device *d)
{
	return d->log_is_iommu ? vf_space_log_stop(d->space, &d->seat) :
	       call_feature(d, VF_VFIO_FEATURE_DMA_LOGGING_STOP | VF_VFIO_FEATURE_SET, NULL, 0);
}

/* One call's worth, into words of our own. */
static int fetch_bits(struct vf_kernel_device *d, uint64_t iova, uint64_t bytes, uint64_t page_bytes)
{
	struct vf_vfio_dma_log_report report = {
		.iova = iova, .length = bytes, .page_size = page_bytes,
		.bitmap = (uintptr_t) d->log_words,
	};

	if (d->log_is_iommu)
		return vf_space_log_report(d->space, &d->seat, iova, bytes, page_bytes, d->log_words);
	return call_feature(d, VF_VFIO_FEATURE_DMA_LOGGING_REPORT | VF_VFIO_FEATURE_GET, &report,
			    sizeof(report));
}

/* A kernel without iommufd starts logs that it can't read. Nothing was copied yet, so a bit that is
 * taken here is missed by nobody. */
static int try_log(struct vf_kernel_device *d, uint64_t iova, uint64_t page_bytes)
{
	int r = page_bytes < VF_PAGE_BYTES ? 0 : fetch_bits(d, iova, page_bytes, page_bytes);

	if (r < 0)
		(void) stop_log(d);
	return r;
}

int vf_kernel_log_start(struct vf_backend *backend, uint64_t page_bytes,
			const struct vf_vfio_dma_log_range *ranges, uint32_t count,
			uint64_t *ret_page_bytes, struct vferry_error *err)
{
	struct vf_kernel_device *d = vf_kernel_device_of(backend);
	int r;

	if (count == 0 || count > LOG_RANGES_MAX)
		return vferry_error_set(err, count ? -E2BIG : -EINVAL, "dma-log", d->name,
					"%u ranges cannot be logged", count);
	pthread_mutex_lock(&d->log_lock);
	r = make_log_words(d);
	if (r == 0) {
		d->log_is_iommu = !(d->base.caps.features & VFERRY_DEVICE_DMA_LOG);
		if (d->log_is_iommu) {
			r = vf_space_log_start(d->space, &d->seat);
			if (r == 0)
				*ret_page_bytes = page_bytes;
		} else {
			r = start_device_log(d, page_bytes, ranges, count, ret_page_bytes);
		}
		if (r == 0)
			r = try_log(d, ranges[0].iova, *ret_page_bytes);
	}
	pthread_mutex_unlock(&d->log_lock);
	if (r < 0)
		return vferry_error_set(err, r, "dma-log", d->name,
					"what %s writes cannot be logged: %s", d->name,
					vferry_errno_name(r));
	return 0;
}

int vf_kernel_log_stop(struct vf_backend *backend, struct vferry_error *err)
{
	struct vf_kernel_device *d = vf_kernel_device_of(backend);
	int r;

	pthread_mutex_lock(&d->log_lock);
	r = stop_log(d);
	pthread_mutex_unlock(&d->log_lock);
	if (r < 0)
		return vferry_error_set(err, r, "dma-log", d->name,
					"the log of what %s writes could not be stopped: %s", d->name,
					vferry_errno_name(r));
	return 0;
}

int vf_kernel_log_report(struct vf_backend *backend, uint64_t iova, uint64_t bytes,
			 uint64_t page_bytes, uint64_t *words, struct vferry_error *err)
{
	struct vf_kernel_device *d = vf_kernel_device_of(backend);
	uint64_t most;
	int r = 0;

	if (page_bytes < VF_PAGE_BYTES || !vf_is_pow2(page_bytes) || bytes % page_bytes ||
	    vf_mul_u64(page_bytes, LOG_BYTES * 8, &most))
		return vferry_error_set(err, -EINVAL, "dma-log", d->name,
					"pages of %llu bytes cannot be asked for",
					(unsigned long long) page_bytes);
	pthread_mutex_lock(&d->log_lock);
	if (!d->log_words)
		r = -EINVAL;
	for (uint64_t done = 0; done < bytes && r == 0;) {
		uint64_t part = vf_min_u64(bytes - done, most);
		size_t count = (size_t) vf_div_up(part / page_bytes, 64);

		memset(d->log_words, 0, count * sizeof(*words));
		r = fetch_bits(d, iova + done, part, page_bytes);
		for (size_t i = 0; i < count && r == 0; i++)
			words[done / page_bytes / 64 + i] |= d->log_words[i];
		done += part;
	}
	pthread_mutex_unlock(&d->log_lock);
	if (r < 0)
		return vferry_error_set(err, r, "dma-log", d->name,
					"what %s wrote could not be asked for: %s", d->name,
					vferry_errno_name(r));
	return 0;
}

/* ---- what there is ---- */

static bool has_feature(struct vf_kernel_device *d, uint32_t feature, uint32_t how)
{
	return call_feature(d, feature | how | VF_VFIO_FEATURE_PROBE, NULL, 0) == 0;
}

/* No probe tells; only -EOPNOTSUPP does. What else goes wrong now may go right later. */
static bool log_can_be_read(struct vf_kernel_device *d)
{
	const struct vf_vfio_dma_log_range page = { .length = VF_PAGE_BYTES };
	uint64_t page_bytes = 0;
	int r = make_log_words(d);

	if (r == 0)
		r = start_device_log(d, VF_PAGE_BYTES, &page, 1, &page_bytes);
	if (r == 0) {
		r = fetch_bits(d, 0, VF_PAGE_BYTES, VF_PAGE_BYTES);
		(void) stop_log(d);
	}
	vf_kernel_log_done(d);
	return r != -EOPNOTSUPP;
}

void vf_kernel_migration_learn(struct vf_kernel_device *d)
{
	uint32_t *features = &d->base.caps.features;
	uint64_t flags = 0;

	if (vf_kernel_get_migration(&d->base, &flags, NULL) == 0 && (flags & VF_VFIO_MIGRATION_PRE_COPY)) {
		*features |= VFERRY_DEVICE_PRECOPY_INFO;	/* no driver has one without the other */
		d->precopy_reinit = call_feature(d, VF_VFIO_FEATURE_MIG_PRECOPY_INFOV2 |
						 VF_VFIO_FEATURE_SET, NULL, 0) == 0;
	}
	if (has_feature(d, VF_VFIO_FEATURE_MIG_DATA_SIZE, VF_VFIO_FEATURE_GET))
		*features |= VFERRY_DEVICE_DATA_SIZE;
	if (has_feature(d, VF_VFIO_FEATURE_DMA_LOGGING_START, VF_VFIO_FEATURE_SET) &&
	    log_can_be_read(d))
		*features |= VFERRY_DEVICE_DMA_LOG;
	if (d->seat.table)
		*features |= VFERRY_DEVICE_IOMMU_DIRTY;
}
