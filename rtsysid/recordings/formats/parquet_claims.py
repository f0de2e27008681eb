"""Check what a Parquet file claims before pyarrow reads it.

pyarrow allocates by the claims of the footer and of the pages, and some contradictions in a footer end the process.

Ref: https://github.com/apache/parquet-format, parquet.thrift
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from rtsysid.guards.limits import checked_growth, checked_size
from rtsysid.recordings.formats.thrift import BINARY, I32, I64, LIST, STRUCT, Compact

_ENDING = 8  # bytes: the length of the footer, and the mark of the format
_PART_BYTES, _ITEM_BYTES = 1024, 64  # what pyarrow takes for a column or a row group, and for an item of another list
_HEADER = 1 << 10  # bytes read for the header of a page; most have less than 50
_Wanted = Mapping[int, tuple[int, Callable[[Compact], Any]]]
_SIZES: _Wanted = {2: (I32, Compact.integer), 3: (I32, Compact.integer)}
_ELEMENT: _Wanted = {4: (BINARY, Compact.text), 5: (I32, Compact.integer)}
_PLACE: _Wanted = {7: (I64, Compact.integer), 9: (I64, Compact.integer), 11: (I64, Compact.integer)}


class Chunk(NamedTuple):
    """Locate the pages of one column in one row group: bytes `start` to `end` of the file."""

    start: int
    end: int


class Footer:
    """Hold the columns and the row groups of a file. Any other file has none, and is left to pyarrow.

    Raises TraceError where the counts exceed the limits, ValueError or LookupError where the footer is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._parts = path, 0
        self._columns: list[str] = []
        self._groups: list[list[Chunk]] = []
        with open(path, "rb") as stream:
            self._size = os.fstat(stream.fileno()).st_size
            stream.seek(max(0, self._size - _ENDING))
            length = int.from_bytes(stream.read(4), "little")
            if length <= self._size - _ENDING:
                stream.seek(self._size - _ENDING - length)
                footer = Compact(stream.read(length))
                _take(footer, {2: (LIST, self._read_schema), 4: (LIST, self._read_groups)})
                self._require_room(footer)

    def check_pages(self, names: Sequence[str]) -> None:
        """Check that the pages of the columns `names` do not unpack to more than the limits, a row group at a time.

        Raises TraceError where they do, ValueError or LookupError where the header of a page is damaged.
        """
        wanted = [column for column, name in enumerate(self._columns) if name in set(names)]
        with open(self._path, "rb") as stream:
            for number, group in enumerate(self._groups, 1):
                chunks = [group[column] for column in wanted]
                claimed = sum(_unpacked_size(stream, chunk) for chunk in chunks)
                held = sum(chunk.end - chunk.start for chunk in chunks)
                checked_growth(f"recording {self._path.name}: row group {number}", claimed, held)

    def _read_schema(self, footer: Compact) -> None:
        elements = self._length(footer)
        checked_size(f"recording {self._path.name}", max(0, elements - 1), "columns")  # the first is the table itself
        waiting: list[int] = []  # children that each open group still has
        top = ""  # the column of the table that a nested one belongs to
        for _ in range(elements):
            element = _take(footer, _ELEMENT)
            waiting[-1:] = [waiting[-1] - 1] if waiting else []
            top = element.get(4, "") if len(waiting) == 1 else top
            if 5 not in element:
                self._columns.append(top)
            else:  # a number of children makes a group, which is no column
                waiting.append(element[5])
            while waiting and waiting[-1] == 0:
                waiting.pop()
        if waiting:
            raise ValueError("a table of another number of columns than it claims")

    def _read_groups(self, footer: Compact) -> None:
        for _ in range(self._length(footer)):
            if 1 not in _take(footer, {1: (LIST, self._read_chunks)}):
                raise ValueError("a row group without columns")

    def _read_chunks(self, footer: Compact) -> None:
        count = self._length(footer)
        if count != len(self._columns):
            raise ValueError(f"a row group of {count} columns in a table of {len(self._columns)}")
        self._groups.append([self._chunk(_take(footer, {3: (STRUCT, _place)})[3]) for _ in range(count)])

    def _chunk(self, place: Mapping[int, int]) -> Chunk:
        """Return where a column begins: with its dictionary where that comes before the data, as pyarrow has it."""
        first, dictionary = place[9], place.get(11, 0)
        start = dictionary if 0 < dictionary < first else first
        if not 0 <= start <= start + place[7] <= self._size:
            raise ValueError("a column outside the file")
        return Chunk(start, start + place[7])

    def _length(self, footer: Compact) -> int:
        kind, count = footer.items()
        if kind != STRUCT:
            raise ValueError("a list of another kind")
        self._parts += count
        self._require_room(footer)
        return count

    def _require_room(self, footer: Compact) -> None:
        claimed = _PART_BYTES * self._parts + _ITEM_BYTES * footer.passed
        checked_growth(f"recording {self._path.name}: its footer", claimed, self._size)


def _place(footer: Compact) -> dict[int, int]:
    return _take(footer, _PLACE)


def _unpacked_size(stream: IO[bytes], chunk: Chunk) -> int:
    """Sum what the pages of one column claim to become."""
    at, claimed = chunk.start, 0
    while at < chunk.end:
        unpacked, stored, header = _page_of(stream, at)
        if min(unpacked, stored) < 0:
            raise ValueError("a page of a negative size")
        claimed, at = claimed + unpacked, at + header + stored
    return claimed


def _page_of(stream: IO[bytes], at: int) -> tuple[int, int, int]:
    """Return the bytes of a page when it is unpacked, as it is stored, and of its header."""
    size = _HEADER
    while True:
        stream.seek(at)
        header = Compact(stream.read(size))
        try:
            found = _take(header, _SIZES)
            return found[2], found[3], header.at
        except IndexError:  # a page may state its smallest and largest value, of any length
            if len(header.data) < size:
                raise
            size *= 16


def _take(reader: Compact, wanted: _Wanted) -> dict[int, Any]:
    """Take fields of a structure by number and type, and skip the others: a table of them, None where skipped."""
    found: dict[int, Any] = {}
    for number, kind in reader.fields():
        if number in found:
            raise ValueError("a field twice")
        known, take = wanted.get(number, (kind, None))
        if known != kind:
            raise ValueError(f"field {number} is of another type")
        if take is None:
            reader.skip(kind)
        found[number] = None if take is None else take(reader)
    return found
