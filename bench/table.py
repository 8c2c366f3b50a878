# SPDX-License-Identifier: MIT
"""table.py - the rows of the bench: which runs each needs, and the line it has to reach.

A row judges medians. `Judge.check` records one measured ratio with its limit; a row without all of
its figures is reported as not measured, with the reason.
"""
import dataclasses
import os
import statistics

import engines
import gap
import qemu

MIB = 1 << 20
LOAD_MS = 50
STEPS_SHOWN = 5
BUDGET_MIB, BUDGET_CHANNEL_MIB = 16, 2


class Missing(Exception):
    """A figure that no run gave; the text says why."""


@dataclasses.dataclass
class Row:
    name: str
    title: str
    memory: str
    runs: list
    judge: object


class Figures:
    """All results so far, by run."""

    def __init__(self):
        self.results, self.failures = {}, {}

    def add(self, run, result):
        self.results.setdefault(run, []).append(result)

    def fail(self, run, reason):
        self.failures.setdefault(run, reason)

    def median(self, run, field):
        values = [r[field] for r in self.results.get(run, []) if r.get(field) is not None]
        if not values:
            raise Missing(f"{run}: {self.failures.get(run, 'was not run')}")
        return statistics.median(values)

    def longest_steps(self, run, count):
        """The steps of a run that took longest in the pause, by their medians: [(name, ms)]."""
        results = self.results.get(run, [])
        names = {name for r in results for name in r["steps_ms"]}
        found = [(name, statistics.median(r["steps_ms"].get(name, 0) for r in results))
                 for name in names]
        return sorted(found, key=lambda step: -step[1])[:count]

    def spread(self, run, field):
        values = [r[field] for r in self.results.get(run, []) if r.get(field) is not None]
        return [min(values), max(values)] if values else None

    def best(self, runs, field):
        """(median, run) of the least; runs that gave nothing do not take part."""
        found, reason = [], None
        for run in runs:
            try:
                found.append((self.median(run, field), run))
            except Missing as missing:
                reason = missing
        if not found:
            raise reason
        return min(found)


class Judge:
    """What a row found: figures to show, and ratios with their limits."""

    def __init__(self, figures):
        self.figures = figures
        self.shown, self.checks = [], []

    def show(self, label, text):
        self.shown.append((label, text))

    def check(self, what, value, limit, at_least):
        self.checks.append({"what": what, "value": value, "limit": limit, "at_least": at_least,
                            "pass": value >= limit if at_least else value <= limit})

    def best(self, label, runs, field="wall_ms"):
        value, run = self.figures.best(runs, field)
        low, high = self.figures.spread(run, field)
        self.show(label, f"{value:.0f} ms [{low:.0f}-{high:.0f}] ({run.split('/')[-1]})")
        return value, run


# ---- runs: name -> what to call ----

def ram_runs(mix, transport, memory="hugetlb"):
    key = f"{mix}-{transport}" + ("" if memory == "hugetlb" else f"-{memory}")
    runs = {}
    for n in (1, 2):
        runs[f"{key}/vferry-{n}"] = lambda b, n=n: engines.migrate(b, mix, transport, n, memory)
        runs[f"{key}/qemu-{n}"] = lambda b, n=n: qemu.migrate(b, mix, transport, n, memory)
        if memory == "hugetlb":
            runs[f"{key}/bound-{n}"] = lambda b, n=n: engines.bound(b, mix, transport, n)
    return runs


def gap_runs(rate, downtime_ms):
    key = f"gap-{rate}-{downtime_ms}"
    return {f"{key}/vferry": lambda b: gap.vferry(b, rate, downtime_ms),
            f"{key}/qemu": lambda b: gap.of_qemu(b, rate, downtime_ms)}


RUNS = {
    **ram_runs("random", "tcp"), **ram_runs("random", "unix"), **ram_runs("half", "tcp"),
    **ram_runs("zero", "tcp"), **ram_runs("hole", "tcp", "shmem"),
    **ram_runs("random", "tcp", "shmem"),
    "save-random/vferry": lambda b: engines.save_and_restore(b, "random"),
    "save-random/qemu": lambda b: qemu.save_and_restore(b, "random"),
    "save-random/bound-1": lambda b: engines.file_bound(b, 1),
    "save-random/bound-2": lambda b: engines.file_bound(b, 2),
    "pause/vferry": engines.pause,
    "pause/vferry-run": engines.pause_of_run,
    "pause/qemu": qemu.pause,
    **gap_runs(0, 300), **gap_runs(0, 10), **gap_runs(200, 300), **gap_runs(200, 10),
    "memory/vferry-1": lambda b: engines.migrate(b, "random", "tcp", 1, sample=True),
    "memory/vferry-2": lambda b: engines.migrate(b, "random", "tcp", 2, sample=True),
    "socket-1024/tcp": lambda b: engines.raw_socket(b, "tcp", 1024),
    "devices/1-1024": lambda b: engines.devices(b, 1, 1024),
    "devices/1-64": lambda b: engines.devices(b, 1, 64, engines.load_script(LOAD_MS)),
    "devices/8-64": lambda b: engines.devices(b, 8, 64, engines.load_script(LOAD_MS)),
}


