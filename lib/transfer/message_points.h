/* SPDX-License-Identifier: MIT */
/* message_points.h - which trace points a type of frame has. */
#ifndef VF_TRANSFER_MESSAGE_POINTS_H
#define VF_TRANSFER_MESSAGE_POINTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/trace.h"

/* VF_TRACE_NONE: a type that is not known here. */
enum vf_trace_point vf_message_point(uint16_t type, bool sent);

#endif
