# SPDX-License-Identifier: MIT
"""What the console of a boot says: init names each command before it runs, and its exit code and what the kernel
complained of after it.

    lab: run 1 /bin/test_kvm_arm64
    ... what it prints ...
    lab: kernel: WARNING: CPU: 0 PID: 1 at ...
    lab: exit 1 0
"""
import dataclasses
import re

from .machine import SECONDS

COUNTS = re.compile(r"\b(\d+) passed, (\d+) failed, (\d+) skipped$")
SKIPPED = 77


@dataclasses.dataclass
class Command:
    """A command line, for init. Exit code 0 is a test that passed, 77 one that was skipped; a program that closes with
    `N passed, N failed, N skipped` has counted itself. A kernel that complains has failed it, if it need not."""
    words: str
    complains: bool = False

    def __str__(self):
        return self.words


@dataclasses.dataclass
class Verdict:
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    notes: list = dataclasses.field(default_factory=list)

    def add(self, outcome, note=None):
        setattr(self, outcome, getattr(self, outcome) + 1)
        if note:
            self.notes.append(f"{outcome.upper()}: {note}")

    def __iadd__(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.notes += other.notes
        return self

    def __str__(self):
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def sections(lines, count):
    """(its lines, its exit code) of each command; the code is None if there is none."""
    found = [([], None) for _ in range(count)]
    number = None
    for line in lines:
        run = re.match(r"lab: run (\d+)\b", line)
        done = re.match(r"lab: exit (\d+) (\d+)$", line)
        if run:
            number = int(run[1])
        elif done and int(done[1]) == number:
            found[number] = (found[number][0], int(done[2]))
            number = None
        elif number is not None:
            found[number][0].append(line)
    return found


def judge_command(command, lines, code):
    verdict = Verdict()
    said = [line for line in lines if line.strip() and not line.startswith("lab: ")]
    counts = [m for m in map(COUNTS.search, said) if m]
    complaints = [line for line in lines if line.startswith("lab: kernel: ")]
    if code is None:
        verdict.add("failed", f"{command}: no result")
    elif complaints and not command.complains:
        verdict.add("failed", f"{command}: {complaints[0]}")
    elif counts:
        verdict.passed, verdict.failed, verdict.skipped = (int(n) for n in counts[-1].groups())
        verdict.notes += [line for line in said if line.lower().startswith("skipped:")]
        if bool(code) != bool(verdict.failed):
            verdict.add("failed", f"{command}: exit code {code}")
    elif code == SKIPPED:
        verdict.add("skipped", f"{command}: {said[-1] if said else ''}")
    elif code:
        verdict.add("failed", f"{command}: exit code {code}")
    else:
        verdict.add("passed")
    if verdict.failed:
        verdict.notes += ["    " + line for line in lines[-80:]]
    return verdict


def judge(console, commands):
    """The verdict on a boot: that of each command, and whether the machine itself was well."""
    verdict = Verdict()
    for command, (lines, code) in zip(commands, sections(console.lines, len(commands))):
        verdict += judge_command(command, lines, code)
    if console.ended:
        verdict.add("failed", f"not done after {SECONDS} s")
    elif "lab: done" not in console.lines:
        verdict.add("failed", "the machine ended by itself")
        verdict.notes += ["    " + line for line in console.lines[-40:]]
    return verdict
