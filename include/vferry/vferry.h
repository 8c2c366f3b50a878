/* SPDX-License-Identifier: MIT */
/* vferry/vferry.h - the whole library; see docs/architecture.md for where to begin. */
#ifndef VFERRY_VFERRY_H
#define VFERRY_VFERRY_H

#include <vferry/component.h>
#include <vferry/device.h>
#include <vferry/error.h>
#include <vferry/inspect.h>
#include <vferry/irqchip.h>
#include <vferry/kvm.h>
#include <vferry/order.h>
#include <vferry/ram.h>
#include <vferry/session.h>
#include <vferry/stream.h>
#include <vferry/trace.h>
#include <vferry/trust.h>

#endif
