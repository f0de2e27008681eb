"""Sizes of the generated C: what the code generator and the C backend must agree on."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any

from rtsysid.spec import INITIALISER_WIDTH, ModelSpec

TILE = 16  # rows of a tile of weights, as in export/c/kernels.c
LANES = 16  # forecasts that model_rollout computes at the same time


@lru_cache(maxsize=8)
def state_type(spec: ModelSpec) -> Any:
    """Make the ctypes structure `model_state` of model.h."""
    floats = {
        "line": 2 * spec.taps * spec.width,
        "seen": spec.code_size + spec.hidden,
        "state": spec.state_size,
        "state_before": spec.state_size,
        "y": spec.n_outputs,
        "target": 2 * padded(spec.n_targets),
        "work": 2 * widest(spec),
    }
    counts = ("count", "next", *(["age"] if spec.age_changes else []))
    fields: list[tuple[str, Any]] = [(name, ctypes.c_uint32) for name in counts]
    fields += [(name, ctypes.c_float * size) for name, size in floats.items()]
    return type("State", (ctypes.Structure,), {"_fields_": fields})


def state_bytes(spec: ModelSpec) -> int:
    """Count the bytes of `model_state`: all memory that one robot needs."""
    return ctypes.sizeof(state_type(spec))


def widest(spec: ModelSpec) -> int:
    """Count the values of the widest layer, in whole tiles; the C has room for two of these."""
    learned = INITIALISER_WIDTH if spec.state_init == "network" else 0
    of_noise = max(spec.noise.members * spec.n_targets, spec.code_size) if spec.distribution else 0
    return padded(max(spec.window_size, _cell_room(spec), learned, of_noise, *spec.encoder))


def widest_back(spec: ModelSpec) -> int:
    """Count the values of the widest layer on the way back of a gradient, in whole tiles."""
    return padded(max(spec.window_size, spec.code_size + spec.hidden, 4 * spec.hidden, *spec.encoder))


def padded(rows: int) -> int:
    """Round the rows of a matrix up to whole tiles."""
    return -(-rows // TILE) * TILE


def _cell_room(spec: ModelSpec) -> int:
    """Values that a cell needs in each of the two layers: all gates of an LSTM; two gates or two products of a GRU."""
    return 4 * spec.hidden if spec.cell == "lstm" else 2 * padded(spec.hidden)
