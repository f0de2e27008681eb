"""Read an index: recordings and the binary code of every moment in them, in one memory-mapped folder.

================ ================================================================================================
index.json       specification, span, sources with SHA-256, segments, size of every file, and its own digest
values.f32       rows of all channels, little-endian float32 [n, C]
times.f64        time of each row in its recording in s, little-endian float64 [n]
codes.u8         binary code of each moment [N, 32]; a moment is a window of `span` rows
descriptor.npz   weights of the descriptor [D], directions [D, 256] and thresholds [256] of the hyperplanes
================ ================================================================================================

A segment has no gap. A segment of r rows has r - span + 1 moments. A moment is identified by its newest row.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtsysid.errors import BundleError, SpecError, TraceError
from rtsysid.model.bundle import Bundle
from rtsysid.retrieval.descriptors import Descriptor, Rows, descriptor_of
from rtsysid.retrieval.hashing import BITS, Codes, Hyperplanes, scanner
from rtsysid.spec import Doubles, Floats, ModelSpec, digest, from_builtins

FORMAT = 1
KIND = "rtsysid index"


@dataclass(frozen=True)
class Place:
    """Locate a moment: its recording, and the time of its centre in s."""

    recording: str
    time_s: float


class Index:
    """Hold an open index. `values` [n, C], `times` [n] and `codes` [N, 32] are memory-mapped."""

    def __init__(self, folder: Path, manifest: dict[str, Any], descriptor: Descriptor) -> None:
        self.folder, self.manifest, self.descriptor, self.scan = folder, manifest, descriptor, scanner()
        self.span = int(manifest["span"])
        self.values: Floats = self._mapped("values.f32", np.float32, self.spec.width)
        self.times: Doubles = self._mapped("times.f64", np.float64, 1)[:, 0]
        self.codes: Codes = self._mapped("codes.u8", np.uint8, BITS // 8)
        lengths = np.array([segment["rows"] for segment in manifest["segments"]], np.int64)
        self._first_row = np.concatenate(([0], np.cumsum(lengths)[:-1]))
        self._first_moment = self._first_row - (self.span - 1) * np.arange(len(lengths))
        with np.load(folder / "descriptor.npz", allow_pickle=False) as stored:
            self.weights: Floats = stored["weights"]
            self.hyperplanes = Hyperplanes(stored["directions"], stored["thresholds"])

    @classmethod
    def open(cls, folder: Path | str, bundle: Bundle | None = None) -> Index:
        """Open an index. An index by code needs its bundle; for an index by window the bundle is optional.

        Raises BundleError where the bundle is another one or missing, TraceError where the index is damaged.
        """
        folder = Path(folder)
        manifest = _read_index_manifest(folder)
        made_with = manifest["bundle"]
        if bundle is not None and bundle.id != made_with:
            mismatch = f"made with {f'bundle {made_with}' if made_with else 'no bundle'}, not with {bundle.id}"
            raise BundleError(f"index {folder}", mismatch, "give that bundle, or index again with this one")
        for name, size in manifest["files"].items():
            if not (folder / name).is_file() or (folder / name).stat().st_size != size:
                raise TraceError(f"index {folder}", f"{name} is missing or cut off", "index again")
        try:
            spec = from_builtins(manifest["spec"])
        except SpecError as error:
            raise TraceError(f"index {folder}", error.found, "index again with this release of rtsysid") from None
        return cls(folder, manifest, descriptor_of(manifest["by"], spec, manifest["span"], bundle))

    def __len__(self) -> int:
        """Return the number of moments."""
        return len(self.codes)

    @cached_property
    def spec(self) -> ModelSpec:
        """Return the specification: channels of the archive, and coordinates of its moments."""
        return from_builtins(self.manifest["spec"])

    def newest(self, moments: Rows) -> Rows:
        """Return the newest row [m] of each of the moments [m]."""
        segment = np.searchsorted(self._first_moment, moments, "right") - 1
        return np.asarray(moments + (self.span - 1) * (segment + 1))

    def windows(self, start: int, stop: int) -> Rows:
        """Return the rows from `start` to `stop` that end a moment, in the segment of the middle row."""
        segment = int(np.searchsorted(self._first_row, (start + stop) // 2, "right")) - 1
        first = int(self._first_row[segment])
        last = first + int(self.manifest["segments"][segment]["rows"])
        return np.arange(max(start, first + self.span - 1), min(stop, last))

    def place(self, newest: int) -> Place:
        """Return the recording and the centre time of the moment that ends with row `newest`."""
        segment = int(np.searchsorted(self._first_row, newest, "right")) - 1
        return Place(self.manifest["segments"][segment]["recording"], float(self.times[newest - self.span // 2]))

    def row_of(self, sha256: str, time_s: float) -> int | None:
        """Return the row at `time_s` of the source with this SHA-256, or None where the archive lacks it."""
        for segment, first in zip(self.manifest["segments"], self._first_row, strict=True):
            times = self.times[first : first + segment["rows"]]
            if self.manifest["sources"][segment["source"]]["sha256"] == sha256 and times[0] <= time_s <= times[-1]:
                return int(first + np.searchsorted(times, time_s))
        return None

    def vectors(self, newest: Rows) -> Floats:
        """Return the weighted vectors [m, D] of the moments that end with rows `newest` [m]."""
        return self.weighted(self.values, newest)

    def weighted(self, values: Floats, newest: Rows) -> Floats:
        """Return the weighted vectors [m, D] of moments in any `values` [n, C] with the archive's channels."""
        return self.descriptor.vectors(values, newest) * self.weights

    def _mapped(self, name: str, kind: Any, width: int) -> NDArray[Any]:
        return np.memmap(self.folder / name, kind, "r").reshape(-1, width)


def write_index_manifest(folder: Path, content: dict[str, Any]) -> None:
    """Write the manifest, as the last file of an index. Raises OSError where it cannot be written."""
    files = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    manifest = {"format": FORMAT, "kind": KIND, **content, "files": files}
    manifest["digest"] = digest(manifest)
    (folder / "index.json").write_text(json.dumps(manifest, indent=1) + "\n")


def summary(folder: Path) -> dict[str, Any]:
    """Summarise an index as plain values. Raises TraceError where the folder is not an index."""
    manifest = _read_index_manifest(folder)
    sizes = manifest["files"]
    moments = sizes["codes.u8"] // (BITS // 8)
    return {
        "index": str(folder), "recordings": len(manifest["sources"]), "moments": moments,
        "seconds": manifest["span"] / manifest["spec"]["rate_hz"], "by": manifest["by"], "bundle": manifest["bundle"],
        "bytes_per_moment": sum(sizes.values()) / moments,
    }  # fmt: skip


def is_index(folder: Path) -> bool:
    """Return whether the folder is an index, of any release of rtsysid."""
    try:
        return bool(json.loads((folder / "index.json").read_text())["kind"] == KIND)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _read_index_manifest(folder: Path) -> dict[str, Any]:
    if not is_index(folder):
        raise TraceError(f"index {folder}", "the folder is not an index", "make one with rtsysid index")
    manifest: dict[str, Any] = json.loads((folder / "index.json").read_text())
    stated = manifest.pop("digest", None)
    if stated != digest(manifest) or manifest.get("format") != FORMAT:
        raise TraceError(f"index {folder}", "its manifest was changed, or is of another release", "index again")
    return manifest
