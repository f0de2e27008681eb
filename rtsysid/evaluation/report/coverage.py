"""Compare the recordings with those of training: ranges, the power of inputs, and the nearest moment of training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from rtsysid.evaluation.report.observed import Observed
from rtsysid.evaluation.report.response import power_of
from rtsysid.recordings.trace import Trace
from rtsysid.spec import Doubles, ModelSpec

ROWS = 20_000  # of the training recordings that are compared with a moment
USUAL = 500  # judged moments that say what a usual distance is


class ChannelRange(msgspec.Struct, frozen=True):
    """Hold the range of a channel in training and in the judged recordings; ``outside``: share of judged rows."""

    name: str
    unit: str
    trained: tuple[float, float]
    judged: tuple[float, float]
    outside: float


class NearestMoment(msgspec.Struct, frozen=True):
    """Say where training was nearest to a worst forecast: recording, time from its start, and distance.

    ``distance``: in standard deviations of the channels; ``usual``: the median of all judged moments.
    """

    recording: str
    start_s: float
    distance: float
    usual: float


class TrainingCoverage(NamedTuple):
    """Hold what training covers. ``trained_power`` [F, nu] and ``nearest`` need the training recordings."""

    ranges: list[ChannelRange]
    trained_power: Doubles | None
    nearest: list[NearestMoment]


def coverage_of(
    spec: ModelSpec, every: Sequence[Observed], worst: Sequence[tuple[str, float]], training: Trace | None
) -> TrainingCoverage:
    """Compare observed recordings with training; `worst`: recording and time of the worst forecasts.

    `training`: the recordings of the training, if they are at hand, cut at every gap.
    """
    if training is None:
        return TrainingCoverage(channel_ranges(spec, every), None, [])
    pieces = [each.values for each in training.episodes]
    return TrainingCoverage(
        channel_ranges(spec, every), power_of(spec, pieces, every), nearest_moments(spec, every, worst, training)
    )


def channel_ranges(spec: ModelSpec, every: Sequence[Observed]) -> list[ChannelRange]:
    """Return the range of each channel whose level the model uses."""
    rows = np.concatenate([o.episode.values for o in every])
    found = []
    for k, channel in enumerate(spec.channels):
        if k in spec.free_columns or channel.angle or any(k in each for each in spec.rotations):
            continue
        low, high = spec.scaling.low[k], spec.scaling.high[k]
        x = rows[:, k]
        outside = float(((x < low) | (x > high)).mean())
        found.append(ChannelRange(channel.name, channel.unit, (low, high), (float(x.min()), float(x.max())), outside))
    return found


def nearest_moments(
    spec: ModelSpec, every: Sequence[Observed], worst: Sequence[tuple[str, float]], training: Trace
) -> list[NearestMoment]:
    """Find the moment of training that is nearest to each of the worst forecasts."""
    known, labels = _moments(spec, [(e.recording, e.t, e.values) for e in training.episodes], ROWS)
    judged, where = _moments(spec, [(o.episode.recording, o.seconds, o.episode.values) for o in every], 1 << 30)
    usual = float(np.median([_nearest(known, row)[1] for row in judged[:: max(1, len(judged) // USUAL)]]))
    begins: dict[str, float] = {}
    for each in training.episodes:
        begins.setdefault(each.recording, float(each.t[0]))
    found = []
    for recording, start in worst:
        here = min(range(len(where)), key=lambda k: (where[k][0] != recording, abs(where[k][1] - start)))
        row, distance = _nearest(known, judged[here])
        name, t = labels[row]
        found.append(NearestMoment(name, t - begins[name], distance, usual))
    return found


def _moments(
    spec: ModelSpec, pieces: Sequence[tuple[str, Doubles, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]], most: int
) -> tuple[Doubles, list[tuple[str, float]]]:
    """Return moments as rows of the newest sample and its change over a window, in standard deviations; and labels."""
    seen = [k for k in range(spec.width) if k not in spec.free_columns]
    scale, past = np.array(spec.scaling.std)[seen], max(1, spec.taps - 1)
    stride = max(1, sum(len(values) for _, _, values in pieces) // most)
    rows, labels = list[Doubles](), list[tuple[str, float]]()
    for name, t, values in pieces:
        at = np.arange(past, len(values), stride)
        x = values[:, seen].astype(np.float64) / scale
        rows.append(np.concatenate((x[at], x[at] - x[at - past]), axis=1))
        labels += [(name, float(each)) for each in t[at]]
    return np.concatenate(rows), labels


def _nearest(known: Doubles, row: Doubles) -> tuple[int, float]:
    distances = np.sqrt(((known - row) ** 2).mean(1))
    best = int(distances.argmin())
    return best, float(distances[best])
