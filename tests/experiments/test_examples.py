"""The examples of controllers, flown for a few ticks, and the simulation in a model's place."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from controllers import GradientMpc, Mppi
from figure_eight import OUTPUTS, cost, cost_by_output, effort, effort_by_input, reference
from fly import fly

from export.to_c_control import casadi_sources
from rtsysid.config import read_config
from rtsysid.errors import SpecError
from rtsysid.model.backends.numpy_backend import NumpyBackend
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.simulate import CHANNELS
from rtsysid.recordings.true_model import SimulatedFlight, TrueModel
from rtsysid.spec import ModelSpec, unit_scaling
from rtsysid.train.network import Network
from rtsysid.train.run import state_arrays


@pytest.fixture
def learned() -> Predictor:
    """The preset's model with random weights."""
    config = read_config("quadrotor")
    blank = ModelSpec(channels=config.data.channels, rate_hz=100.0, **{**config.model.fields, "warmup": 2})
    spec = msgspec.structs.replace(blank, scaling=unit_scaling(blank))
    torch.manual_seed(0)
    return Predictor(spec, NumpyBackend(spec, state_arrays(Network(spec).state_dict())))


def test_the_true_model_is_the_flight() -> None:
    """Without gusts and noise, a forecast of the simulation is what the flight measures; states can be restored."""
    flight = SimulatedFlight(3, gusts=0.0, noise=0.0)
    model, plan = TrueModel(flight), np.random.default_rng(0).uniform(0.4, 0.8, (5, 4))
    row = np.concatenate((plan[0], flight.measure())).astype(np.float32)
    model.step(row)
    kept, wanted = model.snapshot(), model.forecast(plan)
    for u in plan:
        flight.apply(u)
    assert np.array_equal(flight.measure(), wanted[-1])
    model.step(row)
    assert not np.array_equal(model.forecast(plan), wanted)
    model.restore(kept)
    assert np.array_equal(model.forecast(np.stack((plan, plan)))[1], wanted)
    assert [channel.name for channel in TrueModel(flight, OUTPUTS).channels[4:]] == list(OUTPUTS)
    assert model.channels == CHANNELS


def test_a_model_and_the_simulation_have_the_same_calls() -> None:
    """What a controller calls on a `Predictor` it can call on the simulation."""
    calls = {"ready", "y", "step", "decide", "warm_start", "forecast", "forecast_gradient", "snapshot", "restore"}
    assert all(hasattr(each, call) for call in calls for each in (Predictor, TrueModel))


@pytest.mark.parametrize("u", [[0.5] * 3, [0.5, 0.5, 0.5, float("nan")]])
def test_a_flight_takes_four_numbers(u: list[float]) -> None:
    """Other commands are refused, and the flight stays as it was."""
    flight = SimulatedFlight()
    before = flight.now
    with pytest.raises(SpecError, match=r"apply: .*give 4 numbers"):
        flight.apply(u)
    assert flight.now is before


def test_costs_and_their_derivatives_belong_together() -> None:
    """The derivatives that the examples write out are those of their costs."""
    rng, wanted = np.random.default_rng(0), reference(np.arange(6) / 100).astype(np.float64)
    y, u, last = wanted + rng.standard_normal(wanted.shape), rng.uniform(0, 1, (6, 4)), rng.uniform(0, 1, 4)
    for function, derivative, at in (
        (lambda x: cost(x, wanted), cost_by_output(y, wanted), y),
        (lambda x: effort(x, last), effort_by_input(u, last), u),
    ):
        moves = 1e-6 * np.eye(at.size).reshape(-1, *at.shape)
        slopes = (function(at + moves) - function(at - moves)) / 2e-6
        np.testing.assert_allclose(slopes.reshape(at.shape), derivative, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("which", ["true", "learned"])
@pytest.mark.parametrize("kind", [GradientMpc, Mppi])
def test_controllers_fly(kind: type, which: str, learned: Predictor) -> None:
    """Each closes the loop with a learned model and with the simulation, and a gradient step lowers the cost."""
    flight = SimulatedFlight(1)
    model = TrueModel(flight, OUTPUTS) if which == "true" else learned
    controller = GradientMpc(4, 2) if kind is GradientMpc else Mppi(4, 8)
    flown = fly(controller, model, flight, 0.04)
    assert flown.seconds == 0.04
    assert 0 < flown.error_cm < 1


@pytest.mark.skipif(not shutil.which("cc"), reason="wants a C compiler: apt-get install gcc")
def test_casadi_flies(learned: Predictor, tmp_path: Path) -> None:
    """The same problem in CasADi: IPOPT's plan costs less than the one it began with, and the loop closes."""
    pytest.importorskip("casadi", reason="wants casadi: pip install casadi")
    from casadi_mpc import CasadiMpc

    for name, text in casadi_sources(learned.spec, learned.backend.weights).items():  # type: ignore[attr-defined]
        (tmp_path / name).write_text(text)
    build = [
        "cc",
        "-std=c99",
        "-O1",
        "-shared",
        "-fPIC",
        "-DMODEL_HORIZON=5",
        "model-casadi.c",
        "-o",
        "model.so",
        "-lm",
    ]
    subprocess.run(build, cwd=tmp_path, check=True)
    pilot, flight = CasadiMpc(tmp_path / "model.so"), SimulatedFlight(1)
    assert pilot.horizon == 5
    assert fly(pilot, learned, flight, 0.02).seconds == 0.02
    wanted, last, before = reference(np.arange(5) / 100), np.full(4, 0.62, np.float32), pilot.plan
    wanted[:, 2] += 1.0
    pilot.decide(learned, wanted, last)
    found = [cost(learned.forecast(plan), wanted) + effort(plan, last) for plan in (before, pilot.plan)]
    assert found[1] < found[0]


def test_gradient_steps_lower_the_cost() -> None:
    """From one moment, more iterations find a better plan with the true model."""
    flight = SimulatedFlight(1)
    model, wanted, last = TrueModel(flight, OUTPUTS), reference(np.arange(15) / 100), np.full(4, 0.62, np.float32)
    wanted[:, 12] += 0.5  # half a metre up
    found = []
    for iterations in (0, 4):
        controller = GradientMpc(15, iterations)
        controller.decide(model, wanted, last)
        found.append(cost(model.forecast(controller.plan), wanted) + effort(controller.plan, last))
    assert found[1] < found[0]
