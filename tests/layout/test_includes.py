# SPDX-License-Identifier: MIT
"""The house rules: which folder may include which. The table is rules.json, beside this file."""
import json
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
RULES = {k: v for k, v in json.loads((pathlib.Path(__file__).parent / "rules.json").read_text()).items()
         if k != "comment"}
INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"([^"]+)"|<(vferry/[^>]+)>)', re.M)
GENERATED = {"vf_config.h", "base/trace_points.h"}


def target_of(source, name):
    """The file that an include means, relative to the root; None if it is generated."""
    if name in GENERATED:
        return None
    for base in (source.parent, ROOT, ROOT / "lib", ROOT / "include", ROOT / "uapi"):
        if (base / name).is_file():
            return (base / name).resolve().relative_to(ROOT)
    raise AssertionError(f"{source.relative_to(ROOT)}: cannot find {name}")


def violations(folder, allowed):
    for source in sorted((ROOT / folder).rglob("*.[ch]")):
        for quoted, public in INCLUDE.findall(source.read_text()):
            target = target_of(source, quoted or public)
            if target is None:
                continue
            if not any(str(target).startswith(f"{a}/") for a in [folder, *allowed]):
                yield f"{source.relative_to(ROOT)} includes {target}"


@pytest.mark.parametrize("folder", RULES)
def test_folder_includes_only_what_it_may(folder):
    assert list(violations(folder, RULES[folder])) == []


def test_every_source_folder_has_a_rule():
    folders = {f"lib/{p.name}" for p in (ROOT / "lib").iterdir() if p.is_dir()}
    assert folders <= set(RULES)


def test_a_broken_rule_is_found():
    assert list(violations("lib/base", [])), "base includes <vferry/error.h>, which nothing allows here"
