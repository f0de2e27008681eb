"""Read the columns of recordings that a model does not use: one of them may be the input that it lacks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rtsysid.errors import RtsysidError
from rtsysid.evaluation.report.missing_input import UnusedColumn
from rtsysid.evaluation.report.observed import Observed
from rtsysid.model.bundle import Bundle
from rtsysid.recordings.names import names_of, recording_files
from rtsysid.recordings.trace import Trace, clock
from rtsysid.spec import Doubles

MOST = 64  # columns
SAME_TIME = 0.26  # of a tick: rows of the same time


def unused_columns(bundle: Bundle, paths: Sequence[Path], every: Sequence[Observed]) -> list[UnusedColumn]:
    """Return the columns of tables that the model does not use, at the times of the observed episodes.

    Nothing is returned for logs of topics, whose rows are aligned, and for columns that do not move or hold no number.
    """
    data = bundle.data()
    if data.sources or data.resample or not bundle.spec.outputs:
        return []
    try:
        traces = _whole_traces(paths, bundle)
    except RtsysidError:  # the recordings were read once already, without these columns
        return []
    used = {channel.name for channel in bundle.spec.channels} | {data.time.partition(" ")[0]}
    first = next(iter(traces.values()))
    names = [c.name for c in first.channels if c.name not in used][:MOST]
    columns = {
        name: [_at_times(traces.get(o.episode.recording), name, o, bundle.spec.rate_hz) for o in every]
        for name in names
    }
    return [
        UnusedColumn(name, [v for v in values if v is not None]) for name, values in columns.items() if _usable(values)
    ]


def _whole_traces(paths: Sequence[Path], bundle: Bundle) -> dict[str, Trace]:
    """Read every recording with all of its columns of numbers."""
    files, data = [file for path in paths for file in recording_files(path)], bundle.data()
    return {
        name: Trace.read(file, **clock(data.time, data.rate_hz))
        for file, name in zip(files, names_of(files), strict=True)
    }


def _at_times(trace: Trace | None, name: str, o: Observed, rate_hz: float) -> Doubles | None:
    """Return a column [n] at the times of an episode; None where it has no value at one of them."""
    if trace is None or name not in (names := [channel.name for channel in trace.channels]):
        return None
    t = np.concatenate([each.t for each in trace.episodes])
    x = np.concatenate([each.values[:, names.index(name)] for each in trace.episodes]).astype(np.float64)
    rows = np.clip(np.searchsorted(t, o.episode.t - SAME_TIME / rate_hz), 0, len(t) - 1)
    same = np.abs(t[rows] - o.episode.t) <= SAME_TIME / rate_hz
    return x[rows] if same.all() and np.isfinite(x[rows]).all() else None


def _usable(values: Sequence[Doubles | None]) -> bool:
    known = [each for each in values if each is not None]
    return len(known) == len(values) and bool(np.ptp(np.concatenate(known)))
