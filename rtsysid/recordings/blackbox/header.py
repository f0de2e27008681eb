"""Read the text at the start of a Blackbox log: the fields of each kind of frame, and the settings of the firmware."""

from __future__ import annotations

import re
from functools import cached_property
from typing import NamedTuple

from rtsysid.guards.limits import checked_size

MARKER = b"H Product:Blackbox flight data recorder"  # the first line of each log in a file
KINDS = "IPSGH"  # frames of fields: intra, predicted (inter), slow, GPS, home of GPS
_FIELDS = re.compile(r"Field ([IPSGH]) (name|signed|predictor|encoding)")
_LINE = 1 << 16  # bytes of a line: the names of fields take about a thousand
_LONGEST = 1 << 12  # iterations between I frames; Betaflight has 256 or fewer
_VERSION = re.compile(r"Betaflight (\d+)\.")


class FrameLayout(NamedTuple):
    """List the fields of a kind of frame: their names, and for each if it is signed, its predictor and its encoding."""

    names: tuple[str, ...]
    signed: tuple[int, ...]
    predictors: tuple[int, ...]
    encodings: tuple[int, ...]


class Header:
    """Hold the header of one log. ``end``: offset of its first frame; ``values``: the other lines by name.

    Raises ValueError where it is damaged or of an unknown version, TraceError where it has too many fields.
    """

    def __init__(self, raw: bytearray, start: int, stop: int) -> None:
        self.values: dict[str, str] = {}
        self._lists: dict[tuple[str, str], str] = {}
        self.end = start
        while raw[self.end : self.end + 2] == b"H " and (line_end := raw.find(b"\n", self.end, stop)) >= 0:
            if line_end - self.end > _LINE:
                raise ValueError(f"its header has a line of more than {_LINE} bytes")
            self._add(raw[self.end + 2 : line_end].decode("latin-1"))
            self.end = line_end + 1
        rest = raw[self.end : min(self.end + _LINE, stop)]
        if rest.startswith(b"H ") and rest.isascii():
            raise ValueError("its header is cut off")
        if self.values.get("Data version", "2") != "2":
            raise ValueError("its data version is 1, of 2014; blackbox_decode of blackbox-tools makes CSV of it")
        self.layouts = {kind: self._layout(kind) for kind in KINDS if (kind, "predictor") in self._lists}
        if not {"I", "P"} <= self.layouts.keys() or "time" not in self.layouts["I"].names:
            raise ValueError("its header lists no fields of frames with a time")

    def integer(self, name: str, default: int) -> int:
        """Return a setting, or the first of its numbers; the default where it is missing or no number."""
        found = re.match(r"-?\d{1,9}(?=,|$)", self.values.get(name, ""))
        return int(found[0]) if found else default

    @cached_property
    def steps(self) -> tuple[int, ...]:
        """Return the loop iterations from each iteration, modulo the I interval, to the next one that is logged."""
        logged = self.logged
        steps, ahead = [0] * len(logged), 0
        for k in reversed(range(len(logged))):
            ahead += 1
            steps[k] = ahead
            ahead = 0 if logged[k] else ahead
        return tuple(steps)

    @cached_property
    def logged(self) -> tuple[bool, ...]:
        """Tell which loop iterations are logged, of those from an I frame to the next one."""
        period = self.integer("I interval", 32)
        numerator, _, denominator = self.values.get("P interval", "1/1").rpartition("/")
        every, of = max(_whole(numerator or "1"), 1), max(_whole(denominator), 1)
        if not 0 < period <= _LONGEST:
            raise ValueError(f"its I interval is {period}")
        return tuple((k + every - 1) % of < every for k in range(period))

    @property
    def betaflight(self) -> int:
        """Return the first number of the version of Betaflight, 0 for other firmware."""
        found = _VERSION.match(self.values.get("Firmware revision", ""))
        return int(found[1]) if found else 0

    def _add(self, line: str) -> None:
        name, _, value = line.partition(":")
        if found := _FIELDS.fullmatch(name):
            checked_size("Blackbox log: fields of a frame", value.count(",") + 1, "message_fields")
            self._lists[found[1], found[2]] = value
        else:
            self.values[name] = value

    def _layout(self, kind: str) -> FrameLayout:
        shared = "I" if kind == "P" else kind  # P frames have the fields of I frames
        names = tuple(self._lists.get((shared, "name"), "").split(","))
        signed = self._lists.get((shared, "signed"), ",".join("0" * len(names)))
        texts = signed, self._lists[kind, "predictor"], self._lists.get((kind, "encoding"), "")
        numbers = [tuple(map(_whole, each.split(","))) for each in texts]
        if len(set(names)) < len(names) or any(len(each) != len(names) for each in numbers):
            raise ValueError(f"its header has unequal lists of the fields of {kind} frames")
        return FrameLayout(names, *numbers)


def _whole(text: str) -> int:
    if not re.fullmatch(r"\d{1,6}", text.strip()):
        raise ValueError(f"its header has {text[:20]!r} for a whole number")
    return int(text)
