"""Read and write CSV and gzipped CSV.

Header cells are ``name [unit]``. Each sample is one row. An empty cell is NaN.

Two parsers give the same numbers: the fast one of pyarrow, where pyarrow is installed, and the plain one of the
standard library. Where the fast parser rejects a block, the plain parser continues at that block. It accepts untidy
text and names the line of an error, so all error messages come from one parser.
"""

from __future__ import annotations

import csv
import gzip
import io
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from rtsysid.errors import TraceError
from rtsysid.guards.limits import checked_growth, checked_size, limit
from rtsysid.recordings.formats import Block, Column, block_of, column, damaged, reading, rows_per_block
from rtsysid.spec import Channel, Doubles

_EMPTY = ("", "nan", "NaN", "NAN", "-nan", "-NaN", "NA", "N/A", "n/a", "null", "NULL", "None")
_TRUE, _FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")
_WORDS = dict.fromkeys(_EMPTY, float("nan")) | dict.fromkeys(_TRUE, 1.0) | dict.fromkeys(_FALSE, 0.0)
_SAMPLE = 100  # rows from which the kind of a column is detected
_BLANK = 100_000  # blank lines in a row: more of them are padding or damage
_PART = 1 << 20  # bytes that are unpacked at a time
_WIDE = 4096  # columns; pyarrow takes 10 kB for each, and its blocks of a megabyte hold few rows of more columns


class _Line(NamedTuple):
    number: int  # line number in the file, from 1
    cells: list[str]


class Reader:
    """Open a CSV file with a header line. The delimiter (comma, semicolon, tab) and encoding are detected from it.

    Raises TraceError where the file has no header or is damaged.
    """

    rows = None

    def __init__(self, path: Path) -> None:
        self.path = path
        with reading(path):
            with _bytes(path) as stream:
                self._skipped, header = _read_csv_header(path, stream)
            self._delimiter = _delimiter(header)
            names = next(csv.reader([header], delimiter=self._delimiter, skipinitialspace=True))
            checked_size(f"recording {path.name}", len(names), "columns")
            names[0] = names[0].removeprefix("#")  # as numpy.savetxt marks its header
            if all(_is_csv_number(name) for name in names if name.strip()):
                raise TraceError(f"recording {path.name}", "line 1 holds numbers, not a header", "add column names")
            with self._body() as body:
                sample = list(islice(self._split(body), min(_SAMPLE, rows_per_block(len(names)))))
        beyond = sample[0].cells[len(names) :] if sample else []
        # If the rows end with a comma and the header does not, there is one more column, without a name.
        padded = names if any(cell.strip() for cell in beyond) else [*names, *beyond]
        kinds = [_kind([line.cells[i] for line in sample if i < len(line.cells)]) for i in range(len(padded))]
        self.columns: tuple[Column, ...] = tuple(
            column(name, kind != "text") for name, kind in zip(padded, kinds, strict=True)
        )
        self._bools = {i for i, kind in enumerate(kinds) if kind == "bool"}
        self._warn_of_open_end()

    def blocks(self, exact: Sequence[int], values: Sequence[int]) -> Iterator[Block]:
        """Stream the columns with these indices.

        Raises TraceError, with the line number, for a ragged row and for text in a column of numbers.
        """
        done = 0
        with reading(self.path):
            try:
                for block in _fast(self, exact, values):
                    yield block
                    done += len(block.values)
            except (ImportError, ValueError):  # pyarrow is not installed, or it rejects a cell
                yield from _plain(self, exact, values, done)

    @contextmanager
    def _body(self) -> Iterator[IO[bytes]]:
        """Open the file after the header."""
        with _bytes(self.path) as stream:
            for _ in range(self._skipped):
                stream.readline()
            yield stream

    def _split(self, body: IO[bytes]) -> Iterator[_Line]:
        """Split each line that is not blank into cells."""
        text = (raw.decode("utf-8", "replace") for raw in _lines(self.path, body))
        reader = csv.reader(text, delimiter=self._delimiter, skipinitialspace=True)
        filled = 0
        try:
            for cells in reader:
                if cells and not (len(cells) == 1 and cells[0].isspace()):
                    checked_size(f"recording {self.path.name}", len(cells), "columns")
                    yield _Line(self._skipped + reader.line_num, cells)
                    filled = reader.line_num
                elif reader.line_num - filled > _BLANK:
                    raise damaged(self.path, ValueError(f"{_BLANK} blank lines in a row"))
        except csv.Error as error:  # a quote that is never closed
            raise damaged(self.path, error) from error

    def check(self, line: _Line) -> _Line:
        """Return a line with one cell per column. Surplus cells must be empty, missing ones without a column name.

        Raises TraceError for a ragged line.
        """
        width, count = len(self.columns), len(line.cells)
        if any(cell.strip() for cell in line.cells[width:]) or any(each.name for each in self.columns[count:]):
            raise TraceError(
                f"{self.path.name}, line {line.number}",
                f"{count} cells under {width} column names",
                "the file is truncated or damaged there: correct or remove the line",
            )
        return line if count <= width else line._replace(cells=line.cells[:width])

    def _warn_of_open_end(self) -> None:
        """Log a warning where the last line has no end: plain CSV does not state its length, so it may be cut off."""
        if self.path.name.lower().endswith(".gz"):
            return  # gzip carries its length and a checksum
        with self.path.open("rb") as stream:
            stream.seek(-1, io.SEEK_END)
            if stream.read(1) not in b"\r\n":
                message = "%s: the last line has no line end; if the recording was cut off, remove that line"
                logging.getLogger(__name__).warning(message, self.path.name)


