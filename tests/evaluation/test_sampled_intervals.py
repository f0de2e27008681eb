"""Test intervals of sampled futures: chosen where they are better than boxes, and what a forecast then returns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.robots import make_spec

from rtsysid.evaluation.calibrate import HeldOut, fit_intervals
from rtsysid.evaluation.probabilistic.evaluate import sampled_deviations
from rtsysid.evaluation.sampled_intervals import FUTURES, box_quality, sampled_quality
from rtsysid.model import futures
from rtsysid.model.backends.numpy_backend import NumpyBackend
from rtsysid.model.intervals import Intervals, central_intervals
from rtsysid.model.predictor import Predictor
from rtsysid.train.generative.sampling import FutureStart, drawn, sampled_rollout
from rtsysid.train.network import Network
from rtsysid.train.run import state_arrays

ROWS, HORIZON = 160, 6


def noisy_network() -> Network:
    """A network whose noise depends on the moment by a factor of some e."""
    torch.manual_seed(3)
    network = Network(make_spec(distribution="gaussian")).eval()
    network.spread.scale.weight.data.normal_(std=0.6)
    network.spread.hidden.weight.data.normal_(std=1.0)
    return network


@torch.no_grad()
def recordings_of(network: Network, count: int = 8) -> list[HeldOut]:
    """Sample recordings from the network itself: their noise is the one that it knows."""
    spec, plan = network.spec, torch.randn(count, ROWS, network.spec.n_inputs)
    window = torch.randn(count, spec.taps, spec.width)
    start = FutureStart(window, torch.zeros(count, spec.state_size))
    futures = sampled_rollout(network, start, plan, drawn(spec, count, ROWS, plan))
    rows = torch.cat((plan[:, 1:], futures[:, :-1]), -1).numpy()
    return [HeldOut(each, each) for each in rows]


def predictor_of(network: Network, intervals: Intervals | None = None) -> Predictor:
    return Predictor(network.spec, NumpyBackend(network.spec, state_arrays(network.state_dict())), intervals)


def test_futures_are_chosen_where_they_know_the_noise() -> None:
    """Where the model knows the noise, intervals are of futures; where its noise is five times too large, boxes."""
    network = noisy_network()
    held_out = recordings_of(network)
    assert fit_intervals(predictor_of(network), held_out, HORIZON).futures == FUTURES
    network.spread.stretch.fill_(5.0)
    assert fit_intervals(predictor_of(network), held_out, HORIZON).futures == 0


def test_a_held_out_recording_may_be_shorter_than_a_forecast() -> None:
    """A short recording next to long ones has no forecast, and does not end the calibration."""
    network = noisy_network()
    held_out, ticks = recordings_of(network), 60
    rows = network.spec.settling_samples + ticks - 10
    short = HeldOut(*(each[:rows] for each in held_out[0]))
    predictor = predictor_of(network)
    assert sampled_deviations(predictor, short.shown, ticks, 1, 3).truth.shape == (0, ticks, 3)
    assert fit_intervals(predictor, [short, *held_out], ticks).horizon == ticks


def test_futures_and_boxes_are_judged_under_the_same_plans() -> None:
    """Where the model sees noise, futures are sampled under the true inputs, as the forecasts of boxes are."""
    network = noisy_network()
    true = recordings_of(network, 1)[0].true
    shown = true.copy()
    shown[network.spec.settling_samples :, : network.spec.n_inputs] += 1  # after the only start
    seen, kept = (
        sampled_deviations(predictor_of(network), rows, HORIZON, len(true), 5, truth=true) for rows in (shown, true)
    )
    assert len(kept.truth) == 1
    np.testing.assert_array_equal(seen.truth, kept.truth)


def test_intervals_of_futures_change_neither_extrapolation_nor_shape() -> None:
    """Two plans far outside the trained range stay known as such, and each has the interval that it has alone."""
    network = noisy_network()
    held_out = recordings_of(network)
    predictor = predictor_of(network, fit_intervals(predictor_of(network), held_out, HORIZON))
    predictor.warm_start(held_out[0].shown[: predictor.settling_samples])
    plans = np.stack([np.full((HORIZON, network.spec.n_inputs), size, np.float32) for size in (0.0, 50.0)])
    assert predictor.intervals is not None
    assert predictor.intervals.sampled(0.9)
    predictor.forecast(plans)
    beyond = predictor.extrapolation.copy()
    found = predictor.forecast(plans, interval=0.9)
    assert beyond.max() > 1
    np.testing.assert_array_equal(predictor.extrapolation, beyond)
    np.testing.assert_array_equal(found.upper[1], predictor.forecast(plans[1], interval=0.9).upper)


def test_futures_are_the_same_in_batches_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches bound the memory, and change no future but for rounding."""
    network = noisy_network()
    predictor = predictor_of(network)
    predictor.warm_start(recordings_of(network, 1)[0].shown[: predictor.settling_samples])
    plan = np.zeros((HORIZON, network.spec.n_inputs), np.float32)
    whole = predictor.sample_futures(plan, 20, seed=5)
    monkeypatch.setattr(futures, "DRAWN", 3 * HORIZON * network.spec.n_draws)
    np.testing.assert_allclose(predictor.sample_futures(plan, 20, seed=5), whole, atol=1e-5)


