"""How soon failing sensors and unknown manoeuvres are noticed, and how often nothing was the matter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from rtsysid.benchmarks.faults import FAULTS, SensorFault, broken
from rtsysid.benchmarks.studies import Subject
from rtsysid.evaluation.calibrate import Scores, fit_calibration, novelty_scores
from rtsysid.live.exceedance import clusters
from rtsysid.live.novelty import Calibration, Novelty, hold_ticks, smoothed
from rtsysid.live.session import Session
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.trace import Episode
from rtsysid.spec import Doubles, Floats, ModelSpec, Sample

ONSETS = 4  # of each fault in each channel of each recording
PATIENCE_S = 2.0  # a fault that is noticed later counts as missed
RATES = (60.0, 10.0, 1.0)  # false alarms per hour that are asked for
SETS = 15  # recordings that one calibration of several is made on


class FalseAlarms(msgspec.Struct, frozen=True):
    """Alarms where nothing was the matter. ``nominal``: per hour; ``spread``: of the ratio, over other calibrations."""

    subject: str
    nominal: float
    hours: float
    counted: int
    spread: tuple[float, ...] = ()  # 10 %, 50 %, 90 %, and the mean

    @property
    def ratio(self) -> float:
        return self.counted / (self.nominal * self.hours)


class Noticed(msgspec.Struct, frozen=True):
    """One fault over all channels, onsets and recordings. Delays in seconds, of those that were noticed."""

    subject: str
    fault: str
    injected: int
    noticed: int
    p50: float
    p90: float


class Strange(msgspec.Struct, frozen=True):
    """Recordings, and the share of their ticks that were novel; ``first_s``: median time to the first, of those."""

    subject: str
    recordings: str
    count: int
    share: float
    alarmed: int
    first_s: float


def false_alarms(subject: Subject) -> Iterator[FalseAlarms]:
    """At every rate that the calibration supports: of the bundle where there is much to measure on, over other
    calibrations as well; else each recording is measured with all others for calibration.
    """
    spec, calibration, predictor = subject.bundle.spec, of(subject), Predictor.load(subject.bundle)
    found = [novelty_scores(predictor, each.values) for each in subject.measured]
    plenty = len(found) >= 4 * SETS
    if plenty:
        pairs = [(calibration, found)]
    else:
        found += [novelty_scores(predictor, each.values) for each in subject.calibration]
        pairs = [
            (fit_calibration(spec, found[:k] + found[k + 1 :], "the others"), found[k : k + 1])
            for k in range(len(found))
        ]
    others = _other_calibrations(spec, found) if plenty else []
    lowest = max(each.innovation.lowest_rate for each, _ in pairs)
    for rate in sorted({*RATES, lowest}, reverse=True):
        if rate >= lowest:
            counted = sum(alarms(each.with_rate(rate), spec, left) for each, left in pairs)
            yield FalseAlarms(subject.name, rate, _hours(found, spec), counted, _spread(spec, others, rate))


def alarms(calibration: Calibration, spec: ModelSpec, found: Sequence[Scores]) -> int:
    """How many a detector would raise over stretches with these scores."""
    spread, (most, worst) = np.asarray(calibration.spread), calibration.thresholds
    levels = (np.maximum(smoothed(each.innovation / spread) / most, each.code / worst) for each in found)
    return sum(len(clusters(level, 1.0, hold_ticks(spec))) for level in levels)


def noticing(subject: Subject, onsets: int = ONSETS) -> Iterator[Noticed]:
    """Every fault in every output, at `onsets` instants of each measured recording."""
    predictor, calibration = Predictor.load(subject.bundle), of(subject)
    for fault in FAULTS:
        delays = np.array(list(_delays(predictor, calibration, subject.measured, fault, onsets)))
        seen = delays[np.isfinite(delays)]
        p50, p90 = np.quantile(seen, [0.5, 0.9]).tolist() if len(seen) else (np.nan, np.nan)
        yield Noticed(subject.name, str(fault), len(delays), len(seen), p50, p90)


def strangeness(subject: Subject) -> Iterator[Strange]:
    """Recordings like those of training beside those unlike them."""
    for words, episodes in (("as trained", subject.measured), ("never trained on", subject.strange)):
        if episodes:
            streamed = [_stream(subject, each) for each in episodes]
            first = [float(novel[0]) / subject.bundle.spec.rate_hz for novel, _ in streamed if len(novel)]
            share = sum(len(novel) for novel, _ in streamed) / sum(ticks for _, ticks in streamed)
            median = float(np.median(first)) if first else np.nan
            yield Strange(subject.name, words, len(episodes), share, len(first), median)


def of(subject: Subject) -> Calibration:
    """The calibration of the subject's bundle, which its training has made sure of."""
    calibration = Calibration.of(subject.bundle)
    assert calibration is not None
    return calibration


def _other_calibrations(spec: ModelSpec, found: list[Scores]) -> list[tuple[Calibration, list[Scores]]]:
    """Calibrations on `SETS` recordings each, and all the others."""
    starts = range(0, len(found) - SETS + 1, SETS)
    return [(fit_calibration(spec, found[k : k + SETS], "some"), found[:k] + found[k + SETS :]) for k in starts]


def _spread(spec: ModelSpec, others: Sequence[tuple[Calibration, list[Scores]]], rate: float) -> tuple[float, ...]:
    """Ratios of counted to nominal false alarms: quantiles at 10, 50 and 90 %, and the mean."""
    ratios = [
        alarms(calibration.with_rate(rate), spec, rest) / (rate * _hours(rest, spec))
        for calibration, rest in others
        if rate >= calibration.innovation.lowest_rate
    ]
    return (*np.quantile(ratios, [0.1, 0.5, 0.9]).tolist(), float(np.mean(ratios))) if ratios else ()


def _hours(found: Sequence[Scores], spec: ModelSpec) -> float:
    return sum(len(each.code) for each in found) / spec.rate_hz / 3600


def _delays(
    predictor: Predictor, calibration: Calibration, episodes: Sequence[Episode], fault: SensorFault, onsets: int
) -> Iterator[float]:
    """Seconds until each fault was noticed; infinity where it was not."""
    spec, past = predictor.spec, predictor.settling_samples + 2 * predictor.spec.taps
    patience = round(PATIENCE_S * spec.rate_hz)
    for episode in episodes:
        starts = (
            np.linspace(past, len(episode) - patience, onsets).astype(int) if len(episode) > past + patience else ()
        )
        for start in starts:
            values = episode.values[start - past : start + patience]
            for column in range(spec.n_inputs, spec.width):
                neighbour = spec.n_inputs + (column + 1 - spec.n_inputs) % spec.n_outputs
                faulty = broken(values, fault, column, neighbour, past, spec.scaling.std[column], spec.rate_hz)
                yield _first_alarm(predictor, calibration, faulty, past) / spec.rate_hz


def _first_alarm(predictor: Predictor, calibration: Calibration, values: Floats, start: int) -> float:
    session = Session(predictor, novelty=Novelty(calibration, predictor))
    for tick, row in enumerate(values):
        flags = session.feed(Sample(tick / predictor.spec.rate_hz, row)).flags
        if tick >= start and ("novel" in flags or "rejected" in flags):
            return float(tick - start)
    return np.inf


def _stream(subject: Subject, episode: Episode) -> tuple[Doubles, int]:
    """Ticks at which an episode is novel, and how many it has."""
    predictor = Predictor.load(subject.bundle, check=False)
    session = Session(predictor)
    said = list(session.run(map(Sample, episode.t.tolist(), episode.values)))
    return np.flatnonzero(["novel" in each.flags for each in said]).astype(np.float64), len(said)
