"""Whether prediction intervals hold what they state, each recording measured with the others for calibration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from rtsysid.benchmarks.studies import Subject
from rtsysid.calibrate import FORECASTS, Episode, forecast_errors
from rtsysid.intervals import Intervals
from rtsysid.predictor import Predictor
from rtsysid.spec import Doubles, ModelSpec

STATED = (0.5, 0.8, 0.9, 0.95)
HORIZON = 50
RECORDINGS = 12
SHOWN = (1, 10, 50)  # ticks ahead, beside the mean over all


class Coverage(msgspec.Struct, frozen=True):
    """Of one group of outputs: measured at `SHOWN` ticks and on average; ``worst``: of a single recording, average."""

    subject: str
    recordings: int
    group: str
    stated: float
    measured: tuple[float, ...]
    worst: float


def coverages(subject: Subject) -> Iterator[Coverage]:
    """Leave one recording out, of the first `RECORDINGS`: the others calibrate, it measures."""
    chosen = (*subject.calibration, *subject.measured)[:RECORDINGS]
    episodes = [Episode(e.values, e.values) for e in chosen]
    return _coverages(
        subject, episodes, [(k, [j for j in range(len(episodes)) if j != k]) for k in range(len(episodes))]
    )


def strange_coverages(subject: Subject) -> Iterator[Coverage]:
    """Recordings unlike training, with intervals from recordings like it."""
    known = [Episode(e.values, e.values) for e in (*subject.calibration, *subject.measured)]
    strange = [Episode(e.values, e.values) for e in subject.strange]
    return _coverages(
        subject, [*strange, *known], [(k, range(len(strange), len(strange) + len(known))) for k in range(len(strange))]
    )


def _coverages(
    subject: Subject, episodes: Sequence[Episode], folds: Sequence[tuple[int, Sequence[int]]]
) -> Iterator[Coverage]:
    """One fold per recording that measures, with those that calibrate for it."""
    predictor = Predictor.load(subject.bundle)
    spec, past = predictor.spec, predictor.settled
    stride = max(1, sum(len(e.true) for e in episodes) // FORECASTS)
    errors = [forecast_errors(predictor, each, HORIZON, stride) for each in episodes]
    apart = [max(0, len(each.true) - past) // HORIZON for each in episodes]
    inside: dict[float, list[Doubles]] = {stated: [] for stated in STATED}
    for left, others in folds:
        intervals = Intervals.fit([errors[k] for k in others], sum(apart[k] for k in others))
        for stated in (each for each in STATED if each <= intervals.largest and len(errors[left])):
            inside[stated].append(np.mean(np.abs(errors[left]) <= intervals.half_widths(stated, HORIZON), axis=0))
    for stated, shares in ((each, found) for each, found in inside.items() if found):
        for group, columns in _groups(spec).items():
            each = np.array([share[:, columns].mean(1) for share in shares])  # [recordings, N]
            mean = each.mean(0)
            shown = (*(float(mean[n - 1]) for n in SHOWN), float(mean.mean()))
            yield Coverage(subject.name, len(each), group, stated, shown, float(each.mean(1).min()))


def _groups(spec: ModelSpec) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for column, channel in enumerate(spec.outputs):
        groups.setdefault(channel.group or channel.name, []).append(column)
    return groups
