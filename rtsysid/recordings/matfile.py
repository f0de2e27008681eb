"""Read MAT files of versions 5 to 7: the paths, shapes and numbers of their arrays.

A variable is a matrix; one of structures or cells holds further matrices. A file may compress a variable, and claim
any number of structures, so sizes and counts are checked. (The reader of SciPy ends the process on a damaged file.)

Ref: https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from rtsysid.guards.limits import checked_growth, checked_size, limit

HEADER = 128  # bytes
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCTURE, _NUMBERS = 1, 2, range(6, 16)  # classes of matrices
_COMPLEX = 0x800  # flag of a matrix
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}


class MatArray(NamedTuple):
    """Locate an array of numbers: the place of its variable in the file, and of its numbers in that variable."""

    variable: int
    start: int
    stop: int
    dtype: np.dtype[Any]
    dimensions: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the dimensions without those of length 1."""
        return tuple(n for n in self.dimensions if n != 1)


class MatFile:
    """Hold the arrays of a file of `raw` bytes by their path. ``missing``: what is damaged, in words.

    Raises ValueError where it is no MAT file of version 5, TraceError where it claims more than the limits.
    """

    def __init__(self, raw: bytes) -> None:
        if raw[126:128] not in (b"IM", b"MI"):
            raise ValueError("it is no MAT file of version 5, 6, 7 or 7.3")
        self._raw, self._order = raw, "<" if raw[126:128] == b"IM" else ">"
        self._claimed = self._listed = 0
        self.arrays: dict[str, MatArray] = {}
        self.missing = ""
        try:
            for at in self._variables():
                content = self._content(at)
                self._claimed += len(content)
                self._list(at, content)
        except (ValueError, zlib.error) as error:
            found = f"{len(self.arrays)} array{'s' * (len(self.arrays) != 1)}"
            self.missing = f"damaged or cut off after {found} ({error})"
            if not self.arrays:
                raise ValueError(self.missing) from error

    def load(self, paths: list[str]) -> dict[str, np.ndarray[Any, Any]]:
        """Return arrays [..] by their path, of their shapes."""
        contents = {at: self._content(at) for at in {self.arrays[path].variable for path in paths}}
        found = {}
        for path in paths:
            each = self.arrays[path]
            numbers = np.frombuffer(contents[each.variable][each.start : each.stop], each.dtype)
            found[path] = numbers.reshape(each.dimensions, order="F").reshape(each.shape, order="F")
        return found

    def _variables(self) -> Iterator[int]:
        at = HEADER
        while at < len(self._raw):
            kind, _, end, after = self._element(self._raw, at, len(self._raw))
            if kind in (_MATRIX, _COMPRESSED):
                yield at
            at = end if kind == _COMPRESSED else after

    def _content(self, at: int) -> bytes:
        """Return the element of a variable, unpacked."""
        kind, begin, end, after = self._element(self._raw, at, len(self._raw))
        if kind != _COMPRESSED:
            return self._raw[at:after]
        most = limit("free_bytes") + limit("growth") * len(self._raw)
        unpacked = zlib.decompressobj().decompress(self._raw[begin:end], most + 1)
        checked_growth("MAT file: its variables", self._claimed + len(unpacked), len(self._raw))
        return unpacked

    def _list(self, at: int, content: bytes) -> None:
        kind, begin, end, _ = self._element(content, 0, len(content))
        if kind != _MATRIX:
            raise ValueError("a variable that is no matrix")
        name = self._head(content, begin, end)[2]
        for path, found in self._arrays(content, begin, end, f"/{name}", at, 0):
            self.arrays.setdefault(path, found)

    def _element(self, content: bytes, at: int, stop: int) -> tuple[int, int, int, int]:
        """Return the type of the element at `at`, where its content begins and ends, and where the next one begins."""
        if at + 8 > stop:
            raise ValueError("an element ends early")
        kind, size = struct.unpack_from(f"{self._order}II", content, at)
        if kind >> 16:  # up to four bytes of content come with the type and the size
            begin, size, kind = at + 4, kind >> 16, kind & 0xFFFF
            after = at + 8
        else:
            begin = at + 8
            after = begin + size + -size % 8
        if begin + size > min(stop, after):
            raise ValueError("an element ends early")
        return kind, begin, begin + size, min(after, stop)

    def _head(self, content: bytes, begin: int, end: int) -> tuple[int, tuple[int, ...], str, int]:
        """Return the flags, the dimensions and the name of a matrix, and where its content begins."""
        _, at, stop, after = self._element(content, begin, end)
        flags = self._integers(content, at, stop)
        _, at, stop, after = self._element(content, after, end)
        dimensions = self._integers(content, at, stop)
        _, at, stop, after = self._element(content, after, end)
        if not flags or len(dimensions) > 32 or min(dimensions, default=-1) < 0:
            raise ValueError("a matrix without dimensions")
        return flags[0], dimensions, content[at:stop].decode("latin-1"), after

    def _integers(self, content: bytes, at: int, stop: int) -> tuple[int, ...]:
        return struct.unpack_from(f"{self._order}{(stop - at) // 4}i", content, at)

    def _arrays(
        self, content: bytes, begin: int, end: int, path: str, variable: int, depth: int
    ) -> Iterator[tuple[str, MatArray]]:
        """Yield the arrays of numbers in a matrix, by their path."""
        if begin == end:
            return  # empty
        flags, dimensions, _, at = self._head(content, begin, end)
        kind, count = flags & 255, math.prod(dimensions)
        if kind in _NUMBERS:
            found = self._numbers(content, at, end, dimensions)
            if found and not flags & _COMPLEX:
                yield path, found._replace(variable=variable)
        elif kind in (_CELL, _STRUCTURE):
            fields, at = self._fields(content, at, end) if kind == _STRUCTURE else ([""], at)
            self._listed += count * len(fields)
            checked_size("MAT file: arrays", self._listed, "columns")
            checked_size("MAT file: structures in structures", depth, "depth")
            for k in range(count if fields else 0):
                place = f"{path}[{k}]" if count > 1 or kind == _CELL else path
                for field in fields:
                    inner, start, stop, at = self._element(content, at, end)
                    if inner != _MATRIX:
                        raise ValueError("a field that is no matrix")
                    yield from self._arrays(
                        content, start, stop, f"{place}/{field}" if field else place, variable, depth + 1
                    )

    def _numbers(self, content: bytes, at: int, end: int, dimensions: tuple[int, ...]) -> MatArray | None:
        """Return where the numbers of a matrix are, None where there are none."""
        kind, start, stop, _ = self._element(content, at, end)
        dtype = np.dtype(self._order + _STORED.get(kind, "u1"))
        if kind not in _STORED or stop - start != math.prod(dimensions) * dtype.itemsize:
            raise ValueError("an array of another size than it claims")
        return MatArray(0, start, stop, dtype, dimensions) if stop > start else None

    def _fields(self, content: bytes, at: int, end: int) -> tuple[list[str], int]:
        """Return the names of the fields of a structure, and where their content begins."""
        _, start, stop, at = self._element(content, at, end)
        (size,) = self._integers(content, start, stop) or (0,)
        _, start, stop, at = self._element(content, at, end)
        if not 0 < size <= 64:
            raise ValueError("names of no length")
        names = [content[k : k + size].partition(b"\0")[0].decode("latin-1") for k in range(start, stop, size)]
        return names, at
