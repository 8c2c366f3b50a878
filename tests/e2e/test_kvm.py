# SPDX-License-Identifier: MIT
"""Machines under KVM: run, moved, saved, undone, with vfio-user devices, judged by the guest."""
import time

import pytest

from lab import (CANCELLED, DONE, FAILED, REFUSED, USAGE, VFERRY, WAIT, Frame, QmpError,
                 finish, run, wait_for, why_no_kvm)

GUEST = "rate=20 working-set=8M"
SLOWLY = ("--bandwidth", "6MB/s", "--max-downtime", "20", "--policy", "continue",
          "--pause-budget", "60000")

WHY_NOT = why_no_kvm()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))


def pair(lab, devices=1, *args, **kwargs):
    kwargs.setdefault("guest", GUEST)
    return lab.pair(devices, *args, accel="kvm", **kwargs)


def check_moved(source, destination, migrations=1):
    assert source.status() == "postmigrate"
    assert destination.wait_status("running")
    return destination.judge(migrations)


def check_goes_on(lab, source, *args):
    """The source works as before, and a new destination gets it whole."""
    wait_for("the source to run", lambda: source.status() == "running")
    source.wait_work(source.verdict()["verified-jobs"] + 10)
    third = lab.machine("third", lab.devices(len(source.devices)), *args, accel="kvm", guest=GUEST,
                        incoming="tcp:127.0.0.1:0")
    lab.migrate(source, third.uri)
    third.wait_status("running")
    third.judge(migrations=2)


# ---- it runs ----

@pytest.mark.parametrize("irq", ["msix", "msi", "intx"])
def test_it_runs_clean(lab, irq):
    machine = lab.machine("vm", lab.devices(2), "--cpus", 2, accel="kvm", guest=f"{GUEST} irq={irq}")
    machine.wait_work()
    machine.judge(0)
    machine.qmp("stop")
    steps = machine.verdict()["steps"]
    time.sleep(0.1)
    assert machine.verdict()["steps"] == steps
    machine.qmp("cont")
    wait_for("the guest to go on", lambda: machine.verdict()["steps"] > steps)
    machine.judge(0)


def test_auto_is_kvm(lab):
    machine = lab.machine("vm", [], accel="auto")
    assert machine.qmp("x-vferry-query-machine")["machine"]["accel"] == "kvm"


def test_commands(lab):
    machine = lab.machine("vm", [], accel="kvm")
    machine.wait_work()
    with pytest.raises(Exception, match="refused"):
        machine.guest("sing")
    machine.qmp("stop")
    with pytest.raises(Exception, match="stopped"):
        machine.guest("rate 1000000")
    machine.qmp("cont")
    machine.guest("rate 1000000")


def test_power_off(lab):
    machine = lab.machine("vm", lab.devices(1), "--cpus", 2, accel="kvm")
    machine.wait_work()
    machine.guest("poweroff")
    assert machine.wait() == 0


@pytest.mark.parametrize("args", [
    ("--gic", "v3"), ("--guest", "idle"), ("--guest-args", "nonsense=1"),
], ids=" ".join)
def test_refused_command_lines(args):
    result = run("run", "--accel", "kvm", *args)
    assert result.returncode == USAGE and len(result.stderr.splitlines()) == 1


# ---- with the IOAPIC in this process ----

@pytest.mark.threads
@pytest.mark.parametrize("irq", ["msix", "intx"])
def test_split_irqchip_moves(lab, irq):
    guest = f"{GUEST} irq={irq}"
    args = ("--cpus", 2, "--irqchip", "split")
    source, destination = pair(lab, 2, *args, guest=guest)
    assert source.qmp("x-vferry-query-machine")["machine"]["irqchip"] == "split"
    lab.migrate(source, destination.uri, "--verify", "--max-downtime", "3000")
    check_moved(source, destination)
    destination.wait_work(source.verdict()["verified-jobs"] + 10)
    destination.guest("rate 100")       # the serial port's interrupt arrives, too
    third = lab.machine("third", lab.devices(2), *args, accel="kvm", guest=guest,
                        incoming="tcp:127.0.0.1:0")
    lab.migrate(destination, third.uri, "--max-downtime", "3000")
    check_moved(destination, third, 2)


