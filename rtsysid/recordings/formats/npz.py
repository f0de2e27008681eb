"""Read and write npz: `t` [n], `values` [n, C], `episode_starts` [E], and `channels`, a JSON list of name and unit.

An npz of plain named arrays, one per column, can be read too. Arrays are streamed from the zip file, never unpickled.
"""

from __future__ import annotations

import io
import math
import struct
import tempfile
import warnings
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import msgspec
import numpy as np
from numpy.lib import format as npy

from rtsysid.errors import TraceError
from rtsysid.guards.limits import checked_growth, checked_size
from rtsysid.guards.zips import check_zip_directory
from rtsysid.recordings.columns import require_rows
from rtsysid.recordings.formats import EPISODE, Block, Column, column, damaged, reading, rows_per_block
from rtsysid.spec import Channel

_OWN = ("episode_starts", "channels")  # arrays that say what the others are
_OPEN = 256  # arrays that are open at a time
_HEADER = 10_000  # bytes of an array's header: those of NumPy's own are below 200


class _Array(NamedTuple):
    """Locate a column: the name of its array in the zip file, and its column in that array."""

    name: str
    place: int


class _Header(NamedTuple):
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]

    @property
    def width(self) -> int:
        return self.shape[1] if len(self.shape) == 2 else 1

    @property
    def size(self) -> int:
        """Return the bytes of the array, in Python's integers, which do not overflow."""
        return math.prod(self.shape) * self.dtype.itemsize


class _Name(msgspec.Struct):
    name: str
    unit: str = ""


