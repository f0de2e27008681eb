"""Read what the benchmark of robots finds next to a trained model: what training stated, and how it went."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias, TypeVar

import msgspec

from rtsysid.errors import ConfigError
from rtsysid.guards import ranges
from rtsysid.model.manifest import Count
from rtsysid.model.untrusted import Refusal, parse_json, read_regular, structure_of

EXPECTED = "expected.json"  # in a run folder
FINISHED = "finished.json"  # in the folder of a seed
Struct = TypeVar("Struct")
MeanError: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1e30)]


class GroupExpectation(msgspec.Struct, frozen=True):
    """Hold the errors of one group that training states, with an interval, for some ticks ahead."""

    ticks: tuple[ranges.Count, ...]
    error: tuple[MeanError, ...]
    low: tuple[MeanError, ...]
    high: tuple[MeanError, ...]


class Expectation(msgspec.Struct, frozen=True):
    """Hold the errors on new recordings that training states, by group."""

    groups: dict[str, GroupExpectation]


class TrainedModel(msgspec.Struct, frozen=True):
    """Hold what is known of one trained model. ``seconds`` of training by the clock; None where it was continued.

    ``key``: digest of what it was trained on. ``rows``: rows of the recordings for training and validation.
    """

    key: str
    seed: ranges.Seed
    rows: Count
    seconds: ranges.Seconds | None


def read_expectation(run: Path) -> Expectation | None:
    """Read what training stated in a run folder; None where it stated nothing. Raises ConfigError if damaged."""
    return _read_struct(run / EXPECTED, Expectation, "train it again, in another folder")


def read_trained_model(folder: Path) -> TrainedModel | None:
    """Read how a training went; None where it has not ended. Raises ConfigError where the file is damaged."""
    return _read_struct(folder / FINISHED, TrainedModel, "remove the file, or choose another -o")


def _read_struct(path: Path, kind: type[Struct], remedy: str) -> Struct | None:
    if not path.exists():
        return None
    refusal = Refusal(ConfigError, f"folder {path.parent}", remedy)
    return structure_of(
        parse_json(read_regular(path, refusal, "json_bytes"), path.name, refusal), kind, path.name, refusal
    )
