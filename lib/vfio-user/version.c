/* SPDX-License-Identifier: MIT */
/*
 * version.c - the capabilities of VERSION: JSON behind two numbers. Part of protocol.h.
 *
 * The body is u16 major, u16 minor, and optionally JSON text that ends in a NUL:
 *
 *	{"capabilities": {"max_msg_fds": 8, "max_data_xfer_size": 1048576, "max_dma_maps": 65535,
 *	 "pgsizes": 4096, "twin_socket": {"supported": true, "fd_index": 0},
 *	 "vferry": {"version": 1, "p2p": true, "mig_data_size": true, "precopy_info": true,
 *	            "dma_log_ranges": true, "mig_buffer_bytes": 67108864}}}
 *
 * The text comes from a stranger: its length and nesting are bounded before it is parsed.
 */
#include "vfio-user/protocol.h"

#include <errno.h>
#include <json-c/json.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"

#define JSON_DEPTH 8

void vf_vfio_user_caps_default(struct vf_vfio_user_caps *caps)
{
	*caps = (struct vf_vfio_user_caps) {
		.max_msg_fds = 1,
		.max_data_xfer_bytes = VF_VFIO_USER_DEFAULT_XFER,
		.max_dma_maps = 65535,
		.pgsizes = 4096,
		.twin_fd_index = -1,
	};
}

static bool add(struct json_object *to, const char *key, struct json_object *value)
{
	if (value && !json_object_object_add(to, key, value))
		return true;
	json_object_put(value);
	return false;
}

static bool add_number(struct json_object *to, const char *key, uint64_t value)
{
	return add(to, key, json_object_new_int64((int64_t) vf_min_u64(value, INT64_MAX)));
}

static bool add_bool(struct json_object *to, const char *key, bool value)
{
	return add(to, key, json_object_new_boolean(value));
}

int vf_vfio_user_caps_format(const struct vf_vfio_user_caps *caps, char **ret_text)
{
	struct json_object *top = json_object_new_object();
	struct json_object *all = json_object_new_object();
	struct json_object *twin = caps->twin_socket ? json_object_new_object() : NULL;
	struct json_object *ours = caps->extensions ? json_object_new_object() : NULL;
	const char *text;
	char *copy;
	int ret = -ENOMEM;

	if (!top || !all || (caps->twin_socket && !twin) || (caps->extensions && !ours))
		goto out;
	if (!add_number(all, "max_msg_fds", caps->max_msg_fds) ||
	    !add_number(all, "max_data_xfer_size", caps->max_data_xfer_bytes) ||
	    !add_number(all, "max_dma_maps", caps->max_dma_maps) ||
	    !add_number(all, "pgsizes", caps->pgsizes))
		goto out;
	if (twin) {
		if (!add_bool(twin, "supported", true) ||
		    (caps->twin_fd_index >= 0 &&
		     !add_number(twin, "fd_index", (uint64_t) caps->twin_fd_index)) ||
		    !add(all, "twin_socket", json_object_get(twin)))
			goto out;
	}
	if (ours) {
		if (!add_number(ours, "version", VF_VFIO_USER_EXTENSION) ||
		    !add_bool(ours, "p2p", caps->p2p) ||
		    !add_bool(ours, "mig_data_size", caps->data_size) ||
		    !add_bool(ours, "precopy_info", caps->precopy_info) ||
		    !add_bool(ours, "dma_log_ranges", caps->dma_log_ranges) ||
		    !add_number(ours, "mig_buffer_bytes", caps->mig_buffer_bytes) ||
		    !add(all, "vferry", json_object_get(ours)))
			goto out;
	}
	if (!add(top, "capabilities", json_object_get(all)))
		goto out;
	text = json_object_to_json_string_ext(top, JSON_C_TO_STRING_PLAIN);
	copy = text ? strdup(text) : NULL;
	if (!copy)
		goto out;
	*ret_text = copy;
	ret = 0;
out:
	json_object_put(ours);
	json_object_put(twin);
	json_object_put(all);
	json_object_put(top);
	return ret;
}

/* A missing key leaves *value as it is; false = there, but no number from 0 to INT64_MAX. */
static bool read_number(struct json_object *from, const char *key, uint64_t *value)
{
	struct json_object *member;
	int64_t number;

	if (!json_object_object_get_ex(from, key, &member))
		return true;
	if (!json_object_is_type(member, json_type_int))
		return false;
	number = json_object_get_int64(member);
	if (number < 0)
		return false;
	*value = (uint64_t) number;
	return true;
}

static bool read_bool(struct json_object *from, const char *key, bool *value)
{
	struct json_object *member;

	if (!json_object_object_get_ex(from, key, &member))
		return true;
	if (!json_object_is_type(member, json_type_boolean))
		return false;
	*value = json_object_get_boolean(member);
	return true;
}

/* False = there, but no object. */
static bool find_object(struct json_object *from, const char *key, struct json_object **ret_object)
{
	struct json_object *member;

	*ret_object = NULL;
	if (!json_object_object_get_ex(from, key, &member))
		return true;
	if (!json_object_is_type(member, json_type_object))
		return false;
	*ret_object = member;
	return true;
}