class Reader:
    """Open a zip file of arrays, compressed or not. Raises TraceError where it is damaged.

    Arrays of any length are columns: the time column says which of them are one recording; see `Column.rows`.
    ``left_out``: arrays that are no columns, in words.
    """

    rows = None

    def __init__(self, path: Path) -> None:
        self.path = path
        with _archive(path) as archive:
            members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            checked_size(f"recording {path.name}: arrays", len(members), "columns")
            self._headers = {each.filename.removesuffix(".npy"): _peek(path, archive, each) for each in members}
            self._starts = self._whole(archive, "episode_starts")
            named = self._whole(archive, "channels")
        if self._starts is not None and self._starts.ndim != 1:
            found = f"episode_starts of shape {self._starts.shape}"
            raise TraceError(f"recording {path.name}", found, "write one row number for each episode")
        self._arrays: list[_Array] = []
        columns: list[Column] = []
        for name, header in self._headers.items():
            if self._is_data(name):
                checked_size(f"recording {path.name}", len(columns) + header.width, "columns")
                self._arrays += [_Array(name, i) for i in range(header.width)]
                own = self._columns(name, header, header.width, named)
                columns += [each._replace(rows=header.shape[0], note=_dtype_note(header)) for each in own]
        if self._starts is not None and self._starts.size > 1:
            columns.append(Column(EPISODE, "", True))
        self.columns: tuple[Column, ...] = tuple(columns)
        others = [name for name in self._headers if name not in _OWN and not self._is_data(name)]
        self.left_out = tuple(f"{name}: an array of shape {self._headers[name].shape}" for name in others)

    def blocks(self, exact: Sequence[int], values: Sequence[int]) -> Iterator[Block]:
        """Stream the columns with these indices. Only their arrays are opened.

        Raises TraceError for a column that holds no numbers, for columns of different lengths, and where the file is
        damaged.
        """
        wanted = dict.fromkeys((*exact, *values))
        stored = {self._arrays[i].name for i in wanted if i < len(self._arrays)}
        total = max((self._headers[name].shape[0] for name in stored), default=0)
        require_rows(self.path.name, [self.columns[i] for i in wanted], total, "another one")
        for i in wanted:
            if not self.columns[i].numeric:
                raise TraceError(f"{self.path.name}, column {self.columns[i].name!r}", "no numbers", "leave it out")
        size = rows_per_block(sum(self._headers[name].width for name in stored))
        if len(stored) > _OPEN:
            size = max(1, total)  # one array after the other, each as a whole
        with _archive(self.path) as archive:
            opened = {name: self._stream(archive, name, size) for name in stored}
            for start in range(0, total, size):
                rows = min(size, total - start)
                block = Block(np.empty((rows, len(exact))), np.empty((rows, len(values)), np.float32))
                columns = (*zip(exact, block.exact.T, strict=True), *zip(values, block.values.T, strict=True))
                self._fill(columns, start, opened)
                yield block

    def _fill(self, targets: Sequence[tuple[int, Any]], start: int, opened: Mapping[str, Generator[Any]]) -> None:
        """Fill columns of a block whose first row is row `start`. Each array is read once, and let go at its end."""
        by_array: dict[str, list[tuple[int, Any]]] = {}
        for i, out in targets:
            if i < len(self._arrays):
                by_array.setdefault(self._arrays[i].name, []).append((self._arrays[i].place, out))
            else:
                out[:] = np.searchsorted(self._starts, np.arange(start, start + len(out)), side="right")
        for name, columns in by_array.items():
            chunk = next(opened[name])
            with np.errstate(over="ignore"):
                for place, out in columns:
                    out[:] = chunk[:, place]
            if start + len(chunk) == self._headers[name].shape[0]:
                opened[name].close()

    def _is_data(self, name: str) -> bool:
        shape = self._headers[name].shape
        return name not in _OWN and len(shape) in (1, 2)

    def _columns(self, name: str, header: _Header, width: int, named: Any) -> list[Column]:
        numeric = header.dtype.kind in "biuf"
        if named is not None and name == "values":
            try:
                names = msgspec.json.decode(str(named), type=list[_Name])
            except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
                raise damaged(self.path, error) from error
            if len(names) != width:
                counts = f"{len(names)} channel names for {width} columns of values"
                raise TraceError(f"recording {self.path.name}", counts, "write it again")
            return [Column(each.name, each.unit, numeric) for each in names]
        if named is not None and name == "t":
            return [Column("t", "s", numeric)]
        if len(header.shape) == 1:
            return [column(name, numeric)]
        return [Column(f"{name}[{i}]", "", numeric) for i in range(width)]

    def _whole(self, archive: ZipFile, name: str) -> Any:
        """Read a small array, or return None where it is missing."""
        if name not in self._headers or self._headers[name].dtype.kind not in "iuU":
            return None
        header = self._headers[name]
        checked_size(f"recording {self.path.name}: array {name}", header.size, "line_bytes")
        return _whole_array(archive, name, header)

    def _stream(self, archive: ZipFile, name: str, size: int) -> Generator[Any]:
        """Yield the rows of an array, `size` at a time. It is opened when the first ones are asked for."""
        header, info = self._headers[name], archive.getinfo(name + ".npy")
        checked_growth(f"recording {self.path.name}: array {name}", header.size, info.compress_size)
        with archive.open(info) as member:
            _read_header(member)
            if header.fortran and len(header.shape) == 2:  # rows are not contiguous: read the whole array
                whole = np.frombuffer(_exactly(member, header.size), header.dtype).reshape(header.shape, order="F")
                yield from (whole[start : start + size] for start in range(0, len(whole), size))
            else:
                yield from _array_rows(member, header, size)


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray[Any, Any]]:
    """Read whole arrays [..] of numbers or text by name.

    Raises TraceError where the file is damaged, lacks one, and where they exceed the limits for a file of its size.
    """
    found, held = {}, 0
    with _archive(path) as archive:
        for name in names:
            if f"{name}.npy" not in archive.namelist():
                raise TraceError(f"recording {path.name}", f"it has no array {name}", "name another file")
            header = _peek(path, archive, archive.getinfo(f"{name}.npy"))
            if header.dtype.kind not in "biufU":
                raise ValueError(f"{name} holds neither numbers nor text")
            held += header.size
            checked_growth(f"recording {path.name}", held, path.stat().st_size)
            found[name] = _whole_array(archive, name, header)
    return found


