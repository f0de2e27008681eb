"""Make the network that a training starts from: the linear model, and a head that adds nothing yet."""

from __future__ import annotations

import numpy as np
import torch

from rtsysid.evaluation.linear.maps import LinearMap, LinearModel
from rtsysid.spec import Doubles, ModelSpec
from rtsysid.train.linear_path import silence
from rtsysid.train.network import Network


@torch.no_grad()
def first_network(spec: ModelSpec, model: LinearModel, fitted: ModelSpec, seed: int) -> Network:
    """Make a network of `spec` with the maps of a model that was fitted in the scaling of `fitted`."""
    torch.manual_seed(seed)
    network = Network(spec)
    silence(network.head)
    change = np.asarray(fitted.scaling.target_std) / np.asarray(spec.scaling.target_std)
    _load(network.linear_path, model.far, spec, change)
    if spec.near_ticks:
        _load(network.linear_near, model.near, spec, change)
    if spec.age_bands:
        network.linear_gain.copy_(torch.from_numpy(np.stack([model.gain(age) for age in (0, *spec.age_bands)])))
    return network


def _load(layer: torch.nn.Linear, each: LinearMap, spec: ModelSpec, change: Doubles) -> None:
    """Copy a map into a layer; rows of the window that it does not see have weight 0."""
    weights = each.weights * change
    blind = np.zeros(((spec.taps - each.lags) * spec.n_features, spec.n_targets))
    layer.weight.copy_(torch.from_numpy(np.concatenate((blind, weights[:-1])).T.astype(np.float32)))
    layer.bias.copy_(torch.from_numpy(weights[-1].astype(np.float32)))
