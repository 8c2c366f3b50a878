# SPDX-License-Identifier: MIT
"""Too little of something: memory, descriptors, disk. And device processes that hang, truncate and lie."""
import os
import resource
import subprocess

import pytest

from faults import PATIENT, check_goes_on, tells_of_a_closed_link
from lab import FAILED, VFERRY, run, wait_for


def limit_descriptors(process, more):
    """So many more than it has open now."""
    _, hard = resource.prlimit(process.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(process.process.pid, resource.RLIMIT_NOFILE,
                     (min(process.footprint()[0] + more, hard), hard))


@pytest.mark.parametrize("more", range(0, 4))
def test_destination_out_of_descriptors(lab, more):
    """It cannot take all connections; whatever it could take is given back, and the source runs on."""
    source, destination = lab.pair(1, "--stall-timeout", 1)
    limit_descriptors(destination, more)
    result = lab.migrate(source, destination.uri, "--parallel-connections", 8, expect=FAILED)
    assert "1000 ms" in result.stderr or "answer" in result.stderr or \
        tells_of_a_closed_link(result.stderr), result.stderr
    check_goes_on(lab, source)


def test_source_out_of_descriptors(lab):
    source, destination = lab.pair(1)
    limit_descriptors(source, 4)
    result = run("migrate", destination.uri, "--control", source.control, "--parallel-connections", 8)
    assert result.returncode == FAILED and ("EMFILE" in result.stderr or "descriptor" in result.stderr), \
        result.stderr
    limit_descriptors(source, 200)
    check_goes_on(lab, source)


def test_too_little_hugetlb(lab):
    """More than there is: said at the start, before anybody begins to migrate."""
    free = [line.split()[1] for line in open("/proc/meminfo") if line.startswith("HugePages_Free")]
    size = (int(free[0]) + 512) * 2 if free else 1024
    result = run("run", "--accel", "soft", "--hugetlb", "--memory", f"{size}M", "--incoming", "tcp:127.0.0.1:0")
    assert result.returncode == FAILED and "huge" in result.stderr and "\n" not in result.stderr.strip(), \
        result.stderr


# ---- disk ----

@pytest.fixture
def small_disk(lab):
    """A folder on a file system of 8 MiB, seen by what is started through it only."""
    folder = lab.path / "disk"
    folder.mkdir()
    mount = subprocess.run(["unshare", "-m", "true"], capture_output=True)
    if mount.returncode:
        pytest.skip(f"no mount namespace: {mount.stderr.decode().strip()}")
    return folder


def test_disk_full_when_saving(lab, small_disk, monkeypatch):
    inner = lab.path / "inner"
    inner.write_text(f"#!/bin/sh\nmount -t tmpfs -o size=8m tmpfs {small_disk} || exit 9\n"
                     f"exec {VFERRY} \"$@\"\n")
    outer = lab.path / "outer"
    outer.write_text(f"#!/bin/sh\nexec unshare -m --propagation private sh {inner} \"$@\"\n")
    outer.chmod(0o755)
    monkeypatch.setattr("lab.VFERRY", outer)
    source = lab.machine("source", lab.devices(1), "--files", small_disk,
                         guest="rate=20 working-set=8M fill=24M")
    monkeypatch.undo()
    source.wait_work()
    within = f"/proc/{source.process.pid}/root{small_disk}"
    for _ in range(2):
        result = run("save", small_disk / "saved", "--control", source.control)
        assert result.returncode == FAILED, result.stderr + result.stdout
        assert "ENOSPC" in result.stderr or "No space" in result.stderr, result.stderr
        assert source.status() == "running"
        assert os.listdir(within) == []
    check_goes_on(lab, source, migrations=4)


# ---- devices that misbehave ----

def test_device_that_truncates_its_state(lab):
    """The saved stream ends early, as if it were whole: the destination's device notices at the end."""
    source, destination = lab.pair(1, source_script="truncate data at 100KiB\n",
                                   device_args=("--precopy", "off"))
    text = lab.migrate(source, destination.uri, expect=FAILED).stderr
    assert "00:01.0" in text
    assert destination.wait() == FAILED and "00:01.0" in destination.errors()
    source.judge()


def test_device_that_never_gives_what_it_announced(lab):
    """Before the pause its stream ends short of its initial data: only a timeout can end that."""
    source, destination = lab.pair(1, source_script="truncate data at 100KiB\n")
    text = lab.migrate(source, destination.uri, "--timeout", 2, expect=FAILED).stderr
    assert "timeout" in text
    assert destination.wait() == FAILED
    source.judge()


@pytest.mark.threads
@pytest.mark.parametrize("script", ["on RESUMING->STOP hang\n", "on data-write after 64KiB hang\n"])
def test_device_of_the_destination_hangs(lab, script):
    source = lab.machine("source", lab.devices(1))
    device = lab.devices(1, script=script)[0]
    path = device.path
    device.path = f"{path},timeout-ms=1000"
    destination = lab.machine("destination", [device], incoming="tcp:127.0.0.1:0")
    device.path = path
    source.wait_work()
    text = lab.migrate(source, destination.uri, *PATIENT, expect=FAILED).stderr
    assert "ETIMEDOUT" in text or "answer" in text, text
    assert destination.wait() == FAILED
    check_goes_on(lab, source)


@pytest.mark.threads
@pytest.mark.parametrize("script", ["on PRE_COPY->PRE_COPY_P2P hang times 1\n",
                                    "on PRE_COPY_P2P->STOP_COPY hang times 1\n",
                                    "on data-read after 64KiB hang times 1\n"])
def test_device_of_the_source_hangs(lab, script):
    """It does not answer within its time; what it is afterwards is asked, and said."""
    device = lab.devices(1, script=script)[0]
    path = device.path
    device.path = f"{path},timeout-ms=1000"
    source = lab.machine("source", [device])
    device.path = path
    destination = lab.machine("destination", lab.devices(1), incoming="tcp:127.0.0.1:0")
    source.wait_work()
    text = lab.migrate(source, destination.uri, *PATIENT, expect=FAILED).stderr
    assert str(path) in text or "00:01.0" in text
    assert destination.wait() == FAILED
    wait_for("the source to run", lambda: source.status() == "running")
    assert source.verdict()["corrupt-pages"] == 0
