"""Session: the live loop around a predictor, one `Prediction` for every sample that comes in.

What a sample means for the model is decided here and nowhere else: gaps are bridged for a few ticks, then the state
is dropped; what cannot be true is never fed; and every answer says what happened.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias, get_args

import msgspec
import numpy as np

from rtsysid.errors import SpecError
from rtsysid.live.deadline import Deadline
from rtsysid.spec import Floats, ModelSpec, Sample

if TYPE_CHECKING:
    from rtsysid.live.novelty import Novelty

Status: TypeAlias = Literal["diverged", "reset", "rejected", "late", "warm-up", "held", "novel", "extrapolating", "ok"]

STATUSES: tuple[Status, ...] = get_args(Status)  # gravest first
_OK: tuple[Status, ...] = ("ok",)
_LARGEST = float(np.finfo(np.float32).max) / 8  # room to add a span without overflow
_COUNTED = ("samples", "late", "rejected", "warm_up", "held", "novel", "extrapolating", "resets", "diverged")


class Stepper(Protocol):
    """What a session asks of a predictor."""

    @property
    def spec(self) -> ModelSpec: ...

    @property
    def ready(self) -> bool:
        """Whether enough samples came in since the reset for the prediction to count."""

    def reset(self) -> None: ...

    def step(self, values: Floats) -> Floats:
        """Take s_k [C], return y_{k+1} [ny] in an array that the next step may overwrite."""


class Prediction(NamedTuple):
    """What a session answers to one sample.

    ``t``: time in seconds of the tick that ``y`` is based on. ``y``: outputs predicted for ``t + 1 / rate``, [ny],
    float32, engineering units, a copy; NaN where there is nothing to say. ``flags``: everything that applies, gravest
    first; ``status`` is the first of them. ``channels``: columns that made a sample rejected, novel or extrapolating.

    ============= ==================================================================================
    diverged      the model answered with NaN or infinity: withheld, state dropped
    reset         state dropped: too many ticks without a sample, or time that jumped back (a restart)
    rejected      not fed: not finite or impossible; the last good sample stood in while that is allowed
    late          not fed: duplicate or backward time; ``y`` is the previous prediction
    warm-up       ``y`` does not count yet
    held          the last good sample stood in for missing ticks
    novel         not what the model and its training know: a failing sensor, a disturbance, another manoeuvre
    extrapolating outside the trained range, fed all the same
    ok            none of these
    ============= ==================================================================================
    """

    t: float
    y: Floats
    status: Status
    flags: tuple[Status, ...]
    channels: tuple[int, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether ``y`` is finite and comes from a model that had its warm-up."""
        return "warm-up" not in self.flags


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Counts since the session began: samples == fed + late + rejected, fed == predictions + warm_up.

    ``steps`` == ``fed`` + ``held`` (in ticks). ``resets`` includes those after a divergence. ``novel``: samples, in
    ``alarms`` that are some windows apart.
    """

    samples: int
    fed: int
    late: int
    rejected: int
    predictions: int
    warm_up: int
    steps: int
    held: int
    novel: int
    alarms: int
    extrapolating: int
    resets: int
    diverged: int


class TrainedRange:
    """Which channels of a sample the model has never seen the like of.

    The trained range is `Scaling.low`..`high`; its width is at least the scaling's standard deviation, so that a
    channel that stood still in training does not reject everything. Outside of it by more than `trained_margin`
    widths a channel is extrapolating, by more than `reject_margin` widths impossible. Where a channel that the
    network does not see (a position, say) stands does not matter: it is impossible once it moved by more than the
    widened range since the last good sample.
    """

    def __init__(self, spec: ModelSpec, trained_margin: float, reject_margin: float) -> None:
        if not 0 <= trained_margin <= reject_margin:
            raise SpecError("margins", f"{trained_margin} and {reject_margin}", "give 0 <= trained <= reject")
        low, high = np.array(spec.scaling.low), np.array(spec.scaling.high)
        width = np.maximum(high - low, np.array(spec.scaling.std))
        self._unseen = np.isin(np.arange(spec.width), spec.free_columns)
        self._moves, self._mask = bool(self._unseen.any()), self._unseen.astype(np.float32)
        trained = np.stack([low - trained_margin * width, high + trained_margin * width])
        trained[:, self._unseen] = np.outer([-1, 1], (1 + reject_margin) * width[self._unseen])
        widest = np.stack([low - reject_margin * width, high + reject_margin * width])
        # Every bound is finite, so that NaN and infinity are never within.
        self._base, self._widest = (np.clip(x, -_LARGEST, _LARGEST).astype(np.float32) for x in (trained, widest))
        self._bounds = self._base.copy()  # [2, C], moving with the unseen channels
        self._within = np.zeros((2, spec.width), bool)
        self._all_within = np.ones((2, spec.width), bool).tobytes()

    def holds(self, values: Floats) -> bool:
        """Whether every channel lies within the trained range."""
        np.less_equal(self._bounds[0], values, self._within[0])
        np.less_equal(values, self._bounds[1], self._within[1])
        return self._within.tobytes() == self._all_within  # half the time of .all()

    def outside(self, values: Floats) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Columns that are impossible (not finite, or beyond what is fed), and columns outside the trained range."""
        widest = np.where(self._unseen, self._bounds, self._widest)
        return _outside(values, widest), _outside(values, self._bounds)

    def follow(self, values: Floats) -> None:
        """Measure the change of unseen channels from these good `values` on."""
        if self._moves:
            np.add(self._base, values * self._mask, self._bounds)

    def forget(self) -> None:
        """Let unseen channels start anywhere."""
        self._bounds[:, self._unseen] = [[-_LARGEST], [_LARGEST]]


