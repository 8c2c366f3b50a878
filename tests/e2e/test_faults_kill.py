# SPDX-License-Identifier: MIT
"""kill -9 of the source, the destination and each one's device process, at every moment of a migration."""
import pytest

from faults import (BEFORE_COMMIT, Moment, check_goes_on, tells_of_a_closed_link, wait_told,
                    wait_told_of_a_closed_link)
from lab import DONE, FAILED, FAILED_AFTER, UNKNOWN, run, wait_for

BEFORE_PREPARED = BEFORE_COMMIT[:-1]
BEFORE_STOP = BEFORE_COMMIT[:5]


def resolve(machine, *args, expect=DONE):
    result = run("resolve", "--control", machine.control, *args)
    assert result.returncode == expect, result.stderr + result.stdout
    return result.stdout + result.stderr


# ---- the destination ----

@pytest.mark.threads
@pytest.mark.parametrize("moment", BEFORE_COMMIT)
def test_destination_before_commit(lab, moment):
    source, destination = lab.pair(2)
    at = Moment(lab, source, destination, moment)
    destination.kill()
    at.drop()
    assert tells_of_a_closed_link(at.finish(FAILED))
    wait_told_of_a_closed_link(source)
    check_goes_on(lab, source)


@pytest.mark.parametrize("moment", ["committed", "running"])
def test_destination_after_commit(lab, moment):
    """Only somebody who knows that it is gone can say so. Then it runs here, from where it stopped."""
    source, destination = lab.pair(2)
    at = Moment(lab, source, destination, moment)
    destination.kill()
    at.drop()
    assert "resolve" in at.finish(UNKNOWN)
    assert source.status() == "postmigrate"
    wait_told(source, "unknown", "resolve")
    status = run("status", "--control", source.control).stdout
    assert "postmigrate" in status and "unknown" in status and tells_of_a_closed_link(status)
    resolve(source, "--peer", destination.uri, expect=UNKNOWN)
    resolve(source, "--fenced", "destination")
    check_goes_on(lab, source)


# ---- the source ----

@pytest.mark.parametrize("moment", BEFORE_PREPARED)
def test_source_before_prepared(lab, moment):
    source, destination = lab.pair(2)
    at = Moment(lab, source, destination, moment)
    source.kill()
    at.drop()
    assert "not known" in at.finish(UNKNOWN)
    if moment == "setup":	# nothing had come: it waits for another
        wait_told_of_a_closed_link(destination)
        assert destination.status() == "inmigrate"
    else:
        assert destination.wait() == FAILED
        assert tells_of_a_closed_link(destination.errors())


@pytest.mark.threads
@pytest.mark.parametrize("moment", ["prepared", "committed"])
def test_source_before_commit_arrived(lab, moment):
    """The destination has all of it, and waits for somebody's word; it says so."""
    source, destination = lab.pair(2)
    at = Moment(lab, source, destination, moment)
    source.kill()
    at.drop()
    assert "resolve" in at.finish(UNKNOWN)
    wait_told(destination, "resolve")
    assert destination.status() == "inmigrate"
    status = run("status", "--control", destination.control).stdout
    assert "inmigrate" in status and tells_of_a_closed_link(status)
    resolve(destination, "--fenced", "source")
    destination.wait_status("running")
    destination.judge()
    destination.check_forwarded()


@pytest.mark.parametrize("moment", ["committed", "running"])
def test_source_after_commit(lab, moment):
    source, destination = lab.pair(2)
    at = Moment(lab, source, destination, moment)
    source.kill()
    at.release()
    at.finish(UNKNOWN)
    destination.wait_status("running")
    destination.judge()


# ---- a device of the destination ----

