/* SPDX-License-Identifier: MIT */
/* script.c - see script.h for the language. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "script.h"
#include "vfio-user/protocol.h"

#define LINE_BYTES 256u
#define WORDS_MAX 16u

/* Messages are counted in slots: the protocol's own by their number, ours behind them. */
#define SLOT_OF_OURS(command) (24u + ((command) - VF_VFIO_USER_PRECOPY_INFO))

static uint32_t slot_of(uint32_t command)
{
	if (command < 24)
		return command;
	if (command >= VF_VFIO_USER_PRECOPY_INFO && SLOT_OF_OURS(command) < VF_SCRIPT_COMMANDS)
		return SLOT_OF_OURS(command);
	return 0;	/* no message has this number */
}

static const char *const command_names[VF_SCRIPT_COMMANDS] = {
	[VF_VFIO_USER_VERSION] = "VERSION",
	[VF_VFIO_USER_DMA_MAP] = "DMA_MAP",
	[VF_VFIO_USER_DMA_UNMAP] = "DMA_UNMAP",
	[VF_VFIO_USER_GET_INFO] = "DEVICE_GET_INFO",
	[VF_VFIO_USER_GET_REGION_INFO] = "DEVICE_GET_REGION_INFO",
	[VF_VFIO_USER_GET_REGION_IO_FDS] = "DEVICE_GET_REGION_IO_FDS",
	[VF_VFIO_USER_GET_IRQ_INFO] = "DEVICE_GET_IRQ_INFO",
	[VF_VFIO_USER_SET_IRQS] = "DEVICE_SET_IRQS",
	[VF_VFIO_USER_REGION_READ] = "REGION_READ",
	[VF_VFIO_USER_REGION_WRITE] = "REGION_WRITE",
	[VF_VFIO_USER_RESET] = "DEVICE_RESET",
	[VF_VFIO_USER_REGION_WRITE_MULTI] = "REGION_WRITE_MULTI",
	[VF_VFIO_USER_FEATURE] = "DEVICE_FEATURE",
	[VF_VFIO_USER_MIG_DATA_READ] = "MIG_DATA_READ",
	[VF_VFIO_USER_MIG_DATA_WRITE] = "MIG_DATA_WRITE",
	[SLOT_OF_OURS(VF_VFIO_USER_PRECOPY_INFO)] = "PRECOPY_INFO",
	[SLOT_OF_OURS(VF_VFIO_USER_BUFFER_OPEN)] = "BUFFER_OPEN",
	[SLOT_OF_OURS(VF_VFIO_USER_BUFFER_READ)] = "BUFFER_READ",
	[SLOT_OF_OURS(VF_VFIO_USER_BUFFER_WRITE)] = "BUFFER_WRITE",
};

static const struct {
	const char *name;
	int code;
} errnos[] = {
	{ "EIO", EIO }, { "EINVAL", EINVAL }, { "ENOMEM", ENOMEM }, { "ENOSPC", ENOSPC },
	{ "EBUSY", EBUSY }, { "EAGAIN", EAGAIN }, { "ENODEV", ENODEV }, { "EPERM", EPERM },
	{ "EACCES", EACCES }, { "EFAULT", EFAULT }, { "ENOTTY", ENOTTY }, { "ETIMEDOUT", ETIMEDOUT },
	{ "EOPNOTSUPP", EOPNOTSUPP }, { "ENOMSG", ENOMSG }, { "EINTR", EINTR }, { "ENOENT", ENOENT },
	{ "E2BIG", E2BIG }, { "ECANCELED", ECANCELED }, { "EPROTO", EPROTO },
};

void vf_script_init(struct vf_script *s)
{
	*s = (struct vf_script) { .truncate_at = UINT64_MAX, .reinit_at = UINT64_MAX };
}

void vf_script_done(struct vf_script *s)
{
	free(s->rules);
	vf_script_init(s);
}

/* --- words --- */

struct unit {
	const char *name;
	uint64_t factor;
};

/* A decimal number, up to three places behind a point, and one of @units. */
static int number_with_unit(const char *word, const struct unit *units, size_t count, uint64_t *ret)
{
	uint64_t whole = 0, thousandths = 0, value, part, scale = 100;
	const char *p = word;

	if (*p < '0' || *p > '9')
		return -EINVAL;
	for (; *p >= '0' && *p <= '9'; p++)
		if (vf_mul_u64(whole, 10, &whole) ||
		    vf_add_u64(whole, (uint64_t) (*p - '0'), &whole))
			return -ERANGE;
	if (*p == '.') {
		if (*++p < '0' || *p > '9')
			return -EINVAL;
		for (; *p >= '0' && *p <= '9'; p++, scale /= 10) {
			if (!scale)
				return -EINVAL;
			thousandths += (uint64_t) (*p - '0') * scale;
		}
	}
	for (size_t i = 0; i < count; i++) {
		if (strcmp(p, units[i].name))
			continue;
		if (thousandths && units[i].factor < 1000)
			return -EINVAL;
		if (vf_mul_u64(whole, units[i].factor, &value) ||
		    vf_mul_u64(thousandths, units[i].factor, &part) ||
		    vf_add_u64(value, part / 1000, &value))
			return -ERANGE;
		*ret = value;
		return 0;
	}
	return -EINVAL;
}

