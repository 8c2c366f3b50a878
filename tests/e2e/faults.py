# SPDX-License-Identifier: MIT
"""What the tests of faults share: how a migration is brought to a moment, and what must hold after it."""
import concurrent.futures

from lab import SANITIZED, Frame, finish, wait_for

# Long enough for whatever a test does while the machine is stopped.
PATIENT = ("--pause-budget", 10000000)


def check_goes_on(lab, source, migrate=True, migrations=2):
    """The source works, with its vectors forwarded; a new destination gets it whole."""
    wait_for("the source to run", lambda: source.status() == "running")
    source.check_forwarded()
    before = source.verdict()["verified-jobs"]
    source.wait_work(before + 10)
    if not migrate:
        source.judge(migrations)
        return None
    third = lab.machine("third", lab.devices(len(source.devices)), incoming="tcp:127.0.0.1:0")
    lab.migrate(source, third.uri)
    third.wait_status("running")
    third.judge(migrations)
    return third


def hold_before_switchover(machine, on=True):
    machine.qmp("migrate-set-capabilities",
                capabilities=[{"capability": "pause-before-switchover", "state": on}])


# Moments of a migration, by the frame at which a proxy holds the link, and the run state of the source.
MOMENTS = {
    "setup": (dict(hold=Frame.MACHINE), "running"),
    "asked": (dict(hold=Frame.ACCEPT), "running"),
    "first-round": (dict(hold=Frame.PAGES), "running"),
    "later-round": (dict(hold=Frame.ROUND_END, nth=3), "running"),
    "pre-switchover": (None, "running"),
    "stopped": (dict(hold=Frame.SWITCHOVER), "finish-migrate"),
    "saving": (dict(hold=Frame.MANIFEST), "finish-migrate"),
    "prepared": (dict(hold=Frame.PREPARED), "finish-migrate"),
    "committed": (dict(hold=Frame.COMMIT), "finish-migrate"),
    "running": (dict(hold=Frame.RUNNING), "finish-migrate"),
}
BEFORE_COMMIT = list(MOMENTS)[:8]


def together(test, cases):
    """test(case) for all cases, several at once: for those that mostly wait."""
    with concurrent.futures.ThreadPoolExecutor(2 if SANITIZED else 5) as pool:
        runs = {case: pool.submit(test, case) for case in cases}
    failed = {case: repr(r.exception()) for case, r in runs.items() if r.exception()}
    assert not failed, "\n".join(f"{case}: {why}" for case, why in failed.items())


def tells_of_a_closed_link(text):
    """A process that was killed with bytes unread resets its connections; else they are closed."""
    return "closed" in text or "ECONNRESET" in text or "EPIPE" in text


def wait_told(process, *words):
    """Its log may come a little later than the answer to whoever asked."""
    wait_for(f"{process.name} to tell of {words}",
             lambda: all(word in process.errors() for word in words))


def wait_told_of_a_closed_link(process):
    wait_for(f"{process.name} to tell that the link is closed",
             lambda: tells_of_a_closed_link(process.errors()))


class Moment:
    """A migration that was started, and waits at a moment."""

    def __init__(self, lab, source, destination, moment, *args):
        how, self.run_state = MOMENTS[moment]
        self.proxy = lab.proxy(destination.uri, **(how or {}))
        holds = moment in ("later-round", "pre-switchover")
        hold_before_switchover(source, holds)
        self.process = lab.start_migrate(source, self.proxy.uri, *PATIENT, *args)
        if how:
            self.proxy.wait()
        if holds:	# the next one, of another destination, is not to be held
            wait_for("rounds", lambda: source.migration().get("status") in ("active", "pre-switchover"))
            hold_before_switchover(source, False)
        if moment == "pre-switchover":
            source.wait_migration("pre-switchover")
        wait_for(f"the source to be {self.run_state}", lambda: source.status() == self.run_state)

    def release(self):
        self.proxy.release()

    def drop(self):
        self.proxy.drop()

    def cut(self):
        """The link is closed as it is: what is held is lost."""
        if self.proxy.hold:
            self.proxy.drop()
        self.proxy.cut_all()

    def finish(self, expect):
        """Return: what `vferry migrate` printed."""
        code, text = finish(self.process)
        assert code == expect, text
        return text