def write_blocks(path: Path, exact: Sequence[Channel], channels: Sequence[Channel], blocks: Iterable[Block]) -> None:
    """Write blocks as npz. A zip file takes one array after the other, so the blocks pass through temporary files."""
    starts: list[int] = []
    rows, last = 0, float("nan")
    with tempfile.TemporaryFile(dir=path.parent) as times, tempfile.TemporaryFile(dir=path.parent) as values:
        for block in blocks:
            times.write(np.ascontiguousarray(block.exact[:, 0]).tobytes())
            values.write(np.ascontiguousarray(block.values).tobytes())
            number = block.exact[:, 1] if len(exact) > 1 else np.zeros(len(block.exact))
            starts += (np.flatnonzero(np.diff(number, prepend=last) != 0) + rows).tolist()
            rows, last = rows + len(number), number[-1] if len(number) else last
        names = [_Name(channel.name, channel.unit) for channel in channels]
        with ZipFile(path, "w", ZIP_STORED) as archive:
            _copy(archive, "t", np.dtype(np.float64), (rows,), times)
            _copy(archive, "values", np.dtype(np.float32), (rows, len(channels)), values)
            for name, array in (
                ("episode_starts", np.array(starts, np.int64)),
                ("channels", np.array(msgspec.json.encode(names).decode())),
            ):
                with archive.open(name + ".npy", "w") as member:
                    npy.write_array(member, array, allow_pickle=False)


def _dtype_note(header: _Header) -> str:
    return "" if header.dtype.kind in "biuf" else f"holds {header.dtype}"


def _whole_array(archive: ZipFile, name: str, header: _Header) -> np.ndarray[Any, Any]:
    order: Literal["C", "F"] = "F" if header.fortran else "C"
    with archive.open(f"{name}.npy") as member:
        _read_header(member)
        return np.frombuffer(_exactly(member, header.size), header.dtype).reshape(header.shape, order=order)


def _copy(archive: ZipFile, name: str, dtype: np.dtype[Any], shape: tuple[int, ...], source: IO[bytes]) -> None:
    source.seek(0)
    with archive.open(name + ".npy", "w", force_zip64=True) as member:
        header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        npy.write_array_header_1_0(member, header)
        while chunk := source.read(1 << 20):
            member.write(chunk)


@contextmanager
def _archive(path: Path) -> Iterator[ZipFile]:
    """Open the zip file. Raises TraceError where it is damaged, encrypted, or compressed in another way."""
    try:
        with reading(path):
            check_zip_directory(path)
            with ZipFile(path) as archive:
                yield archive
    except (ValueError, KeyError, struct.error, OverflowError, RuntimeError, NotImplementedError) as error:
        raise damaged(path, error) from error


def _array_rows(member: IO[bytes], header: _Header, size: int) -> Iterator[Any]:
    row = header.width * header.dtype.itemsize
    for start in range(0, header.shape[0], size):
        rows = min(size, header.shape[0] - start)
        yield np.frombuffer(_exactly(member, rows * row), header.dtype).reshape(rows, header.width)


def _exactly(member: IO[bytes], count: int) -> bytes:
    raw = member.read(count)
    if len(raw) < count:
        raise EOFError("an array ends early")
    return raw


def _peek(path: Path, archive: ZipFile, info: ZipInfo) -> _Header:
    """Read the header of an array, and check that the file holds as many bytes as it claims."""
    if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        found = f"{info.filename} is compressed by method {info.compress_type}"
        raise TraceError(f"recording {path.name}", found, "save it with numpy.savez or numpy.savez_compressed")
    with archive.open(info) as member:
        header = _read_header(member)
        held = info.file_size - member.tell()
    if any(not length >= 0 for length in header.shape) or (not header.dtype.hasobject and header.size > held):
        claim = f"{info.filename} claims the shape {header.shape} of {header.dtype} and holds {max(held, 0)} bytes"
        raise TraceError(f"recording {path.name}", claim[:200], "copy or record it again")
    return header


def _read_header(member: IO[bytes]) -> _Header:
    """Read the header of an array. Raises ValueError where it is damaged."""
    begin = member.read(12)
    if begin[:6] != npy.MAGIC_PREFIX or len(begin) < 12:
        raise ValueError("an array without a header")
    two = begin[6] == 1  # bytes of the header's length
    length = int.from_bytes(begin[8:10] if two else begin[8:12], "little")
    if length > _HEADER:
        raise ValueError(f"an array's header of {length} bytes")
    rest = member.read(max(length - (2 if two else 0), 0))
    read = npy.read_array_header_1_0 if two else npy.read_array_header_2_0
    try:
        with warnings.catch_warnings(action="ignore"):  # of headers that Python 2 wrote
            return _Header(*read(io.BytesIO(begin[8:] + rest)))
    except Exception as error:  # NumPy evaluates a literal: deep nesting, odd keys and odd types have their own errors
        raise ValueError("an array's header cannot be read") from error