def test_split_irqchip_after_a_reset(lab):
    machine = lab.machine("vm", lab.devices(1), "--irqchip", "split", accel="kvm",
                          guest=f"{GUEST} irq=intx")
    machine.wait_work()
    restart(machine, "reboot")
    machine.wait_work()
    machine.judge(0)


def test_split_irqchip_is_undone(lab):
    source, destination = pair(lab, 1, "--irqchip", "split", guest=f"{GUEST} irq=intx")
    process = lab.start_migrate(source, destination.uri, *SLOWLY)
    source.wait_migration("active")
    assert run("cancel", "--control", source.control).returncode == DONE
    code, text = finish(process)
    assert code == CANCELLED, text
    source.wait_work(source.verdict()["verified-jobs"] + 10)
    source.judge()


def test_irqchips_of_two_kinds_are_refused(lab):
    source = lab.machine("source", [], "--irqchip", "split", accel="kvm")
    destination = lab.machine("destination", [], accel="kvm", incoming="tcp:127.0.0.1:0")
    source.wait_work()
    result = lab.migrate(source, destination.uri, expect=REFUSED)
    assert "the interrupt controller is split on the source and in the kernel here" in result.stderr


# ---- doorbells that KVM turns into an eventfd ----

def ioeventfds(machine):
    return [device["ioeventfds"] for device in machine.migration()["x-vferry-devices"]]


@pytest.mark.threads
@pytest.mark.parametrize("offered", ["on-on", "on-off", "off-on"])
def test_doorbells_move(lab, offered):
    """Rung as fast as the guest can; the judge compares how often with how often devices heard it."""
    guest = "rate=20 working-set=8M job-delay-us=0 job-bytes=64 vectors=8"
    first, second = offered.split("-")
    machines = [lab.machine("vm0", lab.devices(2, "--ioeventfd", first), accel="kvm", guest=guest)]
    machines[0].wait_work()
    for n in range(1, 5):
        source = machines[-1]
        assert ioeventfds(source) == ([1, 1] if (first, second)[(n - 1) % 2] == "on" else [0, 0])
        machines.append(lab.machine(f"vm{n}", lab.devices(2, "--ioeventfd", (first, second)[n % 2]),
                                    accel="kvm", guest=guest, incoming="tcp:127.0.0.1:0"))
        lab.migrate(source, machines[n].uri)
        assert ioeventfds(source) == [0, 0]     # a device that was given away hears nothing
        check_moved(source, machines[n], n)


def test_doorbells_after_roll_back(lab):
    """A failed hand-over ends with the source's doorbells where they were, and none lost."""
    source, destination = pair(lab, 1, destination_script="on RESUMING->STOP fail EIO\n",
                               guest=f"{GUEST} job-delay-us=0")
    lab.migrate(source, destination.uri, expect=FAILED)
    wait_for("the source to run", lambda: source.status() == "running")
    assert ioeventfds(source) == [1]
    source.wait_work(source.verdict()["verified-jobs"] + 10)
    source.judge()


@pytest.mark.parametrize("command", ["move-bar 0 0", "flr 0", "reset-device 0"])
def test_doorbells_follow_the_bar(lab, command):
    machine = lab.machine("vm", lab.devices(1), accel="kvm", guest=f"{GUEST} job-delay-us=0")
    machine.wait_work()
    machine.guest(command)
    machine.wait_work(machine.verdict()["verified-jobs"] + 200)
    assert ioeventfds(machine) == [1]
    machine.judge(0)


# ---- it moves ----

@pytest.mark.threads
@pytest.mark.parametrize("devices", [0, 1, 8])
@pytest.mark.parametrize("cpus", [1, 2])
def test_migration(lab, cpus, devices):
    source, destination = pair(lab, devices, "--cpus", cpus)
    result = lab.migrate(source, destination.uri)
    assert "restored in the pause" in result.stdout
    check_moved(source, destination)


@pytest.mark.parametrize("irq", ["msi", "intx"])
def test_interrupt_modes(lab, irq):
    source, destination = pair(lab, 2, "--cpus", 2, guest=f"{GUEST} irq={irq}")
    lab.migrate(source, destination.uri)
    check_moved(source, destination)


@pytest.mark.parametrize("dirty", ["log", "ring"])
def test_dirty_tracking(lab, dirty):
    source, destination = pair(lab, 1, "--cpus", 2, "--dirty", dirty, guest="rate=200 working-set=32M")
    lab.migrate(source, destination.uri, "--verify")
    check_moved(source, destination)


