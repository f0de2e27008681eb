"""The examples of controllers, flown for a few ticks, and the simulation in a model's place."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree as ET

import msgspec
import numpy as np
import pytest
import torch
from compare import ROWS, flights
from controllers import GradientMpc, Mppi
from fly import fly
from plain_models import PlainModel
from task import FIGURE_EIGHT, OUTPUTS, POSITION_STEP, cost, cost_by_output, effort, effort_by_input, reference

from export.to_c_control import casadi_sources
from rtsysid.config import read_config
from rtsysid.errors import SpecError
from rtsysid.evaluation.baselines import LinearArx
from rtsysid.experiments.closed_loop import (
    Loop,
    loop_cells,
    loop_legend,
    loop_plot,
    loop_rows,
    loop_svg,
    save_loop_page,
)
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


def test_a_coarser_simulation_is_nearly_the_flight() -> None:
    """With physics at a fifth of the rate, positions after 0.3 s differ by less than a millimetre."""
    flight, plans = SimulatedFlight(3), np.full((30, 4), 0.65)
    fine, coarse = (TrueModel(flight, OUTPUTS, hz).forecast(plans) for hz in (1000.0, 200.0))
    assert 0 < np.abs(fine - coarse)[:, 10:].max() < 1e-3
    with pytest.raises(SpecError, match=r"physics_hz: 250\.0; give a multiple of 100 Hz"):
        TrueModel(flight, OUTPUTS, 250.0)


def test_a_model_and_the_simulation_have_the_same_calls() -> None:
    """What a controller calls on a `Predictor` it can call on the simulation."""
    calls = {
        "ready",
        "y",
        "step",
        "decide",
        "warm_start",
        "forecast",
        "forecast_gradient",
        "forecast_vjp",
        "snapshot",
        "restore",
    }
    assert all(hasattr(each, call) for call in calls for each in (Predictor, TrueModel))


@pytest.mark.parametrize("u", [[0.5] * 3, [0.5, 0.5, 0.5, float("nan")]])
def test_a_flight_takes_four_numbers(u: list[float]) -> None:
    """Other commands are refused, and the flight stays as it was."""
    flight = SimulatedFlight()
    before = flight.now
    with pytest.raises(SpecError, match=r"apply: .*give 4 numbers"):
        flight.apply(u)
    assert flight.now is before


@pytest.mark.parametrize("rate", [0.0, -100.0, float("nan"), 300.0])
def test_a_simulation_has_a_rate(rate: float) -> None:
    """A rate that does not divide the physics' is refused, 0 and NaN included; so are finer steps that do not fit."""
    with pytest.raises(SpecError, match=r"rate: .*; give a divisor of 1000"):
        SimulatedFlight(rate_hz=rate)
    with pytest.raises(SpecError, match=r"physics_hz: .*; give a multiple of 100 Hz"):
        TrueModel(SimulatedFlight(), physics_hz=rate if rate != 300 else 250.0)


@pytest.mark.parametrize("plan", [np.zeros((5, 3)), np.zeros(4), np.zeros((0, 4)), np.full((5, 4), np.nan)])
def test_the_simulation_refuses_the_plans_that_a_model_refuses(plan: np.ndarray) -> None:
    """A wrong shape and NaN are one line for every kind of forecast."""
    model = TrueModel(SimulatedFlight(), OUTPUTS)
    for call in (model.forecast, model.sample_futures, lambda plan: model.forecast_gradient(plan, np.zeros((5, 13)))):
        with pytest.raises(SpecError, match=r"u_future: shape .*; give numbers"):
            call(plan)


def test_the_way_back_through_the_simulation_is_its_gradient() -> None:
    """`forecast_vjp` has the forecast and the gradient of the moment at which it was called."""
    flight, rng = SimulatedFlight(3), np.random.default_rng(0)
    model, plan, dy = TrueModel(flight, OUTPUTS, 200.0), rng.uniform(0.4, 0.8, (5, 4)), rng.standard_normal((5, 13))
    wanted, (y, back) = model.forecast_gradient(plan, dy), model.forecast_vjp(plan)
    assert np.array_equal(y, model.forecast(plan))
    flight.apply(plan[0])
    model.step(np.zeros(17, np.float32))
    assert not np.array_equal(model.forecast_gradient(plan, dy), wanted)
    assert np.array_equal(back(dy), wanted)


def test_costs_and_their_derivatives_belong_together() -> None:
    """The derivatives that the examples write out are those of their costs."""
    rng, wanted = np.random.default_rng(0), reference(FIGURE_EIGHT, np.arange(6) / 100).astype(np.float64)
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
    controller = GradientMpc(4, 2) if kind is GradientMpc else Mppi(4, 8, 2)
    flown = fly(controller, model, flight, FIGURE_EIGHT, 0.04)
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
    assert fly(pilot, learned, flight, FIGURE_EIGHT, 0.02).seconds == 0.02
    wanted, last, before = reference(FIGURE_EIGHT, np.arange(5) / 100), np.full(4, 0.62, np.float32), pilot.plan
    wanted[:, 2] += 1.0
    pilot.decide(learned, wanted, last)
    found = [cost(learned.forecast(plan), wanted) + effort(plan, last) for plan in (before, pilot.plan)]
    assert found[1] < found[0]


