"""Count the instructions of one step on a Cortex-M4F, exact and emulated, and what the model occupies there."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch

from export import firmware
from export.compile import Build
from export.to_c import c_sources
from export.to_c_control import control_sources
from firmware_bridge import emulator
from rtsysid.model.npz import Arrays
from rtsysid.spec import ModelSpec
from rtsysid.train.network import Network
from rtsysid.train.run import state_arrays


def random_model(spec: ModelSpec, *, int8: bool = False) -> dict[str, str]:
    """Return the C of a model with random weights: what they are does not change the cost."""
    return firmware.renamed(c_sources(spec, _random_weights(spec), int8=int8))


def step_cost(spec: ModelSpec, build: Build, *, int8: bool = False) -> tuple[int, firmware.Image]:
    """Count the instructions of a step with the delay line full; return them with the image that took them.

    Raises BundleError where the compiler is missing, LinkError where the emulator is.
    """
    with tempfile.TemporaryDirectory() as folder:
        image = firmware.build_image("replay", random_model(spec, int8=int8), Path(folder) / "image.elf", build=build)
        width = spec.width + bool(spec.age_changes)  # a row and its age
        rows = np.random.default_rng(0).standard_normal((spec.taps + 3, width)).astype(np.float32)
        return int(emulator.replay_image(image.path, rows, spec.n_outputs).instructions[-1]), image


def gradient_cost(spec: ModelSpec, build: Build, horizon: int) -> tuple[emulator.Differentiated, firmware.Image]:
    """Count the instructions of a forecast that is kept and of its gradient; return them with the image.

    Raises BundleError where the compiler is missing or the image does not fit, LinkError where the emulator is missing.
    """
    weights, rng = _random_weights(spec), np.random.default_rng(0)
    sources = {**c_sources(spec, weights), **control_sources(spec, weights)}
    with tempfile.TemporaryDirectory() as folder:
        image = firmware.build_image("gradient", sources, Path(folder) / "image.elf", build=build, horizon=horizon)
        sizes = ((spec.taps, spec.width), (horizon, spec.n_inputs), (horizon, spec.n_outputs))
        rows, u, dy = (rng.standard_normal(size).astype(np.float32) for size in sizes)
        return emulator.differentiate_image(image.path, rows, u, dy), image


def _random_weights(spec: ModelSpec) -> Arrays:
    torch.manual_seed(0)
    return state_arrays(Network(spec).state_dict())


def can_count() -> bool:
    """Tell whether compiler and emulator are installed."""
    return firmware.available() and emulator.emulator_available()
