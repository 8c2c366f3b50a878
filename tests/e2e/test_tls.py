# SPDX-License-Identifier: MIT
"""Migrations over TLS, with credentials made as docs/security.md says; and who is kept out."""
import json
import re
import shutil
import socket
import ssl
import struct
import subprocess
import threading

import pytest

from lab import DONE, FAILED, REFUSED, ROOT, SLOW, UNKNOWN, USAGE, build_option, run, wait_for
from test_migrate import check_moved

DOCUMENT = (ROOT / "docs" / "security.md").read_text()


@pytest.fixture(autouse=True)
def needs(lab):
    if build_option("tls") == "disabled":
        pytest.skip("this build has no TLS")
    if not shutil.which("openssl"):
        pytest.skip("no openssl command")


def set_up(folder, title, **replace):
    """Runs the commands of a part of the document, as a reader would."""
    part = re.search(rf"^### {title}\n(.*?)(?=^##|\Z)", DOCUMENT, re.S | re.M)[1]
    commands = "\n".join(re.findall(r"```sh\n(.*?)```", part, re.S))
    for old, new in replace.items():
        assert f"{old}=" in commands
        commands = re.sub(rf"^{old}=.*$", f"{old}={new}", commands, flags=re.M)
    folder.mkdir(exist_ok=True)
    subprocess.run(["sh", "-eu"], input=commands, text=True, cwd=folder, check=True, capture_output=True)


@pytest.fixture
def certificates(lab):
    set_up(lab.path / "x509", "Set-up with certificates", host="localhost")
    return lab.path / "x509" / "localhost"


@pytest.fixture
def key(lab):
    set_up(lab.path / "key", "Set-up with a key")
    return lab.path / "key" / "psk"


def by_name(uri):
    return uri.replace("127.0.0.1", "localhost").replace("[::1]", "localhost")


@pytest.mark.threads
def test_certificates(lab, certificates):
    source, destination = lab.pair(2, "--tls-creds", certificates, incoming="tcp:127.0.0.1:0")
    lab.migrate(source, by_name(destination.uri), "--parallel-connections", 4)
    check_moved(source, destination)
    destination.check_forwarded()
    for machine in source, destination:
        tls = machine.migration()["x-vferry-tls"]
        assert tls["peer"].startswith("CN=localhost,O=Example (localhost") and tls["method"] == "x509"
        text = run("status", "--control", machine.control).stdout
        assert f"TLS 1.3, {tls['cipher']}" in text and "CN=localhost" in text


@pytest.mark.threads
def test_key(lab, key):
    source, destination = lab.pair(1, incoming="tcp:127.0.0.1:0", work=False)
    destination.end()
    destination = lab.machine("tls", lab.devices(1), "--tls-creds", key, "--tls-allow", "migration",
                              incoming="tcp:127.0.0.1:0")
    source.wait_work()
    lab.migrate(source, destination.uri, "--tls-creds", key, "--parallel-connections", 4)
    check_moved(source, destination)
    assert destination.migration()["x-vferry-tls"]["peer"] == "migration"


def test_over_unix_by_name(lab, certificates):
    path = lab.path / "m.sock"
    source, destination = lab.pair(1, "--tls-creds", certificates, incoming=f"unix:{path}")
    result = run("migrate", destination.uri, "--control", source.control)
    assert result.returncode == FAILED and "tls-hostname" in result.stderr
    result = run("migrate", destination.uri, "--control", source.control, "--tls-hostname", "elsewhere")
    assert result.returncode == FAILED and "CN=localhost" in result.stderr and "elsewhere" in result.stderr
    lab.migrate(source, destination.uri, "--tls-hostname", "localhost")
    check_moved(source, destination)


def test_one_side_without(lab, certificates):
    source, destination = lab.pair()
    result = run("migrate", by_name(destination.uri), "--control", source.control, "--tls-creds",
                 certificates)
    assert result.returncode == FAILED and "does not speak TLS" in result.stderr
    with_tls = lab.machine("tls", lab.devices(1), "--tls-creds", certificates,
                           incoming="tcp:127.0.0.1:0")
    result = run("migrate", with_tls.uri, "--control", source.control)
    assert result.returncode == FAILED and "--tls-creds" in result.stderr
    lab.migrate(source, by_name(with_tls.uri), "--tls-creds", certificates)
    check_moved(source, with_tls)
    assert "turned a connection away" in destination.err.read_text()


class Pipe:
    """Between the two sides; what passes cannot be read. cut() ends all of it."""

    def __init__(self, uri):
        host, port = uri[4:].rsplit(":", 1)
        self.target, self.sockets = (host, int(port)), []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.uri = f"tcp:localhost:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
                far = socket.create_connection(self.target)
            except OSError:
                return
            self.sockets += [near, far]
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(a, b), daemon=True).start()

    @staticmethod
    def _pump(a, b):
        try:
            while data := a.recv(65536):
                b.sendall(data)
        except OSError:
            pass

    def cut(self):
        self.listener.close()
        for one in self.sockets:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def test_resolve(lab, certificates):
    # The device takes its time to run: long enough to cut the link after COMMIT, before RUNNING.
    records = lab.path / "records"
    records.mkdir()
    source, destination = lab.pair(1, "--tls-creds", certificates, "--record-dir", records,
                                   incoming="tcp:127.0.0.1:0",
                                   destination_script=f"on RUNNING_P2P->RUNNING delay {3000 * SLOW}ms\n")
    pipe = Pipe(destination.uri)
    migrating = lab.start_migrate(source, pipe.uri)
    wait_for("the hand-over to be recorded", lambda: list(records.glob("*.vferry")))
    pipe.cut()
    assert migrating.wait(60 * SLOW) == UNKNOWN, migrating.communicate()
    result = run("resolve", "--control", source.control, "--peer", by_name(destination.uri))
    assert result.returncode == DONE, result.stderr
    check_moved(source, destination)


