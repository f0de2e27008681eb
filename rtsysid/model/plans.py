"""Plans of inputs: check what a caller gives, and measure how far it leaves the trained range."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rtsysid.errors import SpecError
from rtsysid.guards.ranges import OLDEST
from rtsysid.model.backends.protocol import Snapshot
from rtsysid.model.coordinates.seen import short_way
from rtsysid.spec import Doubles, Floats, ModelSpec

Shape: TypeAlias = tuple[int, ...]

MOST_SAMPLES = 2**31  # that a predictor counts since its last reset
ROUNDING = 1e-5  # of a range: what a whole turn of an angle may change in the last digits


def copied_plans(u_future: Any, inputs: int) -> Floats:
    """Copy plans [N, nu] or [B, N, nu] to [B, N, nu], in float32. Raises SpecError where they are not numbers."""
    plans = as_floats("u_future", u_future)
    batch = plans[None] if plans.ndim == 2 else plans
    if batch.ndim != 3 or batch.shape[2] != inputs or 0 in batch.shape[:2]:
        raise SpecError("u_future", f"shape {plans.shape}", f"give [N, {inputs}] or [B, N, {inputs}]")
    return only_finite("u_future", batch)


def numbers(what: str, values: Any, shape: Shape) -> Floats:
    """Copy numbers of a shape [...] to float32. Raises SpecError for another shape, or what is no number."""
    array = as_floats(what, values)
    if array.shape != shape:
        raise SpecError(what, f"shape {array.shape}", f"give {list(shape)}")
    return only_finite(what, array)


def as_floats(what: str, values: Any) -> Floats:
    """Copy values to an array [...] in float32; one that is too large becomes infinite. Raises SpecError."""
    if type(values) is np.ndarray and values.dtype == np.float32:
        return values.copy()
    try:
        array = np.asarray(values)
    except ValueError:
        raise SpecError(what, "rows of unequal length", "give an array of numbers") from None
    if array.dtype.kind not in "biuf":
        raise SpecError(what, f"values of type {array.dtype}", "give real numbers")
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def only_finite(what: str, values: Floats) -> Floats:
    """Return values [...] that are all finite. Raises SpecError, and says where one is not."""
    if not np.isfinite(values).all():
        at = np.argwhere(~np.isfinite(values))[0].tolist()
        raise SpecError(what, f"the value at {at} is {values[tuple(at)]}", "give numbers")
    return values


def checked_counts(what: str, values: Any, shape: Shape, most: int) -> NDArray[np.int64]:
    """Copy whole numbers from 0 to `most`, in the shape [...] that is wanted. Raises SpecError."""
    array = np.asarray(values)
    if array.shape != shape or array.dtype.kind not in "iu":
        raise SpecError(what, f"shape {array.shape} of type {array.dtype}", f"give whole numbers {list(shape)}")
    if array.size and not 0 <= int(array.min()) <= int(array.max()) <= most:
        raise SpecError(what, f"{array.min()} to {array.max()}", f"give 0 to {most}")
    return array.astype(np.int64)


def checked_snapshot(snapshot: Any, spec: ModelSpec, batch: Shape = ()) -> Snapshot:
    """Copy a snapshot, or K stacked ones where `batch` is (K,), after a look at all parts.

    Raises SpecError for one of another model, and for parts that are not what a predictor remembers.
    """
    if not isinstance(snapshot, Snapshot):
        raise SpecError("snapshot", f"a {type(snapshot).__name__}", "give what Predictor.snapshot returned")
    window, state = as_floats("snapshot", snapshot.window), as_floats("snapshot", snapshot.state)
    shapes, wanted = [window.shape, state.shape], [(*batch, spec.taps, spec.width), (*batch, spec.state_size)]
    if shapes != wanted:
        raise SpecError("snapshot", f"shapes {shapes}, not {wanted}", "give one of this model")
    age = checked_counts("age of the snapshot", snapshot.age, batch, OLDEST)
    count = checked_counts("count of the snapshot", snapshot.count, batch, MOST_SAMPLES)
    return Snapshot(window, state, age, count) if batch else Snapshot(window, state, int(age), int(count))


def checked_sample(values: Any, width: int) -> Floats:
    """Check the type and shape of a sample [C]; its values may be anything. Raises SpecError."""
    sample = as_floats("step", values)
    if sample.shape != (width,):
        raise SpecError("step", f"shape {sample.shape}", f"give the {width} channels of one sample")
    return sample


def require_kept(what: str, array: Any, size: int) -> None:
    """Check an array [size] whose memory is kept: float32, without strides. Raises SpecError."""
    fits = isinstance(array, np.ndarray) and array.dtype == np.float32 and array.shape == (size,)
    if not (fits and array.flags.c_contiguous):
        found = f"shape {np.shape(array)} of type {getattr(array, 'dtype', type(array).__name__)}"
        raise SpecError(what, found, f"give a contiguous float32 array [{size}]")


class InputRange:
    """The range of each input in training, by the rule of `rtsysid.live.trained_range.TrainedRange`.

    The width of a range is at least the standard deviation of the input. An angle has no whole turns.
    """

    def __init__(self, spec: ModelSpec) -> None:
        scaling, nu = spec.scaling, spec.n_inputs
        low, high = scaling.seen_low or scaling.low, scaling.seen_high or scaling.high
        self._low, self._high, std = (np.array(part[:nu], np.float64) for part in (low, high, scaling.std))
        self._width: Doubles = np.maximum(self._high - self._low, std)
        self._periods = {i: channel.period for i, channel in enumerate(spec.inputs) if channel.angle}

    def beyond(self, plans: Floats) -> Floats:
        """Measure how far plans [..., nu] leave each range, in widths of it: [nu]. 0 is within, or no plan."""
        if not len(plans):
            return np.zeros(len(self._low), np.float32)
        rows: NDArray[np.floating[Any]] = np.ascontiguousarray(plans.reshape(-1, len(self._low)).T)
        for i, period in self._periods.items():
            centre = (self._low[i] + self._high[i]) / 2
            rows[i] = centre + short_way(rows[i] - centre, period)
        outside = np.maximum(self._low - rows.min(1), rows.max(1) - self._high) / self._width
        return np.where(outside > ROUNDING, outside, 0).astype(np.float32)
