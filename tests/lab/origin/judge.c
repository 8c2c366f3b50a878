/* SPDX-License-Identifier: MIT */
/*
 * judge.c - lab-judge CONTROL SPURIOUS: asks the guest of a `vferry run` whether anything is wrong, with at most so
 * many interrupts without a cause. Says what it says; exit code 0: nothing is.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tools/qmp.h"

#define JUDGE_S 120	/* an emulated machine is slow, and may share its host */

int main(int argc, char **argv)
{
	struct json_object *arguments = json_object_new_object(), *verdict = NULL;
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct qmp *qmp = NULL;
	bool clean = false;
	int r;

	if (argc != 3)
		return 2;
	json_object_object_add(arguments, "judge", json_object_new_boolean(true));
	json_object_object_add(arguments, "timeout", json_object_new_int(JUDGE_S));
	json_object_object_add(arguments, "allowed-spurious",
			       json_object_new_int64(strtoll(argv[2], NULL, 10)));
	r = qmp_open(argv[1], &qmp, &err);
	if (r == 0)
		r = qmp_call(qmp, "x-vferry-verdict", arguments, &verdict, &err);
	else
		(void) json_object_put(arguments);
	if (r < 0) {
		(void) fprintf(stderr, "lab-judge: %s\n", err.message);
	} else {
		clean = qmp_bool(verdict, "clean");
		(void) printf("%s\n", json_object_to_json_string(verdict));
	}
	(void) json_object_put(verdict);
	(void) qmp_close(qmp);
	return clean ? 0 : 1;
}
