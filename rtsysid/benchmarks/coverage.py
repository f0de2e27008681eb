"""Whether intervals hold what they state: those of a bundle, and each recording measured with the others calibrating.

Beside them, of a variational model: whether the quantiles of the futures that it samples do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec
import numpy as np

from rtsysid.benchmarks.studies import Subject
from rtsysid.evaluation.calibrate import FORECASTS, HeldOut, forecast_errors
from rtsysid.metrics import same_sign
from rtsysid.model.intervals import Intervals
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.trace import Episode as Recording
from rtsysid.spec import Doubles, Floats, ModelSpec

STATED = (0.5, 0.8, 0.9, 0.95)
HORIZON = 50
RECORDINGS = 12
SHOWN = (1, 10, 50)  # ticks ahead, beside the mean over all
SAMPLED, FUTURES = 300, 100  # starts over all recordings, and futures from each


class Coverage(msgspec.Struct, frozen=True):
    """Of one group of outputs: measured at `SHOWN` ticks and on average; ``worst``: of a single recording, average."""

    subject: str
    recordings: int
    group: str
    stated: float
    measured: tuple[float, ...]
    worst: float


def own_coverages(subject: Subject) -> Iterator[Coverage]:
    """Recordings that neither trained nor calibrated, with the intervals that the bundle carries."""
    predictor = Predictor.load(subject.bundle)
    assert predictor.intervals is not None
    errors = _errors(predictor, subject.measured)
    yield from _coverage_rows(
        subject.name, predictor.spec, _coverage_shares([(each, predictor.intervals) for each in errors])
    )


def coverages(subject: Subject) -> Iterator[Coverage]:
    """Leave one recording out, of the first `RECORDINGS`: the others calibrate, it measures."""
    chosen = (*subject.calibration, *subject.measured)[:RECORDINGS]
    every = range(len(chosen))
    return _coverages(subject, chosen, [(k, [j for j in every if j != k]) for k in every])


def unseen_coverages(subject: Subject) -> Iterator[Coverage]:
    """Recordings unlike training, with intervals from recordings like it."""
    strange, known = subject.strange, (*subject.calibration, *subject.measured)
    others = range(len(strange), len(strange) + len(known))
    return _coverages(subject, (*strange, *known), [(k, others) for k in range(len(strange))])


def _coverages(
    subject: Subject, recordings: Sequence[Recording], folds: Sequence[tuple[int, Sequence[int]]]
) -> Iterator[Coverage]:
    """One fold per recording that measures, with those that calibrate for it."""
    predictor = Predictor.load(subject.bundle)
    errors = _errors(predictor, recordings)
    apart = [max(0, len(e) - predictor.settling_samples) // HORIZON for e in recordings]
    fits = [Intervals.fit([errors[k] for k in others], sum(apart[k] for k in others)) for _, others in folds]
    found = [(errors[left], intervals) for (left, _), intervals in zip(folds, fits, strict=True)]
    yield from _coverage_rows(subject.name, predictor.spec, _coverage_shares(found))


def _errors(predictor: Predictor, recordings: Sequence[Recording]) -> list[Doubles]:
    """Errors [K, N, ny] of forecasts of each, about `FORECASTS` together."""
    stride = max(1, sum(map(len, recordings)) // FORECASTS)
    return [forecast_errors(predictor, HeldOut(e.values, e.values), HORIZON, stride) for e in recordings]


def _coverage_shares(found: Sequence[tuple[Doubles, Intervals]]) -> dict[float, list[Doubles]]:
    """Per stated coverage the share [N, ny] of each recording's errors that its intervals hold."""
    inside: dict[float, list[Doubles]] = {stated: [] for stated in STATED}
    for errors, intervals in found:
        for stated in (each for each in STATED if each <= intervals.max_coverage and len(errors)):
            inside[stated].append(np.mean(np.abs(errors) <= intervals.half_widths(stated, HORIZON), axis=0))
    return inside


def sampled_coverages(subject: Subject) -> Iterator[Coverage]:
    """Of a variational model: what came inside central quantiles of its sampled futures, without calibration."""
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
    """Futures [K, FUTURES, N, ny] from every `stride`-th tick of an episode, and what came [K, N, ny]."""
    nu, outputs = predictor.spec.n_inputs, predictor.spec.outputs
    predictor.reset()
    futures, truth = [], []
    starts = range(predictor.settling_samples - 1, len(values) - HORIZON, stride)
    for tick, row in enumerate(values[:-HORIZON]):
        predictor.step(row)
        if tick in starts:
            plan, came = values[tick : tick + HORIZON, :nu], values[tick + 1 : tick + 1 + HORIZON, nu:]
            futures.append(same_sign(predictor.sample_futures(plan, FUTURES, seed=tick), came[None], outputs))
            truth.append(came)
    return np.array(futures), np.array(truth, np.float64)


def _coverage_rows(subject: str, spec: ModelSpec, inside: Mapping[float, Sequence[Doubles]]) -> Iterator[Coverage]:
    """Of the shares [N, ny] that lay inside, per stated coverage and recording."""
    for stated, shares in ((each, found) for each, found in inside.items() if found):
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
