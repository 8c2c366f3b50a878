# SPDX-License-Identifier: MIT
"""Command lines: what is wrong is said in one line, and ends with 1; help and man pages agree."""
import json
import re

import pytest

from lab import DONE, FAILED, ROOT, USAGE, VFERRY, run

if not VFERRY.exists():
    pytest.skip("build first", allow_module_level=True)

BAD = [
    [], ["bogus"], ["--bogus"],
    ["run", "--bogus"], ["run", "extra"], ["run", "--cpus", "0"], ["run", "--cpus", "two"],
    ["run", "--memory"], ["run", "--memory", "12x"], ["run", "--memory", "-4G"],
    ["run", "--memory", "4 G"], ["run", "--memory", "99999999999G"], ["run", "--memory", "1"],
    ["run", "--gic", "v5"], ["run", "--accel", "xen"], ["run", "--guest", "nobody"],
    ["run", "--guest-args", "nonsense=1"], ["run", "--guest-time", "fast"],
    ["run", "--device", "nonsense"], ["run", "--device", "vfio-user:x,bogus=1"],
    ["run", "--device", "vfio-user:x,timeout-ms=0"], ["run", "--incoming", "nonsense"],
    ["run", "--incoming", "tcp:nohost"], ["run", "--kernel", "bzImage"], ["run", "--peers", "yes"],
    ["migrate"], ["migrate", "tcp:h:1"], ["migrate", "--control", "x"],
    ["migrate", "tcp:h:1", "tcp:h:2", "--control", "x"], ["migrate", "bogus:x", "--control", "x"],
    ["migrate", "tcp:h:1", "--control", "x", "--max-downtime", "-1"],
    ["migrate", "tcp:h:1", "--control", "x", "--max-downtime", "1.5"],
    ["migrate", "tcp:h:1", "--control", "x", "--bandwidth", "100Mb/s"],
    ["migrate", "tcp:h:1", "--control", "x", "--bandwidth", "fast"],
    ["migrate", "tcp:h:1", "--control", "x", "--parallel-connections", "17"],
    ["migrate", "tcp:h:1", "--control", "x", "--parallel-connections", "0"],
    ["migrate", "tcp:h:1", "--control", "x", "--compression", "gzip"],
    ["migrate", "tcp:h:1", "--control", "x", "--policy", "hope"],
    ["migrate", "tcp:h:1", "--control", "x", "--hook", "/nonexistent"],
    ["save"], ["save", "file"], ["status"], ["status", "x"], ["cancel"], ["cancel", "--bogus"],
    ["resolve", "--control", "x"], ["resolve", "--control", "x", "--fenced", "both"],
    ["resolve", "--control", "x", "--fenced", "source", "--peer", "tcp:h:1"],
    ["resolve", "--control", "x", "--peer", "file:x"],
    ["order", "--arch", "riscv"], ["order", "--dot", "--json"], ["order", "--phase", "never"],
    ["order", "--arch", "arm64", "--control", "x"],
    ["check"], ["check", "x", "y"], ["check", "x", "--only", "nothing"], ["check", "x", "--json", "--tap"],
    ["check", "x", "--limit", "1"], ["check", "x", "--repeat", "0"],
    ["device"], ["device", "--model", "toaster"], ["device", "--bogus"],
    ["inspect"], ["inspect", "--bogus", "x"],
    ["demo", "--transport", "pigeon"], ["demo", "--accel", "xen"], ["run", "--irqchip", "none"],
    ["run", "--dirty", "maybe"], ["run", "--accel", "soft", "--irqchip", "kernel"],
    ["run", "--accel", "soft", "--dirty", "ring"], ["demo", "extra"],
    ["soak", "--rounds", "0"], ["soak", "--devices", "9"], ["soak", "--accel", "xen"],
    ["soak", "--dirty", "maybe"], ["soak", "--transport", "pigeon"], ["soak", "extra"],
]


@pytest.mark.parametrize("args", BAD, ids=" ".join)
def test_bad_command_line(args, tmp_path):
    result = run(*args, cwd=tmp_path)
    assert result.returncode == USAGE, result
    assert len(result.stderr.splitlines()) == 1 and result.stdout == ""
    assert result.stderr.startswith("vferry")


@pytest.mark.parametrize("args", [
    ["status"], ["cancel"], ["migrate", "tcp:127.0.0.1:1"], ["save", "x"], ["order"],
    ["resolve", "--fenced", "source"],
], ids=" ".join)
def test_nobody_at_the_control_socket(args, tmp_path):
    result = run(*args, "--control", tmp_path / "none", cwd=tmp_path)
    assert result.returncode == FAILED and len(result.stderr.splitlines()) == 1


def commands():
    help_text = run("--help")
    assert help_text.returncode == DONE
    return re.findall(r"^  (\w+) ", help_text.stdout, re.M)


def options(command):
    return re.findall(r"^  --([a-z0-9-]+)", run(command, "--help").stdout, re.M)


@pytest.mark.parametrize("command", commands())
def test_every_option_is_in_the_man_page(command):
    page = (ROOT / "man" / f"vferry-{command}.1.scd").read_text()
    assert options(command)
    missing = [o for o in options(command) if f"*--{o}*" not in page and o != "help"]
    assert not missing, f"{command}: not in its man page: {missing}"
    # And nothing that is gone.
    stale = set(re.findall(r"^\*--([a-z0-9-]+)\*", page, re.M)) - set(options(command))
    assert not stale, f"{command}: in the man page only: {stale}"


def test_every_command_is_in_the_main_page():
    page = (ROOT / "man" / "vferry.1.scd").read_text()
    assert [c for c in commands() if f"*vferry-{c}*(1)" not in page] == []


def test_version():
    assert re.match(r"vferry \d+\.\d+\.\d+\n$", run("--version").stdout)


@pytest.mark.parametrize("arch", ["arm64", "x86-64"])
def test_order_of_an_architecture(arch):
    order = json.loads(run("order", "--arch", arch, "--json").stdout)
    assert all(rule["because"] and rule["source"] for rule in order["rules"])
    steps = [step["step"] for step in order["plans"]["load"]]
    assert steps.index("pci/00:04.0:stage") < steps.index("vfio/00:04.0:data")
    last = "its/0:enable" if arch == "arm64" else "ioapic:state"
    assert steps.index(last) < steps.index("pci/00:04.0:connect") < steps.index("pci/00:04.0:arm")
    assert steps.index("session:prepared") < steps.index("session:commit") < \
        steps.index("machine:run")


def test_order_of_a_running_machine(lab):
    machine = lab.machine("source", lab.devices(1))
    result = run("order", "--control", machine.control, "--json")
    steps = [step["step"] for step in json.loads(result.stdout)["plans"]["load"]]
    assert "pci/00:01.0:connect" in steps and "vmm:run-state" in steps
    text = run("order", "--control", machine.control)
    assert "because" in text.stdout and "pci/00:01.0:arm" in text.stdout
    assert run("order", "--control", machine.control, "--dot").stdout.startswith("digraph")
    assert machine.status() == "running"


def test_order_as_a_graph():
    text = run("order", "--dot").stdout
    assert text.startswith("digraph") and text.count("digraph") == 1
    assert '"pci/00:04.0:connect" -> "pci/00:04.0:arm"' in text
