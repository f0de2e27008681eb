"""Make topics of a file of named arrays: arrays of a group that have the same length share their times.

A topic has the name of its group, "/imu", which is "" for arrays outside all groups; a group of several lengths is
several topics, each with the name of its times, "/imu/time_gyro", or of its first array.

An array of a group is a field, `gyro`, or one field for each column of it, `gyro[0]`. The longer axis is time, unless
the times say otherwise. Times are an array of one dimension with a name such as `t`, `time` or `stamp_us`: in the same
group, or in a group around it, or the only ones of that length in the file. Arrays without times are rows at the rate
that the file states (`Fs`, `dt`), or that is given; without either they are one second apart, and the topic says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from rtsysid.guards.limits import checked_size
from rtsysid.recordings.topics import Series, Topic, TopicField, topic_of
from rtsysid.spec import Doubles

_TIME = re.compile(
    r"(?:.*[_ .])?(?:t|ts|time|times|timestamps?|stamps?|tout|secs?|seconds)(?:_(?P<unit>s|ms|us|ns))?|time_.*", re.I
)
_PLAIN = ("t", "time", "timestamp", "timestamps", "times", "stamp", "stamps", "tout")  # the likelier, the earlier
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_RATES = ("fs", "fps", "rate", "rate_hz", "sample_rate", "sampling_rate", "samplerate")
_PERIODS = ("dt", "ts", "sample_time", "sampling_time")
_SHORTEST = 8  # rows: shorter arrays without times are settings
# Counts since 1970 in seconds are below 1e11 until the year 5138, in milliseconds below 1e14, and so on.
_EPOCHS = ((1e17, 1e-9), (1e14, 1e-6), (1e11, 1e-3))


class StoredArray(NamedTuple):
    """Describe an array of numbers: its path, "/imu/gyro", its shape without axes of length 1, and its unit."""

    path: str
    shape: tuple[int, ...]
    unit: str = ""


class ArrayFile(Protocol):
    """Define an open file of arrays."""

    path: Path
    arrays: Sequence[StoredArray]

    def load(self, paths: Sequence[str]) -> Mapping[str, np.ndarray[Any, Any]]:
        """Read arrays [..] by their path, in the shapes of `arrays`. Raises TraceError where one is damaged."""


class _SharedTimes(NamedTuple):
    """Hold arrays that share their times. ``times``: paths of times, the likeliest first."""

    times: list[str]
    length: int
    fields: dict[str, tuple[str, int, int]]  # by name: path of the array, its axis of time, and a column or -1


class ArrayLog:
    """Show a file of arrays as a log of topics: one for each group and length. ``rate_hz``: of rows without times."""

    def __init__(self, file: ArrayFile) -> None:
        self.path, self.missing = file.path, ""
        self.rate_hz: float | None = None
        self._file = file
        self._arrays = {each.path: each for each in file.arrays}
        self._times = [each for each in file.arrays if len(each.shape) == 1 and _TIME.fullmatch(_last(each.path))]
        self._rows = dict(sorted(self._named()))
        self._rates = {
            name: self._rate(_group(next(iter(rows.fields.values()))[0])) for name, rows in self._rows.items()
        }
        self.topics: tuple[Topic, ...] = tuple(self._topic(name, rows) for name, rows in self._rows.items())

    def read(self, topic: str, fields: Sequence[str], stamp: str = "") -> Series:
        """Read columns of arrays. Raises TraceError where the topic, a field or the stamp does not exist."""
        topic_of(self, topic, fields, stamp)
        rows = self._rows[topic]
        logged, t = rows.times[:1], [path for path in rows.times if stamp and _last(path) == stamp]
        needed = (*logged, *t, *(rows.fields[name][0] for name in fields))
        arrays = self._file.load(list(dict.fromkeys(needed)))
        numbered = np.arange(rows.length) / (self._rates[topic][0] or self.rate_hz or 1.0)
        arrival = self._seconds(logged[0], arrays) if logged else numbered
        values = np.empty((rows.length, len(fields)))
        for column, name in enumerate(fields):
            path, axis, place = rows.fields[name]
            array = np.moveaxis(arrays[path], axis, 0)
            values[:, column] = array if place < 0 else array[:, place]
        return Series(self._seconds(t[0], arrays) if t else arrival, np.fmax.accumulate(arrival), values)

    def _named(self) -> Iterator[tuple[str, _SharedTimes]]:
        """Yield groups of arrays of equal length by the name of their topic."""
        found: dict[tuple[str, int], _SharedTimes] = {}
        times, columns = {each.path for each in self._times}, 0
        for each in self._arrays.values():
            if each.path in times or not 0 < len(each.shape) <= 2:
                continue
            group = _group(each.path)
            axis = next((k for k, n in enumerate(each.shape) if self._times_of(group, n)), int(np.argmax(each.shape)))
            length = each.shape[axis]
            own = self._times_of(group, length)
            if own or length >= _SHORTEST:
                columns += each.shape[1 - axis] if len(each.shape) == 2 else 1
                checked_size(f"recording {self.path.name}", columns, "columns")
                rows = found.setdefault((group, length), _SharedTimes(own, length, {}))
                rows.fields.update(_array_fields(each, axis))
        groups = [group for group, _ in found]
        for (group, _), rows in found.items():
            # The length would not do as a name: it differs from file to file.
            first = next(iter(rows.fields.values()))[0]
            own = [path for path in rows.times if _group(path) == group]
            yield group if groups.count(group) == 1 else (*own, first)[0], rows

    def _times_of(self, group: str, length: int) -> list[str]:
        """Return the times of arrays of this length in a group, the likeliest first."""
        fitting = [each.path for each in self._times if each.shape == (length,)]
        for around in _around(group):
            if own := [path for path in fitting if _group(path) == around]:
                return sorted(own, key=_likelihood)
        return fitting if len(fitting) == 1 else []

    def _rate(self, group: str) -> tuple[float, str]:
        """Return the rate in Hz that the file states for a group, and where; 0 where it states none."""
        scalars = [each.path for each in self._arrays.values() if each.shape == ()]
        for around in _around(group):
            for path in scalars:
                name = _last(path).lower()
                if _group(path) == around and name in (*_RATES, *_PERIODS):
                    value = float(self._file.load([path])[path])
                    value = 1 / value if name in _PERIODS and value > 0 else value
                    if 0 < value < 1e9:
                        return value, path
        return 0.0, ""

    def _seconds(self, path: str, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Doubles:
        """Return an array of times in s: its unit, or its name, or the size of a count since 1970 says the unit."""
        times = np.asarray(arrays[path], np.float64)
        named = _TIME.fullmatch(_last(path))
        unit = self._arrays[path].unit or (named["unit"] or "" if named else "").lower()
        first = np.abs(times[:1]).max(initial=0)
        return times * _SECONDS.get(unit, next((seconds for least, seconds in _EPOCHS if first > least), 1.0))

    def _topic(self, name: str, rows: _SharedTimes) -> Topic:
        rate, where = self._rates[name]
        fields = tuple(TopicField(field, self._arrays[path].unit) for field, (path, _, _) in rows.fields.items())
        stamps = tuple(_last(path) for path in rows.times[1:])
        said = f"rows at {rate:g} Hz, as {where} says" if rate else "rows without times: give their rate"
        return Topic(name, "arrays", fields, stamps, rows.length, "" if rows.times else said)


def _group(path: str) -> str:
    return path.rpartition("/")[0]


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _around(group: str) -> Iterator[str]:
    """Yield a group and the groups around it."""
    yield group
    while group:
        group = _group(group)
        yield group


def _likelihood(path: str) -> tuple[int, str]:
    name = _last(path).lower()
    return _PLAIN.index(name) if name in _PLAIN else len(_PLAIN), path


def _array_fields(array: StoredArray, axis: int) -> Iterator[tuple[str, tuple[str, int, int]]]:
    name = _last(array.path)
    if len(array.shape) == 1:
        yield name, (array.path, 0, -1)
    else:
        yield from ((f"{name}[{k}]", (array.path, axis, k)) for k in range(array.shape[1 - axis]))
