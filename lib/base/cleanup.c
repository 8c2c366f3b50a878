/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include "base/cleanup.h"

void vf_close(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		(void) close(*fd);
	*fd = -1;
	errno = saved;
}
