"""Manifest: what a bundle says of itself, as one typed structure in `manifest.json`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec

from rtsysid.config import Config
from rtsysid.errors import BundleError, RtsysidError
from rtsysid.spec import ModelSpec

FORMAT = 2
NAME = "manifest.json"


class TrainingRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the weights came about.

    ``config``: the configuration, stages written out. ``sources``: name and SHA-256 of each recording.
    ``epochs``: number of epochs of all stages. ``validation``: the last validation loss; None without an epoch.
    """

    config: Config
    sources: tuple[tuple[str, str], ...]
    epochs: int
    validation: float | None


class GeneratedC(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sizes of the generated C in bytes; for int8 weights also the largest errors on the golden trace.

    Errors are in standard deviations of the outputs over the training recordings.
    """

    weight_bytes: int
    state_bytes: int
    step: float | None = None
    forecast: float | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that `manifest.json` holds.

    ``tolerance``: bounds of the errors of a backend on the golden trace, for ``step`` and ``forecast``. ``rounding``:
    the float32 errors that they were made from. ``files``: SHA-256 of every other file. ``digest``: SHA-256 of all
    other fields as canonical JSON.
    """

    format: int
    spec: ModelSpec
    fingerprint: str
    schema_hash: str
    macs: int
    tolerance: dict[str, float]
    rounding: dict[str, float]
    training: TrainingRecord
    versions: dict[str, str]
    c: dict[str, GeneratedC] = {}
    files: dict[str, str]
    digest: str

    @property
    def trained_on(self) -> frozenset[str]:
        """SHA-256 of each recording of the training run."""
        return frozenset(digest for _, digest in self.training.sources)

    def content(self) -> dict[str, Any]:
        """Return what is not computed from the files, as `write_manifest` takes it."""
        built: dict[str, Any] = msgspec.to_builtins(self)
        c = {kind: {k: v for k, v in sizes.items() if v is not None} for kind, sizes in built.pop("c").items()}
        kept = {key: value for key, value in built.items() if key not in ("format", "files", "digest")}
        return {**kept, "c": c} if c else kept


def read_manifest(folder: Path) -> Manifest:
    """Read and check `manifest.json` of a bundle folder; the files themselves are not looked at.

    Raises BundleError where it is missing, not readable, changed since it was written, of another format, or where a
    field is missing, unknown or of another type, and where fingerprint and specification disagree.
    """
    plain = _plain(folder)
    if plain.get("format") != FORMAT:
        found = f"format {plain.get('format')}, this release reads {FORMAT}"
        raise BundleError(f"bundle {folder}", found, "export again")
    try:
        manifest = msgspec.convert(plain, Manifest)
    except (msgspec.ValidationError, RtsysidError) as error:
        raise BundleError(f"bundle {folder}", f"{NAME}: {error}", "export again") from None
    if manifest.spec.fingerprint != manifest.fingerprint:
        raise BundleError(f"bundle {folder}", "fingerprint and specification disagree", "export again")
    return manifest


def manifest_digest(plain: dict[str, Any]) -> str:
    """Compute the SHA-256 of all fields of a plain manifest but its digest, as canonical JSON."""
    fields = {key: value for key, value in plain.items() if key != "digest"}
    return hashlib.sha256(msgspec.json.encode(fields, order="sorted")).hexdigest()


def _plain(folder: Path) -> dict[str, Any]:
    """Return the manifest as plain values, after its digest was checked."""
    try:
        plain: dict[str, Any] = json.loads((folder / NAME).read_text())
        stated = plain["digest"]
        actual = manifest_digest(plain)
    except FileNotFoundError:
        raise BundleError(f"bundle {folder}", f"no {NAME}", "give a folder made by rtsysid export") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise BundleError(f"bundle {folder}", f"{NAME} is not readable", "export again") from None
    if stated != actual:
        raise BundleError(f"bundle {folder}", f"{NAME} was changed", "export again")
    return plain