# ---- rows ----

def runs_of(key, engine):
    return [run for run in RUNS if run.startswith(f"{key}/{engine}")]


def ram_row(key, over_bound=None, over_qemu=None):
    def judge(j):
        ours, _ = j.best("vferry", runs_of(key, "vferry"))
        theirs, _ = j.best("qemu", runs_of(key, "qemu"))
        if runs_of(key, "bound"):
            bound, _ = j.best("bound", runs_of(key, "bound"))
            if over_bound:
                j.check("of the bound's time", ours / bound, over_bound, False)
        j.check("times as fast as QEMU", theirs / ours, over_qemu, True)
    return judge


def judge_cpu(j):
    def cost(run):
        return j.figures.median(run, "cpu_src_s") + j.figures.median(run, "cpu_dst_s")

    ours = cost(j.figures.best(runs_of("random-tcp", "vferry"), "wall_ms")[1])
    theirs = cost(j.figures.best(runs_of("random-tcp", "qemu"), "wall_ms")[1])
    j.show("vferry", f"{ours:.2f} s")
    j.show("qemu", f"{theirs:.2f} s")
    bound = cost(j.figures.best(runs_of("random-tcp", "bound"), "wall_ms")[1])
    j.show("bound", f"{bound:.2f} s")
    j.check("of QEMU's CPU time", ours / theirs, 0.65, False)


def file_row(field, over_qemu):
    def judge(j):
        ours, _ = j.best("vferry", ["save-random/vferry"], field)
        theirs, _ = j.best("qemu", ["save-random/qemu"], field)
        j.best("bound", runs_of("save-random", "bound"), field)
        j.check("times as fast as QEMU", theirs / ours, over_qemu, True)
    return judge


def judge_pause(j):
    theirs = j.figures.median("pause/qemu", "pause_ms")
    for label, run, who in (("vferry", "pause/vferry", "library"),
                            ("vferry", "pause/vferry-run", "vferry run"),
                            ("qemu", "pause/qemu", "told 10 ms")):
        value = j.figures.median(run, "pause_ms")
        low, high = j.figures.spread(run, "pause_ms")
        j.show(label, f"{value:.1f} ms [{low:.1f}-{high:.1f}] ({who})")
        if label == "vferry":
            j.check(f"ms ({who})", value, 5, False)
            j.check(f"of QEMU's pause ({who})", value / theirs, 0.5, False)


def gap_row(key):
    def judge(j):
        ours, _ = j.best("vferry", [f"{key}/vferry"], "gap_ms")
        theirs, _ = j.best("qemu", [f"{key}/qemu"], "gap_ms")
        for engine in ("vferry", "qemu"):
            own, idle, wall = (j.figures.median(f"{key}/{engine}", field)
                               for field in ("downtime_ms", "idle_gap_ms", "wall_ms"))
            j.show(engine, f"{own:.1f} ms by its own count, {wall:.0f} ms in all; without a migration "
                           f"the guest sees {idle:.1f} ms")
        faults = [r["fault"] for r in j.figures.results[f"{key}/qemu"] if r["fault"]]
        if faults:
            j.show("qemu", f"in {len(faults)} runs its guest found a fault: {faults[0]}")
        j.show("steps", ", ".join(f"{name} {ms:.2f} ms" for name, ms in
                                  j.figures.longest_steps(f"{key}/vferry", STEPS_SHOWN)))
        j.check("of QEMU's", ours / theirs, 1 / 3, False)
    return judge


def judge_memory(j, bench):
    for channels in (1, 2):
        run = f"memory/vferry-{channels}"
        limit = BUDGET_MIB + channels * BUDGET_CHANNEL_MIB + bench.mib / 32768
        most = 0
        for side in ("src", "dst"):
            value = j.figures.median(run, f"pss_{side}_mib")
            most = max(most, value)
            j.show("vferry", f"{value:.1f} MiB {side} ({channels})")
        j.check(f"MiB with {channels} channel" + "s" * (channels > 1), most, limit, False)


def judge_device_rate(j):
    raw = j.figures.median("socket-1024/tcp", "bytes_per_s")
    pause = j.figures.median("devices/1-1024", "pause_ms")
    rate = 1024 * MIB / pause * 1e3
    j.show("vferry", f"{rate / (1 << 30):.2f} GiB/s ({pause:.0f} ms)")
    j.show("bound", f"{raw / (1 << 30):.2f} GiB/s raw socket")
    j.check("of the raw socket's rate", rate / raw, 0.8, True)


