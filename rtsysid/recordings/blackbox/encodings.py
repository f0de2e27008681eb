"""Decode numbers of many frames at once: each function reads one group of fields at n places of the data.

It takes the bytes of the file, the places [n] and the number of fields in the group, and returns an array [n] of each
field and the places [n] behind the group. The data must go on for `Steps.longest` bytes behind each place.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rtsysid.recordings.blackbox.header import FrameLayout

Bytes: TypeAlias = NDArray[np.uint8]
Whole: TypeAlias = NDArray[np.int64]
Group: TypeAlias = tuple[list[Whole], Whole]
_Packing: TypeAlias = tuple[int, tuple[tuple[int, int], ...]]  # bytes; shift and bits of each field in them
NOTHING = 9  # the encoding of a field that takes no byte
FRAME_BYTES = 256  # a longer frame is damaged


class Encoding(NamedTuple):
    """Read a group of at most ``fields`` fields, which takes ``least`` to ``most`` bytes."""

    read: Callable[[Bytes, Whole, int], Group]
    fields: int
    least: int
    most: int


class Steps:
    """Read the fields of a kind of frame, group by group. Raises ValueError for a layout that no frame can have."""

    def __init__(self, layout: FrameLayout) -> None:
        self._groups = tuple(_groups(layout.encodings))
        self._count = len(layout.names)
        self.longest = sum(encoding.most for encoding, _, _ in self._groups)
        if not 0 < sum(encoding.least for encoding, _, _ in self._groups) <= FRAME_BYTES:
            raise ValueError(f"its header describes frames of no byte, or of more than {FRAME_BYTES}")

    def read(self, data: Bytes, at: Whole, wanted: Collection[int]) -> Whole:
        """Read the numbers [n, k] of the `wanted` fields from frames whose first field is at `at` [n]."""
        found = np.zeros((len(at), len(wanted)), np.int64)
        place = {field: column for column, field in enumerate(wanted)}
        for encoding, first, count in self._groups:
            values, at = encoding.read(data, at, count)
            for field, value in enumerate(values, first):
                if field in place:
                    found[:, place[field]] = value
        return found

    def ends(self, data: Bytes, at: Whole) -> Whole:
        """Return where frames end whose first field is at `at` [n]."""
        for encoding, _, count in self._groups:
            _, at = encoding.read(data, at, count)
        return at


def _groups(encodings: Sequence[int]) -> list[tuple[Encoding, int, int]]:
    """List the encoding, the first field and the number of fields of each group that takes a byte."""
    groups, first = [], 0
    while first < len(encodings):
        number, count = encodings[first], 1
        if number != NOTHING:
            encoding = ENCODINGS.get(number)
            if encoding is None:
                raise ValueError(f"its header names the unknown encoding {number}")
            count = _size(encoding, encodings[first : first + encoding.fields])
            groups.append((encoding, first, count))
        first += count
    return groups


def _size(encoding: Encoding, numbers: Sequence[int]) -> int:
    """Return the fields of a group that may take fields of these encodings; only bytes with a tag bit can be fewer."""
    if encoding.fields == 8:
        return next((k for k, number in enumerate(numbers) if number != numbers[0]), len(numbers))
    if len(numbers) < encoding.fields:
        raise ValueError(f"its header has {len(numbers)} fields for a group of {encoding.fields}")
    return encoding.fields


def _byte(data: Bytes, at: Whole) -> Whole:
    return data[at].astype(np.int64)


def _lowest(value: Whole, bits: int) -> Whole:
    """Take the lowest bits as a two's complement."""
    half = 1 << (bits - 1)
    return ((value & (2 * half - 1)) ^ half) - half


def _unsigned_vb(data: Bytes, at: Whole, _count: int = 1) -> Group:
    """Read seven bits a byte, the lowest first; the top bit says that another byte follows, of at most five."""
    byte = _byte(data, at)
    value, after = byte & 127, at + 1
    more, shift = np.flatnonzero(byte > 127), 7
    while len(more) and shift < 35:
        byte = _byte(data, after[more])
        value[more] |= (byte & 127) << shift
        after[more] += 1
        more, shift = more[byte > 127], shift + 7
    return [value & 0xFFFFFFFF], after


def _signed_vb(data: Bytes, at: Whole, _count: int = 1) -> Group:
    """Read a zigzag number: 0, -1, 1, -2 are written as 0, 1, 2, 3."""
    (value,), after = _unsigned_vb(data, at)
    return [(value >> 1) ^ -(value & 1)], after


