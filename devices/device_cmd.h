/* SPDX-License-Identifier: MIT */
/* device_cmd.h - `vferry device`: serves one software device until told to stop. */
#ifndef VF_DEVICES_DEVICE_CMD_H
#define VF_DEVICES_DEVICE_CMD_H

/* @argv[0] is the command's name in messages. Prints `ready` on standard output when the socket
 * takes clients, and nothing else there. Return: the exit code, 0 at SIGTERM or SIGINT, 1 for a bad
 * command line, 2 for a bad script, 3 for any other failure, 70 if the script says exit. Blocks
 * SIGTERM and SIGINT, and must be called before the process has threads. */
int vf_device_main(int argc, char **argv);

#endif
