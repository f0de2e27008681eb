"""Describe bundles, and compare two of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtsysid.cli import console
from rtsysid.cli.calibrate import calibration_summary

if TYPE_CHECKING:
    from rtsysid.model.bundle import Bundle

_PLAIN = ("bundle", "files")  # not compared: each file has a line of its own
_LIVE = ("model_id", "schema_hash")  # what decides whether one may take the place of the other


def is_bundle(path: Path) -> bool:
    """Tell whether a folder claims to be a bundle."""
    return (path / "manifest.json").exists()


def bundle_info(path: Path) -> dict[str, Any]:
    """Describe a bundle as plain values. Raises BundleError where it is none."""
    from rtsysid.model.bundle import Bundle

    bundle = Bundle.open(path)
    spec, maker = bundle.spec, bundle.maker
    return {
        "bundle": str(path), **bundle.manifest.about.given(), "id": bundle.id, "model_id": bundle.model_id,
        "maker": f"{maker.name}, trusted" if maker.name else f"not trusted: {maker.reason}",
        "fingerprint": spec.fingerprint, "schema_hash": spec.schema_hash,
        "variant": spec.variant, "cell": spec.cell, "rate_hz": spec.rate_hz, "feedthrough": bundle.feedthrough,
        "taps": spec.taps,
        "encoder": list(spec.encoder), "hidden": spec.hidden, "multiply_accumulates": spec.macs,
        "inputs": ", ".join(map(str, spec.inputs)), "outputs": ", ".join(map(str, spec.outputs)),
        **calibration_summary(bundle), "files": list(bundle.manifest.files),
    }  # fmt: skip


def compare_bundles(paths: Sequence[Path], json_: bool) -> None:
    """Print what differs between two bundles, and whether one may replace the other on a running robot."""
    from rtsysid.model.bundle import Bundle

    first, second = ({**bundle_info(path), **_details(Bundle.open(path))} for path in paths)
    keys = [key for key in {**first, **second} if key not in _PLAIN and first.get(key) != second.get(key)]
    same = {f"same_{key}": first[key] == second[key] for key in _LIVE}
    if json_:
        differ = {key: [first.get(key), second.get(key)] for key in keys}
        return console.report({"bundles": [str(path) for path in paths], **same, "differ": differ}, True)
    console.report({"bundles": ", ".join(map(str, paths)), **same}, False)
    rows = [[key.replace("_", " "), console.text(first.get(key)), console.text(second.get(key))] for key in keys]
    console.block(console.table(["differs", str(paths[0]), str(paths[1])], rows) if rows else "nothing differs")


def _details(bundle: Bundle) -> dict[str, Any]:
    """Return more of a bundle that a comparison shows."""
    manifest = bundle.manifest
    files = {f"file {name}": digest[:12] for name, digest in manifest.files.items()}
    return {
        "validation_loss": manifest.training.validation, "epochs": manifest.training.epochs,
        "recordings": len(manifest.training.sources), "versions": manifest.versions, **files,
    }  # fmt: skip
