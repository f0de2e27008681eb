"""Read and write recordings: one module per file format, chosen by the suffix of the file.

To add a format, add one module to this package and one line to `FORMATS`. The module defines `Reader(path)`, which has
the members of `LogFile`, and, where the format can be written, `write_blocks(path, exact, channels, blocks)`.
A format module is imported when the first file of its format is opened. A machine with NumPy alone reads CSV and npz.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from rtsysid.errors import TraceError
from rtsysid.guards.limits import checked_growth, checked_size, limit
from rtsysid.recordings.columns import Column as Column
from rtsysid.recordings.columns import column as column
from rtsysid.recordings.columns import common_rows, indices_of, place_of, require_rows
from rtsysid.recordings.formats.advice import advice_for
from rtsysid.recordings.formats.damage import damaged as damaged
from rtsysid.recordings.formats.damage import reading as reading
from rtsysid.recordings.time_column import NO_TIME, TimeColumn, find_time
from rtsysid.recordings.timeline import require_rate
from rtsysid.recordings.topics import TopicLog, is_topic_log
from rtsysid.spec import Channel, Doubles, Floats
from rtsysid.storage import replacing
from rtsysid.storage.kinds import kind_of, mistaken
from rtsysid.storage.products import RECORDING


class Format(NamedTuple):
    """Name the module of a format, the extra of rtsysid that installs its packages, and what it can do.

    ``writable``: it can be written. ``topics``: its reader is a `TopicLog`, not a table.
    """

    module: str
    extra: str = ""
    writable: bool = True
    topics: bool = False


FORMATS: dict[str, Format] = {
    ".csv": Format("csv"),
    ".csv.gz": Format("csv"),
    ".parquet": Format("parquet", extra="train"),
    ".npz": Format("npz"),
    ".mcap": Format("mcap", writable=False, topics=True),  # only the recorder of a live session writes it
    ".bag": Format("ros1bag", extra="logs", writable=False, topics=True),
    ".bag.active": Format("ros1bag", extra="logs", writable=False, topics=True),  # rosbag was killed while it wrote it
    ".db3": Format("ros2db", extra="logs", writable=False, topics=True),
    ".ulg": Format("ulog", extra="logs", writable=False, topics=True),
    ".bin": Format("ardupilot", writable=False, topics=True),
    ".h5": Format("hdf5", extra="logs", writable=False, topics=True),
    ".hdf5": Format("hdf5", extra="logs", writable=False, topics=True),
    ".mat": Format("mat", extra="logs", writable=False, topics=True),
    ".bbl": Format("betaflight", writable=False, topics=True),
    ".bfl": Format("betaflight", writable=False, topics=True),
    ".tsv": Format("csv", writable=False),
    ".tsv.gz": Format("csv", writable=False),
    ".txt": Format("csv", writable=False),
    ".txt.gz": Format("csv", writable=False),
}
# A folder that holds this file is one recording, or one dataset of episodes.
FOLDERS: dict[str, Format] = {
    "meta/info.json": Format("lerobot", extra="logs", writable=False),
    "metadata.yaml": Format("ros2folder", extra="logs", writable=False, topics=True),
}
SUFFIXES = tuple(FORMATS)
WRITTEN = tuple(suffix for suffix, each in FORMATS.items() if each.writable)
ROWS = 65_536  # rows per block: a few megabytes, whatever the length of the recording
_VALUES = 1 << 20  # values per block: a few megabytes, whatever its width
EPISODE = "episode"  # name of the column that numbers the episodes; a new value starts a new episode


class Block(NamedTuple):
    """Hold successive rows: `exact` [n, K] float64 (time, episode number) and `values` [n, C] float32."""

    exact: Doubles
    values: Floats


def rows_per_block(width: int) -> int:
    """Return the rows of a block of so many columns."""
    return max(1, min(ROWS, _VALUES // max(width, 1)))


class LogFile(Protocol):
    """Define an open recording. Only the requested columns are parsed."""

    path: Path

    @property
    def columns(self) -> tuple[Column, ...]:
        """List the columns of the file."""

    @property
    def rows(self) -> int | None:
        """Return the number of rows, or None where the file does not state it."""

    def blocks(self, exact: Sequence[int], values: Sequence[int]) -> Iterator[Block]:
        """Stream the columns with these indices, in the row order of the file. Empty cells are NaN."""


def open_log(path: Path) -> LogFile:
    """Open a recording by its suffix; a log of topics is shown as one table.

    Raises TraceError where the file is missing, empty or damaged, the suffix is unknown, or a package is missing.
    """
    log: Any = open_reader(path)
    opened: LogFile = _module_of(Format("sparse")).TopicTable(log) if is_topic_log(log) else log
    return opened


def open_reader(path: Path) -> LogFile | TopicLog:
    """Open a recording as its format holds it: a table, or a log of topics. Raises the errors of `open_log`."""
    kind = kind_of(path)
    if kind == "configuration" or (not kind and (not path.suffix or path.name.lower().endswith(SUFFIXES))):
        raise TraceError(f"recording {path}", *mistaken(path, "recording"))
    known = format_of(path)
    if not path.is_file() and not is_log_folder(path):  # not a pipe either, which might never end
        raise TraceError(f"recording {path}", "not a plain file", "check the path")
    if path.is_file() and path.stat().st_size == 0:
        raise TraceError(f"recording {path.name}", "the file is empty", "record it again or leave it out")
    with _naming_the_extra(path, known):
        opened: LogFile | TopicLog = _module_of(known).Reader(path)
    return opened


def format_of(path: Path) -> Format:
    """Return the format of a file by its suffix, or of a folder by what it holds.

    Raises TraceError where it is not known.
    """
    marked = (each for marker, each in FOLDERS.items() if (path / marker).is_file())
    return next(marked, None) or FORMATS[suffix_of(path)]


def is_log_folder(path: Path) -> bool:
    """Tell whether a folder is one log, not a folder of recordings."""
    return path.is_dir() and any((path / marker).is_file() for marker in FOLDERS)


def write_log(
    path: Path | str,
    exact: Sequence[Channel],
    channels: Sequence[Channel],
    blocks: Iterable[Block],
    *,
    overwrite: bool = False,
) -> None:
    """Write blocks to a file as they arrive. The file appears when it is complete.

    `exact` names the float64 columns of the blocks: the time, and `episode` where there are several episodes.
    `channels` name the float32 columns. npz and Parquet keep every bit. CSV keeps the time exactly and values to 9
    significant digits, which is every bit of a float32. Raises TraceError where the suffix cannot be written or two
    columns share a name, and StorageError where the file cannot be written, or exists and `overwrite` is not given.
    """
    path = Path(path)
    suffix = suffix_of(path, WRITTEN)
    names = [channel.name for channel in (*exact, *channels)]
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise TraceError(f"cannot write {path.name}", f"two columns named {', '.join(twice)}", "rename the channel")
    with replacing(path, RECORDING, overwrite=overwrite) as scratch, _naming_the_extra(path, FORMATS[suffix]):
        _module_of(FORMATS[suffix]).write_blocks(scratch, exact, channels, blocks)


def _module_of(known: Format) -> Any:
    return import_module(f"{__name__}.{known.module}")


@contextmanager
def _naming_the_extra(path: Path, known: Format) -> Iterator[None]:
    """Raise TraceError, with the install command, where a package of the format is missing."""
    extra = known.extra
    try:
        yield
    except ImportError as error:
        if not extra:
            raise
        package = (error.name or "a package").partition(".")[0]
        plain = " or ".join(each for each in WRITTEN if not FORMATS[each].extra)
        remedy = f"pip install 'rtsysid[{extra}]', or use {plain}"
        raise TraceError(
            f"recording {path.name}", f"{path.suffix or 'it'} needs {package}, which is not installed", remedy
        ) from None


class Selection(NamedTuple):
    """Say which columns to read from a log, by index, and how times become seconds."""

    log: LogFile
    exact: tuple[int, ...]  # the time, unless `rate_hz` is given, then the episode numbers, if any
    values: tuple[int, ...]
    channels: tuple[Channel, ...]
    time: TimeColumn
    rate_hz: float | None  # without a time column, rows are spaced at this rate
    episodes: bool

    @property
    def rows(self) -> int | None:
        """Return the number of rows, or None where the file does not state it."""
        stated = (self.log.columns[i].rows for i in (*self.exact, *self.values))
        return next((rows for rows in stated if rows is not None), self.log.rows)


def select_columns(
    log: LogFile, wanted: Sequence[Channel] | None, time: str | None, rate_hz: float | None
) -> Selection:
    """Find the columns of `wanted` and the time column in a log.

    `time` may state a unit: ``timestamp [us]``. None for `wanted` selects every column of numbers, as outputs. Raises
    TraceError where a column is missing, has another unit, another number of rows or occurs twice, and where neither
    a time column nor a rate is given.
    """
    where, columns = log.path.name, log.columns
    checked_size(f"recording {where}", len(columns), "columns")
    if wanted and all(place_of(columns, each.name) is None for each in wanted):
        indices_of(wanted, columns, where)  # a recording of another robot: that matters more than its time column
    timed = NO_TIME if time is None else find_time(where, columns, time)
    own = (timed.place,) if time is not None else ()
    rows = common_rows(columns, own)
    if wanted is None:
        chosen = [each for i, each in enumerate(columns) if i not in own and each.rows in (None, rows)]
        wanted = [Channel(each.name, each.unit) for each in chosen if each.numeric and each.name not in ("", EPISODE)]
    if not wanted:
        raise _no_numbers(where, columns, own)
    _require_clock(where, time, rate_hz)
    values = indices_of(wanted, columns, where)
    require_rows(where, [columns[i] for i in values], rows if own else None, timed.name)
    episodes = EPISODE not in [channel.name for channel in wanted]
    numbers = [i for i, each in enumerate(columns) if each.name == EPISODE][:1] if episodes else []
    exact = (*own, *numbers)
    return Selection(log, exact, tuple(values), tuple(wanted), timed, None if own else rate_hz, bool(numbers))


def _no_numbers(where: str, columns: Sequence[Column], own: Sequence[int]) -> TraceError:
    reasons = [f"{each.name} {each.note}" for i, each in enumerate(columns) if each.name and each.note and i not in own]
    found = f"no column of numbers except the time{': ' * bool(reasons)}{', '.join(reasons[:5])}"
    return TraceError(f"recording {where}", found, "record at least one channel")


def _require_clock(where: str, time: str | None, rate_hz: float | None) -> None:
    if time is None and rate_hz is not None:
        require_rate(rate_hz)
    elif time is None:
        raise TraceError(f"{where}: no time column", f"and rate_hz is {rate_hz}", "give one of the two")


def blocks_of(selection: Selection) -> Iterator[Block]:
    """Stream the selected columns. Raises TraceError at the end where the log has no row."""
    rows = 0
    for block in selection.log.blocks(selection.exact, selection.values):
        rows += len(block.values)
        yield block
    if not rows:
        raise TraceError(f"recording {selection.log.path.name}", "a header and no rows", "record it again")


def gather(selection: Selection) -> Block:
    """Read all rows of a selection into one block.

    One allocation holds them; it grows where the file does not state its number of rows, or states a wrong one. Raises
    TraceError where the log has no row, and where it has more rows than the limits allow for a file of its size.
    """
    name, file_bytes = f"recording {selection.log.path.name}", stored_bytes(selection.log.path)
    row_bytes = 8 * len(selection.exact) + 4 * len(selection.values)
    most = (limit("free_bytes") + limit("growth") * file_bytes) // row_bytes  # a claim allocates no more than this
    size, end = min(selection.rows or rows_per_block(len(selection.values)), most), 0
    wide, narrow = np.empty((size, len(selection.exact))), np.empty((size, len(selection.values)), np.float32)
    for block in blocks_of(selection):
        start, end = end, end + len(block.values)
        if end > len(narrow):
            checked_growth(name, end * row_bytes, file_bytes)
            size = max(end, min(len(narrow) + len(narrow) // 4, most))
            # refcheck=False: nothing else refers to these arrays, and realloc moves pages instead of copying them
            wide.resize((size, wide.shape[1]), refcheck=False)
            narrow.resize((size, narrow.shape[1]), refcheck=False)
        wide[start:end], narrow[start:end] = block
    wide.resize((end, wide.shape[1]), refcheck=False)
    narrow.resize((end, narrow.shape[1]), refcheck=False)
    return Block(wide, narrow)


def stored_bytes(path: Path) -> int:
    """Return the size of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(each.stat().st_size for each in files if each.is_file())


