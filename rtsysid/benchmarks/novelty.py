"""Measure novelty detection: false alarms, detection delays of sensor faults, and recordings of unseen kinds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from rtsysid.benchmarks.faults import FAULTS, SensorFault, broken
from rtsysid.benchmarks.studies import Subject
from rtsysid.live.calibration import (
    Calibration,
    Scores,
    fit_calibration,
    hold_ticks,
    novelty_scores,
    smoothed,
)
from rtsysid.live.exceedance import clusters
from rtsysid.live.novelty import Novelty
from rtsysid.live.session import Session
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.trace import Episode
from rtsysid.spec import Doubles, Floats, ModelSpec, Sample

ONSETS = 4  # of each fault in each channel of each recording
PATIENCE_S = 2.0  # a fault detected later counts as missed
RATES = (60.0, 10.0, 1.0)  # requested false alarms per hour
SETS = 15  # recordings per calibration, where several calibrations are compared


class FalseAlarms(msgspec.Struct, frozen=True):
    """Count false alarms. ``nominal``: requested rate per hour. ``spread``: of the ratio over other calibrations."""

    subject: str
    nominal: float
    hours: float
    counted: int
    spread: tuple[float, ...] = ()  # 10 %, 50 %, 90 %, and the mean

    @property
    def ratio(self) -> float:
        """Return counted divided by expected false alarms."""
        return self.counted / (self.nominal * self.hours)


class FaultDetection(msgspec.Struct, frozen=True):
    """Summarise one fault over all channels, onsets and recordings. ``p50``, ``p90``: delays of detections in s."""

    subject: str
    fault: str
    injected: int
    noticed: int
    p50: float
    p90: float


class UnseenNovelty(msgspec.Struct, frozen=True):
    """Summarise novelty on recordings. ``share``: of novel ticks. ``first_s``: median time to the first alarm in s."""

    subject: str
    recordings: str
    count: int
    share: float
    alarmed: int
    first_s: float


def false_alarms(subject: Subject) -> Iterator[FalseAlarms]:
    """Count false alarms at every rate that the calibration supports.

    With many recordings, measure the bundle's calibration, and other calibrations for the spread of the ratio. With
    few, measure each recording with a calibration on all others.
    """
    spec, calibration, predictor = subject.bundle.spec, subject_calibration(subject), Predictor.load(subject.bundle)
    scores = [novelty_scores(predictor, each.values) for each in subject.measured]
    plenty = len(scores) >= 4 * SETS
    if plenty:
        pairs = [(calibration, scores)]
    else:
        scores += [novelty_scores(predictor, each.values) for each in subject.calibration]
        pairs = _leave_one_out(spec, scores)
    others = _other_calibrations(spec, scores) if plenty else []
    lowest = max(each.innovation.lowest_rate for each, _ in pairs)
    for rate in sorted({*RATES, lowest}, reverse=True):
        if rate >= lowest:
            counted = sum(alarms(each.with_rate(rate), spec, left) for each, left in pairs)
            yield FalseAlarms(subject.name, rate, _hours(scores, spec), counted, _ratio_quantiles(spec, others, rate))


def _leave_one_out(spec: ModelSpec, scores: list[Scores]) -> list[tuple[Calibration, list[Scores]]]:
    return [
        (fit_calibration(spec, scores[:k] + scores[k + 1 :], "the others"), scores[k : k + 1])
        for k in range(len(scores))
    ]


def alarms(calibration: Calibration, spec: ModelSpec, scores: Sequence[Scores]) -> int:
    """Count the alarms that a detector raises over recordings with these scores."""
    spread, (most, worst) = np.asarray(calibration.spread), calibration.thresholds
    levels = (np.maximum(smoothed(each.innovation / spread) / most, each.code / worst) for each in scores)
    return sum(len(clusters(level, 1.0, hold_ticks(spec))) for level in levels)


def fault_detections(subject: Subject, onsets: int = ONSETS) -> Iterator[FaultDetection]:
    """Inject every fault into every output, at `onsets` instants of each measured recording."""
    predictor, calibration = Predictor.load(subject.bundle), subject_calibration(subject)
    for fault in FAULTS:
        delays = np.array(list(_delays(predictor, calibration, subject.measured, fault, onsets)))
        seen = delays[np.isfinite(delays)]
        p50, p90 = np.quantile(seen, [0.5, 0.9]).tolist() if len(seen) else (np.nan, np.nan)
        yield FaultDetection(subject.name, str(fault), len(delays), len(seen), p50, p90)


def unseen_novelty(subject: Subject) -> Iterator[UnseenNovelty]:
    """Compare novelty on recordings of the training kinds and of unseen kinds."""
    for words, episodes in (("as trained", subject.measured), ("never trained on", subject.unseen)):
        if episodes:
            streamed = [_stream(subject, each) for each in episodes]
            first = [float(novel[0]) / subject.bundle.spec.rate_hz for novel, _ in streamed if len(novel)]
            share = sum(len(novel) for novel, _ in streamed) / sum(ticks for _, ticks in streamed)
            median = float(np.median(first)) if first else np.nan
            yield UnseenNovelty(subject.name, words, len(episodes), share, len(first), median)


def subject_calibration(subject: Subject) -> Calibration:
    """Return the calibration of the subject's bundle. A bundle of a study always has one."""
    calibration = Calibration.of(subject.bundle)
    assert calibration is not None
    return calibration


