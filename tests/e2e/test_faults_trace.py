# SPDX-License-Identifier: MIT
"""kill -9 at points that no frame on the link tells of: in a roll-back, in a save, in a load, before a record."""
import contextlib

import pytest

import lab as e2e
from faults import PATIENT, check_goes_on, hold_before_switchover, wait_told
from lab import DONE, FAILED, IRQCHIP_STEP, UNKNOWN, Frame, finish, run

KILLED = -9


def with_trace(monkeypatch, actions):
    monkeypatch.setenv("VFERRY_TRACE", actions)


def machine_with(lab, monkeypatch, actions, *args, **kwargs):
    """One that does something to itself when it passes a point."""
    with_trace(monkeypatch, actions)
    try:
        return lab.machine(*args, **kwargs)
    finally:
        monkeypatch.delenv("VFERRY_TRACE")


@pytest.mark.parametrize("point", ["send-hello", "send-machine", "send-pages:1", "round-begin:2",
                                   "device-stop-copy", "send-manifest", "recv-prepared"])
def test_source_dies_on_its_own_side_of(lab, monkeypatch, point):
    source = machine_with(lab, monkeypatch, f"{point}=kill", "source", lab.devices(1))
    source.wait_work()
    hold_before_switchover(source, point == "round-begin:2")    # one round may be enough else
    destination = lab.machine("destination", lab.devices(1), incoming="tcp:127.0.0.1:0")
    code, _ = finish(lab.start_migrate(source, destination.uri, *PATIENT))
    assert code == UNKNOWN and source.wait() == KILLED
    if point == "recv-prepared":
        wait_told(destination, "resolve")
        assert run("resolve", "--control", destination.control, "--fenced", "source").returncode == DONE
        destination.wait_status("running")
        destination.judge()
    elif point not in ("send-hello", "send-machine"):
        assert destination.wait() == FAILED


@pytest.mark.threads
@pytest.mark.parametrize("point", ["recv-machine", "device-resuming", "recv-section:1", "recv-round-end",
                                   "recv-switchover", f"step-begin@{IRQCHIP_STEP}", "send-prepared"])
def test_destination_dies_on_its_own_side_of(lab, monkeypatch, point):
    source = lab.machine("source", lab.devices(1))
    source.wait_work()
    destination = machine_with(lab, monkeypatch, f"{point}=kill", "destination", lab.devices(1),
                               incoming="tcp:127.0.0.1:0")
    code, text = finish(lab.start_migrate(source, destination.uri, *PATIENT))
    assert code == FAILED, text
    assert destination.wait() == KILLED
    check_goes_on(lab, source)


def test_a_round_trip_that_was_long_once(lab, monkeypatch):
    """The first probe waited for a busy host: that is not the round trip of the pause."""
    source = lab.machine("source", lab.devices(1))
    source.wait_work()
    destination = machine_with(lab, monkeypatch, "recv-keepalive:1=delay:600", "destination", lab.devices(1),
                               incoming="tcp:127.0.0.1:0")
    lab.migrate(source, destination.uri)
    destination.wait_status("running")
    destination.judge()


@pytest.mark.parametrize("point", ["recv-commit", "record-link", "record-sync-dir", "send-running"])
def test_destination_dies_around_its_record(lab, monkeypatch, point):
    """Nobody is left to be asked; somebody who knows that it is gone can still say so."""
    records = lab.path / "records"
    records.mkdir()
    source = lab.machine("source", lab.devices(1))
    source.wait_work()
    destination = machine_with(lab, monkeypatch, f"{point}=kill", "destination", lab.devices(1),
                               "--record-dir", records, incoming="tcp:127.0.0.1:0")
    code, text = finish(lab.start_migrate(source, destination.uri, *PATIENT))
    assert code == UNKNOWN, text
    assert destination.wait() == KILLED and source.status() == "postmigrate"
    assert run("resolve", "--control", source.control, "--peer", destination.uri).returncode == UNKNOWN
    assert run("resolve", "--control", source.control, "--fenced", "destination").returncode == DONE
    check_goes_on(lab, source)


@pytest.mark.parametrize("point", ["device-running", "device-running-p2p"])
def test_source_dies_in_its_roll_back(lab, monkeypatch, point):
    """Nobody has the machine then, and the destination does not run it."""
    source = machine_with(lab, monkeypatch, f"{point}=kill", "source", lab.devices(1))
    source.wait_work()
    destination = lab.machine("destination", lab.devices(1), incoming="tcp:127.0.0.1:0")
    proxy = lab.proxy(destination.uri, cut=Frame.MANIFEST)
    code, _ = finish(lab.start_migrate(source, proxy.uri, *PATIENT))
    assert code == UNKNOWN and source.wait() == KILLED
    assert destination.wait() == FAILED


def test_killed_while_saving_and_while_loading(lab, monkeypatch):
    saved = lab.path / "saved"
    source = machine_with(lab, monkeypatch, "device-stop-copy=kill", "source", lab.devices(1))
    source.wait_work()
    assert run("save", saved, "--control", source.control).returncode == UNKNOWN
    assert source.wait() == KILLED
    # What it left says that it is not complete, and is not loaded.
    result = run("run", "--accel", "soft", "--memory", "64M", "--incoming", f"file:{saved}", cwd=lab.path)
    assert result.returncode == e2e.REFUSED and "saved" in result.stderr, result.stderr

    whole = lab.path / "whole"
    second = lab.machine("second", lab.devices(1))
    second.wait_work()
    assert run("save", whole, "--control", second.control).returncode == DONE
    # It may be gone before it is ready, before it greets, or only then.
    with contextlib.suppress(AssertionError, ConnectionError):
        machine_with(lab, monkeypatch, f"step-begin@{IRQCHIP_STEP}=kill", "loading", lab.devices(1),
                     incoming=f"file:{whole}")
    assert lab.processes[-1].name == "loading" and lab.processes[-1].wait() == KILLED
    again = lab.machine("again", lab.devices(1), incoming=f"file:{whole}")
    again.wait_status("running")
    again.judge()
