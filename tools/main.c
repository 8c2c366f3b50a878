/* SPDX-License-Identifier: MIT */
/* main.c - the table of sub-commands. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "vf_config.h"

static const struct {
	const char *name;
	const char *summary;
	int (*run)(int argc, char **argv);	/* argv[0]: the sub-command */
} commands[] = {
	{ "run", "run a machine, or wait for one to come", cmd_run },
	{ "migrate", "move a running machine to another process or host", cmd_migrate },
	{ "status", "show a machine and its migration", cmd_status },
	{ "cancel", "cancel a migration; the source runs on", cmd_cancel },
	{ "resolve", "settle a migration whose outcome is unknown", cmd_resolve },
	{ "save", "save a running machine into a file", cmd_save },
	{ "inspect", "show what is in a saved machine, and where a damaged one breaks", cmd_inspect },
	{ "order", "show the order rules, their reasons and a machine's plan", cmd_order },
	{ "check", "check whether a device keeps the rules of migration", cmd_check },
	{ "probe", "tell whether a device can be migrated, and what to change if not", cmd_probe },
	{ "device", "serve a software device over vfio-user", cmd_device },
	{ "demo", "migrate a busy machine with two devices, and ask its guest", cmd_demo },
	{ "soak", "migrate a busy machine again and again, and ask its guest each time", cmd_soak },
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void help(void)
{
	printf("usage: vferry COMMAND [options]\n\n");
	for (size_t i = 0; i < COMMANDS; i++)
		printf("  %-10s %s\n", commands[i].name, commands[i].summary);
	printf("\n`vferry COMMAND --help` shows a command's options. Exit codes: 0 done; 1 usage;\n"
	       "2 not migratable, or bad input: nothing changed; 3 failed, the source runs on;\n"
	       "4 cancelled, the source runs on; 5 outcome unknown, start neither side;\n"
	       "6 failed after hand-over.\n");
}

int main(int argc, char **argv)
{
	(void) signal(SIGPIPE, SIG_IGN);
	if (argc < 2) {
		fprintf(stderr, "vferry: no command; `vferry --help` lists them\n");
		return TOOL_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		help();
		return TOOL_DONE;
	}
	if (!strcmp(argv[1], "--version")) {
		printf("vferry %s\n", VFERRY_VERSION);
		return TOOL_DONE;
	}
	for (size_t i = 0; i < COMMANDS; i++)
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].run(argc - 1, argv + 1);
	fprintf(stderr, "vferry: there is no command '%s'; `vferry --help` lists them\n", argv[1]);
	return TOOL_USAGE;
}
