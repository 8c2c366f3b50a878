/* SPDX-License-Identifier: MIT */
/* pci_names.c - see pci_names.h. The list is opened for each question: there are few. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "pci_names.h"
#include "vf_config.h"

#if VF_HAVE_LIBPCI

#include <pci/pci.h>

/* From pci.ids only: udev's database knows no more, and libpci 3.9 leaks its handle. */
#define LOOKUP (PCI_LOOKUP_NO_NUMBERS | PCI_LOOKUP_NO_HWDB)

/* Only names are looked up: no bus is scanned, and a list that is missing is no news. */
static void __attribute__((format(printf, 1, 2))) say_nothing(char *fmt, ...)
{
	(void) fmt;
}

static struct pci_access *open_list(void)
{
	struct pci_access *access = pci_alloc();

	if (access)
		access->warning = access->debug = say_nothing;
	return access;
}

static bool known(const char *text)
{
	return text && text[0];
}

const char *pci_name_device(uint16_t vendor, uint16_t device, char *to, size_t size)
{
	struct pci_access *access = open_list();
	char first[128], second[128];
	const char *v, *d;

	to[0] = '\0';
	if (!access)
		return to;
	v = pci_lookup_name(access, first, sizeof(first), PCI_LOOKUP_VENDOR | LOOKUP,
			    vendor);
	d = pci_lookup_name(access, second, sizeof(second),
			    PCI_LOOKUP_DEVICE | LOOKUP, vendor, device);
	if (known(v))
		(void) snprintf(to, size, "%s%s%s", v, known(d) ? " " : "", known(d) ? d : "");
	pci_cleanup(access);
	return to;
}

const char *pci_name_class(uint32_t class_code, char *to, size_t size)
{
	struct pci_access *access = open_list();
	char name[128];
	const char *c;

	to[0] = '\0';
	if (!access)
		return to;
	c = pci_lookup_name(access, name, sizeof(name), PCI_LOOKUP_CLASS | LOOKUP,
			    class_code >> 8);
	if (known(c))
		(void) snprintf(to, size, "%s", c);
	pci_cleanup(access);
	return to;
}

#else

const char *pci_name_device(uint16_t vendor, uint16_t device, char *to, size_t size)
{
	(void) vendor;
	(void) device;
	(void) size;
	to[0] = '\0';
	return to;
}

const char *pci_name_class(uint32_t class_code, char *to, size_t size)
{
	(void) class_code;
	(void) size;
	to[0] = '\0';
	return to;
}

#endif
