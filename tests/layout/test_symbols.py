# SPDX-License-Identifier: MIT
"""The public interface: headers, symbol map and built library say the same, and each header stands alone."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("VFERRY_BUILD", ROOT / "build"))
HEADERS = sorted((ROOT / "include" / "vferry").glob("*.h"))
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]


def without_comments(text):
    return re.sub(r"/\*.*?\*/", "", text, flags=re.S)


def declared(text):
    """Functions that a header declares: a name at the outermost level, followed by its parameters."""
    text = re.sub(r"^\s*#(?:.*\\\n)*.*$", "", without_comments(text), flags=re.M)
    text = re.sub(r'extern "C" \{|\bstatic inline\b[^{]*', "", text)
    depth, outer = 0, []
    for char in text:
        depth -= char == "}"
        if depth <= 0:
            outer.append(char)
        depth += char == "{"
    return set(re.findall(r"\b(\w+)\s*\((?![(*])", "".join(outer))) - {"__attribute__", "format", "printf"}


def in_map():
    """{header: names}, by the comment that opens each part of the map."""
    parts, header = {}, None
    for line in (ROOT / "lib" / "vferry.map").read_text().splitlines():
        if comment := re.match(r"\s*/\* <vferry/(\w+\.h)> \*/", line):
            header = comment[1]
        elif name := re.match(r"\s*(\w+);", line):
            parts.setdefault(header, []).append(name[1])
    return parts


@pytest.mark.parametrize("header", HEADERS, ids=lambda p: p.name)
def test_map_lists_what_the_header_declares(header):
    listed = in_map().get(header.name, [])
    assert len(listed) == len(set(listed))
    assert set(listed) == declared(header.read_text())


def test_every_part_of_the_map_is_a_header():
    assert set(in_map()) <= {header.name for header in HEADERS}


def test_public_names_have_the_prefix():
    assert [name for part in in_map().values() for name in part if not name.startswith("vferry_")] == []


def test_the_library_exports_what_the_map_lists():
    library = BUILD / "lib" / "libvferry.so"
    if not library.exists():
        pytest.skip(f"no {library}: build first")
    symbols = subprocess.run(["nm", "-D", "--defined-only", str(library)], check=True,
                             capture_output=True, text=True).stdout
    exported = {line.split()[2].split("@")[0] for line in symbols.splitlines()}
    assert exported - {"VFERRY_0"} == {name for part in in_map().values() for name in part}


@pytest.mark.parametrize("header", HEADERS, ids=lambda p: p.name)
@pytest.mark.parametrize("language", [("cc", "c", "c11"), ("c++", "c++", "c++11")], ids=["c", "c++"])
def test_header_compiles_alone(header, language, tmp_path):
    compiler, name, standard = language
    if not shutil.which(compiler):
        pytest.skip(f"no {compiler}")
    source = tmp_path / "alone.c"
    source.write_text(f"#include <vferry/{header.name}>\nint none;\n")
    subprocess.run([compiler, "-x", name, f"-std={standard}", *WARNINGS, "-I", str(ROOT / "include"),
                    "-fsyntax-only", str(source)], check=True)


def test_the_umbrella_has_every_header():
    included = re.findall(r"#include <vferry/(\w+\.h)>", (ROOT / "include/vferry/vferry.h").read_text())
    assert set(included) == {header.name for header in HEADERS} - {"vferry.h"}


def test_every_header_is_installed():
    installed = re.findall(r"install_headers\('(\w+\.h)'", (ROOT / "include/vferry/meson.build").read_text())
    assert set(installed) == {header.name for header in HEADERS}


def test_a_missing_declaration_is_found():
    assert declared("struct a { int (*f)(int); };\nint vferry_x(int a);\n"
                    "static inline int g(void) { return h(1); }\n") == {"vferry_x"}
