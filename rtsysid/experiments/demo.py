"""What the demonstration learns from, and the unseen recording that it streams at the end."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtsysid.live.deadline import Deadline
from rtsysid.live.session import Session
from rtsysid.model.bundle import Bundle
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.home import recordings
from rtsysid.recordings.simulate import fly
from rtsysid.recordings.trace import Episode, Trace
from rtsysid.spec import Sample

FLIGHTS, SECONDS, UNSEEN = 18, 40.0, 2


@dataclass(frozen=True)
class Live:
    """One recording streamed through the runtime: wall seconds, and the session's own account."""

    name: str
    samples: int
    seconds: float
    summary: dict[str, Any]


def demo_recordings(data: str, folder: Path) -> tuple[Path, Path]:
    """Folders of training and of unseen recordings: simulated on the spot, or found under RTSYSID_DATA."""
    if data == "nanodrone":
        return recordings("nanodrone", "train"), recordings("nanodrone", "test")
    flights = fly(FLIGHTS, SECONDS, seed=0)
    for number, episode in enumerate(flights.episodes):
        part = "unseen" if number >= FLIGHTS - UNSEEN else "train"
        Trace(flights.channels, (episode,)).write(folder / part / f"{episode.name}.csv")
    return folder / "train", folder / "unseen"


def stream(bundle: Bundle, episode: Episode) -> Live:
    """Feed an episode to a live session as fast as it goes, with one tick as the budget of every step."""
    predictor, deadline = Predictor.load(bundle), Deadline(1.0 / bundle.spec.rate_hz)
    session = Session(predictor, deadline=deadline)
    samples = (Sample(float(t), values) for t, values in zip(episode.t, episode.values, strict=True))
    begun = time.perf_counter()
    count = sum(1 for _ in session.run(samples))
    return Live(episode.name, count, time.perf_counter() - begun, session.summary())
