"""Test the sensor noise of training: its statistics, its draws, and that a model learns to reject it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.robots import make_spec

from rtsysid.config import Config, NoiseLevels, Symmetry, config_from_builtins
from rtsysid.errors import ConfigError
from rtsysid.recordings.trace import Trace
from rtsysid.spec import Channel
from rtsysid.train.augmentation import Augmentation
from rtsysid.train.cold_start import ColdStart
from rtsysid.train.fit import _baseline, _validation, _yardstick, begin, prepare_recordings
from rtsysid.train.linear_path import fit_linear_path, set_linear_path
from rtsysid.train.network import Network
from rtsysid.train.run import Run
from rtsysid.train.sensor_noise import SensorNoise
from rtsysid.train.windows import row_windows

CHANNELS = (Channel("u", role="input"), Channel("y"))


@given(st.floats(0, 0.9), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_a_lost_row_repeats_the_row_before_it(share: float, seed: int) -> None:
    """Each row is the newest row that was not lost; the first is never lost; the lost share is the configured one."""
    rows = torch.arange(4 * 500 * 2, dtype=torch.float32).reshape(4, 500, 2)
    shown = SensorNoise(NoiseLevels(repeat=share), CHANNELS).apply(rows, torch.Generator().manual_seed(seed))
    fresh = shown[:, 1:, 0] == rows[:, 1:, 0]
    assert torch.equal(shown[:, 0], rows[:, 0])
    assert torch.equal(torch.where(fresh[..., None], rows[:, 1:], shown[:, :-1]), shown[:, 1:])
    assert abs(float(1 - fresh.float().mean()) - share) < 0.06


def test_noise_has_the_configured_standard_deviation_on_the_named_channels() -> None:
    """Only the named channel gets noise, with its standard deviation and no correlation in time."""
    rows = torch.zeros(1, 20000, 2)
    shown = SensorNoise(NoiseLevels({"y": 0.5}), CHANNELS).apply(rows)[0]
    assert not shown[:, 0].any()
    assert abs(float(shown[:, 1].std()) - 0.5) < 0.02
    assert abs(float((shown[1:, 1] * shown[:-1, 1]).mean())) < 0.01


def test_equal_recordings_get_equal_noise() -> None:
    """Noise on whole recordings restarts from its seed; without noise the very same array comes back."""
    episodes = [np.ones((50, 2), np.float32), np.zeros((20, 2), np.float32)]
    sensor_noise = SensorNoise(NoiseLevels({"u": 1.0}, 0.2), CHANNELS)
    first, second = sensor_noise.recordings(episodes), sensor_noise.recordings(episodes)
    for before, after in zip(first.noisy, second.noisy, strict=True):
        np.testing.assert_array_equal(before, after)
    assert all(kept is given for kept, given in zip(first.clean, episodes, strict=True))
    assert SensorNoise(NoiseLevels(), CHANNELS).apply(rows := torch.ones(1, 3, 2)) is rows


@pytest.mark.parametrize("symmetry", [(), (Symmetry(negate=("u", "y")),)], ids=["plain", "mirrored"])
@pytest.mark.parametrize("history", [True, False], ids=["history", "cold start"])
def test_one_draw_serves_every_linear_fit(
    symmetry: tuple[Symmetry, ...], history: bool, tmp_path: Path, tiny_config: Config, tiny_trace: Trace
) -> None:
    """The arrays of the run folder are, bit by bit, those of fits that each draw the noise for themselves."""
    noise = NoiseLevels({"y": 0.05, "u": 0.1}, 0.1)
    train = msgspec.structs.replace(tiny_config.train, sensor_noise=noise, symmetry=symmetry, history=history)
    model = msgspec.structs.replace(tiny_config.model, linear_path=True)
    config = msgspec.structs.replace(tiny_config, model=model, train=train)
    begin(config, tiny_trace, tmp_path / "run")
    prepared = prepare_recordings(config, tiny_trace)
    augmentation = Augmentation.of(train, prepared.spec)
    draw = augmentation.sensor_noise.recordings
    arx = _baseline(prepared, draw(prepared.train), draw(prepared.validation))
    yardstick = _yardstick(arx, prepared, draw(prepared.train), augmentation.cold_start)
    mirrored = draw(augmentation.symmetries.all(prepared.train))
    _, linear_path = fit_linear_path(
        prepared.spec, mirrored, draw(prepared.validation), yardstick, augmentation.cold_start
    )
    validation = _validation(draw(prepared.validation), silent=False)
    expected = {"baseline.npz": arx.arrays(), "linear_path.npz": linear_path, "validation.npz": validation}
    for name, arrays in (expected | {"yardstick.npz": {"rms": yardstick.astype(np.float32)}}).items():
        stored = Run(tmp_path / "run").arrays(name)
        assert set(stored) == set(arrays)
        for key, array in arrays.items():
            np.testing.assert_array_equal(stored[key], array)


@torch.no_grad()
def test_a_linear_path_fitted_on_noisy_rows_rejects_their_noise() -> None:
    """On noisy sines a map fitted on noisy rows predicts better than a map fitted on clean rows."""
    t = np.arange(4000) * 0.02
    waves = [np.sin(t), 3 * np.cos(2 * t) + 1, np.sin(3 * t) - 2]
    rows = np.stack([np.sin(7 * t), np.cos(5 * t), *waves], 1).astype(np.float32)
    blank = make_spec(linear_path=True)
    noise = NoiseLevels(dict.fromkeys((c.name for c in blank.channels), 0.05))
    noisy, clean = SensorNoise(noise, blank.channels), SensorNoise(NoiseLevels(), blank.channels)
    test_rows = noisy.apply(torch.from_numpy(rows)[None], torch.Generator().manual_seed(1))
    inputs = row_windows(test_rows, blank.taps)[:, :-1]
    errors = []
    for sensor_noise in (clean, noisy):
        recordings = sensor_noise.recordings([rows])
        spec, arrays = fit_linear_path(blank, recordings, recordings, np.ones((20, 3)), ColdStart(True, blank))
        network = Network(spec).eval()
        set_linear_path(network, arrays)
        predicted, _ = network.sequence(inputs, network.initial_state(inputs[:, 0]))
        errors.append(float(np.abs(predicted[0].numpy() - rows[blank.taps :, 2:]).mean()))
    assert errors[1] < 0.8 * errors[0]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"noise": {"y": -1.0}}, r">= 0\.0.*sensor_noise\.noise"),
        ({"repeat": 1.0}, r"sensor_noise\.repeat = 1\.0.*< 1\.0"),
        ({"noises": {}}, "did you mean 'noise'"),
    ],
)
def test_impossible_noise_levels_are_refused(table: dict[str, object], message: str) -> None:
    """Negative noise, all rows repeated and a misspelt key give one line each."""
    data = {"rate_hz": 1, "inputs": ["u"], "outputs": ["y"]}
    with pytest.raises(ConfigError, match=message):
        config_from_builtins({"data": data, "train": {"sensor_noise": table}})


def test_noise_on_an_unknown_channel_is_refused() -> None:
    """The line names the channel and the known channels."""
    with pytest.raises(ConfigError, match="no channel is named z; choose among u, y"):
        SensorNoise(NoiseLevels({"z": 1.0}), CHANNELS)
