# SPDX-License-Identifier: MIT
"""qemu.py - the same work done by Debian's QEMU: one migration, save, restore or pause per call.

A paused guest (or, for the pause, one that has nothing to boot and sleeps), TCG, no devices. Its
memory is filled from outside with the bytes that the other engines move.
"""
import contextlib
import os
import socket
import tempfile
import time

import system
from qmp import Qmp, stamp_us
from system import Failed

PROGRAM = "qemu-system-x86_64"
IDLE_AFTER_S = 4        # the firmware has found nothing to boot
LOW_MIB = 16            # of a running guest: firmware's; and as much at the top


class Side:
    """One QEMU process with its control connection."""

    def __init__(self, children, folder, name, mib, memory, arguments, machine="pc,accel=tcg"):
        backend = f"memory-backend-memfd,id=ram,size={mib}M,share=on"
        if memory == "hugetlb":
            backend += ",hugetlb=on,hugetlbsize=2M"
        control = f"{folder}/{name}.qmp"
        self.process = children.start([
            PROGRAM, "-nodefaults", "-no-user-config", "-display", "none",
            "-M", f"{machine},memory-backend=ram", "-m", f"{mib}M", "-object", backend,
            "-qmp", f"unix:{control},server=on,wait=off", *arguments])
        self.pid, self.bytes = self.process.pid, mib << 20
        try:
            self.qmp = Qmp(control)
        except Failed:
            raise Failed(f"QEMU: {system.last_words(self.process)}") from None

    def set(self, channels=1, downtime_ms=300):
        capabilities = [{"capability": "events", "state": True}]
        parameters = {"max-bandwidth": 100 << 30, "downtime-limit": downtime_ms}
        if channels > 1:
            capabilities.append({"capability": "multifd", "state": True})
            parameters["multifd-channels"] = channels
        self.qmp.command("migrate-set-capabilities", capabilities=capabilities)
        self.qmp.command("migrate-set-parameters", **parameters)

    def fill(self, children, tools, mix, skip_mib=0):
        system.fill_guest(children, tools, self.pid, self.bytes, mix, skip_mib)

    def cpu(self):
        return system.process_cpu(self.pid)


@contextlib.contextmanager
def set_up():
    with system.Children() as children, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        yield children, folder


def start_destination(children, folder, mib, memory, transport, channels, downtime_ms=300):
    side = Side(children, folder, "destination", mib, memory, ["-incoming", "defer"])
    side.set(channels, downtime_ms)
    return side, listen(side, folder, transport)


def listen(side, folder, transport):
    """Returns where."""
    uri = f"unix:{folder}/migration"
    if transport == "tcp":
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            uri = f"tcp:127.0.0.1:{probe.getsockname()[1]}"
    side.qmp.command("migrate-incoming", uri=uri)
    return uri


def migrate(bench, mix, transport, channels, memory="hugetlb"):
    with set_up() as (children, folder):
        source = Side(children, folder, "source", bench.mib, memory, ["-S"])
        source.set(channels)
        destination, uri = start_destination(children, folder, bench.mib, memory, transport,
                                             channels)
        source.fill(children, bench.tools, mix)
        touched = 2 if mix == "hole" else 1     # the source's is read there for the first time
        with bench.warm(children, bench.mib * touched if memory == "shmem" else 0) as holder:
            cpu = source.cpu(), destination.cpu(), holder.cpu()
            window, start = system.Window(), time.monotonic()
            source.qmp.command("migrate", uri=uri)
            end = max(source.qmp.await_migration(), destination.qmp.await_migration())
            cpu = [s.cpu() - c for s, c in zip((source, destination, holder), cpu)]
            result = window.close(sum(cpu))
        return {**result, "wall_ms": (end - start) * 1e3, "cpu_src_s": cpu[0], "cpu_dst_s": cpu[1],
                "downtime_ms": source.qmp.command("query-migrate").get("downtime"),
                "pss_src_mib": system.process_pss_mib(source.pid),
                "pss_dst_mib": system.process_pss_mib(destination.pid)}


def pause(bench, downtime_ms=10):
    """STOP on the source to RESUME on the destination, by the time stamps of these events."""
    with set_up() as (children, folder):
        source = Side(children, folder, "source", bench.mib, "hugetlb", [])
        source.set(1, downtime_ms)
        destination, uri = start_destination(children, folder, bench.mib, "hugetlb", "tcp", 1,
                                             downtime_ms)
        time.sleep(IDLE_AFTER_S)
        source.fill(children, bench.tools, "random", LOW_MIB)
        bench.quiet()
        cpu = source.cpu() + destination.cpu()
        window = system.Window()
        source.qmp.command("migrate", uri=uri)
        source.qmp.await_migration()
        destination.qmp.await_migration()
        stop = source.qmp.await_event(lambda m: m["event"] == "STOP", 10)
        resume = destination.qmp.await_event(lambda m: m["event"] == "RESUME", 10)
        result = window.close(source.cpu() + destination.cpu() - cpu)
        return {**result, "pause_ms": (stamp_us(resume) - stamp_us(stop)) / 1e3,
                "downtime_ms": source.qmp.command("query-migrate").get("downtime")}


def save_and_restore(bench, mix):
    """To an `fd:` file whose space exists, and back into another QEMU."""
    with set_up() as (children, folder):
        source = Side(children, folder, "source", bench.mib, "hugetlb", ["-S"])
        source.set()
        source.fill(children, bench.tools, mix)
        system.whole_file(bench.file, bench.file_mib)
        bench.quiet()
        fd = os.open(bench.file, os.O_RDWR)
        try:
            source.qmp.command("getfd", fds=[fd], fdname="file")
        finally:
            os.close(fd)
        cpu, window, start = source.cpu(), system.Window(), time.monotonic()
        source.qmp.command("migrate", uri="fd:file")
        save_ms = (source.qmp.await_migration() - start) * 1e3
        result = window.close(source.cpu() - cpu)
        source.process.kill()
        source.process.wait()
        destination = Side(children, folder, "destination", bench.mib, "hugetlb",
                           ["-S", "-incoming", "defer"])
        destination.set()
        fd = os.open(bench.file, os.O_RDONLY)
        try:
            destination.qmp.command("getfd", fds=[fd], fdname="file")
        finally:
            os.close(fd)
        start = time.monotonic()
        destination.qmp.command("migrate-incoming", uri="fd:file")
        restore_ms = (destination.qmp.await_migration() - start) * 1e3
        return {**result, "save_ms": save_ms, "restore_ms": restore_ms}
