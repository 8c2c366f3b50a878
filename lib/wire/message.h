/* SPDX-License-Identifier: MIT */
/*
 * message.h - the bodies of all frames but page frames: structs, encode, decode, bounds.
 *
 * Encoders append to a vf_writer. Decoders are strict: every count is checked against its bound and
 * against the bytes that are left before anything is allocated, unknown values are refused, and
 * bytes left over are an error. A decoded message owns its lists; _done() frees them and accepts a
 * zeroed struct. docs/stream-format.md has the layouts with offsets.
 *
 * A version is major.minor: another major is refused; a higher minor may add optional frames and
 * feature bits, never change what is here.
 */
#ifndef VF_WIRE_MESSAGE_H
#define VF_WIRE_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>

#include <vferry/device.h>
#include <vferry/error.h>

#include "base/bytes.h"

#define VF_STREAM_MAJOR 1
#define VF_STREAM_MINOR 2
#define VF_SESSION_ID_BYTES 16

#define VF_UNKNOWN_NS UINT64_MAX

/* Bounds of what setup may name. */
#define VF_MAX_CHANNELS 16
#define VF_MAX_BLOCKS 64
#define VF_MAX_COMPONENTS 512
#define VF_MAX_SECTIONS 16		/* of one component */
#define VF_MAX_DEPENDENCIES 256
#define VF_MAX_REASONS 256
#define VF_MAX_REPORT_STEPS 4096
#define VF_MAX_VECTOR_DEVICES 64
#define VF_MAX_VECTORS 2048		/* of one device: MSI-X has no more */
#define VF_MAX_VECTOR_RUNS 8192		/* of all devices: they fit one frame */
#define VF_MAX_IDENTITY_BYTES (64u << 10)
#define VF_MAX_SECTION_BYTES (1u << 20) /* minus its header: a section fits one frame */
#define VF_WIRE_NAME_BYTES 64

enum vf_purpose {
	VF_PURPOSE_MIGRATE = 1,
	VF_PURPOSE_RESOLVE = 2,
	VF_PURPOSE_FILE = 3,
};

enum vf_feature {
	VF_FEATURE_JOIN = 1u << 0,	/* HELLO is followed by JOIN; answered: and that was understood */
	VF_FEATURE_VECTORS = 1u << 1,	/* ACCEPT: VECTORS will follow RUNNING */
};
#define VF_JOIN_BYTES 32

struct vf_hello {
	uint16_t major;
	uint16_t minor;
	uint32_t purpose;		/* enum vf_purpose */
	uint8_t session_id[VF_SESSION_ID_BYTES];
	uint32_t channel;		/* index of this one ... */
	uint32_t channel_count;		/* ... of so many */
	uint64_t features;		/* enum vf_feature */
	char software[VF_WIRE_NAME_BYTES];
};

struct vf_wire_block {
	char name[VF_WIRE_NAME_BYTES];
	uint64_t gpa;
	uint64_t bytes;
	uint32_t flags;			/* informative */
};

struct vf_wire_section {
	uint32_t id;
	uint16_t version;
	uint32_t max_bytes;
	char name[VF_WIRE_NAME_BYTES];
};

struct vf_wire_component {
	char name[VF_WIRE_NAME_BYTES];
	char device[VF_WIRE_NAME_BYTES];	/* "" = none */
	bool has_stream;
	bool has_precopy;		/* may send state before the stop; informative */
	uint32_t section_count;
	struct vf_wire_section *sections;
	uint32_t identity_bytes;
	uint8_t *identity;
};

/* Data dependency: section `first` must be loaded before section `then`. */
struct vf_wire_dependency {
	uint32_t first_component, first_section;
	uint32_t then_component, then_section;
};

