# SPDX-License-Identifier: MIT
"""Devices, machines and proxies as processes: started, waited for, asked over QMP, and ended.

Every wait has a limit, so that a test fails and does not hang. $VFERRY_BUILD names the build folder.
"""
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("VFERRY_BUILD", ROOT / "build")).resolve()
VFERRY = BUILD / "tools" / "vferry"


def build_option(name):
    path = BUILD / "meson-info" / "intro-buildoptions.json"
    if not path.exists():
        return ""
    return next((o["value"] for o in json.loads(path.read_text()) if o["name"] == name), "")


SANITIZED = build_option("b_sanitize") not in ("", "none")
SLOW = 4 if SANITIZED else 1
WAIT = 30 * SLOW
# The guest's patience: sanitizers and loaded machines are slow, which is not what is tested.
PATIENCE = f"notice-ms={4000 * SLOW} lost-ms={15000 * SLOW}"

# What runs the machines of tests that do not care: all of them can be run on the other one, too.
ACCEL = os.environ.get("VFERRY_ACCEL", "soft")
# A step of its interrupt controller, which is loaded in the pause.
IRQCHIP_STEP = "its/0:tables" if ACCEL == "soft" else "ioapic:state"

DONE, USAGE, REFUSED, FAILED, CANCELLED, UNKNOWN, FAILED_AFTER = range(7)


def wait_for(what, condition, timeout=WAIT):
    """The first true value of condition()."""
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited {timeout} s for: {what}")


def run(*args, timeout=WAIT, **kwargs):
    """`vferry args` to its end."""
    return subprocess.run([str(VFERRY), *map(str, args)], capture_output=True, text=True,
                          timeout=timeout, **kwargs)


def finish(process):
    """Its exit code, and what it printed."""
    try:
        out, err = process.communicate(timeout=WAIT)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, out + err


def why_no_kvm():
    """What `vferry run` has against KVM here; None: nothing."""
    if not VFERRY.exists():
        return "build first"
    # A file that is no saved machine: it ends either way, for want of KVM or of a machine.
    with tempfile.NamedTemporaryFile() as rubbish:
        rubbish.write(b"rubbish" * 1000)
        rubbish.flush()
        result = run("run", "--accel", "kvm", "--memory", "16M", "--incoming", f"file:{rubbish.name}")
    return None if result.returncode == REFUSED else result.stderr.strip()


class Process:
    """A sub-command that says `ready` and goes on."""

    def __init__(self, lab, name, *args, signals_ok=False):
        self.name = name
        self.files = []     # that it made, and removes at its end; known once it is ready
        self.out = lab.path / f"{name}.out"
        self.err = lab.path / f"{name}.err"
        with open(self.out, "w") as out, open(self.err, "w") as err:
            self.process = subprocess.Popen([str(VFERRY), *map(str, args)], stdout=out, stderr=err,
                                            stdin=subprocess.DEVNULL, cwd=lab.path)
        lab.processes.append(self)
        self.ready = wait_for(f"{name} to be ready", self._ready)

    def _ready(self):
        for line in self.out.read_text().splitlines():
            if line.startswith("ready"):
                return line
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name} ended with {self.process.returncode}: "
                                 f"{self.err.read_text()}")
        return None

    def end(self):
        """SIGTERM. Return: the exit code."""
        if self.process.poll() is None:
            # Not behind SIGTERM: it would take away the SIGSTOP by which LeakSanitizer, at the end of
            # the process, stops its threads, and that waits for ever then.
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self, timeout=WAIT):
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self.name} did not end: {self.err.read_text()}") from None

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        """As if it hung, with all it has open, until cont()."""
        self.process.send_signal(signal.SIGSTOP)
        wait_for(f"{self.name} to be stopped", lambda: self._stat()[0] in "Tt")

    def cont(self):
        self.process.send_signal(signal.SIGCONT)

    def _stat(self):
        text = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text()
        return text.rsplit(")", 1)[1].split()

    def errors(self):
        return self.err.read_text(errors="replace")

    def footprint(self):
        """How many descriptors and threads it has."""
        proc = pathlib.Path(f"/proc/{self.process.pid}")
        return len(list((proc / "fd").iterdir())), len(list((proc / "task").iterdir()))