static const struct unit size_units[] = {
	{ "", 1 }, { "B", 1 }, { "K", VF_KIB }, { "KiB", VF_KIB }, { "M", VF_MIB }, { "MiB", VF_MIB },
	{ "G", VF_GIB }, { "GiB", VF_GIB }, { "T", 1024 * VF_GIB }, { "TiB", 1024 * VF_GIB },
};

static const struct unit time_units[] = {
	{ "ns", 1 }, { "us", 1000 }, { "ms", 1000000 }, { "s", 1000000000 },
};

int vf_script_size(const char *word, uint64_t *ret)
{
	return number_with_unit(word, size_units, VF_ARRAY_COUNT(size_units), ret);
}

int vf_script_rate(const char *word, uint64_t *ret)
{
	size_t len = strlen(word);
	char plain[32];

	if (len > 2 && !strcmp(word + len - 2, "/s"))
		len -= 2;
	if (len >= sizeof(plain))
		return -EINVAL;
	memcpy(plain, word, len);
	plain[len] = '\0';
	return vf_script_size(plain, ret);
}

static int count_of(const char *word, uint64_t *ret)
{
	static const struct unit none[] = { { "", 1 } };
	uint64_t value;
	int code = number_with_unit(word, none, 1, &value);

	if (code)
		return code;
	if (!value)
		return -EINVAL;
	*ret = value;
	return 0;
}

static const char *command_name(uint32_t slot)
{
	return command_names[slot];
}

static int find_name(const char *(*name_of)(uint32_t number), uint32_t count, const char *word, size_t len)
{
	for (uint32_t i = 0; i < count; i++) {
		const char *name = name_of(i);

		if (name && strlen(name) == len && !memcmp(name, word, len))
			return (int) i;
	}
	return -1;
}

/* --- one line --- */

struct line {
	const char *file;
	unsigned int number;
	char *words[WORDS_MAX + 1];
	unsigned int count, at;
	struct vferry_error *err;
};


static bool take_word(struct line *l, const char *word)
{
	if (l->at >= l->count || strcmp(l->words[l->at], word))
		return false;
	l->at++;
	return true;
}

static int complain(const struct line *l, const char *what)
{
	const char *word = l->at < l->count ? l->words[l->at] : NULL;

	if (!word && l->at && l->at <= l->count)
		return vferry_error_set(l->err, -EINVAL, "script-bad", l->file,
					"%s:%u: %s expected at the end of the line", l->file,
					l->number, what);
	return vferry_error_set(l->err, -EINVAL, "script-bad", l->file, "%s:%u: %s expected, not '%s'",
				l->file, l->number, what, word ? word : "");
}

static int take_value(struct line *l, int (*parse)(const char *, uint64_t *), const char *what,
		      uint64_t *ret)
{
	if (l->at >= l->count || parse(l->words[l->at], ret))
		return complain(l, what);
	l->at++;
	return 0;
}

static int time_of(const char *word, uint64_t *ret)
{
	uint64_t value;
	int code = number_with_unit(word, time_units, VF_ARRAY_COUNT(time_units), &value);

	if (code)
		return code;
	if (value > VF_SCRIPT_DELAY_MAX_NS)
		return -ERANGE;
	*ret = value;
	return 0;
}

static void take_errno(struct line *l, int *code)
{
	for (size_t i = 0; i < VF_ARRAY_COUNT(errnos); i++) {
		if (!take_word(l, errnos[i].name))
			continue;
		*code = -errnos[i].code;
		return;
	}
}

static int take_actions(struct line *l, struct vf_script_rule *r)
{
	struct vf_script_action *a = &r->action;
	unsigned int start = l->at;
	int ret;

	r->times = UINT64_MAX;
	if (take_word(l, "delay")) {
		ret = take_value(l, time_of, "a time of at most an hour, like 50ms,", &a->delay_ns);
		if (ret)
			return ret;
	}
	if (take_word(l, "notice")) {
		bool error = take_word(l, "error");

		if (!error && !take_word(l, "request"))
			return complain(l, "error or request");
		a->notice = error ? VF_SCRIPT_ERROR : VF_SCRIPT_REQUEST;
	}
	if (take_word(l, "fail")) {
		a->what = VF_SCRIPT_FAIL;
		a->code = -EIO;
		take_errno(l, &a->code);
		if (r->event != VF_SCRIPT_MESSAGE && take_word(l, "error-state"))
			a->error_state = true;
	} else if (take_word(l, "hang")) {
		a->what = VF_SCRIPT_HANG;
	} else if (take_word(l, "disconnect")) {
		a->what = VF_SCRIPT_DISCONNECT;
	} else if (take_word(l, "exit")) {
		a->what = VF_SCRIPT_EXIT;
	}
	if (l->at == start)
		return complain(l, "an action (delay, notice, fail, hang, disconnect, exit)");
	if (!r->number && take_word(l, "times"))
		return take_value(l, count_of, "a count", &r->times);
	return 0;
}

