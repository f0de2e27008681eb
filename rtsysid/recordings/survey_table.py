"""Survey a table: its rows, its time column, which is guessed where nobody names it, and the ranges of its columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from rtsysid.errors import TraceError
from rtsysid.recordings.columns import Column, NotANumber, common_rows
from rtsysid.recordings.describe import Ranges, describe_episode
from rtsysid.recordings.formats import EPISODE, LogFile
from rtsysid.recordings.names import digest_of
from rtsysid.recordings.rollover import unrolled_times
from rtsysid.recordings.time_column import (
    TimeColumn,
    find_time,
    guessed_unit,
    implied_unit,
    likely_index,
    likely_time,
    split_time,
)
from rtsysid.recordings.unit_words import SECONDS
from rtsysid.spec import Doubles


def survey_table(log: LogFile, time: str | None = None) -> dict[str, Any]:
    """Describe a table as plain values; see `rtsysid.recordings.survey`.

    Raises TraceError where no row can be read, and where the column `time` does not exist or holds text.
    """
    table = _TableReading(log, time)
    while not table.read_through():
        pass
    return table.described()


def guessed_time(log: LogFile) -> str | None:
    """Return the likely time column of a table as a setting: with its unit, ``stamp [us]``, where nothing states one.

    None where no column has the name of a time. Raises TraceError where the column cannot be read.
    """
    place = likely_time(log.columns)
    if place is None:
        return None
    column = log.columns[place]
    if column.unit in SECONDS or implied_unit(column.name):
        return column.name
    unit = guessed_unit(np.concatenate([block.exact[:, 0] for block in log.blocks((place,), ())] or [np.empty(0)]))
    return column.name if unit == "s" else f"{column.name} [{unit}]"


class _TableReading:
    """Read a table once, or again without the columns that turned out to hold text."""

    def __init__(self, log: LogFile, time: str | None) -> None:
        self._log, self._columns, self._given = log, log.columns, time
        self._text: dict[int, str] = {}
        self._notes: list[str] = []
        self._guesses: list[str] = []
        self._index: int | None = None  # a column that may number the rows, in place of a time
        self._time = self._chosen_time()

    def _chosen_time(self) -> int | None:
        if self._given is not None:
            return find_time(self._log.path.name, self._columns, self._given).place if self._given else None
        likely = likely_time(self._columns)
        self._index = likely_index(self._columns) if likely is None else None
        return self._index if likely is None else likely

    def read_through(self) -> bool:
        """Read all rows; return False where columns of text have to be left out first. Raises TraceError for none."""
        own = () if self._time is None else (self._time,)
        self._rows = common_rows(self._columns, own)
        self._fields = [i for i, each in enumerate(self._columns) if i not in own and self._usable(i, each)]
        numbers = [i for i, each in enumerate(self._columns) if each.name == EPISODE][:1]
        wanted = (*own, *numbers, *self._fields)
        self._ranges, self._missing = Ranges(len(self._fields)), getattr(self._log, "missing", "")
        exact: list[Doubles] = []
        try:
            for block in self._log.blocks(wanted, ()) if wanted else ():
                first = len(wanted) - len(self._fields)
                exact.append(block.exact[:, :first].copy())
                self._ranges.add(block.exact[:, first:])
        except NotANumber as refused:
            return self._leave_out(refused)
        except TraceError as error:
            self._missing = str(error)
            if not exact:
                raise
        if not exact and wanted:
            raise TraceError(f"recording {self._log.path.name}", "a header and no rows", "record it again")
        self._exact = np.concatenate(exact) if exact else np.empty((0, 0))
        return True

    def _usable(self, index: int, column: Column) -> bool:
        known = column.numeric and column.name not in ("", EPISODE) and index not in self._text
        return known and column.rows in (None, self._rows)

    def _leave_out(self, refused: NotANumber) -> bool:
        if self._time in refused.columns:
            if self._given is not None:
                raise refused
            name = self._columns[self._time or 0].name
            self._notes.append(f"{name!r} looks like the time by its name, but holds text")
            self._time = None
        self._text |= {i: f"holds text: {reason}" for i, reason in refused.columns.items()}
        return False

    def described(self) -> dict[str, Any]:
        """Describe what was read."""
        time = self._time_facts()
        columns = [
            {"name": self._columns[i].name, "unit": self._columns[i].unit, "role": "output", **self._ranges.describe(k)}
            for k, i in enumerate(self._fields)
        ]
        twice = [name for name, count in Counter(each["name"] for each in columns).items() if count > 1]
        self._notes += [f"two columns are named {name!r}: rename one of them to use it" for name in twice]
        return {
            "rows": self._ranges.rows if len(self._exact) else None,  # of text alone nothing was read
            **self._episode_facts(time),
            "time": None if time is None else {"column": time.name, "unit": time.unit, "guessed": self._guesses},
            "channels": columns,
            "left_out": self._left_out(),
            "notes": self._notes,
            "missing": self._missing,
            "sources": [{"name": self._log.path.name, "sha256": digest_of(self._log.path)}],
        }

    def _time_facts(self) -> TimeColumn | None:
        """Return the time column with its unit, which is guessed where nothing states it; None for a row number."""
        if self._time is None:
            self._notes += [] if self._given == "" else ['no column looks like the time: --time COLUMN, or --time ""']
            return None
        column, t = self._columns[self._time], self._exact[:, 0]
        if self._index is not None and _counts_rows(t):
            self._notes.append(f'{column.name!r} numbers the rows, and no column looks like the time: --time ""')
            return None
        known = column.unit if column.unit in SECONDS else implied_unit(column.name)
        stated = split_time(self._given or "")[1] or known
        unit = stated or guessed_unit(t)
        self._say_guesses(column.name, unit, stated != "")
        return TimeColumn(column.name, SECONDS[unit], self._time)

    def _say_guesses(self, name: str, unit: str, stated: bool) -> None:
        unsure = not stated and unit != "s"
        self._guesses = [*["column"] * (self._given is None and name != "t"), *["unit"] * unsure]
        if self._guesses:
            shown = f"{name} [{unit}]" if unsure else name
            what = {1: "the time column is a guess", 2: "the time column and its unit are guesses"}[len(self._guesses)]
            what = "the unit of the time is a guess" if self._guesses == ["unit"] else what
            self._notes.append(f'{what}: say --time "{shown}", or time = "{shown}" in a configuration')

    def _episode_facts(self, time: TimeColumn | None) -> dict[str, Any]:
        if time is None:
            return {"duration_s": None, "rate_hz": None, "jitter_percent": None, "gaps": None, "episodes": []}
        t = self._exact[:, 0] * time.seconds
        number = np.nan_to_num(self._exact[:, 1]) if self._exact.shape[1] > 1 else np.zeros(len(t))
        cuts = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(t)]
        episodes = []
        for k, (i, j) in enumerate(pairwise(cuts), 1):
            own, clock = unrolled_times(t[i:j], time.seconds)
            episodes.append(describe_episode(f"{self._log.path.name}{f'#{k}' if k > 1 else ''}", own))
            if clock.count:
                self._notes.append(f"the clock rolled over {clock.count} times, after {clock.period_s:.10g} s")
        return {**_pooled(episodes), "episodes": episodes}

    def _left_out(self) -> list[dict[str, str]]:
        """List the columns that are no channels, with the reason."""
        found = []
        for i, each in enumerate(self._columns):
            if i in (self._time, *self._fields) or each.name == EPISODE:
                continue
            found.append({"name": each.name or f"column {i + 1}", "reason": self._reason(i, each)})
        others = [each.partition(": ") for each in getattr(self._log, "left_out", ())]
        return [*found, *({"name": name, "reason": reason} for name, _, reason in others)]

    def _reason(self, index: int, column: Column) -> str:
        if index in self._text or column.note:
            return self._text.get(index, column.note)
        if column.rows not in (None, self._rows):
            whose = "the recording" if self._time is None else self._columns[self._time].name
            return f"has {column.rows} rows, {whose} has {self._rows}"
        stamps = "holds time stamps" if column.unit in SECONDS else "holds no numbers"
        return stamps if not column.numeric else "has no name"


def _counts_rows(t: Doubles) -> bool:
    """Tell whether values [n] are 0, 1, 2 or another run of whole numbers."""
    return len(t) > 1 and bool((np.diff(t) == 1).all())


def _pooled(episodes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Join the facts about the times of episodes."""

    def median(key: str) -> float | None:
        known = [each[key] for each in episodes if each[key] is not None]
        return float(np.median(known)) if known else None

    sums = {key: sum(each[key] for each in episodes) for key in ("gaps", "duplicates", "backward")}
    return {
        "duration_s": sum(each["duration_s"] for each in episodes),
        "rate_hz": median("rate_hz"),
        "jitter_percent": median("jitter_percent"),
        **sums,
    }
