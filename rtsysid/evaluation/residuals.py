"""Test the one-step residuals of a model: are they white, and are they uncorrelated with the inputs?

A residual is the measurement minus its prediction from earlier samples. If the model uses all information in earlier
samples, residuals are white noise and uncorrelated with earlier inputs. Correlations never cross the border between
two episodes. Their bounds are 99 % bounds under the hypothesis of no correlation.

Ref: L. Ljung, System Identification, 2nd ed., 1999, section 16.6, residual analysis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from rtsysid.circle import nearest
from rtsysid.errors import TraceError
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.trace import Episode
from rtsysid.spec import Doubles

LAGS = 25
FARTHEST = 300  # lags of an input at which its correlation with the residual is tested
Z99 = 2.5758  # a normal variable lies within this many standard deviations with 99 %
_VARIANCE_LAGS = 100  # lags of the autocorrelations that enter the bounds
_MIN_VARIANCE = 0.01  # lower limit of an estimated sum of correlations, which may be zero or negative


@dataclass(frozen=True, eq=False)
class OneStep:
    """Hold predictions one tick ahead over one episode without gaps.

    Row k: `measured` y_k [n, ny]; `predicted` [n, ny] from the samples up to k - 1; `inputs` u_k [n, nu], applied after
    y_k was measured; `t` [n] s.
    """

    name: str
    t: Doubles = field(repr=False)
    inputs: Doubles = field(repr=False)
    measured: Doubles = field(repr=False)
    predicted: Doubles = field(repr=False)

    @property
    def residual(self) -> Doubles:
        """Subtract the prediction from the measurement, [n, ny]."""
        return self.measured - self.predicted


@dataclass(frozen=True, eq=False)
class Whiteness:
    """Hold the autocorrelation `r` [lags, ny] of residuals at lags 1, 2, .. ticks, and its 99 % bound."""

    r: Doubles
    bound: float

    @property
    def outside(self) -> Doubles:
        """Compute the share of the lags outside the bounds, [ny]: about 0.01 for white noise."""
        return np.asarray(np.mean(np.abs(self.r) > self.bound, axis=0))


@dataclass(frozen=True, eq=False)
class CrossCorrelation:
    """Hold the correlation of the residual at k with the input at k - lag.

    `lags` [2 L + 1], `r` [2 L + 1, ny, nu], 99 % `bounds` [ny, nu]. At positive lags the input came before the
    residual: the model should have used it. At lag 0 and below it came after it: correlation there is feedback.
    """

    lags: Doubles
    r: Doubles
    bounds: Doubles

    def outside(self, earlier: bool) -> Doubles:
        """Compute the share of the lags outside the bounds, [ny, nu]: lags from 1 (`earlier` inputs), or the others."""
        rows = (self.lags >= 1) == earlier
        return np.asarray(np.mean(np.abs(self.r[rows]) > self.bounds, axis=0))


def one_step(predictor: Predictor, episodes: Sequence[Episode]) -> list[OneStep]:
    """Stream episodes without gaps; keep each prediction after the warm-up and its measurement.

    Raises TraceError where no episode is longer than the warm-up.
    """
    spec = predictor.spec
    steps = []
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
        guess = nearest(predicted[ready:], measured, spec.outputs)
        if len(values):
            steps.append(OneStep(episode.name, episode.t[ready:], inputs, measured, guess))
    predictor.reset()
    if not steps:
        found = f"the longest of {len(episodes)} episodes has {max(map(len, episodes), default=0)} rows"
        raise TraceError("one-step residuals", found, "give recordings that are longer than the warm-up")
    return steps


def whiteness(residuals: Sequence[Doubles], lags: int = LAGS) -> Whiteness:
    """Compute the normalised autocorrelation of residuals [n, ny] of each episode, at lags 1 .. `lags`.

    A constant residual has correlation 0. Raises TraceError where there are too few samples. Ref: Ljung, 16.6.
    """
    count = _count(residuals, lags)
    return Whiteness(_autocorrelation(_centred(residuals), lags)[1:], Z99 / float(np.sqrt(count)))


def cross_correlation(residuals: Sequence[Doubles], inputs: Sequence[Doubles], lags: int = LAGS) -> CrossCorrelation:
    """Compute the normalised correlation of residuals [n, ny] with inputs [n, nu] at lags -`lags` .. `lags`.

    The bounds widen with the autocorrelation of residual and input. If both are independent, the variance of r is
    ``sum_k r_e(k) r_u(k) / N``. Raises TraceError where there are no more samples than lags. Ref: Ljung, 16.6.
    """
    count = _count(residuals, lags)
    e, u = _centred(residuals), _centred(inputs)
    axis = np.arange(-lags, lags + 1)
    sums = cross_sums(e, u, lags)
    scale = np.sqrt(np.multiply.outer(*(sum((x * x).sum(0) for x in each) for each in (e, u))))
    r = _ratio(sums, scale)
    far = min(_VARIANCE_LAGS, count - 1)
    r_e, r_u = _autocorrelation(e, far), _autocorrelation(u, far)
    variance = 2.0 * np.einsum("ki,kj->ij", r_e, r_u) - np.multiply.outer(r_e[0], r_u[0])
    return CrossCorrelation(axis.astype(np.float64), r, Z99 * np.sqrt(np.maximum(variance, _MIN_VARIANCE) / count))


def lags_for(residuals: Sequence[Doubles], horizon: int) -> int:
    """Return how far to test residuals [n, ny] of each episode: beyond the horizon, as far as a quarter of them goes.

    A dead time longer than the window shows only there.
    """
    longest = max(map(len, residuals), default=0)
    return max(min(LAGS, longest - 1), min(max(FARTHEST, 2 * horizon), longest // 4))


def _count(series: Sequence[Doubles], lags: int) -> int:
    count = sum(map(len, series))
    if count <= lags:
        raise TraceError("residual tests", f"{count} residuals for {lags} lags", "give longer recordings")
    return count


def _centred(series: Sequence[Doubles]) -> list[Doubles]:
    """Subtract the mean over all episodes: a constant error is a bias, not a correlation."""
    mean = np.concatenate(series).mean(axis=0)
    return [each - mean for each in series]


def cross_sums(a: Sequence[Doubles], b: Sequence[Doubles], lags: int) -> Doubles:
    """Sum over k of a_k b_{k - lag} at lags -`lags` .. `lags`: [2 L + 1, columns of a, columns of b]; by FFT."""
    total = np.zeros((2 * lags + 1, a[0].shape[1], b[0].shape[1]))
    for x, y in zip(a, b, strict=True):
        reach = min(lags, len(x) - 1)
        size = 1 << (len(x) + reach).bit_length()
        fx, fy = np.fft.rfft(x, size, axis=0), np.fft.rfft(y, size, axis=0).conj()
        for column in range(y.shape[1]):
            both = np.fft.irfft(fx * fy[:, column, None], size, axis=0)
            rows = np.concatenate((both[size - reach :], both[: reach + 1]))
            total[lags - reach : lags + reach + 1, :, column] += rows
    return total


def _autocorrelation(series: Sequence[Doubles], lags: int) -> Doubles:
    """Autocorrelation of each column at lags 0 .. `lags`: [lags + 1, columns]; all 0 for a constant column."""
    sums = np.zeros((lags + 1, series[0].shape[1]))
    for each in series:
        for lag in range(min(lags + 1, len(each))):
            sums[lag] += np.einsum("ki,ki->i", each[lag:], each[: len(each) - lag])
    return _ratio(sums, sums[0])


def _ratio(sums: Doubles, scale: Doubles) -> Doubles:
    scale = np.broadcast_to(scale, sums.shape)
    return np.divide(sums, scale, out=np.zeros_like(sums), where=scale > 0)
