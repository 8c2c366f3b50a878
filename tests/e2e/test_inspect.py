# SPDX-License-Identifier: MIT
"""`vferry inspect`, and the golden files: each version of the stream is shown and loaded as it was."""
import contextlib
import importlib.machinery
import importlib.util
import json
import pathlib
import socket
import subprocess
import sys
import time

import pytest

from lab import BUILD

ROOT = pathlib.Path(__file__).resolve().parents[2]
VFERRY = BUILD / "tools" / "vferry"
NAMES = sorted(p.name.split(".")[0] for p in (ROOT / "tests" / "golden").glob("*.vferry.xz"))

sys.path.insert(0, str(ROOT / "tests" / "streams"))
import savefile  # noqa: E402


def load_script(name):
    loader = importlib.machinery.SourceFileLoader(name, str(ROOT / "scripts" / name))
    sys.dont_write_bytecode = True
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


golden = load_script("golden")


@pytest.fixture(autouse=True)
def built():
    if not VFERRY.exists():
        pytest.skip(f"no {VFERRY}: build first")


@pytest.fixture(params=NAMES)
def saved(request, tmp_path):
    path = tmp_path / f"{request.param}.vferry"
    golden.unpack(request.param, path)
    return path


def inspect(path, *options):
    return subprocess.run([VFERRY, "inspect", *options, path.name], cwd=path.parent, capture_output=True,
                          text=True, timeout=60)


def flip(path, at, bits=1):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ bits]))


def test_there_is_a_golden_file():
    assert "v1" in NAMES


def test_the_text_is_the_stored_one(saved):
    answer = inspect(saved, "--numeric", "--verify", "--frames")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == (ROOT / "tests" / "golden" / f"{saved.stem}.txt").read_text()


def test_json_says_the_same(saved):
    answer = inspect(saved, "--json", "--verify", "--frames")
    assert answer.returncode == 0
    told = json.loads(answer.stdout)
    read = savefile.SaveFile(saved)
    assert told["good"] and told["problems"] == []
    assert [f["type"] for f in told["frames"]] == [savefile.NAMES[f.kind] for f in read.frames]
    assert [f["bytes"] for f in told["frames"]] == [len(f.body) for f in read.frames]
    assert [c["name"].encode() for c in told["components"]] == [c["name"] for c in read.machine().components]
    pci = next(c for c in told["components"] if c["name"].startswith("pci/"))
    groups = {f["group"] for s in pci["sections"] for f in s["config"]}
    assert {"header", "BARs", "capability MSI-X", "capability PCI Express"} <= groups
    assert told["verified-pages"] == sum(b["data-pages"] for b in told["ram"])


def test_names_come_from_the_list_of_pci_ids(saved):
    options = json.loads((BUILD / "meson-info" / "intro-dependencies.json").read_text())
    if not any(d["name"] == "libpci" for d in options):
        pytest.skip("built without libpci")
    assert "Processing accelerators" in inspect(saved).stdout
    assert "Processing accelerators" not in inspect(saved, "--numeric").stdout


def test_a_damaged_file_says_where_and_shows_the_rest(saved):
    frames = json.loads(inspect(saved, "--json", "--frames").stdout)["frames"]
    gic = next(f for f in frames if f.get("component") == "gic")
    flip(saved, gic["offset"] + 50)
    answer = inspect(saved)
    assert answer.returncode == 2
    assert f"offset {gic['offset']}: frame: section frame {gic['sequence']}: its body of" in answer.stdout
    assert "is damaged: 2 problems" in answer.stderr
    assert "capability MSI-X" in answer.stdout
    told = json.loads(inspect(saved, "--json").stdout)
    assert not told["good"] and told["problems"][0]["offset"] == gic["offset"]


def test_a_damaged_page_is_found_with_verify(saved):
    with open(saved, "rb") as file:
        block = savefile.SaveFile(saved).blocks
        file.seek(4096)
        bitmap = file.read((block[0] + 7) // 8)
    page = next(n for n in range(block[0]) if bitmap[n // 8] >> n % 8 & 1)
    at = json.loads(inspect(saved, "--json").stdout)["ram"][0]["offset"] + 4096 * page
    flip(saved, at + 100)
    assert inspect(saved).returncode == 0
    answer = inspect(saved, "--verify")
    assert answer.returncode == 2
    assert f"offset {at}: pages: page {page} of block 0 has checksum" in answer.stdout


def test_what_is_no_saved_machine_is_refused(tmp_path):
    other = tmp_path / "other"
    other.write_bytes(b"something else" * 1000)
    answer = inspect(other)
    assert answer.returncode == 2 and "offset 0: header: this is not a saved machine" in answer.stdout
    assert inspect(tmp_path / "none").returncode == 2
    assert inspect(other, "--no-such-option").returncode == 1


def qmp(path, command, **arguments):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(60)
        s.connect(str(path))
        stream = s.makefile("rw")
        stream.readline()
        for name, what in (("qmp_capabilities", {}), (command, arguments)):
            stream.write(json.dumps({"execute": name, "arguments": what}) + "\n")
            stream.flush()
            while True:
                answer = json.loads(stream.readline())
                if "event" not in answer:
                    break
            assert "return" in answer, answer
        return answer["return"]


@contextlib.contextmanager
def loading(saved):
    """A machine that loads it, as a process."""
    folder, processes = saved.parent, []
    try:
        processes.append(subprocess.Popen([VFERRY, "device", "--model", "accel", *golden.DEVICE,
                                           "--socket", folder / "device"]))
        golden.wait_for(folder / "device")
        processes.append(subprocess.Popen([VFERRY, "run", *golden.MACHINE, "--guest-args", golden.GUEST,
                                           "--device", f"vfio-user:{folder}/device",
                                           "--control", folder / "control",
                                           "--incoming", f"file:{saved}"],
                                          stderr=subprocess.PIPE, text=True))
        yield processes[1]
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()


def test_it_is_loaded_and_its_guest_finds_nothing_wrong(saved):
    control = saved.parent / "control"
    with loading(saved):
        golden.wait_for(control)
        end = time.monotonic() + 30
        while not qmp(control, "query-status")["running"] and time.monotonic() < end:
            time.sleep(0.05)
        verdict = qmp(control, "x-vferry-verdict", **{"judge": True, "allowed-spurious": 8})
        assert verdict["clean"] and verdict["verified-jobs"] > 0, json.dumps(verdict)


def test_a_second_manifest_is_refused(saved):
    whole = savefile.SaveFile(saved)
    manifest = next(f for f in whole.frames if f.kind == savefile.MANIFEST)
    whole.write_frames(saved, [*whole.frames, manifest])
    answer = inspect(saved)
    assert answer.returncode == 2 and "manifest" in answer.stdout
    with loading(saved) as machine:
        said = machine.communicate(timeout=30)[1]
    assert machine.returncode == 3 and "a second manifest" in said and "frame at offset" in said
