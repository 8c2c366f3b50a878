# SPDX-License-Identifier: MIT
"""What `meson install` leaves is enough to build and run the example, by pkg-config alone."""
import json
import os
import pathlib
import subprocess

import pytest

from lab import BUILD

ROOT = pathlib.Path(__file__).resolve().parents[2]


def build_option(name):
    options = json.loads((BUILD / "meson-info" / "intro-buildoptions.json").read_text())
    return next(o["value"] for o in options if o["name"] == name)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    if not (BUILD / "lib" / "libvferry.so").exists():
        pytest.skip(f"no library in {BUILD}: build first")
    destination = tmp_path_factory.mktemp("install")
    subprocess.run(["meson", "install", "-C", str(BUILD), "--no-rebuild", "--quiet",
                    "--destdir", str(destination)], check=True)
    return destination


def pkg_config(installed, *what):
    packages = list(installed.rglob("vferry.pc"))
    assert len(packages) == 1
    env = {**os.environ, "PKG_CONFIG_LIBDIR": str(packages[0].parent),
           "PKG_CONFIG_SYSROOT_DIR": str(installed)}
    return subprocess.run(["pkg-config", *what, "vferry"], check=True, capture_output=True, text=True,
                          env=env).stdout.split()


def test_the_example_builds_and_runs_against_the_installed_library(installed, tmp_path):
    program = tmp_path / "embed"
    sanitize = build_option("b_sanitize")
    flags = [] if sanitize == "none" else [f"-fsanitize={sanitize}"]
    subprocess.run(["cc", "-std=c11", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-Werror", *flags,
                    "-o", str(program), str(ROOT / "examples" / "embed.c"),
                    *pkg_config(installed, "--cflags", "--libs"), "-pthread"], check=True)
    folder = next(installed.rglob("libvferry.so")).parent
    answer = subprocess.run([str(program)], capture_output=True, text=True, timeout=60,
                            env={**os.environ, "LD_LIBRARY_PATH": str(folder)})
    assert answer.returncode == 0, answer.stderr
    assert "0 of 4096 pages are wrong" in answer.stdout
    assert "source: stopped at step" in answer.stdout


def test_nothing_internal_is_installed(installed):
    headers = {p.name for p in installed.rglob("*.h")}
    assert headers == {p.name for p in (ROOT / "include" / "vferry").glob("*.h")}
    assert not list(installed.rglob("*internal*"))


def test_the_version_is_the_projects(installed):
    assert pkg_config(installed, "--modversion") == [build_option_version()]


def build_option_version():
    return json.loads((BUILD / "meson-info" / "intro-projectinfo.json").read_text())["version"]
