"""Read the binary logs that a Crazyflie writes to its memory card, version 2: events with their own descriptions."""

import struct
from pathlib import Path

import numpy as np


def crazyflie_events(path: Path) -> tuple[list[str], np.ndarray]:
    """Return the names and the rows [n, C] of the event with fixed frequency; the first column is the time in s."""
    raw = path.read_bytes()
    assert raw[:2] == b"\xbc\x02"
    (events,), at = struct.unpack_from("<H", raw, 3), 5
    layouts: dict[int, tuple[str, list[str], str]] = {}
    for _ in range(events):
        number = struct.unpack_from("<H", raw, at)[0]
        end = raw.index(b"\0", at + 2)
        title, count = raw[at + 2 : end].decode(), struct.unpack_from("<H", raw, end + 1)[0]
        at, names, codes = end + 3, [], ""
        for _ in range(count):
            end = raw.index(b"\0", at)
            name, _, code = raw[at:end].decode().partition("(")
            names.append(name)
            codes += code[0]
            at = end + 1
        layouts[number] = title, names, codes
    wanted = next(number for number, each in layouts.items() if each[0] == "fixedFrequency")
    rows = []
    while at + 10 <= len(raw) - 4:
        number, us = struct.unpack_from("<HQ", raw, at)
        form = struct.Struct("<" + layouts[number][2])
        if number == wanted:
            rows.append((us * 1e-6, *form.unpack_from(raw, at + 10)))
        at += 10 + form.size
    return ["t", *layouts[wanted][1]], np.array(rows)
