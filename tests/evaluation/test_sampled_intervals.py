"""Test intervals of sampled futures: chosen where they are better than boxes, and what a forecast then returns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.robots import make_spec

from rtsysid.evaluation.calibrate import HeldOut, fit_intervals
from rtsysid.evaluation.probabilistic.evaluate import sampled_deviations
from rtsysid.evaluation.sampled_intervals import FUTURES, box_quality, sampled_quality
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


def test_the_interval_score_prefers_a_scale_that_is_known() -> None:
    """Where the scale of errors changes by a factor of four, futures of that scale score better; both cover 90 %."""
    rng = np.random.default_rng(0)
    scale = np.exp(rng.uniform(-0.7, 0.7, (6, 200, 1, 1)))
    truth, futures = scale * rng.standard_normal((6, 200, 3, 2)), np.empty((6, 200, FUTURES, 3, 2))
    futures[:] = scale[:, :, None] * rng.standard_normal(futures.shape)
    unit = np.ones((3, 2))
    sampled, boxes = sampled_quality(list(zip(futures, truth, strict=True)), unit), box_quality(list(truth), unit)
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
