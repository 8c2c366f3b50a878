# SPDX-License-Identifier: MIT
"""What is refused before the first byte of RAM, with all reasons; and links and processes that die."""
import pytest

from lab import ACCEL, DONE, FAILED, REFUSED, UNKNOWN, Frame, run, wait_for


def check(source, uri):
    return run("migrate", uri, "--control", source.control, "--check")


def test_check_accepts_and_changes_nothing(lab):
    source, destination = lab.pair(2)
    for _ in range(3):
        result = check(source, destination.uri)
        assert result.returncode == DONE, result.stderr
        assert "accepted" in result.stdout
        assert source.status() == "running" and destination.status() == "inmigrate"
    lab.migrate(source, destination.uri)
    destination.wait_status("running")
    destination.judge()


def test_memory_differs(lab):
    source = lab.machine("source", lab.devices(1))
    source.wait_work()
    destination = lab.machine("destination", lab.devices(1), memory="96M",
                              incoming="tcp:127.0.0.1:0")
    for args in (["--check"], []):
        result = run("migrate", destination.uri, "--control", source.control, *args)
        assert result.returncode == REFUSED, result.stderr
        assert "ram" in result.stderr
    assert source.status() == "running" and destination.status() == "inmigrate"
    source.judge()


def test_all_reasons_are_listed(lab):
    source = lab.machine("source", lab.devices(2))
    source.wait_work()
    destination = lab.machine("destination", lab.devices(2, "--msix-vectors", "8"), memory="96M",
                              incoming="tcp:127.0.0.1:0")
    result = check(source, destination.uri)
    assert result.returncode == REFUSED
    for word in ("ram", "00:01.0", "00:02.0"):
        assert word in result.stderr, f"{word} is not in: {result.stderr}"


@pytest.mark.skipif(ACCEL != "soft", reason="a GIC is the soft machine's")
def test_each_reason_is_told_in_full(lab):
    """More than one message has room for: a line each, for programs too, and on both sides."""
    source = lab.machine("source", lab.devices(4), "--gic", "v4.1")
    source.wait_work()
    destination = lab.machine("destination", lab.devices(4, "--msix-vectors", "8"), "--cpus", "2",
                              memory="96M", incoming="tcp:127.0.0.1:0")
    result = check(source, destination.uri)
    assert result.returncode == REFUSED
    reasons = source.migration()["x-vferry-reasons"]
    assert all(r["id"] and r["desc"] for r in reasons)
    whole = "; ".join(f"{r['object']}: {r['desc']}" for r in reasons)
    short = source.migration()["error-desc"]
    assert len(short) < len(whole) and whole.startswith(short[:400]) and short.endswith("...")
    assert {"ram", "pci/00:01.0", "pci/00:04.0"} <= {r.get("object") for r in reasons}
    said = [line.strip() for line in result.stderr.splitlines()]
    logged = destination.err.read_text().splitlines()
    for r in reasons:
        assert any(line.endswith(r["desc"]) for line in said), (r, result.stderr)
        assert any(line.endswith(r["desc"]) for line in logged), (r, logged)
    assert source.status() == "running" and destination.status() == "inmigrate"
    # What was refused is history once it was accepted.
    right = lab.machine("right", lab.devices(4), "--gic", "v4.1", incoming="tcp:127.0.0.1:0")
    assert check(source, right.uri).returncode == DONE
    assert "x-vferry-reasons" not in source.migration()


def test_a_missing_device(lab):
    source = lab.machine("source", lab.devices(2))
    destination = lab.machine("destination", lab.devices(1), incoming="tcp:127.0.0.1:0")
    result = check(source, destination.uri)
    assert result.returncode == REFUSED
    assert "00:02.0" in result.stderr


def test_after_a_refusal_the_right_one_may_come(lab):
    wrong = lab.machine("wrong", [], memory="96M")
    source, destination = lab.pair(1)
    assert run("migrate", destination.uri, "--control", wrong.control).returncode == REFUSED
    lab.migrate(source, destination.uri)
    destination.wait_status("running")
    destination.judge()


def test_nobody_listens(lab):
    source = lab.machine("source", lab.devices(1))
    source.wait_work()
    result = lab.migrate(source, "tcp:127.0.0.1:1", expect=FAILED)
    assert "127.0.0.1:1" in result.stderr
    result = lab.migrate(source, f"unix:{lab.path}/nothing", expect=FAILED)
    source.judge()


