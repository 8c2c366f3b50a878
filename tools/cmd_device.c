/* SPDX-License-Identifier: MIT */
/* cmd_device.c - `vferry device`, which devices/ implements. */
#include "command.h"
#include "devices/device_cmd.h"

int cmd_device(int argc, char **argv)
{
	static char name[] = "vferry device";

	argv[0] = name;
	return vf_device_main(argc, argv);
}
