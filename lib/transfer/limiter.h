/* SPDX-License-Identifier: MIT */
/*
 * limiter.h - a token bucket that all channels of a session share.
 *
 * Holds at most 50 ms worth of tokens. A taker may drive it below zero, once, and pays by waiting
 * for it to come back: so one write of 1 MiB goes through at any rate, and the average holds.
 */
#ifndef VF_TRANSFER_LIMITER_H
#define VF_TRANSFER_LIMITER_H

#include <stdint.h>

struct vf_limiter;

int vf_limiter_new(uint64_t bytes_per_second, struct vf_limiter **ret);	/* 0 = unlimited */
struct vf_limiter *vf_limiter_free(struct vf_limiter *limiter);		/* NULL allowed */
void vf_limiter_set_rate(struct vf_limiter *limiter, uint64_t bytes_per_second);	/* wakes */
/* Waits until @bytes may go. Return: 0; -ECANCELED. */
int vf_limiter_take(struct vf_limiter *limiter, uint64_t bytes);
/* Every taker, now and later, returns -ECANCELED. */
void vf_limiter_cancel(struct vf_limiter *limiter);

#endif