struct vf_machine {
	char description[VF_WIRE_NAME_BYTES];
	uint32_t compression;
	bool verify;
	bool check_only;
	uint64_t max_downtime_ns;
	uint64_t pause_budget_ns;
	uint32_t block_count;
	struct vf_wire_block *blocks;
	uint32_t component_count;
	struct vf_wire_component *components;
	uint32_t dependency_count;
	struct vf_wire_dependency *dependencies;
};

struct vf_credit_grant {
	uint32_t component;
	uint64_t bytes;
};

struct vf_accept {
	uint64_t features;
	uint64_t hold_bytes;		/* sections that come too early are held up to this */
	uint64_t load_ns;		/* load steps inside the pause will take so long; VF_UNKNOWN_NS */
	uint32_t credit_count;
	struct vf_credit_grant *credits;	/* first credit of each stream */
};

struct vf_refuse {
	uint32_t dropped;		/* reasons beyond the bound */
	uint32_t reason_count;
	struct vferry_error *reasons;	/* id, object, message */
};

struct vf_section_header {
	uint32_t id;
	uint16_t version;
};
#define VF_SECTION_HEADER_BYTES 8

struct vf_stream_header {
	uint32_t generation;
	uint64_t offset;		/* of the first byte, in this generation */
};
#define VF_STREAM_HEADER_BYTES 16

enum vf_stream_mark_kind {
	VF_MARK_INITIAL_END = 1,	/* initial bytes are all sent */
	VF_MARK_STOPPED = 2,		/* what follows was made by the stopped device */
	VF_MARK_END = 3,
};

struct vf_stream_mark {
	uint32_t generation;
	uint32_t kind;
	uint64_t offset;		/* bytes of this generation so far */
	uint32_t crc;			/* CRC32C of them */
};

struct vf_channel_count {
	uint64_t frames;
	uint64_t bytes;
};

struct vf_manifest_section {
	uint32_t component;
	uint32_t id;
	uint32_t bytes;
	uint32_t crc;
};

struct vf_manifest_stream {
	uint32_t component;
	uint32_t generation;
	uint64_t bytes;
	uint32_t crc;
};

/* What was sent, so that the other side can say that nothing is missing. */
struct vf_manifest {
	uint64_t pages_normal;
	uint64_t pages_zero;
	uint32_t section_count;
	struct vf_manifest_section *sections;
	uint32_t stream_count;
	struct vf_manifest_stream *streams;
	uint32_t channel_count;
	struct vf_channel_count *channels;	/* what was sent on each; KEEPALIVE is no frame here */
};

struct vf_report_step {
	uint32_t component;		/* VF_NO_COMPONENT: the session's */
	uint32_t step_class;
	char name[VF_WIRE_NAME_BYTES];
	uint64_t start_ns;		/* since SWITCHOVER was received; steps before it: 0 = unknown */
	uint64_t end_ns;
	uint64_t bytes;
	uint32_t thread;
	bool in_pause;
};

struct vf_report {
	uint32_t step_count;
	struct vf_report_step *steps;
};

/* Vectors in a row of which all the same is true. */
struct vf_vector_run {
	uint32_t count;
	bool connected;			/* to the interrupt controller; else masked, or not set up */
	uint32_t forwarded;		/* enum vferry_forwarded */
	char reason[VFERRY_REASON_BYTES];	/* why not, or why that is not known; "" if it is */
};

struct vf_device_vectors {
	char address[VF_WIRE_NAME_BYTES];	/* the guest's */
	uint32_t run_count;
	struct vf_vector_run *runs;	/* from vector 0 on */
};

/* Who delivers the interrupts of each device: hardware by itself (forwarded), or software. */
struct vf_vectors {
	uint32_t device_count;
	struct vf_device_vectors *devices;
};

enum vf_resolution {
	VF_RESOLUTION_RAN = 1,		/* it was started here */
	VF_RESOLUTION_ABORTED = 2,	/* it was not, and never will be */
	VF_RESOLUTION_LOST = 3,		/* it was handed over, and does not run here any more */
};