def _negative_14_bits(data: Bytes, at: Whole, _count: int = 1) -> Group:
    (value,), after = _unsigned_vb(data, at)
    return [-_lowest(value, 14)], after


def _tag8_8svb(data: Bytes, at: Whole, count: int) -> Group:
    """Read the fields whose bit is set in the first byte; the others are 0. A single field has no such byte."""
    if count == 1:
        return _signed_vb(data, at)
    tag, after = _byte(data, at), at + 1
    values = [np.zeros(len(at), np.int64) for _ in range(count)]
    for k, value in enumerate(values):
        rows = np.flatnonzero(tag >> k & 1)
        (value[rows],), after[rows] = _signed_vb(data, after[rows])
    return values, after


def _tag8_4s16(data: Bytes, at: Whole, count: int) -> Group:
    """Read four fields of 0, 4, 8 or 16 bits, as two bits of the first byte say, the highest half byte first."""
    tag, half = _byte(data, at), 2 * (at + 1)  # place of the next half byte
    values = []
    for k in range(count):
        size = _HALF_BYTES[tag >> 2 * k & 3]
        value = np.zeros(len(at), np.int64)
        for i in range(4):
            rows = np.flatnonzero(size > i)
            value[rows] = value[rows] << 4 | _byte(data, half[rows] >> 1) >> 4 * (1 - (half[rows] & 1)) & 15
            half[rows] += 1
        values.append(_two_complement(value, 4 * np.maximum(size, 1)))
    return values, (half + 1) >> 1


def _tag2(data: Bytes, at: Whole, packings: Sequence[_Packing]) -> Group:
    """Read three fields: the two highest bits of the first byte choose a packing.

    The choice 3 is for whole bytes behind the first one, whose lowest two bits say how many more than one the first
    field takes, the next two bits the second field.
    """
    head = _byte(data, at)
    values, after = [np.zeros(len(at), np.int64) for _ in range(3)], at.copy()
    for choice, (size, places) in enumerate(packings):
        rows = np.flatnonzero(head >> 6 == choice)
        word = np.zeros(len(rows), np.int64)
        for k in range(size):
            word = word << 8 | _byte(data, at[rows] + k)
        after[rows] += size
        for value, (shift, bits) in zip(values, places, strict=True):
            value[rows] = _lowest(word >> shift, bits)
    rows = np.flatnonzero(head >> 6 == len(packings))
    after[rows] += 1
    for k, value in enumerate(values):
        value[rows], after[rows] = _little_endian(data, after[rows], (head[rows] >> 2 * k & 3) + 1)
    return values, after


def _little_endian(data: Bytes, at: Whole, size: Whole) -> tuple[Whole, Whole]:
    value = np.zeros(len(at), np.int64)
    for k in range(4):
        value |= np.where(k < size, _byte(data, at + k) << 8 * k, 0)
    return _two_complement(value, 8 * size), at + size


def _two_complement(value: Whole, bits: Whole) -> Whole:
    half = np.left_shift(np.int64(1), bits - 1)
    return np.asarray((value ^ half) - half)


def _tag2_3s32(data: Bytes, at: Whole, _count: int) -> Group:
    return _tag2(data, at, (_TWO_BITS, (2, ((8, 4), (4, 4), (0, 4))), (3, ((16, 6), (8, 6), (0, 6)))))


def _tag2_3svariable(data: Bytes, at: Whole, _count: int) -> Group:
    return _tag2(data, at, (_TWO_BITS, (2, ((9, 5), (4, 5), (0, 4))), (3, ((14, 8), (7, 7), (0, 7)))))


_HALF_BYTES = np.array([0, 1, 2, 4])  # by the tag of a field
_TWO_BITS: _Packing = (1, ((4, 2), (2, 2), (0, 2)))
ENCODINGS = {
    0: Encoding(_signed_vb, 1, 1, 5),
    1: Encoding(_unsigned_vb, 1, 1, 5),
    3: Encoding(_negative_14_bits, 1, 1, 5),
    6: Encoding(_tag8_8svb, 8, 1, 41),
    7: Encoding(_tag2_3s32, 3, 1, 13),
    8: Encoding(_tag8_4s16, 4, 1, 9),
    10: Encoding(_tag2_3svariable, 3, 1, 13),
}
