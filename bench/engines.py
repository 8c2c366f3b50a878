# SPDX-License-Identifier: MIT
"""engines.py - one measured run of vferry, of the bound, or of the raw socket per call."""
import contextlib
import tempfile

import system
from qmp import Qmp, stamp_us
from system import Failed, hear, hear_result, say

DEVICE_SEED = 7
LONG_MS = 60000         # a pause of any length will do


@contextlib.contextmanager
def set_up():
    with system.Children() as children, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        yield children, folder


def start_side(bench, children, side, uri, mib, options):
    return children.start([bench.tools / "bench-engine", side, "--uri", uri, "--mib", mib,
                           *options])


def compare(source, destination):
    """After the measurement: is the memory of both sides the same?"""
    say(source, "digest")
    say(destination, "digest")
    if hear(source) != hear(destination):
        raise Failed("the memory of source and destination differs")


def both_sides(source, destination):
    """Starts a migration between two sides that are ready, and returns their results."""
    uri = hear(destination).removeprefix("ready ")
    if hear(source) != "ready":
        raise Failed("the source is not ready")
    return uri


def merge(source, destination):
    end = max(source["end_ns"], destination["end_ns"])
    return {"wall_ms": (end - source["begin_ns"]) / 1e6,
            "cpu_src_s": source["cpu_s"], "cpu_dst_s": destination["cpu_s"],
            "pause_ms": (destination["started_ns"] - source["stopped_ns"]) / 1e6,
            "downtime_ms": source["downtime_ms"], "passes": source["pass"],
            "sent_mib": source["sent_mib"],
            "pss_src_mib": source["pss_peak_kib"] / 1024,
            "pss_dst_mib": destination["pss_peak_kib"] / 1024}


def listen_uri(transport, folder):
    return "tcp:127.0.0.1:0" if transport == "tcp" else f"unix:{folder}/migration"


def migrate(bench, mix, transport, channels, memory="hugetlb", sample=False, downtime_ms=300):
    options = ["--memory", memory, "--channels", channels, "--max-downtime", downtime_ms]
    if sample:
        options.append("--sample")
    with set_up() as (children, folder):
        destination = start_side(bench, children, "destination", listen_uri(transport, folder),
                                 bench.mib, options)
        source = start_side(bench, children, "source", "-", bench.mib, [*options, "--mix", mix])
        uri = both_sides(source, destination)
        with bench.warm(children, bench.mib if memory == "shmem" and mix != "hole" else 0) as holder:
            held = holder.cpu()
            window = system.Window()
            say(source, uri)
            result = merge(hear_result(source), hear_result(destination))
            result.update(window.close(result["cpu_src_s"] + result["cpu_dst_s"] +
                                       holder.cpu() - held))
        compare(source, destination)
        return result


def pause(bench):
    """Of a machine that has nothing to do; see bench-engine for what is measured."""
    return migrate(bench, "random", "tcp", 1)


def words_of(process):
    """What a `vferry run` that is ready says of itself."""
    return dict(word.split("=", 1) for word in hear(process).split()[1:])


