# SPDX-License-Identifier: MIT
"""gap.py - the pause as a guest sees it: the longest time in which it did not run though it meant to.

The self-checking guest runs under KVM in `vferry run` and in QEMU: the very same image with the same
orders, in RAM of the same size at the same places. QEMU gets it as `vferry run` has put it into memory,
and 5 bytes of firmware that jump to where it begins. Of the machines QEMU has, `pc` without any devices
but those that belong to the board is the nearest to vferry's.

The guest looks around every TICK_US, or writes pages, so that is how exactly a gap is known. The
longest one is forgotten right before the migration and read at the destination a while after it; then
the guest checks all of its memory. A figure of vferry's counts only if it found nothing wrong; of QEMU's
it is told. (There are KVMs that show AVX to guests, and not to VMMs: QEMU then leaves its registers out.)
"""
import dataclasses
import json
import pathlib
import subprocess
import time

import engines
import qemu
import system
from system import Failed

MIB = 1 << 20
GUEST_MIB_MAX = 2048    # and that is all that `pc` has below 4 GiB here, as vferry's machine
TICK_US = 1000
SETTLE_S = 0.5          # what happens so long after the guest runs again is its pause's doing, too
BOOT_S = 60
# Where guest and orders are in memory (guest/boot.h): a PC's firmware and devices are in between.
PROGRAM = {"low": (0, 0xa0000), "high": (MIB, 8 * MIB)}
ENTRY = 0x8000


@dataclasses.dataclass
class Work:
    """What a guest has to do: all of its RAM has content, and half of it is dirtied."""
    mib: int
    rate: int           # MB/s
    downtime_ms: int    # the migration's limit

    @property
    def orders(self):
        return (f"rate={self.rate} working-set={self.mib // 2}M fill={self.mib}M "
                f"tick-us={TICK_US}")


# ---- a side: a machine, and what can be asked of its guest ----

class Vferry:
    def __init__(self, bench, children, folder, name, work, *options):
        self.process = children.start([
            bench.vferry, "run", "--accel", "kvm", "--hugetlb", "--memory", f"{work.mib}M",
            "--guest-args", work.orders, "--control", f"{folder}/{name}", *options])
        self.uri = engines.words_of(self.process).get("incoming")
        self.qmp = engines.connect(f"{folder}/{name}")
        self.qmp.command("migrate-set-parameters", downtime_limit=work.downtime_ms)
        self.pid = self.process.pid

    def order(self, text):
        self.qmp.command("x-vferry-guest-command", command=text)

    def verdict(self):
        return self.qmp.command("x-vferry-verdict")


class Qemu:
    def __init__(self, bench, children, folder, name, work, *options):
        self.bench = bench
        self.side = qemu.Side(children, folder, name, work.mib, "hugetlb", [
            "-cpu", "host,-arch-capabilities", "-bios", f"{folder}/firmware",
            "-chardev", f"socket,id=line,path={folder}/{name}.line,server=on,wait=off",
            "-serial", "chardev:line", *options],
            f"pc,accel=kvm,max-ram-below-4g={GUEST_MIB_MAX}M")
        self.side.set(1, work.downtime_ms)
        self.qmp, self.pid = self.side.qmp, self.side.pid
        self.address = system.guest_address(self.pid, work.mib * MIB)
        self.line = system.connect(f"{folder}/{name}.line")

    def order(self, text):
        said = b""
        self.line.sendall(text.encode() + b"\n")
        while b"reply" not in said or not said.endswith(b"\n"):
            data = self.line.recv(4096)
            if not data:
                raise Failed("the serial line of QEMU's guest was closed")
            said += data
        if b"reply +" not in said:
            raise Failed(f"QEMU's guest said: {said.decode()}")

    def verdict(self):
        reader = subprocess.run([self.bench.tools / "bench-guest", str(self.pid), str(self.address)],
                                capture_output=True, text=True)
        if reader.returncode:
            raise Failed(reader.stderr.strip())
        return json.loads(reader.stdout)


def await_verdict(side, what, wanted):
    until = time.monotonic() + BOOT_S
    while not wanted(verdict := side.verdict()):
        if time.monotonic() > until:
            raise Failed(f"{what} within {BOOT_S} s")
        time.sleep(0.1)
    return verdict


