# SPDX-License-Identifier: MIT
"""Trace points of real processes: stop, kill, fail and delay at one of them, events as lines of JSON."""
import json
import os
import signal

import pytest

from lab import DONE, FAILED, IRQCHIP_STEP, UNKNOWN, USAGE, WAIT, run, wait_for


def is_stopped(process):
    """Has the process stopped itself?"""
    stat = open(f"/proc/{process.process.pid}/stat").read()
    return stat.rsplit(")", 1)[1].split()[0] == "T"


def pair(lab, monkeypatch, source=None, destination=None, *args):
    """Two machines, of which each process has its actions."""
    machines = []
    for name, actions, incoming in (("source", source, None),
                                    ("destination", destination, "tcp:127.0.0.1:0")):
        if actions:
            monkeypatch.setenv("VFERRY_TRACE", actions)
        machines.append(lab.machine(name, lab.devices(1), *args, incoming=incoming))
        monkeypatch.delenv("VFERRY_TRACE", raising=False)
    machines[0].wait_work()
    return machines


@pytest.mark.threads
def test_stop_and_go_on(lab, monkeypatch):
    source, destination = pair(lab, monkeypatch, "send-commit=stop")
    process = lab.start_migrate(source, destination.uri)
    wait_for("the source to stop", lambda: is_stopped(source))
    assert destination.status() == "inmigrate"
    os.kill(source.process.pid, signal.SIGCONT)
    out, err = process.communicate(timeout=WAIT)
    assert process.returncode == DONE, out + err
    destination.judge()


def test_killed_at_a_point(lab, monkeypatch):
    source, destination = pair(lab, monkeypatch, destination="recv-commit=kill")
    result = lab.migrate(source, destination.uri, expect=UNKNOWN)
    assert destination.wait() == -signal.SIGKILL
    assert "what led to it is in" in result.stdout + result.stderr


def test_made_to_fail(lab, monkeypatch):
    source, destination = pair(lab, monkeypatch, f"step-begin@{IRQCHIP_STEP}=fail:EIO")
    result = lab.migrate(source, destination.uri, expect=FAILED)
    path = source.migration()["x-vferry-trace"]
    assert path == f"{source.control}.trace" and path in result.stdout + result.stderr
    assert path in source.err.read_text()
    trace = json.loads(open(path).read())
    assert trace["session"]["state"] == "failed"
    assert trace["session"]["error"]["errno"] == "EIO"
    failed = [e for e in trace["events"] if "made-to-fail" in e]
    assert [e["object"] for e in failed] == [IRQCHIP_STEP]
    assert trace["events"][-1]["point"] == "outcome"
    source.wait_work(source.verdict()["verified-jobs"] + 10)
    source.judge()


def test_events_as_lines(lab, monkeypatch):
    source, destination = pair(lab, monkeypatch, "round-begin:2=delay:10", None, "--trace", "events")
    lab.migrate(source, destination.uri)
    destination.judge()
    events = [json.loads(line) for line in (lab.path / "events").read_text().splitlines()]
    points = [e["point"] for e in events]
    for name in ("send-commit", "recv-commit", "step-begin", "device-resuming", "device-stop-copy",
                 "link-accept", "link-connect", "round-begin", "state-completed", "outcome"):
        assert name in points, name
    assert "record-write" not in points, "there is no --record-dir"
    assert all({"time-ns", "point", "kind", "object", "thread"} <= e.keys() for e in events)


def test_usage(lab, monkeypatch):
    monkeypatch.setenv("VFERRY_TRACE", "send-nothing=stop")
    result = run("run", "--accel", "soft", timeout=WAIT)
    assert result.returncode == USAGE and "send-nothing" in result.stderr
    monkeypatch.delenv("VFERRY_TRACE")
    result = run("run", "--accel", "soft", "--trace", "/nowhere/at/all")
    assert result.returncode == FAILED and "/nowhere/at/all" in result.stderr
