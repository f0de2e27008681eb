"""Export: make a bundle of a finished run, and verify it before the folder gets its name."""

from __future__ import annotations

import logging
import math
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
from rtsysid.errors import ParityError, TraceError
from rtsysid.evaluation.calibrate import calibration_files
from rtsysid.model import trust
from rtsysid.model.bundle import Bundle, write_manifest
from rtsysid.model.golden import Row
from rtsysid.model.npz import write_npz
from rtsysid.model.parity import measure_each
from rtsysid.model.tolerance import tolerances
from rtsysid.spec import Floats, to_builtins
from rtsysid.storage import replacing
from rtsysid.storage.products import BUNDLE
from rtsysid.train.network import Network
from rtsysid.train.run import Run, state_arrays

BATCH = {0: "batch"}
DYNAMIC: dict[str, dict[int, str]] = {
    **dict.fromkeys((*STEP_INPUTS, *STEP_OUTPUTS), BATCH),
    "u_future": {0: "batch", 1: "horizon"},
    "y_future": {0: "batch", 1: "horizon"},
}
OTHER_SHAPES = ((1, 1), (3, 7), (2, 120))  # batch and horizon that no graph was traced with


def export(
    run: Run | Path | str, out: Path | str, targets: Sequence[Target] | None = None, *, overwrite: bool = False
) -> tuple[Bundle, list[Row]]:
    """Write the bundle of a finished run to the folder `out`, replacing a bundle that is there.

    `targets` are those of `export.targets`; by default ONNX, and C where this machine has a compiler. Returns the
    bundle and its verification table, and notes that the bundle was made here: see `rtsysid.model.trust`. Raises
    ConfigError where the run is not finished or damaged, ParityError where a backend does not reproduce the network,
    BundleError where a target lacks its compiler, StorageError where `out` is refused (`rtsysid.storage`); then nothing
    is written.
    """
    run = run if isinstance(run, Run) else Run(run)
    targets = default_targets() if targets is None else targets
    network = load_network(run)
    with replacing(out, BUNDLE, inputs=(run.folder,), overwrite=overwrite) as folder:
        golden, measured = golden_trace(network, _excerpt(run))
        weights = state_arrays(network.state_dict())
        if "onnx" in targets:
            write_graphs(network, folder)
        sizes = write_c(network.spec, weights, golden, folder, targets)
        arrays = {"weights.npz": weights, "golden.npz": golden, "baseline.npz": run.arrays("baseline.npz")}
        for name, each in arrays.items():
            (folder / name).write_bytes(write_npz(each))
        _calibrate(run, weights, folder)
        write_manifest(folder, {**_manifest_content(run, network, measured), **sizes})
        rows = measure_each(Bundle.open(folder))
        for row in rows:
            row.require("the new bundle", "nothing was written; report this")
    bundle = Bundle.open(out)
    trust.note(bundle.manifest.digest)
    return bundle, rows


def _calibrate(run: Run, weights: dict[str, np.ndarray[Any, Any]], folder: Path) -> None:
    """Write the calibrations; log the reason where there are none."""
    try:
        calibrations = calibration_of(run, weights)
    except TraceError as error:
        logging.getLogger(__name__).warning("the bundle has neither novelty nor intervals: %s", error)
        return
    for name, content in calibration_files(*calibrations).items():
        (folder / name).write_bytes(content)


def load_network(run: Run) -> Network:
    """Load the trained network of a finished run, on the CPU and in evaluation mode.

    Raises ConfigError where the run is not finished or damaged.
    """
    weights = run.weights()  # the sizes of the specification are those of a file
    network = Network(run.spec)
    network.load_state_dict(weights)
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


def _excerpt(run: Run) -> Floats:
    """Read the measured samples of the golden trace; they fill a window."""
    values: Floats = run.arrays("excerpt.npz")["values"]
    if len(values) < run.spec.taps:
        raise run.refusal(f"excerpt.npz has {len(values)} rows, and a window has {run.spec.taps}")
    return values


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
            "validation": _finite(history[-1]["validation"]) if history else None,
        },
        "versions": {
            **about["versions"],
            "rtsysid": rtsysid.__version__,
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
            "exporter torch": str(torch.__version__),
        },
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
