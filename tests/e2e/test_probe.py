# SPDX-License-Identifier: MIT
"""`vferry probe`: hosts that are trees of files, and devices that are served over vfio-user."""
import json
import os
import struct

import pytest
from lab import DONE, FAILED, REFUSED, USAGE, run

RELEASE = "6.12.0-test"
BDF = "0000:3b:00.2"
PCI = "sys/devices/pci0000:3a"


class Host:
    """The files of a host that does not exist: an IOMMU, a function with VFs, drivers by name."""

    def __init__(self, folder):
        self.folder = folder
        self.write("proc/sys/kernel/osrelease", RELEASE)
        self.write("proc/sys/kernel/arch", "x86_64")
        self.write("proc/cmdline", "root=/dev/vda quiet")
        self.write("proc/self/limits", "Limit   Soft Limit   Hard Limit   Units\n"
                                       "Max locked memory         67108864   67108864   bytes\n")
        self.write("proc/self/status", "Name:\tx\nCapEff:\t0000000000000000\n")
        self.write("proc/meminfo", "MemTotal:       67108864 kB\n")
        self.write("dev/kvm")
        self.write("dev/vfio/vfio")
        (folder / "sys/kernel/iommu_groups").mkdir(parents=True)
        (folder / "sys/bus/pci/devices").mkdir(parents=True)
        self.write(f"lib/modules/{RELEASE}/modules.alias",
                   "alias pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_core\n"
                   "alias vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci\n"
                   "alias vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_vfio_pci\n")

    def write(self, path, text="", raw=None):
        path = self.folder / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw if raw is not None else (text + "\n").encode())

    def link(self, path, target):
        path = self.folder / path
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            path.unlink()
        path.symlink_to(os.path.relpath(self.folder / target, path.parent))

    def function(self, address=BDF, ids=(0x15b3, 0x101e), class_code=0x020000, driver="mlx5_core", group=7,
                 resets="flr bus", vectors=12):
        here = f"{PCI}/{address}"
        vendor, device = ids
        config = bytearray(256)
        struct.pack_into("<HHHHI", config, 0, vendor, device, 0, 0x10 if vectors else 0, class_code << 8)
        config[0x34] = 0x40
        if vectors:
            struct.pack_into("<BBHBBH", config, 0x40, 0x10, 0x60, 0, 0, 0, 0)
            struct.pack_into("<BBH", config, 0x60, 0x11, 0, vectors - 1)
        self.write(f"{here}/config", raw=bytes(config))
        self.write(f"{here}/vendor", f"{vendor:#06x}")
        self.write(f"{here}/device", f"{device:#06x}")
        self.write(f"{here}/class", f"{class_code:#08x}")
        self.write(f"{here}/reset_method", resets)
        self.write(f"{here}/modalias", f"pci:v{vendor:08X}d{device:08X}sv00000000sd00000000"
                                       f"bc{class_code >> 16:02X}sc{class_code >> 8 & 255:02X}i{class_code & 255:02X}")
        self.link(f"sys/bus/pci/devices/{address}", here)
        if driver:
            (self.folder / f"sys/bus/pci/drivers/{driver}").mkdir(parents=True, exist_ok=True)
            self.link(f"{here}/driver", f"sys/bus/pci/drivers/{driver}")
        if group is not None:
            self.link(f"sys/kernel/iommu_groups/{group}/devices/{address}", here)
            self.link(f"{here}/iommu_group", f"sys/kernel/iommu_groups/{group}")
        return here

    def probe(self, *args):
        result = run("probe", *args, "--root", self.folder, "--json")
        assert not result.stderr, result.stderr
        return result.returncode, json.loads(result.stdout)

    def findings(self, *args, device=BDF):
        return {f["id"]: f for f in self.probe(device, *args)[1]["devices"][0]["findings"]}


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path / "host")


def test_a_function_with_a_driver_of_its_own_that_the_host_uses(host):
    host.function()
    code, report = host.probe(BDF)
    device = report["devices"][0]
    assert code == REFUSED and device["migratable"] == "no"
    assert [f["id"] for f in device["findings"] if f["weight"] == "block"] == ["driver-host"]
    assert device["better-driver"] == "mlx5_vfio_pci" and device["iommu-group"]["number"] == 7
    assert device["reset-methods"] == ["flr", "bus"] and device["msi-x-vectors"] == 12
    assert "drivers/mlx5_core/unbind" in host.findings()["driver-host"]["remedy"]
    assert report["host"]["iommu"] and report["host"]["kernel"] == RELEASE


def test_vfio_pci_where_a_driver_is_made_for_it(host):
    host.function(driver="vfio-pci")
    finding = host.findings()["driver-generic"]
    assert "mlx5_vfio_pci is made for it" in finding["text"]
    assert "mlx5_vfio_pci > /sys/bus/pci/devices/0000:3b:00.2/driver_override" in finding["remedy"]


def test_vfio_pci_where_none_is(host):
    host.function(driver="vfio-pci", ids=(0x8086, 0x1520))
    assert "no driver that is made for it" in host.findings()["driver-generic"]["text"]


