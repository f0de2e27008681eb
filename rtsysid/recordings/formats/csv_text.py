"""Read text files line by line, plain or gzipped, within the limits for lines and for unpacked text."""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from rtsysid.errors import TraceError
from rtsysid.guards.limits import checked_growth, checked_size, limit
from rtsysid.recordings.formats.csv_dialect import DELIMITERS, TextLine

BLANK = 100_000  # blank lines in a row: more of them are padding or damage
_PART = 1 << 20  # bytes that are unpacked at a time
_TO_BLANK = bytes.maketrans(b"\t\r", b"  ")
_LINES, _FEWEST, _BYTES = 256, 4, 1 << 20  # lines that show the dialect: at most, at least, and bytes of them
_FRACTION = re.compile(rb"\d([.,])\d")


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file, unpacked where its name ends with .gz; reading raises TraceError beyond the limits."""
    if path.name.lower().endswith(".gz"):
        return io.BufferedReader(_Unpacked(path), _PART)
    return path.open("rb")


class _Unpacked(io.RawIOBase):
    """Unpack a gzip file. Raises TraceError where the text exceeds the limit for a file of its size."""

    def __init__(self, path: Path) -> None:
        self._path, self._held, self._text = path, path.stat().st_size, 0
        self.cut = False
        self._stream = gzip.GzipFile(path, "rb")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._part(len(buffer))
        buffer[: len(part)] = part
        self._text += len(part)
        checked_growth(f"recording {self._path.name}", self._text, self._held, "text_growth")
        return len(part)

    def _part(self, most: int) -> bytes:
        try:
            return self._stream.read1(most)
        except EOFError:
            if not self._text:
                raise
            self.cut = True  # what is before it is whole
            return b""

    def close(self) -> None:
        self._stream.close()
        super().close()


class _Edited(io.RawIOBase):
    """Show a text in another form, part by part: a subclass says what comes next."""

    def __init__(self, stream: IO[bytes], held: bytes = b"") -> None:
        self._stream, self._held = stream, held
        self._text, self._ended = memoryview(b""), False

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer; return the number of bytes, 0 at the end."""
        while not self._text and not self._ended:
            self._text = memoryview(self._next())
        count = min(len(buffer), len(self._text))
        buffer[:count], self._text = self._text[:count], self._text[count:]
        return count

    def _next(self) -> bytes:
        """Return the next bytes to show, and set `_ended` at the end of the stream."""
        raise NotImplementedError


class OneBlank(_Edited):
    """Show a text with one blank in place of each run of blanks and tabs, and none at the ends of a line."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(stream, held=b"\n")
        self._first = True

    def _next(self) -> bytes:
        """Return the next part. Its last character is held back: the blank or the line may go on after it."""
        part = self._stream.read(_PART)
        self._ended = not part
        text = (self._held + part).translate(_TO_BLANK)
        while b"  " in text:  # a pattern takes ten times as long
            text = text.replace(b"  ", b" ")
        text = text.replace(b" \n", b"\n").replace(b"\n ", b"\n")
        if self._first and len(text) > 1:
            text, self._first = text[1:], False  # without the line end that was put before the first line
        self._held = text[-1:]
        return text if self._ended else text[:-1]


def is_cut(stream: IO[bytes]) -> bool:
    """Tell whether a gzip file that was read up to its end has lost its end."""
    return bool(getattr(getattr(stream, "raw", None), "cut", False))


class WholeLines(_Edited):
    """Show a text without a last line that is cut: it has no end, and `is_whole` says that something is missing."""

    def __init__(self, stream: IO[bytes], is_whole: Callable[[bytes], bool]) -> None:
        super().__init__(stream)
        self._is_whole = is_whole

    def _next(self) -> bytes:
        """Return the next lines; the part of one is held back until it has an end."""
        part = self._stream.read(_PART)
        self._ended = not part
        if self._ended:
            return self._held if self._is_whole(self._held) else b""
        text = self._held + part
        end = text.rfind(b"\n") + 1 if len(text) <= limit("line_bytes") + _PART else len(text)
        self._held = text[end:]
        return text[:end]


def last_line(path: Path) -> bytes:
    """Return the last line of a plain file without its end, b"" where it has one or is longer than a part."""
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - _PART))
        text = stream.read()
    line = text[max(text.rfind(b"\n"), text.rfind(b"\r")) + 1 :]
    return line if len(line) < _PART else b""


def lines_of(path: Path, stream: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines that are left. Raises TraceError for a line above the limit."""
    most = limit("line_bytes")
    while raw := stream.readline(most + 1):
        if len(raw) > most:
            checked_size(f"recording {path.name}: a line", len(raw) + _rest(raw, stream, most), "line_bytes")
        yield raw


