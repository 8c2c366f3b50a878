/* SPDX-License-Identifier: MIT */
/* replay_server.c - see replay_server.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "replay_config.h"
#include "replay_server.h"
#include "replay_state.h"
#include "serving.h"
#include "vfio-user/server.h"

struct replay_server {
	struct replay_server_options options;
	struct capture capture;
	struct replay_config config;
	struct replay_memory memory;
	struct replay_state state;
	struct replay_save save;
	struct replay_load load;
	struct vf_vfio_user_server_ops ops;	/* without those the captured device lacked */
	struct vf_vfio_user_server *wire;
	bool has_memory;
	bool was_connected, gone;
};

static void note(struct replay_server *s, const char *text)
{
	if (s->options.note)
		s->options.note(s->options.user, text);
}

/* --- regions, reset --- */

static int on_region_read(void *user, uint32_t region, uint64_t offset, void *to, uint32_t len)
{
	struct replay_server *s = user;

	if (region == VF_VFIO_PCI_CONFIG_REGION)
		replay_config_read(&s->config, (uint32_t) offset, to, len);
	else
		memcpy(to, s->memory.regions[region].map + offset, len);
	return 0;
}

static void reset(struct replay_server *s)
{
	replay_save_end(&s->save);
	s->load.active = false;
	replay_config_reset(&s->config);
	replay_memory_reset(&s->memory);
}

static int on_region_write(void *user, uint32_t region, uint64_t offset, const void *from,
			   uint32_t len)
{
	struct replay_server *s = user;

	if (region != VF_VFIO_PCI_CONFIG_REGION) {
		memcpy(s->memory.regions[region].map + offset, from, len);
	} else if (replay_config_write(&s->config, (uint32_t) offset, from, len)) {
		reset(s);
		vf_vfio_user_server_was_reset(s->wire);
	}
	return 0;
}

static int on_reset(void *user, enum vf_vfio_user_reset why)
{
	(void) why;
	reset(user);
	return 0;
}

static void on_connected(void *user)
{
	struct replay_server *s = user;

	s->was_connected = true;
}

static void on_disconnected(void *user)
{
	struct replay_server *s = user;

	s->gone = true;
}

/* --- migration --- */

static int finish_load(struct replay_server *s)
{
	int ret = replay_load_finish(&s->load);

	if (ret)
		note(s, s->load.error.message);
	return ret;
}

static int on_arc(void *user, enum vf_vfio_state from, enum vf_vfio_state to)
{
	const bool was_precopy = vf_vfio_state_is_precopy(from);
	const bool is_precopy = vf_vfio_state_is_precopy(to);
	struct replay_server *s = user;

	if (is_precopy && !was_precopy)
		replay_save_start(&s->save, &s->state);
	if (to == VF_VFIO_STATE_STOP_COPY) {
		if (!was_precopy)
			replay_save_start(&s->save, &s->state);
		replay_save_stop(&s->save);
	}
	if ((was_precopy && !is_precopy && to != VF_VFIO_STATE_STOP_COPY) ||
	    from == VF_VFIO_STATE_STOP_COPY)
		replay_save_end(&s->save);
	if (to == VF_VFIO_STATE_RESUMING)
		replay_load_start(&s->load, &s->state);
	return from == VF_VFIO_STATE_RESUMING ? finish_load(s) : 0;
}

static ssize_t on_data_read(void *user, void *to, size_t len)
{
	struct replay_server *s = user;

	return replay_save_read(&s->save, to, len);
}

static int on_data_write(void *user, const void *from, size_t len)
{
	struct replay_server *s = user;
	bool failed = s->load.failed;
	int ret = replay_load_write(&s->load, from, len);

	if (ret && !failed)
		note(s, s->load.error.message);
	return ret;
}

static int on_data_size(void *user, uint64_t *ret_bytes)
{
	struct replay_server *s = user;

	/* The captured word, though ours may take more. */
	if (!s->save.active && !replay_memory_pages(&s->memory))
		*ret_bytes = s->capture.data_size;
	else
		*ret_bytes = replay_save_left(&s->save, &s->state);
	return 0;
}

