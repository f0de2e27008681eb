"""Manifest: what a bundle says of itself, as one typed structure in `manifest.json`."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from rtsysid.config import Config
from rtsysid.errors import BundleError
from rtsysid.model.about import AboutModel
from rtsysid.model.tolerance import TOLERANCE, excess, tolerances
from rtsysid.model.untrusted import Refusal, parse_json, read_regular, structure_of
from rtsysid.spec import ModelSpec, to_builtins
from rtsysid.storage.kinds import mistaken

FORMAT = 3
NAME = "manifest.json"
HISTORY = "history.json"
REQUIRED = ("weights.npz", "golden.npz", "baseline.npz")
GRADIENT_GRAPH = "forecast_gradient.onnx"  # for other runtimes; never loaded here
MOST_FILES = 32
LIBRARY = r"model-[a-z0-9_-]{1,32}-linux\.so"
_FILE = re.compile(
    r"(step|forecast|forecast_gradient|initialiser|sample)\.onnx|(weights|golden|baseline|intervals)\.npz|(calibration|history)\.json"
    r"|card\.md"
    rf"|model(-int8|-control|-casadi|-acados)?\.[ch]|{LIBRARY}"
)

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Error: TypeAlias = Annotated[float, msgspec.Meta(ge=0)]
Sha256: TypeAlias = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class TrainingRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the weights came about.

    ``config``: the configuration, stages written out. ``sources``: name and SHA-256 of each recording.
    ``epochs``: number of epochs of all stages. ``validation``: the last validation loss; None without an epoch.
    """

    config: Config
    sources: tuple[tuple[str, str], ...]
    epochs: Count
    validation: float | None


class GeneratedC(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sizes of the generated C in bytes; for int8 weights also the largest errors on the golden trace.

    Errors are in standard deviations of the outputs over the training recordings.
    """

    weight_bytes: Count
    state_bytes: Count
    step: Error | None = None
    forecast: Error | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that `manifest.json` holds.

    ``tolerance``: bounds of the errors of a backend on the golden trace, by the names of
    `rtsysid.model.tolerance.TOLERANCE`. ``rounding``: the float32 errors that they were made from. ``files``: SHA-256
    of every other file. ``about``: what its maker says of it. ``digest``: SHA-256 of all other fields as canonical
    JSON.
    """

    format: Literal[3]
    spec: ModelSpec
    fingerprint: str
    schema_hash: str
    macs: Count
    tolerance: dict[str, Error]
    rounding: dict[str, Error]
    training: TrainingRecord
    versions: dict[str, str]
    c: dict[Literal["float32", "int8"], GeneratedC] = {}
    about: AboutModel = AboutModel()
    files: dict[str, Sha256]
    digest: Sha256

    @property
    def trained_on(self) -> frozenset[str]:
        """SHA-256 of each recording of the training run."""
        return frozenset(digest for _, digest in self.training.sources)

    def content(self) -> dict[str, Any]:
        """Return what is not computed from the files, as `write_manifest` takes it."""
        built: dict[str, Any] = msgspec.to_builtins(self)
        c = {kind: {k: v for k, v in sizes.items() if v is not None} for kind, sizes in built.pop("c").items()}
        kept = {key: value for key, value in built.items() if key not in ("format", "files", "digest")}
        kept["spec"] = to_builtins(self.spec)  # without later fields at their default, as it was written
        kept["about"] = self.about.given()
        return {key: value for key, value in {**kept, "c": c}.items() if value or key not in ("c", "about")}


def read_manifest(folder: Path) -> Manifest:
    """Read and check `manifest.json` of a bundle folder; the files themselves are not looked at.

    Raises BundleError where it is missing, not readable, changed since it was written, of another format, or where a
    field is missing, unknown, of another type or out of its range, and where fields contradict each other.
    """
    refusal = Refusal(BundleError, f"bundle {folder}", "export again")
    if not os.path.exists(folder / NAME):  # a name that is too long is none either
        found, remedy = mistaken(folder, "bundle")
        raise BundleError(f"bundle {folder}", f"no {NAME}: {found}", remedy)
    plain = parse_json(read_regular(folder / NAME, refusal, "json_bytes"), NAME, refusal)
    _check_digest(plain, refusal)
    if plain.get("format") != FORMAT:
        raise refusal(f"format {str(plain.get('format'))[:20]}, this release reads {FORMAT}")
    manifest = structure_of(plain, Manifest, NAME, refusal)
    _check_files(manifest, refusal)
    _check_numbers(manifest, refusal)
    return manifest


def manifest_digest(plain: dict[str, Any]) -> str:
    """Compute the SHA-256 of all fields of a plain manifest but its digest, as canonical JSON."""
    fields = {key: value for key, value in plain.items() if key != "digest"}
    return hashlib.sha256(msgspec.json.encode(fields, order="sorted")).hexdigest()


def _check_digest(plain: dict[str, Any], refusal: Refusal) -> None:
    try:
        actual = manifest_digest(plain)
    except (ValueError, OverflowError, RecursionError):  # half a surrogate pair, an integer of 65 bits, deep nesting
        raise refusal(f"{NAME} is not readable") from None
    if plain.get("digest") != actual:
        raise refusal(f"{NAME} was changed")


def _check_files(manifest: Manifest, refusal: Refusal) -> None:
    """Check that all files are those of a bundle, by their names: none leads out of the folder."""
    files = manifest.files
    for name in files:
        if not _FILE.fullmatch(name):
            raise refusal(f"{NAME} lists {name[:60]!r}, which is no file of a bundle")
    if len(files) > MOST_FILES:
        raise refusal(f"{NAME} lists {len(files)} files, and a bundle has {MOST_FILES} at most")
    of_onnx = any(name.endswith(".onnx") and name != GRADIENT_GRAPH for name in files)
    wanted = (*REQUIRED, *(graph_names(manifest.spec) if of_onnx else ()))
    if lacking := [name for name in wanted if name not in files]:
        raise refusal(f"{NAME} does not list {', '.join(lacking)}")


def graph_names(spec: ModelSpec) -> tuple[str, ...]:
    """List the ONNX graphs of a model."""
    chosen = {"initialiser.onnx": spec.state_init == "network", "sample.onnx": bool(spec.distribution)}
    return ("step.onnx", "forecast.onnx", *(name for name, there in chosen.items() if there))


def _check_numbers(manifest: Manifest, refusal: Refusal) -> None:
    """Check what follows from other fields; a bundle does not choose its own tolerance."""
    spec = manifest.spec
    for name in ("fingerprint", "schema_hash", "macs"):
        if getattr(manifest, name) != getattr(spec, name):
            raise refusal(f"{name} and specification disagree")
    if not spec.scaling.std:
        raise refusal("the specification has no scaling")
    if not manifest.rounding.keys() == manifest.tolerance.keys() == TOLERANCE.keys():
        raise refusal(f"{NAME}: rounding and tolerance are not those of {', '.join(TOLERANCE)}")
    if manifest.tolerance != tolerances(manifest.rounding):
        raise refusal("the tolerance does not follow from the rounding by the table")
    if above := excess(manifest.tolerance):
        raise refusal(f"a tolerance beyond the table: {above}")