# ---- the guest, for QEMU ----

def firmware():
    """64 KiB of nothing, and where a processor begins, 16 bytes before its end: `ljmp 0:ENTRY`."""
    rom = bytearray(65536)
    rom[-16:-11] = b"\xea" + ENTRY.to_bytes(2, "little") + b"\0\0"
    return rom


def take_program(bench, folder, work):
    """What `vferry run` puts into the memory of a new machine. Returns QEMU's options for it."""
    options = []
    with system.Children() as children:
        machine = Vferry(bench, children, folder, "model", work, "--paused")
        begin = system.guest_address(machine.pid, work.mib * MIB)
        with open(f"/proc/{machine.pid}/mem", "rb") as memory:
            for name, (first, end) in PROGRAM.items():
                memory.seek(begin + first)
                pathlib.Path(f"{folder}/{name}").write_bytes(memory.read(end - first))
                options += ["-device",
                            f"loader,file={folder}/{name},addr={first:#x},force-raw=on"]
    pathlib.Path(f"{folder}/firmware").write_bytes(firmware())
    return options


# ---- one run ----

def measure(bench, source, destination, uri):
    """The migration, and the figures that both engines have."""
    await_verdict(source, "the guest did not boot", lambda verdict: verdict["booted"])
    bench.quiet()
    source.order("forget-gap")
    time.sleep(SETTLE_S)
    idle = source.verdict()["longest-gap-ns"]
    pids = source.pid, destination.pid
    cpu, window, start = sum(map(system.process_cpu, pids)), system.Window(), time.monotonic()
    source.qmp.command("migrate", uri=uri)
    source.qmp.await_migration()
    wall = destination.qmp.await_migration() - start
    time.sleep(SETTLE_S)
    gap = destination.verdict()["longest-gap-ns"]
    result = window.close(sum(map(system.process_cpu, pids)) - cpu)
    answer = source.qmp.command("query-migrate")
    return answer, {**result, "gap_ms": gap / 1e6, "idle_gap_ms": idle / 1e6, "wall_ms": wall * 1e3,
                    "downtime_ms": answer["downtime"], "sent_mib": answer["ram"]["transferred"] / MIB,
                    "passes": answer["ram"]["dirty-sync-count"]}


def fault_of(side):
    """The guest checks all of its memory; what it found wrong first, or nothing."""
    before = side.verdict()["passes"]
    side.order("judge")
    verdict = await_verdict(side, "the guest did not check its memory",
                            lambda verdict: verdict["passes"] > before)
    return "" if verdict["clean"] else verdict.get("first-fault") or "something is wrong"


def steps_of(answer):
    """{"COMPONENT:NAME (SIDE)": ms} of what was done in the pause."""
    return {f"{step['component']}:{step['name']} ({step['side']})":
            (step["end-ns"] - step["start-ns"]) / 1e6
            for step in answer["x-vferry-report"] if step["in-pause"] and step["done"]}


def vferry(bench, rate, downtime_ms):
    work = Work(min(bench.mib, GUEST_MIB_MAX), rate, downtime_ms)
    with engines.set_up() as (children, folder):
        destination = Vferry(bench, children, folder, "destination", work, "--incoming",
                             "tcp:127.0.0.1:0")
        source = Vferry(bench, children, folder, "source", work)
        answer, result = measure(bench, source, destination, destination.uri)
        fault = fault_of(destination)
        if fault:
            raise Failed(f"the guest found a fault: {fault}")
        return {**result, "downtime_ms": answer["x-vferry-downtime-ns"] / 1e6,
                "steps_ms": steps_of(answer)}


def of_qemu(bench, rate, downtime_ms):
    work = Work(min(bench.mib, GUEST_MIB_MAX), rate, downtime_ms)
    with engines.set_up() as (children, folder):
        program = take_program(bench, folder, work)
        destination = Qemu(bench, children, folder, "destination", work, "-incoming", "defer")
        uri = qemu.listen(destination.side, folder, "tcp")
        source = Qemu(bench, children, folder, "source", work, *program)
        _, result = measure(bench, source, destination, uri)
        return {**result, "fault": fault_of(destination)}
