"""Test that a recording which was copied is named, since the same rows would train a model and judge it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from support.robots import DATA_ALONE, plant

from rtsysid.checking.check import trace_findings
from rtsysid.checking.findings import Finding
from rtsysid.config import parse_config
from rtsysid.recordings.trace import Episode, Trace


def copies(trace: Trace) -> list[Finding]:
    """The grave findings of rows that are there twice."""
    found = trace_findings(trace, parse_config(DATA_ALONE))[0]
    return [each for each in found if each.fault == "duplicated rows" and each.grave]


def with_recording(values: np.ndarray) -> Trace:
    """Three recordings, and a fourth one of these rows at a later time."""
    trace = plant(3, 120)
    later = Episode("fourth", 1000 + np.arange(len(values)) / 50, values)
    return replace(trace, episodes=(*trace.episodes, later))


def test_a_copy_of_a_recording_is_grave() -> None:
    """A copy under another name is found with its recording, and so is one that was made while the log grew."""
    first = plant(3, 120).episodes[0]
    for rows in (120, 70):
        (found,) = copies(with_recording(first.values[:rows]))
        assert found.recording == "fourth"
        assert f"{rows} rows" in found.evidence
        assert first.name in found.evidence


def test_recordings_that_begin_alike_are_no_copies() -> None:
    """Neither other rows after the same start nor two recordings at rest are refused."""
    first = plant(3, 120).episodes[0].values
    other = first.copy()
    other[60:] += 1.0
    assert copies(with_recording(other)) == []
    rest = replace(plant(2, 60), episodes=tuple(replace(e, values=0 * e.values) for e in plant(2, 60).episodes))
    assert copies(replace(rest, episodes=(*rest.episodes, *plant(1, 120).episodes))) == []