def test_the_right_driver_can_be_told_by_asking_only(host):
    host.function(driver="mlx5_vfio_pci")
    code, report = host.probe(BDF)
    assert code == FAILED and report["devices"][0]["migratable"] == "unknown"
    assert list(host.findings()) == ["not-asked", "lock-limit-low"]


def test_no_iommu(host):
    host.function(group=None)
    assert "iommu-off" in host.findings()
    host.function("0000:3b:00.3", group=9)
    assert "group-none" in host.findings() and "iommu-off" not in host.findings()


def test_who_shares_the_group(host):
    host.function(driver="mlx5_vfio_pci")
    host.function("0000:3a:00.0", ids=(0x8086, 1), class_code=0x060400, driver="pcieport")
    assert "group-shared" not in host.findings() and "group-together" not in host.findings()
    host.function("0000:3b:00.3", driver="vfio-pci")
    assert "1 more device:" in host.findings()["group-together"]["text"]
    host.function("0000:3b:00.4", driver="e1000e")
    finding = host.findings()["group-shared"]
    assert "0000:3b:00.4 (e1000e)" in finding["text"] and "3a:00.0" not in finding["text"]


def test_memory_that_may_not_be_locked(host):
    host.function(driver="mlx5_vfio_pci")
    finding = host.findings("--memory", "16G")["lock-limit"]
    assert "16384 MiB" in finding["text"] and "64 MiB" in finding["text"]
    host.write("proc/self/status", "CapEff:\t0000000000004000")
    assert "lock-limit" not in host.findings("--memory", "16G")
    assert "memory-short" in host.findings("--memory", "65G")


@pytest.mark.parametrize("arch, files, on", [
    ("aarch64", {}, False),
    ("aarch64", {"proc/cmdline": "kvm-arm.vgic_v4_enable=1",
                 "dev/kmsg": "6,1,1;kvm [1]: GICv4 support enabled"}, True),
    ("aarch64", {"proc/cmdline": "a kvm-arm.vgic_v4_enable=1 b"}, None),
    ("aarch64", {"proc/cmdline": "kvm-arm.vgic_v4_enable=1 kvm-arm.vgic_v4_enable=0"}, False),
    ("x86_64", {}, None),
    ("x86_64", {"sys/module/kvm_intel/parameters/enable_apicv": "N"}, False),
    ("x86_64", {"sys/module/kvm_intel/parameters/enable_apicv": "Y",
                "sys/class/iommu/dmar0/intel-iommu/cap": "8d2078c106f0466"}, True),
    ("x86_64", {"sys/module/kvm_intel/parameters/enable_apicv": "Y",
                "sys/class/iommu/dmar0/intel-iommu/cap": "8d2078c106f0466",
                "sys/class/iommu/dmar1/intel-iommu/cap": "d2078c106f0466"}, False),
    ("x86_64", {"sys/module/kvm_amd/parameters/avic": "1",
                "sys/class/iommu/ivhd0/amd-iommu/features": "246577efa2254afa:0"}, True),
    ("x86_64", {"sys/module/kvm_amd/parameters/avic": "1",
                "sys/class/iommu/ivhd0/amd-iommu/features": "200000:246577efa2054afa"}, False),
    ("x86_64", {"sys/module/kvm_amd/parameters/avic": "N"}, False),
])
def test_direct_injection(host, arch, files, on):
    host.function(driver="mlx5_vfio_pci")
    host.write("proc/sys/kernel/arch", arch)
    for path, text in files.items():
        host.write(path, text)
    report = host.probe(BDF)[1]
    assert report["host"]["direct-injection"] is on
    assert ("injection-off" in host.findings()) == (on is False)


@pytest.mark.parametrize("files, tracks", [
    ({}, None),
    ({"dmar0/intel-iommu/ecap": "280000f0ffff"}, True),         # bits 43 and 45
    ({"dmar0/intel-iommu/ecap": "280000f0ffff", "dmar1/intel-iommu/ecap": "80000f0ffff"}, False),
    ({"dmar0/intel-iommu/ecap": "200000f0ffff"}, False),        # no scalable mode
    ({"ivhd0/amd-iommu/features": "0:10000000000000"}, True),
    ({"ivhd0/amd-iommu/features": "257577efa2254afa:10"}, True),
    ({"ivhd0/amd-iommu/features": "257577efa2254afa:257577efa2254afa"}, None),
    ({"ivhd0/amd-iommu/features": "fffff7ef77afeb"}, True),
    ({"ivhd0/amd-iommu/features": "840f77e022094ace"}, False),
    ({"dmar0/intel-iommu/ecap": "nonsense"}, None),
])
def test_whether_the_iommus_track(host, files, tracks):
    for path, text in files.items():
        host.write(f"sys/class/iommu/{path}", text)
    assert host.probe("--all")[1]["host"]["iommu-tracks-dirty"] is tracks


