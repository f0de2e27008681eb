"""Link 3 of the parity chain: torch, onnxruntime and NumPy agree with the state carried for 1,000 steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.robots import flight, make_body_spec, make_braked_spec, make_driven_spec, make_moving_spec, make_spec

from export.bundle import write_graphs
from rtsysid.model.backends.numpy_backend import NumpyBackend
from rtsysid.model.backends.onnx_backend import OnnxBackend
from rtsysid.model.parity import TOLERANCE, relative_error, tolerances
from rtsysid.model.predictor import Backend, Predictor
from rtsysid.train.network import Network
from rtsysid.train.run import state_arrays
from rtsysid.train.windows import row_windows

CHOICES: list[dict[str, object]] = [
    {},
    {"feedback": ("y0", "y2"), "linear_path": True},
    {"state_init": "network", "output": "absolute"},
    {"feedback": ("y0", "y2"), "degree": 3, "relative": ("y0",)},
    {"integrate": (("y1", "y2"),)},
]
BODIES = [{}, {"linear_path": True, "state_init": "network"}]


def backends(network: Network, folder: Path) -> list[Backend]:
    write_graphs(network, folder)
    initialiser = folder / "initialiser.onnx"
    return [
        OnnxBackend(
            network.spec, folder / "step.onnx", folder / "forecast.onnx", initialiser if initialiser.exists() else None
        ),
        NumpyBackend(network.spec, state_arrays(network.state_dict())),
    ]


@pytest.mark.parametrize("choice", CHOICES, ids=str)
@torch.no_grad()
def test_a_thousand_steps(variant: str, choice: dict[str, object], tmp_path: Path) -> None:
    """Predictor.step on either backend follows torch for 1,000 ticks within the tolerance table."""
    torch.manual_seed(4)
    network = Network(make_spec(variant, **choice)).eval()
    follow(network, torch.randn(network.spec.taps - 1 + 1000, 5), tmp_path)


@pytest.mark.parametrize("make", [make_braked_spec, make_body_spec, make_moving_spec, make_driven_spec])
@pytest.mark.parametrize("choice", BODIES, ids=str)
@torch.no_grad()
def test_a_thousand_steps_with_physics(variant: str, choice: dict[str, object], make: Any, tmp_path: Path) -> None:
    """The same where friction brakes, and where the network sees the robot from its body and answers there."""
    torch.manual_seed(4)
    network = Network(make(variant, **choice)).eval()
    rows = flight(network.spec.taps - 1 + 1000, batch=1)[0, :, : network.spec.width]
    follow(network, torch.from_numpy(rows.astype(np.float32)), tmp_path)


def follow(network: Network, rows: torch.Tensor, folder: Path) -> None:
    """Every backend beside torch, over all rows [n, C]: predictions, code and reconstruction error."""
    spec = network.spec
    seen = row_windows(rows[None], spec.taps)
    state = network.initial_state(seen[:, 0])
    expected = []
    for tick in range(1000):
        y, state = network.step(seen[:, tick], state)
        expected.append(y[0].numpy())
    for backend in backends(network, folder):
        predictor = Predictor(spec, backend)
        found = np.stack([predictor.step(row).copy() for row in rows.numpy()])
        assert np.isnan(found[: spec.taps - 1]).all()
        assert relative_error(found[spec.taps - 1 :], np.stack(expected), spec) <= TOLERANCE["step"]
        code = network.encode(network.features(seen[:, -1]))
        np.testing.assert_allclose(predictor.code, code[0].numpy(), atol=1e-5)
        error = float((network.decode(code) - network.features(seen[:, -1])).square().mean())
        assert predictor.reconstruction_error == pytest.approx(error, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("make", [make_spec, make_braked_spec, make_body_spec, make_driven_spec])
@torch.no_grad()
def test_a_forecast_is_steps_with_predictions_fed_back(make: Any, variant: str, tmp_path: Path) -> None:
    """One forecast call equals stepping a copy of the robot with its own predictions, for several plans at once."""
    torch.manual_seed(5)
    network = Network(make(variant)).eval()
    spec, rng = network.spec, np.random.default_rng(0)
    rows = flight(40, batch=1)[0, :, : spec.width].astype(np.float32)
    plans = rng.standard_normal((3, 17, 2)).astype(np.float32)
    for backend in backends(network, tmp_path):
        predictor = Predictor(spec, backend)
        for row in rows:
            predictor.step(row)
        found = predictor.forecast(plans)
        assert np.allclose(found[1], predictor.forecast(plans[1]), atol=1e-5)
        for plan, forecast in zip(plans, found, strict=True):
            predictor.reset()
            for row in rows[:-1]:
                predictor.step(row)
            y, steps = rows[-1, 2:], []
            for u in plan:
                y = predictor.step(np.concatenate([u, y])).copy()
                steps.append(y)
            assert relative_error(forecast, np.stack(steps), spec) <= TOLERANCE["forecast"]


def test_a_forecast_may_be_off_by_what_a_step_may() -> None:
    """A forecast's bound is never tighter than that of the steps it is made of, and no bound is below its floor."""
    assert tolerances({"step": 1e-3, "forecast": 1e-6}) == {"step": 8e-3, "forecast": 8e-3}
    assert tolerances({"step": 1e-9, "forecast": 1e-3}) == {"step": 1e-5, "forecast": 8e-3}
