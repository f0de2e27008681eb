"""How likely measured ticks are under a model with a distribution, in NumPy.

The density of a tick is that of the noise of one tick: a normal distribution of the targets, of low rank plus a
diagonal, and a mixture of them where the model has members. The slow values count with the distribution that they have
at any tick; latent values are 0, so that a distribution with latent values understates its spread here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from rtsysid.errors import SpecError
from rtsysid.model.backends.cells import Weights
from rtsysid.model.backends.noise import LEAST, MOST
from rtsysid.model.backends.numpy_network import NumpyNetwork
from rtsysid.spec import Doubles, Floats, ModelSpec


class MeasuredTick(NamedTuple):
    """Hold a row of an episode: the difference of its targets to the mean [T], in their unit, and its log density.

    The density is in engineering units.
    """

    row: int
    off: Doubles
    density: float


def measured_ticks(spec: ModelSpec, weights: Weights, values: Floats) -> Iterator[MeasuredTick]:
    """Stream an episode [n, C] and yield each row that the model predicted, once it is ready.

    Raises SpecError where the model has no distribution.
    """
    if not spec.distribution:
        raise SpecError("likelihood", "the model predicts points", 'train with model.distribution = "gaussian"')
    net, w = NumpyNetwork(spec, weights, np.float64), {k: np.asarray(v, np.float64) for k, v in weights.items()}
    volume = log_volume(spec)
    rows, state = np.asarray(values, np.float64), np.zeros((1, spec.state_size))
    for tick in range(spec.taps - 1, len(rows) - 1):
        window = rows[None, tick - spec.taps + 1 : tick + 1]
        state = net.initial(window) if tick == spec.taps - 1 else state  # type: ignore[arg-type, assignment]
        features = net.features(window)  # type: ignore[arg-type]
        code = net.encode(features[:, spec.encoder_columns])
        seen = np.concatenate((code, state[:, : spec.hidden]), 1)
        state = net.cell.tick(code, state)  # type: ignore[arg-type, assignment]
        if tick + 1 >= spec.settling_samples:
            target = net.targets(features, code, state, np.zeros(1, np.int64))  # type: ignore[arg-type]
            measured = net.coordinates.targets(window[:, -1], rows[None, tick + 1, spec.n_inputs :])
            off = (measured - net.target_mean) / net.target_std - target
            density = _density(spec, w, off[0], seen[0], state[0, : spec.hidden])
            yield MeasuredTick(tick + 1, off[0], density - volume)


def tick_log_densities(spec: ModelSpec, weights: Weights, values: Floats) -> Doubles:
    """Compute the log density of the targets that led to each row of an episode [n, C], in engineering units: [n].

    NaN in the first rows, until the model is ready. Raises SpecError where the model has no distribution.
    """
    found = np.full(len(values), np.nan)
    for each in measured_ticks(spec, weights, values):
        found[each.row] = each.density
    return found


def log_volume(spec: ModelSpec) -> float:
    """Return what a log density in the unit of the targets has more than one in engineering units."""
    return float(np.log(spec.scaling.target_std).sum())


def _density(spec: ModelSpec, w: Weights, off: Doubles, seen: Doubles, hidden: Doubles) -> float:
    """Compute the log density of targets [T] in their own unit, from their difference to the mean."""
    of_seen = np.tanh(w["spread.hidden.weight"] @ seen + w["spread.hidden.bias"])
    scale = np.minimum(w["spread.scale.weight"] @ of_seen + w["spread.scale.bias"], w["spread.limit"])
    scale = scale + w["spread.age"][0]
    shared = np.eye(len(off))
    if spec.noise.factors:
        shared = shared + w["spread.factors"] @ w["spread.factors"].T
    root: Doubles = np.asarray(np.linalg.cholesky(shared), np.float64)
    if spec.noise.members < 2:
        return _normal(off, scale, root)
    offsets = (w["members.offset.weight"] @ hidden + w["members.offset.bias"]).reshape(spec.noise.members, -1)
    share = w["members.share"] - np.logaddexp.reduce(w["members.share"])
    parts = zip(offsets, w["members.scale"], share, strict=True)
    each = [_normal(off - offset, scale + more, root) + log for offset, more, log in parts]
    return float(np.logaddexp.reduce(each))


def _normal(off: Doubles, log_scale: Doubles, root: Doubles) -> float:
    log_scale = np.clip(log_scale, LEAST, MOST)
    white = np.linalg.solve(root, off * np.exp(-log_scale))
    volume = log_scale.sum() + np.log(np.diagonal(root)).sum() + 0.5 * len(off) * math.log(2 * math.pi)
    return float(-0.5 * white @ white - volume)
