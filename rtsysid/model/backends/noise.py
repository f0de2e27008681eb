"""What samples a future, in NumPy: the noise of one tick, for any batch of futures.

A future begins with slow values a ~ N(0, 1) and a member k. At each tick it draws normal numbers z. What the noise
depends on is s = [code, h before the tick]:

* latent: the code moves by ``into (exp(min(scale s + b, limit)) z)``, which the cell sees;
* member: the targets move by the offset of member k, a linear map of h;
* slow: ``a <- p a + sqrt(1 - p^2) z``, with a persistence p of its own for each value;
* spread: the targets move by ``exp(min(scale tanh(hidden s), limit) + age + scale of the member) (z + factors a)``.

The limits are the largest scales of the training recordings: a future that leaves them does not grow ever faster.

Every distribution of `rtsysid.structure.DISTRIBUTIONS` is a choice of sizes. docs/generative.md has the reasons.
Shapes: B futures, Q latent, T targets, R slow, K members, Z code, H hidden.
"""

from __future__ import annotations

from bisect import bisect_right

import numpy as np

from rtsysid.model.backends.cells import Weights
from rtsysid.model.backends.windowed import Ages
from rtsysid.model.contents import SPREAD_AGES
from rtsysid.spec import Floats, ModelSpec

LEAST, MOST = -12.0, 4.0  # logarithm of a scale, in the unit of the targets


class NumpyNoise:
    """Compute the noise of a distribution from its weights."""

    def __init__(self, spec: ModelSpec, weights: Weights) -> None:
        self.spec, self._w = spec, weights
        q, t = spec.noise.latent, spec.n_targets
        self._latent, self._white, self._slow = slice(0, q), slice(q, q + t), slice(q + t, None)
        if spec.noise.factors:
            self._kept, self._fresh = persistence_of(weights["spread.persistence"])

    def first_slow(self, draws: Floats) -> Floats:
        """Return the slow values that futures begin with, from the numbers of tick 0: [B, draws] -> [B, R]."""
        return draws[:, self._slow]

    def next_slow(self, slow: Floats, draws: Floats) -> Floats:
        """Advance the slow values by one tick: [B, R], [B, draws] -> [B, R]."""
        if not self.spec.noise.factors:
            return slow
        return self._kept * slow + self._fresh * draws[:, self._slow]

    def members(self, uniform: Floats) -> Ages:
        """Choose the member of each future by its share: numbers in 0 .. 1 [B] -> [B]."""
        if self.spec.noise.members < 2:
            return np.zeros(len(uniform), np.int64)
        return np.searchsorted(cumulative_shares(self._w["members.share"]), uniform, "right")

    def into_code(self, seen: Floats, draws: Floats) -> Floats | float:
        """Compute what latent values add to the code: [B, Z + H], [B, draws] -> [B, Z]; 0 where there are none."""
        if not self.spec.noise.latent:
            return 0.0
        w = self._w
        scale = np.minimum(seen @ w["latent.scale.weight"].T + w["latent.scale.bias"], w["latent.limit"])
        scale = np.exp(np.clip(scale, LEAST, MOST))
        moved: Floats = (scale * draws[:, self._latent]) @ w["latent.into.weight"].T
        return moved

    def added(self, seen: Floats, hidden: Floats, tick: int, member: Ages, slow: Floats, draws: Floats) -> Floats:
        """Compute what is added to the targets, in their unit: [B, T]. `hidden` [B, H] is the output of the cell.

        `tick`: ticks since the beginning of the futures.
        """
        w, targets = self._w, self.spec.n_targets
        of_seen = np.tanh(seen @ w["spread.hidden.weight"].T + w["spread.hidden.bias"])
        scale = np.minimum(of_seen @ w["spread.scale.weight"].T + w["spread.scale.bias"], w["spread.limit"])
        scale = scale + w["spread.age"][bisect_right(SPREAD_AGES, tick)]
        noise = draws[:, self._white]
        if self.spec.noise.factors:
            noise = noise + slow @ w["spread.factors"].T
        offset: Floats | float = 0.0
        if self.spec.noise.members > 1:
            scale = scale + w["members.scale"][member]
            every = hidden @ w["members.offset.weight"].T + w["members.offset.bias"]
            offset = every.reshape(len(hidden), -1, targets)[np.arange(len(hidden)), member]
        found: Floats = offset + np.exp(np.clip(scale, LEAST, MOST)) * noise
        return found


def persistence_of(logits: Floats) -> tuple[Floats, Floats]:
    """Return how much of each slow value stays in a tick, and how much of a new number joins it: [R] -> 2 x [R]."""
    kept = 1 / (1 + np.exp(-logits.astype(np.float64)))
    return kept.astype(np.float32), np.sqrt(1 - kept * kept).astype(np.float32)


def cumulative_shares(logits: Floats) -> Floats:
    """Return where the share of each member but the last ends: logits [K] -> [K - 1]."""
    shares = np.exp(logits.astype(np.float64) - logits.max())
    return np.cumsum(shares / shares.sum())[:-1].astype(np.float32)
