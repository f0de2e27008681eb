"""Write a linear model as the arrays that a network starts from."""

from __future__ import annotations

import numpy as np

from rtsysid.evaluation.linear.maps import LinearMap, LinearModel
from rtsysid.model.npz import Arrays
from rtsysid.spec import Doubles, ModelSpec


def linear_arrays(spec: ModelSpec, model: LinearModel, fitted: ModelSpec) -> Arrays:
    """Return the maps and gains of a model, which was fitted in the scaling of `fitted`, for a network of `spec`.

    ``weight`` [T, F], ``bias`` [T], the same with ``near_`` where the model has a near map, ``gain`` [K, T]. ``spread``
    [T]: standard deviation of the increments of a tick, in units of the targets.
    """
    change = np.asarray(fitted.scaling.target_std) / np.asarray(spec.scaling.target_std)
    arrays = _map_arrays(spec, model.far, change)
    if spec.near_ticks:
        arrays |= {f"near_{name}": array for name, array in _map_arrays(spec, model.near, change).items()}
    if spec.age_bands:
        arrays["spread"] = change.astype(np.float32)
        arrays["gain"] = np.stack([model.gain(age) for age in (0, *spec.age_bands)]).astype(np.float32)
    return arrays


def _map_arrays(spec: ModelSpec, each: LinearMap, change: Doubles) -> Arrays:
    """Return weight and bias; rows of the window that the map does not see have weight 0."""
    weights = each.weights * change
    blind = np.zeros(((spec.taps - each.lags) * spec.n_features, spec.n_targets))
    weight = np.concatenate((blind, weights[:-1])).T
    return {"weight": np.ascontiguousarray(weight, np.float32), "bias": weights[-1].astype(np.float32)}