def test_futures_that_diverged_leave_no_bound() -> None:
    """Where a third of the futures are no numbers there is no bound; one among a hundred changes little."""
    spec, rng = make_spec(distribution="gaussian"), np.random.default_rng(0)
    drawn_futures = rng.standard_normal((99, 4, spec.n_outputs)).astype(np.float32)
    y = np.zeros((4, spec.n_outputs), np.float32)
    drawn_futures[0, 3], drawn_futures[:33, 2] = np.nan, np.nan
    low, high = futures.bounds_around(y, drawn_futures, spec, 0.9)
    assert (np.abs(low[3] + 1.6) < 0.6).all()
    assert (np.abs(high[3] - 1.6) < 0.7).all()
    assert np.isinf(high[2]).all()


def test_the_interval_score_prefers_a_scale_that_is_known() -> None:
    """Where the scale of errors changes by a factor of four, futures of that scale score better; both cover 90 %."""
    rng = np.random.default_rng(0)
    scale = np.exp(rng.uniform(-0.7, 0.7, (6, 200, 1, 1)))
    truth, drawn = scale * rng.standard_normal((6, 200, 3, 2)), np.empty((6, 200, FUTURES, 3, 2))
    drawn[:] = scale[:, :, None] * rng.standard_normal(drawn.shape)
    unit = np.ones((3, 2))
    sampled, boxes = sampled_quality(list(zip(drawn, truth, strict=True)), unit), box_quality(list(truth), unit)
    assert sampled.score < 0.97 * boxes.score
    assert sampled.miscoverage < 0.02
    assert boxes.miscoverage < 0.02


@pytest.mark.parametrize("plans", [1, 3])
def test_a_forecast_returns_the_quantiles_of_its_futures(plans: int) -> None:
    """Where the calibration chose futures, `lower` and `upper` are their quantiles; above 98 % it is the box."""
    network = noisy_network()
    held_out = recordings_of(network)
    intervals = fit_intervals(predictor_of(network), held_out, HORIZON)
    predictor = predictor_of(network, intervals)
    for row in held_out[0].shown[:40]:
        predictor.step(row)
    u = held_out[0].shown[40 : 40 + HORIZON, : network.spec.n_inputs]
    plan = u if plans == 1 else np.stack([u] * plans)
    found = predictor.forecast(plan, interval=0.8)
    assert found.y.shape == found.lower.shape == (*plan.shape[:-1], 3)
    low, high = central_intervals(predictor.sample_futures(u, FUTURES), 0.8)
    np.testing.assert_allclose(found.lower, np.broadcast_to(low, found.y.shape), atol=1e-5)
    np.testing.assert_allclose(found.upper, np.broadcast_to(high, found.y.shape), atol=1e-5)
    wide = predictor.forecast(plan, interval=0.985)
    half = intervals.half_widths(0.985, HORIZON)
    np.testing.assert_allclose(wide.upper - wide.y, np.broadcast_to(half, found.y.shape), atol=1e-5)
    kept = Intervals.from_arrays(intervals.arrays())
    assert kept.futures == FUTURES
