"""Export: make a bundle of a finished run, and verify it before the folder gets its name."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch

from export.calibration import calibration_of
from export.card import model_card
from export.golden import golden_trace
from export.targets import Target, default_targets, write_c, write_graphs
from rtsysid.errors import TraceError
from rtsysid.evaluation.calibrate import calibration_files
from rtsysid.guards.release import VERSION
from rtsysid.guards.stages import say_stage
from rtsysid.model import trust
from rtsysid.model.about import CARD, AboutModel
from rtsysid.model.bundle import Bundle, write_manifest
from rtsysid.model.golden import Row
from rtsysid.model.history import history_content
from rtsysid.model.manifest import HISTORY
from rtsysid.model.npz import Arrays, write_npz
from rtsysid.model.parity import measure_each
from rtsysid.model.tolerance import tolerances
from rtsysid.spec import to_builtins
from rtsysid.storage import replacing
from rtsysid.storage.products import BUNDLE
from rtsysid.train.network import Network
from rtsysid.train.run import Result, Run, state_arrays

_UNNAMED = AboutModel()


def export(
    run: Run | Path | str, out: Path | str, targets: Sequence[Target] | None = None, *, about: AboutModel = _UNNAMED,
    card: str = "", overwrite: bool = False,
) -> tuple[Bundle, list[Row]]:  # fmt: skip
    """Write the bundle of a finished run to the folder `out`, replacing a bundle that is there.

    `targets` are those of `export.targets`; by default ONNX, and C where this machine has a compiler. `about` and
    `card`: what the maker says of the model; the card goes on with what the run knows. Returns the
    bundle and its verification table, and signs the bundle as made by this user: see `rtsysid.model.trust`. Raises
    ConfigError where the run is not finished or damaged, ParityError where a backend does not reproduce the network,
    BundleError where a target lacks its compiler, StorageError where `out` is refused (`rtsysid.storage`); then nothing
    is written.
    """
    result = (run if isinstance(run, Run) else Run(run)).result()
    targets = default_targets() if targets is None else targets
    spec, network = result.spec, trained_network(result)
    with replacing(out, BUNDLE, inputs=(result.folder,), overwrite=overwrite) as folder:
        say_stage("computing the golden trace")
        golden, measured = golden_trace(network, result.excerpt)
        weights = state_arrays(result.weights)
        write_graphs(spec, weights, golden, folder, targets)
        say_stage("writing and compiling C" if "c" in targets else "writing graphs")
        sizes = write_c(spec, weights, golden, folder, targets)
        for name, arrays in {"weights": weights, "golden": golden, "baseline": result.baseline}.items():
            (folder / f"{name}.npz").write_bytes(write_npz(arrays))
        if result.history:
            (folder / HISTORY).write_bytes(history_content(result.history))
        say_stage("calibrating novelty and intervals")
        _calibrate(result, weights, folder)
        content = _manifest_content(result, measured)
        (folder / CARD).write_text(model_card(spec, about, content["training"], card), encoding="utf-8")
        digest = write_manifest(folder, {**content, **sizes, **({"about": about.given()} if about.given() else {})})
        rows = measure_each(Bundle.open(folder))
        for row in rows:
            row.require("the new bundle", "nothing was written; report this")
        trust.sign(folder, digest)
    return Bundle.open(out), rows


def trained_network(result: Result) -> Network:
    """Make the trained network, on the CPU and in evaluation mode."""
    network = Network(result.spec)
    network.load_state_dict(result.weights)
    return network.eval()


def _calibrate(result: Result, weights: Arrays, folder: Path) -> None:
    """Write the calibrations; log the reason where there are none."""
    try:
        calibrations = calibration_of(result, weights)
    except TraceError as error:
        remedy = "run rtsysid calibrate with longer recordings that training did not see"
        told = f"{error.what}: {error.found}; {remedy}"
        logging.getLogger(__name__).warning("the bundle has neither novelty nor intervals: %s", told)
        return
    for name, content in calibration_files(*calibrations).items():
        (folder / name).write_bytes(content)


def _manifest_content(result: Result, measured: dict[str, float]) -> dict[str, Any]:
    spec, about = result.spec, result.about
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
            "epochs": result.epochs,
            "validation": None if result.loss is None else _number_or_none(result.loss),
        },
        "versions": {
            **about["versions"],
            "rtsysid": VERSION,
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
            "torch of the golden trace": str(torch.__version__),
        },
    }


def _number_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
