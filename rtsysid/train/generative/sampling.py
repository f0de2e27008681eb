"""Sample futures in torch, with gradients: the same as `rtsysid.model.backends.noise` in NumPy.

Shapes as in `rtsysid.train.network`, with B futures.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

import torch
from torch import Tensor

from rtsysid.model.backends.noise import LEAST, MOST
from rtsysid.model.contents import SPREAD_AGES
from rtsysid.spec import ModelSpec
from rtsysid.train.network import Network


class FutureStart(NamedTuple):
    """Where futures begin: ``window`` [B, L, C] with the inputs of its newest row, ``state`` [B, S]."""

    window: Tensor
    state: Tensor


class Drawn(NamedTuple):
    """The numbers of B futures: ``normal`` [B, N + 1, draws], and the ``member`` [B] of each."""

    normal: Tensor
    member: Tensor


def drawn(spec: ModelSpec, count: int, ticks: int, like: Tensor) -> Drawn:
    """Draw the numbers [count, ticks + 1, draws] of futures; their members take turns.

    `like`: a tensor of the wanted type, of any shape [..].
    """
    normal = torch.randn(count, ticks + 1, spec.n_draws, dtype=like.dtype, device=like.device)
    return Drawn(normal, torch.arange(count, device=like.device) % max(1, spec.noise.members))


def sampled_rollout(network: Network, start: FutureStart, plan: Tensor, draws: Drawn, age: int = 0) -> Tensor:
    """Sample a future of N ticks from each start under its plan [B, N, nu]: [B, N, ny]."""
    spec, (window, state) = network.spec, start
    newest = torch.cat((plan[:, 0], window[:, -1, spec.n_inputs :]), -1)
    window = torch.cat((window[:, :-1], newest[:, None]), 1)
    noise, futures = NoiseOfFutures(network, draws), list[Tensor]()
    for n in range(plan.shape[1]):
        if n:
            row = torch.cat((plan[:, n], futures[-1]), -1)
            window = torch.cat((window[:, 1:], row[:, None]), 1)
        y, state = sampled_step(network, window, state, noise, n, age)
        futures.append(y)
    return torch.stack(futures, 1)


def sampled_step(
    network: Network, window: Tensor, state: Tensor, noise: NoiseOfFutures, n: int, age: int = 0
) -> tuple[Tensor, Tensor]:
    """Advance futures by tick `n`: window [B, L, C], state [B, S] -> y_next [B, ny], state [B, S]."""
    features = network.features(window)
    code = network.encode(features[..., network.spec.encoder_columns])
    seen = torch.cat((code, state[:, : network.spec.hidden]), -1)
    code = code + noise.into_code(seen, n)
    hidden, state = network.cell.tick(code, state)
    target = network.target(features, code, hidden, age + n) + noise.added(seen, hidden, n)
    return network.scaled_outputs(window[:, -1], target), state


class NoiseOfFutures:
    """The noise of B futures, tick by tick in their order."""

    def __init__(self, network: Network, draws: Drawn) -> None:
        self._network, self._spec, self._draws = network, network.spec, draws
        q, t = self._spec.noise.latent, self._spec.n_targets
        self._latent, self._white = draws.normal[:, 1:, :q], draws.normal[:, 1:, q : q + t]
        if self._spec.noise.factors:
            slow, spread = draws.normal[..., q + t :], network.spread
            kept = torch.sigmoid(spread.persistence)
            self._factored = _autoregression(slow, kept) @ spread.factors.T

    def into_code(self, seen: Tensor, n: int) -> Tensor | float:
        """Compute what latent values add to the code at tick `n`: [B, Z + H] -> [B, Z]; 0 where there are none."""
        if not self._spec.noise.latent:
            return 0.0
        latent = self._network.latent
        scale = latent.log_scale(seen).clamp(LEAST, MOST).exp()
        moved: Tensor = latent.into(scale * self._latent[:, n])
        return moved

    def added(self, seen: Tensor, hidden: Tensor, n: int) -> Tensor:
        """Compute what is added to the targets at tick `n`: [B, Z + H], [B, H] -> [B, T]."""
        network, member = self._network, self._draws.member
        log_scale = network.spread.log_scale(seen, spread_band(n))
        white = self._white[:, n]
        noise = white + self._factored[:, n] if self._spec.noise.factors else white
        if self._spec.noise.members < 2:
            return log_scale.clamp(LEAST, MOST).exp() * noise
        log_scale = log_scale + network.members.scale[member]
        every = network.members.offset(hidden).view(len(hidden), -1, self._spec.n_targets)
        offset: Tensor = every[torch.arange(len(hidden)), member]
        return offset + log_scale.clamp(LEAST, MOST).exp() * noise


def spread_band(tick: int) -> int:
    """Return the band of ticks since the beginning of a future, which has a scale of its own."""
    return bisect_right(SPREAD_AGES, tick)


def _autoregression(draws: Tensor, kept: Tensor) -> Tensor:
    """Make AR(1) processes of variance 1 of white numbers [B, N + 1, R]: values [B, N, R] after the first."""
    fresh, values = torch.sqrt(1 - kept * kept), [draws[:, 0]]
    for white in draws[:, 1:].unbind(1):
        values.append(kept * values[-1] + fresh * white)
    return torch.stack(values[1:], 1)