def test_all_devices_but_bridges(host):
    host.function()
    host.function("0000:3a:00.0", ids=(0x8086, 1), class_code=0x060400, driver="pcieport")
    host.function("0000:3b:00.0", driver=None)
    code, report = host.probe("--all")
    assert code == DONE
    assert [d["device"] for d in report["devices"]] == ["vfio:0000:3b:00.0", f"vfio:{BDF}"]
    lines = run("probe", "--all", "--root", host.folder).stdout.splitlines()
    assert len(lines) == 3 and lines[1].startswith("0000:3b:00.0") and "driver-none" in lines[1]


def test_a_hostile_tree_stays_inside_and_is_made_printable(host, tmp_path):
    here = host.function(driver="bad\x1b[2J\xff")
    (tmp_path / "secret").write_text("secret")
    (host.folder / here / "reset_method").unlink()
    (host.folder / here / "reset_method").symlink_to(tmp_path / "secret")
    os.mkfifo(host.folder / here / "power_state")
    host.write(f"{here}/class", "9" * 100000)
    host.write(f"{here}/config", raw=b"\xff\x10" * 100)
    result = run("probe", BDF, "--root", host.folder)
    assert result.returncode == REFUSED and "secret" not in result.stdout
    assert "bad?[2J" in result.stdout and "\x1b" not in result.stdout


def test_a_served_device_is_asked(lab):
    uri = f"vfio-user:{lab.devices(1)[0].path}"
    result = run("probe", uri)
    assert result.returncode == DONE, result.stdout
    assert "migratable: yes" in result.stdout and "STOP_COPY P2P PRE_COPY" in result.stdout
    report = json.loads(run("probe", uri, "--json").stdout)["devices"][0]
    assert report["vendor"] == "7666" and report["vfio"]["state"] == "RUNNING"
    assert report["vfio"]["state-bytes"] > 0 and "dma-log" in report["vfio"]["features"]


def test_what_is_not_there(host, tmp_path):
    for args in (("vfio-user:" + str(tmp_path / "none"),), ):
        result = run("probe", *args)
        assert result.returncode == FAILED and "not-opened" in result.stdout
    for args in (("0000:77:00.0", "--root", host.folder), (BDF, "--root", tmp_path / "none"),
                 ("nonsense", "--root", host.folder)):
        result = run("probe", *args)
        assert result.returncode == REFUSED and result.stderr
    for args in ((), (BDF, "--all"), (BDF, "--memory", "0"), (BDF, "--memory", "much")):
        assert run("probe", *args).returncode == USAGE


def test_a_device_is_measured_and_a_migration_predicted(lab):
    uri = f"vfio-user:{lab.devices(1, '--state-size', '2M')[0].path}"
    # A limit that the slowest machine meets.
    args = ("--memory", "1G", "--bandwidth", "100M/s", "--dirty-rate", "20M/s", "--max-downtime", 3600000)
    device = json.loads(run("probe", uri, *args, "--measure", "--json").stdout)["devices"][0]
    measured = {t["what"]: t for t in device["measured"]["times"]}
    assert len(measured) == 10 and all(t["ns"] > 0 for t in measured.values())
    assert measured["reading its state"]["bytes"] == measured["writing its state"]["bytes"] > 2 << 20
    prediction = device["prediction"]
    assert prediction["outcome"] == "switches" and prediction["rounds"][0]["bytes"] == 1 << 30
    terms = prediction["downtime-terms-ns"]
    assert terms["hand-over"] is None and prediction["downtime-is-lower-bound"]
    assert sum(ns or 0 for ns in terms.values()) == prediction["downtime-ns"]
    assert prediction["total-ns"] == sum(r["ns"] for r in prediction["rounds"]) + prediction["downtime-ns"]
    assert terms["save"] >= measured["RUNNING_P2P -> STOP"]["ns"]
    # Without measuring, the steps are not known; the device is as it was, and can be asked again.
    text = run("probe", uri, *args).stdout
    assert "save unknown, load unknown" in text and "or more: ram " in text and "total " in text


def test_a_device_that_does_not_come_through_is_told(lab):
    for fault, words in (("on STOP->STOP_COPY fail EIO\n", "EIO"), ("on RESUMING->STOP fail EIO\n", "EIO")):
        device = lab.devices(1, script=fault)[0]
        result = run("probe", f"vfio-user:{device.path}", "--measure")
        assert result.returncode == FAILED and words in result.stderr and not result.stdout
        assert "migratable: yes" in run("probe", f"vfio-user:{device.path}").stdout


def test_a_device_in_use_is_not_measured(lab):
    device = lab.devices(1)[0]
    lab.machine("user", [device])
    for args, code in ((("--measure",), REFUSED), ((), FAILED)):
        result = run("probe", f"vfio-user:{device.path}", *args)
        assert result.returncode == code, result.stdout + result.stderr
        assert "in use" in result.stderr if args else "(in-use)" in result.stdout


def test_what_only_goes_together(host):
    host.function()
    for args in (("--bandwidth", "1G/s"), ("--memory", "1G", "--dirty-rate", "1M/s"), ("--measure",), ("--policy", "hope"),
                 ("--max-downtime", "0"), ("--memory", "1G", "--bandwidth", "0")):
        assert run("probe", BDF, "--root", host.folder, *args).returncode == USAGE
    assert run("probe", "--all", "--measure").returncode == USAGE
