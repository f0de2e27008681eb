"""Say how a finished training ended: the epoch that was kept, and its error next to hold and the linear model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from rtsysid.evaluation.baselines import LinearArx
from rtsysid.evaluation.horizon import Evaluation, evaluation_of
from rtsysid.model.backends.numpy_backend import NumpyBackend
from rtsysid.model.npz import Arrays
from rtsysid.model.predictor import Predictor
from rtsysid.spec import Floats
from rtsysid.train.run import Result, Run, state_arrays

HORIZON, FORECASTS, ROWS = 50, 300, 10_000  # ticks, forecasts and rows, at most


class TrainingEnd(msgspec.Struct, frozen=True):
    """Describe the end of a training.

    ``stage``, ``epoch``, ``epochs``: the epoch whose weights were kept; an empty stage is the linear model.
    ``waited``: epochs without a better one after which the stage ended early; 0 where it ran to its end.
    ``evaluation``: errors on the validation recordings; None where they are too short for a forecast.
    """

    stage: str
    epoch: int
    epochs: int
    waited: int
    evaluation: Evaluation | None

    @property
    def kept(self) -> str:
        """Describe the epoch that was kept, in one line."""
        if not self.stage:
            return "the linear model"
        early = f"; stopped early, after {self.waited} epochs without a better one" if self.waited else ""
        return f"epoch {self.epoch} of {self.epochs} of stage {self.stage}{early}"


def training_end(run: Run) -> TrainingEnd:
    """Describe a finished run. Raises ConfigError where it is not finished or damaged."""
    result = run.result()
    stage, epoch, epochs, waited = _kept_epoch(run.history())
    return TrainingEnd(stage, epoch, epochs, waited, _evaluation(result))


def _kept_epoch(history: list[Mapping[str, Any]] | list[dict[str, Any]]) -> tuple[str, int, int, int]:
    """Return stage, epoch and epochs of the last best epoch, and for how many epochs it was waited in vain."""
    if not history:
        return "", 0, 0, 0
    last = history[-1]
    best = [line for line in history if line["stage"] == last["stage"] and line["best"]][-1]
    early = last["epoch"] < last["epochs"]
    return best["stage"], best["epoch"], best["epochs"], last["epoch"] - best["epoch"] if early else 0


def _evaluation(result: Result) -> Evaluation | None:
    """Measure the errors on the validation recordings with the weights that did not see them, where there are such."""
    weights = result.weights if result.judge is None else result.judge
    predictor = Predictor(result.spec, NumpyBackend(result.spec, state_arrays(weights)))
    pieces = [] if result.validation is None else _pieces_within(result.validation)
    arx = LinearArx.from_arrays(result.baseline)
    past = max(arx.lags, result.spec.taps, result.spec.settling_samples)
    longest = max(map(len, pieces), default=0)
    if longest <= past + 1:
        return None
    horizon = min(HORIZON, longest - past)
    stride = max(1, sum(map(len, pieces)) // FORECASTS)
    stride = min(stride, max(1, longest - past - horizon))
    return evaluation_of(predictor, arx, pieces, horizon, stride)


def _pieces_within(validation: Arrays) -> list[Floats]:
    """Return the first validation recordings [n, C], and of the last one the rows that are within the limit."""
    pieces = np.split(validation["true"][:ROWS], np.cumsum(validation["rows"])[:-1])
    return [piece for piece in pieces if len(piece)]
