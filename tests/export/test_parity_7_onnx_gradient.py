"""Link 7 of the parity chain, for runtimes without C: the gradient graph is NumPy's gradient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from support.every_model import CASES, make_network
from support.robots import ages_for, flight, turns

from export import targets
from export.bundle import export
from export.onnx_gradient import gradient_graph, run_gradient
from export.targets import parse_targets
from rtsysid.errors import ParityError
from rtsysid.model.backends.numpy_backend import NumpyBackend
from rtsysid.model.bundle import Bundle
from rtsysid.model.loading import backends_of
from rtsysid.model.manifest import GRADIENT_GRAPH
from rtsysid.model.predictor import Predictor
from rtsysid.model.tolerance import GRADIENT
from rtsysid.train.run import state_arrays

SAMPLES = 9
COARSE: tuple[str, dict[str, Any]] = ("lstm-tdl", {"kinematics": True, "linear_path": True, "rate_hz": 4.0})


@pytest.mark.parametrize(("variant", "choice"), [*CASES, COARSE], ids=str)
def test_the_graph_is_numpy(variant: str, choice: dict[str, Any]) -> None:
    """Every kind of coordinates and every option: any number of plans of any length, as NumPy in float64."""
    network = make_network(variant, choice)
    spec, weights, rng = network.spec, state_arrays(network.state_dict()), np.random.default_rng(0)
    rows = flight(SAMPLES, batch=1)[0] if spec.rigid_body else rng.standard_normal((SAMPLES, spec.width))
    predictor = Predictor(spec, NumpyBackend(spec, weights))
    for row, age in zip((rows * turns(spec)).astype(np.float32), ages_for(spec, SAMPLES), strict=True):
        predictor.step(row, age)
    content = gradient_graph(spec, weights).SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for plans, ticks in ((1, 1), (3, 6)):
        u, dy = (rng.standard_normal((plans, ticks, n)).astype(np.float32) for n in (spec.n_inputs, spec.n_outputs))
        wanted = predictor.forecast_gradient(u, dy, double=True)
        found = run_gradient(session, predictor.snapshot(), u, dy)
        assert np.abs(found - wanted).max() < GRADIENT * np.abs(wanted).max()


def test_the_target_adds_one_verified_file(run_folder: Path, bundle_folder: Path, tmp_path: Path) -> None:
    """`--target gradient` writes the graph, also alone; a bundle without the target does not have it."""
    bundle, _ = export(run_folder, tmp_path / "b", parse_targets("gradient"))
    assert backends_of(bundle) == ("numpy",)
    onnx.checker.check_model(onnx.load_model_from_string(bundle.content(GRADIENT_GRAPH)))
    assert GRADIENT_GRAPH not in Bundle.open(bundle_folder).manifest.files


def test_a_wrong_gradient_is_not_written(run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph that is not NumPy's gradient at the golden trace ends the export, and there is no bundle."""
    monkeypatch.setattr(targets, "gradient_graph", lambda spec, weights: _doubled(gradient_graph(spec, weights)))
    with pytest.raises(ParityError, match=r"forecast_gradient\.onnx: a gradient is off by"):
        export(run_folder, tmp_path / "b", parse_targets("gradient"))
    assert not (tmp_path / "b").exists()


def _doubled(model: onnx.ModelProto) -> onnx.ModelProto:
    """Make the graph return twice its gradient."""
    model.graph.node[-1].output[-1] = "half"
    model.graph.node.append(onnx.helper.make_node("Add", ["half", "half"], ["du"]))
    return model
