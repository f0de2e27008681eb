"""What a model leaves unexplained one tick ahead, and the two tests of it: is it white, is it free of the input?

A residual is what was measured less what was predicted from the samples before. Of a model that took all there is from
the past, residuals are white noise that no past input is correlated with. Correlations are counted over stretches that
are never joined; their bounds are those of 99 % under the hypothesis that nothing is left.

Ref: L. Ljung, System Identification, 2nd ed., 1999, section 16.6, residual analysis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from rtsysid.errors import TraceError
from rtsysid.metrics import same_sign
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.trace import Episode
from rtsysid.spec import Doubles

LAGS = 25
Z99 = 2.5758  # a normal variable lies within this many standard deviations with 99 %
_SPREAD_LAGS = 100  # how far the memory of residual and input is followed for the bounds
_LEAST_SPREAD = 0.01  # an estimated sum of correlations may come out at nothing, or below


@dataclass(frozen=True, eq=False)
class OneStep:
    """Predictions one tick ahead over one unbroken stretch.

    Row k: `measured` y_k [n, ny], `predicted` from the samples up to k - 1 [n, ny], `inputs` u_k [n, nu], which are
    applied only after y_k was measured; `t` [n] s.
    """

    name: str
    t: Doubles = field(repr=False)
    inputs: Doubles = field(repr=False)
    measured: Doubles = field(repr=False)
    predicted: Doubles = field(repr=False)

    @property
    def residual(self) -> Doubles:
        return self.measured - self.predicted


@dataclass(frozen=True, eq=False)
class Whiteness:
    """`r` [lags, ny]: correlation of residuals with those 1, 2, .. ticks later; beyond +-`bound` it is no accident."""

    r: Doubles
    bound: float

    @property
    def outside(self) -> Doubles:
        """Share [ny] of the lags outside the bounds: about 0.01 of white noise."""
        return np.asarray(np.mean(np.abs(self.r) > self.bound, axis=0))


@dataclass(frozen=True, eq=False)
class CrossCorrelation:
    """`r` [2 lags + 1, ny, nu]: residual at k with input at k - lag, for `lags` [2 lags + 1]; `bounds` [ny, nu].

    Positive lags are inputs of the past: what the model should have made use of. At lag 0 and below the input came
    after the residual: it was chosen knowing it, which is feedback.
    """

    lags: Doubles
    r: Doubles
    bounds: Doubles

    def outside(self, past: bool) -> Doubles:
        """Share [ny, nu] of the lags outside the bounds, of the past inputs (lags from 1) or of the others."""
        rows = (self.lags >= 1) == past
        return np.asarray(np.mean(np.abs(self.r[rows]) > self.bounds, axis=0))


def one_step(predictor: Predictor, episodes: Sequence[Episode]) -> list[OneStep]:
    """Stream episodes without gaps and keep each prediction that was ready, beside what came.

    Raises TraceError where no episode outlasts the warm-up.
    """
    spec = predictor.spec
    parts = []
    for episode in episodes:
        predictor.reset()
        predicted = np.full((len(episode), spec.n_outputs), np.nan)
        ready = len(episode)
        for tick, sample in enumerate(episode.values[:-1]):
            predicted[tick + 1] = predictor.step(sample)
            if predictor.ready:
                ready = min(ready, tick + 1)
        values = episode.values[ready:].astype(np.float64)
        inputs, measured = values[:, : spec.n_inputs], values[:, spec.n_inputs :]
        guess = same_sign(predicted[ready:], measured, spec.outputs)
        if len(values):
            parts.append(OneStep(episode.name, episode.t[ready:], inputs, measured, guess))
    predictor.reset()
    if not parts:
        found = f"the longest of {len(episodes)} episodes has {max(map(len, episodes), default=0)} rows"
        raise TraceError("one-step residuals", found, "give recordings that outlast the warm-up")
    return parts


def whiteness(residuals: Sequence[Doubles], lags: int = LAGS) -> Whiteness:
    """Normalised autocorrelation of stretches [n, ny] at lags 1..`lags`. A residual that never moves counts as white.

    Raises TraceError where there are fewer samples than lags.
    """
    count = _count(residuals, lags)
    return Whiteness(_autocorrelation(_centred(residuals), lags)[1:], Z99 / float(np.sqrt(count)))


def cross_correlation(residuals: Sequence[Doubles], inputs: Sequence[Doubles], lags: int = LAGS) -> CrossCorrelation:
    """Normalised correlation of residuals [n, ny] with inputs [n, nu] of the same stretches, at -`lags`..`lags`.

    The bounds take into account how long residual and input remember: under independence the variance of r is
    ``sum_k r_e(k) r_u(k) / N`` (Ljung, 16.6). Raises TraceError where there are fewer samples than lags.
    """
    count = _count(residuals, lags)
    e, u = _centred(residuals), _centred(inputs)
    axis = np.arange(-lags, lags + 1)
    scale = np.sqrt(np.multiply.outer(_lagged(e, e, 0).diagonal(), _lagged(u, u, 0).diagonal()))
    r = np.stack([_ratio(_lagged(e, u, int(lag)), scale) for lag in axis])
    memory = min(_SPREAD_LAGS, count - 1)
    r_e, r_u = _autocorrelation(e, memory), _autocorrelation(u, memory)
    spread = 2.0 * np.einsum("ki,kj->ij", r_e, r_u) - np.multiply.outer(r_e[0], r_u[0])
    return CrossCorrelation(axis.astype(np.float64), r, Z99 * np.sqrt(np.maximum(spread, _LEAST_SPREAD) / count))


def _count(parts: Sequence[Doubles], lags: int) -> int:
    count = sum(map(len, parts))
    if count <= lags:
        raise TraceError("residual tests", f"{count} residuals for {lags} lags", "give longer recordings")
    return count


def _centred(parts: Sequence[Doubles]) -> list[Doubles]:
    """Less the mean over all stretches: a constant error is a bias, not a correlation."""
    mean = np.concatenate(parts).mean(axis=0)
    return [part - mean for part in parts]


def _lagged(a: Sequence[Doubles], b: Sequence[Doubles], lag: int) -> Doubles:
    """Sum over k of a_k b_{k - lag}: [columns of a, columns of b]."""
    later, earlier = max(lag, 0), max(-lag, 0)
    total = np.zeros((a[0].shape[1], b[0].shape[1]))
    for x, y in zip(a, b, strict=True):
        rows = len(x) - abs(lag)
        if rows > 0:
            total += x[later : later + rows].T @ y[earlier : earlier + rows]
    return total


def _autocorrelation(parts: Sequence[Doubles], lags: int) -> Doubles:
    """Of each column with itself, at lags 0..`lags`: [lags + 1, columns]; 1 at lag 0, or 0 for a column at rest."""
    sums = np.zeros((lags + 1, parts[0].shape[1]))
    for part in parts:
        for lag in range(min(lags + 1, len(part))):
            sums[lag] += np.einsum("ki,ki->i", part[lag:], part[: len(part) - lag])
    return _ratio(sums, sums[0])


def _ratio(sums: Doubles, scale: Doubles) -> Doubles:
    scale = np.broadcast_to(scale, sums.shape)
    return np.divide(sums, scale, out=np.zeros_like(sums), where=scale > 0)
