"""Test that a network starts at the error of its linear model, in every kind of coordinates."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch
from support.linear_robots import aged_model
from support.robots import flight, make_angle_spec, make_body_spec, make_braked_spec, make_moving_spec, make_spec

from rtsysid.evaluation.linear.maps import LinearModel, Runs, linear_run, spec_of
from rtsysid.spec import ModelSpec
from rtsysid.train.auto.plan import _loss_unit
from rtsysid.train.auto.start import linear_arrays
from rtsysid.train.freerun import free_run
from rtsysid.train.linear_path import set_linear_path
from rtsysid.train.network import Network
from rtsysid.train.windows import row_windows

AGED = {"linear_path": True, "near_ticks": 3, "age_bands": (2, 5), "encoder_taps": 1}
TICKS = 8
SPECS = {
    "plain": make_spec(**AGED),
    "relative": make_spec(relative=("y1",), **AGED),
    "powers": make_spec(degree=2, **AGED),
    "friction": make_braked_spec(**AGED),
    "angles": make_angle_spec(**AGED),
    "body": make_body_spec(**AGED),
    "kinematics": make_moving_spec(**AGED),
    "one map": make_spec(**{**AGED, "near_ticks": 0}),
}


def rows_for(spec: ModelSpec, count: int = 4) -> np.ndarray:
    """Random rows [count, R, C]: windows, planned inputs and the outputs after them."""
    rows = spec.taps + TICKS
    if spec.rigid_body is not None:
        return flight(rows, count).astype(np.float32)
    return np.random.default_rng(4).standard_normal((count, rows, spec.width)).astype(np.float32)


def fitted(spec: ModelSpec) -> tuple[ModelSpec, LinearModel]:
    """A random model of fewer lags than taps, in another scaling of the targets than the network's."""
    scaling = msgspec.structs.replace(spec.scaling, target_std=tuple(0.5 * std for std in spec.scaling.target_std))
    other = msgspec.structs.replace(spec, scaling=scaling)
    return other, aged_model(other)


@pytest.mark.parametrize("name", SPECS)
@torch.no_grad()
def test_the_first_network_forecasts_what_its_linear_model_does(name: str) -> None:
    """With a head of zero, maps, near ticks, gains and unseen rows of the window are those of the linear model."""
    spec = SPECS[name]
    other, model = fitted(spec)
    torch.manual_seed(0)
    network = Network(spec).eval()
    set_linear_path(network, linear_arrays(spec, model, other))
    rows = rows_for(spec)
    windows = row_windows(torch.from_numpy(rows[:, :-1]), spec.taps)
    network_forecasts = free_run(network, windows, network.initial_state(windows[:, 0])).numpy()
    nu, first = spec.n_inputs, spec.taps
    runs = Runs(rows[:, :first], rows[:, first - 1 : -1, :nu], rows[:, first:, nu:])
    expected = linear_run(other, model, runs)
    moved = np.abs(expected - runs.hold).max()
    assert spec.taps > model.lags
    assert moved > 0.01
    assert np.allclose(network_forecasts, expected, atol=1e-4 * max(moved, 1.0))


def test_an_output_that_is_predicted_exactly_does_not_outweigh_the_others() -> None:
    """The unit of a loss is 1e-5 of the error of hold or more: an output may echo an input."""
    spec = make_spec()
    rows = np.random.default_rng(0).standard_normal((5, 9 + TICKS, spec.width)).astype(np.float32)
    truth = rows[:, 9:, spec.n_inputs :]
    runs = Runs(rows[:, :9], rows[:, 8:-1, : spec.n_inputs], truth)
    predicted = truth + np.array([0.0, *[0.1] * (spec.n_outputs - 1)])
    unit = _loss_unit(spec, predicted, runs)
    held = np.abs(runs.hold - truth).mean(0)
    np.testing.assert_allclose(unit[:, 0], 1e-5 * held[:, 0], rtol=1e-6)
    np.testing.assert_allclose(unit[:, 1:], 0.1, rtol=1e-4)


def test_rows_that_no_map_sees_have_weight_0() -> None:
    """Of a window of 4 rows a map of 3 lags reads the newest three."""
    spec = SPECS["plain"]
    other, model = fitted(spec)
    weight = linear_arrays(spec, model, other)["weight"]
    assert weight.shape == (spec.n_targets, spec.window_size)
    assert not weight[:, : spec.n_features].any()
    assert np.count_nonzero(weight) == spec_of(spec, 3).window_size * spec.n_targets
