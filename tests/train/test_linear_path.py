"""Test the linear path before any training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.robots import make_spec

from rtsysid.errors import SpecError
from rtsysid.train.cold_start import ColdStart
from rtsysid.train.linear_path import fit_linear_path, set_linear_path
from rtsysid.train.network import Network
from rtsysid.train.sensor_noise import NoisyRecordings
from rtsysid.train.windows import row_windows


@pytest.mark.parametrize("output", ["increment", "absolute"])
@torch.no_grad()
def test_an_untrained_model_extrapolates_a_smooth_signal(output: str) -> None:
    """Sines obey a linear recurrence: the fitted linear path predicts them before the network learns."""
    t = np.arange(2000) * 0.02
    waves = [np.sin(t), 3 * np.cos(2 * t) + 1, np.sin(3 * t) - 2]
    rows = np.stack([np.sin(7 * t), np.cos(5 * t), *waves], 1).astype(np.float32)
    blank = make_spec(linear_path=True, output=output)
    recordings = NoisyRecordings([rows], [rows])
    spec, arrays = fit_linear_path(blank, recordings, recordings, np.ones((20, 3)), ColdStart(True, blank))
    network = Network(spec).eval()
    set_linear_path(network, arrays)
    seen = row_windows(torch.from_numpy(rows)[None], network.spec.taps)[:, :-1]
    predicted, _ = network.sequence(seen, network.initial_state(seen[:, 0]))
    truth = rows[network.spec.taps :, 2:]
    hold = rows[network.spec.taps - 1 : -1, 2:]
    assert np.abs(predicted[0].numpy() - truth).max() < 0.02 * np.abs(hold - truth).max()


def test_a_map_that_diverges_in_free_run_is_refused() -> None:
    """Fitted on slow quadratic growth, every map overflows on large validation values and is refused in one line."""
    blank = make_spec(linear_path=True, degree=2)
    rng = np.random.default_rng(0)
    train = []
    for _ in range(50):
        rows = rng.uniform(-0.1, 0.1, (12, 5)).astype(np.float32)
        rows[0, 2:] = 0.1
        for k in range(11):
            rows[k + 1, 2:] = rows[k, 2:] + rows[k, 2:] ** 2
        train.append(rows)
    validation = [np.full((60, 5), 50.0, np.float32)]
    recordings = NoisyRecordings(train, train), NoisyRecordings(validation, validation)
    with pytest.raises(SpecError, match="every linear map diverges within 30 ticks"):
        fit_linear_path(blank, *recordings, np.ones((30, 3)), ColdStart(True, blank))
