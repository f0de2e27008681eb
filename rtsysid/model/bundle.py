"""Bundle: one folder that a robot runs; it is refused where a file differs from what was verified.

================= =====================================================================================
manifest.json     specification, SHA-256 of every file, tolerances, provenance, and a digest of itself
step.onnx         window, state -> y_next, state_next, code, reconstruction_error
forecast.onnx     window, state, u_future -> y_future, any horizon and batch
initialiser.onnx  window -> state; only where the specification says so
weights.npz       the same weights as arrays, for the NumPy backend
golden.npz        samples, and the outputs that every backend must reproduce
baseline.npz      the linear ARX fitted to the same recordings
calibration.json  statistics of held-out recordings for novelty; only where there were any
intervals.npz     quantiles of forecast errors on the same recordings
model.c, model.h  the model as C99, for a robot or a microcontroller
model-X-linux.so  the same compiled for a machine X, for the C backend
================= =====================================================================================
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rtsysid.errors import BundleError, SpecError
from rtsysid.model.manifest import FORMAT, NAME, Manifest, manifest_digest, read_manifest
from rtsysid.spec import Channel, ModelSpec, require_channels
from rtsysid.storage import replacing_folder

Arrays = dict[str, np.ndarray[Any, Any]]


class Bundle:
    """A folder that was verified when it was opened. Arrays are read without pickle; the C backend alone runs code."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest

    @classmethod
    def open(cls, folder: Path | str) -> Bundle:
        """Open a bundle and check every file against the manifest. Raises BundleError at the first difference."""
        folder = Path(folder)
        bundle = cls(folder, read_manifest(folder))
        for name in bundle.manifest.files:
            bundle.verified(name)
        return bundle

    @property
    def spec(self) -> ModelSpec:
        """Return the model specification."""
        return self.manifest.spec

    @property
    def id(self) -> str:
        """Return 12 hex digits of the digest over all bytes of the bundle."""
        return self.manifest.digest[:12]

    def path(self, name: str) -> Path:
        """Return the path of a file. Raises BundleError where the manifest does not list it."""
        if name not in self.manifest.files:
            raise BundleError(f"bundle {self.folder}", f"it has no {name}", "export with the target that makes it")
        return self.folder / name

    def verified(self, name: str) -> Path:
        """Return the path of a file after hashing it again: call it right before running code of the bundle.

        Raises BundleError where the file is missing, was changed, or is not in the manifest.
        """
        path, wanted = self.path(name), self.manifest.files[name]
        if Path(name).name != name or not path.is_file():
            raise BundleError(f"bundle {self.folder}", f"{name} is missing", "export it again")
        found = _sha256(path)
        if found != wanted:
            change = f"{name} was changed (SHA-256 {found[:12]}, not {wanted[:12]})"
            raise BundleError(f"bundle {self.folder}", change, "export again")
        return path

    def arrays(self, name: str) -> Arrays:
        """Read the arrays of an npz file. Raises BundleError where the manifest does not list it."""
        with np.load(self.path(name), allow_pickle=False) as stored:
            return dict(stored)

    def rewritten(self, out: Path | str, files: Mapping[str, bytes]) -> Bundle:
        """Write a copy with these files replaced or added to the folder `out`, and open it. The copy has another id.

        `out` may be the folder of this bundle. Raises BundleError where a file of this bundle was changed, and
        StorageError where the copy cannot be written.
        """
        with replacing_folder(out) as folder:
            for name in self.manifest.files:
                shutil.copyfile(self.verified(name), folder / name)
            for name, content in files.items():
                (folder / name).write_bytes(content)
            write_manifest(folder, self.manifest.content())
        return Bundle.open(out)

    @property
    def feedthrough(self) -> bool:
        """Tell whether rows are [u_{k+1}, y_k], as `data.feedthrough` of the training configuration says."""
        return self.manifest.training.config.data.feedthrough

    def require_live(self) -> None:
        """Check that the model can run on a robot. Raises BundleError where it needs the inputs of the next tick."""
        if self.feedthrough:
            found = "its rows are [u_{k+1}, y_k], and no robot has its inputs a tick ahead"
            raise BundleError(f"bundle {self.folder}", found, "evaluate it, or train with feedthrough = false")

    def require(self, channels: tuple[Channel, ...], where: str) -> None:
        """Check that channels are those of the bundle. Raises BundleError for the first that differs."""
        try:
            require_channels(self.spec.channels, channels, where)
        except SpecError as error:
            raise BundleError(error.what, error.found, "use recordings of the robot this was trained for") from None


def write_manifest(folder: Path, content: dict[str, Any]) -> None:
    """Hash every file in the folder and write the manifest, the last file of a bundle.

    `content` is written as it is, unchecked: `Bundle.open` checks. `Manifest.content` gives that of another bundle.
    """
    files = {path.name: _sha256(path) for path in sorted(folder.iterdir())}
    manifest = {"format": FORMAT, **content, "files": files}
    manifest["digest"] = manifest_digest(manifest)
    (folder / NAME).write_text(json.dumps(manifest, indent=1) + "\n")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
