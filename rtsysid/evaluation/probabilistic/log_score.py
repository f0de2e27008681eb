"""Score the density of single ticks: how likely the measured rows are, next to noise of one size."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from rtsysid.model.backends.cells import Weights
from rtsysid.model.likelihood import log_volume, measured_ticks
from rtsysid.spec import Doubles, Floats, ModelSpec


class LogScore(msgspec.Struct, frozen=True):
    """Hold the mean log density of a row given those before it, in nats; larger is better.

    ``constant``: that of a normal distribution around the same predictions whose covariance never changes. It is fitted
    to the rows that are judged, which favours it.
    """

    model: float
    constant: float

    @property
    def line(self) -> str:
        """Describe it in one line."""
        return (
            f"log score of one tick: {self.model:.4g} nats a row; {self.constant:.4g} with one covariance for all "
            "ticks, fitted to the same rows"
        )


def log_score(spec: ModelSpec, weights: Weights, pieces: Sequence[Floats]) -> LogScore | None:
    """Score the rows of pieces [n, C] that the model predicts; None where there are none.

    Raises SpecError where the model has no distribution.
    """
    ticks = [each for values in pieces for each in measured_ticks(spec, weights, values)]
    if not ticks:
        return None
    fitted = _constant(np.array([each.off for each in ticks])) - log_volume(spec)
    return LogScore(float(np.mean([each.density for each in ticks])), fitted)


def _constant(errors: Doubles) -> float:
    """Return the mean log density of errors [K, T] under the normal distribution that fits them best."""
    size = errors.shape[1]
    covariance = errors.T @ errors / len(errors) + 1e-12 * np.eye(size)
    return float(-0.5 * (size * (1 + math.log(2 * math.pi)) + np.linalg.slogdet(covariance)[1]))