@pytest.mark.threads
def test_destination_killed_then_another(lab):
    source, destination = lab.pair()
    process = lab.start_migrate(source, destination.uri, "--bandwidth", "4MB/s")
    source.wait_migration("active")
    destination.kill()
    out, err = process.communicate(timeout=30)
    assert process.returncode == FAILED, err + out
    assert source.status() == "running"
    source.check_forwarded()
    third = lab.machine("third", lab.devices(1), incoming="tcp:127.0.0.1:0")
    lab.migrate(source, third.uri)
    third.wait_status("running")
    third.judge(migrations=2)


def test_source_killed(lab):
    source, destination = lab.pair()
    process = lab.start_migrate(source, destination.uri, "--bandwidth", "4MB/s")
    source.wait_migration("active")
    source.kill()
    out, err = process.communicate(timeout=30)
    assert process.returncode == UNKNOWN, err + out
    assert destination.wait() == FAILED


def test_device_killed(lab):
    """Its machine survives it; moving is refused or fails, and says which device."""
    source, destination = lab.pair(2)
    source.devices[1].kill()
    result = run("migrate", destination.uri, "--control", source.control)
    assert result.returncode in (REFUSED, FAILED), result.stderr
    assert str(source.devices[1].path) in result.stderr
    assert source.status() == "running"


# ---- the narrow place ----

def unknown(lab, after):
    """The link is cut at COMMIT. after: the destination got it."""
    source, destination = lab.pair()
    proxy = lab.proxy(destination.uri, cut=Frame.COMMIT, after=after)
    result = lab.migrate(source, proxy.uri, expect=UNKNOWN)
    assert "resolve" in result.stderr
    assert source.status() == "postmigrate"
    state = source.migration()
    assert state["x-vferry-outcome"] == "unknown" and state["status"] == "device"
    with pytest.raises(Exception, match="moved away"):
        source.qmp("cont")
    return source, destination


@pytest.mark.threads
def test_commit_lost_resolves_to_the_source(lab):
    source, destination = unknown(lab, after=False)
    result = run("resolve", "--control", source.control, "--peer", destination.uri)
    assert result.returncode == DONE, result.stderr
    source.wait_status("running")
    assert destination.wait() == FAILED
    source.judge()
    third = lab.machine("third", lab.devices(1), incoming="tcp:127.0.0.1:0")
    lab.migrate(source, third.uri)
    third.judge(migrations=2)


@pytest.mark.threads
def test_answer_lost_resolves_to_the_destination(lab):
    source, destination = unknown(lab, after=True)
    destination.wait_status("running")
    result = run("resolve", "--control", source.control, "--peer", destination.uri)
    assert result.returncode == DONE, result.stderr
    assert source.migration()["x-vferry-outcome"] == "done"
    assert source.status() == "postmigrate"
    destination.judge()


def test_fenced_destination(lab):
    source, destination = unknown(lab, after=False)
    destination.kill()
    result = run("resolve", "--control", source.control, "--peer", destination.uri)
    assert result.returncode == UNKNOWN, result.stderr
    assert source.status() == "postmigrate"
    result = run("resolve", "--control", source.control, "--fenced", "destination")
    assert result.returncode == DONE, result.stderr
    source.wait_status("running")
    source.judge()


def test_fenced_source(lab):
    source, destination = unknown(lab, after=True)
    result = run("resolve", "--control", source.control, "--fenced", "source")
    assert result.returncode == DONE, result.stderr
    assert source.status() == "postmigrate"
    destination.wait_status("running")
    destination.judge()


def test_record(lab):
    records = lab.path / "records"
    records.mkdir()
    source = lab.machine("source", lab.devices(1))
    source.wait_work()
    destination = lab.machine("destination", lab.devices(1), "--record-dir", records,
                              incoming="tcp:127.0.0.1:0")
    lab.migrate(source, destination.uri)
    written = [p.read_text().strip() for p in records.glob("*.vferry")]
    assert written == ["ran"]


def test_nothing_to_resolve(lab):
    source = lab.machine("source", [])
    result = run("resolve", "--control", source.control, "--fenced", "destination")
    assert result.returncode == FAILED
    wait_for("the guest", lambda: source.verdict()["booted"])
    assert source.status() == "running"
