"""Tables that tests of the log formats write and read."""

import gzip
from pathlib import Path

import numpy as np

from rtsysid.recordings import formats
from rtsysid.recordings.formats import Block
from rtsysid.spec import Channel

TIME = (Channel("t", "s"),)
AB = (Channel("a", "m/s"), Channel("b"))


def read(path: Path, *, time: str | None = "t") -> Block:
    selection = formats.select_columns(formats.open_log(path), None, time, None)
    return formats.gather(selection)


def csv_file(folder: Path, content: bytes | str, name: str = "log.csv") -> Path:
    path = folder / name
    raw = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return path


def block(rows: int) -> Block:
    values = np.arange(2 * rows, dtype=np.float32).reshape(rows, 2) / 7
    return Block(np.arange(rows)[:, np.newaxis] / 100, values)