def write_blocks(path: Path, exact: Sequence[Channel], channels: Sequence[Channel], blocks: Iterable[Block]) -> None:
    """Write blocks as CSV: times as the shortest exact text, values to 9 significant digits, NaN as an empty cell."""
    line = ",".join(["%r"] * len(exact) + ["%.9g"] * len(channels))
    with _text_writer(path) as stream:
        csv.writer(stream, lineterminator="\n").writerow([str(channel) for channel in (*exact, *channels)])
        for block in blocks:
            columns = (*block.exact.T.tolist(), *block.values.T.tolist())
            text = "".join([line % row + "\n" for row in zip(*columns, strict=True)])
            stream.write(text.replace("nan", ""))  # no number contains these letters


def _fast(log: Reader, exact: Sequence[int], values: Sequence[int]) -> Iterator[Block]:
    """Stream with pyarrow.

    Raises ImportError where it is missing, ValueError at the first block that it rejects, and for a very wide table.
    """
    if len(log.columns) > _WIDE:
        raise ValueError(f"{len(log.columns)} columns")
    import pyarrow
    from pyarrow import csv as arrow

    names = [f"column {i}" for i in range(len(log.columns))]
    wanted = dict.fromkeys((*exact, *values))
    # Parse as float64 also where float32 is kept: both parsers then round a decimal text in the same two steps.
    types = {names[i]: pyarrow.bool_() if i in log._bools else pyarrow.float64() for i in wanted}
    convert = arrow.ConvertOptions(
        column_types=types,
        include_columns=list(types),
        null_values=list(_EMPTY),
        true_values=list(_TRUE),
        false_values=list(_FALSE),
    )
    read = arrow.ReadOptions(column_names=names, encoding="utf8")
    with log._body() as body:
        stream = arrow.open_csv(body, read, arrow.ParseOptions(delimiter=log._delimiter), convert)
        for batch in stream:
            cells = {i: batch.column(k).cast(pyarrow.float64()).to_numpy(False) for k, i in enumerate(wanted)}
            yield block_of(cells, exact, values)


def _plain(log: Reader, exact: Sequence[int], values: Sequence[int], skip: int = 0) -> Iterator[Block]:
    """Stream with the standard library, from row `skip`."""
    wanted = dict.fromkeys((*exact, *values))
    with log._body() as body:
        lines = map(log.check, islice(log._split(body), skip, None))
        while chunk := list(islice(lines, rows_per_block(len(log.columns)))):
            yield block_of({i: _parse(log, chunk, i) for i in wanted}, exact, values)


