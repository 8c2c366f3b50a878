# SPDX-License-Identifier: MIT
"""Whole migrations between processes, judged by the guest."""
import json
import os
import stat
import time

import pytest

from lab import DONE, FAILED, finish, run, wait_for


def check_moved(source, destination, migrations=1):
    assert source.status() == "postmigrate"
    assert destination.wait_status("running")
    return destination.judge(migrations)


@pytest.mark.threads
@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("devices", [1, 8])
def test_devices_and_channels(lab, devices, channels):
    source, destination = lab.pair(devices)
    result = lab.migrate(source, destination.uri, "--parallel-connections", channels)
    assert "restored in the pause" in result.stdout
    check_moved(source, destination)
    destination.check_forwarded()
    source.check_told_forwarded(result.stdout)


def test_what_is_not_forwarded_any_more_is_said(lab):
    """The destination's controller forwards nothing, and only the destination knows."""
    source = lab.machine("source", lab.devices(1), "--gic", "v4.0")
    source.wait_work()
    destination = lab.machine("destination", lab.devices(1), "--gic", "v3", incoming="tcp:127.0.0.1:0")
    result = lab.migrate(source, destination.uri)
    lost = source.migration()["x-vferry-interrupts"]["devices"][0]
    address, vectors = lost["address"], lost["before"]["connected"]
    assert vectors > 1 and lost["lost"] == vectors and lost["after"]["runs"][0]["reason"] == "no-gicv4"
    assert (f"WARNING: {address}: {vectors} vectors that hardware delivered before are not forwarded any more"
            in result.stdout)
    assert f"forwarded before: {vectors} of {vectors}; after: 0 of {vectors}\n" in result.stdout
    assert f"    after, vectors 0 to {vectors - 1}: not forwarded: no-gicv4\n" in result.stdout
    assert destination.wait_status("running")


@pytest.mark.parametrize("policy", ["throttle", "continue", "give-up"])
def test_policy_that_converges(lab, policy):
    source, destination = lab.pair()
    lab.migrate(source, destination.uri, "--policy", policy)
    check_moved(source, destination)


# Memory is dirtied faster than the link takes it.
TOO_FAST = {"guest": "rate=200 working-set=16M", "memory": "48M"}
LIMITED = ("--bandwidth", "40MB/s", "--max-downtime", "100")


def test_give_up_says_why(lab):
    source, destination = lab.pair(**TOO_FAST)
    result = lab.migrate(source, destination.uri, *LIMITED, "--policy", "give-up", expect=FAILED)
    assert "MiB/s" in result.stderr
    assert source.status() == "running"
    source.judge()


# Nobody knows what the device wrote: the whole working set goes in the pause, however little is dirty.
BLIND = {"device_args": ("--dma-log", "off"), "guest": "rate=1 working-set=16M", "memory": "48M"}


def test_memory_that_nobody_watches_is_counted(lab):
    source, destination = lab.pair(**BLIND)
    result = lab.migrate(source, destination.uri, *LIMITED, "--policy", "give-up", expect=FAILED)
    assert "nobody knows which memory a device wrote" in result.stderr
    assert source.status() == "running"
    source.judge()


def test_a_device_without_a_log_moves_if_it_may_take_long(lab):
    source, destination = lab.pair(**BLIND)
    lab.migrate(source, destination.uri, "--max-downtime", "5000", "--policy", "give-up")
    check_moved(source, destination)


def test_throttle_makes_it_converge(lab):
    source, destination = lab.pair(**TOO_FAST)
    result = lab.migrate(source, destination.uri, *LIMITED, "--policy", "throttle", "--json")
    assert json.loads(result.stdout)["x-vferry-outcome"] == "done"
    assert "slowed by" in result.stderr
    check_moved(source, destination)


def test_continue_goes_on_until_the_timeout(lab):
    source, destination = lab.pair(**TOO_FAST)
    result = lab.migrate(source, destination.uri, *LIMITED, "--policy", "continue", "--timeout", 4,
                         expect=FAILED)
    assert "slowed by" not in result.stderr
    assert source.status() == "running"
    source.judge()


@pytest.mark.threads
def test_over_unix(lab):
    path = lab.path / "m.sock"
    source, destination = lab.pair(incoming=f"unix:{path}")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    lab.migrate(source, destination.uri)
    check_moved(source, destination)


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_compression(lab, compression):
    source, destination = lab.pair(guest="rate=20 working-set=8M fill=16M fill-kind=half")
    lab.migrate(source, destination.uri, "--compression", compression)
    check_moved(source, destination)


def test_verify(lab):
    source, destination = lab.pair()
    lab.migrate(source, destination.uri, "--verify")
    check_moved(source, destination)


def test_slow_link(lab):
    source, destination = lab.pair(guest="rate=1 working-set=4M", memory="32M")
    proxy = lab.proxy(destination.uri, rate=8_000_000)
    lab.migrate(source, proxy.uri, "--max-downtime", 500)
    check_moved(source, destination)


@pytest.mark.parametrize("slow", ["limit", "link"])
def test_slow_only_at_first(lab, slow):
    """What was measured once is not for ever: rounds that are too small to tell the rate don't keep it."""
    source, destination = lab.pair(1, guest="rate=4 working-set=16M",
                                   device_args=("--state-size", "8M", "--precopy", "off"))
    source.wait_work()
    proxy = lab.proxy(destination.uri, rate=16_000_000) if slow == "link" else None
    limit = () if proxy else ("--bandwidth", "16MB/s")
    process = lab.start_migrate(source, proxy.uri if proxy else destination.uri, *limit,
                                "--policy", "continue", "--pause-budget", 60000)
    wait_for("small rounds", lambda: source.migration().get("ram", {}).get("dirty-sync-count", 0) >= 4)
    assert "device state and steps alone" in source.migration()["x-vferry-forecast"]
    passes = source.migration()["ram"]["dirty-sync-count"]
    time.sleep(1)
    assert source.migration()["ram"]["dirty-sync-count"] - passes < 20    # it waits, rather than spins
    if proxy:
        proxy.rate = 4_000_000_000
    else:
        source.qmp("migrate-set-parameters", {"max-bandwidth": 0})
    code, text = finish(process)
    assert code == DONE, text
    check_moved(source, destination)


