"""List the arrays of a MAT file of version 5 before a library reads them: their paths, shapes and claims.

A variable is a matrix; one of structures or cells holds further matrices. A file may compress a variable, and claim
any number of structures, so the sizes and counts are checked here.

Ref: https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from rtsysid.guards.limits import checked_growth, checked_size, limit

HEADER = 128  # bytes
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCTURE, _NUMBERS = 1, 2, range(6, 16)
_SIZES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}  # bytes of a number, by its stored type
_COMPLEX = 0x800  # flag of a matrix


class MatArray(NamedTuple):
    """Locate an array of numbers: its variable, then the place in each array of structures or cells, and the field.

    ``shape``: without axes of length 1.
    """

    variable: str
    steps: tuple[tuple[int, str], ...]
    shape: tuple[int, ...]


class MatIndex:
    """List the arrays of a file of `raw` bytes by their path. ``missing``: what is damaged, in words.

    Raises ValueError where it is no MAT file of version 5, TraceError where it claims more than the limits.
    """

    def __init__(self, raw: bytes) -> None:
        if raw[126:128] not in (b"IM", b"MI"):
            raise ValueError("it is no MAT file of version 5, 6, 7 or 7.3")
        self._order = "<" if raw[126:128] == b"IM" else ">"
        self._held, self._claimed, self._listed = len(raw), 0, 0
        self.arrays: dict[str, MatArray] = {}
        self.missing = ""
        variables = self._variables(raw)
        try:
            for content in variables:
                for path, each in self._variable(content):
                    self.arrays.setdefault(path, each)
        except (ValueError, zlib.error) as error:
            self.missing = f"damaged after {len(self.arrays)} arrays ({error})"

    def _variables(self, raw: bytes) -> Iterator[bytes]:
        at = HEADER
        while at < len(raw):
            kind, begin, end, after = self._element(raw, at, len(raw))
            if kind == _COMPRESSED:
                yield self._inflated(raw[begin:end])
                after = end
            elif kind == _MATRIX:
                yield raw[at:after]
            at = after

    def _inflated(self, packed: bytes) -> bytes:
        most = limit("free_bytes") + limit("growth") * self._held
        unpacked = zlib.decompressobj().decompress(packed, max(most - self._claimed, 0) + 1)
        self._claimed += len(unpacked)
        checked_growth("MAT file: its variables", self._claimed, self._held)
        return unpacked

    def _variable(self, content: bytes) -> Iterator[tuple[str, MatArray]]:
        kind, begin, end, _ = self._element(content, 0, len(content))
        if kind != _MATRIX:
            raise ValueError("a variable that is no matrix")
        name = self._head(content, begin, end)[2]
        yield from self._arrays(content, begin, end, f"/{name}", MatArray(name, (), ()))

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
        self, content: bytes, begin: int, end: int, path: str, found: MatArray
    ) -> Iterator[tuple[str, MatArray]]:
        """Yield the arrays of numbers in a matrix, by their path."""
        if begin == end:
            return  # empty
        flags, dimensions, _, at = self._head(content, begin, end)
        count = math.prod(dimensions)
        if flags & 255 in _NUMBERS:
            kind, start, stop, _ = self._element(content, at, end)
            if stop - start != count * _SIZES.get(kind, 0):
                raise ValueError("an array of another size than it claims")
            if count and not flags & _COMPLEX:
                yield path, found._replace(shape=tuple(n for n in dimensions if n != 1))
        elif flags & 255 in (_CELL, _STRUCTURE):
            fields, at = self._fields(content, at, end) if flags & 255 == _STRUCTURE else ([""], at)
            self._listed += count * len(fields)
            checked_size("MAT file: arrays", self._listed, "columns")
            checked_size("MAT file: structures in structures", len(found.steps), "depth")
            for k in range(count if fields else 0):
                place = f"{path}[{k}]" if count > 1 or flags & 255 == _CELL else path
                for field in fields:
                    kind, start, stop, at = self._element(content, at, end)
                    if kind != _MATRIX:
                        raise ValueError("a field that is no matrix")
                    inner = found._replace(steps=(*found.steps, (k, field)))
                    yield from self._arrays(content, start, stop, f"{place}/{field}" if field else place, inner)

    def _fields(self, content: bytes, at: int, end: int) -> tuple[list[str], int]:
        """Return the names of the fields of a structure, and where their content begins."""
        _, start, stop, at = self._element(content, at, end)
        (size,) = self._integers(content, start, stop) or (0,)
        _, start, stop, at = self._element(content, at, end)
        if not 0 < size <= 64:
            raise ValueError("names of no length")
        names = [content[k : k + size].partition(b"\0")[0].decode("latin-1") for k in range(start, stop, size)]
        return names, at
