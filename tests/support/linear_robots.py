"""Recordings of robots whose linear law is known, and the pieces of which a linear model is chosen. No torch."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from rtsysid.evaluation.linear.folds import Folds
from rtsysid.evaluation.linear.maps import LinearMap, LinearModel, Runs, spec_of
from rtsysid.spec import Channel, Floats, ModelSpec, unit_scaling

LAW = np.array([[0.98, 0.1], [-0.1, 0.95]])  # of position and speed
PUSH = np.array([0.0, 0.1])  # of the input
CHANNELS = (Channel("u", "V", "input"), Channel("y", "m"), Channel("v", "m/s"), Channel("w", "m"))


def recordings(count: int = 3, rows: int = 200, seed: int = 0) -> list[Floats]:
    """Rows [rows, 4]: a random input, position and speed that follow `LAW`, and a random walk."""
    made = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        values = np.zeros((rows, 4))
        values[:, 0] = rng.standard_normal(rows)
        values[:, 3] = np.cumsum(rng.standard_normal(rows))
        for k in range(rows - 1):
            values[k + 1, 1:3] = LAW @ values[k, 1:3] + PUSH * values[k, 0]
        made.append(values.astype(np.float32))
    return made


def folds(pieces: list[Floats]) -> Folds:
    """One fold for each piece."""
    return Folds(pieces, list(range(len(pieces))))


def plain_spec(**changes: Any) -> ModelSpec:
    """The specification of these recordings, with a scaling of 1."""
    fields = {"channels": CHANNELS, "rate_hz": 50.0, "taps": 4, "warmup": 2, "encoder": (), "hidden": 4}
    fields |= {"linear_path": True, "age_bands": (2,)}
    spec = ModelSpec(**{**fields, **changes})
    return msgspec.structs.replace(spec, scaling=unit_scaling(spec, 4.0))


def random_map(spec: ModelSpec, lags: int, seed: int = 0, size: float = 0.05) -> LinearMap:
    """A map of random weights from windows of `lags` rows."""
    own = spec_of(spec, lags)
    shape = (own.window_size + 1, own.n_targets)
    return LinearMap(lags, size * np.random.default_rng(seed).standard_normal(shape))


def aged_model(spec: ModelSpec, near: int = 2, far: int = 3) -> LinearModel:
    """A model whose maps differ, with a gain of its own for each band of ages and target."""
    gains = np.linspace(0.2, 1.0, spec.n_bands * spec.n_targets).reshape(spec.n_bands, -1)
    return LinearModel(random_map(spec, near, 1), random_map(spec, far, 2), spec.near_ticks, spec.age_bands, gains)


def rows_of_forecasts(spec: ModelSpec, pieces: list[Floats], ticks: int) -> tuple[Floats, Runs]:
    """Rows [K, taps + ticks, C] of forecasts from every tenth row of pieces, and the same as starts of a linear run."""
    length, nu = spec.taps + ticks, spec.n_inputs
    rows = np.stack([piece[k : k + length] for piece in pieces for k in range(0, len(piece) - length, 10)])
    return rows, Runs(rows[:, : spec.taps], rows[:, spec.taps - 1 : -1, :nu], rows[:, spec.taps :, nu:])
