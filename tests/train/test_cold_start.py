"""Test synthetic histories, the weights of recordings, and the units of losses."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
import pytest
import torch
from support.robots import flight, make_body_spec, make_spec

from rtsysid.benchmarks.nanodrone import coasting
from rtsysid.model.coordinates import coordinates
from rtsysid.schedule import Loss, Stage
from rtsysid.spec import Channel, ModelSpec, RigidBody
from rtsysid.train.cold_start import ColdStart
from rtsysid.train.losses import Objective
from rtsysid.train.network import Network
from rtsysid.train.windows import Sequences, episode_weights, fit_scaling, row_windows

NAMES = ["x", "y", "z", "vx", "vy", "vz", "qx", "qy", "qz", "qw", "wx", "wy", "wz"]


def test_the_synthetic_history_of_a_body_follows_the_benchmark() -> None:
    """Synthetic rows equal those of the nano-drone protocol, which computes them with sines."""
    body = RigidBody(tuple(NAMES[6:10]), tuple(NAMES[10:]), tuple(NAMES[3:6]), tuple(NAMES[:3]))
    channels = (*(Channel(f"u{k}", role="input") for k in range(4)), *map(Channel, NAMES))
    spec = ModelSpec(channels=channels, rate_hz=100.0, rigid_body=body)
    row = np.random.default_rng(0).standard_normal(17)
    row[10:14] /= np.linalg.norm(row[10:14])
    found = coordinates(spec, np).synthetic_history(row[None], 20)[0]
    np.testing.assert_allclose(found, coasting(row.astype(np.float32), 20), atol=1e-5)


@pytest.mark.parametrize("make", [make_spec, make_body_spec])
def test_without_history_only_the_first_row_is_known(make: object) -> None:
    """Earlier rows have no effect; the first predicting row and all later ones stay; torch agrees with NumPy."""
    spec = make(warmup=3)  # type: ignore[operator]
    rows = torch.from_numpy(flight(12)[..., : spec.width])
    other = rows.clone()
    other[:, : spec.settling_samples - 1] += 1.0
    cold_start = ColdStart(False, spec)
    known = cold_start.apply(rows, spec.settling_samples)
    assert torch.equal(known, cold_start.apply(other, spec.settling_samples))
    torch.testing.assert_close(known[:, spec.settling_samples - 1 :], rows[:, spec.settling_samples - 1 :])
    assert not torch.equal(known, rows)
    assert torch.equal(ColdStart(True, spec).apply(rows, spec.settling_samples), rows)


def test_windows_have_k_measured_rows_after_k_ticks() -> None:
    """Every k-th window has k measured rows, and before them a synthetic history of the first of those."""
    spec = make_body_spec()
    seen = flight(spec.taps, batch=9)
    mixed, coords = ColdStart(False, spec).windows(seen), coordinates(spec, np)
    for k, window in enumerate(mixed):
        known = k % spec.taps + 1
        np.testing.assert_array_equal(window[-known:], seen[k, -known:])
        made_up = coords.synthetic_history(seen[k, -known], spec.taps - known + 1)
        np.testing.assert_allclose(window[: spec.taps - known], made_up[:-1], atol=1e-12)


@pytest.mark.parametrize("norm", ["square", "absolute"])
@pytest.mark.parametrize("unit", ["each", "last"])
def test_norm_and_unit_of_a_loss(norm: Literal["square", "absolute"], unit: Literal["each", "last"]) -> None:
    """One-step and rollout losses are means of errors, squared or absolute, in units of each tick or of the last."""
    torch.manual_seed(0)
    network, rows = Network(make_spec(warmup=0)).eval(), torch.randn(3, 10, 5)
    yardstick = torch.arange(1.0, 7.0)[:, None].expand(6, 3)
    seen = row_windows(rows, network.spec.taps)
    forced, _ = network.sequence(seen[:, :-1], network.initial_state(seen[:, 0]))
    free = network.rollout(seen[:, :6], network.initial_state(seen[:, 0]))
    losses = (Loss("one_step", norm=norm, unit=unit), Loss("rollout", horizon=6, norm=norm, unit=unit))
    found = Objective(network, Stage("s", ("head",), losses), yardstick).terms(rows)
    for term, predicted, units in zip(found, (forced, free), (yardstick[:1], yardstick), strict=True):
        error = (predicted - rows[:, 4:, 2:]) / (units if unit == "each" else units[-1])
        torch.testing.assert_close(term, (error.abs() if norm == "absolute" else error.square()).mean())


def test_an_episode_weighting_of_one_equalises_recordings() -> None:
    """The weighted squared motion of two recordings is the same, although one moves ten times as much."""
    calm = np.random.default_rng(0).standard_normal((50, 5)).astype(np.float32)
    spec = make_spec()
    spec = msgspec.structs.replace(spec, scaling=msgspec.structs.replace(spec.scaling, target_mean=(0.0,) * 3))
    for episode_weighting, ratio in ((0.0, 1.0), (1.0, 100.0), (2.0, 1e4)):
        first, second = episode_weights([calm, 10 * calm], spec, episode_weighting)
        assert first / second == pytest.approx(ratio, rel=1e-4)


def test_sequences_are_drawn_in_proportion_to_their_weight() -> None:
    """Three of four draws fall on the episode of three times the weight; evenly spaced starts exactly so."""
    parts = [np.zeros((400, 1), np.float32), np.ones((400, 1), np.float32)]
    sequences = Sequences(parts, weights=[1.0, 3.0])
    starts = sequences.starts(1, 1)
    torch.manual_seed(0)
    assert sequences.values[sequences.shuffled(starts, 1.0)].mean() == pytest.approx(0.75, abs=0.05)
    assert sequences.values[sequences.evenly_spaced(starts, 100, 1.0)].mean() == pytest.approx(0.75, abs=0.01)
    assert torch.equal(sequences.shuffled(starts).sort().values, starts)
    assert torch.equal(sequences.evenly_spaced(starts, 100), starts[::8])
    stages = [Stage("s", ("head",), (Loss("one_step"),), episode_weighting=each) for each in (None, 0.5)]
    assert [stage.episode_weighting_in(2.0) for stage in stages] == [2.0, 0.5]


def test_constants_are_not_scaled_up() -> None:
    """In a window of one row the attitude relative to itself is rounding error; its standard deviation is set to 1."""
    spec = make_body_spec(variant="lstm-tdl", taps=1)
    scaling = fit_scaling(list(flight(200, batch=2)), spec)
    others, vectors = 3, 6  # two inputs and the battery; velocity and position
    assert scaling.feature_std[others + vectors : others + vectors + 3] == (1.0, 1.0, 1.0)
