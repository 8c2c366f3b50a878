#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""bench.py - vferry beside QEMU and beside the physical limit; see `make bench`.

All runs of all rows are done once, then again, and so on, so that a slow spell of the machine hits
every engine alike; only ratios of medians out of one such batch count. A run during which others used
the CPUs is repeated, and counted as disturbed if that does not help. Runs in a network namespace of its
own, with cubic as everybody's congestion control. At its defaults a repetition takes about 7 minutes
on two processors that nobody else uses; where others do, each run waits and is tried again, and it
may take many times that. Settings, from the environment:

    BENCH_REPS=5        repetitions
    BENCH_ROWS=         names of rows, separated by commas; empty: all
    BENCH_MEM=4096      guest memory in MiB; a figure for less is for trying only
    BENCH_QUIET=15      seconds to wait for others to leave the CPUs alone before each run
    BENCH_ATTEMPTS=3    how often a disturbed run is tried
    BENCH_OUT=FILE      where the JSON goes (build/bench.json)
"""
import contextlib
import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys

import system
import table

ATTEMPTS = int(os.environ.get("BENCH_ATTEMPTS") or 3)
DISTURBED_SHARE, DISTURBED_S = 0.06, 0.05


class NoHolder:
    @staticmethod
    def cpu():
        return 0.0


class Holder:
    """Memory kept warm for whoever allocates next; see memory.c."""

    def __init__(self, bench, children, mib):
        self.process = children.start([bench.tools / "bench-memory", "hold", mib])
        system.hear(self.process)

    def cpu(self):
        return system.process_cpu(self.process.pid)


class Bench:
    def __init__(self, build):
        self.tools = build / "bench"
        self.vferry = build / "tools" / "vferry"
        self.mib = int(os.environ.get("BENCH_MEM") or 4096)
        self.reps = int(os.environ.get("BENCH_REPS") or 5)
        self.quiet_s = float(os.environ.get("BENCH_QUIET") or 15)
        self.out = pathlib.Path(os.environ.get("BENCH_OUT") or build / "bench.json")
        self.file = f"/dev/shm/vferry-bench-{os.getpid()}"
        self.file_mib = self.mib + self.mib // 256 + 16    # what each engine puts beside the pages

    def quiet(self):
        system.wait_quiet(self.quiet_s)

    @contextlib.contextmanager
    def warm(self, children, mib):
        """@mib of memory that the measured step will allocate are ready for it."""
        holder = Holder(self, children, mib + 512) if mib else NoHolder()
        self.quiet()
        if mib:
            system.say(holder.process, "go")
        yield holder
        if mib:
            holder.process.stdin.close()
            holder.process.wait()
            holder.process.stdin = None


def is_disturbed(result):
    return result.get("others_cpu_s", 0) > DISTURBED_S + (
        DISTURBED_SHARE * result.get("window_ms", 0) / 1e3)


def run_once(bench, figures, name):
    for _ in range(ATTEMPTS):
        try:
            result = table.RUNS[name](bench)
        except (system.Failed, OSError) as failed:      # OSError: a process that died mid-word
            figures.fail(name, str(failed))
            return f"not measured: {failed}"
        result["disturbed"] = is_disturbed(result)
        if not result["disturbed"]:
            break
    figures.add(name, result)
    main = next((f"{field} {result[field]:.1f}" for field in ("save_ms", "gap_ms", "wall_ms", "pause_ms")
                 if field in result), "")
    return main + (f"  (others used {result['others_cpu_s']} s)" if result["disturbed"] else "")


def run_all(bench, rows):
    figures = table.Figures()
    wanted = {run for row in rows for run in row.runs}
    for rep in range(bench.reps):
        for name in table.RUNS:
            if name in wanted and name not in figures.failures:
                print(f"{rep + 1}/{bench.reps}  {name:28}", end="", file=sys.stderr, flush=True)
                print(run_once(bench, figures, name), file=sys.stderr, flush=True)
    return figures


def version_of(command):
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.splitlines()[0]
    except (OSError, IndexError):
        return "unknown"


def describe(bench):
    cpus = [line.split(":")[1].strip() for line in open("/proc/cpuinfo")
            if line.startswith("model name")]
    return {"when": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            "guest_mib": bench.mib, "repetitions": bench.reps,
            "qemu": version_of(["qemu-system-x86_64", "--version"]), "kernel": platform.release(),
            "cpu": cpus[0] if cpus else platform.machine(), "cpus": len(os.sched_getaffinity(0)),
            "congestion_control": system.CONGESTION.read_text().strip()}


def main():
    bench = Bench(pathlib.Path(sys.argv[1]).resolve())
    rows = table.rows(bench)
    names = [name for name in os.environ.get("BENCH_ROWS", "").split(",") if name]
    unknown = set(names) - {row.name for row in rows}
    if unknown:
        sys.exit(f"bench: no row called {', '.join(sorted(unknown))}; "
                 f"there are {', '.join(row.name for row in rows)}")
    rows = [row for row in rows if not names or row.name in names]
    system.enter_namespace(b"cubic")
    about = describe(bench)
    try:
        with system.HugePool(2 * bench.mib + 64) as pool:
            if not pool.ok:
                sys.exit(f"bench: cannot have {2 * bench.mib} MiB of 2 MiB pages")
            figures = run_all(bench, rows)
    finally:
        pathlib.Path(bench.file).unlink(missing_ok=True)
    judged = [table.judge(row, figures) for row in rows]
    bench.out.write_text(json.dumps({"about": about, "rows": judged, "runs": figures.results,
                                     "failures": figures.failures}, indent=1) + "\n")
    disturbed = sum(r.get("disturbed", False) for rs in figures.results.values() for r in rs)
    total = sum(len(rs) for rs in figures.results.values())
    print(f"{about['guest_mib']} MiB guest, medians [least-most] of {bench.reps}; {about['qemu']}; "
          f"{about['cpus']} x {about['cpu']}, Linux {about['kernel']}, "
          f"{about['congestion_control']}")
    for line in table.lines(judged):
        print(line)
    checks = [check for row in judged for check in row["checks"]]
    passed = sum(check["pass"] for check in checks)
    print(f"{passed} pass, {len(checks) - passed} miss, "
          f"{sum(bool(row['not_measured']) for row in judged)} rows not measured; "
          f"{disturbed} of {total} runs disturbed by others; JSON: {bench.out}")


if __name__ == "__main__":
    main()
