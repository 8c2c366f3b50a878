/* SPDX-License-Identifier: MIT */
/*
 * timer_device.h - a vfio-user device with the behaviour that libvfio-user's sample client drives.
 *
 * BAR0 holds 8 bytes: a time in seconds since the epoch. When it has come, INTx fires and the device
 * writes and reads the first DMA region by messages and the second one directly. BAR1 is
 * memory of TIMER_DEVICE_BAR1 bytes (environment; 12 KiB), its first and third page mappable. Both are its migration state, BAR1 first.
 */
#ifndef TIMER_DEVICE_H
#define TIMER_DEVICE_H

/* Serves one client at @path until it goes. Return: 0, or a negative errno. */
int timer_device_run(const char *path);

#endif
