"""Show a log of topics as one table: a row for each message, NaN in the columns of other topics.

A column is named `topic.field`, or `field` where the topic has no name. `t` is the time of receipt or logging; a stamp
inside the messages of a topic is a column of seconds, `topic.stamp`. The rows are in order of `t`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from rtsysid.errors import TraceError
from rtsysid.guards.limits import checked_size
from rtsysid.recordings.formats import Block, Column, rows_per_block
from rtsysid.recordings.topics import Topic, TopicField, TopicLog
from rtsysid.spec import Doubles

_INDEX = re.compile(r"\[(\d+)\]")


class TopicTable:
    """Open a log of topics as a table. Only the topics of the requested columns are read.

    Raises TraceError where no topic has a number.
    """

    def __init__(self, log: TopicLog) -> None:
        self.path: Path = log.path
        self.log = log
        self.rows: int | None = None
        places: dict[Column, tuple[str, str, bool]] = {}
        for topic in log.topics:
            prefix = f"{topic.name}." if topic.name else ""
            places |= {Column(f"{prefix}{s}", "s", False): (topic.name, s, True) for s in topic.stamps}
            places |= {_field_column(prefix, each): (topic.name, each.name, False) for each in topic.fields}
            checked_size(f"recording {self.path.name}", len(places), "columns")
        if not any(column.numeric for column in places):
            listed = "; ".join(filter(None, (", ".join(map(_described, log.topics)) or "no topics", log.missing)))
            raise TraceError(f"recording {self.path.name}: no column of numbers", listed, "record messages of numbers")
        self.columns: tuple[Column, ...] = (Column("t", "s", False), *places)
        self._places = tuple(places.values())

    def blocks(self, exact: Sequence[int], values: Sequence[int]) -> Iterator[Block]:
        """Stream the columns with these indices in order of time. Raises TraceError where the log is damaged."""
        wanted = [i for i in dict.fromkeys((*exact, *values)) if i > 0]
        cells = self._cells(wanted)
        if self.log.missing and not len(cells[0]):
            raise TraceError(f"recording {self.path.name}: no row", self.log.missing, "record it again")
        size, end = rows_per_block(len(wanted)), len(cells[0])
        for start in range(0, end, size):
            rows = slice(start, start + size)
            wide = np.column_stack([cells[i][rows] for i in exact]) if exact else np.empty((min(size, end - start), 0))
            with np.errstate(over="ignore", invalid="ignore"):  # the check of the values reports what is not finite
                narrow = np.column_stack([cells[i][rows] for i in values]).astype(np.float32)
            yield Block(wide, narrow)

    def _cells(self, wanted: Sequence[int]) -> dict[int, Doubles]:
        """Read columns [n] by their index, and the times [n] as number 0."""
        parts = [self._part(topic, wanted) for topic in dict.fromkeys(self._places[i - 1][0] for i in wanted)]
        times = np.concatenate([each[0] for each in parts]) if parts else np.empty(0)
        order, start = np.argsort(times, kind="stable"), 0
        cells = {i: np.full(len(times), np.nan) for i in wanted}
        for own, columns in parts:
            for i, column in columns.items():
                cells[i][start : start + len(own)] = column
            start += len(own)
        return {0: times[order], **{i: column[order] for i, column in cells.items()}}

    def _part(self, topic: str, wanted: Sequence[int]) -> tuple[Doubles, dict[int, Doubles]]:
        here = [i for i in wanted if self._places[i - 1][0] == topic]
        fields = [i for i in here if not self._places[i - 1][2]]
        series = self.log.read(topic, [self._places[i - 1][1] for i in fields])
        columns = dict(zip(fields, series.values.T, strict=True))
        for i in here:
            if self._places[i - 1][2]:
                columns[i] = self.log.read(topic, [], self._places[i - 1][1]).t
        return series.arrival, columns


def _field_column(prefix: str, field: TopicField) -> Column:
    """Describe the column of a field. Earlier releases wrote ``covariance.0`` for ``covariance[0]``."""
    name = f"{prefix}{field.name}"
    return Column(name, field.unit, True, _INDEX.sub(r".\1", name) if "[" in name else "")


def _described(topic: Topic) -> str:
    return f"{topic.name} ({topic.type_name}{': ' if topic.note else ''}{topic.note})"
