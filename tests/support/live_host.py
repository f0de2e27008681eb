"""A host as a process of its own, to be stopped and continued: `python live_host.py PORT`.

It runs the live loop until SIGTERM, and then prints every answer as `Notes` keeps it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import msgspec
from support.integrator import Integrator, plant_spec

from firmware_bridge.link import Link
from rtsysid.live.loop import Answer, LiveLoop
from rtsysid.live.service import StopSignal
from rtsysid.live.session import Session
from rtsysid.spec import Arrival


class Notes:
    """Keeps of each answer whether it went out, when its sample was captured on the host's clock, and device time."""

    def __init__(self) -> None:
        self.answers: list[tuple[bool, float, int]] = []

    def sample(self, arrival: Arrival) -> None: ...

    def prediction(self, answer: Answer) -> None:
        self.answers.append((answer.sent, answer.arrival.captured_s, answer.arrival.device_t_us))

    def health(self, figures: Mapping[str, Any]) -> None: ...


def main(port: str) -> None:
    notes = Notes()
    session = Session(Integrator(msgspec.structs.replace(plant_spec(), rate_hz=500.0)))
    with Link(port) as link, StopSignal() as stop:
        for _ in LiveLoop(link, session, recorder=notes).run(stop):
            pass
    print(json.dumps({"answers": notes.answers, "health": link.health().plain()}))


if __name__ == "__main__":
    main(sys.argv[1])
