"""Link 3 of the parity chain: torch, onnxruntime and NumPy agree with the state carried from step to step.

Every combination of variant, coordinates and option is compared for 300 steps, and `LONG`, one case of every kind, for
1,000 steps.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from support.robots import (
    AGED,
    ages_for,
    flight,
    make_angle_spec,
    make_attitude_spec,
    make_body_spec,
    make_braked_spec,
    make_driven_spec,
    make_moving_spec,
    make_spec,
    make_turret_spec,
    set_gains,
    turns,
)

from export.to_onnx import all_graphs
from rtsysid.model.backends.numpy_backend import NumpyBackend
from rtsysid.model.backends.onnx_backend import OnnxBackend
from rtsysid.model.backends.protocol import Backend
from rtsysid.model.golden import TOLERANCE, relative_error, tolerances
from rtsysid.model.predictor import Predictor
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
    {"feedback": ("y0", "y2"), "linear_path": True, "head_sees_code": True},
    {"state_init": "network", "output": "absolute"},
    {"feedback": ("y0", "y2"), "degree": 3, "relative": ("y0",)},
    {"integrate": (("y1", "y2"),)},
    {"feedback": False, "state_init": "zero"},
    AGED,
]
PHYSICS: list[dict[str, Any]] = [{}, {"linear_path": True, "state_init": "network"}]
MADE: list[Make] = [
    make_braked_spec,
    make_body_spec,
    make_moving_spec,
    make_driven_spec,
    make_angle_spec,
    make_turret_spec,
    make_attitude_spec,
]
EVERY = [
    *(Case(make_spec, variant, choice) for variant, choice in product(VARIANTS, PLAIN)),
    *(Case(make, variant, choice) for make, variant, choice in product(MADE, VARIANTS, PHYSICS)),
    Case(make_driven_spec, "lstm-tdl", {**AGED, "cell": "gru", "head_sees_code": True}),
    Case(make_braked_spec, "lstm-tdl-aeu", {"age_bands": (2,)}),
]
LONG = [
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
    Case(make_attitude_spec, "lstm-tdl-deep-aeu", {**AGED, "head_sees_code": True}),
    Case(make_spec, "lstm-tdl", {"age_bands": (2,)}),
]


def network_of(case: Case) -> Network:
    torch.manual_seed(4)
    return set_gains(Network(case.make(case.variant, **case.choice)).eval())


def backends(network: Network) -> list[Backend]:
    weights = state_arrays(network.state_dict())
    graphs = {name: graph.SerializeToString() for name, graph in all_graphs(network.spec, weights).items()}
    return [OnnxBackend(network.spec, graphs), NumpyBackend(network.spec, weights)]


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
    pairs = zip(rows, ages_for(spec, len(rows)), strict=True)
    found = np.stack([predictor.step(row, age).copy() for row, age in pairs])
    assert np.isnan(found[: spec.taps - 1]).all()
    assert relative_error(found[spec.taps - 1 :], expected, spec) <= TOLERANCE["step"]
    features = network.features(torch.from_numpy(rows[None, -spec.taps :]))[:, spec.encoder_columns]
    code = network.encode(features)
    np.testing.assert_allclose(predictor.code, code[0].numpy(), atol=1e-5)
    error = float((network.decode(code) - features).square().mean())
    assert predictor.reconstruction_error == pytest.approx(error, rel=1e-4, abs=1e-9)


LENGTHS = [*((case, FEWER_TICKS) for case in EVERY), *((case, TICKS) for case in LONG)]


@pytest.mark.parametrize(("case", "ticks"), LENGTHS, ids=str)
@torch.no_grad()
def test_backends_follow_torch(case: Case, ticks: int) -> None:
    """Every variant with every option and every kind of coordinates: both equal torch within the table.

    Torch computes the sequence at once, or step by step where the age of the rows counts.
    """
    network = network_of(case)
    rows = rows_for(network.spec, ticks)
    seen = row_windows(torch.from_numpy(rows[None]), network.spec.taps)
    expected, _ = network.sequence(seen, network.initial_state(seen[:, 0]))
    if network.spec.age_changes:
        expected = stepped(network, seen, ages_for(network.spec, len(rows)))
    for backend in backends(network):
        follow(network, backend, rows, expected[0].numpy())


def stepped(network: Network, seen: torch.Tensor, ages: list[int]) -> torch.Tensor:
    """Step through windows [1, T, L, C] whose rows have these ages: [1, T, ny]."""
    state, found = network.initial_state(seen[:, 0]), []
    for tick, age in enumerate(ages[network.spec.taps - 1 :]):
        y, state = network.step(seen[:, tick], state, age)
        found.append(y)
    return torch.stack(found, 1)


@pytest.mark.parametrize("case", EVERY, ids=str)
def test_a_forecast_is_steps_with_predictions_fed_back(case: Case) -> None:
    """One call of the forecast graph, or of NumPy, equals stepping a copy with its own predictions, for three plans.

    The forecast begins at a row of age 1, and each predicted row is a tick older than the one before.
    """
    network = network_of(case)
    for backend in backends(network):
        compare_forecast_with_steps(backend, network.spec)


def compare_forecast_with_steps(backend: Backend, spec: ModelSpec) -> None:
    predictor, rows = Predictor(spec, backend), rows_for(spec, 37)
    plans = np.random.default_rng(0).standard_normal((3, 17, 2)).astype(np.float32)
    predictor.reset()
    for row in rows:
        predictor.step(row, 1)
    found = predictor.forecast(plans)
    assert np.allclose(found[1], predictor.forecast(plans[1]), atol=1e-5)
    for plan, forecast in zip(plans, found, strict=True):
        predictor.reset()
        for row in rows[:-1]:
            predictor.step(row)
        y, steps = rows[-1, 2:], []
        for n, u in enumerate(plan):
            y = predictor.step(np.concatenate([u, y]), 1 + n).copy()
            steps.append(y)
        assert relative_error(forecast, np.stack(steps), spec) <= TOLERANCE["forecast"]


@pytest.mark.parametrize("case", [Case(make_turret_spec, "lstm-tdl", {}), LONG[1], LONG[-2]], ids=str)
def test_graphs_take_any_batch(case: Case) -> None:
    """A batch gives what its members give one by one, whatever their ages: the graphs have no fixed size."""
    network = network_of(case)
    rows = rows_for(network.spec, 40)
    windows = np.stack([rows[k : k + network.spec.taps] for k in range(7)])
    states, plans = np.zeros((7, network.spec.state_size), np.float32), rows[:7, None, :2].repeat(5, 1)
    starts = (windows, states, np.arange(7), plans)
    for backend in backends(network):
        one_by_one = [backend.rollout(*(each[k : k + 1] for each in starts))[0] for k in range(7)]
        np.testing.assert_allclose(backend.rollout(*starts), one_by_one, atol=1e-5)


def test_the_long_set_covers_everything() -> None:
    """Every variant, every kind of coordinates, every cell and every value of an option has 1,000 steps."""
    assert {case.variant for case in LONG} == set(VARIANTS)
    bodies = {make_body_spec, make_driven_spec}  # a turret has all of them
    assert {case.make for case in LONG} == {make_spec, *MADE} - bodies
    options = {(key, str(value)) for case in LONG for key, value in case.choice.items()}
    assert {(key, str(value)) for case in EVERY for key, value in case.choice.items()} <= options


def test_a_forecast_may_be_off_by_what_a_step_may() -> None:
    """A forecast's bound is never tighter than that of the steps it is made of, and no bound is below its floor."""
    others = {"code": 0.0, "reconstruction": 0.0}
    floors = {name: TOLERANCE[name] for name in others}
    assert tolerances({"step": 1e-3, "forecast": 1e-6, **others}) == {"step": 8e-3, "forecast": 8e-3, **floors}
    assert tolerances({"step": 1e-9, "forecast": 1e-3, **others}) == {"step": 1e-5, "forecast": 8e-3, **floors}
