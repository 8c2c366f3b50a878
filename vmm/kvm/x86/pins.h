/* SPDX-License-Identifier: MIT */
/*
 * pins.h - with a split irqchip: from the eventfds of INTx to pins of the IOAPIC, and back.
 *
 * KVM's irqfds end at LAPICs, so a thread of our own takes the events. An event asserts the pin until
 * the interrupt is over; then the device is told by its resample eventfd, and sends another event if
 * its cause is still there. Devices that share a pin are all asked.
 */
#ifndef VMM_KVM_X86_PINS_H
#define VMM_KVM_X86_PINS_H

#include "../kvm.h"

struct x86_pins;

int x86_pins_new(struct kvm_machine *m, struct x86_pins **ret_pins);
struct x86_pins *x86_pins_free(struct x86_pins *pins);
/* Both eventfds are borrowed. -EBUSY: connected already; -E2BIG. */
int x86_pins_connect(struct x86_pins *pins, unsigned pin, int eventfd, int resample);
/* After it nothing of this eventfd is read. */
void x86_pins_disconnect(struct x86_pins *pins, int eventfd);
/* The interrupt of a pin is over. From a vCPU's thread. */
void x86_pins_ended(struct x86_pins *pins, unsigned pin);
/* What was taken out of an eventfd has reached the IOAPIC. */
void x86_pins_flush(struct x86_pins *pins);

#endif
