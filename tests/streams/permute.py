#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Puts the frames of a saved machine into another order that is legal.

    permute.py IN OUT ORDER
    permute.py IN OUT --serve       orders come on standard input, one a line; "ok" answers each

ORDER is a seed (a number), or one of the orders that streams once had:
    historical-iterative    config space once, inside its device's state
    historical-last         config space once, behind everything else

What is legal: HELLO is the first frame; frames of one stream keep their order; of a section that comes
more than once, so do those; sections of a device that begins anew stay on their side of the
restart. State may be cut into frames anywhere, so that some are cut anew.
"""
import os
import random
import shutil
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from savefile import (DATA, HELLO, MACHINE, MANIFEST, RESTART, SECTION, Frame, Machine, Manifest,  # noqa: E402
                      SaveFile)
import struct  # noqa: E402

CONFIG, CONFIG_FINAL = 1, 2
CUT_BYTES = 8192    # a frame larger than this is not cut: its new checksums would take too long here


def lanes(save, frames):
    """Frames as lists whose inner order has to stay."""
    devices = [c["device"] for c in save.machine().components]
    restarted = {devices[f.component] for f in frames if f.kind == RESTART}
    found = {}
    for number, frame in enumerate(frames):
        device = devices[frame.component] if frame.component < len(devices) else b""
        if device and device in restarted:
            key = ("device", device)
        elif frame.is_stream:
            key = ("stream", frame.component)
        elif frame.kind == SECTION:
            key = ("section", frame.component, frame.section)
        else:
            key = ("frame", number)
        found.setdefault(key, []).append(frame)
    return list(found.values())


def shuffle(rng, lists):
    """All lists into one, each keeping its order: any such order is as likely as any other."""
    lists = [list(reversed(one)) for one in lists]
    out = []
    while lists:
        pick = rng.randrange(sum(len(one) for one in lists))
        for one in lists:
            if pick < len(one):
                out.append(one.pop())
                break
            pick -= len(one)
        lists = [one for one in lists if one]
    return out


def cut(rng, frames):
    """Small frames of state, now and then, as two."""
    for frame in frames:
        size = len(frame.body) - 16
        if frame.kind == DATA and 2 <= size <= CUT_BYTES and rng.random() < 0.5:
            generation, _, offset = struct.unpack_from("<IIQ", frame.body)
            at = rng.randrange(1, size)
            yield Frame(DATA, frame.flags, frame.component, frame.body[:16 + at])
            yield Frame(DATA, frame.flags, frame.component,
                        struct.pack("<IIQ", generation, 0, offset + at) + frame.body[16 + at:])
        else:
            yield frame


def permuted(save, seed):
    rng = random.Random(seed)
    hello = [f for f in save.frames if f.kind == HELLO]
    rest = [f for f in cut(rng, save.frames) if f.kind != HELLO]
    return hello + shuffle(rng, lanes(save, rest))


def config_components(save):
    """{index of pci/ADDR: index of vfio/ADDR}"""
    names = [c["name"] for c in save.machine().components]
    return {n: names.index(b"vfio/" + name[4:]) for n, name in enumerate(names) if name[:4] == b"pci/"}


def with_one_config(save):
    """Frames as if config space had one section only, that of the stopped device."""
    configs = config_components(save)
    out = []
    for frame in save.frames:
        if frame.kind == MACHINE:
            machine = Machine(frame.body)
            for n in configs:
                c = machine.components[n]
                c["sections"] = [s for s in c["sections"] if s[0][0] != CONFIG]
            machine.dependencies = [d for d in machine.dependencies
                                    if not any(d[at] in configs and d[at + 1] == CONFIG for at in (0, 2))]
            frame = Frame(MACHINE, frame.flags, frame.component, machine.encode())
        elif frame.kind == MANIFEST:
            manifest = Manifest(frame.body)
            manifest.sections = [s for s in manifest.sections if s[0] not in configs or s[1] != CONFIG]
            frame = Frame(MANIFEST, frame.flags, frame.component, manifest.encode())
        elif frame.component in configs and frame.section == CONFIG:
            continue
        out.append(frame)
    return out, configs


def historical_last(save):
    frames, configs = with_one_config(save)
    return ([f for f in frames if f.component not in configs] +
            [f for f in frames if f.component in configs])


def historical_iterative(save):
    frames, configs = with_one_config(save)
    out = [f for f in frames if f.component not in configs]
    for pci, vfio in configs.items():
        section = [f for f in frames if f.component == pci]
        first = next(n for n, f in enumerate(out) if f.component == vfio and f.kind == DATA)
        out[first + 1:first + 1] = section
    return out


def ordered(save, order):
    if order == "historical-iterative":
        return historical_iterative(save)
    if order == "historical-last":
        return historical_last(save)
    return permuted(save, int(order))


def main(arguments):
    if len(arguments) != 3:
        sys.exit(__doc__)
    source, target, order = arguments
    save = SaveFile(source)
    shutil.copyfile(source, target)
    if order != "--serve":
        save.write_frames(target, ordered(save, order))
        return
    for line in sys.stdin:
        save.write_frames(target, ordered(save, line.strip()))
        print("ok", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