HELLO = 1


def hello(features=1):
    body = struct.pack("<HHI16sIIQH", 1, 1, 1, bytes(16), 0, 1, features, 0)
    return body


def crc32c(data, crc=0):
    crc ^= 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def frame(kind, body, sequence, flags=0):
    header = struct.pack("<IHHIIQI", 0x31467256, kind, flags, 0xffffffff, len(body), sequence,
                         crc32c(body))
    return header + struct.pack("<I", crc32c(header)) + body


def test_another_client_is_turned_away(lab, certificates):
    """It has a certificate of the same CA. The migration under way goes on."""
    source, destination = lab.pair(1, "--tls-creds", certificates, incoming="tcp:127.0.0.1:0",
                                   guest="rate=20 working-set=8M")
    source.qmp("migrate-set-capabilities",
               capabilities=[{"capability": "pause-before-switchover", "state": True}])
    migrating = lab.start_migrate(source, by_name(destination.uri), "--parallel-connections", 2)
    source.wait_migration("pre-switchover")
    context = ssl.create_default_context(cafile=certificates / "ca-cert.pem")
    context.load_cert_chain(certificates / "client-cert.pem", certificates / "client-key.pem")
    port = int(destination.uri.rsplit(":", 1)[1])
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", port)) as plain, \
             context.wrap_socket(plain, server_hostname="localhost") as rogue:
            rogue.sendall(frame(HELLO, hello(), 0) + frame(25, bytes(32), 1, flags=1))
            answer = rogue.recv(4096)
            assert b"session-taken" in answer
    source.qmp("migrate-continue", state="pre-switchover")
    assert migrating.wait(60 * SLOW) == DONE, migrating.communicate()
    check_moved(source, destination)
    assert "another migration" in destination.err.read_text()


def test_bad_credentials_are_refused_at_the_start(lab, certificates):
    (certificates / "server-key.pem").chmod(0o644)
    result = run("run", "--accel", "soft", "--memory", "64M", "--incoming", "tcp:127.0.0.1:0", "--tls-creds",
                 certificates)
    assert result.returncode == FAILED and "chmod 0600" in result.stderr
    (certificates / "client-key.pem").chmod(0o644)
    source = lab.machine("source", [])
    result = run("migrate", "tcp:127.0.0.1:1", "--control", source.control, "--tls-creds", certificates)
    assert result.returncode == FAILED and "chmod 0600" in result.stderr
    result = run("migrate", "tcp:127.0.0.1:1", "--control", source.control, "--tls-creds", "/nowhere")
    assert result.returncode == USAGE
    result = run("migrate", f"file:{lab.path}/x", "--control", source.control, "--tls-creds", certificates)
    assert result.returncode == USAGE and "not encrypted" in result.stderr
    assert source.status() == "running"


def test_qmp_parameters(lab, certificates):
    source, destination = lab.pair(1, incoming="defer")
    for machine in source, destination:
        machine.qmp("migrate-set-parameters", {"tls-creds": str(certificates),
                                               "tls-hostname": "localhost"})
        assert machine.qmp("query-migrate-parameters")["tls-creds"] == str(certificates)
    with pytest.raises(Exception, match="x-vferry-tls-allow"):
        destination.qmp("migrate-set-parameters", {"tls-authz": "authz0"})
    with pytest.raises(Exception, match="absolute"):
        destination.qmp("migrate-set-parameters", {"tls-creds": "tls0"})
    destination.qmp("migrate-set-parameters", {"x-vferry-tls-allow": "somebody\nlocalhost"})
    destination.qmp("migrate-incoming", uri="tcp:127.0.0.1:0")
    address = destination.migration()["socket-address"][0]
    lab.migrate(source, f"tcp:{address['host']}:{address['port']}")
    check_moved(source, destination)


def test_not_allowed(lab, certificates):
    source, destination = lab.pair(1, "--tls-creds", certificates, "--tls-allow", "host-x",
                                   incoming="tcp:127.0.0.1:0")
    result = run("migrate", by_name(destination.uri), "--control", source.control)
    assert result.returncode == FAILED and "CN=localhost" in result.stderr, result.stderr
    assert source.status() == "running"


def test_insecure():
    """By address: what other hosts could reach, or be, has to be asked for."""
    for uri in ("tcp:0.0.0.0:0", "tcp::0", "tcp:192.0.2.1:0"):
        result = run("run", "--accel", "soft", "--memory", "64M", "--incoming", uri)
        assert result.returncode == FAILED, result.stderr
        assert "--insecure" in result.stderr and "--tls-creds" in result.stderr


def test_insecure_source(lab):
    source, destination = lab.pair(1, "--insecure", incoming="tcp:0.0.0.0:0", work=False)
    destination.end()
    plain = lab.machine("plain", lab.devices(1))
    result = run("migrate", "tcp:192.0.2.1:1", "--control", plain.control)
    assert result.returncode == REFUSED, result.stderr
    assert "--insecure" in result.stderr and "--tls-creds" in result.stderr
    assert plain.status() == "running"
    with pytest.raises(Exception, match="insecure"):
        deferred = lab.machine("deferred", lab.devices(1), incoming="defer")
        deferred.qmp("migrate-incoming", uri="tcp:0.0.0.0:0")
    deferred.qmp("migrate-set-parameters", {"x-vferry-insecure": True})
    deferred.qmp("migrate-incoming", uri="tcp:0.0.0.0:0")