/* FROM->TO, in one word. */
static int take_arc(struct line *l, struct vf_script_rule *r)
{
	const char *word = l->at < l->count ? l->words[l->at] : "";
	const char *arrow = strstr(word, "->");
	int from, to;

	if (!arrow)
		return complain(l, "FROM->TO, message, data-read or data-write");
	from = find_name(vf_vfio_state_name, VF_VFIO_STATE__COUNT, word, (size_t) (arrow - word));
	to = find_name(vf_vfio_state_name, VF_VFIO_STATE__COUNT, arrow + 2, strlen(arrow + 2));
	if (arrow == word + 1 && *word == '*')
		from = VF_SCRIPT_ANY_STATE;
	if (!strcmp(arrow + 2, "*"))
		to = VF_SCRIPT_ANY_STATE;
	if (from < 0 || to < 0)
		return complain(l, "an arc between two states, like RESUMING->STOP,");
	l->at++;
	r->event = VF_SCRIPT_ARC;
	r->from = (uint32_t) from;
	r->to = (uint32_t) to;
	return 0;
}

static int take_message(struct line *l, struct vf_script_rule *r)
{
	const char *word = l->at < l->count ? l->words[l->at] : "";
	int slot = find_name(command_name, VF_SCRIPT_COMMANDS, word, strlen(word));

	if (slot < 0)
		return complain(l, "a message's name, like REGION_READ,");
	l->at++;
	r->event = VF_SCRIPT_MESSAGE;
	r->slot = (uint32_t) slot;
	if (l->at < l->count && !count_of(l->words[l->at], &r->number))
		l->at++;
	return 0;
}

static int take_rule(struct line *l, struct vf_script *s)
{
	struct vf_script_rule r = { 0 };
	int ret = 0;

	if (take_word(l, "message")) {
		ret = take_message(l, &r);
	} else if (take_word(l, "data-read") || take_word(l, "data-write")) {
		bool write = !strcmp(l->words[l->at - 1], "data-write");

		r.event = write ? VF_SCRIPT_DATA_WRITE : VF_SCRIPT_DATA_READ;
		if (take_word(l, "after"))
			ret = take_value(l, vf_script_size, "a size", &r.after);
	} else {
		ret = take_arc(l, &r);
	}
	if (!ret)
		ret = take_actions(l, &r);
	if (ret)
		return ret;
	if (s->rule_count == VF_SCRIPT_RULES_MAX)
		return vferry_error_set(l->err, -E2BIG, "script-bad", l->file,
					"%s:%u: more than %u rules", l->file, l->number,
					VF_SCRIPT_RULES_MAX);
	s->rules[s->rule_count++] = r;
	return 0;
}

static int take_statement(struct line *l, struct vf_script *s)
{
	int ret;

	if (take_word(l, "on")) {
		ret = take_rule(l, s);
	} else if (take_word(l, "truncate")) {
		if (!take_word(l, "data") || !take_word(l, "at"))
			return complain(l, "data at SIZE");
		ret = take_value(l, vf_script_size, "a size", &s->truncate_at);
	} else if (take_word(l, "reinit")) {
		if (!take_word(l, "at"))
			return complain(l, "at SIZE");
		ret = take_value(l, vf_script_size, "a size", &s->reinit_at);
	} else if (take_word(l, "limit")) {
		const char *which = l->at < l->count ? l->words[l->at] : "";
		uint64_t *rate = !strcmp(which, "data-read") ? &s->read_rate
				 : !strcmp(which, "data-write") ? &s->write_rate : NULL;

		if (!rate)
			return complain(l, "data-read or data-write");
		l->at++;
		ret = take_value(l, vf_script_rate, "a rate, like 100MiB/s,", rate);
		if (!ret && !*rate) {
			l->at--;
			return complain(l, "a rate above 0");
		}
	} else {
		return complain(l, "on, truncate, reinit or limit");
	}
	if (!ret && l->at < l->count)
		return complain(l, "the end of the line");
	return ret;
}

