"""A bundle runs as it was verified, or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from support.hostile import rehashed

from export.bundle import export
from rtsysid.errors import BundleError, ConfigError, ParityError, StorageError
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


def test_a_bundle_is_known_by_its_digest(bundle_folder: Path) -> None:
    """The id is the beginning of the manifest's digest, and errors name the folder and a remedy."""
    bundle = Bundle.open(bundle_folder)
    assert bundle.id == json.loads((bundle_folder / "manifest.json").read_text())["digest"][:12]
    assert str(bundle.refusal("it is empty")) == f"bundle {bundle_folder}: it is empty; export again"
    with pytest.raises(BundleError, match=f"bundle {bundle_folder}: it has no model-x"):
        bundle.content("model-x")


def test_a_file_that_is_not_listed_is_refused(copy: Path) -> None:
    """Hidden files of the system are passed over; any other stranger is named, with a remedy."""
    (copy / ".DS_Store").write_bytes(b"")
    Bundle.open(copy)
    (copy / "notes.txt").write_bytes(b"")
    with pytest.raises(BundleError, match=r"'notes\.txt' is not listed in manifest\.json; remove it, or export again$"):
        Bundle.open(copy)


def test_a_rewritten_copy_is_a_bundle_of_its_own(copy: Path, tmp_path: Path) -> None:
    """A copy holds the files of its bundle and those that are new, and has another id; the bundle stays as it was."""
    bundle = Bundle.open(copy)
    made = bundle.rewritten(tmp_path / "made", {"model-int8.c": b"/* new */"})
    assert (made.folder, made.content("model-int8.c")) == (tmp_path / "made", b"/* new */")
    assert made.id != bundle.id
    assert all(made.content(name) == bundle.content(name) for name in bundle.manifest.files)
    assert Bundle.open(copy).id == bundle.id


def test_a_bundle_is_rewritten_in_its_place(copy: Path) -> None:
    """Without another folder it is replaced itself, whole."""
    bundle = Bundle.open(copy)
    with bundle.rewriting(None) as folder:
        assert {path.name for path in folder.iterdir()} == set(bundle.manifest.files)
        (folder / "model-int8.c").write_bytes(b"/* new */")
    assert Bundle.open(copy).content("model-int8.c") == b"/* new */"
    again = bundle.rewritten(None, {"model-int8.c": b"/* newer */"})
    assert (again.folder, again.content("model-int8.c")) == (copy, b"/* newer */")


def test_a_copy_takes_the_place_of_nothing_else(copy: Path, tmp_path: Path) -> None:
    """A file that is not ours is refused and stays as it is; so is a copy that takes the place of the bundle itself."""
    bundle, place = Bundle.open(copy), tmp_path / "notes.txt"
    place.write_text("mine")
    with pytest.raises(StorageError):
        bundle.rewritten(place, {})
    with pytest.raises(StorageError), bundle.rewriting(place):
        pass
    assert place.read_text() == "mine"
    with pytest.raises(StorageError):
        bundle.rewritten(copy, {})


@pytest.mark.parametrize("feedthrough", [True, False])
def test_a_model_that_needs_the_next_inputs_is_not_run(feedthrough: bool, bundle_folder: Path, tmp_path: Path) -> None:
    """No robot has its inputs a tick ahead: such a bundle says so, with the remedy; any other runs."""

    def change(folder: Path, content: dict[str, Any]) -> None:
        content["training"]["config"]["data"]["feedthrough"] = feedthrough

    bundle = Bundle.open(rehashed(bundle_folder, tmp_path / "b", change))
    assert bundle.feedthrough is feedthrough
    if not feedthrough:
        bundle.require_live()
        return
    with pytest.raises(BundleError) as failed:
        bundle.require_live()
    assert str(failed.value) == (
        f"bundle {tmp_path / 'b'}: its rows are [u_{{k+1}}, y_k], and no robot has its inputs a tick ahead; "
        "evaluate it, or train with feedthrough = false"
    )


def test_a_manifest_is_written_for_people_too(copy: Path) -> None:
    """It is indented by one, ends with a line, and its digest is what `write_manifest` returns."""
    content = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").unlink()
    returned = write_manifest(copy, {key: value for key, value in content.items() if key not in ("files", "digest")})
    text = (copy / "manifest.json").read_text()
    assert returned == content["digest"]
    assert text == json.dumps(json.loads(text), indent=1) + "\n"


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
