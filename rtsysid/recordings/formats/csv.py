"""CSV and gzipped CSV: header cells are ``name [unit]``, one row per sample, an empty cell is NaN.

Two readers give the same numbers: pyarrow's where it is installed, the standard library's elsewhere. Where the fast
one refuses a block, the plain one continues from there: it takes what is merely untidy and names the line of what is
wrong, so that there is one source of messages.
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
from typing import IO, NamedTuple

import numpy as np

from rtsysid.errors import TraceError
from rtsysid.recordings.formats import ROWS, Block, Column, block_of, column, damaged, reading
from rtsysid.spec import Channel, Doubles

_EMPTY = ("", "nan", "NaN", "NAN", "-nan", "-NaN", "NA", "N/A", "n/a", "null", "NULL", "None")
_TRUE, _FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")
_WORDS = dict.fromkeys(_EMPTY, float("nan")) | dict.fromkeys(_TRUE, 1.0) | dict.fromkeys(_FALSE, 0.0)
_SAMPLE = 100  # rows that decide which columns are numbers
_LONGEST_HEADER = 1 << 20  # bytes; a longer first line is no header


class _Line(NamedTuple):
    number: int  # in the file, from 1
    cells: list[str]


class CsvLog:
    """A CSV file with a header line; delimiter (comma, semicolon, tab) and encoding are found from that line."""

    rows = None

    def __init__(self, path: Path) -> None:
        self.path = path
        with reading(path):
            with _bytes(path) as stream:
                self._skipped, header = _header(path, stream)
            self._delimiter = _delimiter(header)
            names = next(csv.reader([header], delimiter=self._delimiter, skipinitialspace=True))
            names[0] = names[0].removeprefix("#")  # as numpy.savetxt marks its header
            if all(_is_number(name) for name in names if name.strip()):
                raise TraceError(f"recording {path.name}", "no header: line 1 is numbers", "add a line of column names")
            with self._body() as body:
                sample = list(islice(self._split(body), _SAMPLE))
        beyond = sample[0].cells[len(names) :] if sample else []
        # A trailing comma in the rows alone is one more column, without a name.
        padded = names if any(cell.strip() for cell in beyond) else [*names, *beyond]
        kinds = [_kind([line.cells[i] for line in sample if i < len(line.cells)]) for i in range(len(padded))]
        self.columns: tuple[Column, ...] = tuple(
            column(name, kind != "text") for name, kind in zip(padded, kinds, strict=True)
        )
        self._bools = {i for i, kind in enumerate(kinds) if kind == "bool"}
        self._warn_of_open_end()

    def blocks(self, exact: Sequence[int], values: Sequence[int]) -> Iterator[Block]:
        """Stream these columns; TraceError names the line of a ragged row or of text in a column of numbers."""
        done = 0
        with reading(self.path):
            try:
                for block in _fast(self, exact, values):
                    yield block
                    done += len(block.values)
            except (ImportError, ValueError):  # no pyarrow here, or a cell that it refuses
                yield from _plain(self, exact, values, done)

    @contextmanager
    def _body(self) -> Iterator[IO[bytes]]:
        """The bytes behind the header."""
        with _bytes(self.path) as stream:
            for _ in range(self._skipped):
                stream.readline()
            yield stream

    def _split(self, body: IO[bytes]) -> Iterator[_Line]:
        """Cells of each line that is not blank."""
        text = (raw.decode("utf-8", "replace") for raw in body)
        reader = csv.reader(text, delimiter=self._delimiter, skipinitialspace=True)
        try:
            for cells in reader:
                if cells and not (len(cells) == 1 and cells[0].isspace()):
                    yield _Line(self._skipped + reader.line_num, cells)
        except csv.Error as error:  # a field without end: a quote that nothing closes
            raise damaged(self.path, error) from error

    def check(self, line: _Line) -> None:
        """TraceError unless there is a cell per column; one too many or missing must be empty or without a name."""
        width, found = len(self.columns), len(line.cells)
        if any(cell.strip() for cell in line.cells[width:]) or any(each.name for each in self.columns[found:]):
            raise TraceError(
                f"{self.path.name}, line {line.number}",
                f"{found} cells under {width} column names",
                "the file is truncated or damaged there: mend or remove the line",
            )

    def _warn_of_open_end(self) -> None:
        """A plain CSV does not state its length: say so where its last line may have been cut."""
        if self.path.name.lower().endswith(".gz"):
            return  # gzip carries its length and a checksum
        with self.path.open("rb") as stream:
            stream.seek(-1, io.SEEK_END)
            if stream.read(1) not in b"\r\n":
                message = "%s: the last line does not end; if the recording was cut off, remove that line"
                logging.getLogger(__name__).warning(message, self.path.name)


def write(path: Path, exact: Sequence[Channel], channels: Sequence[Channel], blocks: Iterable[Block]) -> None:
    """Write blocks as CSV: time as its shortest exact text, values with 9 significant digits, NaN as an empty cell."""
    line = ",".join(["%r"] * len(exact) + ["%.9g"] * len(channels))
    with _text_writer(path) as stream:
        csv.writer(stream, lineterminator="\n").writerow([str(channel) for channel in (*exact, *channels)])
        for block in blocks:
            columns = (*block.exact.T.tolist(), *block.values.T.tolist())
            text = "".join([line % row + "\n" for row in zip(*columns, strict=True)])
            stream.write(text.replace("nan", ""))  # no number has these letters


def _fast(log: CsvLog, exact: Sequence[int], values: Sequence[int]) -> Iterator[Block]:
    """Stream through pyarrow; ImportError where it is not installed, ValueError at the first block that it refuses."""
    import pyarrow
    from pyarrow import csv as arrow

    names = [f"column {i}" for i in range(len(log.columns))]
    wanted = dict.fromkeys((*exact, *values))
    # All as float64 even where float32 is kept: decimal text would else be rounded once here and twice elsewhere.
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


def _plain(log: CsvLog, exact: Sequence[int], values: Sequence[int], skip: int = 0) -> Iterator[Block]:
    """Stream through the standard library, from row `skip` on."""
    wanted = dict.fromkeys((*exact, *values))
    with log._body() as body:
        lines = islice(log._split(body), skip, None)
        while chunk := list(islice(lines, ROWS)):
            for line in chunk:
                log.check(line)
            yield block_of({i: _parse(log, chunk, i) for i in wanted}, exact, values)


def _parse(log: CsvLog, lines: Sequence[_Line], index: int) -> Doubles:
    try:
        return np.array([_number(line.cells[index]) for line in lines])
    except ValueError:
        wrong = next(line for line in lines if not _is_number(line.cells[index]))
        raise TraceError(
            f"{log.path.name}, line {wrong.number}, column {log.columns[index].name!r}",
            f"{wrong.cells[index][:40]!r} is not a number",
            "mend the line, or leave the column out",
        ) from None


def _number(cell: str) -> float:
    text = cell.strip()
    if text in _WORDS:
        return _WORDS[text]
    if "_" in text or not text.isascii():  # Python's float takes 1_000 and digits of other scripts
        raise ValueError(text)
    return float(text)


def _is_number(cell: str) -> bool:
    try:
        _number(cell)
    except ValueError:
        return False
    return True


def _kind(cells: Sequence[str]) -> str:
    filled = [cell.strip() for cell in cells if cell.strip() not in _EMPTY]
    if filled and all(cell in (*_TRUE, *_FALSE) for cell in filled):
        return "bool"
    return "number" if all(_is_number(cell) for cell in filled) else "text"


def _bytes(path: Path) -> IO[bytes]:
    if path.name.lower().endswith(".gz"):
        return gzip.GzipFile(path, "rb")  # type: ignore[return-value]
    return path.open("rb")


def _header(path: Path, stream: IO[bytes]) -> tuple[int, str]:
    """Lines up to and including the header, and its text."""
    lines = 0
    while raw := stream.readline(_LONGEST_HEADER):
        lines += 1
        if b"\0" in raw or b"\r" in raw.rstrip(b"\r\n") or len(raw) == _LONGEST_HEADER:
            found = f"line {lines} is not text in UTF-8 with LF or CRLF at its end"
            raise TraceError(f"recording {path.name}", found, "save it as CSV in UTF-8")
        try:
            text = raw.decode("utf-8-sig").strip()
        except UnicodeDecodeError:
            text = raw.decode("latin-1").strip()  # units such as degrees, from spreadsheets
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
        # No name and no time of day inside, so that equal recordings are equal files.
        with gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed, io.TextIOWrapper(packed, "utf-8", newline="") as text:
            yield text
