# SPDX-License-Identifier: MIT
"""The file of a saved machine, read and written from docs/stream-format.md alone.

A second implementation on purpose: what it writes has been understood twice. It knows frames and
what of their bodies has to be changed to put them into another order; nothing else.
"""
import os
import struct

HELLO, MACHINE, SECTION, DATA, MARK, RESTART, MANIFEST = 1, 2, 7, 8, 9, 10, 12
NAMES = {1: "hello", 2: "machine", 7: "section", 8: "stream-data", 9: "stream-mark", 10: "stream-restart",
         11: "switchover", 12: "manifest", 24: "digest"}
PAGE = 4096
FRAME = struct.Struct("<IHHIIQII")
FRAME_MARK = 0x31467256
HEADER = struct.Struct("<8sIIQQQII")


def crc_table():
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82f63b78 if n & 1 else 0)
        table.append(n)
    return table


TABLE = crc_table()


def crc32c(data):
    table, crc = TABLE, 0xffffffff
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xff]
    return crc ^ 0xffffffff


class Damaged(Exception):
    pass


class Frame:
    """A frame without its number: that is given when it is written."""

    def __init__(self, kind, flags, component, body, crc=None):
        self.kind, self.flags, self.component, self.body = kind, flags, component, body
        self.crc = crc32c(body) if crc is None else crc

    def encode(self, sequence):
        head = FRAME.pack(FRAME_MARK, self.kind, self.flags, self.component, len(self.body), sequence,
                          self.crc, 0)[:28]
        return head + struct.pack("<I", crc32c(head)) + self.body

    @property
    def section(self):
        return struct.unpack_from("<I", self.body)[0] if self.kind == SECTION else None

    @property
    def is_stream(self):
        return self.kind in (DATA, MARK, RESTART)


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        value = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return value[0] if len(value) == 1 else value

    def bytes(self, count):
        if self.at + count > len(self.data):
            raise Damaged("a message ends too early")
        self.at += count
        return self.data[self.at - count:self.at]

    def string(self):
        return self.bytes(self.take("H"))

    def end(self):
        if self.at != len(self.data):
            raise Damaged("bytes are left over")


def string(text):
    return struct.pack("<H", len(text)) + text


class Machine:
    """The MACHINE message; components are dictionaries, the rest is kept as it is."""

    def __init__(self, body):
        r = Reader(body)
        r.string()
        r.take("IBBQQ")
        for _ in range(r.take("I")):
            r.string()
            r.take("QQI")
        self.front = body[:r.at]
        self.components = [self.component(r) for _ in range(r.take("I"))]
        self.dependencies = [r.take("IIII") for _ in range(r.take("I"))]
        r.end()

    @staticmethod
    def component(r):
        c = {"name": r.string(), "device": r.string()}
        c["has_stream"], c["has_precopy"] = r.take("BB")
        c["sections"] = [(r.take("IHI"), r.string()) for _ in range(r.take("I"))]
        c["identity"] = r.bytes(r.take("I"))
        return c

    def encode(self):
        out = [self.front, struct.pack("<I", len(self.components))]
        for c in self.components:
            out.append(string(c["name"]) + string(c["device"]))
            out.append(struct.pack("<BBI", c["has_stream"], c["has_precopy"], len(c["sections"])))
            for numbers, name in c["sections"]:
                out.append(struct.pack("<IHI", *numbers) + string(name))
            out.append(struct.pack("<I", len(c["identity"])) + c["identity"])
        out.append(struct.pack("<I", len(self.dependencies)))
        out += [struct.pack("<IIII", *d) for d in self.dependencies]
        return b"".join(out)


class Manifest:
    def __init__(self, body):
        r = Reader(body)
        self.pages = r.take("QQ")
        self.sections = [r.take("IIII") for _ in range(r.take("I"))]
        self.rest = body[r.at:]

    def encode(self):
        return (struct.pack("<QQI", *self.pages, len(self.sections)) +
                b"".join(struct.pack("<IIII", *s) for s in self.sections) + self.rest)


def round_up(value, to):
    return (value + to - 1) // to * to


class SaveFile:
    def __init__(self, path):
        with open(path, "rb") as file:
            self.header = file.read(PAGE)
            self.decode_header()
            file.seek(self.frames_at)
            self.frames = self.decode_frames(file.read(self.frames_bytes))

    def decode_header(self):
        (mark, version, flags, self.frames_at, self.frames_bytes, self.frame_count, self.bitmap_crc,
         blocks) = HEADER.unpack_from(self.header)
        if mark != b"VFERRY\r\n" or version != 1 or flags != 1 or blocks > 64:
            raise Damaged("no complete file of version 1")
        if struct.unpack_from("<I", self.header, 4092)[0] != crc32c(self.header[:4092]):
            raise Damaged("the header's checksum is wrong")
        self.blocks = struct.unpack_from(f"<{blocks}Q", self.header, 48)
        tables = sum(round_up((pages + 7) // 8, PAGE) + round_up(4 * pages, PAGE) for pages in self.blocks)
        if self.frames_at != round_up(PAGE + tables, 2 << 20) + PAGE * sum(self.blocks):
            raise Damaged("the frames are not where they must be")

    def decode_frames(self, data):
        frames, at = [], 0
        while at < len(data):
            mark, kind, flags, component, length, sequence, body_crc, crc = FRAME.unpack_from(data, at)
            if mark != FRAME_MARK or crc != crc32c(data[at:at + 28]) or sequence != len(frames):
                raise Damaged(f"frame {len(frames)} is broken")
            body = data[at + 32:at + 32 + length]
            if len(body) != length or crc32c(body) != body_crc:
                raise Damaged(f"the body of frame {len(frames)} is broken")
            frames.append(Frame(kind, flags, component, body, body_crc))
            at += 32 + length
        if len(frames) != self.frame_count:
            raise Damaged("frames are missing")
        return frames

    def encode_header(self, frames_bytes, frame_count):
        head = HEADER.pack(b"VFERRY\r\n", 1, 1, self.frames_at, frames_bytes, frame_count,
                           self.bitmap_crc, len(self.blocks))
        head += struct.pack(f"<{len(self.blocks)}Q", *self.blocks)
        head += bytes(PAGE - 4 - len(head))
        return head + struct.pack("<I", crc32c(head))

    def machine(self):
        return Machine(next(f.body for f in self.frames if f.kind == MACHINE))

    def write_frames(self, path, frames):
        """Into a file that has the pages already."""
        data = b"".join(frame.encode(n) for n, frame in enumerate(frames))
        fd = os.open(path, os.O_WRONLY)
        try:
            os.ftruncate(fd, self.frames_at + len(data))
            if os.pwrite(fd, data, self.frames_at) != len(data):
                raise OSError("the frames were not written whole")
            os.pwrite(fd, self.encode_header(len(data), len(frames)), 0)
        finally:
            os.close(fd)