class Session:
    """Feeds samples to a predictor by the rules above and keeps count.

    `max_gap`: ticks in a row without a good sample that the last good one may stand in for. Gaps are counted in
    device time: a prediction never depends on when it was computed. `deadline` accounts for the time that `feed`
    takes on `clock`, and for missing ticks as drops. `novelty` weighs every sample that follows another; it is one of
    this predictor. The predictor is reset at the start.
    """

    def __init__(
        self,
        predictor: Stepper,
        *,
        max_gap: int = 5,
        trained_margin: float = 0.0,
        reject_margin: float = 1.0,
        deadline: Deadline | None = None,
        novelty: Novelty | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if max_gap < 0:
            raise SpecError("max_gap", str(max_gap), "give a number of ticks that is not negative")
        self.spec, self.max_gap, self.deadline = predictor.spec, max_gap, deadline
        self._predictor, self._novelty, self._clock = predictor, novelty, clock
        self._update_novelty = _nothing_is_novel if novelty is None else novelty.update
        self._range = TrainedRange(self.spec, trained_margin, reject_margin)
        self._shape = (self.spec.width,)
        self._soonest, self._latest = 0.5 / self.spec.rate_hz, 1.5 / self.spec.rate_hz
        # A copy: the source may reuse its array. It is where a detector looks for it.
        self._good: Floats = np.zeros(self.spec.width, np.float32) if novelty is None else novelty.sample
        self._nothing: Floats = np.full(self.spec.n_outputs, np.nan, np.float32)
        self._samples = self._late = self._rejected = self._warm_up = 0
        self._held = self._novel = self._extrapolating = self._resets = self._diverged = 0
        predictor.reset()
        self._forget()
        self._t = math.nan

    def run(self, samples: Iterable[Sample]) -> Iterator[Prediction]:
        """One prediction for every sample, in order, as they come."""
        return map(self.feed, samples)

    def feed(self, sample: Sample) -> Prediction:
        """Answer one sample. Raises SpecError where it does not hold as many values as the model has channels."""
        if self.deadline is None:
            return self._answer(sample)
        started = self._clock()
        prediction = self._answer(sample)
        self.deadline.mark(started, self._clock())
        return prediction

    def reset(self) -> None:
        """Begin another recording: drop the state and the time base."""
        self._drop_state()
        self._t = math.nan

    @property
    def health(self) -> Health:
        """The counts so far."""
        fed = self._samples - self._late - self._rejected
        known = {name: getattr(self, f"_{name}") for name in _COUNTED}
        alarms = 0 if self._novelty is None else self._novelty.alarms
        return Health(fed=fed, predictions=fed - self._warm_up, steps=fed + self._held, alarms=alarms, **known)

    def summary(self) -> dict[str, Any]:
        """``health`` and ``latency`` (None without a deadline) as plain values; None stands for NaN and infinity."""
        figures = {} if self.deadline is None else msgspec.structs.asdict(self.deadline.summary())
        latency = {name: figure if math.isfinite(figure) else None for name, figure in figures.items()}
        return {"health": msgspec.structs.asdict(self.health), "latency": latency or None}

    def _answer(self, sample: Sample) -> Prediction:
        t, values = sample
        if values.shape != self._shape:
            raise SpecError(f"sample at t = {t}", f"shape {values.shape}", f"give one value per channel: {self._shape}")
        self._samples += 1
        if self._soonest <= t - self._t < self._latest and self._blind == 0 and self._range.holds(values):
            flags = self._take(t, values)
            return self._conclude(t, flags) if flags else Prediction(t, self._y.copy(), "ok", _OK)
        return self._irregular(t, values)

    def _irregular(self, t: float, values: Floats) -> Prediction:
        if not math.isfinite(t):
            return self._reject(self._t + 1 / self.spec.rate_hz, (), ())  # it stands for the next tick
        flags: tuple[Status, ...] = ()
        ticks = (t - self._t) * self.spec.rate_hz  # NaN before the first sample
        if ticks < -self.max_gap - 0.5:
            flags = self._lose()
        elif ticks < 0.5:
            self._late += 1
            return self._conclude(self._t, ("late",))
        elif ticks >= 1.5:
            flags = self._bridge(round(min(ticks, 1e9)) - 1)
        impossible, extrapolating = self._range.outside(values)
        if impossible:
            return self._reject(t, flags, impossible)
        if extrapolating:
            self._extrapolating += 1
            flags += ("extrapolating",)
        return self._conclude(t, flags + self._take(t, values), extrapolating)

    def _reject(self, t: float, flags: tuple[Status, ...], channels: tuple[int, ...]) -> Prediction:
        self._rejected += 1
        flags += self._hold(1)
        if channels or not self._empty:  # without a time and without a state there is no tick to count from
            self._t = t
        return self._conclude(t, ("rejected", *flags), channels)

    def _bridge(self, missing: int) -> tuple[Status, ...]:
        if self.deadline is not None:
            self.deadline.drop(missing)
        return self._hold(missing)

    def _hold(self, ticks: int) -> tuple[Status, ...]:
        """Let the last good sample stand in for `ticks`, or drop the state where that is too many in a row."""
        if self._blind + ticks > self.max_gap:
            return self._lose()
        self._blind += ticks
        if self._novelty is not None:
            self._novelty.suspend()
        for _ in range(ticks):
            self._held += 1
            if "diverged" in self._step():
                return ("diverged", "held")
        return ("held",)

    def _take(self, t: float, values: Floats) -> tuple[Status, ...]:
        """Step with a good sample; no flags where the outcome counts."""
        self._t, self._blind = t, 0
        self._good[...] = values
        self._range.follow(values)
        novel = self._update_novelty()
        flags = self._step()
        if flags:
            self._warm_up += 1
        elif novel:
            self._novel += 1
            return ("novel",)
        return flags

    def _step(self) -> tuple[Status, ...]:
        self._y = self._predictor.step(self._good)
        if not self._predictor.ready:
            return ("warm-up",)
        if all(map(math.isfinite, self._y.tolist())):
            return ()
        self._diverged += 1
        self._drop_state()
        return ("diverged", "warm-up")

    def _conclude(self, t: float, flags: tuple[Status, ...], channels: tuple[int, ...] = ()) -> Prediction:
        if self._empty or not self._predictor.ready:
            flags += ("warm-up",)
        if "novel" in flags and self._novelty is not None:
            channels = tuple(sorted({*channels, *self._novelty.worst_channel}))
        flags = tuple(sorted(set(flags), key=STATUSES.index)) or _OK
        return Prediction(t, self._y.copy(), flags[0], flags, channels)

    @property
    def _empty(self) -> bool:
        return self._blind > self.max_gap  # nothing was fed since the last reset

    def _lose(self) -> tuple[Status, ...]:
        if self._empty:
            return ()
        self._drop_state()
        return ("reset",)

    def _drop_state(self) -> None:
        self._predictor.reset()
        self._resets += 1
        self._forget()

    def _forget(self) -> None:
        self._blind = self.max_gap + 1
        self._y = self._nothing
        self._range.forget()
        if self._novelty is not None:
            self._novelty.reset()


def _nothing_is_novel() -> bool:
    return False


def _outside(values: Floats, bounds: Floats) -> tuple[int, ...]:
    return tuple(np.flatnonzero(~((bounds[0] <= values) & (values <= bounds[1]))).tolist())
