"""A predictor of one line, for tests of what stands around a predictor: an integrator with a fault to order."""

from __future__ import annotations

import msgspec
import numpy as np

from rtsysid.model.delayline import TappedDelayLine
from rtsysid.spec import Channel, Floats, ModelSpec, unit_scaling

RATE, DT, GAIN = 100.0, 0.01, 0.5


def plant_spec(feedback: bool | tuple[str, ...] = True, low: float = -1.0) -> ModelSpec:
    """One input and two outputs, each trained on -1..1 with a spread of 0.5 (the input from `low`)."""
    channels = (Channel("u", "V", "input"), Channel("x", "m"), Channel("v", "m/s"))
    blank = ModelSpec(channels=channels, rate_hz=RATE, taps=3, encoder=(4, 2), feedback=feedback)
    replace = msgspec.structs.replace
    return replace(blank, scaling=replace(unit_scaling(blank), std=(0.5,) * 3, low=(low, -1.0, -1.0)))


class Integrator:
    """y_{k+1} = y_k + GAIN u_k, with a delay line, a warm-up of two steps, and a fault to order."""

    def __init__(self, spec: ModelSpec | None = None, taps: int = 3, warmup: int = 2) -> None:
        self.spec = spec or plant_spec()
        self.line = TappedDelayLine(taps, self.spec.width)
        self.warmup, self.resets, self.broken = warmup, 0, False
        self.stepped: list[list[float]] = []
        self.ages: list[int] = []
        self.y: Floats = np.full(self.spec.n_outputs, np.nan, np.float32)

    @property
    def ready(self) -> bool:
        return self.line.count >= self.line.taps + self.warmup

    def reset(self) -> None:
        self.resets += 1
        self.broken = False
        self.line.reset()
        self.y.fill(np.nan)

    def step(self, values: Floats, age: int = 0) -> Floats:
        self.ages.append(age)
        self.stepped.append(values.tolist())
        self.line.push(values)
        if self.line.full:
            newest = self.line.window[-1]
            self.y[:] = newest[self.spec.n_inputs :] + GAIN * newest[0]
        if self.broken:
            self.y[-1] = np.inf
        return self.y