def times(selection: Selection, exact: Doubles, row: int) -> Doubles:
    """Return the times [n] in s of a block [n, K] whose first row is number `row` of the log."""
    if selection.rate_hz is not None:
        return np.arange(row, row + len(exact)) / selection.rate_hz
    t = np.ascontiguousarray(exact[:, 0])
    return t if selection.time.seconds == 1.0 else t * selection.time.seconds


def block_of(cells: Mapping[int, Doubles], exact: Sequence[int], values: Sequence[int]) -> Block:
    """Combine parsed columns [n], given by index, into a block."""
    rows = len(next(iter(cells.values())))
    wide, narrow = np.empty((rows, len(exact))), np.empty((rows, len(values)), np.float32)
    with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite; the check of the values reports it
        for k, i in enumerate(exact):
            wide[:, k] = cells[i]
        for k, i in enumerate(values):
            narrow[:, k] = cells[i]
    return Block(wide, narrow)


def suffix_of(path: Path, suffixes: Sequence[str] = SUFFIXES) -> str:
    """Return the suffix of a file name. Raises TraceError, with a converter, where it is not one of `suffixes`."""
    for suffix in suffixes:
        if path.name.lower().endswith(suffix):
            return suffix
    known = ", ".join(suffixes)
    if (advice := advice_for(path)) and suffixes is SUFFIXES:
        raise TraceError(f"recording {path.name}", f"it is {advice[0]}, which is not supported", advice[1])
    raise TraceError(f"recording {path.name}", f"suffix {path.suffix!r} is not known", f"use one of {known}")
