"""Link 3 of the parity chain: torch, onnxruntime and NumPy agree with the state carried for 1,000 steps.

Exporting a graph costs seconds of processor time and NumPy costs none. So NumPy is compared for every combination of
variant, coordinates and option, for 300 steps. Onnxruntime, and NumPy with it, is compared for 1,000 steps on a
covering set, `EXPORTED`: every variant, every kind of coordinates, every cell and every option appears at least once.
A graph is exported once and serves all tests.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from support.robots import (
    flight,
    make_angle_spec,
    make_body_spec,
    make_braked_spec,
    make_driven_spec,
    make_moving_spec,
    make_spec,
    make_turret_spec,
    turns,
)

from export.bundle import write_graphs
from rtsysid.model.backends.numpy_backend import NumpyBackend
from rtsysid.model.backends.onnx_backend import OnnxBackend
from rtsysid.model.golden import TOLERANCE, relative_error, tolerances
from rtsysid.model.predictor import Backend, Predictor
from rtsysid.spec import VARIANTS, ModelSpec
from rtsysid.train.network import Network
from rtsysid.train.run import state_arrays
from rtsysid.train.windows import row_windows

TICKS, FEWER_TICKS = 1000, 300
Make = Callable[..., ModelSpec]


class Case(NamedTuple):
    """One network, by how its specification is made."""

    make: Make
    variant: str
    choice: dict[str, Any]

    def __str__(self) -> str:
        options = ", ".join(f"{key} {value}" for key, value in self.choice.items())
        return f"{self.make.__name__} {self.variant} {options}".strip()


PLAIN: list[dict[str, Any]] = [
    {},
    {"cell": "gru", "state_init": "network"},
    {"feedback": ("y0", "y2"), "linear_path": True},
    {"state_init": "network", "output": "absolute"},
    {"feedback": ("y0", "y2"), "degree": 3, "relative": ("y0",)},
    {"integrate": (("y1", "y2"),)},
    {"feedback": False, "state_init": "zero"},
]
PHYSICS: list[dict[str, Any]] = [{}, {"linear_path": True, "state_init": "network"}]
MADE: list[Make] = [
    make_braked_spec,
    make_body_spec,
    make_moving_spec,
    make_driven_spec,
    make_angle_spec,
    make_turret_spec,
]
EVERY = [
    *(Case(make_spec, variant, choice) for variant, choice in product(VARIANTS, PLAIN)),
    *(Case(make, variant, choice) for make, variant, choice in product(MADE, VARIANTS, PHYSICS)),
]
EXPORTED = [
    Case(make_spec, "lstm", {"feedback": False, "state_init": "zero", "linear_path": True, "output": "absolute"}),
    Case(
        make_spec,
        "lstm-tdl-aeu",
        {"cell": "gru", "feedback": ("y0", "y2"), "degree": 3, "relative": ("y0",), "integrate": (("y1", "y2"),)},
    ),
    Case(make_braked_spec, "lstm-tdl-deep-aeu", {"cell": "gru", "state_init": "network", "linear_path": True}),
    Case(make_turret_spec, "lstm-tdl", {}),
    Case(make_moving_spec, "lstm-tdl-deep-aeu", {"linear_path": True}),
    Case(make_angle_spec, "lstm-tdl", {}),
]


class Backends:
    """A network and its backends on exported graphs and on NumPy; each case is exported once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.exported = lru_cache(maxsize=None)(self._export)

    def of(self, case: Case) -> list[Backend]:
        return self.exported(EXPORTED.index(case))

    def _export(self, number: int) -> list[Backend]:
        network, folder = network_of(EXPORTED[number]), self._folder / str(number)
        folder.mkdir()
        write_graphs(network, folder)
        graphs = {path.name: path.read_bytes() for path in folder.iterdir()}
        return [OnnxBackend(network.spec, graphs), numpy_backend(network)]


@pytest.fixture(scope="module")
def backends(tmp_path_factory: pytest.TempPathFactory) -> Backends:
    return Backends(tmp_path_factory.mktemp("graphs"))


def network_of(case: Case) -> Network:
    torch.manual_seed(4)
    return Network(case.make(case.variant, **case.choice)).eval()


def numpy_backend(network: Network) -> NumpyBackend:
    return NumpyBackend(network.spec, state_arrays(network.state_dict()))


def rows_for(spec: ModelSpec, ticks: int) -> np.ndarray:
    """Samples [n, C] for `ticks` full windows."""
    count = spec.taps - 1 + ticks
    if spec.rigid_body is None:
        return (np.random.default_rng(4).standard_normal((count, spec.width)) * turns(spec)).astype(np.float32)
    return (flight(count, batch=1)[0, :, : spec.width] * turns(spec)).astype(np.float32)


