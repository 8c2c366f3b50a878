// SPDX-License-Identifier: GPL-2.0-only
/*
 * stream.c - the file through which a device's state leaves and arrives.
 *
 * The stream is a row of records, each with its type and its length; all numbers are little endian:
 *
 *	HEADER		first: which device and which version of the stream this is
 *	BUFFER		the device's buffer; comes again when it changed during pre-copy
 *	REGISTERS	the rest, once the device stands still
 *	END		nothing follows
 *
 * A record is a copy from one moment; a later one of the same type counts. END is what tells a whole stream from
 * one that was cut off: without it the device does not leave RESUMING.
 *
 * The file holds a reference on the device, and may outlive its session: then it says -ENODEV. Or user space closes it
 * before the session ends: what was written to it still counts.
 */
#include <linux/anon_inodes.h>
#include <linux/fs.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "edu.h"

#define STREAM_MAGIC	0x76756465u	/* "eduv" */
#define STREAM_VERSION	1u

enum record_type {
	RECORD_HEADER = 1,
	RECORD_BUFFER = 2,
	RECORD_REGISTERS = 3,
	RECORD_END = 4,
};

struct record_head {
	__le32 type;
	__le32 bytes;		/* that follow */
};

struct record_header {
	__le32 magic;
	__le32 version;
	__le64 dma_mask;
};

struct record_registers {
	__le32 liveness;
	__le32 factorial;
	__le32 status;
	__le32 interrupts;
	__le64 source;
	__le64 target;
	__le64 count;
	__le64 command;
};

#define RECORD_BYTES(payload)	(sizeof(struct record_head) + (payload))
#define FIRST_BYTES	(RECORD_BYTES(sizeof(struct record_header)) + RECORD_BYTES(EDU_BUFFER_BYTES))
#define LAST_BYTES	(RECORD_BYTES(sizeof(struct record_registers)) + RECORD_BYTES(0))
#define STREAM_BYTES	(FIRST_BYTES + RECORD_BYTES(EDU_BUFFER_BYTES) + LAST_BYTES)

struct edu_stream {
	struct edu_device *edu;
	bool loading;
	bool closed;			/* the session has ended */
	bool has_file;			/* whoever is left last, file or session, frees this */
	bool final;			/* saving: END is queued; loading: END has come */
	bool broken;			/* loading: what came was wrong */

	u8 data[STREAM_BYTES];		/* saving: queued; loading: one record */
	size_t start, end;
	size_t initial;			/* bytes queued at first that are still there */
	u64 version;			/* of the buffer that was queued last */

	bool has_header, has_buffer, has_registers;
	struct edu_state state;
};

/* --- saving --- */

static void queue(struct edu_stream *stream, enum record_type type, const void *payload, u32 bytes)
{
	struct record_head head = { .type = cpu_to_le32(type), .bytes = cpu_to_le32(bytes) };

	memmove(stream->data, stream->data + stream->start, stream->end - stream->start);
	stream->end -= stream->start;
	stream->start = 0;
	memcpy(stream->data + stream->end, &head, sizeof(head));
	memcpy(stream->data + stream->end + sizeof(head), payload, bytes);
	stream->end += RECORD_BYTES(bytes);
}

static void queue_buffer(struct edu_stream *stream)
{
	queue(stream, RECORD_BUFFER, stream->edu->shadow.buffer, EDU_BUFFER_BYTES);
	stream->version = stream->edu->shadow.version;
}

static bool has_changed(const struct edu_stream *stream)
{
	return stream->version != stream->edu->shadow.version;
}

static void queue_first(struct edu_stream *stream)
{
	struct record_header header = {
		.magic = cpu_to_le32(STREAM_MAGIC),
		.version = cpu_to_le32(STREAM_VERSION),
		.dma_mask = cpu_to_le64(edu_dma_mask()),
	};

	queue(stream, RECORD_HEADER, &header, sizeof(header));
	queue_buffer(stream);
	stream->initial = stream->end;
}

int edu_stream_finish_saving(struct edu_device *edu)
{
	struct edu_stream *stream = edu->stream;
	struct edu_state *state = &stream->state;
	struct record_registers registers;
	int ret = edu_state_save(edu, state);

	if (ret)
		return ret;
	registers = (struct record_registers) {
		.liveness = cpu_to_le32(state->liveness),
		.factorial = cpu_to_le32(state->factorial),
		.status = cpu_to_le32(state->status),
		.interrupts = cpu_to_le32(state->interrupts),
		.source = cpu_to_le64(state->source),
		.target = cpu_to_le64(state->target),
		.count = cpu_to_le64(state->count),
		.command = cpu_to_le64(state->command),
	};
	if (has_changed(stream))
		queue_buffer(stream);
	queue(stream, RECORD_REGISTERS, &registers, sizeof(registers));
	queue(stream, RECORD_END, NULL, 0);
	stream->final = true;
	wake_up_all(&edu->stream_wait);
	return 0;
}

