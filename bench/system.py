# SPDX-License-Identifier: MIT
"""system.py - processes of a measurement, and what the machine does meanwhile.

Every process is ended by its own id. Whoever else uses the CPUs is watched: `Window` tells how much
of them went to others while something was measured.
"""
import ctypes
import json
import mmap
import os
import pathlib
import select
import socket
import subprocess
import sys
import time

TICK = os.sysconf("SC_CLK_TCK")
POOL = pathlib.Path("/proc/sys/vm/nr_hugepages")
CONGESTION = pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control")
CLONE_NEWNET = 0x40000000
MAP_HUGETLB = 0x40000
QUIET_SHARE = 0.08      # of one core, by others, is quiet


class Failed(Exception):
    """A run that gave no figure; the text says why."""


class Children:
    """Processes of one run; leaving the block ends them."""

    def __enter__(self):
        self.processes = []
        return self

    def __exit__(self, *_):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream:
                    stream.close()

    def start(self, command):
        process = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.buffer = b""
        self.processes.append(process)
        return process


def say(process, text):
    try:
        process.stdin.write(text.encode() + b"\n")
        process.stdin.flush()
    except BrokenPipeError:
        raise Failed(last_words(process)) from None


def last_words(process):
    try:
        process.wait(3)
    except subprocess.TimeoutExpired:
        process.kill()
    words = process.stderr.read().decode(errors="replace").strip().splitlines()
    return words[-1] if words else f"{process.args[0]} ended without a word"


def hear(process, timeout=120):
    """The process's next line of output."""
    until = time.monotonic() + timeout
    while b"\n" not in process.buffer:
        left = until - time.monotonic()
        if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
            raise Failed(f"{os.path.basename(process.args[0])} said nothing for {timeout} s")
        data = os.read(process.stdout.fileno(), 65536)
        if not data:
            raise Failed(last_words(process))
        process.buffer += data
    line, process.buffer = process.buffer.split(b"\n", 1)
    return line.decode()


def hear_result(process, timeout=120):
    result = json.loads(hear(process, timeout))
    if result["status"] != "completed":
        raise Failed(last_words(process))
    return result


def process_cpu(pid):
    """Seconds of user and system time, those of its ended children too."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(int(field) for field in fields[11:15]) / TICK


def threads_cpu(pid):
    """Seconds that the threads which it has now have run, to the nanosecond."""
    return sum(int(stat.read_text().split()[0])
               for stat in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def process_pss_mib(pid):
    """Without hugetlb pages, which the kernel counts apart."""
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def connect(path, attempts=500):
    """A connection to a unix socket that somebody is about to open."""
    connection = socket.socket(socket.AF_UNIX)
    for _ in range(attempts):
        try:
            connection.connect(path)
            return connection
        except OSError:
            time.sleep(0.02)
    raise Failed(f"nobody opened {os.path.basename(path)}")


def guest_address(pid, size):
    """Where a process has its guest memory: the one writable mapping of that size."""
    with open(f"/proc/{pid}/maps") as maps:
        for line in maps:
            span, permissions = line.split()[:2]
            first, end = (int(x, 16) for x in span.split("-"))
            if permissions.startswith("rw") and end - first == size:
                return first
    raise Failed(f"the guest memory of process {pid} was not found")


def fill_guest(children, tools, pid, size, mix, skip_mib=0):
    """Writes @mix into the @size bytes of guest memory of a process, but for @skip_mib at both ends."""
    skip = skip_mib << 20
    fill = children.start([tools / "bench-memory", "fill", pid, guest_address(pid, size) + skip,
                           size - 2 * skip, mix, 1])
    if fill.wait():
        raise Failed(last_words(fill))


def busy():
    """Seconds that the CPUs were busy since the machine started."""
    with open("/proc/stat") as stat:
        fields = stat.readline().split()
    return sum(int(fields[i]) for i in (1, 2, 3, 6, 7)) / TICK


def enter_namespace(congestion):
    """
    This process into a network namespace of its own, with @congestion as everybody's congestion
    control there. A new namespace takes over what the first one has, and nothing else can be chosen
    in it by default, so the first one's is changed for that moment.
    """
    with open(CONGESTION, "r+b", buffering=0) as outside:
        before = outside.read()
        outside.seek(0)
        try:
            outside.write(congestion)
            if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
                sys.exit(f"bench: no network namespace: {os.strerror(ctypes.get_errno())}")
        finally:
            outside.seek(0)
            outside.write(before)       # the file is still that of the first namespace
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


class Window:
    """A stretch of time; others_s is what the CPUs did in it for nobody of this run."""

    def __init__(self):
        self.busy, self.own, self.at = busy(), sum(os.times()[:4]), time.monotonic()

    def close(self, measured_s):
        self.ms = (time.monotonic() - self.at) * 1e3
        own = sum(os.times()[:4]) - self.own
        self.others_s = max(0.0, busy() - self.busy - own - measured_s)
        return {"others_cpu_s": round(self.others_s, 2), "window_ms": round(self.ms, 1)}


def wait_quiet(limit):
    """Until others leave the CPUs alone, for @limit seconds at most."""
    until = time.monotonic() + limit
    while time.monotonic() < until:
        before, at = busy(), time.monotonic()
        time.sleep(0.3)
        if (busy() - before) / (time.monotonic() - at) < QUIET_SHARE:
            return


class HugePool:
    """
    The kernel's pool of 2 MiB pages, raised for the length of the block. Each page is touched once: in
    a virtual machine the first touch of all may be the host's page fault, not the guest's.
    """

    def __init__(self, mib):
        self.pages = mib // 2

    def __enter__(self):
        self.before = int(POOL.read_text())
        self.ok = self.before >= self.pages
        if not self.ok:
            try:
                POOL.write_text(str(self.pages))
            except OSError:
                return self
            self.ok = int(POOL.read_text()) >= self.pages
        try:
            if self.ok:
                self._touch()
        except OSError:     # others have some of them
            self.ok = False
        return self

    def _touch(self):
        with mmap.mmap(-1, self.pages << 21, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS |
                       MAP_HUGETLB) as memory:
            for at in range(0, len(memory), 1 << 21):
                memory[at] = 1

    def __exit__(self, *_):
        if int(POOL.read_text()) != self.before:
            POOL.write_text(str(self.before))


def whole_file(path, mib):
    """
    A file all of whose space is there, so that writing over it allocates nothing. All of it is written
    over once here: the kernel puts a page of a file on another list when it is touched for the second
    time, which would be in the time of whoever writes first. It is private, as whoever saves into it wants.
    """
    block = b"\x5a" * (4 << 20)
    for _ in range(2):
        with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as f:
            for _ in range((mib + 3) // 4):
                f.write(block)
