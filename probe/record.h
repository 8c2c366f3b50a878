/* SPDX-License-Identifier: MIT */
/*
 * record.h - what was found out of a device, kept as a capture (capture/capture.h).
 *
 * The host's part is what was read of its files, noted while it is read: so the same program, given
 * the notes as its host (probe_root_open()), finds the same. A file longer than PROBE_NOTE_BYTES is
 * cut; of modules.alias the lines are kept that VFIO drivers are found by.
 *
 * Threads: as probe.h.
 */
#ifndef PROBE_RECORD_H
#define PROBE_RECORD_H

#include "probe.h"

struct capture;

#define PROBE_NOTE_BYTES 65536u
#define PROBE_NOTES_MAX 1024u		/* files, links and names in all; more are left out */

/* --- the host --- */
struct probe_notes;

/* Notes from here on what is read through @root, which must stay open longer. -ENOMEM. */
int probe_notes_begin(struct probe_root *root, struct probe_notes **ret_notes);
void probe_notes_free(struct probe_notes *notes);
/* Into @folder/host. -EOVERFLOW: something had to be left out, for its number or for memory. */
int probe_notes_save(const struct probe_notes *notes, const char *folder, struct vferry_error *err);

/* --- the device --- */
/**
 * probe_record_device() - asks an open device for all that a capture holds
 * Reads config space and nothing else of the device, and changes nothing.
 *
 * Return: 0; -EINVAL what it says is beyond a capture's bounds; errors of the backend.
 */
int probe_record_device(struct vf_backend *b, struct capture *ret, struct vferry_error *err);

/* --- both --- */
/**
 * probe_capture() - makes a folder of all that is known
 * @report: an object as `vferry probe --json` prints it
 * @b: NULL where the device could not be opened: then it holds the report and the host's files only
 */
int probe_capture(const char *folder, struct json_object *report, const struct probe_notes *notes,
		  struct vf_backend *b, struct vferry_error *err);

#endif
