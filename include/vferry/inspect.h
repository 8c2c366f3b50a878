/* SPDX-License-Identifier: MIT */
/*
 * vferry/inspect.h - what is in a saved machine's file, without a machine to load it into.
 *
 * One call reads the whole file and returns everything as plain data; nothing else has to be set
 * up. A damaged file is read as far as it can be: each place where it breaks is a problem with its
 * offset, and behind a broken frame reading goes on at the next one that is whole. A file is good
 * if the call succeeds and there is no problem.
 *
 * Memory is bounded whatever the file says: section bodies together as in a load, pages not at all.
 *
 * Threads: none; an inspection may be read from several.
 */
#ifndef VFERRY_INSPECT_H
#define VFERRY_INSPECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vferry/error.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VFERRY_INSPECT_PROBLEMS 64	/* listed; further ones are counted */
#define VFERRY_INSPECT_FRAME_TYPES 32

struct vferry_inspect_frame {
	uint64_t offset;	/* of its header, in the file */
	uint64_t sequence;
	const char *type;	/* "stream-data"; NULL: optional, and unknown to this version */
	uint16_t type_number;
	uint32_t length;	/* of the body */
	uint32_t component;	/* UINT32_MAX: none */
	const char *component_name;	/* NULL: none, or not known */
	char detail[80];	/* "generation 0, bytes 0 to 4095"; may be empty */
	bool intact;		/* its checksums are right */
};

struct vferry_inspect_options {
	uint32_t size;		/* sizeof(struct vferry_inspect_options) */
	bool verify;		/* read all pages, and check their checksums */
	/* Called for each frame, in the order of the file. May be NULL. */
	void (*frame)(void *user, const struct vferry_inspect_frame *frame);
	void *user;
};

#define VFERRY_INSPECT_OPTIONS_INIT { .size = sizeof(struct vferry_inspect_options) }

struct vferry_inspect_section {
	uint32_t id;
	char name[64];
	uint16_t version;	/* as announced */
	uint32_t max_bytes;	/* as announced */
	uint32_t times;		/* how often it came; the last one counts, and is below */
	uint64_t offset;	/* of its frame */
	uint16_t body_version;
	uint32_t crc;
	const void *body;	/* NULL: it never came whole, or is empty */
	size_t bytes;
	bool is_config;		/* a function's config space: see vferry_inspect_config() */
};

struct vferry_inspect_stream {
	uint32_t generation;	/* the last one; its figures follow */
	uint64_t frames;
	uint64_t bytes;
	uint32_t crc;
	uint64_t void_bytes;	/* of earlier generations */
	bool initial_ended;
	uint64_t initial_bytes;
	bool stopped;
	uint64_t stopped_bytes;	/* offset of the first byte made by the stopped device */
	bool ended;
};

struct vferry_inspect_component {
	char name[64];
	char device[64];	/* "": part of no device */
	const void *identity;	/* NULL: none */
	size_t identity_bytes;
	bool has_ids;		/* of a PCI function */
	uint16_t vendor, product, subsystem_vendor, subsystem;
	uint32_t class_code;	/* 24 bits */
	struct vferry_inspect_section *sections;
	size_t section_count;
	bool has_stream;
	struct vferry_inspect_stream stream;
};

struct vferry_inspect_block {
	char name[64];		/* "" if the machine's description is missing */
	uint64_t gpa;
	uint64_t bytes;
	uint32_t flags;		/* of <vferry/ram.h> */
	uint64_t pages;
	uint64_t data_pages;	/* pages with content; the others are zero */
	uint64_t offset;	/* of page 0, in the file */
};

/* `first` must be loaded before `then`. */
struct vferry_inspect_dependency {
	uint32_t first_component, first_section;
	uint32_t then_component, then_section;
};

struct vferry_inspect_problem {
	uint64_t offset;	/* in the file */
	char what[32];		/* "frame", "pages", "header" ... */
	char message[256];	/* what was expected there, and what is there */
};

struct vferry_inspect_frames {
	const char *type;
	uint64_t count;
	uint64_t bytes;		/* of bodies */
};

struct vferry_inspection {
	uint64_t file_bytes;
	uint32_t file_version; /* 0: the header could not be read; nor could what follows */
	uint64_t frames_offset;
	uint64_t frames_bytes;
	uint64_t frame_count;		/* as the header says */
	struct vferry_inspect_frames frames[VFERRY_INSPECT_FRAME_TYPES];	/* as found */
	size_t frame_types;

	bool has_hello;
	uint16_t stream_major, stream_minor;
	uint8_t session_id[16];
	char software[64];

	bool has_machine;
	char machine[64];		/* what both sides must agree on */
	uint64_t max_downtime_ns;	/* what the source was told */
	struct vferry_inspect_block *blocks;
	size_t block_count;
	struct vferry_inspect_component *components;
	size_t component_count;
	struct vferry_inspect_dependency *dependencies;
	size_t dependency_count;

	bool has_manifest;
	uint64_t manifest_offset;
	uint64_t manifest_pages_normal, manifest_pages_zero;
	uint32_t manifest_sections, manifest_streams;
	bool has_digest;
	uint32_t digest;		/* CRC32C of all RAM */

	uint64_t verified_pages;	/* whose checksums are right */
	size_t problem_count;		/* 0: the file is good */
	size_t problems_listed;
	struct vferry_inspect_problem problems[VFERRY_INSPECT_PROBLEMS];
};

/**
 * vferry_inspect() - read the file @path
 * @options: NULL: defaults
 *
 * Return: 0, also for a damaged file; -ENOENT and what else open(2) says; -EINVAL: no regular file;
 * -ENOMEM.
 */
int vferry_inspect(const char *path, const struct vferry_inspect_options *options,
		   struct vferry_inspection **ret_inspection, struct vferry_error *err);
/* NULL is fine; returns NULL. */
struct vferry_inspection *vferry_inspection_free(struct vferry_inspection *inspection);

/* One register of a config space. All strings are borrowed for the call. */
struct vferry_inspect_field {
	const char *group;	/* "header", "BARs", "capability MSI-X", "interrupts" */
	const char *name;
	uint32_t offset;	/* in config space, or in the MSI-X table */
	uint32_t bytes;
	const char *value;	/* in words */
};

/**
 * vferry_inspect_config() - decode the body of a section that is_config
 *
 * Return: 0; -EINVAL malformed; -EOPNOTSUPP a later version; -ENOMEM.
 */
int vferry_inspect_config(const void *body, size_t bytes,
			  void (*field)(void *user, const struct vferry_inspect_field *field),
			  void *user, struct vferry_error *err);

#ifdef __cplusplus
}
#endif
#endif
