/* SPDX-License-Identifier: MIT */
/* device.c - the software device as a process, as `vferry device` serves it. */
#include "devices/device_cmd.h"

int main(int argc, char **argv)
{
	return vf_device_main(argc, argv);
}
