"""Read and write npz: `t` [n], `values` [n, C], `episode_starts` [E], and `channels`, a JSON list of name and unit.

An npz of plain named arrays, one per column, can be read too. Arrays are streamed from the zip file, never unpickled.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, NamedTuple
from zipfile import ZIP_STORED, ZipFile

import msgspec
import numpy as np
from numpy.lib import format as npy

from rtsysid.errors import TraceError
from rtsysid.recordings.formats import EPISODE, ROWS, Block, Column, column, damaged, reading
from rtsysid.spec import Channel


class _Array(NamedTuple):
    """Locate a column: the name of its array in the zip file, and its column in that array."""

    name: str
    place: int


class _Header(NamedTuple):
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]


class _Name(msgspec.Struct):
    name: str
    unit: str = ""


class Reader:
    """Open a zip file of arrays, compressed or not. Raises TraceError where it is damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with reading(path), ZipFile(path) as archive:
            members = [info.filename for info in archive.infolist() if info.filename.endswith(".npy")]
            self._headers = {name.removesuffix(".npy"): _peek(path, archive, name) for name in members}
            self._starts = self._whole(archive, "episode_starts")
            named = self._whole(archive, "channels")
        long = [header.shape[0] for name, header in self._headers.items() if self._is_data(name)]
        self.rows: int | None = max(long, default=0)
        self._arrays: list[_Array] = []
        columns: list[Column] = []
        for name, header in self._headers.items():
            if self._is_data(name) and header.shape[0] == self.rows:
                width = header.shape[1] if len(header.shape) == 2 else 1
                self._arrays += [_Array(name, i) for i in range(width)]
                columns += self._columns(name, header, width, named)
        if self._starts is not None and self._starts.size > 1:
            columns.append(Column(EPISODE, "", True))
        self.columns: tuple[Column, ...] = tuple(columns)

    def blocks(self, exact: Sequence[int], values: Sequence[int]) -> Iterator[Block]:
        """Stream the columns with these indices. Only their arrays are opened.

        Raises TraceError for a column that holds no numbers, and where the file is damaged.
        """
        wanted = dict.fromkeys((*exact, *values))
        stored = {self._arrays[i].name for i in wanted if i < len(self._arrays)}
        for i in wanted:
            if not self.columns[i].numeric:
                raise TraceError(f"{self.path.name}, column {self.columns[i].name!r}", "no numbers", "leave it out")
        with reading(self.path), ZipFile(self.path) as archive, ExitStack() as stack:
            streams = {name: self._stream(stack, archive, name) for name in stored}
            for start in range(0, self.rows or 0, ROWS):
                rows = min(ROWS, (self.rows or 0) - start)
                chunks = {name: next(stream) for name, stream in streams.items()}
                with np.errstate(over="ignore"):
                    yield Block(
                        self._pick(chunks, exact, start, rows, np.dtype(np.float64)),
                        self._pick(chunks, values, start, rows, np.dtype(np.float32)),
                    )

    def _pick(self, chunks: dict[str, Any], wanted: Sequence[int], start: int, rows: int, dtype: Any) -> Any:
        out = np.empty((rows, len(wanted)), dtype)
        for k, i in enumerate(wanted):
            if i < len(self._arrays):
                out[:, k] = chunks[self._arrays[i].name][:, self._arrays[i].place]
            else:
                out[:, k] = np.searchsorted(self._starts, np.arange(start, start + rows), side="right")
        return out

    def _is_data(self, name: str) -> bool:
        shape = self._headers[name].shape
        return name not in ("episode_starts", "channels") and len(shape) in (1, 2)

    def _columns(self, name: str, header: _Header, width: int, named: Any) -> list[Column]:
        numeric = header.dtype.kind in "biuf"
        if named is not None and name == "values":
            try:
                names = msgspec.json.decode(str(named), type=list[_Name])
            except msgspec.DecodeError as error:
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
        with archive.open(name + ".npy") as member:
            return npy.read_array(member, allow_pickle=False)

    def _stream(self, stack: ExitStack, archive: ZipFile, name: str) -> Iterator[Any]:
        member = stack.enter_context(archive.open(name + ".npy"))
        header = _read_header(member)
        if header.fortran and len(header.shape) == 2:  # rows are not contiguous: read the whole array
            whole = np.frombuffer(member.read(), header.dtype).reshape(header.shape, order="F")
            return (whole[start : start + ROWS] for start in range(0, len(whole), ROWS))
        return _array_rows(member, header)


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


def _copy(archive: ZipFile, name: str, dtype: np.dtype[Any], shape: tuple[int, ...], source: IO[bytes]) -> None:
    source.seek(0)
    with archive.open(name + ".npy", "w", force_zip64=True) as member:
        header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        npy.write_array_header_1_0(member, header)
        while chunk := source.read(1 << 20):
            member.write(chunk)


def _array_rows(member: IO[bytes], header: _Header) -> Iterator[Any]:
    width = header.shape[1] if len(header.shape) == 2 else 1
    for start in range(0, header.shape[0], ROWS):
        rows = min(ROWS, header.shape[0] - start)
        raw = member.read(rows * width * header.dtype.itemsize)
        if len(raw) < rows * width * header.dtype.itemsize:
            raise EOFError("an array ends early")
        yield np.frombuffer(raw, header.dtype).reshape(rows, width)


def _peek(path: Path, archive: ZipFile, name: str) -> _Header:
    with archive.open(name) as member:
        try:
            return _read_header(member)
        except ValueError as error:
            raise damaged(path, error) from error


def _read_header(member: IO[bytes]) -> _Header:
    read = npy.read_array_header_1_0 if npy.read_magic(member) == (1, 0) else npy.read_array_header_2_0
    return _Header(*read(member))
