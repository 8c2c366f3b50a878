/* SPDX-License-Identifier: MIT */
/* cursor.h - what is inside the public cursors: the library hands its own out without a copy. */
#ifndef VF_WIRE_CURSOR_H
#define VF_WIRE_CURSOR_H

#include <vferry/stream.h>

#include "base/bytes.h"

struct vferry_writer {
	struct vf_writer w;
};

struct vferry_reader {
	struct vf_reader r;
};

#endif
