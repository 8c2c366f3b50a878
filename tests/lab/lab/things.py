# SPDX-License-Identifier: MIT
"""What is installed, fetched and built before anything boots."""
import subprocess

from . import FETCHED, FOLDER, HERE, ROOT, Absent

TRIPLE = {"arm64": "aarch64-linux-gnu", "amd64": "x86_64-linux-gnu"}


def or_absent(command, otherwise):
    """Runs a command that gets something; when it fails, its last words are the reason."""
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise Absent((done.stderr.strip().splitlines() or [otherwise])[-1])


def setup():
    """What this machine itself needs."""
    for packages in (ROOT / "scripts/packages.list", HERE / "packages.list"):
        or_absent([ROOT / "scripts/setup", packages], "cannot install packages")


def fetch(architecture, *things):
    """The folders of things that the script `fetch` knows."""
    or_absent([HERE / "fetch", FETCHED, architecture, *things], "fetch failed")
    return [FETCHED / architecture / thing for thing in things]


def build(*targets):
    """The folder in which the programs for arm64 are. Fails by CalledProcessError."""
    fetch("arm64", "sysroot")
    folder = FOLDER / "build"
    subprocess.run([HERE / "build", folder, *targets], check=True)
    return folder
