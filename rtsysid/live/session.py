"""Session: feed samples to a predictor, and return one `Prediction` for every sample.

Only this module decides what a sample means for the model. A tick is one sample period. Missing ticks are replaced by
the last good sample for a few ticks, then the state is dropped. Impossible values are never fed. The status of every
prediction says what happened (`rtsysid.statuses`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, cast

import msgspec
import numpy as np

from rtsysid.circle import SignKeeper
from rtsysid.errors import SpecError
from rtsysid.guards import ranges
from rtsysid.live.deadline import Deadline
from rtsysid.live.stamps import StampWatch
from rtsysid.live.trained_range import TrainedRange
from rtsysid.spec import Floats, ModelSpec, Sample
from rtsysid.statuses import Status

if TYPE_CHECKING:
    from rtsysid.live.novelty import Novelty, Watched

STATUSES: tuple[Status, ...] = tuple(each for each in Status if each.given_by == "session")  # gravest first
_GRAVITY = tuple(Status).index
_OK = Status.ok
_OK_ALONE = (Status.ok,)
_COUNTED = ("samples", "late", "rejected", "warm_up", "held", "novel", "extrapolating", "resets", "diverged")


class Stepper(Protocol):
    """The interface of a predictor for the session."""

    @property
    def spec(self) -> ModelSpec: ...

    @property
    def ready(self) -> bool:
        """Whether the delay line is full and the warm-up is over."""

    def reset(self) -> None:
        """Forget every sample and the state."""

    def step(self, values: Floats, age: int = 0) -> Floats:
        """Push the sample s_k [C] and return y_{k+1} [ny], in an array that the next step may overwrite.

        `age`: ticks since the newest measurement; 0 where s_k is measured.
        """


class Prediction(NamedTuple):
    """Answer of a session to one sample.

    ``t``: time in seconds of the tick that ``y`` is based on. ``y``: outputs predicted for ``t + 1 / rate``, [ny],
    float32, engineering units, a copy; NaN where there is no prediction. ``flags``: every `Status` that applies,
    gravest first; ``status`` is the first of them. ``channels``: columns that made a sample rejected, novel or
    extrapolating. A loop with a time budget adds ``stale`` (`with_status`).
    """

    t: float
    y: Floats
    status: Status
    flags: tuple[Status, ...]
    channels: tuple[int, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether a controller may use ``y``: a measurement of this very tick was fed, to a settled model, in time.

        The gravest status decides (`Status.usable`): not after a held or reset state, nor for a rejected, late or stale
        sample, nor in the warm-up. ``novel`` and ``extrapolating`` are usable.
        """
        return self.status.usable

    def with_status(self, status: Status) -> Prediction:
        """Return this prediction with one more flag."""
        flags = _gravest_first((status, *(each for each in self.flags if each is not _OK)))
        return self._replace(status=flags[0], flags=flags)


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Counts since the session began: samples == fed + late + rejected, fed == predictions + warm_up.

    ``steps`` == ``fed`` + ``held`` (in ticks). ``resets`` includes those after a divergence. ``novel`` counts samples;
    ``alarms`` counts groups of them that are some windows apart.
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


class SessionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a live session. A tick is one sample period.

    ``budget_s``: age in seconds above which an answer is stale; None: one tick, since a prediction for the next tick is
    about the past by then. ``max_gap``: ticks in a row for which the last good sample may replace missing ones.
    ``trained_margin``, ``reject_margin``: see `TrainedRange`. Raises SpecError where one is out of its range
    (`rtsysid.guards.ranges`), or they contradict each other.
    """

    budget_s: ranges.Seconds | None = None
    max_gap: ranges.MaxGap = 5
    trained_margin: ranges.Amount = 0.0
    reject_margin: ranges.Amount = 1.0

    def __post_init__(self) -> None:
        ranges.require("budget_s", self.budget_s or 0, ranges.Seconds)
        ranges.require("max_gap", self.max_gap, ranges.MaxGap)
        ranges.require("reject_margin", self.reject_margin, ranges.Amount)
        if not 0 <= self.trained_margin <= self.reject_margin:
            found = f"{self.trained_margin} and {self.reject_margin}"
            raise SpecError("margins", found, "give 0 <= trained <= reject")

    def budget(self, rate_hz: float) -> float:
        """Return the time budget in seconds of a model at `rate_hz`."""
        return 1.0 / rate_hz if self.budget_s is None else self.budget_s


_DEFAULTS = SessionSettings()


class Session:
    """Feed samples to a predictor by the rules above, and count what happened.

    `settings`: see `SessionSettings`; each of them may be given by name instead: ``Session(predictor, max_gap=10)``.
    Gaps are counted in device time: a prediction never depends on when it was computed. `deadline` accounts for the
    time that `feed` takes on `clock`, and for missing ticks as drops. `novelty`: a detector of this predictor; by
    default the one that the predictor's bundle is calibrated for, where it is; None switches it off. The predictor is
    reset at the start. Raises SpecError for settings that contradict each other, BundleError for a damaged calibration.

    ``novelty``: the detector in use, or None. ``stamps``: says once where the times are not what the model wants.
    """

    def __init__(
        self,
        predictor: Stepper,
        settings: SessionSettings = _DEFAULTS,
        *,
        deadline: Deadline | None = None,
        novelty: Novelty | Literal["calibrated"] | None = "calibrated",
        clock: Callable[[], float] = time.perf_counter,
        **changes: float | None,
    ) -> None:
        self.settings = msgspec.structs.replace(settings, **changes)
        self.spec, self.max_gap, self.deadline = predictor.spec, self.settings.max_gap, deadline
        self.novelty = _calibrated(predictor) if isinstance(novelty, str) else novelty
        self.predictor = self._predictor = predictor
        self._clock = clock
        # bool() is False: without a detector nothing is novel
        self._update_novelty = bool if self.novelty is None else self.novelty.update
        self.stamps = StampWatch(self.spec.rate_hz)
        self._range = TrainedRange(self.spec, self.settings.trained_margin, self.settings.reject_margin)
        self._signs = SignKeeper(self.spec.rotations)
        self._shape = (self.spec.width,)
        self._soonest, self._latest = 0.5 / self.spec.rate_hz, 1.5 / self.spec.rate_hz
        # A copy, since the source may reuse its array. Shared with the detector, which reads this buffer in place.
        self._good: Floats = np.zeros(self.spec.width, np.float32) if self.novelty is None else self.novelty.sample
        self._nothing: Floats = np.full(self.spec.n_outputs, np.nan, np.float32)
        self._samples = self._late = self._rejected = self._warm_up = 0
        self._held = self._novel = self._extrapolating = self._resets = self._diverged = 0
        predictor.reset()
        self._forget()
        self._t = math.nan

    def run(self, samples: Iterable[Sample]) -> Iterator[Prediction]:
        """Yield one prediction for every sample, in order."""
        return map(self.feed, samples)

    def feed(self, sample: Sample) -> Prediction:
        """Return the prediction from one sample [C]. Raises SpecError where the number of values is not C."""
        if self.deadline is None:
            return self._answer(sample)
        started = self._clock()
        prediction = self._answer(sample)
        self.deadline.mark(started, self._clock())
        return prediction

    def reset(self) -> None:
        """Start another recording: drop the state of the model and the time of the last sample."""
        self._drop_state()
        self._t = math.nan

    @property
    def health(self) -> Health:
        """Counts so far."""
        fed = self._samples - self._late - self._rejected
        known = {name: getattr(self, f"_{name}") for name in _COUNTED}
        alarms = 0 if self.novelty is None else self.novelty.alarms
        return Health(fed=fed, predictions=fed - self._warm_up, steps=fed + self._held, alarms=alarms, **known)

    def summary(self) -> dict[str, Any]:
        """Return ``health``, ``latency`` (None without a deadline) and ``novelty`` (None without a detector).

        All are plain values; None replaces NaN and infinity.
        """
        figures = {} if self.deadline is None else msgspec.structs.asdict(self.deadline.summary())
        latency = {name: figure if math.isfinite(figure) else None for name, figure in figures.items()}
        health, novelty = self.health, self.novelty
        rates = None if novelty is None else novelty.rates(health.novel, health.predictions)
        return {"health": msgspec.structs.asdict(health), "latency": latency or None, "novelty": rates}

    def _answer(self, sample: Sample) -> Prediction:
        t, values = sample
        if values.shape != self._shape:
            raise SpecError(f"sample at t = {t}", f"shape {values.shape}", f"give one value per channel: {self._shape}")
        self._samples += 1
        values = self._signs.aligned(values)
        if self._soonest <= t - self._t < self._latest and self._blind == 0 and self._range.holds(values):
            flags = self._take(t, values)
            return self._conclude(t, flags) if flags else Prediction(t, self._y.copy(), _OK, _OK_ALONE)
        return self._irregular(t, values)

    def _irregular(self, t: float, values: Floats) -> Prediction:
        if not math.isfinite(t):
            return self._reject(self._t + 1 / self.spec.rate_hz, (), ())  # counted as the next tick
        flags: tuple[Status, ...] = ()
        ticks = (t - self._t) * self.spec.rate_hz  # NaN before the first sample
        if ticks < 0.5 or ticks >= 1.5:
            self.stamps.add(t, self._samples)
        if ticks < -self.max_gap - 0.5:
            flags = self._lose()
        elif ticks < 0.5:
            self._late += 1
            return self._conclude(self._t, (Status.late,))
        elif ticks >= 1.5:
            flags = self._bridge(round(min(ticks, 1e9)) - 1)
        if flags:
            values = self._signs.aligned(values)  # after a reset it continues nothing
        impossible, extrapolating = self._range.outside(values)
        if impossible:
            return self._reject(t, flags, impossible)
        if extrapolating:
            self._extrapolating += 1
            flags += (Status.extrapolating,)
        return self._conclude(t, flags + self._take(t, values), extrapolating)

    def _reject(self, t: float, flags: tuple[Status, ...], channels: tuple[int, ...]) -> Prediction:
        self._rejected += 1
        flags += self._hold(1)
        if channels or not self._empty:  # without a time and without a state there is no tick to count from
            self._t = t
        return self._conclude(t, (Status.rejected, *flags), channels)

    def _bridge(self, missing: int) -> tuple[Status, ...]:
        if self.deadline is not None:
            self.deadline.drop(missing)
        return self._hold(missing)

    def _hold(self, ticks: int) -> tuple[Status, ...]:
        """Replace `ticks` missing ticks by the last good sample, or drop the state where they are too many in a row."""
        if self._blind + ticks > self.max_gap:
            return self._lose()
        if self.novelty is not None:
            self.novelty.suspend()
        for _ in range(ticks):
            self._blind += 1
            self._held += 1
            if Status.diverged in self._step():
                return (Status.diverged, Status.held)
        return (Status.held,)

    def _take(self, t: float, values: Floats) -> tuple[Status, ...]:
        """Step with a good sample; return no flags where the prediction counts."""
        self._t, self._blind = t, 0
        self._good[...] = values
        self._signs.follow(values)
        self._range.follow(values)
        novel = self._update_novelty()
        flags = self._step()
        if flags:
            self._warm_up += 1
        elif novel:
            self._novel += 1
            return (Status.novel,)
        return flags

    def _step(self) -> tuple[Status, ...]:
        self._y = self._predictor.step(self._good, self._blind)  # the ticks without a measurement are its age
        if not self._predictor.ready:
            return (Status.warm_up,)
        if all(map(math.isfinite, self._y.tolist())):
            return ()
        self._diverged += 1
        self._drop_state()
        return (Status.diverged, Status.warm_up)

    def _conclude(self, t: float, flags: tuple[Status, ...], channels: tuple[int, ...] = ()) -> Prediction:
        if self._empty or not self._predictor.ready:
            flags += (Status.warm_up,)
        if Status.novel in flags and self.novelty is not None:
            channels = tuple(sorted({*channels, *self.novelty.worst_channel}))
        flags = _gravest_first(flags)
        return Prediction(t, self._y.copy(), flags[0], flags, channels)

    @property
    def _empty(self) -> bool:
        return self._blind > self.max_gap  # nothing was fed since the last reset

    def _lose(self) -> tuple[Status, ...]:
        if self._empty:
            return ()
        self._drop_state()
        return (Status.reset,)

    def _drop_state(self) -> None:
        self._predictor.reset()
        self._resets += 1
        self._forget()

    def _forget(self) -> None:
        self._blind = self.max_gap + 1
        self._y = self._nothing
        self._range.forget()
        self._signs.forget()
        if self.novelty is not None:
            self.novelty.reset()


def _gravest_first(flags: Iterable[Status]) -> tuple[Status, ...]:
    return tuple(sorted(set(flags), key=_GRAVITY)) or _OK_ALONE


def _calibrated(predictor: Stepper) -> Novelty | None:
    """Return the novelty detector of the predictor's bundle; None without a bundle or a calibration."""
    bundle, watched = getattr(predictor, "bundle", None), cast("Watched", predictor)
    if bundle is None:
        return None
    from rtsysid.live.novelty import Novelty

    return Novelty.of(bundle, watched)
