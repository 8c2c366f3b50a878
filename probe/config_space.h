/* SPDX-License-Identifier: MIT */
/* config_space.h - what probe wants from a function's config space, whoever read it. */
#ifndef PROBE_CONFIG_SPACE_H
#define PROBE_CONFIG_SPACE_H

#include "probe.h"

#define PROBE_CONFIG_BYTES 256u		/* the part of it where the ordinary capabilities are */

/*
 * Identity and MSI-X vectors, of @size bytes; without privilege a kernel shows 64 of them, and then the
 * vectors are not known.
 */
void probe_take_config(struct probe_facts *facts, const uint8_t *bytes, size_t size);

#endif
