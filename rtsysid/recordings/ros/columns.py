"""Decode chosen numbers of many ROS messages at once: one array for each number, no object for any message.

All messages of a batch advance together, field by field, and nothing after the last chosen number is looked at. An
earlier field with a length of its own is only skipped.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rtsysid.rosmsg import Wire
from rtsysid.rosmsg.fields import Bytes, Many, MessageField, Numbers, check_claim

Integers: TypeAlias = NDArray[np.int64]

_ENDS_EARLY = "a message ends early"


class Items(NamedTuple):
    """Locate arrays of numbers in n messages: `first` [n] their first byte, `counts` [n] their elements."""

    first: Integers
    counts: Integers


class Labels(NamedTuple):
    """Hold the names in n messages: each distinct list once, and its number for each message, `which` [n]."""

    lists: list[list[str]]
    which: Integers


class Batch:
    """Hold n messages one after another, and the offsets [n] where the next value of each begins.

    Raises ValueError where a message is not of this encoding.
    """

    def __init__(self, payloads: Sequence[bytes], wire: Wire) -> None:
        self.data, self.wire = b"".join(payloads), wire
        lengths = np.fromiter(map(len, payloads), np.int64, len(payloads))
        self.end = lengths.cumsum()
        self.at = self.end - lengths
        if wire.header and (self.numbers("H", self.at) != int.from_bytes(wire.header[:2], "little")).any():
            raise ValueError("a message is not little-endian XCDR1")
        self.at = self.origin = self.at + len(wire.header)
        self.advance(0)

    def part(self, rows: Integers) -> Batch:
        """Return some of the messages, by their numbers [m], which advance on their own."""
        part = object.__new__(Batch)
        part.data, part.wire = self.data, self.wire
        part.at, part.origin, part.end = self.at[rows], self.origin[rows], self.end[rows]
        return part

    def numbers(self, code: str, at: Integers, rows: Integers | slice = slice(None)) -> NDArray[np.generic]:
        """Return numbers [m] at offsets [m] of the messages `rows`. Raises ValueError where one is beyond the end."""
        size = struct.calcsize(code)
        if not len(at):
            return np.empty(0, code)
        if (at + size > self.end[rows]).any():
            raise ValueError(_ENDS_EARLY)
        # A view with a number at every byte: reading it at `at` copies nothing else.
        every: NDArray[np.generic] = np.ndarray((len(self.data) - size + 1,), f"<{code}", self.data, 0, (1,))
        return every[at]

    def advance(self, size: Integers | int) -> None:
        """Pass over bytes, as many in each message or [n]. Raises ValueError where a message has fewer."""
        self.at = self.at + size
        if (self.at > self.end).any():
            raise ValueError(_ENDS_EARLY)

    def residues(self) -> Integers:
        """Return the offsets [n] modulo eight, zero where nothing is aligned."""
        return (self.at - self.origin) & 7 if self.wire.aligned else np.zeros_like(self.at)

    def aligned(self, size: int) -> Integers:
        """Return the offsets [n] of the next number of this size."""
        return self.at + (self.origin - self.at) % size if self.wire.aligned else self.at

    def counts(self, fixed: int | None) -> Integers:
        """Read the lengths [n] of an array or a text, unless they are fixed, and advance."""
        if fixed is not None:
            return np.full(len(self.at), fixed, np.int64)
        at = self.aligned(4)
        found = self.numbers("I", at).astype(np.int64)
        self.at = at + 4
        return found


def skip(fields: Sequence[MessageField], batch: Batch) -> None:
    """Advance a batch past fields. Raises ValueError where a message does not hold them."""
    for field in fields:
        if isinstance(field, Numbers):
            batch.advance(layout_of(field)[1][batch.residues()])
        elif isinstance(field, Many):
            skip_array(field, batch)
        else:
            batch.advance(batch.counts(field.count if isinstance(field, Bytes) else None))


def skip_array(field: Many, batch: Batch) -> Items:
    """Advance a batch past an array, and tell where its elements are. Raises ValueError like `skip`."""
    counts = batch.counts(field.count)
    most, least = int(counts.max(initial=0)), sum(each.least for each in field.element)
    check_claim("a message claims", most * field.width, "values in arrays", "message_values")
    if (counts * least > batch.end - batch.at).any():
        raise ValueError(_ENDS_EARLY)
    stride = stride_of(field)
    if stride is None:
        begun = batch.at
        _skip_each(field, batch, counts, most if least else 0)
        return Items(begun, counts)
    run = field.element[0]
    assert isinstance(run, Numbers)
    first = np.where(counts > 0, batch.aligned(struct.calcsize(run.codes[0])), batch.at)
    batch.at = first
    batch.advance(counts * stride)
    return Items(first, counts)


def _skip_each(field: Many, batch: Batch, counts: Integers, most: int) -> None:
    """Advance past elements of different lengths: past the first of every message, then past the second."""
    for k in range(most):
        rows = np.flatnonzero(counts > k)
        part = batch.part(rows)
        skip(field.element, part)
        batch.at = batch.at.copy()
        batch.at[rows] = part.at


def stride_of(field: Many) -> int | None:
    """Return the bytes from one element to the next; None where they differ, or an element is no number."""
    run = field.element[0] if len(field.element) == 1 else None
    if not isinstance(run, Numbers) or (field.wire.aligned and len(set(map(struct.calcsize, run.codes))) > 1):
        return None
    return run.least


def layout_of(run: Numbers) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the offsets [8, K] of the numbers of a run and its sizes [8], for each residue of its first offset."""
    begin = len(run.wire.header)
    layouts = [run.places(begin + residue) for residue in range(8)]
    starts = begin + np.arange(8)
    offsets = np.array([places for places, _ in layouts], np.int64).reshape(8, -1) - starts[:, None]
    return offsets, np.array([end for _, end in layouts]) - starts


def labels_of(field: Many, batch: Batch) -> Labels:
    """Advance a batch past an array of strings, and read them. Raises ValueError where they are no strings."""
    begun, counts = batch.at, skip_array(field, batch).counts
    known: dict[bytes, int] = {}
    lists: list[list[str]] = []
    which = np.empty(len(counts), np.int64)
    begun = begun + (batch.origin - begun) % 4 if batch.wire.aligned else begun
    for row, (start, end) in enumerate(zip(begun.tolist(), batch.at.tolist(), strict=True)):
        block = batch.data[start:end]  # equal names are equal bytes
        number = known.setdefault(block, len(lists))
        if number == len(lists):
            lists.append(_texts(block, field.count, batch.wire))
        which[row] = number
    return Labels(lists, which)


def _texts(block: bytes, count: int | None, wire: Wire) -> list[str]:
    """Read so many strings; without a count the block begins with it."""
    texts, at = list[str](), 0 if count is not None else 4
    for _ in range(int.from_bytes(block[:4], "little") if count is None else count):
        at += -at % 4 if wire.aligned else 0
        end = at + 4 + int.from_bytes(block[at : at + 4], "little")
        texts.append(block[at + 4 : end].rstrip(b"\0").decode(errors="replace"))
        at = end
    return texts
