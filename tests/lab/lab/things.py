# SPDX-License-Identifier: MIT
"""What is installed, fetched and built before anything boots."""
import platform
import subprocess

from . import FETCHED, FOLDER, HERE, ROOT, Absent

OWN_KERNEL = "iommufd"
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


def get_kernel(architecture, name):
    """The folder of a kernel: of Debian's ("6.12"), or of one that is built from its source ("iommufd")."""
    if name != OWN_KERNEL:
        return fetch(architecture, f"kernel-{name}")[0]
    if (platform.machine(), architecture) != ("x86_64", "amd64"):
        raise Absent("the kernel with iommufd is for x86-64, and built there")
    or_absent([ROOT / "scripts/setup", HERE / "iommufd/packages.list"], "cannot install packages")
    fetch(architecture, "source-6.12")
    or_absent([HERE / "iommufd/build", FETCHED / architecture], "the kernel does not build")
    return FETCHED / architecture / f"kernel-{name}"


def build(architecture, *targets):
    """The folder in which the programs for an architecture are. Fails by CalledProcessError."""
    if architecture == "arm64":
        fetch("arm64", "sysroot")
        folder = FOLDER / "build"
        subprocess.run([HERE / "build", folder, *targets], check=True)
        return folder
    if platform.machine() != "x86_64":
        raise Absent("programs for x86-64 are built on x86-64 only")
    folder = ROOT / "build-check-plain"     # as scripts/check has it, which finds it built
    if not (folder / "build.ninja").exists():
        subprocess.run(["meson", "setup", folder, "--werror"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", folder, "--quiet", *targets], check=True)
    return folder
