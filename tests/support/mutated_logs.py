"""Mutate logs of other programs: their texts and lengths as well as any byte."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Callable
from pathlib import Path

from support.blackbox_writer import blackbox
from support.mutations import EDGES, mutated_bytes
from support.small_logs import hdf5, mat5, plain_dataflash, plain_ulog

Mutator = Callable[[bytes, random.Random], bytes]


def mutated_header(raw: bytes, chance: random.Random) -> bytes:
    """Change a number in the text of a Blackbox log, or any byte."""
    if chance.random() < 0.6:
        return mutated_bytes(raw, chance)
    begin, end = chance.choice([each.span() for each in re.finditer(rb"\d+", raw[: raw.rfind(b"\nH ") + 40])])
    return raw[:begin] + str(chance.choice((*EDGES, 3, 6, 8, 9, 10))).encode() + raw[end:]


def mutated_lengths(raw: bytes, chance: random.Random) -> bytes:
    """Change an integer of one to eight bytes at any place, or any byte."""
    if chance.random() < 0.5:
        return mutated_bytes(raw, chance)
    out = bytearray(raw)
    size = chance.choice((1, 2, 4, 8))
    at = chance.randrange(len(out) - size)
    out[at : at + size] = struct.pack("<Q", chance.choice(EDGES) % 2**64)[:size]
    return bytes(out)


def mutated_definitions(raw: bytes, chance: random.Random) -> bytes:
    """Change the definitions of a ULog, whose messages keep their lengths, or any byte."""
    if chance.random() < 0.5:
        return mutated_bytes(raw, chance)
    types = [each.span() for each in re.finditer(rb"(u?int\d+_t|float|char)(\[\d+\])?|imu|esc", raw[:600])]
    begin, end = chance.choice(types)
    word = chance.choice((b"esc", b"esc_status", b"imu", b"float[9999]", b"double", b"bool", b"char[0]", b"", b"x"))
    return raw[:begin] + word.ljust(end - begin, b" ")[: end - begin] + raw[end:]


def written(content: Callable[[], bytes]) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content())


LOG_SEEDS: dict[str, Callable[[Path], object]] = {
    ".ulg": written(plain_ulog), ".bin": written(plain_dataflash), ".bbl": written(blackbox), ".bfl": written(blackbox),
    ".h5": hdf5, ".hdf5": lambda path: hdf5(path, "gzip"), ".mat": lambda path: mat5(path, compressed=False),
}  # fmt: skip
LOG_MUTATORS: dict[str, Mutator] = {
    ".ulg": mutated_definitions, ".bin": mutated_lengths, ".bbl": mutated_header, ".bfl": mutated_header,
    ".h5": mutated_lengths, ".hdf5": mutated_lengths, ".mat": mutated_lengths,
}  # fmt: skip
