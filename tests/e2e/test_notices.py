# SPDX-License-Identifier: MIT
"""What the host tells of a device that a machine uses: that it failed, and that it is wanted back.

The device tells it when the guest resets it, or at a change of its state.
"""
import pytest

from lab import run, wait_for

ERROR_AT_RESET = "on message DEVICE_RESET notice error\n"
REQUEST_AT_RESET = "on message DEVICE_RESET notice request\n"


def device_of(machine, name):
    return machine.migration()["x-vferry-devices"][0][name]


def events(machine):
    return [event["event"] for event in machine.qmp.drain_events()]


def status(machine):
    return run("status", "--control", machine.control).stdout


@pytest.fixture
def failed(lab):
    """A machine whose device had an error, which is said in every way there is."""
    machine = lab.machine("source", lab.devices(1, script=ERROR_AT_RESET))
    machine.wait_work()
    assert not device_of(machine, "host-error") and "could not correct" not in status(machine)
    machine.guest("flr 0")
    machine.wait_status("internal-error")
    wait_for("the log to say so", lambda: "00:01.0" in machine.errors() and "is stopped" in machine.errors())
    assert events(machine) == ["STOP"] and device_of(machine, "host-error")
    assert "internal-error" in status(machine) and "it had an error that the host could not correct" in status(machine)
    return machine


@pytest.mark.threads
def test_error_stops_the_machine_until_cont(lab, failed):
    stood = failed.verdict()["steps"]
    failed.qmp("stop")  # nothing new
    assert failed.status() == "internal-error" and failed.verdict()["steps"] == stood
    failed.qmp("cont")
    assert failed.status() == "running" and not device_of(failed, "host-error")
    failed.judge()
    failed.qmp("stop")
    assert failed.status() == "paused"
    failed.qmp("cont")
    # And once more: each is told.
    failed.guest("flr 0")
    failed.wait_status("internal-error")
    assert failed.errors().count("could not correct") == 2
    assert events(failed) == ["STOP", "RESUME", "STOP", "RESUME", "STOP"]


def test_machine_that_failed_moves_and_stands_still_there(lab, failed):
    destination = lab.machine("destination", lab.devices(1), incoming="tcp:127.0.0.1:0")
    lab.migrate(failed, destination.uri)
    assert failed.status() == "postmigrate" and destination.status() == "paused"
    assert not device_of(destination, "host-error")
    destination.qmp("cont")
    destination.judge()


@pytest.mark.parametrize("side", ["source", "destination"])
def test_error_during_a_migration(lab, side):
    """It goes on: where the machine comes to, it stands still until somebody says `cont`."""
    arc = {"source": "RUNNING->PRE_COPY", "destination": "RUNNING->RESUMING"}[side]
    # Not every path leads over this arc alone.
    script = f"on {arc} notice error\non STOP->RESUMING notice error\n"
    source, destination = lab.pair(1, **{f"{side}_script": script})
    lab.migrate(source, destination.uri)
    assert source.status() == "postmigrate"
    destination.wait_status("paused" if side == "source" else "internal-error")
    assert "could not correct" in (source if side == "source" else destination).errors()
    destination.qmp("cont")
    destination.judge()


@pytest.mark.threads
def test_request_is_told_and_the_machine_goes_on(lab):
    source, destination = lab.pair(1, source_script=REQUEST_AT_RESET)
    assert not device_of(source, "wanted-back") and "wants it back" not in status(source)
    for resets in (1, 2):
        source.guest("flr 0")
        wait_for("the reset", lambda n=resets: source.verdict()["resets"] == n)
        jobs = source.verdict()["verified-jobs"]
        wait_for("the device to work again", lambda n=jobs: source.verdict()["verified-jobs"] > n)
    wait_for("the log to say so", lambda: "wants the device 00:01.0 (vfio-user:" in source.errors())
    assert device_of(source, "wanted-back") and "the host wants it back" in status(source)
    assert source.status() == "running" and events(source) == []
    # What can be done about it: the machine moves to a device that nobody wants back, and its process ends.
    lab.migrate(source, destination.uri)
    destination.wait_status("running")
    assert not device_of(destination, "wanted-back")
    assert source.errors().count("wants the device") == 1
    assert source.end() == 0
    destination.judge()
