"""What a backend does for one robot, and what a forecast starts from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np

from rtsysid.errors import SpecError
from rtsysid.model.backends.windowed import Ages
from rtsysid.spec import Floats

InnovationEnergy: TypeAlias = Callable[[], float]


class Snapshot(NamedTuple):
    """All that a predictor remembers of the samples that it was given. Opaque to callers.

    ``window`` [L, C]; ``state`` [S] before the last step; ``age``: ticks from the newest measurement to the last
    sample; ``count``: samples since the last reset. Of K stacked snapshots each field has one more axis: `stacked`.
    """

    window: Floats
    state: Floats
    age: Any  # int, or Ages [K]
    count: Any  # int, or [K]


class Gradients(Protocol):
    """Differentiate forecasts from one snapshot: plans [B, N, nu], or one plan [N, nu].

    `vjp` returns a forecast, and the function that takes dy [N, ny] back through it to du [N, nu].
    """

    def vjp(self, start: Snapshot, u: Any) -> tuple[Any, Callable[[Any], Any]]: ...  # [N, nu] -> [N, ny]
    def gradient(self, start: Snapshot, u: Any, dy: Any) -> Any: ...  # dy [B, N, ny] -> [B, N, nu]
    def jacobian(self, start: Snapshot, u: Any) -> Any: ...  # [N, nu] -> [N, ny, N, nu]
    def one_tick(self, start: Snapshot) -> tuple[Any, Any]: ...  # [ny + S, L, C], [ny + S, S]


class Backend(Protocol):
    """One implementation of the model for one robot, with its own delay line and state.

    Samples are [C], predictions [ny], the window [L, C], the state [S], plans [B, N, nu], forecasts [B, N, ny]. An age
    is in ticks since the newest measurement. The next step changes the arrays that it returns.
    """

    name: str
    y: Floats
    code: Floats
    age: int  # of the last sample

    @property
    def count(self) -> int: ...  # samples since the last reset
    @property
    def window(self) -> Floats: ...  # the last samples [L, C], oldest first
    @property
    def state_before(self) -> Floats: ...  # [S]
    @property
    def reconstruction_error(self) -> float: ...
    @property
    def gradients(self) -> Gradients | None: ...  # None: it has none of its own
    def reset(self) -> None: ...
    def restore(self, window: Floats, state: Floats, age: int, count: int) -> None: ...
    def step(self, values: Floats, age: int = 0) -> Floats: ...
    def innovation_energy(self, sample: Floats, weight: Floats) -> InnovationEnergy: ...
    def forecast(self, u_future: Floats) -> Floats: ...
    def rollout(self, window: Floats, state: Floats, age: Ages, u_future: Floats) -> Floats: ...
    def sample(self, u_future: Floats, first: int, count: int, seed: int) -> Floats: ...  # [N, nu] -> [count, N, ny]


def stacked(snapshots: Sequence[Snapshot]) -> Snapshot:
    """Stack K snapshots: window [K, L, C], state [K, S], age [K]. Raises SpecError where there is none."""
    if not snapshots:
        raise SpecError("stacked", "no snapshots", "give one or more")
    return Snapshot(*(np.stack(part) for part in zip(*snapshots, strict=True)))


def casadi_state(snapshot: Snapshot) -> Floats:
    """Join a snapshot to the parameter `state` of the function that the export target `casadi` makes: [P]."""
    return np.concatenate((snapshot.window.ravel(), snapshot.state, [snapshot.age])).astype(np.float32)
