# SPDX-License-Identifier: MIT
"""A root file system for one boot, in the format that a kernel unpacks."""
import lzma
import pathlib
import re
import subprocess
import tempfile

from . import FETCHED
from .things import TRIPLE

FOLDERS = ("dev", "proc", "sys", "tmp", "run", "bin", "lib", "modules")
LOADER = {"arm64": "ld-linux-aarch64.so.1", "amd64": "ld-linux-x86-64.so.2"}
LOADER_FOLDER = {"arm64": "lib", "amd64": "lib64"}


def cpio(entries):
    """An archive: (name, mode, content) each."""
    out = bytearray()
    for number, (name, mode, content) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        out += b"070701" + b"".join(b"%08X" % f for f in fields) + name.encode() + b"\0"
        out += bytes(-len(out) % 4) + content
        out += bytes(-len(out) % 4)
    return bytes(out)


def needed(architecture, path):
    """The libraries that a program or library names."""
    text = subprocess.run([f"{TRIPLE[architecture]}-readelf", "-d", path], check=True, text=True,
                          capture_output=True).stdout
    return re.findall(r"\(NEEDED\).*\[(.*)\]", text)


def module_file(kernel, name):
    """A module of a kernel, None if it has none (or has it built in)."""
    names = {name.replace("_", "-"), name.replace("-", "_"), name}
    for path in (kernel / "root/lib/modules").rglob("*.ko*"):
        if path.name.partition(".")[0] in names:
            return path
    return None


class Initrd:
    """Files and programs for one architecture. Programs come without symbols, with the libraries that they need,
    which are those of `libraries`: a folder with an installed system."""

    def __init__(self, architecture, libraries=None):
        self.architecture = architecture
        self.libraries = pathlib.Path(libraries or FETCHED / architecture / "sysroot/root")
        self.entries = {name: (0o40755, b"") for name in FOLDERS}
        self.loaded = []
        self.add("etc/passwd", "root:x:0:0::/tmp:/bin/sh\n")
        self.add("etc/hosts", "127.0.0.1 localhost\n")

    def add(self, name, content, mode=0o644):
        for folder in reversed(pathlib.PurePosixPath(name).parents[:-1]):
            self.entries.setdefault(str(folder), (0o40755, b""))
        self.entries[name] = (0o100000 | mode, content if isinstance(content, bytes) else content.encode())

    def link(self, name, target):
        self.entries[name] = (0o120777, target.encode())

    def program(self, path, name=None):
        """A program and its libraries. Returns how it is called inside."""
        name = name or f"bin/{pathlib.Path(path).name}"
        with tempfile.NamedTemporaryFile() as stripped:
            subprocess.run([f"{TRIPLE[self.architecture]}-strip", "-o", stripped.name, path], check=True)
            self.add(name, pathlib.Path(stripped.name).read_bytes(), 0o755)
        self.library_of(path)
        return f"/{name}"

    def library_of(self, path):
        for library in needed(self.architecture, path):
            loader = library == LOADER[self.architecture]
            name = f"{LOADER_FOLDER[self.architecture] if loader else 'lib'}/{library}"
            if name in self.entries:
                continue
            found = self.libraries / "usr/lib" / TRIPLE[self.architecture] / library
            self.add(name, found.read_bytes(), 0o755)
            self.library_of(found)

    def busybox(self, folder):
        """The small tools and the shell, which init installs; folder is what fetch() made of `busybox`."""
        self.add("bin/busybox", (folder / "root/bin/busybox").read_bytes(), 0o755)

    def module(self, kernel, name, path=None):
        """A module of a kernel, or the file `path`, behind those that it depends on. What is built in is left out."""
        path = path or module_file(kernel, name)
        if not path or path in self.loaded:
            return
        content = path.read_bytes()
        if path.suffix == ".xz":
            content = lzma.decompress(content)
        depends = re.search(rb"\0depends=([^\0]*)\0", content)
        for other in depends[1].decode().split(",") if depends else []:
            self.module(kernel, other)
        self.add(f"modules/{len(self.loaded):02}.ko", content)
        self.loaded.append(path)

    def archive(self):
        return cpio([(name, *entry) for name, entry in self.entries.items()])

    def write(self, path):
        path.write_bytes(self.archive())
        return path
