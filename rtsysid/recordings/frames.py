"""Read recordings from memory, as from a file: a mapping of names to arrays, or a DataFrame; and make a DataFrame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from rtsysid.errors import TraceError
from rtsysid.guards.extras import extra_module
from rtsysid.recordings.columns import Column, place_of, require_rows, split_header
from rtsysid.recordings.episode import Episode
from rtsysid.recordings.formats import EPISODE, Block, Selection, block_of, select_columns
from rtsysid.recordings.survey_table import guessed_time
from rtsysid.spec import Channel, Doubles

_NS = 1e-9  # seconds


class MemoryTable:
    """Hold named arrays [T] as an open recording; see `rtsysid.recordings.formats.LogFile`.

    An array with another number of axes is no column. Raises TraceError where there is none, or two of one name.
    """

    def __init__(self, data: Any, name: str) -> None:
        """`data`: a mapping of names to arrays [T], or a DataFrame. `name`: of the recording."""
        self.path = Path(name)
        named = _arrays_of(data, name)
        self._arrays = list(named.values())
        headers = zip(split_header(list(named)), named, self._arrays, strict=True)
        self.columns = tuple(_column(*header, text, array) for header, text, array in headers)
        self.rows = None

    def blocks(self, exact: Sequence[int], values: Sequence[int]) -> Iterator[Block]:
        """Yield all rows of the columns with these indices, in one block. Raises TraceError for text."""
        yield block_of({i: self._numbers(i) for i in {*exact, *values}}, exact, values)

    def _numbers(self, i: int) -> Doubles:
        if not self.columns[i].numeric and (self._arrays[i].ndim != 1 or self._arrays[i].dtype.kind not in "Mm"):
            found, remedy = self.columns[i].note, "convert it to numbers, or leave it out"
            raise TraceError(f"recording {self.path}: column {self.columns[i].name!r}", found, remedy)
        return _seconds(self._arrays[i])


def select_rows(
    data: Any, name: str, channels: Sequence[Channel | str] | None, time: str | None, rate_hz: float | None
) -> tuple[Selection, Block]:
    """Select channels and time of a table in memory, and read all rows; see `Trace.from_pandas`.

    A channel without a unit takes that of its column. Raises TraceError where a column is missing, holds text, or has
    another length, and where neither a time nor a rate is known.
    """
    table = MemoryTable(data, name)
    if channels is None:
        every = [each for each in table.columns if each.numeric]
        require_rows(name, every, every[0].rows if every else None, every[0].name if every else "")
    wanted = None if channels is None else [_unit_taken(each, table.columns) for each in channels]
    if time is None:
        time = _guessed_time(table, {each.name for each in wanted or ()})
    selection = select_columns(table, wanted, time or None, rate_hz)
    return selection, next(table.blocks(selection.exact, selection.values))


def data_frame(channels: Sequence[Channel], episodes: Sequence[Episode]) -> Any:
    """Make a pandas DataFrame: a column for each channel, the time in s as the index ``t [s]``.

    Several episodes are numbered by the column ``episode``. Raises RtsysidError where pandas is not installed.
    """
    pandas = extra_module("pandas", "pip install pandas")
    values = np.concatenate([each.values for each in episodes])
    index = pandas.Index(np.concatenate([each.t for each in episodes]), name="t [s]")
    frame = pandas.DataFrame(values, index=index, columns=[str(channel) for channel in channels])
    if len(episodes) > 1:
        frame.insert(0, EPISODE, np.repeat(np.arange(len(episodes)), [len(each) for each in episodes]))
    return frame


def is_table_like(data: Any) -> bool:
    """Tell whether an object is a table: a mapping, or a DataFrame of any library."""
    return isinstance(data, Mapping) or (hasattr(data, "columns") and hasattr(data, "__getitem__"))


def _arrays_of(data: Any, name: str) -> dict[str, np.ndarray[Any, Any]]:
    """Return the arrays [T] of a table by name; an index of a DataFrame that is a time comes first."""
    pairs = list(data.items()) if isinstance(data, Mapping) else [(each, data[each]) for each in data.columns]
    arrays = [(str(key), np.asarray(value)) for key, value in (*_time_index(data), *pairs)]
    named = dict(arrays)
    if len(named) < len(arrays) or not named:
        found = "no column" if not named else f"{len(arrays)} columns with {len(named)} names"
        raise TraceError(f"recording {name}", found, "give each column a name of its own")
    return named


def _time_index(data: Any) -> list[tuple[str, Any]]:
    """Return the index of a DataFrame where it holds times, or has the name of a column of its own."""
    index = getattr(data, "index", None)
    values = None if index is None or isinstance(data, Mapping) else np.asarray(index)
    if values is None or values.ndim != 1:
        return []
    named = getattr(index, "name", None)
    return [(str(named or "t"), values)] if values.dtype.kind in "Mm" or named is not None else []


def _column(name: str, unit: str, text: str, array: np.ndarray[Any, Any]) -> Column:
    if array.ndim != 1:
        return Column(name, unit, False, text, None, f"is an array of shape {array.shape}, not [T]")
    if array.dtype.kind in "Mm":
        return Column(name, unit or "s", False, text, len(array), "holds times")
    numeric = array.dtype.kind in "iufb" or _is_numbers(array)
    return Column(name, unit, numeric, text, len(array), "" if numeric else f"holds {array.dtype}, not numbers")


def _is_numbers(array: np.ndarray[Any, Any]) -> bool:
    """Tell whether an array of objects holds numbers alone, as pandas has them where a value is missing."""
    if array.dtype.kind != "O":
        return False
    try:
        array.astype(np.float64)
    except (TypeError, ValueError):
        return False
    return not any(isinstance(each, str) for each in array)


def _seconds(array: np.ndarray[Any, Any]) -> Doubles:
    """Return an array [T] as float64; instants and durations in s, instants since the first."""
    if array.dtype.kind not in "Mm":
        return array.astype(np.float64)
    first = array[0] if array.dtype.kind == "M" and len(array) else np.timedelta64(0, "ns")
    missing, ticks = np.isnat(array), (array - first).astype("timedelta64[ns]").astype(np.int64)
    return np.where(missing, np.nan, ticks * _NS)


def _unit_taken(wanted: Channel | str, columns: Sequence[Column]) -> Channel:
    channel = Channel.parse(wanted) if isinstance(wanted, str) else wanted
    place = place_of(columns, channel.name)
    return channel if place is None or channel.unit else msgspec.structs.replace(channel, unit=columns[place].unit)


def _guessed_time(table: MemoryTable, wanted: set[str]) -> str | None:
    guess = guessed_time(table)
    return None if guess is None or guess.split(" [")[0] in wanted else guess