def _rest(raw: bytes, stream: IO[bytes], most: int) -> int:
    """Count the bytes of a line that are not in `raw`, its first `most` + 1 bytes or all of it."""
    size = 0
    while len(raw) > most and not raw.endswith(b"\n"):
        raw = stream.readline(most + 1)
        size += len(raw)
    return size


def skip_rows(stream: IO[bytes], rows: int) -> int:
    """Read past rows that a parser has accepted; return their number of lines. A quoted cell may hold line ends."""
    lines, quotes = 0, 0
    while rows > 0 and (raw := stream.readline()):
        lines, quotes = lines + 1, quotes + raw.count(b'"')
        rows -= quotes % 2 == 0 and not raw.isspace()
    return lines


def text_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a text file, plain or gzipped, each with its end.

    Raises TraceError where a line, or the text for a file of its size, exceeds the limits, EOFError where a gzip file
    is cut off.
    """
    with open_bytes(path) as stream:
        for raw in lines_of(path, stream):
            yield raw.decode()  # a UnicodeDecodeError is a ValueError
        if is_cut(stream):
            raise EOFError("it ended before its end was reached")


def leading_lines(path: Path) -> list[TextLine]:
    """Read the first lines that are not blank, as many as show the dialect of a table.

    Raises TraceError where the file is no text, and where a line or its cells exceed the limits.
    """
    found: list[TextLine] = []
    size = rows = last = 0
    with open_bytes(path) as stream:
        for number, raw in enumerate(lines_of(path, stream), 1):
            text = _as_text(path, number, raw, not found)
            if text.strip():
                _refuse_page(path, text if not found else "")
                found.append(TextLine(number, text))
                size, rows, last = size + len(raw), rows + (not found[-1].comment), number
                _check_cells(path, text)
            if number - last > BLANK or rows >= _LINES or (rows >= _FEWEST and size > _BYTES) or len(found) > BLANK:
                break
    return found


def _refuse_page(path: Path, first: str) -> None:
    """Raise TraceError where the first line is that of a web page, which a download often is in place of the file."""
    if first.lstrip().lower().startswith(("<!doctype", "<html", "<?xml")):
        raise TraceError(
            f"recording {path.name}", "it is a web page or XML, no table", "download the file itself again"
        )


def _as_text(path: Path, number: int, raw: bytes, strict: bool) -> str:
    if strict and (b"\0" in raw or b"\r" in raw.rstrip(b"\r\n")):
        reason = f"line {number} is not UTF-8 text that ends with LF or CRLF"
        raise TraceError(f"recording {path.name}", reason, "save it as CSV in UTF-8")
    try:
        return raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        return raw.decode("latin-1").rstrip("\r\n")  # spreadsheets often save the degree sign in Latin-1


def _check_cells(path: Path, text: str) -> None:
    """Check that a line can be split by any delimiter. Raises TraceError for more cells than columns may be."""
    most = limit("columns")
    for delimiter in DELIMITERS:
        count = text.count(delimiter)
        if count > most and delimiter.isspace():
            count = len(re.sub(r"\s+", " ", text).strip()) - len(re.sub(r"\s+", "", text))
        if count > most:
            checked_size(f"recording {path.name}", count + 1, "columns")


def first_decimal(stream: IO[bytes]) -> str:
    """Return the sign between the first two digits that have a point or a comma between them; a point without any."""
    before = b""
    while part := stream.read(_PART):
        match = _FRACTION.search(before + part)
        if match:
            return match[1].decode()
        before = (before + part)[-2:]
    return "."
