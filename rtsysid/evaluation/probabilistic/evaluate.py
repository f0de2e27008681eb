"""Score sampled futures of a model on recordings, next to null models around the same point forecast.

The null models draw from the errors of the other recordings that are given. That favours them: the model's own noise
was calibrated on recordings of its training, and they see errors of the recordings that are judged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from rtsysid.circle import differences
from rtsysid.errors import SpecError, TraceError
from rtsysid.evaluation.bootstrap import ratio_interval
from rtsysid.evaluation.forecasts import rows_for_forecast
from rtsysid.evaluation.horizon import TABLE_TICKS, stretches
from rtsysid.evaluation.probabilistic.log_score import LogScore, log_score
from rtsysid.evaluation.probabilistic.nulls import NULLS, null_futures
from rtsysid.evaluation.probabilistic.scores import (
    BINS,
    STATED,
    crps,
    energy_score,
    pit,
    variogram_score,
)
from rtsysid.guards.stages import with_progress
from rtsysid.live.trained_range import TrainedRange
from rtsysid.model.bundle import Bundle
from rtsysid.model.intervals import central_intervals
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.trace import Trace
from rtsysid.spec import Doubles, Floats, ModelSpec

MODEL = "model"
STARTS = 400  # forecasts at most about, evenly spread over the recordings
FUTURES = 100
APART = 10**9  # seeds of two recordings: forecasts at the same tick of both have draws of their own
STRANGE = 0.5  # share of rows beyond the trained range, above which a recording is of no known kind
MARGIN = 0.02  # of that range, in widths
FEW = 6  # recordings: drawing fewer with replacement says too little of other recordings


class Deviations(NamedTuple):
    """Hold K forecasts of one recording as deviations from the point forecast.

    ``futures`` [K, M, N, ny] of the model, or None; ``truth`` [K, N, ny].
    """

    futures: Doubles | None
    truth: Doubles


class SampleScores(msgspec.Struct, frozen=True):
    """Hold the scores of one way to sample, means over all forecasts.

    ``energy``: of the whole course, each output in units of its root mean square error of the point forecast.
    ``variogram``: in the same units, over some ticks. ``ratio``: of the energy score to that of ``residuals``, with its
    interval (90 %, recordings drawn with replacement, paired). ``crps[output][k]``, ``coverage[stated][k]`` and
    ``width[stated][output][k]``: at the k-th of the ticks. ``rmse``: of the mean of the futures in ratio to that of the
    point forecast. ``pit``: shares of the ranks in ten equal bins.
    """

    energy: float
    variogram: float
    ratio: tuple[float, float, float]
    crps: dict[str, list[float]]
    coverage: dict[str, list[float]]
    width: dict[str, dict[str, list[float]]]
    rmse: float
    pit: list[float]


class ProbabilisticEvaluation(msgspec.Struct, frozen=True):
    """Hold the scores by way to sample: the model, where it has a distribution, and the null models.

    ``log_score``: of single ticks; None where the model has no density. ``strange``: recordings of no known kind, with
    the share of their rows that are beyond the trained range. ``known``: the scores of the others, where there are two
    or more of them; None where no recording is strange.
    """

    recordings: int
    forecasts: int
    futures: int
    horizon: int
    ticks: tuple[int, ...]
    units: dict[str, str]
    scores: dict[str, SampleScores]
    log_score: LogScore | None = None
    strange: dict[str, float] = {}
    known: ProbabilisticEvaluation | None = None

    def table(self) -> list[list[str]]:
        """Return a printable table: header, then energy score with its ratio, variogram, coverage of 90 %, RMSE."""
        inside = [f"{n}" for n in self.ticks]
        header = ["futures of", "energy score", "ratio to residuals", "variogram", *inside, "RMSE of the mean"]
        rows = [
            [
                name,
                f"{each.energy:.4g}",
                "{:.3f} ({:.3f} to {:.3f})".format(*each.ratio),
                f"{each.variogram:.4g}",
                *(f"{100 * each.coverage['0.9'][k]:.1f}" for k in range(len(self.ticks))),
                f"{each.rmse:.3f}",
            ]
            for name, each in self.scores.items()
        ]
        return [header, *rows]


def evaluate_samples(
    bundle: Bundle, trace: Trace, horizon: int = 50, *, futures: int = FUTURES, seed: int = 0, starts: int = STARTS
) -> ProbabilisticEvaluation:
    """Sample futures from about `starts` ticks of the recordings, and score them next to the null models.

    Raises BundleError where the channels differ, TraceError where fewer than two recordings are long enough for a
    forecast, SpecError where a score needs more futures.
    """
    bundle.require(trace.channels, "recording")
    if futures < 2:
        raise SpecError("futures", str(futures), "sample two or more")
    predictor = Predictor.load(bundle)
    pieces = stretches(bundle, trace).long_enough(
        rows_for_forecast(bundle.spec, horizon), f"forecasts of {horizon} ticks", "give longer recordings"
    )
    by_recording: dict[str, list[Floats]] = {}
    for episode in pieces.episodes:
        by_recording.setdefault(episode.recording, []).append(episode.values)
    if len(by_recording) < 2:
        raise TraceError("scores of futures", "one recording", "give two or more: the null models need the others")
    stride = max(1, sum(len(each.values) for each in pieces.episodes) // starts)
    every = with_progress(by_recording.values(), "sampling futures", len(by_recording))
    found = [
        _recording_deviations(predictor, values, horizon, stride, futures, (seed + APART * at) % 2**62)
        for at, values in enumerate(every)
    ]
    strange = strange_recordings(bundle.spec, by_recording)
    known = [each for name, each in zip(by_recording, found, strict=True) if name not in strange and len(each.truth)]
    whole = scores_of(predictor, [each for each in found if len(each.truth)], futures, seed)
    whole = _with_log_score(whole, bundle, [piece for pieces in by_recording.values() for piece in pieces])
    others = scores_of(predictor, known, futures, seed) if strange and len(known) > 1 else None
    if others is not None:
        kept = [piece for name, pieces in by_recording.items() if name not in strange for piece in pieces]
        others = _with_log_score(others, bundle, kept)
    return msgspec.structs.replace(whole, strange=strange, known=others)


def _with_log_score(
    scores: ProbabilisticEvaluation, bundle: Bundle, pieces: Sequence[Floats]
) -> ProbabilisticEvaluation:
    if not bundle.spec.distribution:
        return scores
    found = log_score(bundle.spec, bundle.arrays("weights.npz"), pieces)
    return msgspec.structs.replace(scores, log_score=found)


def strange_recordings(spec: ModelSpec, recordings: Mapping[str, Sequence[Floats]]) -> dict[str, float]:
    """Return the recordings, in pieces [n, C], that are mostly beyond the trained range, with the share of such rows.

    Nothing that a model learned says how large its errors are there. No error of a forecast enters.
    """
    known = TrainedRange(spec, MARGIN, MARGIN)
    shares = {
        name: float(np.mean(np.concatenate([known.beyond(piece).any(1) for piece in pieces])))
        for name, pieces in recordings.items()
    }
    return {name: share for name, share in shares.items() if share > STRANGE}


def _recording_deviations(
    predictor: Predictor, pieces: Sequence[Floats], horizon: int, stride: int, futures: int, seed: int
) -> Deviations:
    parts = [sampled_deviations(predictor, values, horizon, stride, futures, seed) for values in pieces]
    sampled = [part.futures for part in parts if part.futures is not None]
    return Deviations(np.concatenate(sampled) if sampled else None, np.concatenate([part.truth for part in parts]))


def sampled_deviations(
    predictor: Predictor, values: Floats, horizon: int, stride: int, futures: int, seed: int = 0, *,
    truth: Floats | None = None,
) -> Deviations:  # fmt: skip
    """Stream an episode [n, C]; forecast and sample from every `stride`-th tick on, with the seed of that tick.

    An episode that is too short has no forecast. `truth` [n, C]: planned inputs and measurements, where the model sees
    noise; by default the same rows.
    """
    true = values if truth is None else truth
    spec, nu = predictor.spec, predictor.spec.n_inputs
    sampled, measured = list[Doubles](), list[Doubles]()
    predictor.reset()
    first = predictor.settling_samples - 1
    for tick, row in enumerate(values[: max(0, len(values) - horizon)]):
        predictor.step(row)
        if tick < first or (tick - first) % stride:
            continue
        plan = true[tick : tick + horizon, :nu]
        point = predictor.forecast(plan)
        measured.append(differences(true[tick + 1 : tick + 1 + horizon, nu:], point, spec.outputs))
        if spec.distribution:
            found = predictor.sample_futures(plan, futures, seed + tick)
            sampled.append(differences(found, point[None], spec.outputs))
    none = np.zeros((0, horizon, spec.n_outputs))
    return Deviations(np.stack(sampled) if sampled else None, np.stack(measured) if measured else none)


def scores_of(
    predictor: Predictor, every: Sequence[Deviations], futures: int, seed: int = 0, pool: Sequence[Doubles] = ()
) -> ProbabilisticEvaluation:
    """Score the deviations of each recording. `pool`: errors [K, N, ny] for the null models; else the other recordings.

    Raises TraceError where there is nothing to score or no other recording.
    """
    outputs = predictor.spec.outputs
    truth = np.concatenate([each.truth for each in every]) if every else np.zeros((0, 1, len(outputs)))
    if not len(truth):
        raise TraceError("scores of futures", "no forecast", "give longer recordings")
    unit = np.maximum(np.sqrt(np.mean(truth**2, (0, 1))), 1e-12)
    ticks = tuple(sorted({n for n in TABLE_TICKS if n < truth.shape[1]} | {truth.shape[1]}))
    names = (*([MODEL] if predictor.spec.distribution else []), *NULLS)
    rng = np.random.default_rng(seed)
    found = {name: _ScoreTally(unit, ticks) for name in names}
    for left, each in enumerate(every):
        others = list(pool) or [other.truth for k, other in enumerate(every) if k != left]
        for k, measured in enumerate(each.truth):
            for name, tally in found.items():
                drawn = _drawn(name, each.futures, k, np.concatenate(others), futures, rng)
                tally.add(drawn, measured, left, rng)
    reference = found["residuals"]
    units = {channel.name: channel.unit for channel in outputs}
    scored = {name: tally.scores(reference, list(units)) for name, tally in found.items()}
    return ProbabilisticEvaluation(len(every), len(truth), futures, truth.shape[1], ticks, units, scored)


def _drawn(name: str, futures: Doubles | None, k: int, pool: Doubles, count: int, rng: np.random.Generator) -> Doubles:
    if name == MODEL and futures is not None:
        return np.asarray(futures[k])
    return null_futures(name, pool, count, rng)


class _ScoreTally:
    """Add up the scores of one way to sample, forecast by forecast."""

    def __init__(self, unit: Doubles, ticks: Sequence[int]) -> None:
        self._unit, self._ticks = unit, ticks
        self.energy, self.block = list[float](), list[int]()
        self._variogram, self._crps, self._squares = list[float](), list[Doubles](), list[tuple[Doubles, Doubles]]()
        self._inside: dict[float, list[Doubles]] = {stated: [] for stated in STATED}
        self._width: dict[float, list[Doubles]] = {stated: [] for stated in STATED}
        self._ranks = np.zeros(BINS)

    @np.errstate(over="ignore", invalid="ignore")  # a future that diverged may be no number
    def add(self, futures: Doubles, truth: Doubles, recording: int, rng: np.random.Generator) -> None:
        """Add one forecast: futures [M, N, ny] and truth [N, ny]."""
        scaled, true = futures / self._unit, truth / self._unit
        self.energy.append(energy_score(scaled.reshape(len(scaled), -1), true.ravel()))
        self.block.append(recording)
        at = np.array(self._ticks) - 1
        self._variogram.append(variogram_score(scaled[:, at].reshape(len(scaled), -1), true[at].ravel()))
        self._crps.append(crps(futures[:, at], truth[at]))
        self._squares.append((np.square(futures.mean(0) - truth) / self._unit**2, np.square(true)))
        for stated in STATED:
            low, high = central_intervals(futures[:, at], stated)
            self._inside[stated].append((low <= truth[at]) & (truth[at] <= high))
            self._width[stated].append(high - low)
        self._ranks += np.histogram(pit(futures[:, at], truth[at], rng), BINS, (0, 1))[0]

    def scores(self, reference: _ScoreTally, names: Sequence[str]) -> SampleScores:
        """Average what was added; `reference`: the way to sample that the ratio compares with."""
        ratio = ratio_interval([self.energy], [reference.energy], np.array(self.block))
        of_mean, of_point = (np.sqrt(np.mean(each)) for each in zip(*self._squares, strict=True))
        return SampleScores(
            float(np.mean(self.energy)),
            float(np.mean(self._variogram)),
            (ratio.ratio, ratio.low, ratio.high),
            _mean_by_output(self._crps, names),
            {f"{stated:g}": np.mean(each, (0, 2)).tolist() for stated, each in self._inside.items()},
            {f"{stated:g}": _mean_by_output(each, names) for stated, each in self._width.items()},
            float(of_mean / of_point),
            (self._ranks / self._ranks.sum()).tolist(),
        )


def _mean_by_output(values: Sequence[Doubles], names: Sequence[str]) -> dict[str, list[float]]:
    """Average values [K] x [ticks, ny] by output."""
    mean = np.mean(values, 0)
    return {name: mean[:, column].tolist() for column, name in enumerate(names)}


def _against_residuals(model: SampleScores) -> str:
    ratio, low, high = model.ratio
    if not math.isfinite(ratio):
        return "some futures of the model are no numbers, so it has no score: train its noise again"
    verdict = "better than" if high < 1 else "worse than" if low > 1 else "not surely different from"
    return f"the energy score of the model is {verdict} that of residuals"


def sample_lines(found: ProbabilisticEvaluation) -> list[str]:
    """Say in sentences what the columns of the table are, and whether the model beats the strong null model."""
    lines = [
        f"{found.forecasts} forecasts of {found.recordings} recordings, {found.futures} futures each; below a number "
        "of ticks ahead: % of the measurements inside the interval that should hold 90",
        "residuals: errors of other forecasts, all ticks and outputs together; box: each tick and output by itself; "
        "ratio and RMSE: in parentheses 90 % over recordings, RMSE in ratio to the point forecast",
    ]
    model = found.scores.get(MODEL)
    if model is None:
        lines.append("the model predicts points: it has no futures of its own (docs/generative.md)")
    else:
        lines.append(_against_residuals(model))
    if found.log_score is not None:
        lines.append(found.log_score.line)
    if found.recordings < FEW:
        lines.append(f"{found.recordings} recordings are few: the true ratio may be outside the parentheses")
    beyond = (
        f"{name}: {100 * share:.0f} % of its rows are beyond the trained range" for name, share in found.strange.items()
    )
    return [*lines, *beyond]
