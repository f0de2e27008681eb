"""Open any recording as a log of topics: a table is a log with one topic, whose name is empty."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from rtsysid.recordings import formats
from rtsysid.recordings.array_topics import ArrayLog
from rtsysid.recordings.columns import common_rows, place_of
from rtsysid.recordings.formats import LogFile
from rtsysid.recordings.formats.sparse import TopicTable
from rtsysid.recordings.rollover import unrolled_times
from rtsysid.recordings.time_column import split_time
from rtsysid.recordings.topics import Series, Topic, TopicField, TopicLog, require_known
from rtsysid.spec import Doubles

APART = 10.0  # s between two episodes, at least
TABLE = ""  # name of the only topic of a table


def open_topics(path: Path, time: str | None = "t", rate_hz: float | None = None) -> TopicLog:
    """Open a recording as a log of topics. `time` and `rate_hz` are for tables, see `formats.select_columns`; arrays
    without times are rows at `rate_hz`, too.

    Raises the errors of `formats.open_log`.
    """
    log = formats.open_log(path)
    if not isinstance(log, TopicTable):
        return TableLog(log, time, rate_hz)
    if isinstance(log.log, ArrayLog):
        log.log.rate_hz = rate_hz
    return log.log


class TableLog:
    """Show a table as a log of one topic, named ""; another column of times is a stamp of it.

    Episodes that a table numbers follow each other on one time line, at least ten seconds apart. ``starts`` [e] s: when
    each begins there, once rows were read.
    """

    def __init__(self, table: LogFile, time: str | None, rate_hz: float | None) -> None:
        self.missing: str = getattr(table, "missing", "")  # most tables are read as a whole or not at all
        self.path, self.table, self._time, self._rate_hz = table.path, table, time, rate_hz
        self.starts: tuple[float, ...] = ()

    @property
    def topics(self) -> tuple[Topic, ...]:
        """Describe the columns of numbers as the fields of one topic."""
        every, time = self.table.columns, self._time or ""
        own = [place for place in (place_of(every, time), place_of(every, split_time(time)[0])) if place is not None][
            :1
        ]
        rows = common_rows(every, own)
        others = [each for i, each in enumerate(every) if i not in own and each.rows in (None, rows)]
        columns = [each for each in others if each.name not in ("", formats.EPISODE)]
        fields = tuple(TopicField(each.name, each.unit) for each in columns if each.numeric)
        return (Topic(TABLE, "table", fields, tuple(each.name for each in columns), rows or self.table.rows),)

    def read(self, topic: str, fields: Sequence[str], stamp: str = "") -> Series:
        """Read columns in row order. Raises TraceError where one does not exist."""
        require_known("topic", topic, [TABLE], self.path)
        (known,) = self.topics
        for name in fields:
            require_known("column", name, [each.name for each in known.fields], self.path)
        time = stamp or self._time
        # Values come as float64: `exact` columns keep every bit of a large offset.
        selection = formats.select_columns(self.table, None, time, None if stamp else self._rate_hz)
        names = [each.name for each in self.table.columns]
        timed, numbered = int(time is not None), int(formats.EPISODE in names)
        wanted = [*[formats.EPISODE] * numbered, *fields]
        exact = (*selection.exact[:timed], *(names.index(name) for name in wanted))
        rows = formats.gather(selection._replace(exact=exact, values=())).exact
        t, _ = unrolled_times(formats.times(selection, rows, 0), selection.time.seconds)
        t, self.starts = _on_one_line(t, rows[:, timed]) if numbered else (t, ())
        return Series(t, np.maximum.accumulate(t), rows[:, timed + numbered :])


def _on_one_line(t: Doubles, numbers: Doubles) -> tuple[Doubles, tuple[float, ...]]:
    """Move episodes, whose rows [n] have one number, behind each other; return times [n] and where each begins."""
    moved, starts, end = t.copy(), list[float](), -np.inf
    cuts = [0, *(np.flatnonzero(np.diff(np.nan_to_num(numbers))) + 1).tolist(), len(t)]
    for start, stop in pairwise(cuts):
        moved[start:stop] += max(0.0, end + APART - t[start])
        starts.append(float(moved[start]))
        end = float(moved[stop - 1])
    return moved, tuple(starts)
