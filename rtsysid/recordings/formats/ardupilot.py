"""Read DataFlash logs of ArduPilot (`.bin`): a topic for each type of message.

A type that several sensors share is a topic for each: `BAT` for the first one, `BAT[1]` for the second. The time of
logging is the column `TimeUS`, or `TimeMS` in logs of before 2015; a message without one has that of the message
before it. Numbers that the log keeps as hundredths or as 1e-7 degrees come as what they mean; other values come as the
log keeps them, and their unit says the rest, where the log states units: "ms", "0.1 deg".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rtsysid.recordings.dataflash import DIVISORS, NUMBERS, DataflashIndex, MessageFormat
from rtsysid.recordings.formats.damage import damaged, reading
from rtsysid.recordings.topics import Series, Topic, TopicField, topic_of
from rtsysid.spec import Doubles

_ABOUT = ("FMT", "FMTU", "UNIT", "MULT", "PARM")  # describe the log itself
_ITEMS = 32  # of an array, the letter "a"
_STAMPS = ("SampleUS",)
_UNITS = {
    "m/s/s": "m/s2", "deg/s/s": "deg/s2", "rad/s/s": "rad/s2", "degheading": "deg", "deglatitude": "deg",
    "deglongitude": "deg", "UNKNOWN": "", "instance": "",
}  # fmt: skip
_PREFIXED = {(1e-3, "s"): "ms", (1e-6, "s"): "us", (1e-2, "m"): "cm", (1e-3, "m"): "mm", (1e-3, "V"): "mV"}


class _SensorType(NamedTuple):
    """Locate a topic: its type of message, and the number of the sensor, -1 where there is only one."""

    number: int
    instance: int


class Reader:
    """Open a DataFlash log. Raises TraceError where it holds no message, or is damaged from its start."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with reading(path):
            raw = path.read_bytes()
        try:
            self._index = DataflashIndex(raw)
        except ValueError as error:
            raise damaged(path, error) from error
        self._sources = dict(sorted(self._named()))
        self.topics: tuple[Topic, ...] = tuple(self._topic(name, each) for name, each in self._sources.items())
        self.missing = ", ".join(self._lost())

    def read(self, topic: str, fields: Sequence[str], stamp: str = "") -> Series:
        """Read fields of all messages of a topic, in the order of the file.

        Raises TraceError where the topic, a field or the stamp does not exist.
        """
        topic_of(self, topic, fields, stamp)
        number, instance = self._sources[topic]
        known, messages = self._index.formats[number], self._index.messages(number)
        rows = slice(None) if instance < 0 else np.flatnonzero(messages[self._sensor(number)] == instance)
        logged, messages = self._times(number)[rows], messages[rows]
        columns = [_field_of(messages, known, field) for field in fields]
        t = messages[stamp] * 1e-6 if stamp else logged
        values = np.column_stack(columns) if fields else np.empty((len(t), 0))
        return Series(t, np.maximum.accumulate(logged), values)

    @cached_property
    def parameters(self) -> Mapping[str, float]:
        """Return the newest value of each parameter, by name."""
        found = [self._index.messages(number) for number in self._of("PARM", "Name", "Value")]
        return {_unpadded(each["Name"]): float(each["Value"]) for messages in found for each in messages}

    def _of(self, name: str, *columns: str) -> Iterator[int]:
        """Yield the types with this name and these columns."""
        for number, known in self._index.formats.items():
            if known.name == name and set(columns) <= known.letters.keys():
                yield number

    def _named(self) -> Iterator[tuple[str, _SensorType]]:
        for number, known in self._index.formats.items():
            sensor = self._sensor(number)
            if known.name in _ABOUT or not len(self._index.places(number)):
                continue
            if not sensor:
                yield known.name, _SensorType(number, -1)
                continue
            for instance in np.unique(self._index.messages(number)[sensor]).tolist():
                yield f"{known.name}[{instance}]" if instance else known.name, _SensorType(number, instance)

    def _sensor(self, number: int) -> str:
        """Return the column that numbers the sensors of a type, "" where it has none."""
        letters, (units, _) = self._index.formats[number].letters, self._described.get(number, ("", ""))
        marked = [name for name, unit in zip(letters, units, strict=False) if unit == "#"]
        plain = [name for name in ("I", "Instance") if letters.get(name) == "B"]  # of logs that state no units
        numbered = [name for name in marked or plain if NUMBERS.get(letters[name], "")[1:2] in ("i", "u")]
        return numbered[0] if numbered else ""

    @cached_property
    def _described(self) -> dict[int, tuple[str, str]]:
        """Return the letters of units and of multipliers of each type that has them."""
        return {
            int(each["FmtType"]): (_unpadded(each["UnitIds"]), _unpadded(each["MultIds"]))
            for number in self._of("FMTU", "FmtType", "UnitIds", "MultIds")
            for each in self._index.messages(number)
        }

    def _table(self, name: str, column: str) -> dict[str, Any]:
        """Return what the letters of units or of multipliers mean."""
        found = [self._index.messages(number) for number in self._of(name, "Id", column)]
        return {chr(int(each["Id"]) & 255): each[column] for messages in found for each in messages}

    @cached_property
    def _units(self) -> dict[str, str]:
        return {letter: _unpadded(label) for letter, label in self._table("UNIT", "Label").items()}

    @cached_property
    def _multipliers(self) -> dict[str, float]:
        return {letter: float(f"{each:.7g}") for letter, each in self._table("MULT", "Mult").items()}

    def _unit(self, number: int, place: int, letter: str) -> str:
        """Return the unit of the value at this place of a message, with its factor where it has one."""
        units, multipliers = self._described.get(number, ("", ""))
        unit = self._units.get(units[place : place + 1], "")
        unit = _UNITS.get(unit, unit)
        factor = 1.0 if letter in DIVISORS else self._multipliers.get(multipliers[place : place + 1], 1.0)
        if not unit or factor in (0.0, 1.0):  # 0 says that there is no multiplier
            return unit
        return _PREFIXED.get((factor, unit), f"{factor:.7g} {unit}")

    def _topic(self, name: str, source: _SensorType) -> Topic:
        number, instance = source
        known, sensor = self._index.formats[number], self._sensor(number)
        clock, _ = _clock(known)
        fields = [
            TopicField(each, self._unit(number, place, letter))
            for place, (value, letter) in enumerate(known.letters.items())
            if letter in NUMBERS and value not in (clock, sensor, *_STAMPS)
            for each in _items(value, letter)
        ]
        count = len(self._index.places(number))
        if instance >= 0:
            count = int((self._index.messages(number)[sensor] == instance).sum())
        stamps = tuple(each for each in _STAMPS if known.letters.get(each) == "Q")
        return Topic(name, known.name, tuple(fields), stamps, count, "" if fields else "it holds no number")

    def _times(self, number: int) -> Doubles:
        """Return the times [n] s of logging of the messages of a type."""
        column, seconds = _clock(self._index.formats[number])
        if column:
            return np.asarray(self._index.messages(number)[column] * seconds)
        return self._near(self._index.places(number))

    def _near(self, places: np.ndarray[Any, Any]) -> Doubles:
        """Return the time of the last message with a time before each place; of the first one before that."""
        known, times = self._timeline
        found: Doubles = (
            times[np.maximum(np.searchsorted(known, places) - 1, 0)] if len(times) else np.zeros(len(places))
        )
        return found

    @cached_property
    def _timeline(self) -> tuple[np.ndarray[Any, Any], Doubles]:
        """Return the places [n] and the times [n] s of all messages that have a time."""
        timed = [number for number, known in self._index.formats.items() if _clock(known)[0]]
        places = np.concatenate([np.empty(0, np.int64), *map(self._index.places, timed)])
        times = np.concatenate([np.empty(0), *map(self._times, timed)])
        order = np.argsort(places)
        return places[order], times[order]

    def _lost(self) -> Iterator[str]:
        index = self._index
        dropped = [int(index.messages(number)["Dp"].max(initial=0)) for number in self._of("DSF", "Dp")]
        if sum(dropped):
            yield f"{sum(dropped)} messages dropped by the logger"
        start = self._timeline[1][:1].sum()
        if index.damaged:
            after = self._near(np.array([index.damaged_from]))[0] - start
            yield f"{index.damaged} damaged bytes left out, the first after {after:.4g} s"
        if index.cut:
            yield f"cut off after {self._timeline[1][-1:].sum() - start:.4g} s, inside a message"


def _clock(known: MessageFormat) -> tuple[str, float]:
    """Return the column of the time of logging, and the seconds of its unit; "" where there is none.

    A GPS message of an old log has the time of the week in `TimeMS`, and that of the board in `T`.
    """
    if known.letters.get("TimeUS") == "Q":
        return "TimeUS", 1e-6
    column = "T" if {"Week", "T"} <= known.letters.keys() else "TimeMS"
    return (column, 1e-3) if known.letters.get(column) == "I" else ("", 1.0)


def _items(value: str, letter: str) -> list[str]:
    return [f"{value}[{k}]" for k in range(_ITEMS)] if letter == "a" else [value]


def _field_of(messages: np.ndarray[Any, Any], known: MessageFormat, field: str) -> Doubles:
    """Return a field of n messages [n]."""
    if field not in known.letters:
        name, _, item = field.rpartition("[")
        return np.asarray(messages[name][:, int(item[:-1])], np.float64)
    with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one
        return np.asarray(messages[field], np.float64) / DIVISORS.get(known.letters[field], 1.0)


def _unpadded(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode("latin-1")
