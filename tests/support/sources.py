"""Sources of live samples without a board: for a recording, for none, for too few, and one whose texts are hostile."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Self

from support.robots import plant

from rtsysid.source import SourceHealth
from rtsysid.spec import Arrival, Channel, Floats, Sample


class Plant:
    """A source with no more than the protocol asks for: a recording at once, on a clock that is the host's."""

    def __init__(self, port: str, **options: Any) -> None:
        self.port, self.options = port, options
        self.predicted: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def describe(self, timeout_s: float = 5.0) -> dict[str, Any]:
        return {"name": "a plant"}

    def channels(self, timeout_s: float = 5.0) -> tuple[Channel, ...]:
        return plant().channels

    def batches(self, timeout_s: float) -> Iterator[list[Arrival]]:
        for k, row in enumerate(plant(1, 60, seed=3).episodes[0].values):
            yield [Arrival(Sample(k / 50, row), 20_000 * k, 0.0, 0.0, k, 1)]

    def predict(self, seq: int, status: str, age_s: float, horizon_s: float, y: Floats) -> None:
        self.predicted.append(seq)

    def close(self) -> None: ...

    def health(self) -> SourceHealth:
        return SourceHealth(state="closed", samples=60, gaps=0, dropped=0, corrupt=0, losses=0, reboots=0)

    def events(self) -> list[str]:
        return []

    @property
    def thread_ids(self) -> tuple[int, ...]:
        return ()


class Silent(Plant):
    """A device that answers and never samples."""

    def batches(self, timeout_s: float) -> Iterator[list[Arrival]]:
        yield []

    def health(self) -> SourceHealth:
        return SourceHealth(state="closed", samples=0, gaps=0, dropped=0, corrupt=0, losses=0, reboots=0)


class Brief(Plant):
    """A device that ends after three samples."""

    def batches(self, timeout_s: float) -> Iterator[list[Arrival]]:
        return islice(super().batches(timeout_s), 3)


class Hostile(Plant):
    """A device whose every text moves the cursor, breaks the line or is half a character."""

    TEXT = "\x1b[2J\n\u202e\ud800*/"

    def describe(self, timeout_s: float = 5.0) -> dict[str, Any]:
        return {f"name{self.TEXT}": self.TEXT, "table": {self.TEXT: [self.TEXT]}}

    def events(self) -> list[str]:
        return [f"connected: {self.TEXT}"]
