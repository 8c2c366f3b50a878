# SPDX-License-Identifier: MIT
"""A device is captured by `vferry probe` and served by `vferry device --replay`: probe, check and a migration take it."""
import json
import os
import pathlib

import pytest
from lab import DONE, FAILED, REFUSED, USAGE, Process, run

# QEMU's edu with edu_vfio_pci on Debian's 6.12, captured in the lab (tests/lab/vfio/capture-device prints it).
EDU = pathlib.Path(__file__).parent / "captures" / "edu-6.12"


class Replay(Process):
    """`vferry device --replay`."""

    def __init__(self, lab, name, folder, *args):
        self.path = lab.path / f"{name}.sock"
        super().__init__(lab, name, "device", "--replay", folder, "--socket", self.path, *args)
        self.files = [self.path]


def capture(lab, device, name="captured"):
    folder = lab.path / name
    result = run("probe", f"vfio-user:{device.path}", "--capture", folder)
    assert result.returncode == DONE and f"captured in {folder}" in result.stderr, result.stderr
    return folder


def answer(device):
    """All that probe says of it but its name."""
    result = run("probe", f"vfio-user:{device.path}", "--json")
    return {**json.loads(result.stdout)["devices"][0], "device": None}


def test_probe_says_the_same_of_a_replayed_device(lab):
    device = lab.devices(1, "--state-size", "3M", "--msix-vectors", 5, "--p2p", "off")[0]
    folder = capture(lab, device)
    replayed = Replay(lab, "replayed", folder)
    assert answer(replayed) == answer(device)
    again = capture(lab, replayed, "again")
    for name in ("device.json", "config"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()
    report = json.loads((folder / "probe.json").read_text())
    assert {**report["devices"][0], "device": None} == answer(device)
    # The host's side, from the files alone.
    host = json.loads(run("probe", "0000:00:00.0", "--root", folder / "host", "--json").stdout or "{}")
    assert not host     # it has no such device: nothing of this host leaked in
    assert (folder / "host" / "proc" / "meminfo").exists()


def test_a_kernel_device_comes_back_as_it_was_captured(lab):
    again = capture(lab, Replay(lab, "replayed", EDU))
    for name in ("device.json", "config"):
        assert (again / name).read_bytes() == (EDU / name).read_bytes()


@pytest.mark.parametrize("of", ["accel", "edu"])
def test_check_passes_on_a_replayed_device(lab, of):
    folder = EDU if of == "edu" else capture(lab, lab.devices(1, "--state-size", "64K")[0])
    replayed = Replay(lab, "replayed", folder)
    result = run("check", f"vfio-user:{replayed.path}", "--json", timeout=300)
    assert result.returncode == DONE, result.stdout + result.stderr
    report = json.loads(result.stdout)
    verdicts = {r["id"]: r["verdict"] for r in report["results"]}
    assert set(verdicts.values()) == {"pass", "skip"} and report["left-in"] == "RUNNING"
    assert {v for k, v in verdicts.items() if k.startswith("dma.")} == {"skip"}     # edu has no log, accel no registers
    assert list(verdicts.values()).count("pass") > 100


def with_other_ids(folder):
    """So that the guest does not take it for the device that it has a driver for."""
    config = folder / "config"
    text = config.read_text()
    config.write_text(text.replace("7666:acc1", "1234:9999").replace("\n00: 66 76 c1 ac", "\n00: 34 12 99 99"))
    return folder


def test_a_machine_moves_with_a_replayed_device(lab):
    folder = with_other_ids(capture(lab, lab.devices(1, "--state-size", "1M")[0]))
    devices = [[*lab.devices(1), Replay(lab, name, folder)] for name in ("from", "to")]
    source = lab.machine("source", devices[0])
    destination = lab.machine("destination", devices[1], incoming="tcp:127.0.0.1:0")
    source.wait_work()
    lab.migrate(source, destination.uri)
    assert destination.wait_status("running")
    destination.judge()


BAD = [
    ("device.json", lambda t: t.replace('"version": 1', '"version": 9'), "version 9"),
    ("device.json", lambda t: t.replace('"size": 65536', '"size": 1e300'), "regions[0]"),
    ("device.json", lambda t: "[" * 100000, "no JSON"),
    ("device.json", lambda t: t * 100, "device.json"),
    ("config", lambda t: t.replace("66 76", "67 76"), "config, line 1"),
    ("config", lambda t: t[:-10], "config has"),
]


@pytest.mark.parametrize("name, change, says", BAD, ids=range(len(BAD)))
def test_a_bad_capture_is_refused_with_the_place(lab, name, change, says):
    folder = capture(lab, lab.devices(1)[0])
    (folder / name).write_text(change((folder / name).read_text()))
    result = run("device", "--replay", folder, "--socket", lab.path / "x")
    assert result.returncode == REFUSED and says in result.stderr, result.stderr
    assert not (lab.path / "x").exists()


def test_options_that_do_not_go_together(lab):
    device = lab.devices(1)[0]
    folder = capture(lab, device)
    socket = ("--socket", lab.path / "x")
    for args in (("--model", "accel"), ("--precopy", "on"), ("--script", "x")):
        result = run("device", "--replay", folder, *socket, *args)
        assert result.returncode == USAGE and args[0] in result.stderr
    result = run("device", "--replay", folder, *socket, "--state-size", "1M")
    assert result.returncode == REFUSED and "says how large" in result.stderr
    name = f"vfio-user:{device.path}"
    assert run("probe", "--all", "--capture", lab.path / "y").returncode == USAGE
    assert run("probe", name, "--measure", "--capture", lab.path / "y").returncode == USAGE
    result = run("probe", name, "--capture", folder)
    assert result.returncode == FAILED and "there already" in result.stderr


def test_a_device_that_is_not_there_leaves_what_sysfs_says(lab):
    folder = lab.path / "nothing"
    result = run("probe", f"vfio-user:{lab.path}/nobody", "--capture", folder)
    assert result.returncode != DONE and "no device to replay" in result.stderr
    assert sorted(os.listdir(folder)) == ["host", "probe.json"]
    assert run("device", "--replay", folder, "--socket", lab.path / "x").returncode == REFUSED
