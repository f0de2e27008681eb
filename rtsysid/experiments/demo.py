"""Provide the recordings of the demonstration, and stream an unseen one through a live session."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtsysid.guards.stages import say_stage
from rtsysid.live.deadline import Deadline
from rtsysid.live.session import Session
from rtsysid.model.bundle import Bundle
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.home import recordings
from rtsysid.recordings.simulate import fly, write_flights
from rtsysid.recordings.trace import Episode, Trace
from rtsysid.spec import Sample

FLIGHTS, SECONDS, UNSEEN = 14, 30.0, 2
CONTROL_FLIGHTS, CONTROL_SECONDS, DITHER = 20, 40.0, 0.04


@dataclass(frozen=True)
class Live:
    """Hold the result of streaming one recording: wall-clock seconds, and the summary of the session."""

    name: str
    samples: int
    seconds: float
    summary: dict[str, Any]


def demo_recordings(data: str, folder: Path) -> tuple[Path, Path]:
    """Return the folders of training and of unseen recordings: simulated into `folder`, or the nano-drone's.

    Raises TraceError where the nano-drone's recordings are absent, StorageError where `folder` is
    refused (`rtsysid.storage`) or cannot be written.
    """
    if data == "nanodrone":
        return recordings("nanodrone", "train"), recordings("nanodrone", "test")
    say_stage("flying the simulated quadrotor")
    flights = fly(FLIGHTS, SECONDS, seed=0)
    subsets = {"train": flights.episodes[:-UNSEEN], "unseen": flights.episodes[-UNSEEN:]}
    for name, episodes in subsets.items():
        for _ in write_flights(Trace(flights.channels, episodes), folder / name):
            pass
    return folder / "train", folder / "unseen"


def control_recordings(folder: Path) -> Path:
    """Fly with dithered commands, since a controller tries more than an autopilot does. Return the folder.

    Raises StorageError where `folder` is refused.
    """
    say_stage("flying the simulated quadrotor")
    for _ in write_flights(fly(CONTROL_FLIGHTS, CONTROL_SECONDS, seed=0, dither=DITHER), folder):
        pass
    return folder


def stream(bundle: Bundle, episode: Episode) -> Live:
    """Feed an episode to a live session at full speed. The time budget of a step is one tick."""
    predictor, deadline = Predictor.load(bundle), Deadline(1.0 / bundle.spec.rate_hz)
    session = Session(predictor, deadline=deadline)
    samples = (Sample(float(t), values) for t, values in zip(episode.t, episode.values, strict=True))
    begun = time.perf_counter()
    count = sum(1 for _ in session.run(samples))
    return Live(episode.name, count, time.perf_counter() - begun, session.summary())
