"""Find out how a text file holds a table: its delimiter, decimal sign, header, units, and where the numbers begin.

Every delimiter is tried on the first lines. The one that puts most numbers under a header is right. The header
is the last line without numbers before the first line of numbers with as many cells; lines before it are a preamble.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from rtsysid.recordings.formats.csv_cells import EMPTY, decimal_of, is_number, is_value
from rtsysid.recordings.unit_words import is_unit

BLANKS = " "  # the delimiter of tables whose cells are separated by runs of blanks
DELIMITERS = (",", ";", "\t", "|", BLANKS)  # in this order where several fit equally well
MARKS = ("#", "%", "//")  # beginnings of a comment line
_DECLARED = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
_KEPT = re.compile(r"%\S")  # a name may begin with %, as in %time, where no blank follows
_WORDS = re.compile(r'"[^"]*"|[^\s\[(]\S*(?:\s+[\[(][^\])]{0,40}[\])])?|\S+')  # a unit in brackets belongs to the name
_SEEN = 256  # cells of a line that are looked at
_QUOTED = 20  # lines of one quoted cell at most
_LAST = 5  # lines at the end of the sample that show what the table looks like
_TABLE = 0.9  # of the lines under a header are numbers: the text is a table for certain
_JUDGED = 50  # lines of numbers that are counted


class TextLine(NamedTuple):
    """Hold a line that is not blank, without its end, and its number in the file, from 1."""

    number: int
    text: str

    @property
    def comment(self) -> bool:
        """Tell whether the line begins like a comment."""
        return self.text.lstrip().startswith(MARKS)


class CsvDialect(NamedTuple):
    """Describe how a text file holds a table.

    ``delimiter``: one character, a blank for runs of blanks. ``decimal``: sign in numbers, "" where no number has one.
    ``header``: number of the line with the names. ``skipped``: lines before the first row. ``units``: cells of the row
    of units, none where there is no such row. ``certain``: nearly all lines have two numbers or more under
    the header.
    """

    delimiter: str
    decimal: str
    header: int
    skipped: int
    names: tuple[str, ...]
    units: tuple[str, ...] = ()
    certain: bool = False


def sniff(lines: Sequence[TextLine]) -> CsvDialect | None:
    """Find the dialect of a table from its first lines; None where there is no line with a name."""
    declared = _DECLARED.fullmatch(lines[0].text.strip(" \r\n")) if lines else None
    rest = _whole_rows(lines[1:] if declared else lines)
    if not rest:
        return None
    tried = [_Attempt(rest, declared[1], declared=True)] if declared else [_Attempt(rest, each) for each in DELIMITERS]
    best = max(tried, key=lambda attempt: attempt.quality)
    return best.dialect() if best.quality[1] or declared else _Attempt(rest, _most_frequent(rest)).dialect()


def _whole_rows(lines: Sequence[TextLine]) -> list[TextLine]:
    """Join lines that are one row, since a quoted cell holds their ends."""
    found: list[TextLine] = []
    end = 0
    for k, line in enumerate(lines):
        if k >= end:
            parts, end = [line.text], k + 1
            if _is_open(parts):
                more = [each.text for each in lines[k + 1 : k + _QUOTED]]
                closed = next((n for n in range(1, len(more) + 1) if not _is_open([line.text, *more[:n]])), 0)
                parts, end = [line.text, *more[:closed]], k + 1 + closed
            found.append(TextLine(line.number, "\n".join(parts)))
    return found


def _is_open(texts: Sequence[str]) -> bool:
    return sum(text.count('"') for text in texts) % 2 == 1


def split_line(text: str, delimiter: str) -> list[str]:
    """Split a line into cells, in which quotes are resolved."""
    if delimiter == BLANKS:
        return [each.strip('"') for each in _WORDS.findall(text)]
    if '"' not in text:
        return text.split(delimiter)
    try:
        return next(csv.reader([text], delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:  # a quoted cell that goes on for ever
        return [text]


class _Row(NamedTuple):
    number: int
    cells: list[str]
    comment: bool

    @property
    def used(self) -> int:
        """Count the cells up to the last one that is filled."""
        return next((k for k in range(len(self.cells), 0, -1) if self.cells[k - 1].strip()), 0)


class _Attempt:
    """Read lines with one delimiter, and judge how well they form a table."""

    def __init__(self, lines: Sequence[TextLine], delimiter: str, declared: bool = False) -> None:
        self._delimiter, self._decimals = delimiter, "." if delimiter == "," else ".,"
        self._alone = declared or delimiter == ","  # without its delimiter, 1,2 would be one number with a comma
        rows = [_Row(line.number, split_line(_bare(line), delimiter), line.comment) for line in lines]
        self._comments = [row for row in rows if row.comment]
        self._rows = [row for row in rows if not row.comment]
        several = min(_LAST, len(self._rows) // 2)
        self._look(self._rows[-max(several, 1) :])
        if several > 1:  # the lines before a short table may be among the last ones: then the very last one decides
            before = self.quality
            self._look(self._rows[-1:])
            if self.quality <= before:
                self._look(self._rows[-several:])

    def _look(self, last: Sequence[_Row]) -> None:
        """Take the width and the places of numbers from the last lines, and find the first line of numbers."""
        widths = Counter(len(row.cells) for row in reversed(last))
        self._width = max(widths, key=lambda width: widths[width], default=0)  # of the last line where several tie
        self._numeric = self._numeric_places([row for row in last if len(row.cells) == self._width])
        self._first = None
        if self._width > 1 or self._alone:
            self._first = next((k for k, row in enumerate(self._rows) if self._fits(row)), None)
        self.quality = self._judge()

    def _numeric_places(self, rows: Sequence[_Row]) -> list[int]:
        """List the cells that are a number, or empty, in half of the rows or more, and a number in one."""
        width = min(self._width, _SEEN)
        found = [[is_value(row.cells[k], self._decimals) for row in rows] for k in range(width)]
        empty = [[row.cells[k].strip() in EMPTY for row in rows] for k in range(width)]
        return [k for k in range(width) if any(found[k]) and 2 * sum(found[k]) + 2 * sum(empty[k]) >= len(rows)]

    def _fits(self, row: _Row) -> bool:
        """Tell whether a line is a row of numbers like the last ones; cells may be empty."""
        if not row.used <= self._width <= len(row.cells):
            return False
        cells = [row.cells[k].strip() for k in self._numeric]
        values = [is_value(cell, self._decimals) for cell in cells]
        return any(values) and all(value or cell in EMPTY for value, cell in zip(values, cells, strict=True))

    def _names(self, row: _Row) -> bool:
        """Tell whether a line can be the header: no number where the rows have one."""
        fits = self._first is not None and row.used <= self._width and self._rows[self._first].used <= len(row.cells)
        cells = [row.cells[k] for k in self._numeric if k < len(row.cells)]
        named = any(cell.strip() not in EMPTY for cell in cells)
        return fits and named and not any(is_value(cell, self._decimals) for cell in cells)

    @property
    def _header(self) -> _Row | None:
        """Find the header: the last line without numbers before the rows, else one with some, else a comment."""
        if self._first is None:
            return None
        before = self._rows[: self._first]
        plain = next((row for row in reversed(before) if self._names(row)), None)
        above = before[-1] if before and self._is_mixed(before[-1]) else None
        noted = (row for row in reversed(self._comments) if row.number < self._rows[self._first or 0].number)
        return plain or above or next((row for row in noted if self._names(row)), None)

    def _is_mixed(self, row: _Row) -> bool:
        fits = self._rows[self._first or 0].used <= len(row.cells) and row.used <= self._width
        return fits and not all(is_number(cell) for cell in row.cells)

    def _judge(self) -> tuple[bool, int, int, bool]:
        """Return whether there is a header, the numbers in the first rows and in one row, and if it is no comment."""
        if self._first is None:
            return False, 0, 0, False
        rows, header = self._rows[self._first :][:_JUDGED], self._header
        plain = header is not None and not header.comment
        wide = len(self._numeric)
        return header is not None, wide * sum(map(self._fits, rows)), wide, plain

    def dialect(self) -> CsvDialect:
        """Describe the table."""
        header, units = self._header_and_units()
        body = (units or header).number
        rows = [row for row in self._rows if row.number > body]
        skipped = rows[0].number - 1 if rows else body  # comments between header and rows are skipped, too
        decimal = "." if self._delimiter == "," else decimal_of([cell for row in rows for cell in row.cells])
        judged = rows[:_JUDGED]
        certain = self.quality[0] and len(self._numeric) > 1 and sum(map(self._fits, judged)) > _TABLE * len(judged)
        names, cells = tuple(header.cells), _unit_cells(units)
        return CsvDialect(self._delimiter, decimal, header.number, skipped, names, cells, certain)

    def _header_and_units(self) -> tuple[_Row, _Row | None]:
        """Return the line of names, and the row of units where there is one."""
        header = self._header or (self._rows[:1] or self._comments[-1:])[0]
        before = [row for row in self._rows if row.number < header.number]
        after = [row for row in self._rows[: self._first or 0] if row.number > header.number]
        if before and _is_units(header) and self._names(before[-1]):
            return before[-1], header
        return header, after[0] if after and _is_units(after[0]) else None


def _unit_cells(units: _Row | None) -> tuple[str, ...]:
    return () if units is None else tuple(cell.strip().strip("[]()").strip() for cell in units.cells)


def _is_units(row: _Row) -> bool:
    filled = [cell.strip() for cell in row.cells if cell.strip()]
    return not all(map(is_number, filled)) and 2 * sum(map(is_unit, filled)) > len(filled)


def _bare(line: TextLine) -> str:
    """Return a line without the mark of a comment; a name that begins with % keeps it."""
    text = line.text.strip(" \r\n") if line.comment else line.text
    mark = next((each for each in MARKS if text.startswith(each)), "")
    return text if not line.comment or _KEPT.match(text) else text.removeprefix(mark).lstrip()


def _most_frequent(lines: Sequence[TextLine]) -> str:
    """Return the delimiter that the first line, without quoted text, has most often."""
    bare = re.sub(r'"[^"]*"', "", lines[0].text)
    return max(",;\t", key=bare.count)
