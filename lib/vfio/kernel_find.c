/* SPDX-License-Identifier: MIT */
/*
 * kernel_find.c - see kernel_find.h.
 *
 * How a better driver is found: a VFIO driver for certain devices has aliases like
 * "vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i*", which is the device's own alias with another prefix
 * and stars. Of those that match, the one with the fewest stars knows the device best.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "vfio/kernel_find.h"

#define DEVICES "/dev/vfio/devices/"
#define ALIASES_MOST (16 * VF_MIB)	/* of modules.alias that is read; a distribution's has 2 */

/* ---- words ---- */

/* "ssss:bb:dd.f", or "bb:dd.f" in segment 0. */
static bool parse_pci(const char *text, char *to, size_t size)
{
	unsigned segment, bus, slot, function;
	int end = 0;

	if (sscanf(text, "%4x:%2x:%2x.%1x%n", &segment, &bus, &slot, &function, &end) != 4) {
		segment = 0;
		if (sscanf(text, "%2x:%2x.%1x%n", &bus, &slot, &function, &end) != 3)
			return false;
	}
	if (text[end])
		return false;
	if (slot > 31 || function > 7)
		return false;
	(void) snprintf(to, size, "%04x:%02x:%02x.%x", segment, bus, slot, function);
	return true;
}