def _parse(log: Reader, lines: Sequence[_Line], index: int) -> Doubles:
    try:
        return np.array([_parse_number(line.cells[index]) for line in lines])
    except ValueError:
        wrong = next(line for line in lines if not _is_csv_number(line.cells[index]))
        raise TraceError(
            f"{log.path.name}, line {wrong.number}, column {log.columns[index].name!r}",
            f"{wrong.cells[index][:40]!r} is not a number",
            "correct the line, or leave the column out",
        ) from None


def _parse_number(cell: str) -> float:
    text = cell.strip()
    if text in _WORDS:
        return _WORDS[text]
    if "_" in text or not text.isascii():  # Python's float accepts 1_000 and digits of other scripts
        raise ValueError(text)
    return float(text)


def _is_csv_number(cell: str) -> bool:
    try:
        _parse_number(cell)
    except ValueError:
        return False
    return True


def _kind(cells: Sequence[str]) -> str:
    filled = [cell.strip() for cell in cells if cell.strip() not in _EMPTY]
    if filled and all(cell in (*_TRUE, *_FALSE) for cell in filled):
        return "bool"
    return "number" if all(_is_csv_number(cell) for cell in filled) else "text"


def _bytes(path: Path) -> IO[bytes]:
    if path.name.lower().endswith(".gz"):
        return io.BufferedReader(_Unpacked(path), _PART)
    return path.open("rb")


class _Unpacked(io.RawIOBase):
    """Unpack a gzip file. Raises TraceError where the text exceeds the limit for a file of its size."""

    def __init__(self, path: Path) -> None:
        self._path, self._held, self._text = path, path.stat().st_size, 0
        self._stream = gzip.GzipFile(path, "rb")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._stream.readinto(buffer)
        self._text += count
        checked_growth(f"recording {self._path.name}", self._text, self._held, "text_growth")
        return count

    def close(self) -> None:
        self._stream.close()
        super().close()


def _lines(path: Path, stream: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines that are left. Raises TraceError for a line above the limit."""
    most = limit("line_bytes")
    while raw := stream.readline(most + 1):
        checked_size(f"recording {path.name}: a line", len(raw) + _rest(raw, stream, most), "line_bytes")
        yield raw


def _rest(raw: bytes, stream: IO[bytes], most: int) -> int:
    """Count the bytes of a line that are not in `raw`, its first `most` + 1 bytes or all of it."""
    size = 0
    while len(raw) > most and not raw.endswith(b"\n"):
        raw = stream.readline(most + 1)
        size += len(raw)
    return size


def text_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a text file, plain or gzipped, each with its end.

    Raises TraceError where a line, or the text for a file of its size, exceeds the limits.
    """
    with _bytes(path) as stream:
        for raw in _lines(path, stream):
            yield raw.decode()  # a UnicodeDecodeError is a ValueError


def _read_csv_header(path: Path, stream: IO[bytes]) -> tuple[int, str]:
    """Read up to the header line; return the number of lines read, and the header's text."""
    for lines, raw in enumerate(islice(_lines(path, stream), _BLANK), 1):
        if b"\0" in raw or b"\r" in raw.rstrip(b"\r\n"):
            reason = f"line {lines} is not UTF-8 text that ends with LF or CRLF"
            raise TraceError(f"recording {path.name}", reason, "save it as CSV in UTF-8")
        try:
            text = raw.decode("utf-8-sig").strip()
        except UnicodeDecodeError:
            text = raw.decode("latin-1").strip()  # spreadsheets often save the degree sign in Latin-1
        if text:
            return lines, text
    raise TraceError(f"recording {path.name}", "no header and no rows", "record it again or leave it out")


def _delimiter(header: str) -> str:
    bare = re.sub(r'"[^"]*"', "", header)
    return max(",;\t", key=bare.count)


@contextmanager
def _text_writer(path: Path) -> Iterator[IO[str]]:
    with path.open("wb") as raw:
        if not path.name.lower().endswith(".gz"):
            with io.TextIOWrapper(raw, "utf-8", newline="") as text:
                yield text
            return
        # The gzip header holds no name and no time, so that equal recordings give equal files.
        with gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed, io.TextIOWrapper(packed, "utf-8", newline="") as text:
            yield text
