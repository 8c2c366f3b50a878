# SPDX-License-Identifier: MIT
"""What a guest may do while it is being moved: reset devices, move BARs, change vectors, power off."""
import time

import pytest

from lab import ACCEL, CANCELLED, WAIT, wait_for

# Slow enough that pre-copy is still under way when the guest acts, and until it is told to go on.
SLOWLY = ("--bandwidth", "6MB/s", "--max-downtime", "20", "--policy", "continue",
          "--pause-budget", "60000")
GUEST = "rate=20 working-set=4M"


def move_while(lab, source, destination, act):
    """Pre-copy, the guest acts, pre-copy goes on for a while, then it may switch over."""
    process = lab.start_migrate(source, destination.uri, *SLOWLY)
    source.wait_migration("active")
    time.sleep(0.1)
    act()
    time.sleep(0.3)
    assert source.migration()["status"] == "active"
    source.qmp("migrate-set-parameters", {"max-bandwidth": 0, "downtime-limit": 500})
    out, err = process.communicate(timeout=WAIT)
    assert process.returncode == 0, err + out
    destination.wait_status("running")
    verdict = destination.judge()
    destination.check_forwarded()
    return verdict


@pytest.mark.threads
@pytest.mark.parametrize("command", ["flr 0", "reset-device 0"])
def test_reset_in_pre_copy(lab, command):
    source, destination = lab.pair(2, guest=GUEST, device_args=("--state-size", "8M"))
    before = source.verdict()["resets"]
    verdict = move_while(lab, source, destination, lambda: source.guest(command))
    assert verdict["resets"] == before + 1


def test_reset_twice(lab):
    source, destination = lab.pair(1, guest=GUEST, device_args=("--state-size", "8M"))

    def twice():
        source.guest("flr 0")
        time.sleep(0.3)
        source.guest("flr 0")

    assert move_while(lab, source, destination, twice)["resets"] == 2


def bars(machine):
    return [d["bars"] for d in machine.migration()["x-vferry-devices"]]


def test_bar_move_in_pre_copy(lab):
    source, destination = lab.pair(2, guest=GUEST)
    before = bars(source)
    move_while(lab, source, destination, lambda: source.guest("move-bar 0 0"))
    after = bars(destination)
    assert before[0] != after[0] and before[1] == after[1]


@pytest.mark.parametrize("mode", ["msi", "intx", "msix"])
def test_interrupt_mode_changes_in_pre_copy(lab, mode):
    start = "msi" if mode == "msix" else "msix"
    source, destination = lab.pair(1, guest=f"{GUEST} irq={start}")
    process = lab.start_migrate(source, destination.uri, *SLOWLY)
    source.wait_migration("active")
    source.guest(f"irq-mode 0 {mode}")
    wait_for("the guest to change its mode",
             lambda: source.migration()["x-vferry-devices"][0]["interrupts"] == mode)
    source.qmp("migrate-set-parameters", {"max-bandwidth": 0, "downtime-limit": 500})
    out, err = process.communicate(timeout=WAIT)
    assert process.returncode == 0, err + out
    destination.wait_status("running")
    destination.judge()
    assert destination.migration()["x-vferry-devices"][0]["interrupts"] == mode


def test_masked_vectors_survive(lab):
    source, destination = lab.pair(1, guest=f"{GUEST} irq=msix vectors=4")
    source.guest("mask-vector 0 1")
    lab.migrate(source, destination.uri)
    destination.wait_status("running")
    destination.guest("unmask-vector 0 1")
    destination.judge()


def test_power_off_in_pre_copy(lab):
    source, destination = lab.pair(1, guest=GUEST)
    process = lab.start_migrate(source, destination.uri, *SLOWLY)
    source.wait_migration("active")
    source.guest("poweroff")
    out, err = process.communicate(timeout=WAIT)
    assert process.returncode == CANCELLED, err + out
    assert "powered off" in err + source.err.read_text()
    assert source.wait() == 0
    assert destination.wait() == 3


def test_power_off_ends_with_0(lab):
    source = lab.machine("source", [])
    source.wait_work()
    source.guest("poweroff")
    assert source.wait() == 0
    assert any(e["event"] == "SHUTDOWN" and e["data"] == {"guest": True, "reason": "guest-shutdown"}
               for e in source.qmp.drain_events())


@pytest.mark.skipif(ACCEL != "soft", reason="a GIC is the soft machine's")
@pytest.mark.parametrize("gic", ["off", "v3", "v4.0", "v4.1"])
def test_interrupt_controllers(lab, gic):
    source, destination = lab.pair(1, "--gic", gic,
                                   guest=GUEST + (" irq=poll" if gic == "off" else ""))
    lab.migrate(source, destination.uri)
    destination.wait_status("running")
    destination.judge()
    if gic.startswith("v4"):
        destination.check_forwarded()
