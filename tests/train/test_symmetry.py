"""Test the group that symmetries generate, and that the simulated quadrotor has them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rtsysid.config import Symmetry, read_config
from rtsysid.errors import ConfigError
from rtsysid.recordings.simulate import CHANNELS, FlightState, Quadrotor, advance
from rtsysid.spec import Channel
from rtsysid.train.symmetry import Symmetries


def quadrotor() -> Symmetries:
    config = read_config("quadrotor")
    return Symmetries(config.train.symmetry, config.data.channels)


def test_two_commuting_reflections_make_a_group_of_four() -> None:
    """Each combination appears once, the identity first."""
    group = quadrotor()
    assert len(group) == 4
    assert torch.equal(group.order[0], torch.arange(17))
    assert bool((group.sign[0] == 1).all())


@pytest.mark.parametrize("which", range(4))
def test_the_simulated_plant_has_them(which: int) -> None:
    """Physics applied to a transformed state and command gives the transformed outcome."""
    group, plant = quadrotor(), Quadrotor()
    order, sign = group.order[which].numpy(), group.sign[which].numpy()
    rng = np.random.default_rng(which)
    commands, attitude = rng.uniform(0.3, 0.9, 4), rng.standard_normal(4)
    row = np.concatenate(
        [commands, rng.standard_normal(3), attitude / np.linalg.norm(attitude), rng.standard_normal(6)]
    )
    rotors = rng.uniform(1000, 2500, 4)
    straight = _stepped(row, rotors, plant)
    mirrored = _stepped(row[order] * sign, rotors[order[:4]], plant)
    np.testing.assert_allclose(mirrored, straight[order] * sign, atol=1e-12)


def _stepped(row: np.ndarray, rotors: np.ndarray, plant: Quadrotor) -> np.ndarray:
    """One physics step on a row in the order of the quadrotor's configuration."""
    columns = [row[i:j, None] for i, j in ((0, 4), (4, 7), (7, 11), (11, 14), (14, 17))]
    commands, velocity, attitude, rates, position = columns
    state = FlightState(position, velocity, attitude, rates, rotors[:, None], np.ones(1))
    after = advance(state, commands, np.zeros((3, 1)), plant)
    parts = (commands, after.velocity, after.attitude, after.rates, after.position)
    return np.concatenate(parts)[:, 0]


def test_configuration_and_plant_name_the_same_channels() -> None:
    """The column order of the test above matches the configuration, and the plant records those channels."""
    names = [channel.name for channel in read_config("quadrotor").data.channels]
    assert names == ["m1", "m2", "m3", "m4", "vx", "vy", "vz", "qx", "qy", "qz", "qw", "wx", "wy", "wz", "x", "y", "z"]
    assert set(names) <= {channel.name for channel in CHANNELS}


def test_sequences_are_drawn_whole() -> None:
    """Every row of a sequence goes through the same symmetry, and every symmetry is drawn."""
    group = quadrotor()
    torch.manual_seed(0)
    row = torch.randn(17)
    drawn = group.sample(row.expand(200, 5, 17))
    assert torch.equal(drawn, drawn[:, :1].expand_as(drawn))
    expected = {tuple((row[o] * s).tolist()) for o, s in zip(group.order, group.sign, strict=True)}
    assert {tuple(each.tolist()) for each in drawn[:, 0]} == expected
    assert len(group.all([row[None].numpy()])) == 4


def test_without_symmetries_nothing_changes() -> None:
    """An empty list is the identity, and draws no random number."""
    group = Symmetries((), [Channel("a"), Channel("b")])
    rows = torch.randn(3, 4, 2)
    state = torch.random.get_rng_state()
    assert group.sample(rows) is rows
    assert torch.equal(state, torch.random.get_rng_state())


def test_impossible_symmetries_are_refused() -> None:
    """Unknown channels and groups that are too large give one line each."""
    channels = [Channel(f"c{i}") for i in range(8)]
    with pytest.raises(ConfigError, match="no channel is named x"):
        Symmetries([Symmetry(negate=("x",))], channels)
    neighbours = [Symmetry(exchange=((f"c{i}", f"c{i + 1}"),)) for i in range(7)]
    with pytest.raises(ConfigError, match="more than 48"):
        Symmetries(neighbours, channels)