u64 edu_stream_bytes_left(struct edu_device *edu)
{
	const struct edu_stream *stream = edu->stream;
	u64 bytes;

	if (!stream || stream->loading)
		return FIRST_BYTES + LAST_BYTES;
	bytes = stream->end - stream->start;
	if (!stream->final)
		bytes += LAST_BYTES + (has_changed(stream) ? RECORD_BYTES(EDU_BUFFER_BYTES) : 0);
	return bytes;
}

static ssize_t read_some(struct edu_stream *stream, char __user *to, size_t bytes)
{
	if (stream->closed)
		return -ENODEV;
	if (stream->start == stream->end && stream->final)
		return 0;
	if (stream->start == stream->end) {
		if (!has_changed(stream))
			return -ENOMSG;		/* nothing for now */
		queue_buffer(stream);
	}
	bytes = min(bytes, stream->end - stream->start);
	if (copy_to_user(to, stream->data + stream->start, bytes))
		return -EFAULT;
	stream->start += bytes;
	stream->initial -= min(stream->initial, bytes);
	return (ssize_t)bytes;
}

static ssize_t stream_read(struct file *file, char __user *to, size_t bytes, loff_t *position)
{
	struct edu_stream *stream = file->private_data;
	ssize_t ret;

	edu_lock(stream->edu);
	ret = read_some(stream, to, bytes);
	edu_unlock(stream->edu);
	return ret;
}

static __poll_t stream_poll(struct file *file, struct poll_table_struct *table)
{
	struct edu_stream *stream = file->private_data;
	__poll_t ret = 0;

	poll_wait(file, &stream->edu->stream_wait, table);
	edu_lock(stream->edu);
	if (stream->closed)
		ret = EPOLLIN | EPOLLRDNORM | EPOLLRDHUP;
	else if (stream->start != stream->end || stream->final || has_changed(stream))
		ret = EPOLLIN | EPOLLRDNORM;
	edu_unlock(stream->edu);
	return ret;
}

#ifdef VFIO_MIG_GET_PRECOPY_INFO
static long precopy_info(struct edu_stream *stream, struct vfio_precopy_info *info)
{
	if (stream->closed)
		return -ENODEV;
	if (!edu_is_pre_copy(stream->edu))
		return -EINVAL;
	info->initial_bytes = stream->initial;
	info->dirty_bytes = stream->end - stream->start - stream->initial +
			    (has_changed(stream) ? RECORD_BYTES(EDU_BUFFER_BYTES) : 0);
	return 0;
}

static long stream_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	const size_t bytes = offsetofend(struct vfio_precopy_info, dirty_bytes);
	struct edu_stream *stream = file->private_data;
	struct vfio_precopy_info info;
	long ret;

	if (command != VFIO_MIG_GET_PRECOPY_INFO)
		return -ENOTTY;
	if (copy_from_user(&info, (void __user *)argument, bytes))
		return -EFAULT;
	if (info.argsz < bytes)
		return -EINVAL;
	edu_lock(stream->edu);
	ret = precopy_info(stream, &info);
	edu_unlock(stream->edu);
	if (!ret && copy_to_user((void __user *)argument, &info, bytes))
		ret = -EFAULT;
	return ret;
}
#endif

/* --- loading --- */

static int check_header(const u8 *payload)
{
	struct record_header header;

	memcpy(&header, payload, sizeof(header));
	if (le32_to_cpu(header.magic) != STREAM_MAGIC ||
	    le32_to_cpu(header.version) != STREAM_VERSION ||
	    le64_to_cpu(header.dma_mask) != edu_dma_mask())
		return -EINVAL;
	return 0;
}

static void take_registers(struct edu_state *state, const u8 *payload)
{
	struct record_registers registers;

	memcpy(&registers, payload, sizeof(registers));
	state->liveness = le32_to_cpu(registers.liveness);
	state->factorial = le32_to_cpu(registers.factorial);
	state->status = le32_to_cpu(registers.status);
	state->interrupts = le32_to_cpu(registers.interrupts);
	state->source = le64_to_cpu(registers.source);
	state->target = le64_to_cpu(registers.target);
	state->count = le64_to_cpu(registers.count);
	state->command = le64_to_cpu(registers.command);
}

static int take_record(struct edu_stream *stream, u32 type, const u8 *payload)
{
	switch (type) {
	case RECORD_HEADER:
		stream->has_header = true;
		return check_header(payload);
	case RECORD_BUFFER:
		memcpy(stream->state.buffer, payload, EDU_BUFFER_BYTES);
		stream->has_buffer = true;
		return 0;
	case RECORD_REGISTERS:
		take_registers(&stream->state, payload);
		stream->has_registers = true;
		return 0;
	default:
		stream->final = true;
		return stream->has_buffer && stream->has_registers ? 0 : -EINVAL;
	}
}

