/* SPDX-License-Identifier: GPL-2.0-only */
/* stdint.h - what uapi/accel.h needs of it, in a kernel. */
#include <linux/types.h>