class QmpError(Exception):
    def __init__(self, error):
        super().__init__(error["desc"])
        self.error = error


class Qmp:
    """Any QMP server's client: vferry's, and QEMU's to compare with."""

    def __init__(self, path, negotiate=True):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(WAIT)
        self.socket.connect(str(path))
        self.file = self.socket.makefile("r")
        self.events = []
        self.greeting = json.loads(self.file.readline())
        if negotiate:
            self("qmp_capabilities")

    def send(self, text):
        self.socket.sendall(text.encode() + b"\n")

    def message(self):
        """The next message that is no event; None: closed."""
        while True:
            line = self.file.readline()
            if not line:
                return None
            message = json.loads(line)
            if "event" not in message:
                return message
            self.events.append(message)

    def raw(self, text):
        self.send(text)
        return self.message()

    def __call__(self, command, arguments=None, /, **kwargs):
        request = {"execute": command}
        arguments = {**(arguments or {}), **kwargs}
        if arguments:
            request["arguments"] = arguments
        answer = self.raw(json.dumps(request))
        assert answer is not None, f"{command}: the connection was closed"
        if "error" in answer:
            raise QmpError(answer["error"])
        return answer["return"]

    def drain_events(self):
        """All events until now; the connection may be closed by then."""
        try:
            self.send('{"execute": "query-status"}')
        except OSError:
            pass	# what was sent to us before is still there
        try:
            self.message()
        except OSError:
            pass
        return self.events

    def close(self):
        self.file.close()
        self.socket.close()


class Machine(Process):
    """`vferry run`."""

    def __init__(self, lab, name, devices, *args, memory="64M", guest="rate=20 working-set=8M",
                 incoming=None, accel=ACCEL):
        self.control = lab.path / f"{name}.qmp"
        self.accel = accel
        self.devices = devices
        command = ["run", "--accel", accel, "--memory", memory, "--control", self.control,
                   "--guest-args", f"{guest} {PATIENCE}"]
        for device in devices:
            command += ["--device", f"vfio-user:{device.path}"]
        if incoming:
            command += ["--incoming", incoming]
        super().__init__(lab, name, *command, *args)
        self.files = [self.control]
        if incoming and incoming.startswith("unix:"):
            self.files.append(pathlib.Path(incoming[5:]))
        self.qmp = Qmp(self.control)
        found = re.search(r"incoming=(\S+)", self.ready)
        self.uri = found.group(1) if found else None

    def status(self):
        return self.qmp("query-status")["status"]

    def migration(self):
        return self.qmp("query-migrate")

    def wait_status(self, status):
        return wait_for(f"{self.name} to be {status}", lambda: self.status() == status)

    def wait_migration(self, status):
        return wait_for(f"the migration of {self.name} to be {status}",
                        lambda: self.migration().get("status") == status)

    def outcome(self):
        """How the migration ended, when it did."""
        return wait_for(f"the migration of {self.name} to end", lambda: self._outcome())

    def _outcome(self):
        outcome = self.migration().get("x-vferry-outcome", "pending")
        return outcome if outcome != "pending" else None

    def guest(self, command):
        return self.qmp("x-vferry-guest-command", command=command)["reply"]

    def verdict(self):
        return self.qmp("x-vferry-verdict")

    def wait_work(self, jobs=20):
        """Until the guest is up and its devices did something."""
        need = jobs if self.devices else 0
        return wait_for(f"the guest of {self.name} to work",
                        lambda: (v := self.verdict())["booted"] and v["verified-jobs"] >= need and v)

    def vectors(self):
        return sum(d["vectors-connected"] for d in self.migration()["x-vferry-devices"])

    def judge(self, migrations=1):
        """The guest's verdict, which must be clean."""
        verdict = self.qmp("x-vferry-verdict", {"judge": True, "timeout": WAIT,
                                                "allowed-spurious": migrations * self.vectors()})
        assert verdict["clean"], verdict
        if self.devices:
            assert verdict["verified-jobs"] > 0
        return verdict

    def check_forwarded(self):
        """Every vector is injected directly: the original failure would leave it in software.

        KVM on x86-64 does not tell.
        """
        if self.accel == "kvm":
            return
        for device in self.migration()["x-vferry-devices"]:
            assert device["vectors-connected"] > 0, device
            assert device["vectors-forwarded"] == device["vectors-connected"], device


    def check_told_forwarded(self, report):
        """The same as a source knows it when it is done, and as `vferry migrate` reported it."""
        told = self.migration()["x-vferry-interrupts"]
        assert not told["awaited"] and len(told["devices"]) == len(self.devices), told
        for device in told["devices"]:
            for side in "before", "after":
                assert device[side]["connected"] > 0, device
                assert device[side]["forwarded"] == device[side]["connected"], device
            assert device["lost"] == device["doubtful"] == 0, device
            counts = [f"{device[side]['forwarded']} of {device[side]['connected']}" for side in ("before", "after")]
            assert f"{device['address']}              forwarded before: {counts[0]}; after: {counts[1]}\n" in report
        assert "WARNING" not in report


