# SPDX-License-Identifier: MIT
"""`vferry soak`: a machine that moves again and again; a selection of machines under KVM."""
import itertools
import json
import os
import pathlib
import signal
import subprocess

import pytest

from lab import DONE, FAILED, PATIENCE, SANITIZED, USAGE, VFERRY, WAIT, run, wait_for, why_no_kvm

if not VFERRY.exists():
    pytest.skip("build first", allow_module_level=True)

CHOICES = {
    "--cpus": ["1", "2"], "--devices": ["0", "1", "8"], "--rate": ["0", "50", "200", "400"],
    "--dirty": ["log", "ring"], "--irqchip": ["kernel", "split"],
}
# Each value of one choice stands beside each value of every other, once at least.
SELECTION = [
    ("1", "0", "0", "log", "kernel"), ("2", "0", "50", "ring", "split"),
    ("1", "0", "200", "ring", "kernel"), ("2", "0", "400", "log", "split"),
    ("2", "1", "0", "ring", "split"), ("1", "1", "50", "log", "kernel"),
    ("2", "1", "200", "log", "split"), ("1", "1", "400", "ring", "kernel"),
    ("2", "8", "0", "log", "split"), ("1", "8", "50", "ring", "kernel"),
    ("2", "8", "200", "ring", "kernel"), ("1", "8", "400", "log", "split"),
]


def soak(*args, rounds=2, **kwargs):
    return run("soak", "--rounds", rounds, "--json", "--guest-args", PATIENCE, *args, **kwargs)


def expect_clean(result, rounds):
    assert result.returncode == DONE, result.stderr
    report = json.loads(result.stdout)
    assert report["clean"] == report["rounds"] == rounds == len(report["list"])
    for number, entry in enumerate(report["list"], 1):
        assert entry["round"] == number and entry["pause-ns"] > 0
        assert entry["verdict"]["clean"] and entry["verdict"]["dirtied-pages"] > 0


def test_selection_is_pairwise():
    for (i, a), (j, b) in itertools.combinations(enumerate(CHOICES.values()), 2):
        there = {(row[i], row[j]) for row in SELECTION}
        assert there == set(itertools.product(a, b)), (i, j)


def test_soft():
    expect_clean(soak("--accel", "soft", "--transport", "unix", rounds=3, timeout=4 * WAIT), 3)


@pytest.mark.skipif(why_no_kvm() is not None, reason=str(why_no_kvm()))
@pytest.mark.parametrize("row", SELECTION, ids="-".join)
def test_kvm(row):
    options = [word for pair in zip(CHOICES, row) for word in pair]
    # With rate=0 a guest dirties nothing but what its devices write.
    result = soak("--accel", "kvm", "--work", "100", *options, rounds=1 if SANITIZED else 2,
                  timeout=4 * WAIT)
    assert result.returncode == DONE, result.stderr
    report = json.loads(result.stdout)
    assert report["clean"] == report["rounds"]


@pytest.mark.skipif(why_no_kvm() is not None, reason=str(why_no_kvm()))
def test_an_option_may_come_again():
    """The last one counts, however many there are."""
    options = ["--dirty", "ring", "--irqchip", "kernel"] * 8 + ["--dirty", "log"]
    assert soak("--accel", "kvm", *options, rounds=1, timeout=4 * WAIT).returncode == DONE


def children(pid):
    path = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()]


def cmdline(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except FileNotFoundError:
        return []


def test_a_device_that_dies_is_no_clean_end():
    """And nothing is left behind."""
    process = subprocess.Popen([str(VFERRY), "soak", "--accel", "soft", "--rounds", "1000"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        device = wait_for("a device", lambda: next(
            (c for c in children(process.pid) if b"device" in cmdline(c)), None))
        os.kill(device, signal.SIGKILL)
        assert process.wait(2 * WAIT) == FAILED
        assert process.stderr.read().startswith("vferry soak: ")
    finally:
        process.kill()
        process.wait()


def test_interrupted_it_leaves_nothing():
    process = subprocess.Popen([str(VFERRY), "soak", "--accel", "soft", "--rounds", "1000"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for("children", lambda: len(children(process.pid)) > 2)
        before = children(process.pid)
        process.send_signal(signal.SIGTERM)
        assert process.wait(2 * WAIT) not in (DONE, USAGE)
        assert not [c for c in before if b"soak" in b" ".join(cmdline(c))]
        wait_for("all to be gone", lambda: not any(cmdline(c) for c in before))
    finally:
        process.kill()
        process.wait()
