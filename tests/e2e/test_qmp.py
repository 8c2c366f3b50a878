# SPDX-License-Identifier: MIT
"""The control socket, beside QEMU's where QEMU is there: same members, same types, same errors."""
import json
import os
import shutil
import socket
import stat
import subprocess

import pytest

from lab import WAIT, Machine, Qmp, QmpError, wait_for

QEMU = shutil.which("qemu-system-x86_64")


@pytest.fixture
def machine(lab):
    return lab.machine("source", [])


class Qemu:
    def __init__(self, path, *args):
        self.process = subprocess.Popen(
            [QEMU, "-M", "q35", "-accel", "tcg", "-m", "64", "-nodefaults", "-display", "none",
             "-qmp", f"unix:{path},server=on,wait=off", *args])
        wait_for("QEMU's socket", lambda: os.path.exists(path))
        self.qmp = wait_for("QEMU's socket", lambda: self._connect(path))

    def _connect(self, path):
        try:
            return Qmp(path)
        except ConnectionRefusedError:
            return None

    def end(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def qemu(lab):
    if not QEMU:
        pytest.skip("qemu-system-x86_64 is not installed")
    it = Qemu(lab.path / "qemu.qmp")
    yield it
    it.end()


def error(qmp, text):
    answer = qmp.raw(text)
    return answer["error"]["class"], answer["error"]["desc"]


SAME_ERRORS = [
    '{"execute": "foo"}',
    '{"execute": "migrate"}',
    '{"execute": "migrate", "arguments": {"uri": "tcp:x:1", "bogus": 1}}',
    '{"execute": "migrate", "arguments": {"uri": 5}}',
    '{"execute": "migrate", "arguments": {"uri": "tcp:x:1", "detach": "yes"}}',
    '{"execute": "migrate-continue", "arguments": {"state": "nonsense"}}',
    '{"execute": "migrate-continue", "arguments": {"state": "pre-switchover"}}',
    '{"execute": "migrate-set-capabilities", "arguments": {"capabilities": '
    '[{"capability": "nonsense", "state": true}]}}',
    '{"execute": "migrate-set-capabilities", "arguments": {"capabilities": '
    '[{"capability": "events", "state": 1}]}}',
    '{"execute": "migrate-set-capabilities", "arguments": {"capabilities": '
    '[{"capability": "events"}]}}',
    '{"execute": "migrate-set-capabilities", "arguments": {"capabilities": 5}}',
    '{"execute": "qmp_capabilities"}',
    '{"exec": 1}', '{"execute": 5}', '[1]', '5', '"text"',
    '{"execute": "stop", "extra": 1}', '{"execute": "stop", "arguments": 5}',
    '{"execute": "stop", "arguments": {"bogus": 1}}',
]


@pytest.mark.parametrize("text", SAME_ERRORS)
def test_same_error_as_qemu(machine, qemu, text):
    assert error(machine.qmp, text) == error(qemu.qmp, text)


SAME_CLASS = [
    '{,}', 'nonsense',
    '{"execute": "migrate", "arguments": {"uri": "bogus:x"}}',
    '{"execute": "migrate-set-parameters", "arguments": {"downtime-limit": -1}}',
    '{"execute": "migrate-set-parameters", "arguments": {"downtime-limit": 99999999}}',
    '{"execute": "migrate-set-parameters", "arguments": {"max-bandwidth": 1.5}}',
    '{"execute": "migrate-set-parameters", "arguments": {"multifd-channels": 0}}',
    '{"execute": "migrate-set-parameters", "arguments": {"multifd-compression": "rle"}}',
    '{"execute": "migrate-set-parameters", "arguments": {"nonsense": 1}}',
    '{"execute": "migrate-incoming", "arguments": {"uri": "tcp:127.0.0.1:0"}}',
]


@pytest.mark.parametrize("text", SAME_CLASS)
def test_same_class_of_error(machine, qemu, text):
    assert error(machine.qmp, text)[0] == error(qemu.qmp, text)[0]


def shape(value):
    """Members and kinds of values; own additions left out."""
    if isinstance(value, dict):
        return {k: shape(v) for k, v in value.items() if not k.startswith("x-vferry-")}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return "number" if isinstance(value, (int, float)) and not isinstance(value, bool) \
        else type(value).__name__


@pytest.mark.parametrize("command", ["query-status", "query-commands", "query-migrate-capabilities"])
def test_same_shape(machine, qemu, command):
    assert shape(machine.qmp(command)) == shape(qemu.qmp(command))


def test_parameters_are_a_part_of_qemus(machine, qemu):
    ours, theirs = shape(machine.qmp("query-migrate-parameters")), \
        shape(qemu.qmp("query-migrate-parameters"))
    assert ours.items() <= theirs.items() and len(ours) >= 4
    assert machine.qmp("query-migrate-parameters")["downtime-limit"] == \
        qemu.qmp("query-migrate-parameters")["downtime-limit"]


def test_capabilities_are_a_part_of_qemus(machine, qemu):
    def names(q):
        return {c["capability"] for c in q("query-migrate-capabilities")}
    assert names(machine.qmp) <= names(qemu.qmp)


def qemu_migration(lab, qemu):
    other = Qemu(lab.path / "qemu2.qmp", "-incoming", f"unix:{lab.path}/qemu.mig")
    try:
        qemu.qmp("migrate", uri=f"unix:{lab.path}/qemu.mig")
        wait_for("QEMU's migration",
                 lambda: qemu.qmp("query-migrate").get("status") == "completed")
        return qemu.qmp("query-migrate")
    finally:
        other.end()


def test_query_migrate_has_qemus_members(lab, qemu):
    theirs = shape(qemu_migration(lab, qemu))
    source, destination = lab.pair(0)
    lab.migrate(source, destination.uri)
    ours = shape(source.migration())
    # `skipped` is in QEMU's schema and in its answer; what both have must be of one kind.
    assert set(theirs) == set(ours)
    assert set(theirs["ram"]) == set(ours["ram"])
    assert ours == theirs


def test_query_schema_names(machine, qemu):
    """Every command and event that we share is in QEMU's schema by that name."""
    names = {e["name"] for e in qemu.qmp("query-qmp-schema")}
    own = [c["name"] for c in machine.qmp("query-commands")]
    assert [c for c in own if not c.startswith("x-vferry-") and c not in names] == []
    for c in ("qmp_capabilities query-status query-migrate migrate migrate-incoming migrate_cancel "
              "migrate-continue migrate-set-parameters query-migrate-parameters "
              "migrate-set-capabilities query-migrate-capabilities stop cont quit "
              "query-commands").split():
        assert c in own


# ---- on its own ----

def test_greeting_and_negotiation(machine):
    assert stat.S_IMODE(os.stat(machine.control).st_mode) == 0o600
    qmp = Qmp(machine.control, negotiate=False)
    assert qmp.greeting["QMP"]["version"]["qemu"]["major"] == 7
    assert error(qmp, '{"execute": "query-status"}')[0] == "CommandNotFound"
    assert qmp.raw('{"execute": "qmp_capabilities", "id": 7}') == {"return": {}, "id": 7}
    assert qmp.raw('{"execute": "query-status", "id": {"a": [1]}}')["id"] == {"a": [1]}


def test_events(lab):
    source, destination = lab.pair(0)
    for qmp in (source.qmp, destination.qmp):
        qmp("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
    source.qmp("stop")
    source.qmp("cont")
    lab.migrate(source, destination.uri)
    destination.wait_status("running")
    source.migration()
    destination.migration()

    def names(qmp):
        return [e["event"] + (":" + e["data"]["status"] if "status" in e.get("data", {}) else "")
                for e in qmp.drain_events()]
    events = names(source.qmp)
    assert events[:2] == ["STOP", "RESUME"]
    assert "MIGRATION_PASS" in events
    assert [e for e in events[2:] if e != "MIGRATION_PASS"] == [
        "MIGRATION:setup", "MIGRATION:active", "STOP", "MIGRATION:device", "MIGRATION:completed"] or \
        [e for e in events[2:] if e != "MIGRATION_PASS"] == [
        "MIGRATION:setup", "MIGRATION:active", "MIGRATION:device", "STOP", "MIGRATION:completed"]
    assert "RESUME" in names(destination.qmp)
    assert names(destination.qmp)[-1] == "MIGRATION:completed"
    source.qmp("quit")
    assert source.wait() == 0
    assert source.qmp.drain_events()[-1]["data"] == {"guest": False, "reason": "host-qmp-quit"}


def test_no_migration_events_unless_asked_for(lab):
    source, destination = lab.pair(0)
    lab.migrate(source, destination.uri)
    source.migration()
    assert {e["event"] for e in source.qmp.drain_events()} == {"STOP"}


def test_second_migration_is_refused(lab):
    source, destination = lab.pair(0)
    source.qmp("migrate-set-capabilities",
               capabilities=[{"capability": "pause-before-switchover", "state": True}])
    source.qmp("migrate", uri=destination.uri)
    with pytest.raises(QmpError, match="in progress"):
        source.qmp("migrate", uri=destination.uri)
    source.qmp("migrate_cancel")
    assert source.outcome() == "cancelled"


def test_parameters_are_kept_and_used(machine):
    given = {"downtime-limit": 77, "max-bandwidth": 12345678, "multifd-channels": 3,
             "multifd-compression": "zstd", "x-vferry-policy": "give-up", "x-vferry-timeout": 9,
             "x-vferry-pause-budget": 1234, "x-vferry-verify": True, "x-vferry-hook": "/bin/true"}
    machine.qmp("migrate-set-parameters", given)
    assert machine.qmp("query-migrate-parameters").items() >= given.items()
    with pytest.raises(QmpError, match="absolute"):
        machine.qmp("migrate-set-parameters", {"tls-creds": "x", "downtime-limit": 5})
    assert machine.qmp("query-migrate-parameters")["downtime-limit"] == 77


def test_a_client_that_sends_too_much_is_dropped(machine):
    qmp = Qmp(machine.control)
    qmp.socket.sendall(b'{"execute": "' + b"a" * (1 << 17))
    assert "too long" in qmp.file.readline()
    try:
        assert qmp.file.readline() == ""
    except ConnectionResetError:
        pass	# what it sent beyond was not read
    assert machine.status() in ("running", "prelaunch")


def test_deep_nesting_is_refused(machine):
    qmp = Qmp(machine.control)
    assert error(qmp, '{"execute": "stop", "id": ' + "[" * 50 + "]" * 50 + "}")[0] == "GenericError"
    assert qmp("query-status")["status"] == "running"


def test_a_client_that_does_not_read_is_dropped(machine):
    greedy = socket.socket(socket.AF_UNIX)
    greedy.connect(str(machine.control))
    greedy.settimeout(WAIT)
    # Requests go in until our side's buffers are full; then it must hang up.
    request = b'{"execute": "qmp_capabilities"}' + b'{"execute": "query-commands"}' * 1000
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        for _ in range(2000):
            greedy.sendall(request)
    assert machine.status() == "running"


def test_only_so_many_clients(machine):
    clients = []
    for _ in range(40):
        one = socket.socket(socket.AF_UNIX)
        one.settimeout(WAIT)
        one.connect(str(machine.control))
        clients.append(one)
    said = [c.makefile("r").readline() for c in clients]
    greeted = sum('"QMP"' in line for line in said)
    assert greeted == 15	# and the one of the fixture
    assert all("error" in json.loads(line) for line in said if '"QMP"' not in line)
    for c in clients:
        c.close()

    def greeted_now():
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(WAIT)
            one.connect(str(machine.control))
            return '"QMP"' in one.makefile("r").readline()
    wait_for("a place to be free", greeted_now)


def test_a_control_socket_in_use_is_not_taken(lab, machine):
    with pytest.raises(AssertionError, match="use"):
        Machine(lab, "source", [])
    assert machine.status() == "running"


def test_what_arrives_in_pieces(machine):
    qmp = Qmp(machine.control)
    for byte in b'\r\n {"execute":"query-status"}{"execute" : "query-commands"} ':
        qmp.socket.sendall(bytes([byte]))
    assert qmp.message()["return"]["status"] == "running"
    assert {"name": "migrate"} in qmp.message()["return"]


def test_verdict_and_guest_commands(machine):
    machine.wait_work()
    assert machine.guest("rate 5") == "ok"
    with pytest.raises(QmpError):
        machine.guest("dance")
    machine.judge()
    machine.qmp("stop")
    with pytest.raises(QmpError):
        machine.qmp("x-vferry-verdict", judge=True, timeout=2)


def test_quit_while_the_guest_is_being_asked(machine):
    machine.wait_work()
    other = Qmp(machine.control)
    other.send('{"execute": "x-vferry-verdict", "arguments": {"judge": true}}')
    machine.qmp("quit")
    assert machine.wait() == 0


def test_json_lines(lab):
    machine = Machine(lab, "plain", [])
    machine.end()
    lab.count = 0
    from lab import VFERRY
    process = subprocess.Popen([str(VFERRY), "run", "--accel", "soft", "--json", "--paused"], stdout=subprocess.PIPE,
                               text=True)
    ready = json.loads(process.stdout.readline())
    process.terminate()
    assert ready["event"] == "ready" and ready["status"] == "prelaunch"
    assert process.wait(WAIT) == 0
