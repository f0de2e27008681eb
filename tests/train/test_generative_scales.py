"""Test the scale of the noise: where it begins, its limit, its calibration, and members that died."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from support.generative import config_of, network_of
from torch import Tensor

from rtsysid.model.backends.noise import LEAST, MOST
from rtsysid.model.coordinates.deviations import stretch_factors
from rtsysid.recordings.trace import Trace
from rtsysid.train.fit import begin
from rtsysid.train.generative import calibration
from rtsysid.train.generative.calibration import dead_members
from rtsysid.train.generative.modules import FIRST_SCALE
from rtsysid.train.generative.sampling import FutureStart, drawn, sampled_rollout
from rtsysid.train.generative.scales import (
    _measured_ticks,
    _moved_by_latent,
    begin_scales,
    idle_latent,
    limit_scales,
    shorten_offset_steps,
)
from rtsysid.train.network import Network
from rtsysid.train.run import Run
from rtsysid.train.windows import Sequences


@pytest.fixture(autouse=True)
def short_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calibrate on few sequences: most tests look at what a calibration moves, not at how far."""
    monkeypatch.setattr(calibration, "SEQUENCES", 8)
    monkeypatch.setattr(calibration, "BATCH", 8)


def test_a_component_that_died_is_named() -> None:
    """A mixture whose second component has next to no share says so in one line; a sound one says nothing."""
    network = network_of("mixture")
    network.members.share.data.zero_()
    assert dead_members(network) == ""
    network.members.share.data[1] = -9
    assert dead_members(network).startswith("member 2 (0.0 %) has died; train again")


def forecasts_of(network: Network, count: int, ticks: int) -> Tensor:
    """Rows [count, R, C] whose last ticks are futures of the network itself."""
    spec, rows = network.spec, torch.randn(count, network.spec.settling_samples + ticks, network.spec.width)
    ground = calibration.ground_after_warmup(network, rows, torch.ones(ticks, spec.n_outputs))
    start = FutureStart(ground.windows[:, 0], ground.state)
    futures = sampled_rollout(network, start, ground.plan(network), drawn(spec, count, ticks, rows))
    rows[:, -ticks:, spec.n_inputs :] = futures
    return rows