def connect(control):
    qmp = Qmp(control)
    qmp.command("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
    return qmp


def start_machine(bench, children, control, *options):
    """A `vferry run` whose guest sleeps: (process, where it listens, its control connection)."""
    process = children.start([bench.vferry, "run", "--accel", "soft", "--guest", "idle", "--hugetlb",
                              "--memory", f"{bench.mib}M", "--control", control, *options])
    uri = words_of(process).get("incoming")
    return process, uri, connect(control)


def pause_of_run(bench):
    """The same between two `vferry run`: its event STOP to the other's event RESUME, as with QEMU."""
    with set_up() as (children, folder):
        _, uri, destination = start_machine(bench, children, f"{folder}/destination", "--incoming",
                                            "tcp:127.0.0.1:0")
        process, _, source = start_machine(bench, children, f"{folder}/source")
        system.fill_guest(children, bench.tools, process.pid, bench.mib << 20, "random")
        bench.quiet()
        pids = [child.pid for child in children.processes if child.poll() is None]
        cpu = sum(map(system.process_cpu, pids))
        window = system.Window()
        source.command("migrate", uri=uri)
        source.await_migration()
        destination.await_migration()
        stop = source.await_event(lambda m: m["event"] == "STOP", 10)
        resume = destination.await_event(lambda m: m["event"] == "RESUME", 10)
        result = window.close(sum(map(system.process_cpu, pids)) - cpu)
        return {**result, "pause_ms": (stamp_us(resume) - stamp_us(stop)) / 1e3}


def bound(bench, mix, transport, channels, memory="hugetlb"):
    with set_up() as (children, _):
        run = children.start([bench.tools / "bench-bound", "--mib", bench.mib, "--mix", mix,
                              "--transport", transport, "--channels", channels,
                              "--memory", memory])
        hear(run)
        bench.quiet()
        window = system.Window()
        say(run, "go")
        result = hear_result(run)
        return {**result, **window.close(result["cpu_src_s"] + result["cpu_dst_s"])}


def save_and_restore(bench, mix):
    uri = f"file:{bench.file}"
    with set_up() as (children, _):
        source = start_side(bench, children, "source", uri, bench.mib,
                            ["--memory", "hugetlb", "--mix", mix])
        hear(source)
        system.whole_file(bench.file, bench.file_mib)
        bench.quiet()
        window = system.Window()
        say(source, uri)
        saved = hear_result(source)
        result = window.close(saved["cpu_s"])
        say(source, "digest")
        digest = hear(source)
        source.kill()
        source.wait()
        destination = start_side(bench, children, "destination", uri, bench.mib,
                                 ["--memory", "hugetlb"])
        hear(destination)
        say(destination, "go")
        restored = hear_result(destination)
        say(destination, "digest")
        if hear(destination) != digest:
            raise Failed("the memory restored is not what was saved")
        return {**result, "save_ms": (saved["end_ns"] - saved["begin_ns"]) / 1e6,
                "restore_ms": (restored["end_ns"] - restored["begin_ns"]) / 1e6}


def file_bound(bench, threads):
    with set_up() as (children, _):
        system.whole_file(bench.file, bench.file_mib)
        run = children.start([bench.tools / "bench-filebound", "--file", bench.file, "--mib", bench.mib,
                              "--threads", threads])
        hear(run)
        bench.quiet()
        cpu = system.process_cpu(run.pid)
        window = system.Window()
        say(run, "go")
        result = hear_result(run)
        return {**result, **window.close(result["cpu_s"] - cpu)}


def start_devices(bench, children, folder, side, count, mib, script):
    """The devices of one side, one process each; returns what a side must be told."""
    options = []
    if script:
        with open(f"{folder}/script", "w") as f:
            f.write(script)
    processes = []
    for i in range(count):
        path = f"{folder}/{side}-{i}"
        command = [bench.tools / "bench-device", "--model", "accel", "--socket", path,
                   "--state-size", f"{mib}MiB", "--seed", DEVICE_SEED, "--precopy", "off"]
        if script:
            command += ["--script", f"{folder}/script"]
        processes.append(children.start(command))
        options += ["--device", f"vfio-user:{path}"]
    for process in processes:
        hear(process)
    return processes, options


def devices(bench, count, mib, script=""):
    """The pause of a machine with devices whose state all comes in it."""
    common = ["--memory", "shmem", "--max-downtime", LONG_MS, "--budget", 2 * LONG_MS]
    with set_up() as (children, folder):
        ours, options = start_devices(bench, children, folder, "destination", count, mib, script)
        theirs, source_options = start_devices(bench, children, folder, "source", count, mib,
                                               script)
        destination = start_side(bench, children, "destination", listen_uri("tcp", folder), 16,
                                 common + options)
        source = start_side(bench, children, "source", "-", 16, common + source_options)
        uri = both_sides(source, destination)
        bench.quiet()
        pids = [process.pid for process in ours + theirs]
        cpu = sum(map(system.threads_cpu, pids))
        window = system.Window()
        say(source, uri)
        result = merge(hear_result(source), hear_result(destination))
        device_cpu = sum(map(system.threads_cpu, pids)) - cpu
        result.update(window.close(result["cpu_src_s"] + result["cpu_dst_s"] + device_cpu),
                      cpu_devices_s=device_cpu)
        compare(source, destination)
        return result


def load_script(ms):
    return f"on RESUMING->STOP delay {ms}ms\n"


def raw_socket(bench, transport, mib):
    with set_up() as (children, _):
        run = children.start([bench.tools / "bench-socket", transport, mib])
        hear(run)
        bench.quiet()
        window = system.Window()
        say(run, "go")
        result = hear_result(run)
        return {**result, **window.close(result["cpu_src_s"] + result["cpu_dst_s"])}
