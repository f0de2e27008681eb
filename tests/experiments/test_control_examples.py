"""The examples of filters and of planning under uncertainty: a Kalman filter over a model, a chance constraint."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch
from avoid_box import LOW, Avoiding, Logged, around, inside, planners, share_that_enters
from kalman import KalmanFilter, errors, filtered
from task import FIGURE_EIGHT, OUTPUTS, reference

from rtsysid.model.backends.numpy_backend import NumpyBackend
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.true_model import SimulatedFlight, TrueModel
from rtsysid.spec import Channel, ModelSpec, unit_scaling
from rtsysid.train.network import Network
from rtsysid.train.run import state_arrays

A, B, Q, R = 0.9, 0.5, 0.1, 0.4  # of y' = A y + B u, and the standard deviations of process and measurement


@pytest.fixture
def integrating() -> Predictor:
    """A model that is exactly y' = A y + B u: its head gives nothing, its linear path this map of the newest row."""
    channels = (Channel("u", "", "input"), Channel("y", ""))
    blank = ModelSpec(channels=channels, rate_hz=100.0, taps=2, encoder=(3,), hidden=2, linear_path=True)
    spec = msgspec.structs.replace(blank, scaling=unit_scaling(blank))
    torch.manual_seed(0)
    weights = {name: np.array(each) for name, each in state_arrays(Network(spec).state_dict()).items()}
    for name, each in weights.items():
        if name.startswith(("head", "linear_path")):
            each[...] = 0.0
    weights["linear_path.weight"][0, -2:] = (B, A - 1)
    return Predictor(spec, NumpyBackend(spec, weights))


def test_the_filter_is_the_textbooks(integrating: Predictor) -> None:
    """Over a linear model the extended filter gives the estimates of a scalar Kalman filter, written out here."""
    rng = np.random.default_rng(0)
    kalman, estimate, variance = KalmanFilter(integrating, np.array([R]), np.array([Q])), 1.0, R**2
    kalman.begin(np.array([0.0, 1.0], np.float32))
    for u, y in rng.standard_normal((20, 2)):
        found = kalman.update(np.array([u]), np.array([y]))
        estimate, variance = A * estimate + B * u, A**2 * variance + Q**2
        gain = variance / (variance + R**2)
        estimate, variance = estimate + gain * (y - estimate), (1 - gain) * variance
        np.testing.assert_allclose(found, estimate, atol=1e-5)
    np.testing.assert_allclose(kalman.covariance[kalman.newest, kalman.newest], variance, rtol=1e-5)


def test_a_filter_is_nearer_to_the_truth(integrating: Predictor) -> None:
    """Noise that is measured is filtered out, and the printed errors are those of its group."""
    rng, truth = np.random.default_rng(1), np.zeros((300, 1))
    inputs = rng.standard_normal((300, 1))
    for k in range(299):
        truth[k + 1] = A * truth[k] + B * inputs[k]
    measured = truth + R * rng.standard_normal(truth.shape)
    estimated = filtered(KalmanFilter(integrating, np.array([R]), np.array([1e-3])), inputs, measured)
    ((name, before, after),) = errors(["y"], truth, measured, estimated)
    assert name == "y"
    assert float(after) < 0.2 * float(before)


def test_futures_of_the_simulation_scatter_around_its_forecast() -> None:
    """Gusts to come spread sampled futures; their mean is the forecast, and a seed repeats them."""
    flight = SimulatedFlight(3, gusts=5.0)
    model, plan = TrueModel(flight, OUTPUTS, 200.0), np.full((30, 4), 0.63, np.float32)
    futures, point = model.sample_futures(plan, 60, 1)[:, -1, :3], model.forecast(plan)[-1, :3]
    spread = futures.std(0)
    assert (spread > 0).all()
    assert (np.abs(futures.mean(0) - point) < 4 * spread / np.sqrt(60)).all()
    assert np.array_equal(model.sample_futures(plan, 60, 1)[:, -1, :3], futures)
    calm = TrueModel(SimulatedFlight(3, gusts=0.0), OUTPUTS, 200.0)
    assert not calm.sample_futures(plan, 3)[:, -1, :3].std(0).any()