def test_there_and_back(lab):
    source, destination = pair(lab, 2, "--cpus", 2)
    lab.migrate(source, destination.uri)
    third = lab.machine("third", lab.devices(2), "--cpus", 2, accel="kvm", guest=GUEST,
                        incoming="tcp:127.0.0.1:0")
    destination.wait_status("running")
    lab.migrate(destination, third.uri)
    third.wait_status("running")
    third.judge(migrations=2)


def test_masked_vectors(lab):
    """What is signalled while a vector is masked waits in its eventfd."""
    machine = lab.machine("vm0", lab.devices(1), accel="kvm", guest=GUEST)
    machine.wait_work()
    machine.guest("mask-cycle 0 2")
    for hop in range(1, 4):
        following = lab.machine(f"vm{hop}", lab.devices(1), accel="kvm", guest=GUEST,
                                incoming="tcp:127.0.0.1:0")
        lab.migrate(machine, following.uri)
        following.wait_status("running")
        following.wait_work(following.verdict()["verified-jobs"] + 10)
        machine = following
    machine.judge(3)


def test_device_to_device_writes(lab):
    source, destination = pair(lab, 2, guest=f"{GUEST} p2p=on")
    wait_for("peer writes", lambda: source.verdict()["peer-writes"] > 10)
    before = source.verdict()["peer-writes"]
    lab.migrate(source, destination.uri)
    verdict = check_moved(source, destination)
    assert verdict["peer-writes"] > before and verdict["lost-peer-writes"] == 0


def test_throttle_makes_it_converge(lab):
    source, destination = pair(lab, 1, guest="rate=200 working-set=16M", memory="48M")
    result = lab.migrate(source, destination.uri, "--bandwidth", "40MB/s", "--max-downtime", "100",
                         "--policy", "throttle")
    assert "slowed by" in result.stderr
    check_moved(source, destination)


def test_paused_stays_paused(lab):
    source, destination = pair(lab)
    source.qmp("stop")
    lab.migrate(source, destination.uri)
    assert destination.wait_status("paused")
    destination.qmp("cont")
    check_moved(source, destination)


@pytest.mark.parametrize("cpus", [1, 2])
def test_save_and_load(lab, cpus):
    source = lab.machine("source", lab.devices(2), "--cpus", cpus, accel="kvm", guest=GUEST)
    source.wait_work()
    saved = lab.path / "saved"
    assert run("save", "--control", source.control, saved, timeout=WAIT).returncode == DONE
    assert source.status() == "postmigrate"
    loaded = lab.machine("loaded", lab.devices(2), "--cpus", cpus, accel="kvm", guest=GUEST,
                         incoming=f"file:{saved}")
    loaded.wait_status("running")
    loaded.judge()


# ---- it does not move ----

@pytest.mark.threads
def test_cancel_in_pre_copy(lab):
    source, destination = pair(lab, 2, "--cpus", 2)
    process = lab.start_migrate(source, destination.uri, "--bandwidth", "4MB/s")
    source.wait_migration("active")
    assert run("cancel", "--control", source.control).returncode == DONE
    code, text = finish(process)
    assert code == CANCELLED, text
    check_goes_on(lab, source, "--cpus", 2)


@pytest.mark.threads
@pytest.mark.parametrize("irq", ["msix", "intx"])
def test_destination_that_fails(lab, irq):
    """Its device does: in the pause, with everything of the source stopped."""
    source, destination = pair(lab, 1, "--cpus", 2, guest=f"{GUEST} irq={irq}",
                               destination_script="on RESUMING->STOP fail EIO\n")
    result = lab.migrate(source, destination.uri, expect=FAILED)
    assert "running" in source.status(), result.stderr
    check_goes_on(lab, source, "--cpus", 2)


def test_link_that_goes_in_the_pause(lab):
    source, destination = pair(lab, 1, "--cpus", 2)
    proxy = lab.proxy(destination.uri, cut=Frame.PREPARED)
    lab.migrate(source, proxy.uri, expect=FAILED)
    check_goes_on(lab, source, "--cpus", 2)


