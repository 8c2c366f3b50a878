# SPDX-License-Identifier: MIT
"""Sizes: state that is larger than memory, memory that is larger than any host, many devices.

What a process holds beyond guest RAM is bounded, whatever the size of what passes through it.
"""
import re
import time

import pytest

from lab import SANITIZED, wait_for

MIB = 1 << 20
GIB = 1 << 30

pytestmark = pytest.mark.skipif(SANITIZED, reason="sizes say nothing of a sanitizer's memory")


def peak_beyond_ram(process):
    """The most that was resident, less the guest RAM that is."""
    pid = process.process.pid
    with open(f"/proc/{pid}/status") as status:
        peak = int(re.search(r"VmHWM:\s+(\d+) kB", status.read()).group(1)) << 10
    ram, name = 0, ""
    with open(f"/proc/{pid}/smaps") as smaps:
        for line in smaps:
            if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                name = line
            elif line.startswith("Rss:") and "memfd:ram" in name:
                ram += int(line.split()[1]) << 10
    print(f"{process.name}: {peak >> 20} MiB at most, {ram >> 20} MiB of them guest RAM")
    return peak - ram


def check_memory(limit, *processes):
    for process in processes:
        beyond = peak_beyond_ram(process)
        assert beyond < limit, f"{process.name} holds {beyond >> 20} MiB beyond guest RAM"


def check_moved(source, destination):
    assert source.status() == "postmigrate"
    destination.wait_status("running")
    destination.judge()
    destination.check_forwarded()


@pytest.mark.parametrize("size, precopy", [(8, "off"), (2, "on")])
def test_device_state(lab, size, precopy):
    source, destination = lab.pair(device_args=("--state-size", f"{size}GiB", "--dirty-rate",
                                                "1MiB/s", "--precopy", precopy))
    lab.migrate(source, destination.uri, "--max-downtime", 60000, timeout=120)
    assert source.migration()["vfio"]["transferred"] >= size * GIB
    check_moved(source, destination)
    check_memory(64 * MIB, source, destination, *source.devices, *destination.devices)


def test_2_tib_of_memory_with_1_gib_touched(lab):
    source, destination = lab.pair(memory="2T", guest="fill=1G working-set=8M rate=20")
    wait_for("the guest to fill its memory", lambda: source.verdict()["booted"], timeout=60)
    began = time.monotonic()
    lab.migrate(source, destination.uri)
    assert time.monotonic() - began < 10
    check_moved(source, destination)
    check_memory(64 * MIB, source, destination, *source.devices, *destination.devices)


def test_8_devices_load_in_parallel(lab):
    """Each takes 300 ms to take its state: one after the other that were 2.4 s."""
    source, destination = lab.pair(8, device_args=("--state-size", "4MiB"),
                                   destination_script="on RESUMING->STOP delay 300ms\n")
    lab.migrate(source, destination.uri, "--pause-budget", 20000)
    check_moved(source, destination)
    downtime = source.migration()["downtime"]
    assert 300 <= downtime < 1200
