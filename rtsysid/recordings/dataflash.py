"""Find the messages of a DataFlash log of ArduPilot. The file describes its own messages.

A message is two bytes of a mark, the number of its type, and its values. The type 128, `FMT`, describes a type: its
number and length, its name, a letter for each value, and the names of the values.

Ref: https://ardupilot.org/dev/docs/code-overview-adding-a-new-log-message.html
"""

from __future__ import annotations

import struct
from array import array
from typing import Any, NamedTuple

import numpy as np

MARK = b"\xa3\x95"
_FMT, _FMT_BYTES = 128, 89
_DESCRIPTION = struct.Struct("<BB4s16s64s")
_FILL = 64  # bytes of the fill that may belong to the last message
_BEFORE = 3  # bytes of a message before its values
TEXTS = {"n": "S4", "N": "S16", "Z": "S64"}
NUMBERS = {
    "b": "<i1", "B": "<u1", "M": "<u1", "h": "<i2", "H": "<u2", "i": "<i4", "I": "<u4", "q": "<i8", "Q": "<u8",
    "g": "<f2", "f": "<f4", "d": "<f8", "c": "<i2", "C": "<u2", "e": "<i4", "E": "<u4", "L": "<i4", "a": "(32,)<i2",
}  # fmt: skip
DIVISORS = {"c": 100.0, "C": 100.0, "e": 100.0, "E": 100.0, "L": 1e7}  # a value is the number divided by this


class MessageFormat(NamedTuple):
    """Describe a type of message: name, length in bytes, and the letter of each value by its name."""

    name: str
    length: int
    letters: dict[str, str]

    @property
    def layout(self) -> np.dtype[Any]:
        """Return the layout of the values of a message."""
        return np.dtype([(name, TEXTS.get(letter) or NUMBERS[letter]) for name, letter in self.letters.items()])


class DataflashIndex:
    """Walk through the bytes of a file. ``formats``: by the number of the type.

    ``damaged``: bytes that are no message, the first of them at ``damaged_from``, or -1; ``cut``: the file ends inside
    a message. Raises ValueError where the file describes no message.
    """

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        # Flash memory behind the last message holds ones, a file that was given its size before it was filled zeros.
        self._end = min(len(raw.rstrip(fill)) if raw.endswith(fill * _FILL) else len(raw) for fill in (b"\xff", b"\0"))
        self.formats: dict[int, MessageFormat] = {}
        self._lengths = [0] * 256
        self._lengths[_FMT] = _FMT_BYTES
        self._places: list[array[int]] = [array("q") for _ in range(256)]
        self.damaged, self.damaged_from, self.cut = 0, -1, False
        self._walk()
        if not self.formats:
            raise ValueError("it describes no message")

    def places(self, number: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return the places [n] of the messages of a type, in order."""
        return np.frombuffer(self._places[number], np.int64)

    def messages(self, number: int) -> np.ndarray[Any, Any]:
        """Return the messages [n] of a type as records of their values."""
        layout = self.formats[number].layout
        raw, size = self._raw, _BEFORE + layout.itemsize
        return np.frombuffer(b"".join([raw[at + _BEFORE : at + size] for at in self._places[number]]), layout)

    def _walk(self) -> None:
        raw, lengths, places, end, at = self._raw, self._lengths, self._places, self._end, 0
        while at + _BEFORE <= end and not self.cut:
            number = raw[at + 2]
            after = at + lengths[number]
            if raw[at] != MARK[0] or raw[at + 1] != MARK[1] or after == at:
                self.damaged_from = at if self.damaged_from < 0 else self.damaged_from
                after = self._resume(at)
                self.damaged += after - at
            elif after > min(end + _FILL, len(raw)):
                self.cut = True
            else:
                places[number].append(at)
                if number == _FMT:
                    self._describe(at)
            at = after
        self.cut = self.cut or at < end

    def _resume(self, at: int) -> int:
        """Return where the next message begins that another one, or the end, follows; the end where there is none."""
        while (at := self._raw.find(MARK, at + 1, self._end)) >= 0:
            length = self._lengths[self._raw[at + 2]] if at + 2 < self._end else 0
            if length and (self._raw[at + length : at + length + 2] == MARK or at + length == self._end):
                return at
        return self._end

    def _describe(self, at: int) -> None:
        number, length, *texts = _DESCRIPTION.unpack_from(self._raw, at + _BEFORE)
        name, letters, names = (each.partition(b"\0")[0].decode("latin-1") for each in texts)
        if number == _FMT or number in self.formats or length < _BEFORE or not name:
            return  # a log that goes on describes its messages again
        values = dict(zip(names.split(","), letters, strict=False))
        known = MessageFormat(name, length, values if set(letters) <= TEXTS.keys() | NUMBERS.keys() else {})
        complete = len(values) == len(letters) == names.count(",") + 1 and "" not in values
        if not complete or known.layout.itemsize != length - _BEFORE:
            known = known._replace(letters={})
        self.formats[number], self._lengths[number] = known, length
