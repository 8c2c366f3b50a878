# SPDX-License-Identifier: MIT
"""The link between the two sides, at every moment of a migration: cut, frozen, slow; and sides that hang."""
import time

import pytest

from faults import (BEFORE_COMMIT, MOMENTS, PATIENT, Moment, check_goes_on,
                    hold_before_switchover, tells_of_a_closed_link, together, wait_told,
                    wait_told_of_a_closed_link)
from lab import DONE, FAILED, UNKNOWN, Frame, Lab, finish, run, wait_for

STALL = ("--stall-timeout", 1)


def check_told(source, text, *words):
    """Whoever asked hears the cause, and so do who looks later and who reads the log."""
    said = " ".join(run("status", "--control", source.control).stdout.split())
    for word in words:
        assert word in text and word in said, (word, text, said)
    wait_told(source, *words)


@pytest.mark.threads
@pytest.mark.parametrize("moment", BEFORE_COMMIT)
def test_cut(lab, moment):
    source, destination = lab.pair(2)
    at = Moment(lab, source, destination, moment)
    at.cut()
    assert tells_of_a_closed_link(at.finish(FAILED))
    wait_told_of_a_closed_link(source)
    if moment == "prepared":    # it has promised to be there until somebody knows how it ended
        assert destination.status() == "inmigrate"
    elif moment == "setup":     # nothing had come: the next one is welcome
        wait_for("the destination to wait", lambda: destination.status() == "inmigrate")
        at.release()
    else:
        assert destination.wait() == FAILED
        assert tells_of_a_closed_link(destination.errors())
    check_goes_on(lab, source)


def frozen(moment):
    """Return: what the source's migration ended with, and what the destination did."""
    lab = Lab()
    try:
        source, destination = lab.pair(1, *STALL)
        how = dict(MOMENTS[moment][0] or {"hold": Frame.ROUND_END, "nth": 4})
        hold_before_switchover(source, moment in ("later-round", "pre-switchover"))
        proxy = lab.proxy(destination.uri, freeze=how.pop("hold"), **how)
        code, text = finish(lab.start_migrate(source, proxy.uri, *PATIENT))
        assert code == (FAILED if moment in BEFORE_COMMIT else UNKNOWN), text
        check_told(source, text, "1000 ms")
        hold_before_switchover(source, False)
        proxy.thaw()
        if moment in BEFORE_COMMIT:
            after_roll_back(lab, source, destination, moment)
        else:
            after_commit(source, destination, moment)
    finally:
        lab.close()


def after_roll_back(lab, source, destination, moment):
    if moment != "setup":
        assert destination.wait() == FAILED
    else:   # if nothing had come, the next one is welcome
        try:
            assert destination.status() == "inmigrate"
        except (OSError, AssertionError):
            assert destination.wait() == FAILED
    check_goes_on(lab, source)


def after_commit(source, destination, moment):
    """The link is back, and COMMIT or its answer with it; but the source does not hear of it any more."""
    destination.wait_status("running")
    assert source.status() == "postmigrate"
    result = run("resolve", "--control", source.control, "--peer", destination.uri)
    assert result.returncode == DONE, result.stderr
    destination.judge()


def test_frozen():
    """Nothing is closed, nothing comes: both sides give up after the stall timeout, which they name."""
    together(frozen, MOMENTS)


def hung_destination(moment):
    lab = Lab()
    try:
        source, destination = lab.pair(1, *STALL)
        at = Moment(lab, source, destination, moment)
        destination.stop()
        at.release()
        text = at.finish(FAILED)
        check_told(source, text, "1000 ms")
        destination.cont()
        after_roll_back(lab, source, destination, moment)
    finally:
        lab.close()


def test_hung_destination():
    """Its kernel still takes what fits into buffers; it wakes up too late."""
    together(hung_destination, [m for m in BEFORE_COMMIT if m != "prepared"])


def hung_source(moment):
    lab = Lab()
    try:
        source, destination = lab.pair(1, *STALL)
        at = Moment(lab, source, destination, moment)
        source.stop()
        at.release()
        assert destination.wait() == FAILED
        assert "1000 ms" in destination.errors()
        source.cont()
        at.finish(FAILED)
        check_goes_on(lab, source)
    finally:
        lab.close()


def test_hung_source():
    """It finds the link closed when it wakes up, and runs on."""
    together(hung_source, ["first-round", "later-round", "pre-switchover"])


@pytest.mark.threads
def test_each_side_has_a_patience_of_its_own(lab):
    """A short one does not take a peer with a long one for dead while nothing is to be sent."""
    source = lab.machine("source", lab.devices(1), "--stall-timeout", 300)
    destination = lab.machine("destination", lab.devices(1), *STALL, incoming="tcp:127.0.0.1:0")
    source.wait_work()
    at = Moment(lab, source, destination, "prepared", "--parallel-connections", 4)
    time.sleep(2.5)
    at.release()
    at.finish(DONE)
    destination.wait_status("running")
    destination.judge()


@pytest.mark.threads
def test_slow_is_not_dead(lab):
    """A frame takes longer than the stall timeout, and channels wait for each other."""
    source, destination = lab.pair(1, *STALL, guest="rate=1 working-set=1M", memory="16M")
    proxy = lab.proxy(destination.uri, rate=800_000)
    lab.migrate(source, proxy.uri, *STALL, "--parallel-connections", 3, "--max-downtime", 5000)
    destination.wait_status("running")
    destination.judge()