static bool is_uuid(const char *text)
{
	static const char shape[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

	for (size_t i = 0; i < sizeof(shape); i++)
		if (shape[i] == 'x' ? !isxdigit((unsigned char) text[i]) : text[i] != shape[i])
			return false;
	return true;
}

static bool parse_number(const char *text, int *ret)
{
	char *end;
	long value;

	if (!isdigit((unsigned char) *text))
		return false;
	errno = 0;
	value = strtol(text, &end, 10);
	if (errno || *end || value > INT_MAX)
		return false;
	*ret = (int) value;
	return true;
}

/* "vfioN", and nothing that leads out of the folder. */
static bool is_cdev_name(const char *name)
{
	int n;

	return strncmp(name, "vfio", 4) == 0 && parse_number(name + 4, &n);
}

static bool put(char *to, size_t size, const char *a, const char *b)
{
	int n = snprintf(to, size, "%s%s", a, b);

	return n >= 0 && (size_t) n < size;
}

/* ---- what sysfs says ---- */

/* The last part of where a link in the device's folder leads. */
static bool read_link(const struct vf_kernel *k, const char *folder, const char *link, char *to,
		      size_t size)
{
	char path[PATH_MAX], target[PATH_MAX];
	const char *slash;

	if (!put(path, sizeof(path), folder, link) ||
	    k->calls->readlink(k->user, path, target, sizeof(target)) < 0)
		return false;
	slash = strrchr(target, '/');
	return put(to, size, slash ? slash + 1 : target, "");
}

static int take_cdev(void *arg, const char *name)
{
	struct vf_kernel_target *t = arg;

	if (!is_cdev_name(name) || !put(t->cdev, sizeof(t->cdev), DEVICES, name))
		return 0;
	return 1;
}

static bool exists(const struct vf_kernel *k, const char *folder)
{
	char target[PATH_MAX];

	/* A folder that is no link is one that exists. */
	return k->calls->readlink(k->user, folder, target, sizeof(target)) != -ENOENT;
}

static int look(const struct vf_kernel *k, struct vf_kernel_target *t, struct vferry_error *err)
{
	char text[32], path[PATH_MAX];

	if (!exists(k, t->folder))
		return vferry_error_set(err, -ENODEV, "device-missing", t->name,
					"there is no device %s on this host (%s)", t->name, t->folder);
	if (read_link(k, t->folder, "/iommu_group", text, sizeof(text)) &&
	    !parse_number(text, &t->group))
		t->group = -1;
	(void) read_link(k, t->folder, "/driver", t->driver, sizeof(t->driver));
	if (!t->cdev[0] && put(path, sizeof(path), t->folder, "/vfio-dev"))
		(void) k->calls->list(k->user, path, take_cdev, t);
	return 0;
}

static int find_cdev(const struct vf_kernel *k, const char *path, struct vf_kernel_target *t,
		     struct vferry_error *err)
{
	const char *name = path + strlen(DEVICES);

	if (!is_cdev_name(name) || !put(t->cdev, sizeof(t->cdev), path, ""))
		return vferry_error_set(err, -EINVAL, "device-uri", path,
					"not a VFIO character device: expected " DEVICES "vfioN");
	if (t->wanted == VF_KERNEL_GROUP)
		return vferry_error_set(err, -EINVAL, "device-uri", path,
					"a character device is not opened through its group");
	t->wanted = VF_KERNEL_CDEV;
	(void) put(t->name, sizeof(t->name), name, "");
	/* The device's own name says more, where sysfs can be read. */
	(void) snprintf(t->folder, sizeof(t->folder), "/sys/class/vfio-dev/%s/device", name);
	if (!exists(k, t->folder))
		return vferry_error_set(err, -ENODEV, "device-missing", name,
					"there is no VFIO character device %s on this host", path);
	(void) read_link(k, t->folder, "", t->name, sizeof(t->name));
	return look(k, t, err);
}

static int find_fd(const char *text, struct vf_kernel_target *t, struct vferry_error *err)
{
	if (!parse_number(text, &t->fd) || t->wanted == VF_KERNEL_GROUP)
		return vferry_error_set(err, -EINVAL, "device-uri", text,
					"vfio:fd=N is the number of an open VFIO character device");
	t->wanted = VF_KERNEL_CDEV;
	(void) put(t->name, sizeof(t->name), "fd=", text);
	return 0;
}

int vf_kernel_find(const struct vf_kernel *k, const char *text, struct vf_kernel_target *ret_target,
		   struct vferry_error *err)
{
	struct vf_kernel_target t = { .fd = -1, .group = -1 };
	bool known = true;
	int r;

	if (strncmp(text, "group:", 6) == 0)
		t.wanted = VF_KERNEL_GROUP;
	else if (strncmp(text, "cdev:", 5) == 0)
		t.wanted = VF_KERNEL_CDEV;
	if (t.wanted)
		text = strchr(text, ':') + 1;
	if (strncmp(text, "fd=", 3) == 0) {
		r = find_fd(text + 3, &t, err);
	} else if (strncmp(text, DEVICES, strlen(DEVICES)) == 0) {
		r = find_cdev(k, text, &t, err);
	} else {
		if (parse_pci(text, t.name, sizeof(t.name)))
			(void) put(t.folder, sizeof(t.folder), "/sys/bus/pci/devices/", t.name);
		else if (is_uuid(text) && put(t.name, sizeof(t.name), text, ""))
			(void) put(t.folder, sizeof(t.folder), "/sys/bus/mdev/devices/", t.name);
		else
			known = strncmp(text, "/sys/", 5) == 0 &&
				put(t.folder, sizeof(t.folder), text, "") &&
				put(t.name, sizeof(t.name), strrchr(text, '/') + 1, "") && t.name[0];
		r = known ? look(k, &t, err) :
		    vferry_error_set(err, -EINVAL, "device-uri", text,
				     "not a VFIO device: expected a PCI address, the UUID of a "
				     "mediated device, a folder in /sys, " DEVICES "vfioN or fd=N");
	}
	if (r == 0)
		*ret_target = t;
	return r;
}

/* ---- who is in the way ---- */

bool vf_kernel_driver_in_way(const char *driver)
{
	/* Bridges may keep theirs, and so may drivers that leave a device alone. */
	return driver[0] && !strstr(driver, "vfio") && strcmp(driver, "pcieport") != 0 &&
	       strcmp(driver, "pci-stub") != 0;
}

struct in_way {
	const struct vf_kernel *k;
	char *to;
	size_t size;
};

static int look_at_member(void *arg, const char *name)
{
	const struct in_way *w = arg;
	char folder[PATH_MAX], driver[32];

	if (!put(folder, sizeof(folder), "/sys/bus/pci/devices/", name) ||
	    !read_link(w->k, folder, "/driver", driver, sizeof(driver)) ||
	    !vf_kernel_driver_in_way(driver))
		return 0;
	(void) snprintf(w->to, w->size, "%s is bound to %s", name, driver);
	return 1;
}

void vf_kernel_find_in_way(const struct vf_kernel *k, int group, char *to, size_t size)
{
	struct in_way w = { .k = k, .to = to, .size = size };
	char folder[64];

	to[0] = '\0';
	(void) snprintf(folder, sizeof(folder), "/sys/kernel/iommu_groups/%d/devices", group);
	(void) k->calls->list(k->user, folder, look_at_member, &w);
}

/* ---- who would do ---- */

struct alias_search {
	const char *alias;	/* of the device, "vfio_pci:v..." */
	const char *bound;
	unsigned stars;		/* of the best so far */
	char *to;
	size_t size;
};

/* Module names have '_' where driver names may have '-'. */
static bool same_name(const char *a, const char *b)
{
	for (; *a && *b; a++, b++)
		if (*a != *b && (*a != '_' || *b != '-') && (*a != '-' || *b != '_'))
			return false;
	return *a == *b;
}

static unsigned count_stars(const char *text)
{
	unsigned n = 0;

	for (; *text; text++)
		n += *text == '*';
	return n;
}

/* "alias vfio_pci:v... module" */
static void look_at_line(struct alias_search *s, const char *line)
{
	char pattern[160], module[64];

	if (strncmp(line, "alias vfio_pci:", 15) != 0 ||
	    sscanf(line, "alias %159s %63s", pattern, module) != 2)
		return;
	if (same_name(module, "vfio_pci") || same_name(module, s->bound) ||
	    count_stars(pattern) >= s->stars || fnmatch(pattern, s->alias, 0) != 0)
		return;
	s->stars = count_stars(pattern);
	(void) put(s->to, s->size, module, "");
}

/* The whole of a file, in pieces: lines that are longer than the buffer are no aliases of ours. */
static void read_lines(const struct vf_kernel *k, int fd, struct alias_search *s)
{
	char buffer[4096];
	size_t have = 0, seen = 0;

	while (seen < ALIASES_MOST) {
		ssize_t n = k->calls->read(k->user, fd, buffer + have, sizeof(buffer) - have);
		char *line = buffer, *end;

		if (n <= 0 || (size_t) n > sizeof(buffer) - have)
			return;
		have += (size_t) n;
		seen += (size_t) n;
		while ((end = memchr(line, '\n', have - (size_t) (line - buffer))) != NULL) {
			*end = '\0';
			look_at_line(s, line);
			line = end + 1;
		}
		have -= (size_t) (line - buffer);
		memmove(buffer, line, have);
		if (have == sizeof(buffer))
			have = 0;
	}
}

/* The first line of a small file. */
static int read_line(const struct vf_kernel *k, const char *path, char *to, size_t size)
{
	int fd = k->calls->open(k->user, path, O_RDONLY);
	ssize_t n;

	if (fd < 0)
		return fd;
	n = k->calls->read(k->user, fd, to, size - 1);
	vf_close(&fd);
	if (n <= 0 || (size_t) n >= size)
		return -EIO;
	to[n] = '\0';
	to[strcspn(to, "\n")] = '\0';
	return 0;
}

void vf_kernel_find_driver(const struct vf_kernel *k, const struct vf_kernel_target *target,
			   char *to, size_t size)
{
	char path[PATH_MAX], own[160], alias[192], release[96];
	struct alias_search s = { .alias = alias, .bound = target->driver, .stars = UINT_MAX,
				  .to = to, .size = size };
	int fd;

	to[0] = '\0';
	if (!target->folder[0] || !put(path, sizeof(path), target->folder, "/modalias") ||
	    read_line(k, path, own, sizeof(own)) < 0)
		return;
	if (strncmp(own, "pci:", 4) != 0 || !put(alias, sizeof(alias), "vfio_pci:", own + 4) ||
	    read_line(k, "/proc/sys/kernel/osrelease", release, sizeof(release)) < 0 || strchr(release, '/'))
		return;
	(void) snprintf(path, sizeof(path), "/lib/modules/%s/modules.alias", release);
	fd = k->calls->open(k->user, path, O_RDONLY);
	if (fd < 0)
		return;
	read_lines(k, fd, &s);
	vf_close(&fd);
}
