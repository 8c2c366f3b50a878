# SPDX-License-Identifier: MIT
"""Cancel in every phase: the source runs on as it was, and can be moved at once."""
import signal
import time

import pytest

from lab import CANCELLED, DONE, Frame, finish, run, wait_for


def check_goes_on(lab, source, migrate=True):
    """The source works, with its vectors forwarded; a new destination gets it whole."""
    wait_for("the source to run", lambda: source.status() == "running")
    source.check_forwarded()
    before = source.verdict()["verified-jobs"]
    source.wait_work(before + 10)
    if not migrate:
        source.judge()
        return
    third = lab.machine("third", lab.devices(len(source.devices)), incoming="tcp:127.0.0.1:0")
    lab.migrate(source, third.uri)
    third.wait_status("running")
    third.judge(migrations=2)


@pytest.mark.threads
def test_in_setup(lab):
    source, destination = lab.pair()
    proxy = lab.proxy(destination.uri, hold=Frame.ACCEPT)
    process = lab.start_migrate(source, proxy.uri)
    wait_for("the answer to be held", proxy.happened.is_set)
    assert source.migration()["status"] == "setup"
    assert run("cancel", "--control", source.control).returncode == DONE
    code, text = finish(process)
    assert code == CANCELLED, text
    check_goes_on(lab, source)


def test_while_nobody_answers(lab):
    source, destination = lab.pair()
    proxy = lab.proxy(destination.uri, hold=Frame.ACCEPT)
    process = lab.start_migrate(source, proxy.uri)
    wait_for("the answer to be held", proxy.happened.is_set)
    process.send_signal(signal.SIGINT)
    code, text = finish(process)
    assert code == CANCELLED and "cancelling" in text
    check_goes_on(lab, source, migrate=False)


@pytest.mark.threads
@pytest.mark.parametrize("channels", [1, 4])
def test_in_active(lab, channels):
    source, destination = lab.pair()
    process = lab.start_migrate(source, destination.uri, "--bandwidth", "4MB/s",
                                "--parallel-connections", channels)
    source.wait_migration("active")
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    code, text = finish(process)
    assert code == CANCELLED, text
    assert destination.wait() == 3
    check_goes_on(lab, source)


def test_in_pre_switchover(lab):
    source, destination = lab.pair()
    source.qmp("migrate-set-capabilities",
               capabilities=[{"capability": "pause-before-switchover", "state": True}])
    process = lab.start_migrate(source, destination.uri)
    source.wait_migration("pre-switchover")
    assert source.status() == "running"
    assert run("cancel", "--control", source.control).returncode == DONE
    assert finish(process)[0] == CANCELLED
    source.qmp("migrate-set-capabilities",
               capabilities=[{"capability": "pause-before-switchover", "state": False}])
    check_goes_on(lab, source)


def test_continue_from_pre_switchover(lab):
    source, destination = lab.pair()
    source.qmp("migrate-set-capabilities",
               capabilities=[{"capability": "pause-before-switchover", "state": True}])
    process = lab.start_migrate(source, destination.uri)
    source.wait_migration("pre-switchover")
    source.qmp("migrate-continue", state="pre-switchover")
    code, text = finish(process)
    assert code == DONE, text
    destination.wait_status("running")
    destination.judge()


@pytest.mark.threads
def test_in_device(lab):
    """In the pause: the machine is stopped, its devices are, and the destination loads."""
    source, destination = lab.pair(2)
    proxy = lab.proxy(destination.uri, hold=Frame.MANIFEST)
    process = lab.start_migrate(source, proxy.uri, "--pause-budget", 60000)
    wait_for("the manifest to be held", proxy.happened.is_set)
    source.wait_migration("device")
    assert source.status() == "finish-migrate"
    process.send_signal(signal.SIGINT)
    code, text = finish(process)
    assert code == CANCELLED, text
    proxy.close()
    check_goes_on(lab, source)


def test_a_device_that_takes_too_long_to_load_is_rolled_back(lab):
    source, destination = lab.pair(destination_script="on RESUMING->STOP delay 5s\n")
    result = lab.migrate(source, destination.uri, "--pause-budget", 500, expect=3)
    assert "failed" in result.stderr
    check_goes_on(lab, source)


def test_destination_is_told(lab):
    """A destination that waits with `defer` waits again, with a fresh machine."""
    source, destination = lab.pair(incoming="defer")
    destination.qmp("migrate-incoming", uri="tcp:127.0.0.1:0")
    address = destination.migration()["socket-address"][0]
    process = lab.start_migrate(source, f"tcp:127.0.0.1:{address['port']}", "--bandwidth", "4MB/s")
    source.wait_migration("active")
    process.send_signal(signal.SIGINT)
    assert finish(process)[0] == CANCELLED
    wait_for("the destination to wait again", lambda: not destination.migration().get("status"))
    destination.qmp("migrate-incoming", uri="tcp:127.0.0.1:0")
    address = destination.migration()["socket-address"][0]
    lab.migrate(source, f"tcp:127.0.0.1:{address['port']}")
    destination.wait_status("running")
    destination.judge(migrations=2)
