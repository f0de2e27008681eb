"""Estimate the constant offset between two clocks from what both have recorded of one motion, by correlation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rtsysid.spec import Doubles

BLOCKS = 8  # parts of a recording whose own offsets give the interval
NEAR_S = 0.5  # s around the offset of the whole in which that of a part is searched
QUANTILE = 1.64  # 90 % of a normal distribution
CAUSAL = 1.5  # ticks: an output follows an input by one or more
LAGS, RIDGE = 8, 1e-6  # of the autoregression
CLEAR = 20.0  # times the typical correlation, that the peak must have


class ClockOffset(NamedTuple):
    """Hold the seconds to add to the second clock, with the ends of a 90 % interval.

    ``clear``: whether the peak of the correlation is far above all others.
    """

    seconds: float
    low: float
    high: float
    clear: bool


def estimate_offset(first: Doubles, second: Doubles, rate_hz: float, apart_s: float) -> ClockOffset:
    """Estimate the offset of even rows [n, a] and [m, b] at `rate_hz`, whose first times differ by `apart_s`.

    `apart_s`: first time of the second minus first time of the first, each on its own clock. All pairs of channels
    count; what does not change is passed over.
    """
    a, b = _innovations(first), _innovations(second)
    power, lags = _correlation(a, b)
    lag = _peak_lag(power, lags)
    clear = power.max() > CLEAR * np.median(power)
    parts = [_part_lag(a, b, lag, part, rate_hz) for part in np.array_split(np.arange(len(b)), BLOCKS)]
    known = np.array([each for each in parts if each is not None])
    error = QUANTILE * known.std(ddof=1) / np.sqrt(len(known)) if len(known) > 1 else np.inf
    error = float(error) + CAUSAL
    seconds = lag / rate_hz - apart_s
    return ClockOffset(seconds, seconds - error / rate_hz, seconds + error / rate_hz, bool(clear))


def _innovations(rows: Doubles) -> Doubles:
    """Return what an autoregression of the channels that move does not predict, [n - 1, c], each of unit variance.

    A predictable part, such as a slow motion under feedback, blurs a correlation and moves its peak.
    """
    known = np.nan_to_num(rows)
    known = known[:, known.std(0) > 0]
    if len(known) < 4 * LAGS or not known.shape[1]:
        return np.zeros((max(len(rows) - 1, 0), known.shape[1]))
    scaled = (known - known.mean(0)) / known.std(0)
    steps = np.diff(scaled, axis=0)
    past = [steps[k : len(steps) - LAGS + k] for k in range(LAGS)]
    features, following = np.concatenate([*past, scaled[LAGS:-1]], 1), steps[LAGS:]
    gram = features.T @ features
    gram[np.diag_indices(len(gram))] += RIDGE * gram.trace() / len(gram)
    rest = following - features @ np.linalg.solve(gram, features.T @ following)
    size = np.maximum(rest.std(0), 1e-30)
    bounded = np.clip(rest, -4 * size, 4 * size) / size  # an outlier counts no more than a large change
    return np.concatenate((np.zeros((LAGS, bounded.shape[1])), bounded))


def _correlation(a: Doubles, b: Doubles) -> tuple[Doubles, Doubles]:
    """Return the summed squared correlation of all pairs by lag, and the lags: of a row of b in rows of a."""
    size = 1 << int(np.ceil(np.log2(len(a) + len(b))))
    spectra = np.fft.rfft(a, size, axis=0)[:, :, None] * np.fft.rfft(b, size, axis=0).conj()[:, None, :]
    found = np.fft.irfft(spectra, size, axis=0)
    power = np.square(found).sum((1, 2))
    lags = np.arange(size)
    lags = np.where(lags < len(a), lags, lags - size).astype(float)
    order = np.argsort(lags)
    inside = (lags[order] > -len(b)) & (lags[order] < len(a))
    return np.asarray(power[order][inside]), np.asarray(lags[order][inside])


def _peak_lag(power: Doubles, lags: Doubles) -> float:
    """Return the lag of the largest value, with the vertex of the parabola through it and its neighbours."""
    k = int(power.argmax())
    if not 0 < k < len(power) - 1:
        return float(lags[k])
    before, top, after = power[k - 1 : k + 2]
    bend = before - 2 * top + after
    return float(lags[k] + (0.5 * (before - after) / bend if bend < 0 else 0.0))


def _part_lag(a: Doubles, b: Doubles, lag: float, part: np.ndarray, rate_hz: float) -> float | None:
    """Return the lag of a part of b near that of the whole; None where the part meets nothing of a."""
    reach = max(3, round(NEAR_S * rate_hz))
    start = part[0] + round(lag) - reach
    window = a[max(start, 0) : part[-1] + round(lag) + reach + 1]
    if len(window) < len(part):
        return None
    power, lags = _correlation(window, b[part])
    return float(_peak_lag(power, lags) + max(start, 0) - part[0])
