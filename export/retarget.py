"""Make a bundle for other targets of a bundle: its weights and its golden trace are all that it takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export.targets import Target, write_c, write_graphs
from rtsysid.model import trust
from rtsysid.model.about import CARD
from rtsysid.model.bundle import Bundle, write_manifest
from rtsysid.model.golden import Row
from rtsysid.model.manifest import HISTORY
from rtsysid.model.parity import measure_each
from rtsysid.storage import replacing
from rtsysid.storage.products import BUNDLE

KEPT = (".npz", "calibration.json", HISTORY, CARD)  # what does not depend on the targets


def retarget(
    bundle: Bundle, out: Path | str, targets: Sequence[Target], *, overwrite: bool = False
) -> tuple[Bundle, list[Row]]:
    """Write the bundle with these targets and no others to the folder `out`, and verify it.

    Raises ParityError where a backend does not reproduce the network, BundleError where a target lacks its compiler,
    StorageError where `out` is refused.
    """
    weights, golden = bundle.arrays("weights.npz"), bundle.arrays("golden.npz")
    with replacing(out, BUNDLE, inputs=_own_folder(bundle), overwrite=overwrite) as folder:
        for name in (each for each in bundle.manifest.files if each.endswith(KEPT)):
            (folder / name).write_bytes(bundle.content(name))
        write_graphs(bundle.spec, weights, golden, folder, targets)
        sizes = write_c(bundle.spec, weights, golden, folder, targets)
        content: dict[str, Any] = {key: each for key, each in bundle.manifest.content().items() if key != "c"}
        digest = write_manifest(folder, {**content, **sizes})
        rows = measure_each(Bundle.open(folder))
        for row in rows:
            row.require("the new bundle", "nothing was written; report this")
        trust.sign(folder, digest)
    return Bundle.open(out), rows


def _own_folder(bundle: Bundle) -> tuple[Path, ...]:
    return (bundle.folder,) if bundle.folder.exists() else ()
