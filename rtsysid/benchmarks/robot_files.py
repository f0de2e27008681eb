"""Read what a benchmark finds next to a trained model: how its training went."""

from __future__ import annotations

from pathlib import Path

import msgspec

from rtsysid.errors import ConfigError
from rtsysid.guards import ranges
from rtsysid.model.manifest import Count
from rtsysid.model.untrusted import Refusal, parse_json, read_regular, structure_of

FINISHED = "finished.json"  # in the folder of a model


class TrainedModel(msgspec.Struct, frozen=True):
    """Hold what is known of one trained model. ``seconds`` of training by the clock; None where it was continued.

    ``key``: digest of what it was trained on. ``rows``: rows of the recordings for training and validation.
    """

    key: str
    seed: ranges.Seed
    rows: Count
    seconds: ranges.Seconds | None


def read_trained_model(folder: Path) -> TrainedModel | None:
    """Read how a training went; None where it has not ended. Raises ConfigError where the file is damaged."""
    path = folder / FINISHED
    if not path.exists():
        return None
    refusal = Refusal(ConfigError, f"folder {folder}", "remove the file, or choose another -o")
    return structure_of(
        parse_json(read_regular(path, refusal, "json_bytes"), path.name, refusal), TrainedModel, path.name, refusal
    )