/* Cuts [text, text+len) into words, in @copy. */
static int split(struct line *l, char *copy, const char *text, size_t len)
{
	const char *comment = memchr(text, '#', len);
	char *save = NULL;

	if (comment)
		len = (size_t) (comment - text);
	if (len >= LINE_BYTES || memchr(text, '\0', len))
		return vferry_error_set(l->err, -EINVAL, "script-bad", l->file,
					"%s:%u: longer than %u characters, or not text", l->file,
					l->number, LINE_BYTES - 1);
	memcpy(copy, text, len);
	copy[len] = '\0';
	l->count = 0;
	l->at = 0;
	for (char *word = strtok_r(copy, " \t\r", &save); word; word = strtok_r(NULL, " \t\r", &save)) {
		if (l->count == WORDS_MAX)
			return vferry_error_set(l->err, -EINVAL, "script-bad", l->file,
						"%s:%u: more than %u words", l->file, l->number,
						WORDS_MAX);
		l->words[l->count++] = word;
	}
	return 0;
}

int vf_script_parse(struct vf_script *s, const char *text, size_t size, const char *name,
		    struct vferry_error *err)
{
	struct line l = { .file = name, .err = err };
	char copy[LINE_BYTES];
	int ret = 0;

	vf_script_init(s);
	if (size > VF_SCRIPT_BYTES_MAX)
		return vferry_error_set(err, -E2BIG, "script-bad", name, "%s: longer than %u bytes",
					name, VF_SCRIPT_BYTES_MAX);
	s->rules = calloc(VF_SCRIPT_RULES_MAX, sizeof(*s->rules));
	if (!s->rules)
		return vferry_error_set(err, -ENOMEM, "no-memory", name, "%s: out of memory", name);
	while (size && !ret) {
		const char *end = memchr(text, '\n', size);
		size_t len = end ? (size_t) (end - text) : size;

		l.number++;
		ret = split(&l, copy, text, len);
		if (!ret && l.count)
			ret = take_statement(&l, s);
		len += end != NULL;
		text += len;
		size -= len;
	}
	if (ret)
		vf_script_done(s);
	return ret;
}

int vf_script_load(struct vf_script *s, const char *path, struct vferry_error *err)
{
	size_t have = 0, limit = VF_SCRIPT_BYTES_MAX + 1;	/* one more shows that it is too long */
	int fd = open(path, O_RDONLY | O_CLOEXEC), ret = 0;
	char *text = malloc(limit);

	vf_script_init(s);
	if (fd < 0 || !text) {
		ret = fd < 0 ? -errno : -ENOMEM;
		(void) vferry_error_set(err, ret, "script-unreadable", path, "cannot open %s: %s", path,
					vferry_errno_name(ret));
		goto out;
	}
	while (have < limit) {
		ssize_t got = read(fd, text + have, limit - have);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			ret = vferry_error_set(err, -errno, "script-unreadable", path,
					       "cannot read %s: %s", path, vferry_errno_name(errno));
			goto out;
		}
		if (!got)
			break;
		have += (size_t) got;
	}
	ret = vf_script_parse(s, text, have, path, err);
out:
	free(text);
	vf_close(&fd);
	return ret;
}

/* --- events --- */

static struct vf_script_action fire(struct vf_script_rule *r)
{
	if (r->times != UINT64_MAX)
		r->times--;
	return r->action;
}

struct vf_script_action vf_script_on_arc(struct vf_script *s, enum vf_vfio_state from,
					 enum vf_vfio_state to)
{
	for (uint32_t i = 0; i < s->rule_count; i++) {
		struct vf_script_rule *r = &s->rules[i];

		if (r->event == VF_SCRIPT_ARC && r->times &&
		    (r->from == from || r->from == VF_SCRIPT_ANY_STATE) &&
		    (r->to == to || r->to == VF_SCRIPT_ANY_STATE))
			return fire(r);
	}
	return (struct vf_script_action) { 0 };
}

struct vf_script_action vf_script_on_message(struct vf_script *s, uint32_t command)
{
	uint32_t slot = slot_of(command);
	uint64_t number = ++s->seen[slot];

	if (!slot)
		return (struct vf_script_action) { 0 };
	for (uint32_t i = 0; i < s->rule_count; i++) {
		struct vf_script_rule *r = &s->rules[i];

		if (r->event == VF_SCRIPT_MESSAGE && r->times && r->slot == slot &&
		    (!r->number || r->number == number))
			return fire(r);
	}
	return (struct vf_script_action) { 0 };
}

struct vf_script_action vf_script_on_data(struct vf_script *s, bool write, uint64_t at, uint64_t len)
{
	enum vf_script_event event = write ? VF_SCRIPT_DATA_WRITE : VF_SCRIPT_DATA_READ;

	for (uint32_t i = 0; i < s->rule_count; i++) {
		struct vf_script_rule *r = &s->rules[i];

		if (r->event == event && r->times && at + len > r->after)
			return fire(r);
	}
	return (struct vf_script_action) { 0 };
}
