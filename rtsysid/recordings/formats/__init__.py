"""Recordings on disk: one module per format, all of one shape, chosen by the suffix of the file.

Each format has a log (`columns` as found, `blocks` to stream them), and all but MCAP a `write` that takes such blocks.
Everything heavy is imported inside the function that needs it, so that an edge machine reads CSV and npz with numpy
alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol
from zipfile import BadZipFile

import numpy as np

from rtsysid.errors import SpecError, TraceError
from rtsysid.spec import Channel, Doubles, Floats, require_channels, split_unit
from rtsysid.storage import replacing

WRITTEN = (".csv", ".csv.gz", ".parquet", ".npz")
SUFFIXES = (*WRITTEN, ".mcap")  # only the recorder of a live session writes that one
ROWS = 65_536  # rows of a block: a few megabytes, whatever the length of the recording
EPISODE = "episode"  # a column of this name numbers the episodes of a file: a change of its value starts a new one
_SECONDS = {"": 1.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


class Column(NamedTuple):
    """A column as found; `numeric` says whether it can be a channel (a name may be empty: a trailing comma)."""

    name: str
    unit: str
    numeric: bool


class Block(NamedTuple):
    """Successive rows of some columns: `exact` float64 [n, K] (time, episode numbers), `values` float32 [n, C]."""

    exact: Doubles
    values: Floats


class LogFile(Protocol):
    """An opened recording; only what `blocks` is asked for is parsed."""

    path: Path

    @property
    def columns(self) -> tuple[Column, ...]: ...
    @property
    def rows(self) -> int | None:
        """Number of rows where the file states it."""

    def blocks(self, exact: Sequence[int], values: Sequence[int]) -> Iterator[Block]:
        """Stream the columns of these indices, in file order of rows. Empty cells are NaN."""


def open_log(path: Path) -> LogFile:
    """Open a recording by its suffix; TraceError where it is missing, empty, damaged or of an unknown kind."""
    suffix = suffix_of(path)
    if not path.is_file():
        raise TraceError(f"recording {path}", "no such file", "check the path")
    if path.stat().st_size == 0:
        raise TraceError(f"recording {path.name}", "the file is empty", "record it again or leave it out")
    if suffix == ".parquet":
        from rtsysid.recordings.formats.parquet import ParquetLog

        return ParquetLog(path)
    if suffix == ".npz":
        from rtsysid.recordings.formats.npz import NpzLog

        return NpzLog(path)
    if suffix == ".mcap":
        from rtsysid.recordings.formats.mcap import McapLog

        return McapLog(path)
    from rtsysid.recordings.formats.csv import CsvLog

    return CsvLog(path)


def write_log(path: Path | str, exact: Sequence[Channel], channels: Sequence[Channel], blocks: Iterable[Block]) -> None:
    """Write blocks as they come; the file appears whole or not at all.

    `exact` names the float64 columns of the blocks: the time, and `episode` where there are several; `channels`
    name the float32 ones. npz and Parquet keep every bit, CSV keeps time exactly and values to 9 significant digits,
    which is every bit of a float32. Raises TraceError (suffix, names) and StorageError.
    """
    path = Path(path)
    suffix = suffix_of(path, WRITTEN)
    names = [channel.name for channel in (*exact, *channels)]
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise TraceError(f"cannot write {path.name}", f"two columns named {', '.join(twice)}", "rename the channel")
    if suffix == ".parquet":
        from rtsysid.recordings.formats.parquet import write
    elif suffix == ".npz":
        from rtsysid.recordings.formats.npz import write
    else:
        from rtsysid.recordings.formats.csv import write
    with replacing(path) as scratch:
        write(scratch, exact, channels, blocks)


class Selection(NamedTuple):
    """What to take from a log: float64 and float32 columns by index, and how the first makes seconds."""

    log: LogFile
    exact: tuple[int, ...]  # the time unless `rate_hz` is given, then the episode numbers where there are some
    values: tuple[int, ...]
    channels: tuple[Channel, ...]
    seconds: float  # of one unit of the time column
    rate_hz: float | None  # rows are counted at this rate where no time column is read
    episodes: bool


def select(log: LogFile, wanted: Sequence[Channel] | None, time: str | None, rate_hz: float | None) -> Selection:
    """Find the columns of `wanted` (None: every one that holds numbers, as outputs) and the time; else TraceError."""
    where = log.path.name
    found = [Channel(each.name, each.unit) for each in log.columns]
    names = [channel.name for channel in found]
    if wanted is None:
        wanted = [
            channel
            for channel, each in zip(found, log.columns, strict=True)
            if each.numeric and channel.name not in ("", time, EPISODE)
        ]
    if not wanted:
        raise TraceError(f"recording {where}", "no column of numbers beside the time", "record at least one channel")
    if time is not None and time not in names:
        listed = ", ".join(filter(None, names)) or "none"
        remedy = 'name the time column, or none ("") where rows are even'
        raise TraceError(f"{where}: no time column {time!r}", f"columns are {listed}", remedy)
    if time is None and not (rate_hz is not None and rate_hz > 0):
        raise TraceError(f"{where}: no time column", f"and rate_hz is {rate_hz}", "give one of both")
    try:
        values = require_channels(wanted, found, where)
    except SpecError as error:
        raise TraceError(error.what, error.found, error.remedy) from None
    twice = sorted({channel.name for channel in wanted if names.count(channel.name) > 1})
    if twice:
        raise TraceError(f"recording {where}", f"two columns named {', '.join(twice)}", "rename one of them")
    episodes = EPISODE in names and EPISODE not in [channel.name for channel in wanted]
    exact = [names.index(name) for name in (time, EPISODE if episodes else None) if name is not None]
    seconds = 1.0 if time is None else _seconds(where, found[names.index(time)])
    return Selection(log, tuple(exact), tuple(values), tuple(wanted), seconds, None if time else rate_hz, episodes)


def blocks_of(selection: Selection) -> Iterator[Block]:
    """Stream a selection; TraceError at the end if there was no row."""
    rows = 0
    for block in selection.log.blocks(selection.exact, selection.values):
        rows += len(block.values)
        yield block
    if not rows:
        raise TraceError(f"recording {selection.log.path.name}", "a header and no rows", "record it again")


def gather(selection: Selection) -> Block:
    """All rows of a selection, in one allocation that grows where the file does not state its rows."""
    size, end = selection.log.rows or ROWS, 0
    wide, narrow = np.empty((size, len(selection.exact))), np.empty((size, len(selection.values)), np.float32)
    for block in blocks_of(selection):
        start, end = end, end + len(block.values)
        if end > len(narrow):
            size = max(end, len(narrow) + len(narrow) // 4)
            # refcheck off: nobody else holds these, and realloc moves pages instead of copying them
            wide.resize((size, wide.shape[1]), refcheck=False)
            narrow.resize((size, narrow.shape[1]), refcheck=False)
        wide[start:end], narrow[start:end] = block
    wide.resize((end, wide.shape[1]), refcheck=False)
    narrow.resize((end, narrow.shape[1]), refcheck=False)
    return Block(wide, narrow)


def times(selection: Selection, exact: Doubles, row: int) -> Doubles:
    """Seconds [n] of a block that begins at `row`."""
    if selection.rate_hz is not None:
        return np.arange(row, row + len(exact)) / selection.rate_hz
    t = np.ascontiguousarray(exact[:, 0])
    return t if selection.seconds == 1.0 else t * selection.seconds


def block_of(cells: Mapping[int, Doubles], exact: Sequence[int], values: Sequence[int]) -> Block:
    """Put parsed columns, by index, side by side."""
    rows = len(next(iter(cells.values())))
    wide, narrow = np.empty((rows, len(exact))), np.empty((rows, len(values)), np.float32)
    with np.errstate(over="ignore"):  # beyond float32 is infinite, and found as such by who checks the values
        for k, i in enumerate(exact):
            wide[:, k] = cells[i]
        for k, i in enumerate(values):
            narrow[:, k] = cells[i]
    return Block(wide, narrow)


def files_of(path: Path) -> list[Path]:
    """The file itself, or the recordings of a folder in the order of their names."""
    if not path.is_dir():
        return [path]
    files = sorted(each for each in path.iterdir() if each.is_file() and each.name.lower().endswith(SUFFIXES))
    visible = [each for each in files if not each.name.startswith(".")]
    if not visible:
        raise TraceError(f"folder {path}", "no recording in it", f"put files of {', '.join(SUFFIXES)} there")
    return visible


def names_of(files: Sequence[Path]) -> list[str]:
    """Names without suffix; where two are the same, with the folder before them."""
    stems = [path.name[: -len(suffix_of(path))] for path in files]
    return [
        f"{path.absolute().parent.name}/{stem}" if stems.count(stem) > 1 else stem
        for path, stem in zip(files, stems, strict=True)
    ]


def suffix_of(path: Path, suffixes: Sequence[str] = SUFFIXES) -> str:
    """The known suffix of a file name; TraceError where there is none."""
    for suffix in suffixes:
        if path.name.lower().endswith(suffix):
            return suffix
    known = ", ".join(suffixes)
    raise TraceError(f"recording {path.name}", f"suffix {path.suffix!r} is not known", f"use one of {known}")


def _seconds(where: str, time: Channel) -> float:
    if time.unit not in _SECONDS:
        found = f"its unit is {time.unit!r}"
        raise TraceError(
            f"{where}: time column {time.name!r}", found, f"use one of {', '.join(filter(None, _SECONDS))}"
        )
    return _SECONDS[time.unit]


def column(text: str, numeric: bool) -> Column:
    """A column by its header, ``name [unit]``."""
    return Column(*split_unit(text), numeric)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what libraries say about a damaged file into one line."""
    try:
        yield
    except (EOFError, zlib.error, BadZipFile) as error:
        raise damaged(path, error) from error
    except OSError as error:
        if error.strerror is None:  # gzip and pyarrow raise a bare OSError about the content
            raise damaged(path, error) from error
        raise TraceError(f"cannot read {path.name}", error.strerror, "check the file and its rights") from error


def damaged(path: Path, error: Exception) -> TraceError:
    """A file that ends early or whose bytes have changed."""
    reason = " ".join(str(error).split())[:120].rstrip(".")
    return TraceError(f"recording {path.name}", f"truncated or damaged ({reason})", "copy or record it again")
