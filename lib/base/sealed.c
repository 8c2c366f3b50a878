/* SPDX-License-Identifier: MIT */
/* sealed.c - see sealed.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/sealed.h"

int vf_sealed_map(const char *name, uint64_t bytes, int *ret_fd, void **ret_map)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING), ret;
	void *map = MAP_FAILED;

	if (fd >= 0 && !ftruncate(fd, (off_t) bytes) &&
	    !fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (map == MAP_FAILED) {
		ret = -errno;
		vf_close(&fd);
		return ret;
	}
	*ret_fd = fd;
	*ret_map = map;
	return 0;
}