def follow(network: Network, backend: Backend, rows: np.ndarray, expected: np.ndarray) -> None:
    """Compare a backend with torch over all rows [n, C]: predictions, code and reconstruction error."""
    spec = network.spec
    predictor = Predictor(spec, backend)
    predictor.reset()
    found = np.stack([predictor.step(row).copy() for row in rows])
    assert np.isnan(found[: spec.taps - 1]).all()
    assert relative_error(found[spec.taps - 1 :], expected, spec) <= TOLERANCE["step"]
    features = network.features(torch.from_numpy(rows[None, -spec.taps :]))
    code = network.encode(features)
    np.testing.assert_allclose(predictor.code, code[0].numpy(), atol=1e-5)
    error = float((network.decode(code) - features).square().mean())
    assert predictor.reconstruction_error == pytest.approx(error, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("case", EVERY, ids=str)
@torch.no_grad()
def test_numpy_follows_torch(case: Case) -> None:
    """Every variant with every option and every kind of coordinates: NumPy equals torch's sequence within the table."""
    network = network_of(case)
    rows = rows_for(network.spec, FEWER_TICKS)
    seen = row_windows(torch.from_numpy(rows[None]), network.spec.taps)
    expected, _ = network.sequence(seen, network.initial_state(seen[:, 0]))
    follow(network, numpy_backend(network), rows, expected[0].numpy())


@pytest.mark.parametrize("case", EXPORTED, ids=str)
@torch.no_grad()
def test_a_thousand_steps(case: Case, backends: Backends) -> None:
    """The step and initialiser graphs, and NumPy, follow torch's own step for 1,000 ticks within the table."""
    network = network_of(case)
    rows = rows_for(network.spec, TICKS)
    seen = row_windows(torch.from_numpy(rows[None]), network.spec.taps)
    state, expected = network.initial_state(seen[:, 0]), []
    for tick in range(TICKS):
        y, state = network.step(seen[:, tick], state)
        expected.append(y[0].numpy())
    for backend in backends.of(case):
        follow(network, backend, rows, np.stack(expected))


@pytest.mark.parametrize("case", EXPORTED, ids=str)
def test_a_forecast_is_steps_with_predictions_fed_back(case: Case, backends: Backends) -> None:
    """One call of the forecast graph, or of NumPy, equals stepping a copy with its own predictions, for three plans."""
    for backend in backends.of(case):
        compare_forecast_with_steps(backend, network_of(case).spec)


@pytest.mark.parametrize("case", [Case(make, v, {}) for make, v in product([make_spec, *MADE], VARIANTS)], ids=str)
def test_a_forecast_of_numpy_is_steps_with_predictions_fed_back(case: Case) -> None:
    """The same for NumPy with every variant and every kind of coordinates."""
    network = network_of(case)
    compare_forecast_with_steps(numpy_backend(network), network.spec)


def compare_forecast_with_steps(backend: Backend, spec: ModelSpec) -> None:
    predictor, rows = Predictor(spec, backend), rows_for(spec, 37)
    plans = np.random.default_rng(0).standard_normal((3, 17, 2)).astype(np.float32)
    predictor.reset()
    for row in rows:
        predictor.step(row)
    found = predictor.forecast(plans)
    assert np.allclose(found[1], predictor.forecast(plans[1]), atol=1e-5)
    for plan, forecast in zip(plans, found, strict=True):
        predictor.reset()
        for row in rows[:-1]:
            predictor.step(row)
        y, steps = rows[-1, 2:], []
        for u in plan:
            y = predictor.step(np.concatenate([u, y])).copy()
            steps.append(y)
        assert relative_error(forecast, np.stack(steps), spec) <= TOLERANCE["forecast"]


def test_the_exported_set_covers_everything() -> None:
    """Every variant, every kind of coordinates, every cell and every value of an option is exported at least once."""
    assert {case.variant for case in EXPORTED} == set(VARIANTS)
    assert {case.make for case in EXPORTED} == {make_spec, *MADE} - {
        make_body_spec,
        make_driven_spec,
    }  # a turret has all of them
    options = {(key, str(value)) for case in EXPORTED for key, value in case.choice.items()}
    assert {(key, str(value)) for case in EVERY for key, value in case.choice.items()} <= options


def test_a_forecast_may_be_off_by_what_a_step_may() -> None:
    """A forecast's bound is never tighter than that of the steps it is made of, and no bound is below its floor."""
    others = {"code": 0.0, "reconstruction": 0.0}
    floors = {name: TOLERANCE[name] for name in others}
    assert tolerances({"step": 1e-3, "forecast": 1e-6, **others}) == {"step": 8e-3, "forecast": 8e-3, **floors}
    assert tolerances({"step": 1e-9, "forecast": 1e-3, **others}) == {"step": 1e-5, "forecast": 8e-3, **floors}
