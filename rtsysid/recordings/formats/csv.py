"""Read and write CSV and gzipped CSV, and read its dialects; `rtsysid.recordings.formats.csv_dialect` tells them apart.

Header cells are ``name [unit]`` or ``name (unit)``. Each sample is one row. An empty cell is NaN.

Two parsers give the same numbers: the fast one of pyarrow, where pyarrow is installed, and the plain one of the
standard library. Where the fast parser rejects a block, the plain parser continues at that block. It accepts untidy
text and names the line of an error, so all error messages come from one parser.
"""

from __future__ import annotations

import csv
import gzip
import io
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from rtsysid.errors import TraceError
from rtsysid.guards.limits import checked_size, limit
from rtsysid.recordings.columns import NotANumber, split_header
from rtsysid.recordings.formats import Block, Column, block_of, damaged, reading, rows_per_block
from rtsysid.recordings.formats.csv_cells import (
    EMPTY,
    FALSE,
    TRUE,
    Kind,
    is_number,
    kind_of,
    not_a_number,
    parse_number,
    parse_stamp,
)
from rtsysid.recordings.formats.csv_dialect import BLANKS, MARKS, CsvDialect, sniff
from rtsysid.recordings.formats.csv_text import (
    BLANK,
    OneBlank,
    WholeLines,
    first_decimal,
    is_cut,
    last_line,
    leading_lines,
    lines_of,
    open_bytes,
    skip_rows,
)
from rtsysid.spec import Channel, Doubles

_SAMPLE = 100  # rows from which the kind of a column is detected
_WIDE = 4096  # columns; pyarrow takes 10 kB for each, and its blocks of a megabyte hold few rows of more columns
INDEX = "index"  # name of a first column of numbers without a name, as pandas writes its index


class _Line(NamedTuple):
    number: int  # line number in the file, from 1
    cells: list[str]


class Reader:
    """Open a CSV file with a header line. Its dialect is detected from the first lines.

    ``missing``: that the last row is cut off; of a gzipped file it is known once all rows were read. Raises TraceError
    where the file has no header or is damaged.
    """

    rows = None

    def __init__(self, path: Path) -> None:
        self.path, self.missing = path, ""
        with reading(path):
            dialect = sniff(leading_lines(path))
            if dialect is None:
                raise TraceError(f"recording {path.name}", "no header and no rows", "record it again or leave it out")
            self.dialect = dialect
            checked_size(f"recording {path.name}", len(dialect.names), "columns")
            if all(is_number(name) for name in dialect.names if name.strip()):
                found = f"line {dialect.header} holds numbers, not a header"
                raise TraceError(f"recording {path.name}", found, "add column names")
            if not dialect.decimal:
                with self._body() as body:
                    self.dialect = dialect._replace(decimal=first_decimal(body))
            with self._body() as body:
                sample = list(islice(self._split(body), min(_SAMPLE, rows_per_block(len(dialect.names)))))
        self.kinds, self.columns = _sampled_columns(self.dialect, [line.cells for line in sample])
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
        """Open the file at the first row."""
        with open_bytes(self.path) as stream:
            for _ in range(self.dialect.skipped):
                stream.readline()
            whole = io.BufferedReader(WholeLines(stream, lambda line: self._is_whole(line, is_cut(stream))))
            yield io.BufferedReader(OneBlank(whole)) if self.dialect.delimiter == BLANKS else whole

    def _is_whole(self, line: bytes, cut: bool = False) -> bool:
        """Tell whether a last line without an end has a cell for each column; say so where it has not, or was cut."""
        text, delimiter = line.decode("utf-8", "replace"), self.dialect.delimiter
        cells = len(text.split()) if delimiter == BLANKS else text.count(delimiter) + 1
        if not cut and (not text.strip() or cells >= len(self.dialect.names)):
            return True
        if not self.missing:
            self.missing = "it is cut off: the end of the last row, and what followed, is missing"
            logging.getLogger(__name__).warning("%s: %s", self.path.name, self.missing)
        return False

    def _split(self, body: IO[bytes], passed: int = 0) -> Iterator[_Line]:
        """Split each line into cells, except blank lines and comments; `passed` lines of the body were read before."""
        text = (raw.decode("utf-8", "replace") for raw in lines_of(self.path, body))
        reader = csv.reader(text, delimiter=self.dialect.delimiter, skipinitialspace=True)
        width, filled, most = len(self.dialect.names), 0, limit("columns")
        try:
            for cells in reader:
                if cells and not (len(cells) == 1 and cells[0].isspace()):
                    filled = reader.line_num
                    if len(cells) == width or not cells[0].startswith(MARKS):
                        if len(cells) > most:
                            checked_size(f"recording {self.path.name}", len(cells), "columns")
                        yield _Line(self.dialect.skipped + passed + filled, cells)
                elif reader.line_num - filled > BLANK:
                    raise damaged(self.path, ValueError(f"{BLANK} blank lines in a row"))
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

    def parser(self, index: int) -> Callable[[str], float]:
        """Return what parses the cells of a column; it raises ValueError."""
        if self.kinds[index] == "stamp":
            return parse_stamp
        return parse_number if self.dialect.decimal == "." else partial(parse_number, decimal=self.dialect.decimal)

    def _warn_of_open_end(self) -> None:
        """Log a warning where the last line has no end: plain CSV does not state its length, so it may be cut off."""
        if self.path.name.lower().endswith(".gz"):
            return  # gzip ends with a mark
        line = last_line(self.path)
        if line and self._is_whole(line):
            message = "%s: the last line has no line end; if the recording was cut off, remove that line"
            logging.getLogger(__name__).warning(message, self.path.name)


