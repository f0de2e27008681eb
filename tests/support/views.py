"""What tests of views share: a session of the integrator that answers as fast as a test likes, and its rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from support.integrator import Integrator, plant_spec

from rtsysid.live.loop import Answer, SessionFeeder
from rtsysid.live.session import Session
from rtsysid.model.predictor import Predictor
from rtsysid.spec import Arrival, ModelSpec, Sample
from rtsysid.view.snapshot import SessionAbout

SPEC: ModelSpec = plant_spec()


def about(spec: ModelSpec = SPEC, novelty: bool = False) -> SessionAbout:
    """What a view says of a session."""
    return SessionAbout.of(spec, "udp://:9000", "0123abcd", novelty)


def answers(feeder: SessionFeeder, count: int, first: int = 0) -> Iterator[Answer]:
    """Answers to samples of a slow wave; each is half a millisecond old."""
    spec = feeder.session.spec
    for k in range(first, first + count):
        t = 10.0 + k / spec.rate_hz
        values = np.sin(np.arange(spec.width) + t).astype(np.float32) / 2
        arrival = Arrival(Sample(t, values), round(t * 1e6), t, t, k % 65536, 1)
        yield Answer(arrival, feeder.feed(arrival), 5e-4, True)


def feeder() -> SessionFeeder:
    """A session of the integrator."""
    return SessionFeeder(Session(Integrator(SPEC)))


def calibrated(predictor: Predictor) -> SessionFeeder:
    """A session of a real predictor."""
    return SessionFeeder(Session(predictor))
