/* SPDX-License-Identifier: MIT */
/* The public headers in a C++ program: everything declared is C, and links as such. */
#include <vferry/vferry.h>

#include <cstring>

int main()
{
	vferry_error err = VFERRY_ERROR_INIT;
	vferry_parameters parameters = VFERRY_PARAMETERS_INIT;
	vferry_session *session = nullptr;
	size_t rules = 0;

	if (vferry_session_new(nullptr, nullptr, &session, &err) != err.code || !err.code)
		return 1;
	if (!vferry_order_rules(&rules) || !rules || parameters.channels != 1)
		return 2;
	return std::strcmp(vferry_state_name(VFERRY_STATE_PRE_SWITCHOVER), "pre-switchover") ? 3 : 0;
}
