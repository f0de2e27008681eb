"""Surprise: novelty of samples by their likelihood, for a model with a distribution.

The innovation of `rtsysid.live.novelty` divides each output by one constant. The likelihood knows more: how large
errors are at this moment, and which errors of outputs belong together.
"""

from __future__ import annotations

import numpy as np

from rtsysid.live.calibration import running_mean
from rtsysid.model.backends.cells import Weights
from rtsysid.model.likelihood import tick_log_densities
from rtsysid.spec import Doubles, Floats, ModelSpec


def surprises(spec: ModelSpec, weights: Weights, values: Floats) -> Doubles:
    """Compute the smoothed negative log density of each row of an episode [n, C], in nats: [n].

    NaN in the first rows, until the model is ready. Raises SpecError where the model has no distribution.
    """
    scores = -tick_log_densities(spec, weights, values)
    ready = int(np.isnan(scores).sum())  # the first rows alone have none
    if ready < len(scores):
        scores[ready:] = running_mean(scores[ready:], float(scores[ready]))
    return scores
