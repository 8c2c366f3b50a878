# SPDX-License-Identifier: MIT
"""Kernel modules that are built for a test, as tests/kmod has them."""
import platform
import shutil
import subprocess

from . import FETCHED, FOLDER, ROOT
from .initrd import module_file
from .things import OWN_KERNEL, TRIPLE, fetch, get_kernel

HOST = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
# What is not ours comes with the kernel's source; tests/kmod has how it is built.
FETCHED_SOURCES = {"mtty": "mtty"}
# What is shared with others.
HEADERS = {"accel_lab": ["uapi/accel.h"]}


def make(build, folder, *variables):
    """Builds the module in a folder with what a kernel was built in, or with its headers."""
    subprocess.run(["make", "-s", "-C", build, f"M={folder}", *variables, "modules"], check=True)


def make_with_headers(architecture, kernel, folder, *variables):
    """With Debian's."""
    _, headers = fetch(architecture, f"kernel-{kernel}", f"headers-{kernel}")
    kbuild, = fetch(HOST, f"kbuild-{kernel}")
    # The headers call the programs by a path that an installed system has.
    programs, = (kbuild / "root/usr/lib").glob("linux-kbuild-*")
    beside = headers / "root/usr/lib" / programs.name
    beside.unlink(missing_ok=True)
    beside.symlink_to(programs)
    make(headers / "build", folder, f"ARCH={'arm64' if architecture == 'arm64' else 'x86_64'}",
         f"CROSS_COMPILE={TRIPLE[architecture]}-", "CONFIG_DEBUG_INFO_BTF_MODULES=", *variables)


def build_module(architecture, kernel, name):
    """Builds tests/kmod/NAME for a kernel ("6.12"). Returns the module. Fails by CalledProcessError."""
    folder = FOLDER / "modules" / f"{name}-{architecture}-{kernel}"
    if kernel == OWN_KERNEL and name in FETCHED_SOURCES:
        return module_file(get_kernel(architecture, kernel), name)
    shutil.copytree(ROOT / "tests/kmod" / name, folder, dirs_exist_ok=True)
    for header in HEADERS.get(name, []):
        shutil.copy(ROOT / header, folder)
    if kernel == OWN_KERNEL:
        make(FETCHED / architecture / f"build-{kernel}", folder, "W=1")
    elif name in FETCHED_SOURCES:
        source, = fetch(architecture, f"{FETCHED_SOURCES[name]}-{kernel}")
        shutil.copytree(source, folder, dirs_exist_ok=True)
        make_with_headers(architecture, kernel, folder, "W=")
    else:
        make_with_headers(architecture, kernel, folder, "W=1")
    return folder / f"{name}.ko"