def _other_calibrations(spec: ModelSpec, scores: list[Scores]) -> list[tuple[Calibration, list[Scores]]]:
    """Calibrate on `SETS` recordings at a time; pair each calibration with the scores of all others."""
    starts = range(0, len(scores) - SETS + 1, SETS)
    return [(fit_calibration(spec, scores[k : k + SETS], "some"), scores[:k] + scores[k + SETS :]) for k in starts]


def _ratio_quantiles(
    spec: ModelSpec, others: Sequence[tuple[Calibration, list[Scores]]], rate: float
) -> tuple[float, ...]:
    """Return 10, 50 and 90 % quantiles and the mean of the ratio of counted to nominal false alarms."""
    ratios = [
        alarms(calibration.with_rate(rate), spec, rest) / (rate * _hours(rest, spec))
        for calibration, rest in others
        if rate >= calibration.innovation.lowest_rate
    ]
    return (*np.quantile(ratios, [0.1, 0.5, 0.9]).tolist(), float(np.mean(ratios))) if ratios else ()


def _hours(scores: Sequence[Scores], spec: ModelSpec) -> float:
    return sum(len(each.code) for each in scores) / spec.rate_hz / 3600


def _delays(
    predictor: Predictor, calibration: Calibration, episodes: Sequence[Episode], fault: SensorFault, onsets: int
) -> Iterator[float]:
    """Return the delay of each detection in s; infinity where the fault was not detected."""
    spec, lead = predictor.spec, predictor.settling_samples + 2 * predictor.spec.taps
    patience = round(PATIENCE_S * spec.rate_hz)
    for episode in episodes:
        starts = (
            np.linspace(lead, len(episode) - patience, onsets).astype(int) if len(episode) > lead + patience else ()
        )
        for start in starts:
            values = episode.values[start - lead : start + patience]
            for column in range(spec.n_inputs, spec.width):
                neighbour = spec.n_inputs + (column + 1 - spec.n_inputs) % spec.n_outputs
                faulty = broken(values, fault, column, neighbour, lead, spec.scaling.std[column], spec.rate_hz)
                yield _first_alarm(predictor, calibration, faulty, lead) / spec.rate_hz


def _first_alarm(predictor: Predictor, calibration: Calibration, values: Floats, start: int) -> float:
    session = Session(predictor, novelty=Novelty(calibration, predictor))
    for tick, row in enumerate(values):
        flags = session.feed(Sample(tick / predictor.spec.rate_hz, row)).flags
        if tick >= start and ("novel" in flags or "rejected" in flags):
            return float(tick - start)
    return np.inf


def _stream(subject: Subject, episode: Episode) -> tuple[Doubles, int]:
    """Return the novel ticks of an episode, and its number of ticks."""
    predictor = Predictor.load(subject.bundle, check=False)
    session = Session(predictor)
    predictions = list(session.run(map(Sample, episode.t.tolist(), episode.values)))
    return np.flatnonzero(["novel" in each.flags for each in predictions]).astype(np.float64), len(predictions)