@torch.no_grad()
def test_the_calibration_finds_a_factor_that_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise that was made four times too small gets factors of four; with them the intervals of 90 % hold 90 %."""
    monkeypatch.setattr(calibration, "SEQUENCES", 400)
    network, ticks = network_of("gaussian"), 8
    rows, unit = forecasts_of(network, 400, ticks), torch.ones(ticks, 3)
    network.spread.age -= math.log(4)
    calibration.calibrate_stretch(network, Sequences(list(rows.numpy())), unit)
    np.testing.assert_allclose(network.spread.stretch[0], 4, rtol=0.15)
    again = calibration.wanted_factors(network, calibration.ground_after_warmup(network, rows, unit))
    factors = torch.from_numpy(stretch_factors(network.spread.stretch.numpy(), ticks))
    assert (again <= factors).double().mean().item() == pytest.approx(0.9, abs=0.03)
    assert (again <= 1).double().mean().item() < 0.6


def test_factors_between_the_knots_are_those_that_are_wanted() -> None:
    """Forecasts end at 50 ticks, between two knots: the factor there is right, also where it grows with the root."""
    for wanted in (np.sqrt(np.arange(1, 51)) / 3, np.full(50, 0.7), np.full(3, 2.0)):
        table = calibration._knots(wanted)
        found = stretch_factors(table[:, None], len(wanted))[:, 0]
        np.testing.assert_allclose(found, wanted, rtol=0.03)
    np.testing.assert_allclose(table, 2.0, rtol=1e-6)  # knots beyond the forecasts follow their neighbours


@torch.no_grad()
def test_latent_values_that_move_nothing_are_named() -> None:
    """Values that no target feels have collapsed: one line says so, and nothing is said of a sound model."""
    network = network_of("vrnn")
    rows = Sequences(list(torch.randn(60, network.spec.settling_samples + 8, network.spec.width).numpy()))
    assert idle_latent(network, rows) == ""
    network.latent.into.weight.zero_()
    assert "have collapsed" in idle_latent(network, rows)
    assert idle_latent(network_of("gaussian"), rows) == ""


@torch.no_grad()
@pytest.mark.parametrize("offset", [50.0, float("inf")])
def test_where_no_factor_helps_it_is_the_largest(offset: float) -> None:
    """Futures that are all on the other side of the point forecast, or that diverged, leave no factor that is no
    number."""
    network, ticks = network_of("mixture"), 8
    rows = torch.randn(60, network.spec.settling_samples + ticks, network.spec.width)
    network.members.offset.bias.fill_(offset)
    rows[:, -ticks:, network.spec.n_inputs :] -= 1e4 * torch.arange(1, ticks + 1)[:, None]
    calibration.calibrate_stretch(network, Sequences(list(rows.numpy())), torch.ones(ticks, 3))
    np.testing.assert_allclose(network.spread.stretch, calibration.LARGEST)


@torch.no_grad()
def test_the_scale_begins_at_the_error_of_one_tick() -> None:
    """Before its training the noise is as large as the one-tick errors of the recordings, not a hundred times that."""
    network = network_of("gaussian")
    network.spread.factors.zero_()
    for scale in (0.5, 0.01):
        network.spread.age.fill_(0.0)
        network.spread.scale.weight.zero_()
        network.spread.scale.bias.fill_(math.log(scale))
        rows = forecasts_of(network, 200, 8)
        network.spread.scale.bias.fill_(3.0)
        begin_scales(network, Sequences(list(rows.numpy())))
        np.testing.assert_allclose(network.spread.scale.bias.exp(), scale, rtol=0.2)


@torch.no_grad()
def test_far_from_the_recordings_the_scale_stays_at_its_largest_there() -> None:
    """Scales grow without the limit on rows ten times as large as those of the training; with it they do not."""
    network = network_of("vrnn")
    network.latent.scale.weight.normal_()
    rows = torch.randn(60, network.spec.settling_samples + 8, network.spec.width)
    limit_scales(network, Sequences(list(rows.numpy())))
    seen = 10 * torch.randn(500, network.spec.code_size + network.spec.hidden)
    assert (network.spread.of_state(seen) > network.spread.limit).any()
    assert (network.spread.log_scale(seen, 0) <= network.spread.limit + network.spread.age[0]).all()
    assert (network.latent.scale(seen) > network.latent.limit).any()
    assert (network.latent.log_scale(seen) <= network.latent.limit).all()


def test_nothing_is_calibrated_on_recordings_of_the_training(
    tmp_path: Path, tiny_trace: Trace, caplog: pytest.LogCaptureFixture
) -> None:
    """Where training used the validation part, futures keep their size, and one line says so."""
    config = config_of("gaussian")
    config = msgspec.structs.replace(config, data=msgspec.structs.replace(config.data, train_on_validation=True))
    for _ in begin(config, tiny_trace, tmp_path / "run").epochs():
        pass
    weights = Run(tmp_path / "run").weights()
    assert (weights["spread.limit"] < MOST).all()
    assert (weights["spread.stretch"] == 1).all()
    assert any("leave out data.train_on_validation" in line for line in caplog.messages)


def test_training_sets_begin_limit_and_calibration(tmp_path: Path, tiny_trace: Trace) -> None:
    """A training of each stage for one epoch ends with limits below their default, and factors that are not 1."""
    for _ in begin(config_of("gaussian"), tiny_trace, tmp_path / "run").epochs():
        pass
    weights = Run(tmp_path / "run").weights()
    assert (weights["spread.limit"] < MOST).all()
    assert (weights["spread.stretch"] != 1).all()
    assert weights["spread.scale.bias"].abs().max() > abs(FIRST_SCALE)


def test_members_move_in_units_of_the_noise() -> None:
    """A step of Adam moves an offset by its learning rate times the scale of its target, whatever that scale is."""
    network = network_of("mixture")
    targets = network.spec.n_targets
    scales = torch.logspace(-4, -1, targets)
    network.spread.scale.bias.data = scales.log()
    adam = torch.optim.AdamW(network.members.offset.parameters(), lr=0.01, weight_decay=0.0)
    shorten_offset_steps(network, adam)
    before = network.members.offset.bias.detach().clone()
    network.members.offset.bias.sum().backward()  # type: ignore[no-untyped-call]
    adam.step()
    moved = (network.members.offset.bias - before).abs().view(-1, targets)
    assert torch.allclose(moved, 0.01 * scales.expand_as(moved), rtol=0.03)


@torch.no_grad()
@pytest.mark.parametrize("distribution", ["vrnn", "gan", "gsn"])
def test_noise_on_the_code_begins_no_larger_than_the_errors_of_a_tick(distribution: str) -> None:
    """Noise on the code that moves the targets by far more than a tick is wrong by is made small."""
    network = network_of(distribution)
    network.spread.scale.weight.zero_()
    network.spread.scale.bias.fill_(math.log(0.001))
    network.latent.scale.bias.fill_(LEAST)
    training = Sequences(list(forecasts_of(network, 200, 8).numpy()))
    network.latent.scale.bias.fill_(0.0)
    ground = _measured_ticks(network, training)
    assert (_moved_by_latent(network, ground) > 0.01).any()
    begin_scales(network, training)
    errors = network.spread.scale.bias.exp()
    assert (_moved_by_latent(network, ground) / errors).median() < 1.5
