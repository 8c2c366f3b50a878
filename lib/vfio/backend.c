/* SPDX-License-Identifier: MIT */
/* backend.c - which backend a device's URI stands for. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "vfio/backend.h"

static const struct {
	const char *prefix;
	int (*open)(const char *rest, const struct vf_backend_options *options,
		    struct vf_backend **ret_backend, struct vferry_error *err);
} backends[] = {
	{ "vfio-user:", vf_backend_open_vfio_user },
	{ "vfio:", vf_backend_open_kernel },
};

int vf_backend_open(const char *uri, const struct vf_backend_options *options,
		    struct vf_backend **ret_backend, struct vferry_error *err)
{
	for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++) {
		size_t length = strlen(backends[i].prefix);

		if (strncmp(uri, backends[i].prefix, length) == 0 && uri[length])
			return backends[i].open(uri + length, options, ret_backend, err);
	}
	return vferry_error_set(err, -EINVAL, "device-uri", uri,
				"not a device: expected vfio-user:PATH, vfio:BDF or "
				"vfio:/dev/vfio/devices/vfioN");
}

void vf_backend_region_done(struct vf_backend_region *region)
{
	vf_close(&region->fd);
	free(region->areas);
	region->areas = NULL;
	region->area_count = 0;
}
