"""Bundle: one folder that a robot runs; it is refused where a file differs from what was verified.

====================== =====================================================================================
manifest.json          specification, SHA-256 of every file, tolerances, provenance, and a digest of itself
signature.json         who made it: a signature of that digest (`rtsysid.model.trust`); the one file that is not listed
step.onnx              window, state -> y_next, state_next, code, reconstruction_error
forecast.onnx          window, state, u_future -> y_future, any horizon and batch
sample.onnx            the same with the numbers of sampled futures; only where the model has a distribution
forecast_gradient.onnx window, state, u_future, dy -> du; only with the export target `gradient`
initialiser.onnx       window -> state; only where the specification says so
weights.npz            the same weights as arrays, for the NumPy backend
golden.npz             samples, and the outputs that every backend must reproduce
baseline.npz           the linear ARX fitted to the same recordings
calibration.json       statistics of held-out recordings for novelty; only where there were any
intervals.npz          quantiles of forecast errors on the same recordings
history.json           losses of each epoch of the training, for the report
card.md                what the model is, was trained on, and may be used for, as plain text
model.c, model.h       the model as C99, for a robot or a microcontroller
model-control.c        the same with gradients for controllers (and its .h); it includes model.c
model-X-linux.so       the same compiled for a machine X, for the C backend
====================== =====================================================================================
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from rtsysid.alignment.plan import AlignmentPlan, alignment_plan
from rtsysid.config import Config, Data
from rtsysid.errors import BundleError, ConfigError, SpecError
from rtsysid.model import trust
from rtsysid.model.about import CARD, model_digest, plain_card
from rtsysid.model.contents import BUNDLE_ARRAYS
from rtsysid.model.manifest import FORMAT, NAME, Manifest, manifest_digest, read_manifest
from rtsysid.model.npz import Arrays, read_npz
from rtsysid.model.untrusted import Refusal, open_regular, read_regular
from rtsysid.spec import Channel, ModelSpec, require_channels
from rtsysid.storage import replacing
from rtsysid.storage.products import BUNDLE


class Bundle:
    """A folder whose files were read and hashed once, when it was opened; what is loaded later are those very bytes.

    Arrays are read without pickle; the C backend alone runs code. `signature`: the bytes of `signature.json`, if any.
    """

    def __init__(
        self, folder: Path, manifest: Manifest, contents: Mapping[str, bytes], signature: bytes | None = None
    ) -> None:
        self.folder, self.manifest, self._contents, self._signature = folder, manifest, contents, signature

    @classmethod
    def open(cls, folder: Path | str) -> Bundle:
        """Open a bundle and check every file against the manifest. Raises BundleError at the first difference."""
        folder = Path(folder)
        manifest = read_manifest(folder)
        return cls(folder, manifest, _read_listed(folder, manifest.files), _read_signature(folder))

    @property
    def spec(self) -> ModelSpec:
        """Return the model specification."""
        return self.manifest.spec

    @property
    def id(self) -> str:
        """Return 12 hex digits of the digest over all bytes of the bundle."""
        return self.manifest.digest[:12]

    @cached_property
    def model_id(self) -> str:
        """Return 12 hex digits of the digest over specification and weights: the same for every compiled target.

        Raises BundleError where the weights are not those of the specification.
        """
        return model_digest(self.spec, self.arrays("weights.npz"))[:12]

    def require_model(self, expected: str) -> None:
        """Check the id of the model, or its first 6 digits or more. Raises BundleError where it is another one."""
        if len(expected) < 6 or not self.model_id.startswith(expected.lower()):
            found = f"its model is {self.model_id}, and {expected or 'nothing'} was expected"
            raise BundleError(f"bundle {self.folder}", found, "choose another bundle; rtsysid info shows the model id")

    @property
    def card(self) -> str:
        """Return the model card; empty where there is none. Raises BundleError where it is no plain text."""
        try:
            return plain_card(self.content(CARD), CARD) if CARD in self.manifest.files else ""
        except ConfigError as error:
            raise self.refusal(f"{CARD}: {error.found}") from None

    @property
    def refusal(self) -> Refusal:
        """Return the maker of errors about this bundle."""
        return _refusal(self.folder)

    @property
    def maker(self) -> trust.Maker:
        """Return who signed this bundle, and whether that maker is trusted here: see `rtsysid.model.trust`."""
        return trust.maker_of(self.manifest.digest, self._signature)

    @property
    def trusted(self) -> bool:
        """Tell whether this user, or a maker whose key this user trusts, has signed this bundle."""
        return bool(self.maker.name)

    def content(self, name: str) -> bytes:
        """Return the bytes of a file, as they were hashed. Raises BundleError where the manifest does not list it."""
        if name not in self._contents:
            raise BundleError(f"bundle {self.folder}", f"it has no {name}", "export with the target that makes it")
        return self._contents[name]

    def arrays(self, name: str) -> Arrays:
        """Read the arrays [..] of an npz file.

        Raises BundleError where the manifest does not list it, and where they are not those of the specification.
        """
        return read_npz(self.content(name), name, BUNDLE_ARRAYS[name](self.spec), self.refusal)

    def rewritten(self, out: Path | str | None, files: Mapping[str, bytes], *, overwrite: bool = False) -> Bundle:
        """Write a copy with these files replaced or added to the folder `out`, and open it. The copy has another id.

        None for `out` replaces this bundle itself. Raises what `rewriting` raises.
        """
        with self.rewriting(out, overwrite=overwrite) as folder:
            for name, content in files.items():
                (folder / name).write_bytes(content)
        return Bundle.open(self.folder if out is None else out)

    def signed(self) -> Bundle:
        """Sign this bundle with the key of this user, and open it again; its files and its id stay the same.

        Raises what `rewriting` raises. Where there is no key, one line is logged, and the bundle has no signature.
        """
        with self.rewriting(None, sign=True):
            pass
        return Bundle.open(self.folder)

    @contextmanager
    def rewriting(self, out: Path | str | None, *, overwrite: bool = False, sign: bool = False) -> Iterator[Path]:
        """Yield a copy of the files of this bundle, to be changed; then write its manifest and let it become `out`.

        None for `out` replaces this bundle itself. The copy of a trusted bundle is signed by this user, and any other
        where `sign` says so. Raises StorageError where `out` is refused (`rtsysid.storage`), or is this bundle, or
        cannot be written.
        """
        place, inputs = (self.folder, ()) if out is None else (out, (self.folder,))
        with replacing(place, BUNDLE, inputs=inputs, overwrite=overwrite) as folder:
            for name, content in self._contents.items():
                (folder / name).write_bytes(content)
            yield folder
            digest = write_manifest(folder, self.manifest.content())
            if sign or self.trusted:
                trust.sign(folder, digest)

    @property
    def feedthrough(self) -> bool:
        """Tell whether rows are [u_{k+1}, y_k], as `data.feedthrough` of the training configuration says."""
        return self.data().feedthrough

    def data(self, time: str | None = None) -> Data:
        """Return the settings that recordings are read with: those of the training, with another time column."""
        data = self.manifest.training.config.data
        return data if time is None else msgspec.structs.replace(data, time=time)

    def config(self, time: str | None = None) -> Config:
        """Return the configuration of the training, with another time column of the recordings."""
        return msgspec.structs.replace(self.manifest.training.config, data=self.data(time))

    @property
    def alignment(self) -> AlignmentPlan:
        """Return how messages become samples, as in training, for `rtsysid.Aligner`.

        Raises BundleError where the model was trained on even rows.
        """
        data = self.data()
        if not data.sources:
            found = "it was trained on even rows, and has no map from topics to channels"
            raise BundleError(f"bundle {self.folder}", found, "make the samples with spec.sample({..})")
        return alignment_plan(data.sources, self.spec.channels, data.rate_hz, data.lateness, data.max_age)

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


def write_manifest(folder: Path, content: dict[str, Any]) -> str:
    """Hash every file in the folder and write the manifest, the last file of a bundle; return its digest.

    `content` is written as it is, unchecked: `Bundle.open` checks. `Manifest.content` gives that of another bundle.
    """
    files = {path.name: _sha256(path.read_bytes()) for path in sorted(folder.iterdir()) if path.name != trust.NAME}
    manifest = {"format": FORMAT, **content, "files": files}
    manifest["digest"] = digest = manifest_digest(manifest)
    (folder / NAME).write_text(json.dumps(manifest, indent=1) + "\n")
    return digest


def _read_listed(folder: Path, files: Mapping[str, str]) -> dict[str, bytes]:
    """Read every listed file once, and check that nothing else lies in the folder but hidden files, never opened."""
    contents: dict[str, bytes] = {}
    for name, wanted in files.items():
        held = sum(map(len, contents.values()))
        contents[name] = read_regular(folder / name, _refusal(folder), held=held)
        found = _sha256(contents[name])
        if found != wanted:
            raise _refusal(folder)(f"{name} was changed (SHA-256 {found[:12]}, not {wanted[:12]})")
    for path in folder.iterdir():
        if path.name not in (*files, NAME, trust.NAME) and not path.name.startswith("."):
            remedy = "remove it, or export again"
            raise BundleError(f"bundle {folder}", f"{path.name[:60]!r} is not listed in {NAME}", remedy)
    return contents


def _read_signature(folder: Path) -> bytes | None:
    """Read `signature.json`; None where there is none. Raises BundleError where it is no small regular file."""
    if not os.path.lexists(folder / trust.NAME):
        return None
    with open_regular(folder / trust.NAME, _refusal(folder)) as stream:
        content = stream.read(trust.MOST_BYTES + 1)
    if len(content) > trust.MOST_BYTES:
        raise _refusal(folder)(f"{trust.NAME} has more than {trust.MOST_BYTES} bytes")
    return content


def _refusal(folder: Path) -> Refusal:
    return Refusal(BundleError, f"bundle {folder}", "export again")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