def test_device_to_device_writes(lab):
    source, destination = lab.pair(2, guest="rate=10 working-set=8M p2p=on")
    wait_for("peer writes", lambda: source.verdict()["peer-writes"] > 10)
    before = source.verdict()["peer-writes"]
    lab.migrate(source, destination.uri)
    verdict = check_moved(source, destination)
    assert verdict["peer-writes"] > before and verdict["lost-peer-writes"] == 0


def test_device_state_before_the_pause(lab):
    source, destination = lab.pair(device_args=("--state-size", "64M", "--dirty-rate", "2M/s"))
    result = lab.migrate(source, destination.uri, "--json")
    state = json.loads(result.stdout)
    assert state["vfio"]["transferred"] >= 64 << 20
    in_pause = [s for s in state["x-vferry-report"]
                if s["component"].startswith("vfio/") and s["side"] == "source" and s["in-pause"]]
    assert in_pause and sum(s["bytes"] for s in in_pause) < 32 << 20
    check_moved(source, destination)


def test_there_and_back(lab):
    source, destination = lab.pair()
    lab.migrate(source, destination.uri)
    third = lab.machine("third", lab.devices(1), incoming="tcp:127.0.0.1:0")
    lab.migrate(destination, third.uri)
    assert destination.status() == "postmigrate"
    third.wait_status("running")
    third.judge(migrations=2)


def test_paused_stays_paused(lab):
    source, destination = lab.pair()
    source.qmp("stop")
    assert source.status() == "paused"
    lab.migrate(source, destination.uri)
    assert destination.wait_status("paused")
    destination.qmp("cont")
    check_moved(source, destination)


def test_the_moved_machine_cannot_be_continued_here(lab):
    source, destination = lab.pair()
    lab.migrate(source, destination.uri)
    with pytest.raises(Exception, match="moved away"):
        source.qmp("cont")
    result = lab.migrate(source, destination.uri, expect=FAILED)
    assert "moved away" in result.stderr
    assert source.end() == DONE and destination.end() == DONE


def test_detach_and_status(lab):
    source, destination = lab.pair()
    lab.migrate(source, destination.uri, "--detach")
    assert source.outcome() == "done"
    assert "postmigrate" in run("status", "--control", source.control).stdout
    status = json.loads(run("status", "--control", destination.control, "--json").stdout)
    assert status["machine"]["status"] == "running"
    check_moved(source, destination)


def hook(lab, code=0):
    path = lab.path / "hook"
    path.write_text(f"#!/bin/sh\necho $1 >> {lab.path}/hook.log\nexit {code}\n")
    path.chmod(0o755)
    return path


def test_hook(lab):
    program = hook(lab)
    source, destination = lab.pair(1, "--hook", program)
    lab.migrate(source, destination.uri, "--hook", program)
    assert (lab.path / "hook.log").read_text().split() == ["before-switchover", "after-commit"]
    check_moved(source, destination)


def test_failing_hook_cancels(lab):
    program = hook(lab, 1)
    source, destination = lab.pair(1, "--hook", program)
    result = run("migrate", destination.uri, "--control", source.control, "--hook", program)
    assert result.returncode in (3, 4), result.stderr
    assert "hook" in result.stderr
    assert source.status() == "running"
    source.judge()


def test_a_hook_that_run_did_not_name_needs_no_sandbox(lab):
    program = hook(lab)
    source, destination = lab.pair()
    result = run("migrate", destination.uri, "--control", source.control, "--hook", program)
    assert result.returncode == FAILED and "vferry run --hook" in result.stderr
    assert not (lab.path / "hook.log").exists() and source.status() == "running"
    open_source = lab.machine("open", lab.devices(1), "--sandbox", "off")
    open_source.wait_work()
    lab.migrate(open_source, destination.uri, "--hook", program)
    assert (lab.path / "hook.log").read_text().split() == ["before-switchover", "after-commit"]


def test_defer_and_migrate_incoming(lab):
    source, destination = lab.pair(incoming="defer")
    destination.qmp("migrate-incoming", uri="tcp:127.0.0.1:0")
    address = destination.migration()["socket-address"][0]
    lab.migrate(source, f"tcp:{address['host']}:{address['port']}")
    check_moved(source, destination)


@pytest.mark.threads
def test_save_and_restore(lab):
    source = lab.machine("source", lab.devices(1))
    source.wait_work()
    saved = lab.path / "saved"
    result = run("save", saved, "--control", source.control, "--parallel-connections", 2)
    assert result.returncode == DONE, result.stderr
    assert source.status() == "postmigrate" and saved.stat().st_size > 0
    restored = lab.machine("restored", lab.devices(1), incoming=f"file:{saved}")
    restored.wait_status("running")
    restored.judge()
    restored.check_forwarded()


def test_demo(lab):
    result = run("demo", "--accel", "soft", "--memory", "96M", "--json", timeout=120)
    assert result.returncode == DONE, result.stderr
    both = json.loads(result.stdout)
    assert both["verdict"]["clean"] and both["migration"]["x-vferry-outcome"] == "done"
