/* SPDX-License-Identifier: MIT */
/*
 * terminal.h - standard input and output as the console of a guest.
 *
 * Model. What is typed goes to the guest as it is, key by key, and so do control characters. Ctrl-A
 * is for us: Ctrl-A x ends the machine, Ctrl-A Ctrl-A is one Ctrl-A for the guest. A terminal is put
 * back as it was by a process of its own, that waits for the end of this one: so it is, too, when
 * this one is killed, or is not allowed to do it.
 */
#ifndef TOOLS_TERMINAL_H
#define TOOLS_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>

struct terminal {
	bool open;		/* more may come of standard input */
	bool escape;		/* Ctrl-A was typed */
	char bytes[256];	/* typed, and not taken yet */
	size_t count;
	int keeper, kept;	/* of the other process: closed to have it done; readable when it is */
};

/* Before there are threads. Return: 0; -errno. Then it is closed. */
int terminal_open(struct terminal *t);
/* Reads what is there. Return: true, the machine is to end. */
bool terminal_read(struct terminal *t);
/* The first @count bytes were taken. */
void terminal_taken(struct terminal *t, size_t count);
void terminal_close(struct terminal *t);

#endif
