"""Define logs of several topics: messages of one kind, each with its own times and rate.

A bag, a ULog or a DataFlash log is read topic by topic. It becomes even rows by alignment (`rtsysid.recordings.align`);
one wide table of all topics is never made before that.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, Protocol, TypeGuard

import numpy as np

from rtsysid.errors import TraceError
from rtsysid.spec import Doubles


class TopicField(NamedTuple):
    """Describe one number of a message: ``angular_velocity.x``, ``position[left]``, ``xyz[0]``."""

    name: str
    unit: str = ""


class Topic(NamedTuple):
    """Describe a topic: its number fields, and the time stamps inside its messages.

    ``stamps``: names of times that `TopicLog.read` accepts besides "", the time of receipt or logging.
    ``messages``: their number, None where the file does not state it. ``note``: what a reader should know, such as
    why there is no field.
    """

    name: str
    type_name: str
    fields: tuple[TopicField, ...]
    stamps: tuple[str, ...] = ()
    messages: int | None = None
    note: str = ""


class Series(NamedTuple):
    """Hold n messages of a topic in order of arrival.

    ``t`` [n] s: the stamp that was asked for. ``arrival`` [n] s: time of receipt or logging, never decreasing.
    ``values`` [n, F] float64 of the fields that were asked for; NaN where a message lacks one.
    """

    t: Doubles
    arrival: Doubles
    values: Doubles


class TopicRequest(NamedTuple):
    """Ask for fields of a topic; see `TopicLog.read`."""

    topic: str
    fields: Sequence[str]
    stamp: str = ""


class TopicLog(Protocol):
    """Define an open log of topics.

    ``path``: file or folder. ``missing``: what the log lost, in words ("dropouts of 0.31 s", "damaged after 12.4 s");
    "" where it is complete. A log that is damaged or cut off is read up to the damage.
    """

    path: Path
    missing: str

    @property
    def topics(self) -> tuple[Topic, ...]:
        """List the topics of the log in order of names."""

    def read(self, topic: str, fields: Sequence[str], stamp: str = "") -> Series:
        """Read fields of all messages of a topic, in order of arrival.

        Raises TraceError, with near names, where the topic, a field or the stamp does not exist.
        """


def read_each(log: TopicLog, requests: Sequence[TopicRequest]) -> list[Series]:
    """Read several topics; in one pass where the log can do that (`RosLog.read_each`). Raises the errors of `read`."""
    together: Callable[[Sequence[TopicRequest]], list[Series]] | None = getattr(log, "read_each", None)
    return together(requests) if together else [log.read(*each) for each in requests]


def spans_of(log: TopicLog) -> list[tuple[float, float]]:
    """Return the spans of time in s that belong together: a log may hold several recordings, which begin at `starts`.

    Asked for after a topic was read.
    """
    starts: Sequence[float] = getattr(log, "starts", ())
    edges = [-math.inf, *starts[1:], math.inf]
    return list(pairwise(edges))


def part_of(series: Series, span: tuple[float, float]) -> Series:
    """Return the messages that arrived in a span of time, its end excluded."""
    first, last = np.searchsorted(series.arrival, span)
    return Series(*(each[first:last] for each in series))


def is_topic_log(log: object) -> TypeGuard[TopicLog]:
    """Tell a log of topics from a table; one suffix may have both kinds of reader."""
    return not hasattr(log, "blocks")


def require_known(kind: str, name: str, known: Sequence[str], path: Path) -> None:
    """Check a name of a log. Raises TraceError, with near names, where it is not known."""
    if name in known:
        return
    near = difflib.get_close_matches(name, known, 3, 0.5) or list(known[:5])
    listed = ", ".join(repr(each) for each in near) or "none"
    raise TraceError(f"recording {path.name}", f"no {kind} {name!r}", f"there is {listed}")


def topic_of(log: TopicLog, topic: str, fields: Sequence[str], stamp: str = "") -> Topic:
    """Return a topic by its name. Raises TraceError, with near names, where it, a field or the stamp does not exist."""
    known = {each.name: each for each in log.topics}
    require_known("topic", topic, list(known), log.path)
    names = dict.fromkeys(each.name for each in known[topic].fields)
    for field in fields:
        if field not in names:
            require_known(f"field of {topic}", field, list(names), log.path)
    require_known(f"time stamp of {topic}", stamp, ["", *known[topic].stamps], log.path)
    return known[topic]
