# SPDX-License-Identifier: MIT
"""`vferry run --kernel` on x86-64: a kernel of a few bytes, entered as Linux is, and its console on standard input and
output. It says K and the first letter of its command line, then repeats what it reads; q powers off, r resets."""
import fcntl
import os
import platform
import pty
import select
import struct
import subprocess
import termios
import time

import pytest

from lab import DONE, REFUSED, VFERRY, WAIT, run, wait_for, why_no_kvm

WHY_NOT = why_no_kvm() or (None if platform.machine() == "x86_64" else "the kernel is one for x86-64")
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))

CODE = bytes.fromhex("".join(line.split("  ")[0] for line in """\
66baf803b04bee  mov dx,0x3f8; mov al,'K'; out dx,al
8b86280200008a00ee  mov eax,[rsi+0x228]; mov al,[rax]; out dx,al
66bafd03eca80174f7  1: mov dx,0x3fd; in al,dx; test al,1; jz 1b
66baf803ec3c7174073c727410  mov dx,0x3f8; in al,dx; cmp al,'q'; je 2f; cmp al,'r'; je 3f
eeebe7  out dx,al; jmp 1b
66ba000666b8003466eff4ebfd  2: mov dx,0x600; mov ax,0x3400; out dx,ax; hlt; jmp .-1
66baf90cb006eef4ebfd  3: mov dx,0xcf9; mov al,6; out dx,al; hlt; jmp .-1
""".splitlines()))


def image(**changes):
    """A bzImage: two sectors of set-up, then the kernel, whose 64-bit entry is 512 bytes behind its beginning."""
    fields = {"version": 0x20f, "xloadflags": 1, "pref_address": 0x1000000, "init_size": 0x10000, **changes}
    head = bytearray(1024)
    head[0x1f1] = 1
    struct.pack_into("<H", head, 0x1fe, 0xaa55)
    struct.pack_into("<H4sH", head, 0x200, 0x66eb, b"HdrS", fields["version"])
    head[0x211] = 1
    struct.pack_into("<I", head, 0x22c, 0x7fffffff)
    struct.pack_into("<H", head, 0x236, fields["xloadflags"])
    struct.pack_into("<I", head, 0x238, 2047)
    struct.pack_into("<QI", head, 0x258, fields["pref_address"], fields["init_size"])
    return bytes(head) + bytes(512) + CODE


class Kernel:
    """`vferry run --kernel`, whose standard input and output are the test's."""

    def __init__(self, lab, name, *args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, foreground=None):
        self.control = lab.path / f"{name}.qmp"
        self.seen = b""
        (lab.path / "kernel").write_bytes(image())
        self.process = subprocess.Popen(
            [str(VFERRY), "run", "--accel", "kvm", "--memory", "64M", "--kernel", str(lab.path / "kernel"),
             "--append", "Z", "--control", str(self.control), *map(str, args)],
            stdin=stdin, stdout=stdout, cwd=lab.path, start_new_session=foreground is not None, preexec_fn=foreground)

    def read(self, fd, what):
        """Reads until @what came."""
        until = time.monotonic() + WAIT
        while what not in self.seen:
            assert time.monotonic() < until, f"{what} did not come, but {self.seen}"
            if select.select([fd], [], [], 0.2)[0]:
                self.seen += os.read(fd, 4096)

    def hears(self, what):
        self.read(self.process.stdout.fileno(), what)

    def says(self, what):
        self.process.stdin.write(what)
        self.process.stdin.flush()

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


@pytest.fixture
def kernel(lab):
    made = []

    def make(*args, **kwargs):
        made.append(Kernel(lab, *args, **kwargs))
        return made[-1]
    yield make
    for one in made:
        one.end()


def test_it_is_entered_with_its_command_line_and_powers_off(kernel):
    vm = kernel("vm")
    vm.hears(b"KZ")
    vm.says(b"hello q")
    vm.hears(b"hello ")
    assert vm.process.wait(WAIT) == DONE


def test_a_reset_boots_it_again(kernel):
    vm = kernel("vm")
    vm.hears(b"KZ")
    vm.says(b"one r")
    vm.hears(b"one KZ")
    vm.says(b"two q")
    vm.hears(b"KZtwo ")
    assert vm.process.wait(WAIT) == DONE


def test_a_closed_input_is_no_end(kernel):
    vm = kernel("vm")
    vm.hears(b"KZ")
    vm.process.stdin.close()
    time.sleep(0.2)
    assert run("status", "--control", vm.control).returncode == DONE


def test_what_is_typed_goes_where_it_runs(lab, kernel):
    source = kernel("source")
    source.hears(b"KZ")
    destination = kernel("destination", "--incoming", "unix:" + str(lab.path / "m"))
    destination.hears(b"ready")
    destination.says(b"soon ")      # kept until it runs there
    source.says(b"one ")
    source.hears(b"one ")
    assert run("migrate", f"unix:{lab.path}/m", "--control", source.control).returncode == DONE
    destination.says(b"two q")
    destination.hears(b"soon two ")
    assert destination.process.wait(WAIT) == DONE
    assert b"K" not in destination.seen


def test_kernel_and_program_do_not_mix(lab, kernel):
    source = kernel("source")
    source.hears(b"KZ")
    program = lab.machine("program", [], accel="kvm", incoming="unix:" + str(lab.path / "m"))
    result = run("migrate", f"unix:{lab.path}/m", "--control", source.control)
    assert result.returncode == REFUSED and "guest=kernel" in result.stderr, result.stderr
    source.says(b"goes on q")
    source.hears(b"goes on ")
    assert program.status() == "inmigrate"


@pytest.mark.parametrize("changes,words", [
    ({"version": 0x20b}, "2.12"), ({"xloadflags": 0}, "64-bit"), ({"pref_address": 1 << 40}, "place"),
    ({"init_size": 1 << 30}, "too little"),
])
def test_kernels_that_cannot_be_booted(lab, changes, words):
    (lab.path / "kernel").write_bytes(image(**changes))
    result = run("run", "--accel", "kvm", "--memory", "64M", "--kernel", lab.path / "kernel")
    assert result.returncode != DONE and words in result.stderr, result.stderr


# ---- on a terminal ----

def modes(fd):
    return termios.tcgetattr(fd)[:4]


@pytest.fixture
def terminal():
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


def on_terminal(kernel, theirs, name="vm"):
    def take():
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    return kernel(name, stdin=theirs, stdout=theirs, foreground=take)


@pytest.mark.parametrize("end", ["power off", "keys", "kill"])
def test_a_terminal_is_the_guests_and_comes_back_as_it_was(kernel, terminal, end):
    ours, theirs = terminal
    before = modes(theirs)
    vm = on_terminal(kernel, theirs)
    vm.read(ours, b"KZ")
    assert modes(theirs) != before
    os.write(ours, b"\x03\x01\x01 ")      # Ctrl-C, and one Ctrl-A
    vm.read(ours, b"\x03\x01 ")
    if end == "kill":
        vm.process.kill()
    else:
        os.write(ours, b"q" if end == "power off" else b"\x01x")
    vm.process.wait(WAIT)
    wait_for("the terminal's old modes", lambda: modes(theirs) == before)
    assert end != "power off" or vm.process.returncode == DONE