class Device(Process):
    """`vferry device --model accel`."""

    def __init__(self, lab, name, *args, script=None):
        self.path = lab.path / f"{name}.sock"
        if script:
            file = lab.path / f"{name}.script"
            file.write_text(script)
            args = (*args, "--script", file)
        super().__init__(lab, name, "device", "--model", "accel", "--socket", self.path, *args)
        self.files = [self.path]


class Lab:
    """All processes of a test, in one private directory with a short name."""

    def __init__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="vf-"))
        self.processes = []
        self.proxies = []
        self.count = 0

    def devices(self, count, *args, script=None):
        self.count += 1
        return [Device(self, f"d{self.count}-{i}", *args, script=script) for i in range(count)]

    def machine(self, name, devices, *args, **kwargs):
        return Machine(self, name, devices, *args, **kwargs)

    def pair(self, devices=1, *args, incoming="tcp:127.0.0.1:0", device_args=(), source_script=None,
             destination_script=None, work=True, **kwargs):
        """A source that works, and a destination that waits."""
        source = Machine(self, "source", self.devices(devices, *device_args, script=source_script),
                         *args, **kwargs)
        destination = Machine(self, "destination",
                              self.devices(devices, *device_args, script=destination_script),
                              *args, incoming=incoming, **kwargs)
        if work:
            source.wait_work()
        return source, destination

    def migrate(self, source, uri, *args, expect=DONE, timeout=WAIT):
        result = run("migrate", uri, "--control", source.control, *args, timeout=timeout)
        assert result.returncode == expect, result.stderr + result.stdout
        return result

    def start_migrate(self, source, uri, *args):
        """In the background: to be cancelled, watched, interrupted."""
        return subprocess.Popen([str(VFERRY), "migrate", str(uri), "--control", str(source.control),
                                 *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True)

    def proxy(self, uri, **kwargs):
        proxy = Proxy(uri, **kwargs)
        self.proxies.append(proxy)
        return proxy

    def close(self):
        """Ends all. What died by itself, or of a sanitizer, is told."""
        broken = []
        for proxy in self.proxies:
            proxy.close()
        for process in reversed(self.processes):
            code = process.process.poll()
            if code is None:
                try:
                    code = process.end()
                except AssertionError as error:
                    broken.append(str(error))
                    continue
            if code in (-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS, -signal.SIGSYS) or \
               "Sanitizer" in process.errors():
                broken.append(f"{process.name} died ({code}): {process.errors()[-3000:]}")
            left = [str(p) for p in process.files if 0 <= code <= FAILED_AFTER and p.exists()]
            if left:
                broken.append(f"{process.name} ended with {code} and left {left}")
        shutil.rmtree(self.path, ignore_errors=True)
        assert not broken, "\n".join(broken)


class Frame:
    """Numbers of lib/wire/frame.h."""
    HEADER = struct.Struct("<IHHIIQII")
    HELLO, MACHINE, ACCEPT, PAGES, ROUND_END, SECTION, STREAM_DATA = 1, 2, 3, 5, 6, 7, 8
    SWITCHOVER, MANIFEST, COMMIT, PREPARED, RUNNING, RESOLVE, RESOLVED = 11, 12, 13, 17, 19, 21, 22


class Proxy:
    """Between the two sides: slow, or doing something to the link at a frame.

    Of one of these frame types the nth frame counts, over all connections:
    cut: everything is closed when it comes, and it is not passed on; after=True: it is passed on first.
    freeze: likewise, but nothing is closed: nothing passes any more either way, as if a host or a switch
    between had gone without a word, until thaw().
    hold: it waits for release(), which passes it on, or for drop(), which cuts the link instead.
    rate: bytes a second, from the source; its frames are not looked at then.
    """

    def __init__(self, uri, rate=None, cut=None, after=False, freeze=None, hold=None, nth=1):
        assert uri.startswith("tcp:")
        host, port = uri[4:].rsplit(":", 1)
        self.target = (host, int(port))
        self.rate, self.cut, self.after, self.frozen_by, self.hold = rate, cut, after, freeze, hold
        self.left = nth
        self.released = threading.Event()
        self.happened = threading.Event()
        self.flows = threading.Event()
        self.flows.set()
        self.dropped = False
        self.sockets, self.lock = [], threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.uri = f"tcp:127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
                far = socket.create_connection(self.target)
            except OSError:
                return
            with self.lock:
                self.sockets += [near, far]
            for a, b, forward in ((near, far, True), (far, near, False)):
                threading.Thread(target=self._pump, args=(a, b, forward), daemon=True).start()

    def _read(self, source, count):
        data = bytearray()
        while len(data) < count:
            part = source.recv(min(count - len(data), 65536))
            if not part:
                raise OSError("closed")
            data += part
        return bytes(data)

    def _send(self, sink, data):
        self.flows.wait()
        sink.sendall(data)

    def _trickle(self, source, sink):
        """Bytes, as they come: whoever sends gets rid of them at that pace, and not a frame at a time."""
        while data := source.recv(8192):
            sink.sendall(data)
            time.sleep(len(data) / self.rate)
        raise OSError("closed")

    def _is_it(self, kind):
        if kind not in (self.cut, self.frozen_by, self.hold):
            return False
        with self.lock:
            self.left -= 1
            return self.left == 0

    def _pass(self, data, kind, sink):
        """Return: whether it goes on."""
        it = self._is_it(kind)
        if it and self.after:
            self._send(sink, data)
        if it and kind == self.frozen_by:
            self.flows.clear()
        if it:
            self.happened.set()
        if it and kind == self.hold:
            self.released.wait(WAIT)
        if it and (kind == self.cut or self.dropped):
            self.cut_all()
            return False
        if not (it and self.after):
            self._send(sink, data)
        return True

    def _pump(self, source, sink, forward):
        try:
            if self.rate and forward:
                self._trickle(source, sink)
            while True:
                header = self._read(source, Frame.HEADER.size)
                _, kind, _, _, length, *_ = Frame.HEADER.unpack(header)
                if not self._pass(header + self._read(source, length), kind, sink):
                    return
        except OSError:
            self.flows.wait()   # a frozen link does not tell that somebody is gone, either
            # What the other way still has on it arrives; then it ends, too.
            for one, how in ((source, socket.SHUT_RD), (sink, socket.SHUT_WR)):
                try:
                    one.shutdown(how)
                except OSError:
                    pass

    def wait(self):
        """Until the frame has come."""
        wait_for("a frame to come to the proxy", self.happened.is_set)

    def release(self):
        self.released.set()

    def drop(self):
        self.dropped = True
        self.released.set()

    def freeze(self):
        self.flows.clear()

    def thaw(self):
        self.flows.set()

    def cut_all(self):
        with self.lock:
            for one in self.sockets:
                try:
                    one.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def close(self):
        self.released.set()
        self.listener.close()
        self.cut_all()
        self.thaw()
