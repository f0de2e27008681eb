"""A live session as data: arrivals and answers as link and loop make them, and a recording of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from firmware_bridge.recorder import Recorder
from rtsysid.live.session import Prediction
from rtsysid.spec import Arrival, Channel, Sample
from rtsysid.statuses import Status

CHANNELS = (Channel("u", "V", "input"), Channel("Vx", "m/s"), Channel("q[0]"))
OUTPUTS = CHANNELS[1:]


class Answer(NamedTuple):
    arrival: Arrival
    prediction: Prediction
    age_s: float
    status: str
    sent: bool


def arrival(k: int, boot: int = 1, width: int = len(CHANNELS)) -> Arrival:
    """The k-th sample at 100 Hz, received 2 ms after its capture; the device started 5 s after the host."""
    values = np.arange(k, k + width, dtype=np.float32) / 7
    device_us = 10_000 * k + 333
    t = device_us * 1e-6
    return Arrival(Sample(t, values), device_us, 5.0 + t, 5.002 + t, k, boot)


def answer(arrived: Arrival, outputs: int = len(OUTPUTS)) -> Answer:
    y = arrived.sample.values[-outputs:] * 3
    status = Status.stale if arrived.seq % 5 == 0 else Status.ok
    return Answer(arrived, Prediction(arrived.sample.t, y, status, (status,)), arrived.seq / 1e3, status, True)


def fill(recorder: Recorder, arrivals: Sequence[Arrival]) -> None:
    """Record these arrivals, each with its wire bytes and its answer, and one line of health."""
    for each in arrivals:
        recorder.wire("rx", round(each.received_s * 1e9), b"\1\2\3" * (each.seq % 4))
        recorder.sample(each)
        recorder.prediction(answer(each))
    recorder.health({"state": "streaming", "rate_hz": 99.9, "link": {"crc": 0, "uid": None}})


def recording(path: Path, count: int = 50, boots: Sequence[int] = (1,)) -> list[Arrival]:
    """A whole recording of `count` samples after each start of the device."""
    arrivals = [arrival(k, boot) for boot in boots for k in range(count)]
    metadata = {"bundle": {"id": "0123abcd"}}
    with Recorder.open(
        path, channels=CHANNELS, outputs=OUTPUTS, metadata=metadata, clock=lambda: 10**12, wall=lambda: 10**18
    ) as recorder:
        fill(recorder, arrivals)
    return arrivals
