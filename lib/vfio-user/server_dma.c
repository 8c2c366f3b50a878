/* SPDX-License-Identifier: MIT */
/*
 * server_dma.c - the client's memory as the device sees it: mappings, copies, and the DMA log.
 *
 * The table is sorted by IOVA and its entries never overlap, so finding one is a binary search and a
 * range is served by walking from entry to entry. It changes on the dispatch thread only, under the
 * write lock; every use holds the read lock. While logging is on, each entry has a bitmap of its
 * pages, set without a lock by whoever writes, and taken word by word by REPORT.
 *
 * A mapped file can be shortened by the client that owns it, which then faults the device process:
 * it harms nobody but the device that the client uses.
 */
#define _GNU_SOURCE
#include "vfio-user/server_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/clock.h"

#define HUGETLBFS_MAGIC_NUMBER 0x958458f6u
#define LOG_PAGE_MAX (2 * VF_MIB)	/* coarser hints are cut down to this */

/* --- table --- */

/* First entry that ends behind @iova. */
static uint32_t find_locked(const struct vf_vfio_user_server *server, uint64_t iova)
{
	uint32_t low = 0, high = server->dma_count;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (server->dma[mid].iova + (server->dma[mid].size - 1) < iova)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct vf_server_dma *covering_locked(const struct vf_vfio_user_server *server,
					     uint64_t iova)
{
	uint32_t n = find_locked(server, iova);

	if (n == server->dma_count || server->dma[n].iova > iova)
		return NULL;
	return &server->dma[n];
}

static struct vf_vfio_user_dma public_view(const struct vf_server_dma *dma)
{
	return (struct vf_vfio_user_dma) {
		.iova = dma->iova,
		.size = dma->size,
		.readable = dma->readable,
		.writable = dma->writable,
		.mapped = dma->memory,
	};
}

static void entry_done(struct vf_server_dma *dma)
{
	vf_bitmap_done(&dma->dirty);
	if (dma->map)
		(void) munmap(dma->map, dma->map_len);
	*dma = (struct vf_server_dma) { 0 };
}

/* The unit in which @fd can be mapped: a huge page for hugetlbfs. */
static uint64_t map_unit(int fd, const struct stat *st)
{
	struct statfs fs;

	if (!fstatfs(fd, &fs) && (uint32_t) fs.f_type == HUGETLBFS_MAGIC_NUMBER &&
	    vf_is_pow2((uint64_t) st->st_blksize))
		return (uint64_t) st->st_blksize;
	return (uint64_t) sysconf(_SC_PAGESIZE);
}

static int map_memory(struct vf_server_dma *dma, int fd, uint64_t fd_offset)
{
	int prot = (dma->readable ? PROT_READ : 0) | (dma->writable ? PROT_WRITE : 0);
	uint64_t unit, start, end;
	struct stat st;
	void *map;

	if (fstat(fd, &st))
		return -errno;
	/* Of other files (devices) the length is not known; the kernel refuses what is beyond. */
	if (S_ISREG(st.st_mode) && !vf_range_in(fd_offset, dma->size, (uint64_t) st.st_size))
		return -EINVAL;
	unit = map_unit(fd, &st);
	start = fd_offset & ~(unit - 1);
	if (vf_add_u64(fd_offset + dma->size, unit - 1, &end))
		return -EINVAL;
	end &= ~(unit - 1);
	map = mmap(NULL, end - start, prot, MAP_SHARED | MAP_NORESERVE, fd, (off_t) start);
	if (map == MAP_FAILED)
		return -errno;
	(void) madvise(map, end - start, MADV_DONTDUMP);	/* a guest's memory is not ours to keep */
	dma->map = map;
	dma->map_len = end - start;
	dma->memory = (uint8_t *) map + (fd_offset - start);
	return 0;
}

static int start_log_entry(const struct vf_vfio_user_server *server, struct vf_server_dma *dma)
{
	/* By messages, the client writes itself and knows. */
	if (!dma->memory)
		return 0;
	return vf_bitmap_init(&dma->dirty, vf_div_up(dma->size + dma->iova % server->log_page,
						     server->log_page));
}

static int insert_locked(struct vf_vfio_user_server *server, const struct vf_server_dma *dma)
{
	uint32_t at = find_locked(server, dma->iova);

	if (at < server->dma_count && server->dma[at].iova - dma->iova < dma->size &&
	    server->dma[at].iova >= dma->iova)
		return -EEXIST;
	if (at < server->dma_count && server->dma[at].iova < dma->iova)
		return -EEXIST;
	if (server->dma_count >= server->options.max_dma_maps)
		return -ENOSPC;
	if (server->dma_count == server->dma_room) {
		uint32_t room = server->dma_room ? server->dma_room * 2 : 16;
		struct vf_server_dma *more = realloc(server->dma, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		server->dma = more;
		server->dma_room = room;
	}
	memmove(&server->dma[at + 1], &server->dma[at],
		(server->dma_count - at) * sizeof(*server->dma));
	server->dma[at] = *dma;
	server->dma_count++;
	return 0;
}

int vf_server_dma_map(struct vf_vfio_user_server *server)
{
	struct vf_vfio_user_request *request = server->current;
	struct vf_vfio_user_dma_map map;
	struct vf_server_dma dma = { 0 };
	struct vf_vfio_user_dma view;
	int ret;

	if (vf_vfio_user_get_dma_map(request->body, request->body_len, &map) ||
	    request->fds.count > 1 ||
	    (map.flags & VF_VFIO_USER_DMA_MMAP && !request->fds.count))
		return -EINVAL;
	dma.iova = map.iova;
	dma.size = map.size;
	dma.readable = map.flags & VF_VFIO_USER_DMA_READABLE;
	dma.writable = map.flags & VF_VFIO_USER_DMA_WRITABLE;
	if (!dma.readable && !dma.writable)
		return -EINVAL;
	ret = request->fds.count ? map_memory(&dma, request->fds.fd[0], map.fd_offset) : 0;
	if (!ret && server->logging)
		ret = start_log_entry(server, &dma);
	if (!ret) {
		(void) pthread_rwlock_wrlock(&server->dma_lock);
		ret = insert_locked(server, &dma);
		(void) pthread_rwlock_unlock(&server->dma_lock);
	}
	if (ret) {
		entry_done(&dma);
		return ret;
	}
	view = public_view(&dma);
	if (server->ops.dma_mapped)
		server->ops.dma_mapped(server->user, &view);
	return 0;
}

static void remove_entry(struct vf_vfio_user_server *server, uint32_t n)
{
	struct vf_vfio_user_dma view = public_view(&server->dma[n]);
	struct vf_server_dma dma;

	if (server->ops.dma_unmapping)
		server->ops.dma_unmapping(server->user, &view);
	(void) pthread_rwlock_wrlock(&server->dma_lock);
	dma = server->dma[n];
	server->dma_count--;
	memmove(&server->dma[n], &server->dma[n + 1],
		(server->dma_count - n) * sizeof(*server->dma));
	(void) pthread_rwlock_unlock(&server->dma_lock);
	entry_done(&dma);
}

int vf_server_dma_unmap(struct vf_vfio_user_server *server)
{
	struct vf_vfio_user_request *request = server->current;
	uint64_t iova, size;
	uint32_t flags, n;
	uint8_t *reply;

	if (vf_vfio_user_get_dma_unmap(request->body, request->body_len, &flags, &iova, &size))
		return -EINVAL;
	reply = vf_server_reply(server, VF_VFIO_USER_DMA_UNMAP_BYTES);
	if (!reply)
		return -ENOMEM;
	vf_vfio_user_put_dma_unmap(reply, flags, iova, size);
	if (flags & VF_VFIO_USER_UNMAP_ALL) {
		while (server->dma_count)
			remove_entry(server, server->dma_count - 1);
		return 0;
	}
	n = find_locked(server, iova);		/* only this thread changes the table */
	if (n == server->dma_count || server->dma[n].iova != iova || server->dma[n].size != size)
		return -ENOENT;
	remove_entry(server, n);
	return 0;
}

void vf_server_dma_forget(struct vf_vfio_user_server *server)
{
	while (server->dma_count)
		remove_entry(server, server->dma_count - 1);
	(void) vf_server_log_stop(server);
	(void) pthread_rwlock_wrlock(&server->dma_lock);
	free(server->dma);
	server->dma = NULL;
	server->dma_room = 0;
	(void) pthread_rwlock_unlock(&server->dma_lock);
}

/* --- access --- */

static void mark_locked(const struct vf_vfio_user_server *server, struct vf_server_dma *dma,
			uint64_t iova, uint64_t len)
{
	uint64_t base = dma->iova - dma->iova % server->log_page;
	uint64_t first = (iova - base) / server->log_page;
	uint64_t last = (iova + (len - 1) - base) / server->log_page;

	vf_bitmap_set_range_atomic(&dma->dirty, first, last - first + 1);
}

void *vf_vfio_user_server_dma_get(struct vf_vfio_user_server *server, uint64_t iova, bool write,
				  size_t *len)
{
	struct vf_server_dma *dma;
	uint64_t left;

	(void) pthread_rwlock_rdlock(&server->dma_lock);
	dma = *len ? covering_locked(server, iova) : NULL;
	if (!dma || !dma->memory || !(write ? dma->writable : dma->readable)) {
		(void) pthread_rwlock_unlock(&server->dma_lock);
		return NULL;
	}
	left = dma->size - (iova - dma->iova);
	*len = vf_min_u64(*len, left);
	return dma->memory + (iova - dma->iova);
}

void vf_vfio_user_server_dma_put(struct vf_vfio_user_server *server)
{
	(void) pthread_rwlock_unlock(&server->dma_lock);
}

void vf_vfio_user_server_dma_dirty(struct vf_vfio_user_server *server, uint64_t iova, uint64_t len)
{
	(void) pthread_rwlock_rdlock(&server->dma_lock);
	for (uint32_t n = find_locked(server, iova); server->logging && len &&
	     n < server->dma_count; n++) {
		struct vf_server_dma *dma = &server->dma[n];
		uint64_t at = vf_max_u64(iova, dma->iova);
		uint64_t before = at - iova, left;

		if (before >= len)
			break;
		left = vf_min_u64(len - before, dma->size - (at - dma->iova));
		if (dma->dirty.words)
			mark_locked(server, dma, at, left);
	}
	(void) pthread_rwlock_unlock(&server->dma_lock);
}

/* One exchange with the client about memory that is not mapped here. */
static int exchange(struct vf_vfio_user_server *server, bool twin, uint16_t command,
		    const struct vf_vfio_user_access *access, const void *from, uint8_t *answer,
		    size_t answer_len)
{
	uint8_t raw[VF_VFIO_USER_HEADER_BYTES], head[VF_VFIO_USER_ACCESS_BYTES];
	uint16_t id = server->twin_id++;
	int fd = twin ? server->twin : server->fd;
	struct vf_vfio_user_header header = {
		.id = id,
		.command = command,
		.size = (uint32_t) (sizeof(raw) + sizeof(head) + (from ? access->count : 0)),
	};
	struct iovec iov[3] = {
		{ .iov_base = raw, .iov_len = sizeof(raw) },
		{ .iov_base = head, .iov_len = sizeof(head) },
		{ .iov_base = (void *) from, .iov_len = from ? access->count : 0 },
	};
	uint64_t deadline = vf_now_ns() + server->options.dma_timeout_ms * VF_MS_NS;
	int ret;

	vf_vfio_user_put_header(raw, &header);
	vf_vfio_user_put_dma_access(head, access);
	ret = vf_socket_send(fd, iov, 3, NULL, 0, deadline);
	if (ret)
		return ret;
	if (!twin)
		return vf_server_await_answer(server, id, command, answer, answer_len, deadline);
	ret = vf_socket_receive(fd, raw, sizeof(raw), NULL, deadline);
	if (ret)
		return ret;
	if (vf_vfio_user_get_header(raw, &header) || header.id != id ||
	    header.command != command ||
	    (header.flags & VF_VFIO_USER_TYPE_MASK) != VF_VFIO_USER_TYPE_REPLY)
		return -EPROTO;
	if (header.flags & VF_VFIO_USER_ERROR)
		return header.size == sizeof(raw) ? -EFAULT : -EPROTO;
	if (header.size != sizeof(raw) + answer_len)
		return -EPROTO;
	return vf_socket_receive(fd, answer, answer_len, NULL, deadline);
}

/* A lost or broken exchange leaves the socket out of step: it is not used again. */
static int exchange_somewhere(struct vf_vfio_user_server *server, uint16_t command,
			      const struct vf_vfio_user_access *access, const void *from,
			      uint8_t *answer, size_t answer_len)
{
	int ret;

	(void) pthread_mutex_lock(&server->twin_lock);
	if (server->twin >= 0) {
		ret = exchange(server, true, command, access, from, answer, answer_len);
		if (ret && ret != -EFAULT) {
			(void) close(server->twin);
			server->twin = -1;
			ret = -EFAULT;
		}
	} else if (server->dispatch_thread == gettid() && server->fd >= 0 &&
		   !server->client_gone && !server->both.twin_socket) {
		/* Between the halves of a reply there is no room for a command. */
		ret = server->replying ? -EAGAIN :
		      exchange(server, false, command, access, from, answer, answer_len);
		if (ret && ret != -EFAULT && ret != -EAGAIN) {
			server->client_gone = true;
			ret = -EFAULT;
		}
	} else {
		ret = -EOPNOTSUPP;
	}
	(void) pthread_mutex_unlock(&server->twin_lock);
	return ret;
}

static int dma_message(struct vf_vfio_user_server *server, bool write, uint64_t iova, uint8_t *data,
		       size_t len)
{
	uint16_t command = write ? VF_VFIO_USER_DMA_WRITE : VF_VFIO_USER_DMA_READ;
	size_t room = vf_min_u64(len, server->both.max_data_xfer_bytes);
	uint8_t *answer = malloc(VF_VFIO_USER_ACCESS_BYTES + room);
	int ret = answer ? 0 : -ENOMEM;

	for (size_t at = 0; at < len && !ret;) {
		struct vf_vfio_user_access access = {
			.address = iova + at,
			.count = vf_min_u64(len - at, room),
		}, got;
		size_t answer_len = VF_VFIO_USER_ACCESS_BYTES + (write ? 0 : access.count);

		ret = exchange_somewhere(server, command, &access, write ? data + at : NULL, answer,
					 answer_len);
		if (!ret && (vf_vfio_user_get_dma_access(answer, answer_len, &got) ||
			     got.address != access.address || got.count != access.count))
			ret = -EFAULT;
		if (!ret && !write)
			memcpy(data + at, answer + VF_VFIO_USER_ACCESS_BYTES, access.count);
		at += access.count;
	}
	free(answer);
	return ret;
}

static int copy(struct vf_vfio_user_server *server, bool write, uint64_t iova, uint8_t *data,
		size_t len)
{
	uint64_t end;

	if (vf_add_u64(iova, len, &end))
		return -EFAULT;
	while (len) {
		struct vf_server_dma *dma;
		size_t step;
		int ret = 0;

		(void) pthread_rwlock_rdlock(&server->dma_lock);
		dma = covering_locked(server, iova);
		if (!dma || !(write ? dma->writable : dma->readable)) {
			(void) pthread_rwlock_unlock(&server->dma_lock);
			return -EFAULT;
		}
		step = vf_min_u64(len, dma->size - (iova - dma->iova));
		if (dma->memory && write) {
			memcpy(dma->memory + (iova - dma->iova), data, step);
			if (dma->dirty.words)
				mark_locked(server, dma, iova, step);
		} else if (dma->memory) {
			memcpy(data, dma->memory + (iova - dma->iova), step);
		} else {
			ret = 1;
		}
		(void) pthread_rwlock_unlock(&server->dma_lock);
		if (ret)
			ret = dma_message(server, write, iova, data, step);
		if (ret)
			return ret;
		iova += step;
		data += step;
		len -= step;
	}
	return 0;
}

int vf_vfio_user_server_dma_read(struct vf_vfio_user_server *server, uint64_t iova, void *to,
				 size_t len)
{
	return copy(server, false, iova, to, len);
}

int vf_vfio_user_server_dma_write(struct vf_vfio_user_server *server, uint64_t iova,
				  const void *from, size_t len)
{
	return copy(server, true, iova, (uint8_t *) from, len);
}

int vf_vfio_user_server_dma_message(struct vf_vfio_user_server *server, bool write, uint64_t iova,
				    void *data, size_t len)
{
	struct vf_server_dma *dma;
	bool allowed;

	(void) pthread_rwlock_rdlock(&server->dma_lock);
	dma = covering_locked(server, iova);
	allowed = dma && (write ? dma->writable : dma->readable) &&
		  len <= dma->size - (iova - dma->iova);
	(void) pthread_rwlock_unlock(&server->dma_lock);
	return allowed ? dma_message(server, write, iova, data, len) : -EFAULT;
}

/* --- log --- */

static struct vf_vfio_dma_log_range log_range(const uint8_t *data, uint32_t i)
{
	struct vf_vfio_dma_log_range range;

	vf_vfio_user_get_log_range(data + VF_VFIO_USER_LOG_START_BYTES + 16 * (size_t) i, &range);
	return range;
}

/* Does range @i overlap one before it? None of them wraps. */
static bool overlaps(const uint8_t *data, uint32_t i)
{
	struct vf_vfio_dma_log_range range = log_range(data, i);

	for (uint32_t n = 0; n < i; n++) {
		struct vf_vfio_dma_log_range other = log_range(data, n);

		if (range.iova < other.iova + other.length && other.iova < range.iova + range.length)
			return true;
	}
	return false;
}

static int check_ranges(const uint8_t *data, uint32_t count, uint64_t page_size)
{
	for (uint32_t i = 0; i < count; i++) {
		struct vf_vfio_dma_log_range range = log_range(data, i);
		uint64_t end;

		if (!range.length || range.iova % page_size || range.length % page_size)
			return -EINVAL;
		if (vf_add_u64(range.iova, range.length, &end))
			return -EOVERFLOW;
		if (overlaps(data, i))
			return -EINVAL;
	}
	return 0;
}

/* The ranges are checked and then not needed: every mapping is logged, REPORT picks. */
int vf_server_log_start(struct vf_vfio_user_server *server, const uint8_t *data, size_t len)
{
	uint64_t page_size, chosen;
	uint32_t count;
	int ret;

	if (vf_vfio_user_get_log_start(data, len, &page_size, &count) || !vf_is_pow2(page_size))
		return -EINVAL;
	chosen = vf_min_u64(vf_max_u64(page_size, VF_PAGE_BYTES), LOG_PAGE_MAX);
	ret = check_ranges(data, count, vf_min_u64(page_size, VF_PAGE_BYTES));
	if (ret)
		return ret;
	(void) pthread_rwlock_wrlock(&server->dma_lock);
	if (server->logging) {
		/* As libvfio-user: the same again is fine. */
		ret = chosen == server->log_page ? 0 : -EBUSY;
		goto out;
	}
	server->log_page = chosen;
	for (uint32_t n = 0; n < server->dma_count && !ret; n++)
		ret = start_log_entry(server, &server->dma[n]);
	server->logging = !ret;
	for (uint32_t n = 0; n < server->dma_count && ret; n++)
		vf_bitmap_done(&server->dma[n].dirty);
out:
	(void) pthread_rwlock_unlock(&server->dma_lock);
	if (!ret)
		vf_put_u64(server->reply + VF_VFIO_USER_FEATURE_BYTES, chosen);
	return ret;
}

int vf_server_log_stop(struct vf_vfio_user_server *server)
{
	(void) pthread_rwlock_wrlock(&server->dma_lock);
	for (uint32_t n = 0; n < server->dma_count; n++)
		vf_bitmap_done(&server->dma[n].dirty);
	server->logging = false;
	(void) pthread_rwlock_unlock(&server->dma_lock);
	return 0;
}

/* A range of dirty bytes, cut to the report, as bits of the report. */
static void set_reported(const struct vf_vfio_dma_log_report *report, uint8_t *bitmap,
			 uint64_t start, uint64_t end)
{
	uint64_t limit = report->iova + report->length, first, last;

	start = vf_max_u64(start, report->iova);
	end = vf_min_u64(end, limit);
	if (start >= end)
		return;
	first = (start - report->iova) / report->page_size;
	last = (end - 1 - report->iova) / report->page_size;
	for (uint64_t bit = first; bit <= last; bit++)
		bitmap[bit / 8] |= (uint8_t) (1u << (bit % 8));
}

static void report_entry(const struct vf_vfio_user_server *server, struct vf_server_dma *dma,
			 const struct vf_vfio_dma_log_report *report, uint8_t *bitmap)
{
	uint64_t page = server->log_page, base = dma->iova - dma->iova % page;
	uint64_t from = vf_max_u64(report->iova, dma->iova) - base;
	uint64_t to = vf_min_u64(report->iova + (report->length - 1),
				 dma->iova + (dma->size - 1)) - base;

	for (uint64_t word = from / page / 64; word <= to / page / 64; word++) {
		uint64_t bits = vf_bitmap_take_word_atomic(&dma->dirty, word), keep = 0;

		while (bits) {
			uint64_t bit = word * 64 + (uint64_t) __builtin_ctzll(bits);
			uint64_t start = base + bit * page, end;

			if (vf_add_u64(start, page, &end))
				end = UINT64_MAX;
			/* A page that is not wholly asked for stays dirty for the next report. */
			if (start < report->iova || end > report->iova + report->length)
				keep |= bits & -bits;
			set_reported(report, bitmap, vf_max_u64(start, dma->iova), end);
			bits &= bits - 1;
		}
		if (keep)
			vf_bitmap_or_words_atomic(&dma->dirty, word, &keep, 1);
	}
}

int vf_server_log_report(struct vf_vfio_user_server *server, const uint8_t *data, size_t len,
			 uint32_t argsz)
{
	struct vf_vfio_dma_log_report report;
	size_t head = VF_VFIO_USER_FEATURE_BYTES + VF_VFIO_USER_LOG_REPORT_BYTES;
	uint64_t bytes;
	uint8_t *reply;

	if (vf_vfio_user_get_log_report(data, len, &report) || !server->logging)
		return -EINVAL;
	bytes = vf_vfio_user_log_bitmap_bytes(report.length, report.page_size);
	/* A foreign client can't cut its regions up, so it gets four times a transfer: 128 GiB. */
	if (bytes > 4 * server->mine.max_data_xfer_bytes)
		return -E2BIG;
	if (argsz < head + bytes)
		return -EINVAL;
	reply = vf_server_reply(server, head + bytes);
	if (!reply)
		return -ENOMEM;
	vf_vfio_user_put_feature(reply, (uint32_t) (head + bytes),
				 VF_VFIO_FEATURE_DMA_LOGGING_REPORT | VF_VFIO_FEATURE_GET);
	vf_vfio_user_put_log_report(reply + VF_VFIO_USER_FEATURE_BYTES, &report);
	(void) pthread_rwlock_rdlock(&server->dma_lock);
	for (uint32_t n = find_locked(server, report.iova); n < server->dma_count &&
	     server->dma[n].iova <= report.iova + (report.length - 1); n++)
		if (server->dma[n].dirty.words)
			report_entry(server, &server->dma[n], &report, reply + head);
	(void) pthread_rwlock_unlock(&server->dma_lock);
	return 0;
}
