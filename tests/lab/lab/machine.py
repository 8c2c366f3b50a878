# SPDX-License-Identifier: MIT
"""One emulated machine, from its first line to its last."""
import dataclasses
import os
import subprocess
import threading
import time

SECONDS = int(os.environ.get("LAB_SECONDS", "300"))    # for one boot


@dataclasses.dataclass
class Console:
    lines: list
    seconds: float
    ended: bool         # it took too long, and was ended


def arm64(gic, memory=2048, devices=()):
    """An arm64 machine with EL2, an SMMU and an interrupt controller "3" or "4", and how its kernel is told of it."""
    # With one CPU, 6.12 reads past its table of doorbells (its_vpe_db_proxy_map_locked), and falls over.
    return ["qemu-system-aarch64", "-M", f"virt,virtualization=on,gic-version={gic},iommu=smmuv3", "-accel", "tcg",
            "-cpu", "max,pauth=off,sve=off,sme=off", "-smp", "2", "-m", f"{memory}M", *devices], \
        "console=ttyAMA0 irqaffinity=0 kvm-arm.vgic_v4_enable=1"


def x86(memory, devices=(), iommu=True):
    """An x86-64 machine with an AMD IOMMU, unless it is not to have one, and SVM. What runs under its KVM could not use
    AVX; and with two CPUs one of them may see what another one, which changes the kernel's code, has put there for a
    moment (an int3)."""
    return ["qemu-system-x86_64", "-M", "q35,kernel-irqchip=split", "-accel", "tcg",
            "-cpu", "EPYC-v1,+svm,+npt,-avx,-avx2,-f16c,-fma", "-smp", "1", "-m", f"{memory}M",
            *(["-device", "amd-iommu,intremap=on"] if iommu else []), *devices], \
        "console=ttyS0 no_timer_check"      # a busy host is late with the ticks that the kernel looks for


def boot(machine, kernel, initrd, log, show=False, seconds=SECONDS):
    """Boots a kernel (a folder with its vmlinuz) with an initrd, whose init does the work and powers off."""
    command, append = machine
    command = [*command, "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio",
               "-kernel", kernel / "vmlinuz", "-initrd", initrd,
               "-append", f"panic=-1 quiet rdinit=/init {append}"]
    start = time.monotonic()
    lines, ended = [], threading.Event()
    with open(log, "w") as file, \
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, errors="replace") as qemu:
        def end():
            ended.set()
            qemu.kill()
        limit = threading.Timer(seconds, end)
        limit.start()
        try:
            for line in qemu.stdout:
                lines.append(line.rstrip())
                print(lines[-1], file=file, flush=True)
                if show:
                    print(lines[-1], flush=True)
        finally:
            limit.cancel()
            qemu.kill()
    return Console(lines, time.monotonic() - start, ended.is_set())