/* A record's length follows from its type; nothing else is taken. */
static int check_head(const struct edu_stream *stream, const struct record_head *head)
{
	static const u32 bytes[] = {
		[RECORD_HEADER] = sizeof(struct record_header),
		[RECORD_BUFFER] = EDU_BUFFER_BYTES,
		[RECORD_REGISTERS] = sizeof(struct record_registers),
		[RECORD_END] = 0,
	};
	u32 type = le32_to_cpu(head->type);

	if (!type || type >= ARRAY_SIZE(bytes) ||
	    le32_to_cpu(head->bytes) != bytes[type] ||
	    (type == RECORD_HEADER) == stream->has_header)
		return -EINVAL;
	return 0;
}

/* Takes the rest of a head, or of a record. */
static ssize_t write_some(struct edu_stream *stream, const char __user *from, size_t bytes)
{
	struct record_head head;
	size_t want = sizeof(head);
	int ret = 0;

	if (stream->end >= sizeof(head)) {
		memcpy(&head, stream->data, sizeof(head));
		want += le32_to_cpu(head.bytes);
	}
	bytes = min(bytes, want - stream->end);
	if (copy_from_user(stream->data + stream->end, from, bytes))
		return -EFAULT;
	stream->end += bytes;
	if (stream->end < sizeof(head))
		return (ssize_t)bytes;
	memcpy(&head, stream->data, sizeof(head));
	if (stream->end == sizeof(head))
		ret = check_head(stream, &head);
	if (!ret && stream->end == RECORD_BYTES(le32_to_cpu(head.bytes))) {
		ret = take_record(stream, le32_to_cpu(head.type), stream->data + sizeof(head));
		stream->end = 0;
	}
	if (ret)
		stream->broken = true;
	return ret ? ret : (ssize_t)bytes;
}

static ssize_t write_all(struct edu_stream *stream, const char __user *from, size_t bytes)
{
	size_t done = 0;
	ssize_t n;

	if (stream->closed)
		return -ENODEV;
	while (done < bytes && !stream->broken) {
		if (stream->final) {
			stream->broken = true;		/* nothing follows the end */
			break;
		}
		n = write_some(stream, from + done, bytes - done);
		if (n < 0)
			return done && !stream->broken ? (ssize_t)done : n;
		done += (size_t)n;
	}
	return stream->broken ? -EINVAL : (ssize_t)done;
}

static ssize_t stream_write(struct file *file, const char __user *from, size_t bytes,
			    loff_t *position)
{
	struct edu_stream *stream = file->private_data;
	ssize_t ret;

	edu_lock(stream->edu);
	ret = write_all(stream, from, bytes);
	edu_unlock(stream->edu);
	return ret;
}

int edu_stream_finish_loading(struct edu_device *edu)
{
	const struct edu_stream *stream = edu->stream;

	if (stream->broken || !stream->final || edu_state_check(&stream->state))
		return -EINVAL;
	return edu_state_load(edu, &stream->state);
}

/* --- the session and the file --- */

static int stream_release(struct inode *inode, struct file *file)
{
	struct edu_stream *stream = file->private_data;
	struct edu_device *edu = stream->edu;
	bool last;

	edu_lock(edu);
	stream->has_file = false;
	last = stream->closed;
	edu_unlock(edu);
	if (last)
		kvfree(stream);
	vfio_put_device(&edu->core.vdev);
	return 0;
}

static const struct file_operations saving_operations = {
	.owner = THIS_MODULE,
	.read = stream_read,
	.poll = stream_poll,
#ifdef VFIO_MIG_GET_PRECOPY_INFO
	.unlocked_ioctl = stream_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
#endif
	.release = stream_release,
};

static const struct file_operations loading_operations = {
	.owner = THIS_MODULE,
	.write = stream_write,
	.release = stream_release,
};

static struct file *open_stream(struct edu_device *edu, bool loading)
{
	struct edu_stream *stream = kvzalloc(sizeof(*stream), GFP_KERNEL_ACCOUNT);
	struct file *file;

	if (!stream)
		return ERR_PTR(-ENOMEM);
	file = anon_inode_getfile("edu_migration", loading ? &loading_operations : &saving_operations,
				  stream, loading ? O_WRONLY : O_RDONLY);
	if (IS_ERR(file)) {
		kvfree(stream);
		return file;
	}
	stream_open(file->f_inode, file);
	get_device(&edu->core.vdev.device);
	stream->edu = edu;
	stream->loading = loading;
	stream->has_file = true;
	edu->stream = stream;
	return file;
}

struct file *edu_stream_open_saving(struct edu_device *edu)
{
	struct file *file;

	if (edu->shadow.unseen)
		return ERR_PTR(-ENODATA);
	file = open_stream(edu, false);
	if (!IS_ERR(file))
		queue_first(edu->stream);
	return file;
}

struct file *edu_stream_open_loading(struct edu_device *edu)
{
	return open_stream(edu, true);
}

void edu_stream_close(struct edu_device *edu)
{
	struct edu_stream *stream = edu->stream;

	if (!stream)
		return;
	edu->stream = NULL;
	stream->closed = true;
	wake_up_all(&edu->stream_wait);
	if (!stream->has_file)
		kvfree(stream);
}
