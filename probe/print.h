/* SPDX-License-Identifier: MIT */
/* print.h - what the files that print share. */
#ifndef PROBE_PRINT_H
#define PROBE_PRINT_H

#include <stdio.h>

#include "forecast.h"
#include "measure.h"
#include "probe.h"

/* "1.5 GiB". Return: @to. */
const char *probe_bytes_text(uint64_t bytes, char to[32]);

/* print_forecast.c */
void probe_text_measured(FILE *to, const struct probe_report *report);
void probe_text_forecast(FILE *to, const struct probe_report *report);

#endif