def test_another_accelerator_is_refused(lab):
    source = lab.machine("source", [], accel="kvm")
    source.wait_work()
    destination = lab.machine("destination", [], accel="soft", incoming="tcp:127.0.0.1:0")
    result = lab.migrate(source, destination.uri, expect=REFUSED)
    assert "soft-arm64" in result.stderr and "kvm-x86-64" in result.stderr
    assert source.status() == "running"
    source.judge(0)


def test_another_number_of_vcpus_is_refused(lab):
    source = lab.machine("source", [], "--cpus", 2, accel="kvm")
    source.wait_work()
    destination = lab.machine("destination", [], accel="kvm", incoming="tcp:127.0.0.1:0")
    result = lab.migrate(source, destination.uri, expect=REFUSED)
    assert "cpu/1" in result.stderr
    source.judge(0)


# ---- what the guest does meanwhile ----

def move_while(lab, source, destination, act):
    process = lab.start_migrate(source, destination.uri, *SLOWLY)
    source.wait_migration("active")
    act()
    assert source.migration()["status"] == "active"
    source.qmp("migrate-set-parameters", {"max-bandwidth": 0, "downtime-limit": 3000})
    code, text = finish(process)
    assert code == DONE, text
    return check_moved(source, destination)


@pytest.mark.parametrize("command", ["flr 0", "reset-device 0", "move-bar 0 0", "irq-mode 0 msi",
                                     "irq-mode 0 intx"])
def test_guest_acts_in_pre_copy(lab, command):
    source, destination = pair(lab, 2, "--cpus", 2)
    move_while(lab, source, destination, lambda: source.guest(command))


def restart(machine, command):
    """The guest begins anew, which is no answer to its command."""
    passes = machine.out.read_text().count("vCPU 0 runs")
    with pytest.raises(QmpError, match="reset"):
        machine.guest(command)
    wait_for("the guest to begin anew", lambda: machine.out.read_text().count("vCPU 0 runs") > passes)


def test_reboot(lab):
    machine = lab.machine("vm", lab.devices(2), "--cpus", 2, accel="kvm", guest=GUEST)
    for _ in range(2):
        machine.wait_work()
        restart(machine, "reboot")
    machine.wait_work()
    machine.judge(0)


def test_reboot_in_pre_copy(lab):
    source, destination = pair(lab, 2, "--cpus", 2)
    move_while(lab, source, destination, lambda: (restart(source, "reboot"), source.wait_work()))


def test_triple_fault_in_pre_copy(lab):
    """The machine goes on, and moves; that it happened is not forgotten over there."""
    source, destination = pair(lab, 1, "--cpus", 2)
    process = lab.start_migrate(source, destination.uri, *SLOWLY)
    source.wait_migration("active")
    restart(source, "triple-fault")
    source.wait_work()
    source.qmp("migrate-set-parameters", {"max-bandwidth": 0, "downtime-limit": 3000})
    code, text = finish(process)
    assert code == DONE, text
    destination.wait_status("running")
    verdict = destination.qmp("x-vferry-verdict", {"judge": True, "timeout": WAIT,
                                                   "allowed-spurious": destination.vectors()})
    assert not verdict["clean"] and "triple fault" in verdict["first-fault"]
    assert "triple fault" in source.errors()


def test_power_off_in_pre_copy(lab):
    source, destination = pair(lab, 1)
    process = lab.start_migrate(source, destination.uri, *SLOWLY)
    source.wait_migration("active")
    source.guest("poweroff")
    code, text = finish(process)
    assert code == CANCELLED, text
    assert source.wait() == 0
    assert destination.wait() == 3


# ---- what is told of it ----

def test_demo(lab):
    result = run("demo", "--memory", "96M", timeout=120)
    assert result.returncode == DONE, result.stderr
    assert "on kvm" in result.stdout and "verdict: nothing is wrong" in result.stdout


def test_figures(lab):
    machine = lab.machine("vm", lab.devices(1), accel="kvm")
    machine.wait_work()
    status = run("status", "--control", machine.control).stdout
    assert "connected, 0 forwarded\n  not forwarded: its device is not the kernel's" in status, status
    figures = machine.qmp("x-vferry-query-machine")["machine"]
    assert figures["description"] == "kvm-x86-64-v1 cpus=1 irqchip=kernel"
    assert figures["irqchip"] == "kernel" and figures["dirty"] in ("kvm-log", "kvm-ring")
    before = figures["counter_ns"]
    assert machine.qmp("x-vferry-query-machine")["machine"]["counter_ns"] > before
