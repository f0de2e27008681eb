"""Intervals: quantiles of forecast errors on held-out recordings, by ticks ahead.

Conformal prediction: the half width of an interval is a quantile of the absolute errors of held-out forecasts, per
output and tick of the horizon, without any assumption about their distribution. Errors within one recording resemble
each other, so that recordings are exchangeable and ticks are not. The coverage of a quantile is therefore measured:
leave out each recording in turn and count how much of it lies inside the quantile of the others. An interval of
coverage 0.9 uses the quantile whose measured coverage is 0.9. It holds on average over recordings like those, outputs
and starts. `n_independent` counts forecasts that do not overlap: it limits the coverage that can be claimed.

A quaternion's components have intervals like any output; q and -q count as the same rotation.

Ref: V. Vovk, A. Gammerman, G. Shafer, Algorithmic Learning in a Random World, 2005; V. Vovk, Cross-conformal
predictors, Ann. Math. Artif. Intell. 74 (2015).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Self

import numpy as np

from rtsysid.errors import BundleError, SpecError, TraceError
from rtsysid.model.bundle import Bundle
from rtsysid.spec import Doubles, Floats

FILE = "intervals.npz"
MOST_FUTURES = 10_000  # of one interval
FOLDS = 12  # more recordings than this are left out in groups; fewer than three are cut into pieces
SHARES = np.concatenate((np.linspace(0, 0.9, 19)[:-1], np.linspace(0.9, 0.98, 9)[:-1], np.linspace(0.98, 1.0, 11)))


@dataclass(frozen=True, eq=False)
class Intervals:
    """Half widths of intervals by coverage and ticks ahead.

    ``quantiles`` [P, N, ny]: of the absolute error after 1..N ticks. ``coverage`` [P, N]: measured, of each quantile.
    ``n_independent``: forecasts that fit into the recordings without overlap. ``futures``: sampled futures whose
    quantiles are the intervals, 0 where it is the half widths.
    """

    coverage: Doubles
    quantiles: Floats
    n_independent: int
    futures: int = 0

    @classmethod
    def fit(cls, errors: Sequence[Doubles], n_independent: int) -> Self:
        """Fit intervals to the errors [K, N, ny] of each recording's K forecasts; `n_independent` do not overlap.

        Raises TraceError where there is no forecast.
        """
        folds = recording_folds([np.abs(each) for each in errors if len(each)])
        coverage_of = np.mean([_share_inside(fold, _other_folds(folds, k)) for k, fold in enumerate(folds)], axis=0)
        return cls(coverage_of, _error_quantiles(np.concatenate(folds)).astype(np.float32), n_independent)

    @classmethod
    def of(cls, bundle: Bundle) -> Self | None:
        """Read the intervals of a bundle; None where it has none. Raises BundleError where they are none."""
        if FILE not in bundle.manifest.files:
            return None
        arrays = bundle.arrays(FILE)
        found, quantiles = cls.from_arrays(arrays), arrays["quantiles"]
        shares = found.coverage.size and found.coverage.min() >= 0 and found.coverage.max() <= 1
        sampled = 0 <= found.futures <= (MOST_FUTURES if bundle.spec.distribution else 0)
        if (
            not (shares and sampled)
            or found.n_independent < 0
            or quantiles.min() < 0
            or (np.diff(quantiles, axis=0) < 0).any()
        ):
            raise BundleError(f"bundle {bundle.folder}", f"{FILE} holds no quantiles", "calibrate it again")
        return found

    @property
    def horizon(self) -> int:
        """Return the largest number of ticks ahead."""
        return int(self.quantiles.shape[1])

    @property
    def max_coverage(self) -> float:
        """Return the largest coverage that the calibration supports at every tick."""
        return min(self.n_independent / (self.n_independent + 1), float(self.coverage[-1].min()))

    def half_widths(self, coverage: float, ticks: int) -> Floats:
        """Compute the half width of each interval [ticks, ny].

        Raises SpecError for a coverage or a number of ticks that the calibration does not support.
        """
        if not isinstance(coverage, Real) or not 0 < coverage < 1:
            raise SpecError("interval", str(coverage), "give a coverage between 0 and 1, as 0.9")
        if coverage > self.max_coverage:
            found = f"{coverage:g}, but the recordings it was calibrated on support {self.max_coverage:.3f}"
            raise SpecError("interval", found, "ask for a smaller coverage, or calibrate on more recordings")
        if ticks > self.horizon:
            found = f"{ticks} ticks, calibrated are {self.horizon}"
            raise SpecError("interval", found, f"shorten the plan, or rtsysid calibrate --horizon {ticks}")
        coverage_of = self.coverage[:, :ticks]
        above = np.maximum((coverage_of < coverage).sum(0), 1)[None]  # the first quantile of that coverage, per tick
        low, high = (np.take_along_axis(coverage_of, row, 0)[0] for row in (above - 1, above))
        weight = np.clip(np.divide(coverage - low, high - low, out=np.ones(ticks), where=high > low), 0.0, 1.0)
        near, far = (np.take_along_axis(self.quantiles[:, :ticks], row[..., None], 0)[0] for row in (above - 1, above))
        half: Floats = near + weight[:, None].astype(np.float32) * (far - near)
        return half

    def sampled(self, coverage: float) -> bool:
        """Tell whether an interval of this coverage is that of sampled futures: they are better, and enough."""
        return self.futures > 1 and coverage <= (self.futures - 1) / (self.futures + 1)

    def arrays(self) -> dict[str, Any]:
        """Return everything as arrays, for an npz file."""
        arrays = {"coverage": self.coverage, "quantiles": self.quantiles, "n_independent": np.array(self.n_independent)}
        return {**arrays, **({"futures": np.array(self.futures)} if self.futures else {})}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Self:
        """Make intervals from what `arrays` returned."""
        return cls(arrays["coverage"], arrays["quantiles"], int(arrays["n_independent"]), int(arrays.get("futures", 0)))


def central_intervals(futures: Doubles, stated: float) -> tuple[Doubles, Doubles]:
    """Return the ends of the central interval of each value that should hold the truth so often: [M, ...] -> 2 x [...].

    The quantiles are those under which a new draw of the same distribution falls inside as often as stated, as far as M
    futures allow. Raises SpecError for fewer than two futures.
    """
    count = require_two(futures)
    at = (count + 1) * (1 - stated) / 2 - 1  # order statistics of a sample of M and a new draw
    ordered = np.sort(futures, axis=0)
    below, share = max(0, math.floor(at)), min(max(at - math.floor(at), 0.0), 1.0) if at > 0 else 0.0
    above = min(below + 1, count - 1)
    low = ordered[below] + share * (ordered[above] - ordered[below])
    high = ordered[count - 1 - below] + share * (ordered[count - 1 - above] - ordered[count - 1 - below])
    return low, high


def require_two(futures: Doubles) -> int:
    """Count futures [M, ...]. Raises SpecError for fewer than two."""
    if len(futures) < 2:
        raise SpecError("scores of futures", f"{len(futures)} futures", "sample two or more")
    return len(futures)


def recording_folds(errors: list[Doubles]) -> list[Doubles]:
    """Group the errors [K, N, ny] of recordings into at most `FOLDS` groups; cut fewer than three into pieces.

    Raises TraceError where there is no forecast.
    """
    if not errors:
        raise TraceError("intervals", "no recording is long enough for a forecast", "give longer recordings")
    if len(errors) < 3:
        pieces = [piece for each in errors for piece in np.array_split(each, min(5, len(each)))]
        return pieces if len(pieces) > 1 else pieces * 2
    return [np.concatenate(errors[k::FOLDS]) for k in range(min(FOLDS, len(errors)))]


def _other_folds(folds: list[Doubles], left: int) -> Doubles:
    return np.concatenate([fold for k, fold in enumerate(folds) if k != left])


def _error_quantiles(errors: Doubles) -> Doubles:
    return np.asarray(np.quantile(errors, SHARES, axis=0))


def _share_inside(errors: Doubles, others: Doubles) -> Doubles:
    """Compute the share of `errors` [K, N, ny] inside each quantile of the others, [P, N]."""
    return np.stack([np.mean(errors <= quantile, axis=(0, 2)) for quantile in _error_quantiles(others)])
