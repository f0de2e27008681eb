"""A bundle runs as it was verified, or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from export.bundle import export
from rtsysid.errors import BundleError, ConfigError, ParityError
from rtsysid.model.bundle import Bundle, write_manifest
from rtsysid.model.parity import verify
from rtsysid.model.predictor import Predictor
from rtsysid.spec import Channel, digest

FILES = ["manifest.json", "step.onnx", "forecast.onnx", "weights.npz", "golden.npz", "baseline.npz"]


@pytest.fixture
def copy(bundle_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle_folder, tmp_path / "bundle"))


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_is_refused(copy: Path, name: str) -> None:
    """One flipped bit in any file of the bundle, and nothing is loaded."""
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(BundleError):
        Predictor.load(copy)


def test_a_missing_file_is_named(copy: Path) -> None:
    """The error says which file is gone."""
    (copy / "forecast.onnx").unlink()
    with pytest.raises(BundleError, match=r"forecast\.onnx is missing"):
        Bundle.open(copy)


@pytest.mark.parametrize("files", [{"step.onnx": 7}, ["step.onnx"], None])
def test_a_manifest_that_hashes_nothing_is_refused(copy: Path, files: object) -> None:
    """A changed manifest with a correct digest is refused where its hashes are not texts."""
    manifest = json.loads((copy / "manifest.json").read_text()) | {"files": files}
    manifest["digest"] = digest({key: value for key, value in manifest.items() if key != "digest"})
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"manifest\.json: .*files"):
        Bundle.open(copy)


@pytest.mark.parametrize("backend", ["numpy", "onnx"])
def test_other_weights_under_a_good_manifest_fail_the_golden_trace(copy: Path, backend: str) -> None:
    """Hashes alone do not make a model right: a backend that computes something else is refused at load."""
    weights = Bundle.open(copy).arrays("weights.npz")
    graph = onnx.load(copy / "step.onnx")
    for tensor in graph.graph.initializer:
        if tensor.name.endswith("head.bias"):
            array = onnx.numpy_helper.to_array(tensor) + np.float32(0.1)
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    onnx.save(graph, copy / "step.onnx")
    weights["head.bias"] += np.float32(0.1)
    np.savez(copy / "weights.npz", allow_pickle=False, **weights)
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").unlink()
    write_manifest(copy, {key: value for key, value in manifest.items() if key not in ("files", "digest")})
    with pytest.raises(ParityError, match=backend):
        Predictor.load(copy, backend)


def test_other_channels_are_refused(bundle_folder: Path) -> None:
    """A recording of another robot is refused by the name of what differs."""
    bundle = Bundle.open(bundle_folder)
    with pytest.raises(BundleError, match="'v'"):
        bundle.require((Channel("u", "V", "input"), Channel("y", "m")), "recording")
    with pytest.raises(BundleError, match="unit of 'y'"):
        bundle.require((Channel("u", "V"), Channel("y", "mm"), Channel("v", "m/s")), "recording")


def test_every_backend_passes(bundle_folder: Path) -> None:
    """The verification table of a fresh bundle has every backend within bounds."""
    rows = verify(Bundle.open(bundle_folder))
    assert [row.backend for row in rows] == ["c", "onnx", "numpy"]
    assert all(row.passed for row in rows)


def test_two_exports_are_identical(run_folder: Path, bundle_folder: Path, tmp_path: Path) -> None:
    """Exporting one run twice, in one process, gives the same bundle to the last byte."""
    again, _ = export(run_folder, tmp_path / "again")
    assert again.id == Bundle.open(bundle_folder).id


def test_an_unfinished_run_is_not_exported(run_folder: Path, tmp_path: Path) -> None:
    """Without final weights there is nothing to export, and the bundle that stood there stays."""
    run = Path(shutil.copytree(run_folder, tmp_path / "run"))
    (run / "weights.safetensors").unlink()
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "kept").write_text("before")
    with pytest.raises(ConfigError, match="not finished"):
        export(run, tmp_path / "bundle")
    assert (tmp_path / "bundle" / "kept").read_text() == "before"
