"""The errors that a training states for new recordings: file `expected.json` of a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec

from rtsysid.errors import ConfigError
from rtsysid.guards import ranges
from rtsysid.model.untrusted import Refusal, parse_json, read_regular, structure_of

EXPECTED = "expected.json"  # in a run folder
MeanError: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1e30)]


class GroupExpectation(msgspec.Struct, frozen=True):
    """Hold the errors of one group that training states, with an interval, for some ticks ahead."""

    ticks: tuple[ranges.Count, ...]
    error: tuple[MeanError, ...]
    low: tuple[MeanError, ...]
    high: tuple[MeanError, ...]

    def __post_init__(self) -> None:
        if len({len(each) for each in (self.ticks, self.error, self.low, self.high)}) > 1:
            raise ValueError("ticks, error, low and high are not equally many")


class Expectation(msgspec.Struct, frozen=True):
    """Hold the errors on new recordings that training states, by group; and those of the linear model alone."""

    groups: dict[str, GroupExpectation]
    linear: dict[str, GroupExpectation] = {}


def read_expectation(run: Path) -> Expectation | None:
    """Read what training stated in a run folder; None where it stated nothing. Raises ConfigError if damaged."""
    path = run / EXPECTED
    if not path.exists():
        return None
    refusal = Refusal(ConfigError, f"folder {run}", "train it again, in another folder")
    plain = parse_json(read_regular(path, refusal, "json_bytes"), EXPECTED, refusal)
    return structure_of(plain, Expectation, EXPECTED, refusal)
