/* SPDX-License-Identifier: MIT */
/*
 * config.c - config space as text, and its capabilities.
 *
 * The text is that of `lspci -xxxx`: a line of slot and class, then lines of an offset and 16 bytes.
 * Nothing is believed of what the bytes are: chains are followed as far as they make sense.
 */
#include <errno.h>
#include <linux/pci_regs.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "internal.h"

#define LINE_BYTES 16u

/* --- text --- */

void capture_print(struct vf_writer *to, const char *format, ...)
{
	char text[160];
	va_list args;

	va_start(args, format);
	(void) vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	vf_write_bytes(to, text, strlen(text));
}

void capture_write_config(const struct capture *c, struct vf_writer *to)
{
	uint8_t head[64] = { 0 };
	uint32_t bytes = capture_config_bytes(c);

	memcpy(head, c->config, vf_min_u64(bytes, sizeof(head)));
	capture_print(to, "00:00.0 %04x: %04x:%04x (rev %02x)\n",
		      vf_get_u16(head + PCI_CLASS_DEVICE), vf_get_u16(head + PCI_VENDOR_ID),
		      vf_get_u16(head + PCI_DEVICE_ID), head[PCI_REVISION_ID]);
	for (uint32_t i = 0; i < bytes; i++) {
		if (i % LINE_BYTES == 0)
			capture_print(to, "%02x:", i);
		capture_print(to, " %02x", c->config[i]);
		if (i % LINE_BYTES == LINE_BYTES - 1 || i == bytes - 1)
			capture_print(to, "\n");
	}
}

/* Bytes in hexadecimal from @at to the end of the line. Return: where that is. */
static const char *parse_line(const char *at, const char *end, struct capture *c, uint32_t *bytes)
{
	while (at < end && *at != '\n') {
		unsigned int value;
		char word[3] = { 0 };

		if (end - at < 3 || *at != ' ' || *bytes == CAPTURE_CONFIG_MAX)
			return at;
		memcpy(word, at + 1, 2);
		if (sscanf(word, "%2x", &value) != 1)
			return at;
		c->config[(*bytes)++] = (uint8_t) value;
		at += 3;
	}
	return at;
}

/* Line and column of the first difference. */
static void find_difference(const char *a, size_t a_bytes, const struct vf_writer *b, uint32_t *line,
			    uint32_t *column)
{
	*line = *column = 1;
	for (size_t i = 0; i < a_bytes && i < b->size && (uint8_t) a[i] == b->data[i]; i++) {
		*column = a[i] == '\n' ? 1 : *column + 1;
		*line += a[i] == '\n';
	}
}

int capture_parse_config(const char *text, size_t size, struct capture *c, struct vferry_error *err)
{
	const char *at = text, *end = text + size;
	struct vf_writer again;
	uint32_t bytes = 0, line, column;
	int ret = 0;

	if (size > CAPTURE_CONFIG_FILE_MAX)
		return vferry_error_set(err, -EINVAL, "capture-bad", "config",
					"config is longer than config space can be");
	while (at < end) {
		const char *next = memchr(at, '\n', (size_t) (end - at));
		const char *colon = memchr(at, ':', (size_t) (end - at));

		if (at != text && colon && (!next || colon < next))
			(void) parse_line(colon + 1, end, c, &bytes);
		at = next ? next + 1 : end;
	}
	if (bytes != capture_config_bytes(c))
		return vferry_error_set(err, -EINVAL, "capture-bad", "config",
					"config has %u bytes that can be read, and device.json says "
					"that there are %u", bytes, capture_config_bytes(c));
	vf_writer_init(&again, CAPTURE_CONFIG_FILE_MAX);
	capture_write_config(c, &again);
	if (again.bad)
		ret = vferry_error_set(err, -ENOMEM, "no-memory", "config", "no memory");
	else if (again.size != size || memcmp(again.data, text, size)) {
		find_difference(text, size, &again, &line, &column);
		ret = vferry_error_set(err, -EINVAL, "capture-bad", "config",
				       "config, line %u, column %u: not as lspci -xxxx prints it, "
				       "in lower case and without comments", line, column);
	}
	vf_writer_done(&again);
	return ret;
}

/* --- capabilities --- */

static bool is_new(const struct capture_cap *caps, uint32_t count, uint32_t offset)
{
	for (uint32_t i = 0; i < count; i++)
		if (caps[i].offset == offset)
			return false;
	return true;
}

static uint32_t plain_caps(const struct capture *c, struct capture_cap *caps)
{
	uint32_t bytes = (uint32_t) vf_min_u64(capture_config_bytes(c), PCI_CFG_SPACE_SIZE);
	uint32_t count = 0, at;

	if (bytes <= PCI_CAPABILITY_LIST || !(c->config[PCI_STATUS] & PCI_STATUS_CAP_LIST))
		return 0;
	at = c->config[PCI_CAPABILITY_LIST] & ~3u;
	while (at >= PCI_STD_HEADER_SIZEOF && vf_range_in(at, PCI_CAP_SIZEOF, bytes) &&
	       is_new(caps, count, at)) {
		caps[count++] = (struct capture_cap) { .offset = (uint16_t) at, .id = c->config[at] };
		at = c->config[at + PCI_CAP_LIST_NEXT] & ~3u;
	}
	return count;
}

uint32_t capture_caps(const struct capture *c, struct capture_cap ret_caps[CAPTURE_CAPS_MAX])
{
	uint32_t count = plain_caps(c, ret_caps), at = PCI_CFG_SPACE_SIZE;

	while (count < CAPTURE_CAPS_MAX && at >= PCI_CFG_SPACE_SIZE &&
	       vf_range_in(at, 4, capture_config_bytes(c)) && is_new(ret_caps, count, at)) {
		uint32_t head = vf_get_u32(c->config + at);

		if (!head || head == UINT32_MAX)
			break;		/* none, or no such space */
		ret_caps[count++] = (struct capture_cap) {
			.offset = (uint16_t) at, .id = PCI_EXT_CAP_ID(head),
			.version = PCI_EXT_CAP_VER(head), .extended = true,
		};
		at = PCI_EXT_CAP_NEXT(head);
	}
	return count;
}

uint32_t capture_find_cap(const struct capture *c, uint16_t id, uint32_t bytes)
{
	struct capture_cap caps[CAPTURE_CAPS_MAX];
	uint32_t count = capture_caps(c, caps);

	for (uint32_t i = 0; i < count; i++)
		if (!caps[i].extended && caps[i].id == id)
			return vf_range_in(caps[i].offset, bytes, PCI_CFG_SPACE_SIZE) &&
			       vf_range_in(caps[i].offset, bytes, capture_config_bytes(c)) ?
			       caps[i].offset : 0;
	return 0;
}
