"""Describe the columns of a table, and find them by name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from rtsysid.errors import SpecError, TraceError
from rtsysid.recordings.unit_words import is_unit
from rtsysid.spec import Channel, require_channels, split_unit

_PARENTHESES = re.compile(r"(?P<name>.*\S)\s*\((?P<unit>[^()\[\]]+)\)")


class NotANumber(TraceError):
    """Report cells of text in columns of numbers. ``columns``: the first such cell by the index of its column."""

    columns: dict[int, str]


class Column(NamedTuple):
    """Describe a column of a file.

    ``numeric``: the column can be a channel. The name is empty where a header line ends with a comma. ``header``: the
    header cell, where the name is a part of it; it is a second name. ``rows``: their number where columns differ in
    it, otherwise None. ``note``: why the column is not numeric.
    """

    name: str
    unit: str
    numeric: bool
    header: str = ""
    rows: int | None = None
    note: str = ""


def column(text: str, numeric: bool) -> Column:
    """Parse a header cell, ``name [unit]``."""
    return Column(*split_unit(text), numeric)


def split_header(cells: Sequence[str]) -> list[tuple[str, str]]:
    """Split header cells ``name [unit]`` and ``name (unit)`` into names and units.

    Parentheses stay where they hold no known unit, and where two columns would have one name.
    """
    plain = [split_unit(each) for each in cells]
    matches = [None if unit else _PARENTHESES.fullmatch(name) for name, unit in plain]
    inner = [
        (match["name"], match["unit"].strip()) if match and is_unit(match["unit"]) else whole
        for match, whole in zip(matches, plain, strict=True)
    ]
    counts = Counter(name for name, _ in inner)
    return [whole if counts[part[0]] > 1 else part for part, whole in zip(inner, plain, strict=True)]


def place_of(columns: Sequence[Column], text: str) -> int | None:
    """Return the index of the first column with this name, otherwise with this header; None where there is none."""
    for known in ([each.name for each in columns], [each.header for each in columns]):
        if text and text in known:
            return known.index(text)
    return None


def indices_of(wanted: Sequence[Channel], columns: Sequence[Column], where: str) -> list[int]:
    """Find the column of each channel, by its name or by the whole header.

    Raises TraceError where one is missing, has another unit, or is the name of two columns.
    """
    headers = {each.header: each for each in columns if each.header}
    names = {each.name for each in columns}
    meant = [_by_header(channel, headers) if channel.name not in names else channel for channel in wanted]
    try:
        indices = require_channels(meant, [Channel(each.name, each.unit) for each in columns], where)
    except SpecError as error:
        raise TraceError(error.what, error.found, error.remedy) from None
    counts = Counter(each.name for each in columns)
    twice = sorted({channel.name for channel in meant if counts[channel.name] > 1})
    if twice:
        raise TraceError(f"recording {where}", f"two columns named {', '.join(twice)}", "rename one of them")
    return indices


def _by_header(channel: Channel, headers: dict[str, Column]) -> Channel:
    known = headers.get(channel.name)
    return channel if known is None else Channel(known.name, channel.unit)


def require_rows(where: str, columns: Sequence[Column], rows: int | None, whose: str) -> None:
    """Check that columns have so many rows, as `whose` has. Raises TraceError that names one with another number."""
    for each in columns:
        if None not in (each.rows, rows) and each.rows != rows:
            found = f"{each.name} has {each.rows} rows, {whose} has {rows}"
            raise TraceError(f"recording {where}", found, "save arrays of one length, or leave one out")


def common_rows(columns: Sequence[Column], own: Sequence[int]) -> int | None:
    """Return the rows of the columns with indices `own`; without any, what most columns have, or the larger number."""
    counts = Counter(columns[i].rows for i in own or range(len(columns)))
    return max((rows for rows in counts if rows is not None), key=lambda rows: (counts[rows], rows), default=None)
