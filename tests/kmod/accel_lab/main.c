// SPDX-License-Identifier: GPL-2.0-only
/*
 * main.c - a driver of the accel device, for a Linux guest that is moved about: it keeps each of the
 * device's vectors busy with jobs, verifies what they did, and tells how it went:
 *
 *	/sys/bus/pci/drivers/accel_lab/0000:00:01.0/report
 *	1234 jobs, 0 wrong, 0 spurious, slowest 812 ms, msix
 */
#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/interrupt.h>
#include <linux/kthread.h>
#include <linux/module.h>

#include "lab.h"

static irqreturn_t on_interrupt(int irq, void *arg)
{
	(void) irq;
	lab_slot_interrupt(arg);
	return IRQ_HANDLED;
}

/* A pause between two turns leaves something of a slow machine to others. */
static int work(void *arg)
{
	while (!kthread_should_stop()) {
		lab_device_turn(arg);
		fsleep(2000);
	}
	return 0;
}

static ssize_t report_show(struct device *dev, struct device_attribute *attribute, char *buf)
{
	const struct lab_device *lab = dev_get_drvdata(dev);
	u64 spurious = 0;
	u32 i;

	(void) attribute;
	for (i = 0; i < lab->slots; i++)
		spurious += (u64) atomic64_read(&lab->slot[i].spurious);
	return sysfs_emit(buf, "%llu jobs, %llu wrong, %llu spurious, slowest %llu ms, %s\n",
			  READ_ONCE(lab->jobs), READ_ONCE(lab->wrong), spurious,
			  READ_ONCE(lab->slowest_ms), lab->pdev->msix_enabled ? "msix" : "msi");
}
static DEVICE_ATTR_RO(report);

static struct attribute *lab_attrs[] = { &dev_attr_report.attr, NULL };
ATTRIBUTE_GROUPS(lab);

static int make_buffers(struct lab_device *lab)
{
	struct device *dev = &lab->pdev->dev;
	u32 i;

	lab->ring = dmam_alloc_coherent(dev, LAB_RING * sizeof(*lab->ring), &lab->ring_dma, GFP_KERNEL);
	if (!lab->ring)
		return -ENOMEM;
	for (i = 0; i < lab->slots; i++) {
		struct lab_slot *slot = &lab->slot[i];

		slot->source = dmam_alloc_coherent(dev, LAB_BYTES, &slot->source_dma, GFP_KERNEL);
		slot->target = dmam_alloc_coherent(dev, LAB_BYTES, &slot->target_dma, GFP_KERNEL);
		if (!slot->source || !slot->target)
			return -ENOMEM;
	}
	return 0;
}

/* The first ones, that were requested. */
static void free_vectors(struct lab_device *lab, u32 requested)
{
	u32 i;

	for (i = 0; i < requested; i++)
		free_irq(pci_irq_vector(lab->pdev, i), &lab->slot[i]);
	pci_free_irq_vectors(lab->pdev);
}

static int request_vectors(struct lab_device *lab)
{
	int count = pci_alloc_irq_vectors(lab->pdev, 1, LAB_SLOTS, PCI_IRQ_MSIX | PCI_IRQ_MSI);
	u32 i;

	if (count < 0)
		return count;
	lab->slots = (u32) count;
	for (i = 0; i < lab->slots; i++) {
		struct lab_slot *slot = &lab->slot[i];
		int ret;

		slot->device = lab;
		slot->number = i;
		init_completion(&slot->done);
		ret = request_irq(pci_irq_vector(lab->pdev, i), on_interrupt, 0, "accel_lab", slot);
		if (ret) {
			free_vectors(lab, i);
			return ret;
		}
	}
	return 0;
}

static int lab_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct lab_device *lab = devm_kzalloc(&pdev->dev, sizeof(*lab), GFP_KERNEL);
	int ret;

	(void) id;
	if (!lab)
		return -ENOMEM;
	lab->pdev = pdev;
	pci_set_drvdata(pdev, lab);
	ret = pcim_enable_device(pdev);
	if (!ret)
		ret = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	if (ret)
		return ret;
	lab->registers = pcim_iomap(pdev, 0, ACCEL_BAR0_BYTES);
	if (!lab->registers)
		return -ENOMEM;
	pci_set_master(pdev);
	ret = request_vectors(lab);
	if (ret)
		return ret;
	ret = make_buffers(lab);
	if (!ret)
		ret = lab_device_start(lab);
	if (!ret) {
		lab->worker = kthread_run(work, lab, "accel_lab");
		ret = PTR_ERR_OR_ZERO(lab->worker);
	}
	if (ret)
		free_vectors(lab, lab->slots);
	return ret;
}

static void lab_remove(struct pci_dev *pdev)
{
	struct lab_device *lab = pci_get_drvdata(pdev);

	(void) kthread_stop(lab->worker);
	writel(ACCEL_CTRL_RESET, lab->registers + ACCEL_REG_CTRL);
	free_vectors(lab, lab->slots);
}

static const struct pci_device_id lab_ids[] = {
	{ PCI_DEVICE(ACCEL_PCI_VENDOR, ACCEL_PCI_DEVICE) },
	{ 0 }
};
MODULE_DEVICE_TABLE(pci, lab_ids);

static struct pci_driver lab_driver = {
	.name = "accel_lab",
	.id_table = lab_ids,
	.probe = lab_probe,
	.remove = lab_remove,
	.dev_groups = lab_groups,
};
module_pci_driver(lab_driver);

MODULE_DESCRIPTION("Keeps vferry's accel devices busy, and verifies what they do");
MODULE_LICENSE("GPL");