class Straight:
    """A model whose positions are the integral of the first three inputs, in m per tick."""

    def forecast(self, plans: np.ndarray, threads: int = 1) -> np.ndarray:
        y = np.zeros((*plans.shape[:-1], len(OUTPUTS)))
        y[..., 10:] = (0.0, 0.0, 1.0)
        y[..., 10] += np.cumsum(plans[..., 0], -1)
        return y


def test_a_plan_costs_more_where_more_than_a_share_of_its_futures_enters() -> None:
    """A forecast short of the box is free for who believes it, and dear where one future in two lies in the box."""
    plans = np.full((1, 4, 4), 0.15)  # ends at x = 0.6, 20 cm before the box
    wanted, last = reference(FIGURE_EIGHT, np.arange(4) / 100), np.zeros(4)
    ahead = np.array([[[0.25, 0.0, 0.0]] * 4, [[0.0, 0.0, 0.0]] * 4])
    rarely = np.repeat(ahead, (1, 99), 0)
    believing, often = Avoiding(np.empty((0, 4, 3)), 4, 8, 2), Avoiding(ahead, 4, 8, 2)
    free = believing.costs(Straight(), plans, wanted, last)
    assert often.costs(Straight(), plans, wanted, last) > free + 50
    seldom = Avoiding(rarely, 4, 8, 2)
    assert min(seldom.costs(Straight(), plans, wanted, last)[0] for _ in range(5)) == free[0]
    assert believing.costs(Straight(), 1.6 * plans, wanted, last) > free + 300


def test_a_share_of_futures_enters() -> None:
    """It is the share of the deviations with which a plan comes into the box at any tick, for each plan."""
    rng = np.random.default_rng(0)
    positions, deviations = rng.uniform(0, 2, (7, 5, 3)), rng.normal(0, 0.5, (40, 5, 3))
    wanted = inside(positions[:, None] + deviations).any(-1).mean(-1)
    assert 0 < wanted.min() < wanted.max() < 1
    np.testing.assert_allclose(share_that_enters(positions, deviations), wanted)


def test_a_track_through_the_box_is_counted() -> None:
    """The share of ticks in the box, the depth, and the distance from the path outside of it."""
    track = FIGURE_EIGHT.path((1 + np.arange(600)) / 100)
    found = around(track)
    assert found.in_box == inside(track).mean() > 0
    assert found.deepest_cm == pytest.approx(100 * (track[inside(track), 0].max() - LOW[0]))
    assert found.error_cm == 0.0
    assert around(np.tile((0.0, 0.0, 1.5), (10, 1))).in_box == 0.0


def test_a_logged_model_writes_down_what_was_decided(integrating: Predictor) -> None:
    """Rows hold the inputs that were decided, not those that the step was given, and calls pass through."""
    logged = Logged(integrating)
    logged.warm_start(np.zeros(2, np.float32))
    logged.step(np.array([9.0, 1.0], np.float32))
    logged.decide(np.array([2.0], np.float32))
    assert np.array_equal(logged.rows, [[2.0, 1.0]])


def test_planners_measure_errors_of_a_model_without_futures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without sampled futures the learned model has two planners: the forecast, and measured errors."""
    monkeypatch.setattr("avoid_box.samples_futures", lambda predictor: False)
    monkeypatch.setattr("avoid_box.forecast_errors", lambda predictor: np.ones((2, 30, 3)))
    found = [(model, planner) for model, planner, _ in planners(object(), True)]  # type: ignore[arg-type]
    assert found[:2] == [("true", "forecast"), ("true", "sampled futures")]
    assert found[2:] == [("learned", "forecast"), ("learned", "measured errors")]