def test_a_baseline_has_the_calls_of_a_model() -> None:
    """A baseline remembers its lags, knows what was decided, and forecasts many plans: the recurrence by hand."""
    rng = np.random.default_rng(0)
    arx = LinearArx.of_rows(2, 1, rng.uniform(-0.2, 0.2, (7, 2)))
    model, rows, plans = PlainModel(arx), rng.standard_normal((4, 3)).astype("f4"), rng.standard_normal((5, 6, 1))
    model.warm_start(rows[0])
    for row in rows:
        model.step(row)
    model.decide([7.0])
    assert model.rows[-1, 0] == 7.0
    wanted = arx.forecast(np.repeat(np.array([rows[2], [7.0, *rows[3, 1:]]])[None], 5, 0), plans)
    np.testing.assert_allclose(model.forecast(plans), wanted)


def test_mppi_leaves_out_what_is_not_finite() -> None:
    """A plan whose forecast is not finite costs more than any other, and the decision is a number."""

    class Wild:
        def forecast(self, plans: np.ndarray, threads: int = 1) -> np.ndarray:
            y = np.zeros((len(plans), plans.shape[1], len(OUTPUTS)), np.float32)
            y[3], y[5] = np.nan, np.inf
            return y

    pilot, last = Mppi(4, 8, 2), np.full(4, 0.62, np.float32)
    wanted = reference(POSITION_STEP, np.arange(4) / 100)
    costs = pilot.costs(Wild(), pilot.plan + pilot.noise(), wanted, last)
    assert costs[3] == costs[5] > np.delete(costs, [3, 5]).max()
    assert np.isfinite(pilot.decide(Wild(), wanted, last)).all()


def test_the_loops_make_tables_and_a_page(learned: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row flies every task for two ticks; tables, page and picture show them."""
    still = LinearArx.of_rows(1, 4, np.zeros((18, 13)))
    monkeypatch.setattr("fly.LinearArx", SimpleNamespace(of=lambda bundle: still))
    learned.bundle = SimpleNamespace(folder=tmp_path)  # type: ignore[assignment]
    loops = list(flights(learned, 2, 0.02, 3))
    assert [(each.model, each.controller) for each in loops[::2]] == [
        *(each for each in ROWS if "casadi" not in each)
    ] * 2
    rows = loop_rows(loops, "eight")
    assert [row.flights for row in rows] == [2] * 5
    assert rows[0].error_cm == np.mean([each.error_cm for each in loops[:2]])
    assert loop_cells(rows)[0][4] == "1.00"
    text = save_loop_page(tmp_path / "loops.html", loops).read_text("utf-8")
    assert text.count("<table>") == 2
    assert "linear ARX, mppi: 0." in text
    picture = ET.fromstring(loop_svg(loops, "eight"))
    assert len(picture.findall(".//{http://www.w3.org/2000/svg}path[@class='line s1']")) == 2


def test_a_lost_flight_is_counted() -> None:
    """A robot that left the path has no ratio to the bound, and its track ends where it leaves the picture."""
    track = np.tile((0.0, 0.0, 1.5), (60, 1))
    away = track + np.linspace(0, 4, 60)[:, None] * (1.0, 0.0, 0.0)
    loops = [
        Loop("eight", "true", "mppi", 0, 1.0, 9.0, 0.9, 0.6, True, track),
        Loop("eight", "hold", "mppi", 0, 99.0, 1.0, 1.0, 0.3, False, away),
    ]
    cells = loop_cells(loop_rows(loops, "eight"))[1]
    assert (cells[4], cells[-1]) == ("-", "1 of 1")
    assert ("hold, mppi: lost after 0.3 s", "s3") in loop_legend(loops, "eight")
    assert len(loop_plot(loops, "eight").lines[-1].x) < 60


def test_gradient_steps_lower_the_cost() -> None:
    """From one moment, more iterations find a better plan with the true model."""
    flight = SimulatedFlight(1)
    model, wanted, last = (
        TrueModel(flight, OUTPUTS),
        reference(FIGURE_EIGHT, np.arange(15) / 100),
        np.full(4, 0.62, np.float32),
    )
    wanted[:, 12] += 0.5  # half a metre up
    found = []
    for iterations in (0, 4):
        controller = GradientMpc(15, iterations)
        controller.decide(model, wanted, last)
        found.append(cost(model.forecast(controller.plan), wanted) + effort(controller.plan, last))
    assert found[1] < found[0]
