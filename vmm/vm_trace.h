/* SPDX-License-Identifier: MIT */
/*
 * vm_trace.h - what a VM does with the trace points of its migrations: writes them to a file, and, for
 * tests of whole processes, acts at one of them.
 *
 * Actions are a list, with commas between:
 *
 *   POINT[@OBJECT][:N]=stop          the process stops itself (SIGSTOP) there, and goes on when continued
 *   POINT[@OBJECT][:N]=kill          it kills itself (SIGKILL)
 *   POINT[@OBJECT][:N]=fail:ERRNO    what was to follow fails, without being done
 *   POINT[@OBJECT][:N]=delay:MS      it takes so much longer
 *
 * N: the N-th time that the point is passed with this object, over all migrations; every time if there is
 * no N. OBJECT: a whole object, or its end. See `vferry_trace_find_point()` for points.
 *
 * Threads: points are passed on any; the rest on the owner's.
 */
#ifndef VMM_VM_TRACE_H
#define VMM_VM_TRACE_H

#include <vferry/error.h>
#include <vferry/session.h>
#include <vferry/trace.h>

struct vm_trace;

struct vm_trace_options {
	const char *actions;		/* as above */
	const char *file;		/* a line of JSON for each event is appended to it */
	const char *failed;		/* gets the last events of a session that failed; an absolute path */
};

/**
 * vm_trace_new() - any of @options may be NULL; all of them: *ret_trace is NULL
 * Opens both files, so that nothing need be opened later. Return: 0; -EINVAL an action; what open(2) says.
 */
int vm_trace_new(const struct vm_trace_options *options, struct vm_trace **ret_trace,
		 struct vferry_error *err);
/* Removes a file for failures that was not written to, if it was made here. */
struct vm_trace *vm_trace_free(struct vm_trace *trace);	/* NULL allowed */

/* Before the session starts; the trace outlives it. @trace may be NULL. */
int vm_trace_add_session(struct vm_trace *trace, struct vferry_session *session);

/*
 * The last events of a session that failed, as JSON, over those of an earlier one. Return: 0 and the
 * file's name, borrowed; -ENOENT there is none; -errno.
 */
int vm_trace_write_failure(struct vm_trace *trace, struct vferry_session *session,
			   const char **ret_path);

#endif
