/* SPDX-License-Identifier: MIT */
/* trust.c - see vferry/trust.h. */
#define _GNU_SOURCE
#include <vferry/trust.h>

#include <errno.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

static bool is_trusted(const struct vferry_trust *trust, uid_t uid)
{
	if (uid == geteuid() || uid == 0)
		return true;
	for (uint32_t i = 0; trust && i < trust->count && i < VFERRY_TRUST_MAX; i++)
		if (trust->uids[i] == uid)
			return true;
	return false;
}

int vferry_trust_check(const struct vferry_trust *trust, int fd, struct vferry_error *err)
{
	struct ucred peer;
	socklen_t length = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length))
		return vferry_error_set(err, -errno, "peer-unknown", NULL,
					"the kernel does not say who the peer is: %s",
					vferry_errno_name(errno));
	if (is_trusted(trust, peer.uid))
		return 0;
	return vferry_error_set(err, -EACCES, "peer-not-trusted", NULL,
				"the process at the other end (%d) runs as user %u; only user %u, root, and "
				"whom --allow-uid names may be there", (int) peer.pid,
				(unsigned) peer.uid, (unsigned) geteuid());
}

unsigned vferry_trust_mode(const struct vferry_trust *trust)
{
	return trust && trust->count ? 0666 : 0600;
}
