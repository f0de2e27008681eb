"""The training history of a bundle: file `history.json`, one entry for each epoch. A robot does not read it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from rtsysid.errors import BundleError
from rtsysid.guards.limits import checked_size
from rtsysid.model.bundle import Bundle
from rtsysid.model.manifest import HISTORY, Count
from rtsysid.model.untrusted import parse_json, structure_of

LOSSES = ("train", "validation")


class PastEpoch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hold the losses of one epoch; None where a loss was not finite."""

    index: Count
    stage: str
    train: float | None
    validation: float | None


class TrainingHistory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hold the epochs of a training in their order."""

    epochs: tuple[PastEpoch, ...]


def history_content(lines: Iterable[Mapping[str, Any]]) -> bytes:
    """Return the content of the file, of the lines of `history.jsonl` of a run."""
    epochs = [
        {"index": line["index"], "stage": line["stage"], **{name: _finite_or_none(line[name]) for name in LOSSES}}
        for line in lines
    ]
    return json.dumps({"epochs": epochs}).encode() + b"\n"


def history_of(bundle: Bundle) -> list[dict[str, Any]]:
    """Return the epochs of a bundle, with NaN for a loss that was not finite; none where it holds no history.

    Raises BundleError where the file is not what an export writes.
    """
    if HISTORY not in bundle.manifest.files:
        return []
    content = bundle.content(HISTORY)
    checked_size(f"bundle {bundle.folder}: {HISTORY}", len(content), "json_bytes", BundleError)
    plain = parse_json(content, HISTORY, bundle.refusal)
    epochs = structure_of(plain, TrainingHistory, HISTORY, bundle.refusal).epochs
    lines = [msgspec.structs.asdict(each) for each in epochs]
    return [{**line, **{name: math.nan if line[name] is None else line[name] for name in LOSSES}} for line in lines]


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
