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
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from rtsysid.config import Data
from rtsysid.errors import BundleError, TraceError
from rtsysid.model.bundle import Bundle
from rtsysid.model.manifest import Count
from rtsysid.model.npz import ArrayType, read_npz
from rtsysid.model.untrusted import Refusal, open_regular, parse_json, read_regular, structure_of
from rtsysid.retrieval.descriptors import Descriptor, Rows, descriptor_of
from rtsysid.retrieval.hashing import BITS, Codes, Hyperplanes, scanner
from rtsysid.spec import Doubles, Floats, ModelSpec, digest
from rtsysid.storage.kinds import mistaken

FORMAT = 1
KIND = "rtsysid index"
NAME = "index.json"


class Segment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows without a gap. ``source``: number of the file among the sources."""

    recording: str
    source: Count
    rows: Count


class IndexedFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file that was indexed: its name and SHA-256; empty where the recording came from no file."""

    name: str
    sha256: str


class Sizes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename=lambda name: name.replace("_", ".")):
    """Sizes of the files of an index in bytes."""

    codes_u8: Count
    descriptor_npz: Count
    times_f64: Count
    values_f32: Count


class IndexManifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that `index.json` holds but its digest.

    ``bundle``: the id of the bundle that it was made with; ``reading``: the settings of that bundle for recordings.
    """

    format: Literal[1]
    kind: Literal["rtsysid index"]
    bundle: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{12}$")] | None
    reading: Data | None = None
    by: Literal["window", "code"]
    spec: ModelSpec
    fingerprint: str
    span: Annotated[int, msgspec.Meta(ge=2, lt=2**31)]
    rows: Count
    sources: tuple[IndexedFile, ...]
    segments: Annotated[tuple[Segment, ...], msgspec.Meta(min_length=1)]
    files: Sizes

    @property
    def moments(self) -> int:
        """Number of moments: a segment of r rows has r - span + 1."""
        return self.rows - (self.span - 1) * len(self.segments)


@dataclass(frozen=True)
class Place:
    """Locate a moment: its recording, and the time of its centre in s."""

    recording: str
    time_s: float


class Index:
    """Hold an open index. `values` [n, C], `times` [n] and `codes` [N, 32] are memory-mapped."""

    def __init__(self, folder: Path, manifest: IndexManifest, descriptor: Descriptor) -> None:
        self.folder, self.manifest, self.descriptor, self.scan = folder, manifest, descriptor, scanner()
        self.span = manifest.span
        self.values: Floats = self._mapped("values.f32", "<f4", (manifest.rows, self.spec.width))
        self.times: Doubles = self._mapped("times.f64", "<f8", (manifest.rows,))
        self.codes: Codes = self._mapped("codes.u8", "|u1", (manifest.moments, BITS // 8))
        lengths = np.array([segment.rows for segment in manifest.segments], np.int64)
        self._first_row = np.concatenate(([0], np.cumsum(lengths)[:-1]))
        self._first_moment = self._first_row - (self.span - 1) * np.arange(len(lengths))
        size = sum(len(group.columns) for group in descriptor.groups)
        types = {"weights": (size,), "directions": (size, BITS), "thresholds": (BITS,)}
        name, refusal = "descriptor.npz", _refusal(folder)
        content = read_regular(folder / name, refusal)
        stored = read_npz(content, name, {key: ArrayType("<f4", shape) for key, shape in types.items()}, refusal)
        self.weights: Floats = stored["weights"]
        self.hyperplanes = Hyperplanes(stored["directions"], stored["thresholds"])

    @classmethod
    def open(cls, folder: Path | str, bundle: Bundle | None = None) -> Index:
        """Open an index. An index by code needs its bundle; for an index by window the bundle is optional.

        Raises BundleError where the bundle is another one or missing, TraceError where the index is damaged.
        """
        folder = Path(folder)
        manifest = _read_index_manifest(folder)
        if bundle is not None and bundle.id != manifest.bundle:
            made_with = f"bundle {manifest.bundle}" if manifest.bundle else "no bundle"
            mismatch = f"made with {made_with}, not with {bundle.id}"
            raise BundleError(f"index {folder}", mismatch, "give that bundle, or index again with this one")
        if bundle is not None and bundle.spec.channels != manifest.spec.channels:
            raise _refusal(folder)("its channels are not those of its bundle")
        return cls(folder, manifest, descriptor_of(manifest.by, manifest.spec, manifest.span, bundle))

    def __len__(self) -> int:
        """Return the number of moments."""
        return len(self.codes)

    @property
    def spec(self) -> ModelSpec:
        """Return the specification: channels of the archive, and coordinates of its moments."""
        return self.manifest.spec

    def newest(self, moments: Rows) -> Rows:
        """Return the newest row [m] of each of the moments [m]."""
        segment = np.searchsorted(self._first_moment, moments, "right") - 1
        return np.asarray(moments + (self.span - 1) * (segment + 1))

    def windows(self, start: int, stop: int) -> Rows:
        """Return the rows from `start` to `stop` that end a moment, in the segment of the middle row."""
        segment = int(np.searchsorted(self._first_row, (start + stop) // 2, "right")) - 1
        first = int(self._first_row[segment])
        last = first + self.manifest.segments[segment].rows
        return np.arange(max(start, first + self.span - 1), min(stop, last))

    def place(self, newest: int) -> Place:
        """Return the recording and the centre time of the moment that ends with row `newest`.

        Raises TraceError where the time is not finite.
        """
        segment = int(np.searchsorted(self._first_row, newest, "right")) - 1
        time_s = float(self.times[newest - self.span // 2])
        if not math.isfinite(time_s):
            raise _refusal(self.folder)("a time is not finite")
        return Place(self.manifest.segments[segment].recording, time_s)

    def row_of(self, sha256: str, time_s: float) -> int | None:
        """Return the row at `time_s` of the source with this SHA-256, or None where the archive lacks it."""
        for segment, first in zip(self.manifest.segments, self._first_row, strict=True):
            times = self.times[first : first + segment.rows]
            if self.manifest.sources[segment.source].sha256 == sha256 and times[0] <= time_s <= times[-1]:
                return int(first + np.searchsorted(times, time_s))
        return None

    def vectors(self, newest: Rows) -> Floats:
        """Return the weighted vectors [m, D] of the moments that end with rows `newest` [m]; see `weighted`."""
        return self.weighted(self.values, newest)

    def weighted(self, values: Floats, newest: Rows) -> Floats:
        """Return the weighted vectors [m, D] of moments in any `values` [n, C] with the archive's channels.

        Raises TraceError where one is not finite.
        """
        vectors: Floats = self.descriptor.vectors(values, newest) * self.weights
        if not np.isfinite(vectors).all():
            raise _refusal(self.folder)("a value of a moment is not finite")
        return vectors

    def _mapped(self, name: str, kind: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """Map a file whose size the manifest implies."""
        with open_regular(self.folder / name, _refusal(self.folder)) as stream:
            if os.fstat(stream.fileno()).st_size != int(np.dtype(kind).itemsize * np.prod(shape, dtype=object)):
                raise _refusal(self.folder)(f"{name} is cut off, or of another size than {NAME} says")
            return np.memmap(stream, kind, "r", shape=shape)


def write_index_manifest(folder: Path, content: dict[str, Any]) -> None:
    """Write the manifest, as the last file of an index. Raises OSError where it cannot be written."""
    files = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    manifest = {"format": FORMAT, "kind": KIND, **content, "files": files}
    manifest["digest"] = digest(manifest)
    (folder / NAME).write_text(json.dumps(manifest, indent=1) + "\n")


def summary(folder: Path) -> dict[str, Any]:
    """Summarise an index as plain values. Raises TraceError where the folder is not an index."""
    manifest = _read_index_manifest(folder)
    sizes: dict[str, int] = msgspec.to_builtins(manifest.files)
    return {
        "index": str(folder), "recordings": len(manifest.sources), "moments": manifest.moments,
        "seconds": manifest.span / manifest.spec.rate_hz, "by": manifest.by, "bundle": manifest.bundle,
        "bytes_per_moment": sum(sizes.values()) / manifest.moments,
    }  # fmt: skip


def is_index(folder: Path) -> bool:
    """Return whether the folder is an index, of any release of rtsysid."""
    try:
        return _plain(folder).get("kind") == KIND
    except TraceError:
        return False


def _read_index_manifest(folder: Path) -> IndexManifest:
    refusal = _refusal(folder)
    if not is_index(folder):
        raise TraceError(f"index {folder}", *mistaken(folder, "index"))
    plain = _plain(folder)
    if plain.pop("digest", None) != _digest(plain) or plain.get("format") != FORMAT:
        raise refusal(f"{NAME} was changed, or is of another release")
    manifest = structure_of(plain, IndexManifest, NAME, refusal)
    _check_segments(manifest, refusal)
    return manifest


def _plain(folder: Path) -> dict[str, Any]:
    return parse_json(read_regular(folder / NAME, _refusal(folder), "json_bytes"), NAME, _refusal(folder))


def _digest(plain: dict[str, Any]) -> str:
    try:
        return digest(plain)
    except (ValueError, OverflowError, RecursionError):  # half a surrogate pair, an integer of 65 bits, deep nesting
        return ""


def _check_segments(manifest: IndexManifest, refusal: Refusal) -> None:
    """Check what follows from other fields."""
    rows, sizes = sum(segment.rows for segment in manifest.segments), manifest.files
    shortest = min(segment.rows for segment in manifest.segments)
    last = max(segment.source for segment in manifest.segments)
    if shortest < manifest.span or last >= len(manifest.sources):
        raise refusal(f"{NAME}: a segment is shorter than a moment, or of no source")
    implied = (rows, 4 * rows * manifest.spec.width, 8 * rows, BITS // 8 * manifest.moments)
    if (manifest.rows, sizes.values_f32, sizes.times_f64, sizes.codes_u8) != implied:
        raise refusal(f"{NAME}: the segments do not have as many rows as it says")
    if manifest.fingerprint != manifest.spec.fingerprint:
        raise refusal(f"{NAME}: fingerprint and specification disagree")


def _refusal(folder: Path) -> Refusal:
    return Refusal(TraceError, f"index {folder}", "index again")
