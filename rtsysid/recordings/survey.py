"""Survey a recording: what is in it, at which rates and in which ranges, whether or not a model can use it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from rtsysid.errors import TraceError
from rtsysid.recordings import formats
from rtsysid.recordings.describe import GAP, Ranges, jitter_percent
from rtsysid.recordings.survey_table import survey_table
from rtsysid.recordings.topics import (
    Series,
    Topic,
    TopicField,
    TopicLog,
    TopicRequest,
    is_topic_log,
    read_each,
    require_known,
)
from rtsysid.spec import Doubles

_VALUES = 1 << 25  # numbers of a topic in memory at a time; a larger topic is read field by field


def survey(path: Path, time: str | None = None) -> dict[str, Any]:
    """Describe a recording as plain values: a table, or the topics of a log.

    `time` names the time column of a table, or a stamp ``topic.stamp`` of a log; None: it is guessed, "": there is
    none. A log that is damaged is described up to the damage, which ``missing`` says. Raises TraceError where nothing
    can be read, and where `time` is not there.
    """
    opened = formats.open_reader(path)
    if is_topic_log(opened):
        return survey_topics(opened, time or "")
    return survey_table(opened, time)  # type: ignore[arg-type]


def survey_topics(log: TopicLog, time: str = "") -> dict[str, Any]:
    """Describe a log of topics as plain values, one topic in memory at a time; see `survey`."""
    stamps = [_stamp_name(topic, stamp) for topic in log.topics for stamp in topic.stamps]
    require_known("time stamp", time, ["", "t", *stamps], log.path)
    topics = [each for group in topic_groups(log.topics) for each in _survey_topics(log, group, time)]
    begins = [each["begin_s"] for each in topics if each["begin_s"] is not None]
    ends = [each["end_s"] for each in topics if each["end_s"] is not None]
    return {
        "path": str(log.path),
        "duration_s": max(ends) - min(begins) if begins else None,
        "missing": log.missing,
        "topics": topics,
    }


def topic_groups(topics: Sequence[Topic]) -> Iterator[list[Topic]]:
    """Group topics that fit in memory together: a log is then read once for all of them."""
    group: list[Topic] = []
    numbers = 0
    for topic in topics:
        own = (topic.messages or _VALUES) * (len(topic.fields) + 2)
        if group and numbers + own > _VALUES:
            yield group
            group, numbers = [], 0
        group, numbers = [*group, topic], numbers + own
    if group:
        yield group


def _survey_topics(log: TopicLog, topics: Sequence[Topic], time: str) -> list[dict[str, Any]]:
    stamps = [next((each for each in topic.stamps if _stamp_name(topic, each) == time), "") for topic in topics]
    if len(topics) > 1:
        requests = [
            TopicRequest(topic.name, [field.name for field in topic.fields], stamp)
            for topic, stamp in zip(topics, stamps, strict=True)
        ]
        with suppress(TraceError):  # below it is told of the topic that has it
            found = read_each(log, requests)
            return [_describe(topic, [(topic.fields, each)]) for topic, each in zip(topics, found, strict=True)]
    return [_survey_topic(log, topic, stamp) for topic, stamp in zip(topics, stamps, strict=True)]


def _survey_topic(log: TopicLog, topic: Topic, stamp: str) -> dict[str, Any]:
    try:
        return _describe(topic, _parts(log, topic, stamp))
    except TraceError as error:
        note = "; ".join(filter(None, (topic.note, str(error))))
        return _describe(topic._replace(note=note), ())


def _describe(topic: Topic, parts: Iterable[tuple[Sequence[TopicField], Series]]) -> dict[str, Any]:
    t, ranges = np.empty(0), list[dict[str, Any]]()
    for fields, series in parts:
        t = series.t
        ranges += _ranges(fields, series.values)
    messages = max(len(t), topic.messages or 0)
    about = {"name": topic.name, "type": topic.type_name, "messages": messages}
    return {**about, **_interval_facts(t), "stamps": list(topic.stamps), "note": topic.note, "fields": ranges}


def _stamp_name(topic: Topic, stamp: str) -> str:
    return f"{topic.name}.{stamp}" if topic.name else stamp


def _parts(log: TopicLog, topic: Topic, stamp: str) -> Iterator[tuple[Sequence[TopicField], Series]]:
    """Read a topic as a whole, or a few fields at a time where it is large."""
    wide = len(topic.fields) or 1
    step = max(1, min(wide, _VALUES // max(topic.messages or 1, 1)))
    for start in range(0, wide, step):
        fields = topic.fields[start : start + step]
        yield fields, log.read(topic.name, [each.name for each in fields], stamp)


def _ranges(fields: Sequence[TopicField], values: Doubles) -> list[dict[str, Any]]:
    """Describe fields with their values [n, F]."""
    found = Ranges(len(fields))
    for start in range(0, len(values), formats.ROWS):
        found.add(values[start : start + formats.ROWS])
    return [{"name": each.name, "unit": each.unit, **found.describe(k)} for k, each in enumerate(fields)]


def _interval_facts(t: Doubles) -> dict[str, Any]:
    """Describe the times [n] in s of a topic."""
    finite = t[np.isfinite(t)]
    steps = np.diff(finite)
    duration = float(finite.max() - finite.min()) if len(finite) else None
    typical = float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0
    return {
        "rate_hz": len(steps) / duration if duration else None,
        "jitter_percent": jitter_percent(steps),
        "gaps": int((steps > GAP * typical).sum()) if typical else 0,
        "duration_s": duration,
        "begin_s": float(finite.min()) if len(finite) else None,
        "end_s": float(finite.max()) if len(finite) else None,
    }
