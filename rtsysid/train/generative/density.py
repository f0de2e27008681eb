"""The density of measured ticks: what the noise of one tick says without sampling.

The slow values count with the distribution that they have at any tick, N(0, 1), and the members with their shares. A
distribution with latent values has no such density; they are 0 here, and what they add to the spread is left out.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from rtsysid.model.backends.noise import LEAST, MOST
from rtsysid.train.network import Network


class TickDeviations(NamedTuple):
    """What measured ticks are compared by: targets minus predicted ones ``off`` [B, N, T], in their own unit.

    ``seen`` [B, N, Z + H] is what the scale depends on, ``hidden`` [B, N, H] the output of the cell.
    """

    off: Tensor
    seen: Tensor
    hidden: Tensor


def tick_deviations(network: Network, windows: Tensor, state: Tensor, truth: Tensor) -> TickDeviations:
    """Compare measured ticks with their predictions; windows [B, N, L, C] and the rest as in `tick_density`."""
    spec = network.spec
    features = network.features(windows)
    codes = network.encode(features[..., spec.encoder_columns])
    hidden, _ = network.cell.sequence(codes, state)
    seen = torch.cat((codes, torch.cat((state[:, None, : spec.hidden], hidden[:, :-1]), 1)), -1)
    measured = network.coordinates.targets(windows[:, :, -1], truth)
    off = (measured - network.target_mean) / network.target_std - network.target(features, codes, hidden)
    return TickDeviations(off, seen, hidden)


def tick_density(network: Network, windows: Tensor, state: Tensor, truth: Tensor) -> Tensor:
    """Compute the log density of each measured tick, in the unit of the targets: -> [B, N].

    Windows [B, N, L, C] of measured rows, the state [B, S] before the first, and the outputs that followed [B, N, ny].
    """
    spec = network.spec
    off, seen, hidden = tick_deviations(network, windows, state, truth)
    scale = network.spread.log_scale(seen, 0)
    if spec.noise.members < 2:
        return log_density(network, off, scale)
    offsets = network.members.offset(hidden).unflatten(-1, (spec.noise.members, -1))
    each = log_density(network, off[..., None, :] - offsets, scale[..., None, :] + network.members.scale)
    return torch.logsumexp(each + torch.log_softmax(network.members.share, 0), -1)


def log_density(network: Network, off: Tensor, log_scale: Tensor) -> Tensor:
    """Compute the log density of N(0, S (I + F F') S) at `off` [..., T], where S holds the scales: -> [...]."""
    log_scale = log_scale.clamp(LEAST, MOST)
    scaled = off / log_scale.exp()
    targets = network.spec.n_targets
    shared = torch.eye(targets, dtype=off.dtype, device=off.device)
    if network.spec.noise.factors:
        shared = shared + network.spread.factors @ network.spread.factors.T
    root = torch.linalg.cholesky(shared)
    white = torch.linalg.solve_triangular(root, scaled.flatten(0, -2).T, upper=False)
    squares = white.square().sum(0).view(scaled.shape[:-1])
    volume = torch.log(torch.diagonal(root)).sum()
    found: Tensor = -0.5 * squares - log_scale.sum(-1) - volume - 0.5 * targets * math.log(2 * math.pi)
    return found
