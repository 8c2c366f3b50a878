# SPDX-License-Identifier: MIT
"""What a test in an emulated machine is made of: packages, an initrd, a boot, and the judgement of its console.

    fetch("arm64", "kernel-6.12")                     what Debian has, once (things.py)
    initrd = Initrd("arm64"); initrd.program(...)     a root file system with what runs inside (initrd.py)
    boot(machine, kernel, initrd, log)                a machine's console, from its first line to its last (machine.py)
    judge(console, commands)                          what passed and what did not (result.py)
"""
import os
import pathlib

HERE = pathlib.Path(__file__).resolve().parent.parent
ROOT = HERE.parent.parent
FOLDER = ROOT / "build-lab"
FETCHED = pathlib.Path(os.environ.get("LAB_FOLDER", FOLDER)).resolve()    # several trees can share it


class Absent(Exception):
    """Something that this machine lacks and cannot get."""
