# SPDX-License-Identifier: MIT
"""Whoever connects to a machine that waits, and is no source: it is said, and nothing is lost."""
import os
import socket
import struct
import subprocess

import pytest

from lab import VFERRY, wait_for

REFUSED = 2
QEMU = struct.pack(">II", 0x5145564D, 3) + bytes(56)
STRANGERS = [b"", b"V", b"GET / HTTP/1.1\r\nHost: example\r\n\r\n", QEMU, bytes(64), os.urandom(4096)]


def connect(uri):
    host, port = uri.removeprefix("tcp:").rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=20)


def test_strangers_are_turned_away_and_the_source_is_taken(lab):
    source, destination = lab.pair()
    for number, data in enumerate(STRANGERS, 1):
        with connect(destination.uri) as stranger:
            try:
                stranger.sendall(data)
                stranger.shutdown(socket.SHUT_WR)
                while stranger.recv(4096):
                    pass
            except OSError:
                pass            # it had more to say than was listened to
        wait_for("it to be told", lambda: f"(number {number})" in destination.err.read_text())
    dawdlers = [connect(destination.uri) for _ in range(20)]
    try:
        lab.migrate(source, destination.uri)
    finally:
        for dawdler in dawdlers:
            dawdler.close()
    destination.wait_status("running")
    destination.judge()
    said = destination.err.read_text()
    assert "turned a connection away (number 1)" in said
    assert '"GET "' in said and '"QEVM"' in said and "at byte 0" in said


@pytest.mark.parametrize("kind", ["file", "fd"])
def test_rubbish_that_is_all_there_is(tmp_path, kind):
    rubbish = tmp_path / "rubbish"
    rubbish.write_bytes(b"r" + os.urandom(100000))    # the first byte of TLS would be told from it
    here, there = socket.socketpair()
    uri = f"file:{rubbish}" if kind == "file" else f"fd:{there.fileno()}"
    with subprocess.Popen([VFERRY, "run", "--accel", "soft", "--memory", "64M", "--guest", "idle",
                           "--control", tmp_path / "control", "--incoming", uri],
                          pass_fds=[there.fileno()], stderr=subprocess.PIPE, text=True) as process:
        there.close()
        if kind == "fd":
            here.sendall(rubbish.read_bytes()[:4096])
        assert process.wait(30) == REFUSED
        assert "at byte 0" in (said := process.stderr.read()) or "at offset 0" in said
    here.close()
