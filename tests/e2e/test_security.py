# SPDX-License-Identifier: MIT
"""Processes in their sandbox, and other users at their sockets (which needs root)."""
import os
import shutil
import socket
import subprocess

import pytest

from lab import FAILED, VFERRY, Qmp, Process, run

NOBODY = 65534

as_root = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"),
                             reason="root and setpriv are needed to be another user")


def status_of(process):
    text = open(f"/proc/{process.process.pid}/status").read()
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def as_nobody(*args):
    return subprocess.run(["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
                           str(VFERRY), *map(str, args)], capture_output=True, text=True, timeout=30)


def open_to_all(lab, path):
    """As if somebody had loosened the modes."""
    lab.path.chmod(0o711)
    if path:
        path.chmod(0o666)


def test_run_and_device_are_in_the_sandbox(lab):
    machine = lab.machine("m", lab.devices(1), incoming="defer")
    for process in (machine, lab.processes[0]):
        status = status_of(process)
        assert status["Seccomp"] == "2" and status["NoNewPrivs"] == "1", status
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0


def test_off_gives_nothing_up(lab):
    device = lab.devices(1, "--sandbox", "off")[0]
    machine = lab.machine("m", [device], "--sandbox", "off")
    for process in (device, machine):
        assert status_of(process)["Seccomp"] == "0" and status_of(process)["NoNewPrivs"] == "0"


def test_a_file_elsewhere_is_not_written(lab, tmp_path):
    machine = lab.machine("m", [])
    elsewhere = tmp_path / "saved"
    result = run("save", elsewhere, "--control", machine.control)
    assert result.returncode != 0 and "EACCES" in result.stderr and "--files" in result.stderr, result.stderr
    assert not elsewhere.exists() and machine.status() == "running"
    wider = lab.machine("wider", [], "--files", tmp_path)
    assert run("save", elsewhere, "--control", wider.control).returncode == 0
    assert elsewhere.stat().st_mode & 0o777 == 0o600


@as_root
def test_another_user_and_the_control_socket(lab):
    machine = lab.machine("m", [])
    open_to_all(lab, None)
    result = as_nobody("status", "--control", machine.control)
    assert result.returncode == FAILED and "denied" in result.stderr, result.stderr
    open_to_all(lab, machine.control)
    result = as_nobody("status", "--control", machine.control)
    assert result.returncode == FAILED and f"user {NOBODY}" in result.stderr, result.stderr
    allowed = lab.machine("allowed", [], "--allow-uid", NOBODY)
    result = as_nobody("status", "--control", allowed.control)
    assert result.returncode == 0 and "running" in result.stdout, result.stderr
    # It gets no more than the control socket: files are for the machine's user still.
    assert machine.qmp("query-status")["running"]


@as_root
def test_another_user_and_a_device(lab):
    device = lab.devices(1)[0]
    open_to_all(lab, device.path)
    args = ("run", "--accel", "soft", "--memory", "32M", "--files", "/tmp", "--device",
            f"vfio-user:{device.path}")
    result = as_nobody(*args)
    assert result.returncode == FAILED, result.stdout
    assert "user 0" not in result.stdout and "ready" not in result.stdout
    assert f"user {NOBODY}" in device.err.read_text()


@as_root
def test_a_device_of_another_user(lab):
    lab.path.chmod(0o777)
    path = lab.path / "theirs.sock"
    process = subprocess.Popen(["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
                                str(VFERRY), "device", "--model", "accel", "--socket", str(path),
                                "--allow-uid", "0"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline().startswith("ready")
        args = ("run", "--accel", "soft", "--memory", "32M", "--device", f"vfio-user:{path}",
                "--control", lab.path / "vm.qmp")
        result = run(*args, cwd=lab.path)
        assert result.returncode == FAILED and f"user {NOBODY}" in result.stderr, result.stderr
        machine = Process(lab, "vm", *args, "--allow-uid", NOBODY)
        assert Qmp(lab.path / "vm.qmp")("query-status")["running"]
        assert machine.end() == 0
    finally:
        process.terminate()
        process.wait()


def test_a_hostile_greeting_does_not_end_the_sandboxed_machine(lab):
    """What comes in is answered, and nothing that is done about it is forbidden."""
    machine = lab.machine("m", lab.devices(1), incoming="tcp:127.0.0.1:0")
    host, port = machine.uri[4:].rsplit(":", 1)
    for junk in (b"", b"\0" * 64, b"GET / HTTP/1.0\r\n\r\n", os.urandom(5000)):
        with socket.create_connection((host, int(port)), timeout=10) as s:
            try:
                s.sendall(junk)
                s.shutdown(socket.SHUT_WR)
                while s.recv(4096):
                    pass
            except TimeoutError:
                raise
            except OSError:
                pass	# which is an answer, too
    assert machine.status() == "inmigrate"
