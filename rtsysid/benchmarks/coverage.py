"""Measure the coverage of prediction intervals: the share of measurements inside, compared with the stated coverage.

For a model with a distribution, also measure the coverage of the quantiles of its sampled futures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec
import numpy as np

from rtsysid.benchmarks.studies import Subject
from rtsysid.circle import nearest
from rtsysid.evaluation.calibrate import FORECASTS, HeldOut, forecast_errors
from rtsysid.model.intervals import Intervals
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.trace import Episode as Recording
from rtsysid.spec import Doubles, Floats, ModelSpec

STATED = (0.5, 0.8, 0.9, 0.95)
HORIZON = 50
RECORDINGS = 12
SHOWN = (1, 10, 50)  # ticks ahead, in addition to the mean over all
SAMPLED, FUTURES = 300, 100  # starts over all recordings, and futures per start


class Coverage(msgspec.Struct, frozen=True):
    """Hold the coverage of one output group: at `SHOWN` ticks, then the mean.

    ``worst`` is the lowest mean coverage of a single recording.
    """

    subject: str
    recordings: int
    group: str
    stated: float
    measured: tuple[float, ...]
    worst: float


def own_coverages(subject: Subject) -> Iterator[Coverage]:
    """Measure the bundle's intervals on recordings used neither for training nor for calibration."""
    predictor = Predictor.load(subject.bundle)
    assert predictor.intervals is not None
    errors = _errors(predictor, subject.measured)
    yield from _coverage_rows(
        subject.name, predictor.spec, _coverage_shares([(each, predictor.intervals) for each in errors])
    )


def coverages(subject: Subject) -> Iterator[Coverage]:
    """Leave out one of the first `RECORDINGS` recordings at a time: calibrate on the others, measure on it."""
    chosen = (*subject.calibration, *subject.measured)[:RECORDINGS]
    every = range(len(chosen))
    return _coverages(subject, chosen, [(k, [j for j in every if j != k]) for k in every])


def unseen_coverages(subject: Subject) -> Iterator[Coverage]:
    """Measure on recordings of unseen kinds, with intervals from recordings of the training kinds."""
    unseen, known = subject.unseen, (*subject.calibration, *subject.measured)
    others = range(len(unseen), len(unseen) + len(known))
    return _coverages(subject, (*unseen, *known), [(k, others) for k in range(len(unseen))])


def _coverages(
    subject: Subject, recordings: Sequence[Recording], folds: Sequence[tuple[int, Sequence[int]]]
) -> Iterator[Coverage]:
    """Measure one recording per fold: its index, and the indices of the recordings that calibrate."""
    predictor = Predictor.load(subject.bundle)
    errors = _errors(predictor, recordings)
    n_independent = [max(0, len(e) - predictor.settling_samples) // HORIZON for e in recordings]
    fits = [Intervals.fit([errors[k] for k in others], sum(n_independent[k] for k in others)) for _, others in folds]
    measured = [(errors[left], intervals) for (left, _), intervals in zip(folds, fits, strict=True)]
    yield from _coverage_rows(subject.name, predictor.spec, _coverage_shares(measured))


def _errors(predictor: Predictor, recordings: Sequence[Recording]) -> list[Doubles]:
    """Compute forecast errors [K, N, ny] per recording, about `FORECASTS` forecasts in total."""
    stride = max(1, sum(map(len, recordings)) // FORECASTS)
    return [forecast_errors(predictor, HeldOut(e.values, e.values), HORIZON, stride) for e in recordings]


def _coverage_shares(measured: Sequence[tuple[Doubles, Intervals]]) -> dict[float, list[Doubles]]:
    """Return, per stated coverage, the share [N, ny] of errors inside the intervals, for each recording."""
    inside: dict[float, list[Doubles]] = {stated: [] for stated in STATED}
    for errors, intervals in measured:
        for stated in (each for each in STATED if each <= intervals.max_coverage and len(errors)):
            inside[stated].append(np.mean(np.abs(errors) <= intervals.half_widths(stated, HORIZON), axis=0))
    return inside


def sampled_coverages(subject: Subject) -> Iterator[Coverage]:
    """Measure the coverage of central quantiles of sampled futures of a model with a distribution."""
    predictor = Predictor.load(subject.bundle, "numpy")
    spec = predictor.spec
    needed = predictor.settling_samples + HORIZON
    chosen = [e for e in (*subject.calibration, *subject.measured)[:RECORDINGS] if len(e) >= needed]
    stride = max(1, sum(map(len, chosen)) // SAMPLED)
    inside: dict[float, list[Doubles]] = {stated: [] for stated in STATED}
    for episode in chosen:
        futures, truth = _sampled(predictor, episode.values, stride)
        for stated, shares in inside.items():
            low, high = np.quantile(futures, [(1 - stated) / 2, (1 + stated) / 2], axis=1)
            shares.append(np.mean((low <= truth) & (truth <= high), axis=0))
    yield from _coverage_rows(f"{subject.name}, sampled futures", spec, inside)


def _sampled(predictor: Predictor, values: Floats, stride: int) -> tuple[Doubles, Doubles]:
    """Sample futures [K, FUTURES, N, ny] at every `stride`-th tick; also return the measurements [K, N, ny]."""
    nu, outputs = predictor.spec.n_inputs, predictor.spec.outputs
    predictor.reset()
    futures, truth = [], []
    starts = range(predictor.settling_samples - 1, len(values) - HORIZON, stride)
    for tick, row in enumerate(values[:-HORIZON]):
        predictor.step(row)
        if tick in starts:
            u_future, measured = values[tick : tick + HORIZON, :nu], values[tick + 1 : tick + 1 + HORIZON, nu:]
            futures.append(nearest(predictor.sample_futures(u_future, FUTURES, seed=tick), measured[None], outputs))
            truth.append(measured)
    return np.array(futures), np.array(truth, np.float64)


def _coverage_rows(subject: str, spec: ModelSpec, inside: Mapping[float, Sequence[Doubles]]) -> Iterator[Coverage]:
    """Summarise the shares inside [N, ny], per stated coverage and recording."""
    for stated, shares in inside.items():
        if not shares:
            continue
        for group, columns in _columns_by_group(spec).items():
            each = np.array([share[:, columns].mean(1) for share in shares])  # [recordings, N]
            mean = each.mean(0)
            shown = (*(float(mean[n - 1]) for n in SHOWN), float(mean.mean()))
            yield Coverage(subject, len(each), group, stated, shown, float(each.mean(1).min()))


def _columns_by_group(spec: ModelSpec) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for column, channel in enumerate(spec.outputs):
        groups.setdefault(channel.group or channel.name, []).append(column)
    return groups
