"""Intervals: how far off forecasts were on recordings that training never saw, by ticks ahead.

Split conformal prediction: the half width of an interval is a quantile of the absolute errors of held-out forecasts,
per output and tick of the horizon, without any assumption about their distribution. The errors of overlapping forecasts
are nearly the same errors; only as many count as fit side by side into the recordings, and the quantile is that of so
many: the ceil((n + 1) coverage)-th of n. What holds is the coverage on average over recordings like those, per output.

A quaternion's components have intervals like any output, with q and -q taken as the one rotation that they are.

Ref: V. Vovk, A. Gammerman, G. Shafer, Algorithmic Learning in a Random World, 2005; J. Lei et al., J. Am. Statist.
Assoc. 113 (2018), split conformal prediction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from rtsysid.bundle import Bundle
from rtsysid.errors import BundleError, SpecError
from rtsysid.spec import Doubles, Floats

FILE = "intervals.npz"
SHARES = np.unique(np.concatenate((np.linspace(0, 0.9, 19), np.linspace(0.9, 0.98, 9), np.linspace(0.98, 1.0, 11))))


@dataclass(frozen=True, eq=False)
class Intervals:
    """``errors`` [P, N, ny]: quantiles of the absolute error at `shares` [P], after 1..N ticks.

    ``independent``: forecasts that fit side by side into the recordings.
    """

    shares: Doubles
    errors: Floats
    independent: int

    @classmethod
    def fit(cls, errors: Doubles, independent: int) -> Self:
        """From the errors [K, N, ny] of K forecasts, of which `independent` do not overlap."""
        quantiles = np.quantile(np.abs(errors), SHARES, axis=0)
        return cls(SHARES, quantiles.astype(np.float32), independent)

    @classmethod
    def of(cls, bundle: Bundle) -> Self | None:
        """Those of a bundle; None where it has none."""
        if FILE not in bundle.manifest["files"]:
            return None
        found = cls.from_arrays(bundle.arrays(FILE))
        if found.errors.ndim != 3 or found.errors.shape[2] != bundle.spec.n_outputs:
            raise BundleError(f"bundle {bundle.folder}", f"{FILE} is of another model", "calibrate it again")
        return found

    @property
    def horizon(self) -> int:
        return int(self.errors.shape[1])

    @property
    def largest(self) -> float:
        """The largest coverage that so many forecasts support."""
        return self.independent / (self.independent + 1)

    def half_widths(self, coverage: float, ticks: int) -> Floats:
        """Half of each interval [ticks, ny]. Raises SpecError for what the recordings do not support."""
        if not 0 < coverage < 1:
            raise SpecError("interval", f"{coverage:g}", "give a coverage between 0 and 1, as 0.9")
        if coverage > self.largest:
            found = f"{coverage:g}, but {self.independent} forecasts side by side support {self.largest:.4f}"
            raise SpecError("interval", found, "ask for less, or calibrate on longer recordings")
        if ticks > self.horizon:
            found = f"{ticks} ticks, calibrated are {self.horizon}"
            raise SpecError("interval", found, f"shorten the plan, or rtsysid calibrate --horizon {ticks}")
        # rounded before ceil: (n + 1) 0.9 must not become one more by its last bit
        share = math.ceil(round((self.independent + 1) * coverage, 9)) / self.independent
        above = min(int(np.searchsorted(self.shares, share)), len(self.shares) - 1)
        below = max(above - 1, 0)
        gap = self.shares[above] - self.shares[below]
        weight = np.float32((share - self.shares[below]) / gap if gap > 0 else 1.0)
        low, high = self.errors[below, :ticks], self.errors[above, :ticks]
        half: Floats = low + weight * (high - low)
        return half

    def arrays(self) -> dict[str, Any]:
        """Everything as arrays, for an npz file."""
        return {"shares": self.shares, "errors": self.errors, "independent": np.array(self.independent)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Self:
        """The inverse of `arrays`."""
        return cls(arrays["shares"], arrays["errors"], int(arrays["independent"]))