static int on_precopy_info(void *user, struct vf_vfio_precopy_info *ret_info)
{
	struct replay_server *s = user;

	ret_info->initial_bytes = replay_save_initial(&s->save);
	ret_info->dirty_bytes = 0;
	return 0;
}

/* --- life --- */

static const struct vf_vfio_user_server_ops server_ops = {
	.size = sizeof(server_ops),
	.region_read = on_region_read,
	.region_write = on_region_write,
	.reset = on_reset,
	.connected = on_connected,
	.disconnected = on_disconnected,
	.arc = on_arc,
	.data_read = on_data_read,
	.data_write = on_data_write,
	.data_size = on_data_size,
	.precopy_info = on_precopy_info,
};

static int describe(struct replay_server *s, struct vferry_error *err)
{
	const struct capture *c = &s->capture;
	int ret = 0;

	for (uint32_t i = 0; i < VF_VFIO_PCI_REGIONS && !ret; i++) {
		const struct capture_region *r = &c->regions[i];
		struct vf_vfio_user_region_desc desc = {
			.size = r->size,
			.flags = r->flags,
			.fd = r->area_count ? s->memory.regions[i].fd : -1,
			.areas = r->areas,
			.area_count = r->area_count,
		};

		ret = vf_vfio_user_server_set_region(s->wire, i, &desc, err);
	}
	for (uint32_t i = 0; i < VF_VFIO_PCI_IRQS && !ret; i++)
		ret = vf_vfio_user_server_set_irq(s->wire, i, c->irqs[i].count, c->irqs[i].flags, err);
	return ret;
}

static int make_wire(struct replay_server *s, struct vferry_error *err)
{
	struct vf_vfio_user_server_options o = {
		.size = sizeof(o),
		.ops = &s->ops,
		.user = s,
		.migration_flags = s->capture.migration_flags,
		.device_flags = s->capture.device_flags,
		.no_extensions = !s->capture.extensions,
		.no_dma_log = !s->capture.dma_log,
		.trust = s->options.trust,
	};
	int ret;

	s->ops = server_ops;
	if (!s->capture.has_data_size)
		s->ops.data_size = NULL;
	if (!s->capture.precopy_info)
		s->ops.precopy_info = NULL;
	ret = vf_vfio_user_server_new(&o, &s->wire, err);
	return ret ? ret : describe(s, err);
}

int replay_server_new(const struct capture *capture, const struct replay_server_options *options,
		      struct replay_server **ret_server, struct vferry_error *err)
{
	struct replay_server *s = calloc(1, sizeof(*s));
	int ret;

	if (!s)
		return vferry_error_set(err, -ENOMEM, "no-memory", "replay", "out of memory");
	s->options = *options;
	s->capture = *capture;
	replay_config_init(&s->config, &s->capture);
	ret = replay_memory_init(&s->memory, &s->capture, err);
	s->has_memory = !ret;
	replay_state_init(&s->state, &s->capture, s->capture.has_data_size ? s->capture.data_size :
			  options->state_bytes, &s->memory);
	if (!ret)
		ret = make_wire(s, err);
	if (ret) {
		replay_server_free(s);
		return ret;
	}
	*ret_server = s;
	return 0;
}

void replay_server_free(struct replay_server *s)
{
	if (!s)
		return;
	vf_vfio_user_server_free(s->wire);
	if (s->has_memory)
		replay_memory_done(&s->memory);
	free(s);
}

int replay_server_listen(struct replay_server *s, const char *path, struct vferry_error *err)
{
	return vf_vfio_user_server_listen(s->wire, path, err);
}

int replay_server_attach(struct replay_server *s, int take_fd, struct vferry_error *err)
{
	return vf_vfio_user_server_attach(s->wire, take_fd, err);
}

int replay_server_run(struct replay_server *s, int stop_fd, bool once, struct vferry_error *err)
{
	const struct serving serving = {
		.name = "replay", .wire = s->wire, .note = s->options.note, .user = s->options.user,
	};
	int ret;

	do
		ret = serving_next(&serving, stop_fd, NULL, err);
	while (ret > 0 && !(once && s->was_connected && s->gone));
	return ret < 0 ? ret : 0;
}
