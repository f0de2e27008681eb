"""A log of topics whose content is written in the test, read in place of another format."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest

from rtsysid.errors import TraceError
from rtsysid.recordings import formats
from rtsysid.recordings.topic_logs import require_known
from rtsysid.recordings.topics import Series, Topic, TopicField
from rtsysid.spec import Doubles


class Content(NamedTuple):
    """What a topic holds: times of logging [n], and values [n] by field; ``stamps``: times [n] inside the messages."""

    arrival: Doubles
    values: Mapping[str, Doubles]
    units: Mapping[str, str] = {}
    stamps: Mapping[str, Doubles] = {}
    problem: str = ""


class FakeLog:
    """A log of topics in memory, with the members of `TopicLog`. ``asked``: the reads, in order."""

    def __init__(self, path: Path, content: Mapping[str, Content], missing: str = "") -> None:
        self.path, self.missing, self._content = path, missing, content
        self.asked: list[tuple[str, tuple[str, ...]]] = []

    @property
    def topics(self) -> tuple[Topic, ...]:
        return tuple(
            Topic(
                name,
                "test/Type",
                tuple(TopicField(field, each.units.get(field, "")) for field in each.values),
                tuple(each.stamps),
                len(each.arrival),
            )
            for name, each in sorted(self._content.items())
        )

    def read(self, topic: str, fields: Sequence[str], stamp: str = "") -> Series:
        require_known("topic", topic, list(self._content), self.path)
        found = self._content[topic]
        self.asked.append((topic, tuple(fields)))
        if found.problem:
            raise TraceError(f"topic {topic}", found.problem, "record it again")
        values = (
            np.column_stack([found.values[name] for name in fields]) if fields else np.empty((len(found.arrival), 0))
        )
        return Series(found.stamps[stamp] if stamp else found.arrival, found.arrival, values)


def put_fake(patch: pytest.MonkeyPatch, content: Mapping[str, Content], missing: str = "") -> None:
    """Let every .npz file be a log of topics with this content."""
    module = SimpleNamespace(Reader=lambda path: FakeLog(path, content, missing))
    patch.setitem(sys.modules, f"{formats.__name__}.fake", module)
    patch.setitem(formats.FORMATS, ".npz", formats.Format("fake", topics=True))
