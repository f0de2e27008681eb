"""Export: make a bundle of a finished run, and verify it before the folder gets its name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch

import rtsysid
from export.calibration import calibration_of
from export.golden import golden_trace
from export.targets import Target, default_targets, write_c
from export.to_onnx import (
    STEP_INPUTS,
    STEP_OUTPUTS,
    check_dynamic,
    check_private,
    forecast_graph,
    initialiser_graph,
    step_graph,
)
from rtsysid.errors import ParityError
from rtsysid.evaluation.calibrate import calibration_files
from rtsysid.model.bundle import Bundle, write_manifest
from rtsysid.model.golden import Row, tolerances
from rtsysid.model.parity import verify
from rtsysid.spec import to_builtins
from rtsysid.storage import replacing_folder
from rtsysid.train.network import Network
from rtsysid.train.run import Run, state_arrays

BATCH = {0: "batch"}
DYNAMIC: dict[str, dict[int, str]] = {
    **dict.fromkeys((*STEP_INPUTS, *STEP_OUTPUTS), BATCH),
    "u_future": {0: "batch", 1: "horizon"},
    "y_future": {0: "batch", 1: "horizon"},
}
OTHER_SHAPES = ((1, 1), (3, 7), (2, 120))  # batch and horizon that no graph was traced with


def export(run: Run | Path | str, out: Path | str, targets: Sequence[Target] | None = None) -> tuple[Bundle, list[Row]]:
    """Write the bundle of a finished run to the folder `out`, replacing a bundle that is there.

    `targets` are those of `export.targets`; by default ONNX, and C where this machine has a compiler. Returns the
    bundle and its verification table. Raises ConfigError where the run is not finished, ParityError where a backend
    does not reproduce the network, BundleError where a target lacks its compiler; then nothing is written.
    """
    run = run if isinstance(run, Run) else Run(run)
    targets = default_targets() if targets is None else targets
    network = load_network(run)
    with replacing_folder(out) as folder:
        golden, measured = golden_trace(network, run.arrays("excerpt.npz")["values"])
        weights = state_arrays(network.state_dict())
        if "onnx" in targets:
            write_graphs(network, folder)
        sizes = write_c(network.spec, weights, golden, folder, targets)
        _save_npz(folder / "weights.npz", weights)
        _save_npz(folder / "golden.npz", golden)
        _save_npz(folder / "baseline.npz", run.arrays("baseline.npz"))
        if (calibrations := calibration_of(run, weights)) is not None:
            for name, content in calibration_files(*calibrations).items():
                (folder / name).write_bytes(content)
        write_manifest(folder, {**_manifest_content(run, network, measured), **sizes})
        rows = verify(Bundle.open(folder))
        for row in rows:
            row.require("the new bundle", "nothing was written; report this")
    return Bundle.open(out), rows


def load_network(run: Run) -> Network:
    """Load the trained network of a finished run, on the CPU and in evaluation mode.

    Raises ConfigError where the run is not finished.
    """
    network = Network(run.spec)
    network.load_state_dict(run.weights())
    return network.eval()


def write_graphs(network: Network, folder: Path) -> None:
    """Write step.onnx, forecast.onnx and, where the first state is learned, initialiser.onnx; check and run each.

    Raises ParityError where a graph is not dynamic, holds a path of this machine, or returns other shapes.
    """
    spec = network.spec
    step = step_graph(network)
    graphs = {"step.onnx": step, "forecast.onnx": forecast_graph(step, spec)}
    if spec.state_init == "network":
        graphs["initialiser.onnx"] = initialiser_graph(network)
    for name, graph in graphs.items():
        check_dynamic(graph, DYNAMIC)
        check_private(graph)
        (folder / name).write_bytes(graph.SerializeToString())
        check_other_shapes(graph, network)


def check_other_shapes(graph: onnx.ModelProto, network: Network) -> None:
    """Run a graph with batches and horizons other than those of the export.

    Raises ParityError where an output has another shape than its inputs imply.
    """
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    sizes: dict[str, int] = {}
    for batch, horizon in OTHER_SHAPES:
        sizes |= {"batch": batch, "horizon": horizon}
        feeds = {
            value.name: np.zeros([sizes.get(d, d) for d in value.shape], np.float32) for value in session.get_inputs()
        }
        for value, array in zip(session.get_outputs(), session.run(None, feeds), strict=True):
            wanted = tuple(sizes.get(d, d) for d in value.shape)
            if array.shape != wanted:
                raise ParityError(f"graph {graph.graph.name}", f"{value.name} is {array.shape}, not {wanted}", "report")


def _manifest_content(run: Run, network: Network, measured: dict[str, float]) -> dict[str, Any]:
    spec, about, history = network.spec, run.about, run.history()
    return {
        "spec": to_builtins(spec),
        "fingerprint": spec.fingerprint,
        "schema_hash": spec.schema_hash,
        "macs": spec.macs,
        "tolerance": tolerances(measured),
        "rounding": measured,
        "training": {
            "config": about["config"],
            "sources": about["sources"],
            "epochs": len(history),
            "validation": history[-1]["validation"] if history else None,
        },
        "versions": {
            **about["versions"],
            "rtsysid": rtsysid.__version__,
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
            "exporter torch": str(torch.__version__),
        },
    }


def _save_npz(path: Path, arrays: dict[str, np.ndarray[Any, Any]]) -> None:
    np.savez(path, allow_pickle=False, **arrays)
