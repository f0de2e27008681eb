"""Disturbance: what is added to recordings in training, and that a model learns to live with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.robots import make_spec

from rtsysid.config import NoiseLevels, Training, from_builtins
from rtsysid.errors import ConfigError
from rtsysid.spec import Channel
from rtsysid.train.augmentation import Augmentation
from rtsysid.train.linear_path import fit_linear_path, set_linear_path
from rtsysid.train.network import Network
from rtsysid.train.sensor_noise import SensorNoise
from rtsysid.train.windows import windows

CHANNELS = (Channel("u", role="input"), Channel("y"))


@given(st.floats(0, 0.9), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_a_lost_row_is_the_one_before_it_once_more(share: float, seed: int) -> None:
    """Each row shown is the newest row that was not lost, the first never is, and the share lost is the one asked."""
    rows = torch.arange(4 * 500 * 2, dtype=torch.float32).reshape(4, 500, 2)
    shown = SensorNoise(NoiseLevels(repeat=share), CHANNELS).apply(rows, torch.Generator().manual_seed(seed))
    fresh = shown[:, 1:, 0] == rows[:, 1:, 0]
    assert torch.equal(shown[:, 0], rows[:, 0])
    assert torch.equal(torch.where(fresh[..., None], rows[:, 1:], shown[:, :-1]), shown[:, 1:])
    assert abs(float(1 - fresh.float().mean()) - share) < 0.06


def test_noise_has_the_spread_asked_for_on_the_channels_named() -> None:
    """Only the named channel is disturbed, by values of its standard deviation that are not correlated in time."""
    rows = torch.zeros(1, 20000, 2)
    shown = SensorNoise(NoiseLevels({"y": 0.5}), CHANNELS).apply(rows)[0]
    assert not shown[:, 0].any()
    assert abs(float(shown[:, 1].std()) - 0.5) < 0.02
    assert abs(float((shown[1:, 1] * shown[:-1, 1]).mean())) < 0.01


def test_recordings_are_always_disturbed_in_the_same_way() -> None:
    """What is fitted once starts from equal rows in every run; what is not to be disturbed is the very same array."""
    episodes = [np.ones((50, 2), np.float32), np.zeros((20, 2), np.float32)]
    sensor_noise = SensorNoise(NoiseLevels({"u": 1.0}, 0.2), CHANNELS)
    for first, second in zip(sensor_noise.episodes(episodes), sensor_noise.episodes(episodes), strict=True):
        np.testing.assert_array_equal(first, second)
    assert SensorNoise(NoiseLevels(), CHANNELS).apply(rows := torch.ones(1, 3, 2)) is rows


@torch.no_grad()
def test_a_direct_path_fitted_on_disturbed_rows_sees_through_them() -> None:
    """On noisy sines the map that was fitted on noisy rows predicts better than the one fitted on clean ones."""
    t = np.arange(4000) * 0.02
    waves = [np.sin(t), 3 * np.cos(2 * t) + 1, np.sin(3 * t) - 2]
    rows = np.stack([np.sin(7 * t), np.cos(5 * t), *waves], 1).astype(np.float32)
    blank = make_spec(linear_path=True)
    noise = NoiseLevels(dict.fromkeys((c.name for c in blank.channels), 0.05))
    noisy, clean = Augmentation.of(Training(sensor_noise=noise), blank), Augmentation.of(Training(), blank)
    shown = noisy.sensor_noise.apply(torch.from_numpy(rows)[None], torch.Generator().manual_seed(1))
    seen = windows(shown, blank.taps)[:, :-1]
    errors = []
    for view in (clean, noisy):
        spec, arrays = fit_linear_path(blank, [rows], [rows], np.ones((20, 3)), view)
        network = Network(spec).eval()
        set_linear_path(network, arrays)
        predicted, _ = network.sequence(seen, network.initial_state(seen[:, 0]))
        errors.append(float(np.abs(predicted[0].numpy() - rows[blank.taps :, 2:]).mean()))
    assert errors[1] < 0.8 * errors[0]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"noise": {"y": -1.0}}, "a negative value"),
        ({"repeat": 1.0}, "all rows lost"),
        ({"noises": {}}, "did you mean 'noise'"),
    ],
)
def test_a_disturbance_that_cannot_be_is_refused(table: dict[str, object], message: str) -> None:
    """Negative noise, a share of all rows and a misspelt key are one line each."""
    data = {"rate_hz": 1, "inputs": ["u"], "outputs": ["y"]}
    with pytest.raises(ConfigError, match=message):
        from_builtins({"data": data, "train": {"disturbance": table}})


def test_a_channel_that_is_not_there_cannot_be_disturbed() -> None:
    """The line names the channel and those that there are."""
    with pytest.raises(ConfigError, match="no channel is named z; choose among u, y"):
        SensorNoise(NoiseLevels({"z": 1.0}), CHANNELS)
