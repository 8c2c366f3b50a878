# SPDX-License-Identifier: MIT
"""Kernel modules that are built for a test, as tests/kmod has them."""
import platform
import shutil
import subprocess

from . import FOLDER, ROOT
from .things import TRIPLE, fetch

HOST = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
# What is not ours comes with the kernel's source; tests/kmod has how it is built.
FETCHED_SOURCES = {"mtty": "mtty"}


def build_module(architecture, kernel, name):
    """Builds tests/kmod/NAME for a kernel ("6.12"). Returns the module. Fails by CalledProcessError."""
    folder = FOLDER / "modules" / f"{name}-{architecture}-{kernel}"
    shutil.copytree(ROOT / "tests/kmod" / name, folder, dirs_exist_ok=True)
    if name in FETCHED_SOURCES:
        source, = fetch(architecture, f"{FETCHED_SOURCES[name]}-{kernel}")
        shutil.copytree(source, folder, dirs_exist_ok=True)
    _, headers = fetch(architecture, f"kernel-{kernel}", f"headers-{kernel}")
    kbuild, = fetch(HOST, f"kbuild-{kernel}")
    # The headers call the programs by a path that an installed system has.
    programs, = (kbuild / "root/usr/lib").glob("linux-kbuild-*")
    beside = headers / "root/usr/lib" / programs.name
    beside.unlink(missing_ok=True)
    beside.symlink_to(programs)
    subprocess.run(["make", "-s", "-C", headers / "build", f"M={folder}",
                    f"ARCH={'arm64' if architecture == 'arm64' else 'x86_64'}",
                    f"CROSS_COMPILE={TRIPLE[architecture]}-", "CONFIG_DEBUG_INFO_BTF_MODULES=",
                    "W=1" if name not in FETCHED_SOURCES else "W=", "modules"], check=True)
    return folder / f"{name}.ko"
