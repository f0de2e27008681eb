"""Intervals: how far off forecasts were on recordings that training never saw, by ticks ahead.

Conformal prediction: the half width of an interval is a quantile of the absolute errors of held-out forecasts, per
output and tick of the horizon, without any assumption about their distribution. It is recordings that are alike, not
ticks: the errors of one flight resemble each other more than those of the next. What a quantile is worth is therefore
measured, by leaving out each recording in turn and counting how much of it lies inside the quantile of the others; an
interval of coverage 0.9 takes the quantile that was worth 0.9. It holds on average over recordings like those, outputs
and starts. Forecasts that overlap are not counted twice where it is said how much coverage they can support.

A quaternion's components have intervals like any output, with q and -q taken as the one rotation that they are.

Ref: V. Vovk, A. Gammerman, G. Shafer, Algorithmic Learning in a Random World, 2005; V. Vovk, Cross-conformal
predictors, Ann. Math. Artif. Intell. 74 (2015).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from rtsysid.errors import BundleError, SpecError, TraceError
from rtsysid.model.bundle import Bundle
from rtsysid.spec import Doubles, Floats

FILE = "intervals.npz"
FOLDS = 12  # recordings beyond so many are left out in groups; a few are cut into pieces
SHARES = np.unique(np.concatenate((np.linspace(0, 0.9, 19), np.linspace(0.9, 0.98, 9), np.linspace(0.98, 1.0, 11))))


@dataclass(frozen=True, eq=False)
class Intervals:
    """``quantiles`` [P, N, ny]: of the absolute error after 1..N ticks. ``coverage`` [P, N]: of each quantile.

    ``n_independent``: forecasts that fit side by side into the recordings.
    """

    coverage: Doubles
    quantiles: Floats
    n_independent: int

    @classmethod
    def fit(cls, errors: Sequence[Doubles], n_independent: int) -> Self:
        """From the errors [K, N, ny] of the K forecasts of each recording, of which `n_independent` do not overlap."""
        folds = _folds([np.abs(each) for each in errors if len(each)])
        coverage_of = np.mean([_inside(fold, _others(folds, k)) for k, fold in enumerate(folds)], axis=0)
        return cls(coverage_of, _quantiles(np.concatenate(folds)).astype(np.float32), n_independent)

    @classmethod
    def of(cls, bundle: Bundle) -> Self | None:
        """Those of a bundle; None where it has none."""
        if FILE not in bundle.manifest["files"]:
            return None
        arrays = bundle.arrays(FILE)
        known = {"coverage", "quantiles", "n_independent"} <= set(arrays)
        if not known or arrays["quantiles"].shape[2:] != (bundle.spec.n_outputs,):
            raise BundleError(f"bundle {bundle.folder}", f"{FILE} is of another model", "calibrate it again")
        return cls.from_arrays(arrays)

    @property
    def horizon(self) -> int:
        return int(self.quantiles.shape[1])

    @property
    def max_coverage(self) -> float:
        """The largest coverage that so many forecasts support at every tick."""
        return min(self.n_independent / (self.n_independent + 1), float(self.coverage[-1].min()))

    def half_widths(self, coverage: float, ticks: int) -> Floats:
        """Half of each interval [ticks, ny]. Raises SpecError for what the recordings do not support."""
        if not 0 < coverage < 1:
            raise SpecError("interval", f"{coverage:g}", "give a coverage between 0 and 1, as 0.9")
        if coverage > self.max_coverage:
            found = f"{coverage:g}, but the recordings it was calibrated on support {self.max_coverage:.3f}"
            raise SpecError("interval", found, "ask for less, or calibrate on more")
        if ticks > self.horizon:
            found = f"{ticks} ticks, calibrated are {self.horizon}"
            raise SpecError("interval", found, f"shorten the plan, or rtsysid calibrate --horizon {ticks}")
        coverage_of = self.coverage[:, :ticks]
        above = np.maximum((coverage_of < coverage).sum(0), 1)[None]  # the first quantile that is worth it, per tick
        low, high = (np.take_along_axis(coverage_of, row, 0)[0] for row in (above - 1, above))
        weight = np.clip(np.divide(coverage - low, high - low, out=np.ones(ticks), where=high > low), 0.0, 1.0)
        near, far = (np.take_along_axis(self.quantiles[:, :ticks], row[..., None], 0)[0] for row in (above - 1, above))
        half: Floats = near + weight[:, None].astype(np.float32) * (far - near)
        return half

    def arrays(self) -> dict[str, Any]:
        """Everything as arrays, for an npz file."""
        return {"coverage": self.coverage, "quantiles": self.quantiles, "n_independent": np.array(self.n_independent)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Self:
        """The inverse of `arrays`."""
        return cls(arrays["coverage"], arrays["quantiles"], int(arrays["n_independent"]))


def _folds(errors: list[Doubles]) -> list[Doubles]:
    """Recordings in at most `FOLDS` groups; where there are less than three, pieces of them."""
    if not errors:
        raise TraceError("intervals", "no recording is long enough for a forecast", "give longer recordings")
    if len(errors) < 3:
        pieces = [piece for each in errors for piece in np.array_split(each, min(5, len(each)))]
        return pieces if len(pieces) > 1 else pieces * 2
    return [np.concatenate(errors[k::FOLDS]) for k in range(min(FOLDS, len(errors)))]


def _others(folds: list[Doubles], left: int) -> Doubles:
    return np.concatenate([fold for k, fold in enumerate(folds) if k != left])


def _quantiles(errors: Doubles) -> Doubles:
    return np.asarray(np.quantile(errors, SHARES, axis=0))


def _inside(errors: Doubles, others: Doubles) -> Doubles:
    """Share of `errors` [K, N, ny] inside each quantile of the others, [P, N]."""
    return np.stack([np.mean(errors <= quantile, axis=(0, 2)) for quantile in _quantiles(others)])
