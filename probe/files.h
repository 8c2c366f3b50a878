/* SPDX-License-Identifier: MIT */
/*
 * files.h - small files of sysfs and proc, read whole and bounded. What is in them is shown to people and
 * put into JSON, so bytes that are no printable ASCII become '?'.
 */
#ifndef PROBE_FILES_H
#define PROBE_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "probe.h"
#include "vfio/kernel_calls.h"

/* As it is, @size bytes at most. Return: how many; -errno. */
ssize_t probe_read(const struct vf_kernel *k, const char *path, void *to, size_t size);
/* Its first line, without what does not fit. Return: 0; -errno, and @to is "". */
int probe_read_line(const struct vf_kernel *k, const char *path, char *to, size_t size);
/* The first word of it, in C's notation or decimal; anything else is not known. */
struct probe_number probe_read_number(const struct vf_kernel *k, const char *path);
/* "Y", "1" or "N", "0": of a module's parameter. */
enum probe_answer probe_read_switch(const struct vf_kernel *k, const char *path);
bool probe_exists(const struct vf_kernel *k, const char *path);
/* The last part of where a link leads; "" = there is none. */
void probe_read_link(const struct vf_kernel *k, const char *path, char *to, size_t size);
/* In place. */
void probe_make_printable(char *text);

/* @to: FOLDER/NAME. False: it does not fit. */
bool probe_path(char *to, size_t size, const char *folder, const char *name);

/* iommus.c: bit @bit of a register of each IOMMU, a file below its folder. No: of one it is clear. */
enum probe_answer probe_iommus_can(const struct vf_kernel *k, const char *file, unsigned bit);
enum probe_answer probe_iommus_track(const struct vf_kernel *k);

/* injection.c */
void probe_injection(const struct vf_kernel *k, struct probe_host *host);

#endif
