"""What tests of benchmarks share: their configurations, the recordings they want, and a model made by hand."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from rtsysid.benchmarks import Benchmark, benchmark
from rtsysid.benchmarks.simulation import Simulation
from rtsysid.benchmarks.tasks import SIMULATIONS
from rtsysid.config import Config, embedded, parse_config
from rtsysid.model.backends.numpy_backend import NumpyBackend
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.home import data_folder
from rtsysid.spec import ModelSpec, unit_scaling

BY_NAME = {each.name: each for each in SIMULATIONS}


recordings_of = {
    "nanodrone-live": "nanodrone",
    "nanodrone-history-free": "nanodrone",
    "cascaded-tanks": "cascaded_tanks",
    "schunk-arm": "schunk_arm",
}


def config_of(name: str) -> Config:
    chosen = benchmark(name)
    return parse_config(embedded(chosen.config), chosen.config)


def need(name: str) -> Benchmark:
    """The benchmark, where its recordings are here."""
    folder = data_folder()
    wanted = recordings_of.get(name, name)
    if folder is None or not (folder / wanted).is_dir():
        pytest.skip(f"wants recordings {wanted} under RTSYSID_DATA")
    return benchmark(name)


def copying(feedthrough: bool) -> tuple[Simulation, Predictor]:
    """A benchmark, and the model whose next output is the input of the newest row."""
    base = BY_NAME["cascaded-tanks"]
    task = Simulation(**{**vars(base), "feedthrough": feedthrough})
    channels = (task.input, task.output)
    spec = ModelSpec(
        channels=channels, rate_hz=0.25, encoder=(), taps=2, hidden=1, linear_path=True,
        output="absolute", warmup=0,
    )  # fmt: skip
    spec = msgspec.structs.replace(spec, scaling=unit_scaling(spec))
    return task, Predictor(spec, NumpyBackend(spec, weights_of(spec, {(0, 2): 1.0})))


def weights_of(spec: ModelSpec, linear_path: dict[tuple[int, int], float]) -> dict[str, np.ndarray]:
    """An LSTM that says nothing, and these entries [target, feature] of the linear path."""
    gates, map_ = 4 * spec.hidden, np.zeros((spec.n_targets, spec.window_size), np.float32)
    for place, value in linear_path.items():
        map_[place] = value
    shapes = {
        "cell.weight_ih_l0": (gates, spec.code_size), "cell.weight_hh_l0": (gates, spec.hidden),
        "cell.bias_ih_l0": (gates,), "cell.bias_hh_l0": (gates,),
        "head.weight": (spec.n_targets, spec.hidden), "head.bias": (spec.n_targets,),
        "linear_path.bias": (spec.n_targets,),
    }  # fmt: skip
    return {"linear_path.weight": map_, **{name: np.zeros(shape, np.float32) for name, shape in shapes.items()}}
