/* SPDX-License-Identifier: MIT */
/* pci_names.h - PCI numbers in words, by libpci's list if this was built with it. */
#ifndef TOOLS_PCI_NAMES_H
#define TOOLS_PCI_NAMES_H

#include <stddef.h>
#include <stdint.h>

/* "Red Hat, Inc. Virtio RNG"; "" if nobody knows. Return: @to. */
const char *pci_name_device(uint16_t vendor, uint16_t device, char *to, size_t size);
/* "Processing accelerators"; "". Return: @to. */
const char *pci_name_class(uint32_t class_code, char *to, size_t size);

#endif