static bool read_extension(struct json_object *ours, struct vf_vfio_user_caps *caps)
{
	uint64_t version = 0;

	if (!read_number(ours, "version", &version))
		return false;
	/* Another version is another language: as if it had not been offered. */
	if (version != VF_VFIO_USER_EXTENSION)
		return true;
	caps->extensions = true;
	return read_bool(ours, "p2p", &caps->p2p) &&
	       read_bool(ours, "mig_data_size", &caps->data_size) &&
	       read_bool(ours, "precopy_info", &caps->precopy_info) &&
	       read_bool(ours, "dma_log_ranges", &caps->dma_log_ranges) &&
	       read_number(ours, "mig_buffer_bytes", &caps->mig_buffer_bytes);
}

static bool read_caps(struct json_object *all, struct vf_vfio_user_caps *caps)
{
	uint64_t fds = caps->max_msg_fds, index = UINT64_MAX;
	struct json_object *twin, *ours;

	if (!read_number(all, "max_msg_fds", &fds) ||
	    !read_number(all, "max_data_xfer_size", &caps->max_data_xfer_bytes) ||
	    !read_number(all, "max_dma_maps", &caps->max_dma_maps) ||
	    !read_number(all, "pgsizes", &caps->pgsizes) ||
	    !find_object(all, "twin_socket", &twin) || !find_object(all, "vferry", &ours))
		return false;
	if (twin && (!read_bool(twin, "supported", &caps->twin_socket) ||
		     !read_number(twin, "fd_index", &index)))
		return false;
	if (index < VF_VFIO_USER_MAX_FDS)
		caps->twin_fd_index = (int) index;
	if (ours && !read_extension(ours, caps))
		return false;
	caps->max_msg_fds = (uint32_t) vf_min_u64(fds, VF_VFIO_USER_MAX_FDS);
	return caps->max_data_xfer_bytes >= VF_VFIO_USER_MIN_XFER;
}

static int parse_text(const char *text, size_t len, struct vf_vfio_user_caps *caps)
{
	struct json_tokener *tokener;
	struct json_object *top = NULL, *all;
	size_t end;
	int ret = -EINVAL;

	if (len > VF_VFIO_USER_JSON_MAX)
		return -EINVAL;
	tokener = json_tokener_new_ex(JSON_DEPTH);
	if (!tokener)
		return -ENOMEM;
	top = json_tokener_parse_ex(tokener, text, (int) len);
	if (!top || !json_object_is_type(top, json_type_object) ||
	    !find_object(top, "capabilities", &all))
		goto out;
	end = json_tokener_get_parse_end(tokener);
	/* The parser may have eaten the NUL, too. */
	if (end < len && text[end + strspn(text + end, " \t\r\n")])
		goto out;	/* something behind the object */
	if (all && !read_caps(all, caps))
		goto out;
	ret = 0;
out:
	json_object_put(top);
	json_tokener_free(tokener);
	return ret;
}

int vf_vfio_user_get_version(const uint8_t *body, size_t len, uint16_t *ret_major,
			     uint16_t *ret_minor, struct vf_vfio_user_caps *ret_caps)
{
	const char *text = (const char *) body + VF_VFIO_USER_VERSION_BYTES;
	struct vf_vfio_user_caps caps;
	size_t text_len;
	int ret;

	if (len < VF_VFIO_USER_VERSION_BYTES)
		return -EINVAL;
	vf_vfio_user_caps_default(&caps);
	if (len > VF_VFIO_USER_VERSION_BYTES) {
		text_len = strnlen(text, len - VF_VFIO_USER_VERSION_BYTES);
		if (text_len == len - VF_VFIO_USER_VERSION_BYTES)
			return -EINVAL;		/* no NUL */
		/* A lone NUL says nothing, as no text does. The NUL tells the parser of the end. */
		ret = text_len ? parse_text(text, text_len + 1, &caps) : 0;
		if (ret)
			return ret;
	}
	*ret_major = vf_get_u16(body);
	*ret_minor = vf_get_u16(body + 2);
	*ret_caps = caps;
	return 0;
}

void vf_vfio_user_caps_meet(const struct vf_vfio_user_caps *a, const struct vf_vfio_user_caps *b,
			    struct vf_vfio_user_caps *ret_caps)
{
	bool both = a->extensions && b->extensions;

	*ret_caps = (struct vf_vfio_user_caps) {
		.max_msg_fds = a->max_msg_fds < b->max_msg_fds ? a->max_msg_fds : b->max_msg_fds,
		.max_data_xfer_bytes = vf_min_u64(a->max_data_xfer_bytes, b->max_data_xfer_bytes),
		.max_dma_maps = vf_min_u64(a->max_dma_maps, b->max_dma_maps),
		.pgsizes = a->pgsizes & b->pgsizes,
		.twin_socket = a->twin_socket && b->twin_socket,
		.twin_fd_index = b->twin_fd_index,
		.extensions = both,
		.p2p = both && a->p2p && b->p2p,
		.data_size = both && a->data_size && b->data_size,
		.precopy_info = both && a->precopy_info && b->precopy_info,
		.dma_log_ranges = both && a->dma_log_ranges && b->dma_log_ranges,
		.mig_buffer_bytes = both ? vf_min_u64(a->mig_buffer_bytes, b->mig_buffer_bytes) : 0,
	};
}