@pytest.mark.threads
@pytest.mark.parametrize("moment", BEFORE_COMMIT + ["committed"])
def test_device_of_the_destination(lab, moment):
    """Also when it had promised to run: it asks its devices first, and takes the promise back."""
    source, destination = lab.pair(2)
    at = Moment(lab, source, destination, moment)
    device = destination.devices[1]
    device.kill()
    at.release()
    text = at.finish(FAILED)
    assert destination.wait() == FAILED
    assert str(device.path) in destination.errors() or "00:02.0" in destination.errors()
    if moment in BEFORE_PREPARED:
        assert str(device.path) in text or "00:02.0" in text
    check_goes_on(lab, source)


def test_device_of_the_destination_after_all(lab):
    source, destination = lab.pair(2)
    at = Moment(lab, source, destination, "running")
    destination.wait_status("running")
    destination.devices[1].kill()
    at.release()
    at.finish(DONE)
    assert destination.status() == "running"
    assert destination.verdict()["corrupt-pages"] == 0


def test_what_the_destination_said_counts_more_than_that_it_closed(lab):
    """It dies early and at once, while the source is sending: the cause is the device, not EPIPE."""
    source, destination = lab.pair(2, destination_script="on *->RUNNING_P2P exit\n")
    text = lab.migrate(source, destination.uri, expect=FAILED).stderr
    assert "RESUMING" in text and "gone" in text
    assert destination.wait() == FAILED
    check_goes_on(lab, source)


def test_device_of_the_destination_that_does_not_start(lab):
    """Given away, and not to be had back: it is said where the machine is, and that it does not run."""
    source, destination = lab.pair(2, destination_script="on STOP->RUNNING_P2P exit\n")
    text = lab.migrate(source, destination.uri, expect=FAILED_AFTER).stderr
    assert "at the destination" in text and "gone" in text
    assert source.status() == "postmigrate" and destination.status() == "paused"
    with pytest.raises(Exception, match="moved away"):
        source.qmp("cont")


# ---- a device of the source ----

def check_other_works(source, device):
    """The machine survives it, with the other device, and no page is wrong."""
    wait_for("the source to run", lambda: source.status() == "running")
    lost = [d for d in source.migration()["x-vferry-devices"] if d["uri"].endswith(str(device.path))]
    assert len(lost) == 1
    before = source.verdict()
    wait_for("the other device to work", lambda: source.verdict()["verified-jobs"] >
             before["verified-jobs"] + 20)
    after = source.verdict()
    assert after["corrupt-pages"] == 0 and after["corrupt-jobs"] == 0
    assert after["checked-pages"] > before["checked-pages"]
    return lost[0]


@pytest.mark.threads
@pytest.mark.parametrize("moment", BEFORE_STOP)
def test_device_of_the_source(lab, moment):
    source, destination = lab.pair(2)
    at = Moment(lab, source, destination, moment)
    device = source.devices[1]
    device.kill()
    at.release()
    text = at.finish(FAILED)
    assert (str(device.path) in text or "00:02.0" in text) and "gone" in text
    assert "lost its state" in text
    wait_told(source, "lost its state")
    if moment != "setup" or destination.process.poll() is not None:
        assert destination.wait() == FAILED
    assert check_other_works(source, device)["lost"]
    third = lab.machine("third", lab.devices(2), incoming="tcp:127.0.0.1:0")
    result = run("migrate", third.uri, "--control", source.control)
    assert result.returncode != DONE and "00:02.0" in result.stderr, result.stderr


@pytest.mark.parametrize("moment", ["prepared", "committed", "running"])
def test_device_of_the_source_that_is_saved(lab, moment):
    """It is not needed any more."""
    source, destination = lab.pair(2)
    at = Moment(lab, source, destination, moment)
    source.devices[1].kill()
    at.release()
    at.finish(DONE)
    destination.wait_status("running")
    destination.judge()


def test_device_of_the_source_when_it_is_needed_again(lab):
    """Dead in the pause, and then the migration fails: the rest of the machine comes back."""
    source, destination = lab.pair(2)
    at = Moment(lab, source, destination, "prepared")
    source.devices[1].kill()
    at.cut()
    text = at.finish(FAILED)
    assert "put back" in text and "gone" in text and "lost its state" in text
    assert check_other_works(source, source.devices[1])["lost"]
