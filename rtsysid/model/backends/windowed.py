"""The delay line in front of a backend that takes whole windows: ONNX and NumPy."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from rtsysid.model.backends.draws import Draws, draws_of
from rtsysid.model.contents import STRETCH_TICKS
from rtsysid.model.coordinates.deviations import FutureStretch, stretch_factors
from rtsysid.model.delayline import TappedDelayLine
from rtsysid.spec import Floats, ModelSpec

Ages: TypeAlias = NDArray[np.int64]  # ticks since the newest measurement, one per robot


class WindowedBackend(ABC):
    """Push samples into a delay line; call `start` on the first full window and `advance` on every full one.

    ``stretch`` [K, ny]: factors of the deviations of sampled futures, at `STRETCH_TICKS`; by default 1.
    """

    y: Floats  # the last prediction [ny]
    age: int  # of the last sample
    gradients = None  # they come from `NumpyGradients`

    def __init__(self, spec: ModelSpec, stretch: Floats | None = None) -> None:
        self.spec = spec
        unchanged = np.ones((len(STRETCH_TICKS), spec.n_outputs), np.float32)
        self.stretch = unchanged if stretch is None else stretch
        self.line = TappedDelayLine(spec.taps, spec.width)
        self.age = 0
        self._states: list[Floats] = [np.zeros((1, spec.state_size), np.float32) for _ in range(2)]
        self._turn = 0  # which of the two states is the newest
        self._unknown = np.full(spec.n_outputs, np.nan, np.float32)

    @property
    def count(self) -> int:
        """Count the samples since the last reset."""
        return self.line.count

    @property
    def window(self) -> Floats:
        """Return the last samples [L, C], oldest first; a view that the next step changes."""
        return self.line.window

    @property
    def state_before(self) -> Floats:
        """Return the state [S] from before the last step: where a forecast starts."""
        state: Floats = self._states[1 - self._turn][0]
        return state

    @abstractmethod
    def start(self, window: Floats) -> None:
        """Set the first state from the first full window [L, C]."""

    @abstractmethod
    def advance(self, window: Floats) -> Floats:
        """Advance the state by the window [L, C] that ends with s_k; return y_{k+1} [ny].

        The next step overwrites the array.
        """

    @abstractmethod
    def rollout(self, window: Floats, state: Floats, age: Ages, u_future: Floats) -> Floats:
        """Predict N ticks with predictions fed back: [B, L, C], [B, S], ages [B], [B, N, nu] -> [B, N, ny]."""

    @abstractmethod
    def sample_rollout(self, window: Floats, state: Floats, age: Ages, u_future: Floats, draws: Draws) -> Floats:
        """Sample a future from each start: as `rollout`, with the numbers of each future -> [B, N, ny]."""

    def reset(self) -> None:
        """Forget every sample and, with the next full window, the state."""
        self.line.reset()
        self.y.fill(np.nan)
        self.age = 0

    def step(self, values: Floats, age: int = 0) -> Floats:
        """Push one sample [C] of an age in ticks and predict y_{k+1} [ny]; NaN until the delay line is full."""
        line, self.age = self.line, age
        line.push(values)
        if line.count <= line.taps:
            if line.count < line.taps:
                return self._unknown
            self.start(line.window)
        return self.advance(line.window)

    def restore(self, window: Floats, state: Floats, age: int, count: int) -> None:
        """Continue as after `count` samples: the last of them [L, C], and the state [S] before the last step."""
        self.reset()
        for row in window:
            self.line.push(row)
        self.line.count, self.age = count, age
        if count >= self.line.taps:
            self._states[self._turn][0] = state
            if count == self.line.taps:
                self.start(self.line.window)
            self.advance(self.line.window)

    def innovation_energy(self, sample: Floats, weight: Floats) -> Callable[[], float]:
        """Make a function that sums the squares of ``(sample's outputs - y) * weight`` [ny] when it is called."""
        return weighted_squares(sample[self.spec.n_inputs :], self.y, weight)

    def forecast(self, u_future: Floats) -> Floats:
        """Predict what follows the last step under B plans: [B, N, nu] -> [B, N, ny]. The state does not change."""
        window, state = (np.repeat(part[None], len(u_future), 0) for part in (self.window, self.state_before))
        return self.rollout(window, state, np.full(len(u_future), self.age), u_future)

    def sample(self, u_future: Floats, first: int, count: int, seed: int) -> Floats:
        """Sample what follows the last step under a plan: [N, nu] -> [count, N, ny], futures from number `first` on.

        The state does not change.
        """
        draws = draws_of(seed, first, count, len(u_future), self.spec.n_draws)
        window, state, plan = (np.repeat(part[None], count, 0) for part in (self.window, self.state_before, u_future))
        futures = self.sample_rollout(window, state, np.full(count, self.age), plan, draws)
        factors = stretch_factors(self.stretch, len(u_future))
        stretched: Floats = self._future_stretch.stretched(futures, self.forecast(u_future[None]), factors)
        return stretched

    @cached_property
    def _future_stretch(self) -> FutureStretch:
        return FutureStretch(self.spec, np)


def weighted_squares(measured: Floats, predicted: Floats, weight: Floats) -> Callable[[], float]:
    """Make a function that sums the squares of ``(measured - predicted) * weight`` [ny].

    It reads the arrays when it is called: they are kept, not copied.
    """

    def innovation_energy() -> float:
        length = math.hypot(*((measured - predicted) * weight).tolist())  # two thirds of the time of a dot product
        return length * length

    return innovation_energy
