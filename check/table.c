/* SPDX-License-Identifier: MIT */
/* table.c - all groups, in the order in which they are run. */
#include <string.h>

#include "base/checked.h"
#include "internal.h"

static const struct check_group *const groups[] = {
	&check_group_feature,
	&check_group_arc,
	&check_group_state,
	&check_group_data,
	&check_group_descriptor,
	&check_group_precopy,
	&check_group_size,
	&check_group_image,
	&check_group_hostile,
	&check_group_reset,
	&check_group_p2p,
	&check_group_log,
	&check_group_dma,
	&check_group_quiet,
	&check_group_concurrent,
	&check_group_timing,
};

const struct check_group *check_group(size_t index)
{
	return index < VF_ARRAY_COUNT(groups) ? groups[index] : NULL;
}

size_t check_assertion_count(void)
{
	size_t count = 0;

	for (size_t g = 0; g < VF_ARRAY_COUNT(groups); g++)
		count += groups[g]->count;
	return count;
}

bool check_known(const char *word)
{
	for (size_t g = 0; g < VF_ARRAY_COUNT(groups); g++) {
		if (!strcmp(groups[g]->name, word))
			return true;
		for (size_t i = 0; i < groups[g]->count; i++)
			if (!strcmp(groups[g]->assertions[i].id, word))
				return true;
	}
	return false;
}
