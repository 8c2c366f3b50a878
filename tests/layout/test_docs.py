# SPDX-License-Identifier: MIT
"""The documents say what the code says: generated parts are fresh, named files exist, links lead somewhere."""
import os
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("VFERRY_BUILD", ROOT / "build"))
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FOLDERS = {p.name for p in ROOT.iterdir() if p.is_dir()}
# What a document may name though it is not in the tree: made by the build, or by the reader.
MADE = re.compile(r"^(build|lib/NAME)|[*<>{}]|NAME|\.\.\.")


def test_generated_parts_are_fresh():
    if not (BUILD / "docs" / "tables").exists():
        pytest.skip(f"no docs/tables in {BUILD}: build first")
    answer = subprocess.run([str(ROOT / "scripts" / "docs"), "--check"], capture_output=True, text=True,
                            env={**os.environ, "VFERRY_BUILD": str(BUILD)})
    assert answer.returncode == 0, answer.stderr


def named_files(text):
    """What stands in backticks and begins with one of the project's folders."""
    text = re.sub(r"```.*?```|<!-- from .*?<!-- end -->", "", text, flags=re.S)
    for word in re.findall(r"`([\w./{}*<>-]+)`", text):
        if "/" in word and word.split("/")[0] in FOLDERS and not MADE.search(word):
            yield word


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_named_files_exist(document):
    assert [name for name in named_files(document.read_text()) if not (ROOT / name).exists()] == []


def anchors(text):
    return {re.sub(r"[^\w -]", "", title.strip().lower()).replace(" ", "-")
            for title in re.findall(r"^#+ (.*)$", text, re.M)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_links_lead_somewhere(document):
    broken = []
    for target in re.findall(r"\]\(([^)]+)\)", document.read_text()):
        if re.match(r"https?:", target):
            continue
        name, _, anchor = target.partition("#")
        file = document.parent / name if name else document
        if not file.exists() or (anchor and anchor not in anchors(file.read_text())):
            broken.append(target)
    assert broken == []


def test_a_missing_file_would_be_found():
    assert list(named_files("see `lib/engine/nowhere.c` and `build/x`")) == ["lib/engine/nowhere.c"]
