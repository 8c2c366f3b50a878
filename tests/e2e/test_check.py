# SPDX-License-Identifier: MIT
"""`vferry check` as its users run it: reports, exit codes, a device that is busy, one with a fault, one that hangs."""
import json
import socket
import xml.etree.ElementTree

import pytest

from lab import DONE, FAILED, REFUSED, VFERRY, Lab, run

if not VFERRY.exists():
    pytest.skip("build first", allow_module_level=True)


@pytest.fixture
def lab():
    lab = Lab()
    yield lab
    lab.close()


def device(lab, script=None):
    return lab.devices(1, "--state-size", "64K", script=script)[0]


def test_a_good_device_passes(lab, tmp_path):
    junit = tmp_path / "junit.xml"
    result = run("check", f"vfio-user:{device(lab).path}", "--json", "--seed", 7, "--junit", junit, timeout=300)
    assert result.returncode == DONE, result.stdout + result.stderr
    report = json.loads(result.stdout)
    verdicts = {r["id"]: r["verdict"] for r in report["results"]}
    assert len(verdicts) == len(report["results"]) and len(verdicts) >= 80
    assert set(verdicts.values()) == {"pass", "skip"}
    assert report["left-in"] == "RUNNING" and report["seed"] == 7 and report["times"]
    assert all(r["text"] for r in report["results"] if r["verdict"] == "skip")
    cases = xml.etree.ElementTree.parse(junit).getroot().findall("testcase")
    assert {c.get("name") for c in cases} == set(verdicts)


def test_only_what_is_asked_for_as_often_as_is_asked_for(lab):
    result = run("check", f"vfio-user:{device(lab).path}", "--tap", "--only", "size", "--only", "arc.RUNNING-STOP",
                 "--repeat", 3, "--seed", 9)
    assert result.returncode == DONE
    lines = [line for line in result.stdout.splitlines() if line.startswith("ok ")]
    assert len(lines) == 3 * 4 and result.stdout.startswith("TAP version 13\n1..12\n")
    assert result.stdout.endswith("; seed: 9\n")


def test_list_has_all_and_needs_no_device():
    result = run("check", "--list")
    assert result.returncode == DONE and "  arc.STOP_COPY-PRE_COPY " in result.stdout


def test_a_fault_is_found_and_told(lab):
    bad = device(lab, "on STOP_COPY->STOP fail EIO\n")
    result = run("check", f"vfio-user:{bad.path}", "--only", "arc.STOP_COPY-STOP")
    assert result.returncode == FAILED
    assert "FAIL    arc.STOP_COPY-STOP" in result.stdout and "EIO" in result.stdout


def test_a_lost_device_is_opened_again(lab):
    bad = device(lab, "on PRE_COPY->PRE_COPY_P2P disconnect times 1\n")
    result = run("check", f"vfio-user:{bad.path}", "--only", "arc", "--json")
    assert result.returncode == FAILED
    failed = [r["id"] for r in json.loads(result.stdout)["results"] if r["verdict"] == "fail"]
    assert len(failed) == 1 and failed[0].startswith("arc.PRE_COPY")


def test_a_device_that_is_gone_is_not_waited_for_again_and_again(lab):
    bad = device(lab, "on RUNNING_P2P->STOP exit\n")
    result = run("check", f"vfio-user:{bad.path}", "--json", "--only", "arc", "--only", "reset", timeout=60)
    assert result.returncode == FAILED
    report = json.loads(result.stdout)
    texts = [r["text"] for r in report["results"] if r["verdict"] == "blocked"]
    assert len(texts) > 20 and texts[0].startswith("the device can't be opened again")
    assert all(text.startswith("the device is gone") for text in texts[3:])
    assert report["left-in"].startswith("unknown")


def test_a_device_that_hangs_ends_the_run_with_a_verdict(lab):
    bad = device(lab, "on STOP->STOP_COPY hang\n")
    result = run("check", f"vfio-user:{bad.path}", "--only", "arc.STOP-STOP_COPY", "--limit", 3, "--json")
    assert result.returncode == FAILED
    report = json.loads(result.stdout)
    assert report["hung"] and "hangs" in report["results"][0]["text"]
    assert report["left-in"].startswith("unknown")


def test_a_device_in_use_is_refused(lab):
    busy = device(lab)
    with socket.socket(socket.AF_UNIX) as user:
        user.connect(str(busy.path))
        result = run("check", f"vfio-user:{busy.path}")
    assert result.returncode == REFUSED
    assert "somebody uses it" in result.stderr


def test_a_device_without_migration_is_refused(lab):
    result = run("check", f"vfio-user:{lab.path}/nobody")
    assert result.returncode == REFUSED and "ENOENT" in result.stderr
