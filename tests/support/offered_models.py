"""Models that are offered to a running session: predictors of one line, and a watch that hands them out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from support.integrator import DT, GAIN, Integrator, plant_spec

from rtsysid.live.feeder import SessionFeeder
from rtsysid.live.loop import Answer, Sink
from rtsysid.live.session import Session
from rtsysid.live.updates import BundleUpdates, Newcomer, Note
from rtsysid.model.about import AboutModel
from rtsysid.spec import Arrival, Floats, Sample


class Biased(Integrator):
    """An integrator whose predictions are too large by so many metres, and not a number from one step on."""

    def __init__(self, bias: float = 0.0, breaks_at: int = 10**9) -> None:
        super().__init__()
        self.bias, self.breaks_at, self.steps = bias, breaks_at, 0

    def step(self, values: Floats, age: int = 0) -> Floats:
        self.steps += 1
        y = super().step(values, age)
        return y * math.nan if self.steps >= self.breaks_at else y + np.float32(self.bias)


class FakeBundle(NamedTuple):
    """What an update needs of a bundle."""

    id: str
    spec: Any = plant_spec()
    model_id: str = "model"
    folder: str = "folder"

    @property
    def manifest(self) -> Any:
        return type("Manifest", (), {"about": AboutModel(name=f"name of {self.id}")})


class Watch:
    """Hands out one candidate, and keeps what was noted."""

    def __init__(self, candidate: Newcomer | None = None, refused: tuple[Note, ...] = ()) -> None:
        self.candidate, self.refused = candidate, list(refused)
        self.taken: list[tuple[str, str]] = []

    def take(self) -> Newcomer | None:
        found, self.candidate = self.candidate, None
        return found

    def refusals(self) -> list[Note]:
        found, self.refused = self.refused, []
        return found

    def note_taken(self, former: Any, new: Any) -> None:
        self.taken.append((former.id, new.id))


def arrivals(count: int, first: int = 0) -> Iterator[Arrival]:
    """Samples of a true integrator."""
    x = np.zeros(2)
    for k in range(first + count):
        u = 0.1 * math.sin(0.3 * k)
        if k >= first:
            values = np.array([u, *x], np.float32)
            yield Arrival(Sample(k * DT, values), round(k * DT * 1e6), k * DT, k * DT, k, 1)
        x = np.clip(x + GAIN * u, -0.9, 0.9)


def run(
    updates: BundleUpdates, running: Session, count: int, batch: int = 1, recorder: Sink | None = None
) -> list[Answer]:
    """Feed samples in batches, as the live loop does; return every answer."""
    feeder, answered, waiting = SessionFeeder(running), list[Answer](), list[Answer]()
    for each in arrivals(count):
        waiting.append(Answer(each, feeder.feed(each), 0.0, True))
        if len(waiting) == batch:
            for answer in waiting if recorder is not None else ():
                recorder.sample(answer.arrival)
                recorder.prediction(answer)
            feeder = updates.follow(waiting, feeder)
            answered, waiting = answered + waiting, []
    return answered


def made(new: Integrator, watch: Watch | None = None, **settings: Any) -> tuple[BundleUpdates, Watch]:
    watch = watch or Watch(Newcomer(FakeBundle("new"), Session(new)))  # type: ignore[arg-type]
    return BundleUpdates(watch, FakeBundle("old"), trial_s=0.2, **settings), watch  # type: ignore[arg-type]
