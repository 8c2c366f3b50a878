# SPDX-License-Identifier: MIT
"""A destination that died, and the one started in its place: what it answers from the record.

And the word of somebody who fenced a side off, where it is taken and where not.
"""
import json

import pytest

from lab import DONE, FAILED, FAILED_AFTER, REFUSED, UNKNOWN, Frame, run, wait_for


@pytest.fixture
def records(lab):
    path = lab.path / "records"
    path.mkdir()
    return path


def decided(records):
    return sorted(p.read_text().strip() for p in records.glob("*.vferry"))


def destination_with(lab, name, records):
    args = ("--record-dir", records) if records else ()
    return lab.machine(name, lab.devices(1), *args, incoming="tcp:127.0.0.1:0")


def unknown(lab, records, after):
    """The link is cut at COMMIT. after: the destination got it."""
    source = lab.machine("source", lab.devices(1))
    destination = destination_with(lab, "destination", records)
    source.wait_work()
    proxy = lab.proxy(destination.uri, cut=Frame.COMMIT, after=after)
    lab.migrate(source, proxy.uri, expect=UNKNOWN)
    assert source.status() == "postmigrate"
    return source, destination


def ask(source, destination):
    return run("resolve", "--control", source.control, "--peer", destination.uri)


@pytest.mark.threads
def test_killed_before_commit(lab, records):
    source, destination = unknown(lab, records, after=False)
    destination.wait_migration("device")
    destination.kill()
    assert decided(records) == []
    later = destination_with(lab, "later", records)
    result = ask(source, later)
    assert result.returncode == DONE, result.stderr
    assert decided(records) == ["aborted"]
    source.wait_status("running")
    source.judge()
    # The one that was asked is still there for a machine to come.
    lab.migrate(source, later.uri)
    later.wait_status("running")
    later.judge(migrations=2)
    assert decided(records) == ["aborted", "ran"]


@pytest.mark.threads
def test_killed_after_the_record(lab, records):
    source, destination = unknown(lab, records, after=True)
    wait_for("the record", lambda: decided(records) == ["ran"])
    destination.kill()
    later = destination_with(lab, "later", records)
    result = ask(source, later)
    assert result.returncode == FAILED_AFTER, result.stderr
    assert "handed over, and then lost" in result.stderr
    state = source.migration()
    assert state["x-vferry-outcome"] == "failed-after" and state["status"] == "failed"
    assert source.status() == "postmigrate"
    with pytest.raises(Exception, match="moved away"):
        source.qmp("cont")
    # It is settled: no later word brings it back.
    result = run("resolve", "--control", source.control, "--fenced", "destination")
    assert result.returncode == FAILED and "not unknown" in result.stderr
    assert source.status() == "postmigrate"


def test_ended_in_order_after_it_ran(lab, records):
    source, destination = unknown(lab, records, after=True)
    destination.wait_status("running")
    assert destination.end() == DONE
    assert [p.suffix for p in records.iterdir()] == [".vferry"]
    later = destination_with(lab, "later", records)
    assert ask(source, later).returncode == DONE
    assert source.migration()["x-vferry-outcome"] == "done"


@pytest.mark.parametrize("directory", ["none", "another"])
def test_nothing_is_known(lab, records, directory):
    """Whoever never took that migration, or cannot know, gives no answer."""
    source, destination = unknown(lab, records, after=True)
    other = lab.path / "other"
    other.mkdir()
    stranger = destination_with(lab, "stranger", None if directory == "none" else other)
    result = ask(source, stranger)
    assert result.returncode == UNKNOWN
    assert "nothing is known here of that migration" in result.stderr
    assert ("no record directory" in result.stderr) == (directory == "none")
    assert list(other.iterdir()) == []
    assert source.status() == "postmigrate"
    destination.wait_status("running")
    destination.judge()


def test_only_the_living_process_may_say(lab, records):
    source, destination = unknown(lab, records, after=False)
    twin = destination_with(lab, "twin", records)
    result = ask(source, twin)
    assert result.returncode == UNKNOWN
    assert "another process here has that migration" in result.stderr
    assert decided(records) == []
    assert ask(source, destination).returncode == DONE
    assert decided(records) == ["aborted"]
    source.wait_status("running")
    source.judge()


def test_no_files_are_left_of_what_was_not_handed_over(lab, records):
    source = lab.machine("source", lab.devices(1))
    source.wait_work()
    destination = destination_with(lab, "destination", records)
    lab.migrate(source, destination.uri, "--check")
    assert list(records.iterdir()) == []
    proxy = lab.proxy(destination.uri, cut=Frame.MANIFEST)
    lab.migrate(source, proxy.uri, expect=FAILED)
    assert destination.wait() == FAILED
    assert list(records.iterdir()) == []


def test_a_record_that_cannot_be_kept_is_a_reason_against(lab, records):
    source = lab.machine("source", lab.devices(1))
    source.wait_work()
    destination = destination_with(lab, "destination", records)
    records.rmdir()
    result = lab.migrate(source, destination.uri, expect=REFUSED)
    assert str(records) in result.stderr
    source.judge()
    result = run("run", "--accel", "soft", "--memory", "32M", "--incoming", "tcp:127.0.0.1:0", "--record-dir", records)
    assert result.returncode == FAILED and str(records) in result.stderr


# ---- words ----

def resolve(machine, side):
    return run("resolve", "--control", machine.control, "--fenced", side)


@pytest.mark.threads
def test_a_held_machine_is_promoted(lab, records):
    source, destination = unknown(lab, records, after=False)
    state = wait_for("the destination to hold it", lambda: (m := destination.migration())
                     .get("x-vferry-outcome") == "unknown" and m)
    assert state["status"] == "device"
    shown = run("status", "--control", destination.control).stdout
    assert "device, unknown" in shown
    wait_for("a word on it", lambda: "the machine stays stopped here" in destination.err.read_text())
    source.kill()
    result = resolve(destination, "source")
    assert result.returncode == DONE, result.stderr
    destination.wait_status("running")
    destination.judge()
    assert decided(records) == ["ran"]
    result = resolve(destination, "destination")
    assert result.returncode == FAILED and "not unknown" in result.stderr


def test_a_held_machine_is_given_up(lab, records):
    source, destination = unknown(lab, records, after=False)
    wait_for("the destination to hold it",
             lambda: destination.migration().get("x-vferry-outcome") == "unknown")
    result = resolve(destination, "destination")
    assert result.returncode == DONE, result.stderr
    assert destination.wait() == FAILED
    assert decided(records) == ["aborted"]
    later = destination_with(lab, "later", records)
    assert ask(source, later).returncode == DONE
    source.wait_status("running")
    source.judge()


def test_a_source_whose_link_is_there_is_not_taken_for_fenced(lab, records):
    source = lab.machine("source", lab.devices(1))
    source.wait_work()
    destination = destination_with(lab, "destination", records)
    proxy = lab.proxy(destination.uri, hold=Frame.COMMIT)
    migrate = lab.start_migrate(source, proxy.uri, "--json")
    assert proxy.happened.wait(60)
    result = resolve(destination, "source")
    assert result.returncode == FAILED and "not lost" in result.stderr
    assert decided(records) == []
    proxy.release()
    out, err = migrate.communicate(timeout=60)
    assert migrate.returncode == DONE, err
    assert json.loads(out)["x-vferry-outcome"] == "done"
    destination.wait_status("running")
    destination.judge()
