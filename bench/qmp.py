# SPDX-License-Identifier: MIT
"""qmp.py - a control connection to QEMU, or to `vferry run`, which speaks the same."""
import json
import select
import socket
import time

from system import Failed, connect

ENDED = ("completed", "failed", "cancelled")


class Qmp:
    def __init__(self, path):
        self.socket = connect(path)
        self.buffer, self.events = b"", []
        self._next(20)
        self.command("qmp_capabilities")

    def _next(self, timeout):
        while b"\n" not in self.buffer:
            if not select.select([self.socket], [], [], max(0, timeout))[0]:
                return None
            data = self.socket.recv(65536)
            if not data:
                raise Failed("the control socket was closed")
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return {**json.loads(line), "heard": time.monotonic()}

    def command(self, name, fds=(), **arguments):
        text = {"execute": name}
        if arguments:
            text["arguments"] = {k.replace("_", "-"): v for k, v in arguments.items()}
        socket.send_fds(self.socket, [json.dumps(text).encode() + b"\n"], list(fds))
        while True:
            message = self._next(60)
            if message is None:
                raise Failed(f"no answer to {name}")
            if "event" in message:
                self.events.append(message)
            elif "error" in message:
                raise Failed(f"{name}: {message['error']['desc']}")
            else:
                return message["return"]

    def await_event(self, wanted, timeout):
        """The first event for which wanted() holds."""
        until, seen = time.monotonic() + timeout, 0
        while True:
            for message in self.events[seen:]:
                if wanted(message):
                    return message
            seen = len(self.events)
            message = self._next(until - time.monotonic())
            if message is None:
                raise Failed("the migration did not end in time")
            if "event" in message:
                self.events.append(message)

    def await_migration(self, timeout=90):
        """Returns when it was heard that the migration has ended."""
        end = self.await_event(lambda m: m["event"] == "MIGRATION" and
                               m["data"]["status"] in ENDED, timeout)
        if end["data"]["status"] != "completed":
            raise Failed(f"migration {end['data']['status']}")
        return end["heard"]


def stamp_us(event):
    return event["timestamp"]["seconds"] * 1_000_000 + event["timestamp"]["microseconds"]
