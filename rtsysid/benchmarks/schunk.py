"""Define the Schunk arm benchmark: forecast six joints from their torques, 50 ticks (0.2 s) after 50 samples.

Ref: S. Liu, M. Althoff, IROS 2018; recordings via AutoKoopman. There is no official split. Here every fifth run (5, 10,
.. 80) tests, and the run before each validates, so that each set has every kind of movement. The error of a tick is the
mean Euclidean norm over the joints. No results are published for this protocol.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rtsysid.benchmarks.forecasting import forecast, history, windows
from rtsysid.benchmarks.score import Score
from rtsysid.evaluation.metrics import forecast_windows, horizon_errors
from rtsysid.model.npz import Arrays
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.home import recordings
from rtsysid.recordings.trace import Episode, Trace
from rtsysid.spec import Channel, Floats

HORIZON, HISTORY = 50, 50
SHOWN = (1, 10, 50)
RUNS = range(1, 81)
TEST = RUNS[4::5]
INPUTS = tuple(Channel(f"tau{k}", "N m", "input") for k in range(1, 7))
OUTPUTS = (
    *(Channel(f"q{k}", "rad", group="angle") for k in range(1, 7)),
    *(Channel(f"dq{k}", "rad/s", group="speed") for k in range(1, 7)),
)


@dataclass(frozen=True)
class SchunkArm:
    """Define the benchmark for `rtsysid.experiments.benchmark`."""

    name: str = "schunk-arm"
    config: str = "benchmarks/schunk-arm"
    quick: float = 0.3  # share of the full effort in a quick run
    measures: tuple[str, ...] = ("angle rad", "speed rad/s")
    published: tuple[Score, ...] = ()
    outputs: tuple[Channel, ...] = OUTPUTS

    def training(self, channels: tuple[Channel, ...]) -> Trace:
        """Read all runs except the test runs. Validation runs are named ``run_NNN validation``.

        Raises TraceError where the recordings are absent.
        """
        trace = _read_runs([run for run in RUNS if run not in TEST], channels)
        return Trace(trace.channels, tuple(map(_mark_validation, trace.episodes)), trace.sources)

    def testing(self, channels: tuple[Channel, ...]) -> Trace:
        """Read the test runs: every fifth one. Raises TraceError where the recordings are absent."""
        return _read_runs(list(TEST), channels)

    @cached_property
    def test(self) -> tuple[Episode, ...]:
        """Read the test runs: torques, angles, speeds."""
        return self.testing((*INPUTS, *OUTPUTS)).episodes

    def predict(self, predictor: Predictor) -> Arrays:
        """Forecast all windows: ``pred`` [K, 50, 12], run number ``run`` [K], and row ``t`` [K] of the start."""
        at = windows(self.test, HISTORY, HORIZON)
        histories = (history(self.test[k].values, t, HISTORY) for k, t in zip(*at, strict=True))
        ahead = np.concatenate([pair[0] for pair in self._windows()])
        return self._arrays(forecast(predictor, histories, ahead))

    def hold(self) -> Arrays:
        """Return the forecasts of the hold model. Arrays as in `predict`."""
        at = windows(self.test, HISTORY, HORIZON)
        now = np.stack([self.test[k].values[t, len(INPUTS) :] for k, t in zip(*at, strict=True)])
        return self._arrays(np.repeat(now[:, None], HORIZON, 1))

    def score(self, model: str, predictions: Arrays) -> list[Score]:
        """Compute the error at 1, 10 and 50 ticks and the sum over all 50, per measure."""
        truth = np.concatenate([pair[1] for pair in self._windows()])
        curves = horizon_errors(predictions["pred"], truth, OUTPUTS)
        errors = {
            measure: (*(float(curve[h - 1]) for h in SHOWN), float(curve.sum()))
            for measure, curve in zip(self.measures, curves.values(), strict=True)
        }
        return [Score(model, errors, "50 samples")]

    def _windows(self) -> list[tuple[Floats, Floats]]:
        at = windows(self.test, HISTORY, HORIZON)
        return [
            forecast_windows(run.values, len(INPUTS), at.t[at.episode == k], HORIZON) for k, run in enumerate(self.test)
        ]

    def _arrays(self, predicted: Floats) -> Arrays:
        at = windows(self.test, HISTORY, HORIZON)
        return {"pred": predicted, "run": np.array(TEST)[at.episode], "t": at.t}


def _read_runs(runs: list[int], channels: tuple[Channel, ...]) -> Trace:
    return Trace.read_all([recordings("schunk_arm", f"run_{run:03d}.csv.gz") for run in runs], channels)


def _mark_validation(episode: Episode) -> Episode:
    number = int(episode.name.removeprefix("run_"))
    return episode.piece(0, len(episode), f"{episode.name} validation") if number + 1 in TEST else episode