def is_table(path: Path) -> bool:
    """Tell whether a text file holds numbers under a header of two names or more."""
    try:
        with reading(path):
            dialect = sniff(leading_lines(path))
    except TraceError:
        return False
    return dialect is not None and dialect.certain


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
    kinds = {"bool": pyarrow.bool_(), "stamp": pyarrow.string()}
    types = {names[i]: kinds.get(log.kinds[i], pyarrow.float64()) for i in wanted}
    convert = arrow.ConvertOptions(
        column_types=types,
        include_columns=list(types),
        null_values=sorted(EMPTY),
        true_values=list(TRUE),
        false_values=list(FALSE),
        decimal_point=log.dialect.decimal,
    )
    read = arrow.ReadOptions(column_names=names, encoding="utf8")
    with log._body() as body:
        stream = arrow.open_csv(body, read, arrow.ParseOptions(delimiter=log.dialect.delimiter), convert)
        for batch in stream:
            cells = {i: _from_arrow(batch.column(k), log.kinds[i]) for k, i in enumerate(wanted)}
            yield block_of(cells, exact, values)


def _from_arrow(values: Any, kind: Kind) -> Doubles:
    import pyarrow

    if kind == "stamp":
        return np.array([parse_stamp(cell or "") for cell in values.to_pylist()], np.float64)
    doubles: Doubles = values.cast(pyarrow.float64()).to_numpy(False)
    return doubles


def _plain(log: Reader, exact: Sequence[int], values: Sequence[int], skip: int = 0) -> Iterator[Block]:
    """Stream with the standard library, from row `skip`. Rows before a ragged one are streamed, too."""
    wanted = dict.fromkeys((*exact, *values))
    with log._body() as body:
        lines = log._split(body, skip_rows(body, skip))
        for chunk, error in _chunks(log, lines, rows_per_block(len(log.columns))):
            if chunk:
                cells = {i: _parse(log, chunk, i) for i in wanted}
                _refuse_text(log, chunk, cells)
                yield block_of({i: each for i, each in cells.items() if each is not None}, exact, values)
            if error is not None:
                raise error


def _chunks(log: Reader, lines: Iterator[_Line], size: int) -> Iterator[tuple[list[_Line], TraceError | None]]:
    """Yield lines that are checked, `size` at a time, and at the end the error that ends them."""
    chunk: list[_Line] = []
    error = None
    try:
        for line in lines:
            chunk.append(log.check(line))
            if len(chunk) == size:
                yield chunk, None
                chunk = []
    except TraceError as found:
        error = found
    yield chunk, error


def _parse(log: Reader, lines: Sequence[_Line], index: int) -> Doubles | None:
    """Parse a column; None where a cell is no number."""
    parse = log.parser(index)
    try:
        return np.array([parse(line.cells[index]) for line in lines])
    except ValueError:
        return None


def _refuse_text(log: Reader, lines: Sequence[_Line], cells: dict[int, Doubles | None]) -> None:
    """Raise NotANumber for the columns that could not be parsed: it names the first cell of the first of them."""
    found = {}
    for index in (i for i, each in cells.items() if each is None):
        line = next(each for each in lines if not _parses(log.parser(index), each.cells[index]))
        reason = not_a_number(line.cells[index], log.dialect.decimal)
        if log.kinds[index] == "stamp":
            reason = f"{line.cells[index][:40]!r} is not a time stamp"
        found[index] = line.number, reason
    if found:
        index, (number, reason) = next(iter(found.items()))
        where = f"{log.path.name}, line {number}, column {log.columns[index].name!r}"
        refusal = NotANumber(where, reason, "correct the line, or leave the column out")
        refusal.columns = {i: f"{reason}, line {number}" for i, (number, reason) in found.items()}
        raise refusal


def _parses(parse: Callable[[str], float], cell: str) -> bool:
    try:
        parse(cell)
    except ValueError:
        return False
    return True


def _sampled_columns(dialect: CsvDialect, rows: Sequence[Sequence[str]]) -> tuple[list[Kind], tuple[Column, ...]]:
    """Describe the columns from their header cells and from the first rows."""
    beyond = rows[0][len(dialect.names) :] if rows else []
    # If the rows end with a comma and the header does not, there is one more column, without a name.
    padded = [*dialect.names, *([] if any(cell.strip() for cell in beyond) else beyond)]
    cells = [[row[i] for row in rows if i < len(row)] for i in range(len(padded))]
    kinds = [kind_of(each, dialect.decimal) for each in cells]
    indexed = not padded[0].strip() and kinds[0] == "number" and any(cells[0]) and INDEX not in padded
    padded[0] = INDEX if indexed else padded[0]
    units = (*dialect.units, *[""] * len(padded))
    found = []
    for i, (name, unit) in enumerate(split_header(padded)):
        stamp = "s" if kinds[i] == "stamp" else ""
        numeric = kinds[i] in ("number", "bool") and not (indexed and i == 0)
        note = _text_note(cells[i], dialect.decimal) if kinds[i] == "text" else ""
        header = padded[i].strip()
        found.append(Column(name, stamp or unit or units[i], numeric, header * (header != name), note=note))
    return kinds, tuple(found)


def _text_note(cells: Sequence[str], decimal: str) -> str:
    wrong = next(cell for cell in cells if not is_number(cell, decimal))
    return f"holds text: {not_a_number(wrong, decimal)}"


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