void vf_hello_encode(struct vf_writer *w, const struct vf_hello *m);
int vf_hello_decode(const void *data, size_t size, struct vf_hello *ret, struct vferry_error *err);

void vf_machine_encode(struct vf_writer *w, const struct vf_machine *m);
int vf_machine_decode(const void *data, size_t size, struct vf_machine *ret,
		      struct vferry_error *err);
void vf_machine_done(struct vf_machine *m);

void vf_accept_encode(struct vf_writer *w, const struct vf_accept *m);
int vf_accept_decode(const void *data, size_t size, struct vf_accept *ret, struct vferry_error *err);
void vf_accept_done(struct vf_accept *m);

void vf_refuse_encode(struct vf_writer *w, const struct vf_refuse *m);
int vf_refuse_decode(const void *data, size_t size, struct vf_refuse *ret, struct vferry_error *err);
void vf_refuse_done(struct vf_refuse *m);

/* The body of the section (of the stream) follows the header, up to the end of the frame. */
void vf_section_header_encode(uint8_t to[VF_SECTION_HEADER_BYTES],
			      const struct vf_section_header *m);
int vf_section_header_decode(const void *data, size_t size, struct vf_section_header *ret,
			     struct vferry_error *err);
void vf_stream_header_encode(uint8_t to[VF_STREAM_HEADER_BYTES], const struct vf_stream_header *m);
int vf_stream_header_decode(const void *data, size_t size, struct vf_stream_header *ret,
			    struct vferry_error *err);
void vf_stream_mark_encode(struct vf_writer *w, const struct vf_stream_mark *m);
int vf_stream_mark_decode(const void *data, size_t size, struct vf_stream_mark *ret,
			  struct vferry_error *err);

void vf_manifest_encode(struct vf_writer *w, const struct vf_manifest *m);
int vf_manifest_decode(const void *data, size_t size, struct vf_manifest *ret,
		       struct vferry_error *err);
void vf_manifest_done(struct vf_manifest *m);

/* FAILED, CANCEL: why. */
void vf_failure_encode(struct vf_writer *w, const struct vferry_error *m);
int vf_failure_decode(const void *data, size_t size, struct vferry_error *ret,
		      struct vferry_error *err);

void vf_report_encode(struct vf_writer *w, const struct vf_report *m);
int vf_report_decode(const void *data, size_t size, struct vf_report *ret, struct vferry_error *err);
void vf_report_done(struct vf_report *m);

void vf_vectors_encode(struct vf_writer *w, const struct vf_vectors *m);
int vf_vectors_decode(const void *data, size_t size, struct vf_vectors *ret,
		      struct vferry_error *err);
void vf_vectors_done(struct vf_vectors *m);

/*
 * STREAM_RESTART, INITIAL_ACK: generation. SWITCHOVER: number of the last RAM round, from 0. RESOLVED:
 * enum vf_resolution. DIGEST: CRC32C of all RAM. KEEPALIVE with a
 * body is a probe, and is answered by its first four bytes.
 */
void vf_number32_encode(struct vf_writer *w, uint32_t v);
int vf_number32_decode(const void *data, size_t size, uint32_t *ret, struct vferry_error *err);
/* CREDIT: bytes. PREPARED: ns that the digest took. RUNNING: ns from COMMIT to running vCPUs. */
void vf_number64_encode(struct vf_writer *w, uint64_t v);
int vf_number64_decode(const void *data, size_t size, uint64_t *ret, struct vferry_error *err);
/* JOIN: what shows that the connection belongs to the session; lib/session/link.h. */
int vf_join_decode(const void *data, size_t size, uint8_t ret[VF_JOIN_BYTES], struct vferry_error *err);
/* COMMIT, RESOLVE: the session's id. */
int vf_id_decode(const void *data, size_t size, uint8_t ret[VF_SESSION_ID_BYTES],
		 struct vferry_error *err);

#endif
