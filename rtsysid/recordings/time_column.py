"""Find the time column of a table and its unit: stated by the user, in the header, or by a known name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rtsysid.channels import split_unit
from rtsysid.errors import TraceError
from rtsysid.recordings.columns import Column, place_of
from rtsysid.recordings.unit_words import SECONDS
from rtsysid.spec import Doubles

_LISTED = 40  # names in an error
UNITS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
_STATED = re.compile(r"(?P<name>.*\S)\s*\((?P<unit>[^()]+)\)")
# Names that say their unit: rostopic echo -p, ArduPilot, and endings as in `time_us`.
_NAMED = {"%time": "ns", "TimeUS": "us", "TimeMS": "ms"}
_ENDING = re.compile(r".*[_.]((?:u|m|n)s(?:ec)?|sec|seconds)")
# Common names of a time column, best first; a name is compared in lower case.
_LIKELY = (
    "t", "time", "timestamp", "__time", "%time", "time_s", "timeus", "time_us", "time_ms", "time_ns", "timems",
    "stamp", "timestamps", "times", "datetime", "header.stamp", "seconds", "elapsed",
    "zeit", "temps", "tiempo", "tempo",
)  # fmt: skip
_WORD = re.compile(r"(?:^|[^a-z])(?:time|timestamp|stamp|t)(?:$|[^a-z])")
_INDEX = ("index", "unnamed: 0", "__index_level_0__", "frame", "frame_index", "sample", "loopiteration")
_PLAUSIBLE_HZ = 100.0  # a unit is guessed so that the rate comes next to this
_EPOCH_S, _SLOWEST_S = (0.9e9, 4e9), 60.0  # Unix seconds from 1998 to 2096; the longest typical interval with them


class TimeColumn(NamedTuple):
    """Name a time column; ``seconds`` per unit of it, ``place``: its index. The name is empty where it is not known."""

    name: str = ""
    seconds: float = 1.0
    place: int = 0

    @property
    def unit(self) -> str:
        """Return the unit as it is stated in a header."""
        return next((each for each in UNITS if SECONDS[each] == self.seconds), "s")


NO_TIME = TimeColumn()  # rows of an even rate, or times of unknown origin


def find_time(where: str, columns: Sequence[Column], time: str) -> TimeColumn:
    """Find a time column by its name or header, or by a name with a stated unit: ``timestamp [us]``, ``t (ms)``.

    A stated unit is taken in place of the one in the file. Raises TraceError where there is no such column, and where
    its unit is not one of time.
    """
    index, stated = place_of(columns, time), ""
    if index is None:
        name, stated = split_time(time)
        index = place_of(columns, name) if stated else None
    if index is None:
        raise _no_time_column(where, columns, time)
    found = columns[index]
    unit = stated or found.unit or implied_unit(found.name)
    if unit and unit not in SECONDS:
        raise TraceError(
            f"{where}: time column {found.name!r}",
            f"its unit is {unit!r}",
            f"use one of {', '.join(UNITS)}, as in '{found.name} [us]'",
        )
    return TimeColumn(found.name or found.header, SECONDS[unit or "s"], index)


def split_time(time: str) -> tuple[str, str]:
    """Split a setting into the name of a time column and a stated unit, which is "" where none is stated."""
    name, unit = split_unit(time)
    match = None if unit else _STATED.fullmatch(name)
    return (match["name"], match["unit"].strip()) if match and match["unit"].strip() in SECONDS else (name, unit)


def stated_time(time: str) -> TimeColumn:
    """Return the time column that a setting names, in seconds where it states no unit."""
    name, unit = split_time(time)
    return TimeColumn(name, SECONDS.get(unit or implied_unit(name), 1.0))


def time_setting(time: TimeColumn) -> str:
    """Return the setting that names a time column, with its unit where it is not s; "" where there is none."""
    return time.name if time.unit in ("s", implied_unit(time.name)) else f"{time.name} [{time.unit}]"


def implied_unit(name: str) -> str:
    """Return the unit that the name of a time column implies, such as us of ``time_us``; otherwise ""."""
    match = _ENDING.fullmatch(name)
    return _NAMED.get(name, match[1] if match else "")


def _no_time_column(where: str, columns: Sequence[Column], time: str) -> TraceError:
    shown = [each.name for each in columns if each.name]
    listed = ", ".join(shown[:_LISTED]) or "none"
    listed += f" and {len(shown) - _LISTED} more" if len(shown) > _LISTED else ""
    likely = likely_time(columns)
    remedy = 'name the time column, or none ("") where rows are evenly spaced'
    if likely is not None:
        name = columns[likely].name
        remedy = f'{remedy}; there is {name!r}: --time "{name}", or time = "{name}" in a configuration'
    return TraceError(f"{where}: no time column {time!r}", f"columns are {listed}", remedy)


def likely_time(columns: Sequence[Column]) -> int | None:
    """Return the index of the column that is most likely the time; None where there is none.

    Its name says it, or it holds time stamps, or it is the first column and has a unit of time.
    """
    able = [(i, each.name.lower()) for i, each in enumerate(columns) if each.numeric or each.unit in SECONDS]
    ranked = [(_LIKELY.index(name), i) for i, name in able if name in _LIKELY]
    if ranked:
        return min(ranked)[1]
    stamps = (i for i, name in able if not columns[i].numeric and name)
    words = (i for i, name in able if _WORD.search(name))
    first = (i for i, _ in able if i == 0 and columns[i].unit in SECONDS)
    return next(stamps, next(words, next(first, None)))


def likely_index(columns: Sequence[Column]) -> int | None:
    """Return the index of a column that numbers the rows; None where no name fits."""
    return next((i for i, each in enumerate(columns) if each.name.lower() in _INDEX), None)


def guessed_unit(t: Doubles) -> str:
    """Guess the unit of times [n] from their size, as Unix time, or from their typical interval.

    Intervals of up to a second are taken for seconds; otherwise the unit gives the rate that is nearest to 100 Hz.
    """
    steps = np.diff(t)
    forward = steps[steps > 0]
    typical = float(np.median(forward)) if len(forward) else 1.0
    middle = float(np.median(t[np.isfinite(t)])) if np.isfinite(t).any() else 0.0
    for unit, scale in SECONDS.items():
        if unit in UNITS and _EPOCH_S[0] < middle * scale < _EPOCH_S[1] and typical * scale <= _SLOWEST_S:
            return unit
    if typical <= 1.0:
        return "s"
    return min(("ms", "us", "ns"), key=lambda unit: abs(np.log10(typical * SECONDS[unit] * _PLAUSIBLE_HZ)))