def judge_devices(j):
    raw = j.figures.median("socket-1024/tcp", "bytes_per_s")
    one = j.figures.median("devices/1-64", "pause_ms")
    eight = j.figures.median("devices/8-64", "pause_ms")
    j.show("vferry", f"8: {eight:.0f} ms, 1: {one:.0f} ms")
    j.show("bound", f"{raw / (1 << 30):.2f} GiB/s raw socket")
    bare_one = one - 64 * MIB / raw * 1e3
    bare_eight = eight - 512 * MIB / raw * 1e3
    # What is left if the engine costs nothing: the devices' own work, and that of the kernel's TCP.
    cpu = j.figures.median("devices/8-64", "cpu_devices_s") + sum(
        j.figures.median("socket-1024/tcp", side) / 2 for side in ("cpu_src_s", "cpu_dst_s"))
    cpus = len(os.sched_getaffinity(0))
    floor = cpu / cpus * 1e3 + LOAD_MS
    j.show("floor", f"8: {floor:.0f} ms, {(floor - 512 * MIB / raw * 1e3) / bare_one:.2f}: the devices and "
           f"a raw socket alone on {cpus} CPUs")
    j.check("of one device's pause, transfer taken out", bare_eight / bare_one, 1.4, False)


def rows(bench):
    huge, shmem = "hugetlb, fresh destination", "shmem, fresh destination"
    devices = ["socket-1024/tcp", "devices/1-64", "devices/8-64"]

    def ram(key, title, memory, over_bound, over_qemu):
        return Row(key, title, memory, [r for r in RUNS if r.startswith(f"{key}/")],
                   ram_row(key, over_bound, over_qemu))

    return [
        ram("random-tcp", "random, tcp", huge, 1.2, 1.25),
        ram("random-unix", "random, unix", huge, 1.2, 1.6),
        ram("half-tcp", "half zero, half random, tcp", huge, 1.2, 1.3),
        ram("zero-tcp", "all zero, tcp", huge, None, 3),
        ram("hole-tcp-shmem", "never touched, tcp", shmem, None, 20),
        ram("random-tcp-shmem", "random, tcp", shmem, None, 1.5),
        Row("save", "save, random", "hugetlb, file in shmem", runs_of("save-random", ""),
            file_row("save_ms", 1.4)),
        Row("restore", "restore, random", "hugetlb, file in shmem", runs_of("save-random", ""),
            file_row("restore_ms", 2.2)),
        Row("cpu", "CPU of both sides, random, tcp", huge, runs_of("random-tcp", ""), judge_cpu),
        Row("pause", "pause of an idle machine, no devices", "hugetlb", runs_of("pause", ""),
            judge_pause),
        *(Row(f"gap-{rate}-{limit}", f"longest gap in a guest under KVM that dirties {rate} MB/s, "
              f"limit {limit} ms", "hugetlb", runs_of(f"gap-{rate}-{limit}", ""),
              gap_row(f"gap-{rate}-{limit}"))
          for rate in (0, 200) for limit in (300, 10)),
        Row("memory", "memory of a side over guest RAM", "hugetlb", runs_of("memory", ""),
            lambda j: judge_memory(j, bench)),
        Row("device", "one device, 1 GiB of stop-copy state", "-",
            ["socket-1024/tcp", "devices/1-1024"], judge_device_rate),
        Row("devices", f"8 devices, 64 MiB each, {LOAD_MS} ms loads", "-", devices, judge_devices),
    ]


def judge(row, figures):
    """The row as a dictionary, for the table and for JSON."""
    j = Judge(figures)
    try:
        row.judge(j)
        reason = None
    except Missing as missing:
        reason = str(missing)
    return {"name": row.name, "case": row.title, "memory": row.memory,
            "figures": j.shown, "checks": [] if reason else j.checks, "not_measured": reason}


def lines(judged):
    """The rows as text: figures beside their engine, then each ratio with its limit and verdict."""
    for row in judged:
        yield f"{row['case']}  ({row['memory']})"
        for label in ("vferry", "qemu", "bound", "floor", "steps"):
            texts = [text for name, text in row["figures"] if name == label]
            if texts:
                yield f"    {label:8}{', '.join(texts)}"
        if row["not_measured"]:
            yield f"    not measured: {row['not_measured']}"
        for check in row["checks"]:
            sign = ">=" if check["at_least"] else "<="
            verdict = "pass" if check["pass"] else "miss"
            yield (f"    {verdict}    {check['value']:.2f} {check['what']}"
                   f"  (to reach: {sign} {check['limit']:g})")
