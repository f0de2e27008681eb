"""Rotation: cut a long recording into files of a bounded size and duration, named by the time of its start.

The first file of a session is `2026-11-29T23-33-37Z-001.mcap`, the next ones count on. A session that starts while
another has that name takes the next second.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import NamedTuple

_NAME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ)-(\d{3,})\.mcap")
MOST_PARTS = 100_000


class Rotation(NamedTuple):
    """When a file ends and the next one begins. ``nbytes``: on the disk. ``seconds``: since the file began."""

    nbytes: float
    seconds: float

    def due(self, nbytes: int, seconds: float) -> bool:
        """Tell whether a file of this size and duration ends."""
        return nbytes >= self.nbytes or seconds >= self.seconds


def first_part(folder: Path, unix_s: float) -> Path:
    """Name the first file of a session that starts now, in a folder; none of the names that exist."""
    while True:
        stamp = time.strftime("%Y-%m-%dT%H-%M-%SZ", time.gmtime(unix_s))
        path = folder / f"{stamp}-001.mcap"
        if not any(folder.glob(f"{stamp}-*")):
            return path
        unix_s += 1.0


def next_part(path: Path) -> Path:
    """Name the file after this one. Raises ValueError where the name is not that of a part."""
    stamp, number = stamp_and_number(path.name) or ("", 0)
    if not stamp or number >= MOST_PARTS:
        raise ValueError(f"{path.name} is no part of a recording")
    return path.with_name(f"{stamp}-{number + 1:03}.mcap")


def stamp_and_number(name: str) -> tuple[str, int] | None:
    """Return the time stamp and the number of a part by the name of its file; None where it is none."""
    match = _NAME.fullmatch(name)
    return None if match is None else (match[1], int(match[2]))
