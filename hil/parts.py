"""Helpers of the rig's tests: a small model, the recorded instruction counts, and the lines of the report."""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec
import numpy as np

from export.bundle import export
from rtsysid.config import Config
from rtsysid.model.bundle import Bundle
from rtsysid.recordings.trace import Trace
from rtsysid.schedule import Loss, Stage
from rtsysid.spec import Floats
from rtsysid.train.fit import begin

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "instructions.json"
LEARNED_FROM = 800  # rows of each of two flights
REPORT: list[str] = []


def small(config: Config) -> Config:
    """Return the same robot with a model that is trained in seconds."""
    model = msgspec.structs.replace(config.model, taps=10, encoder=(32, 12), hidden=24, warmup=10)
    stage = Stage("joint", ("encoder", "cell", "head"), (Loss("rollout", horizon=10),), epochs=1)
    data = msgspec.structs.replace(config.data, validation=())
    train = msgspec.structs.replace(config.train, symmetry=(), stride=40)
    return msgspec.structs.replace(config, data=data, model=model, train=train, stage=(stage,))


def bundle_of(config: Config, trace: Trace, folder: Path) -> Bundle:
    """Train and export a bundle on the beginnings of the first two recordings."""
    learned = tuple(episode.piece(0, LEARNED_FROM) for episode in trace.episodes[:2])
    for _ in begin(config, Trace(trace.channels, learned), folder / "run").epochs():
        pass
    return export(folder / "run", folder / "bundle", ("c",))[0]


def require_golden(name: str, found: int) -> None:
    """Check that `found` is at most 2 % above the recorded count; a new count is recorded, but refused in CI."""
    recorded = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if name not in recorded:
        assert not os.environ.get("CI"), f"{GOLDEN.name} has no {name!r}: run `make hil` here, and commit it"
        GOLDEN.write_text(json.dumps({**recorded, name: found}, indent=1, sort_keys=True) + "\n")
    bound = 1.02 * recorded.get(name, found)
    assert found <= bound, f"{name}: {found:,} instructions, {recorded[name]:,} recorded"


def same_bits(found: Floats, expected: Floats) -> bool:
    return found.shape == expected.shape and np.asarray(found, np.float32).tobytes() == expected.tobytes()
