"""Build an index: read the recordings one at a time, then compute the code of every moment in blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec
import numpy as np

from rtsysid.errors import TraceError
from rtsysid.model.bundle import Bundle
from rtsysid.recordings.pieces import LeftOut, left_out, merged
from rtsysid.recordings.trace import Trace
from rtsysid.retrieval.descriptors import Descriptor, descriptor_of, plain_spec, weights_of
from rtsysid.retrieval.hashing import Hyperplanes
from rtsysid.retrieval.index import Index, write_index_manifest
from rtsysid.spec import Channel, ModelSpec, rotation_columns, to_builtins
from rtsysid.storage import replacing
from rtsysid.storage.products import INDEX

BLOCK = 4096  # moments per block
SAMPLE = 20_000  # moments from which weights and hyperplanes are computed


class Progress(NamedTuple):
    """Count finished recordings (while reading) or moments (while encoding): `done` of `total`.

    `notes` say, with the last moments, which pieces of the recordings were left out.
    """

    what: str
    done: int
    total: int
    notes: tuple[LeftOut, ...] = ()


def build(
    recordings: Iterable[Trace], out: Path | str, *, bundle: Bundle | None = None, spec: ModelSpec | None = None,
    by: str = "window", seconds: float = 1.0, overwrite: bool = False,
) -> Index:  # fmt: skip
    """Index recordings, one after the other, into the folder `out`. It replaces an older index; see `building`."""
    for _ in building(recordings, out, bundle=bundle, spec=spec, by=by, seconds=seconds, overwrite=overwrite):
        pass
    return Index.open(out, bundle)


def building(
    recordings: Iterable[Trace], out: Path | str, *, bundle: Bundle | None = None, spec: ModelSpec | None = None,
    by: str = "window", seconds: float = 1.0, overwrite: bool = False,
) -> Iterator[Progress]:  # fmt: skip
    """Build an index and yield the progress. The folder appears when it is complete.

    Channels and coordinates are those of the bundle, otherwise of `spec`, otherwise the channels of the first
    recording, unchanged. Memory holds one recording and a block of moments. Raises TraceError where no recording has
    an unbroken segment of `seconds`, BundleError for an index by code without an encoder, SpecError where a moment is
    shorter than the encoder's window, and StorageError where `out` is refused (`rtsysid.storage`).
    """
    inputs = () if bundle is None else (bundle.folder,)
    with replacing(out, INDEX, inputs=inputs, overwrite=overwrite) as folder:
        contents, descriptor = _Contents(spec if bundle is None else bundle.spec, seconds), None
        with open(folder / "values.f32", "wb") as values, open(folder / "times.f64", "wb") as times:
            for number, trace in enumerate(recordings, 1):
                contents.append(trace, values, times)
                if contents.lengths:
                    descriptor = descriptor or descriptor_of(by, contents.spec, contents.span, bundle)
                yield Progress("reading", number, number)
        if descriptor is None:
            raise contents.nothing_left
        yield from _encode(folder, contents, descriptor)
        made_with = {} if bundle is None else {"bundle": bundle.id, "reading": msgspec.to_builtins(bundle.data())}
        write_index_manifest(folder, {"bundle": None, "by": by, **made_with, **contents.described()})


class _Contents:
    """Collect the recordings that are read: channels, sources and segments."""

    def __init__(self, spec: ModelSpec | None, seconds: float) -> None:
        # Without feedback the features are the inputs alone; similarity uses the outputs too
        if spec is not None and spec.feedback is False:
            spec = msgspec.structs.replace(spec, feedback=True)
        self._spec = spec
        self._seconds = seconds
        self._sources: list[dict[str, str]] = []
        self._segments: list[dict[str, Any]] = []
        self._notes: list[LeftOut] = []

    @property
    def notes(self) -> tuple[LeftOut, ...]:
        """Say which pieces are shorter than a moment, and how many rows are not finite."""
        return merged(self._notes)

    @property
    def nothing_left(self) -> TraceError:
        """Return the error for recordings without a moment."""
        counts = "; ".join(note.line for note in self.notes) or "no recording was given"
        found = f"no segment of {self._seconds:g} s without a gap ({counts})"
        return TraceError("index", found, "shorten the moments with --seconds, or give other recordings")

    @property
    def spec(self) -> ModelSpec:
        if self._spec is None:
            raise TraceError("index", "no recording was given", "name at least one file or folder")
        return self._spec

    @property
    def span(self) -> int:
        """Return the number of rows of a moment. Raises TraceError where it is out of range."""
        rows = self._seconds * self.spec.rate_hz
        if not 2 <= rows < 2**31:
            raise TraceError("--seconds", f"{self._seconds:g} s are {rows:g} rows", "a moment needs two rows or more")
        return round(rows)

    @property
    def lengths(self) -> list[int]:
        return [segment["rows"] for segment in self._segments]

    def append(self, trace: Trace, values: IO[bytes], times: IO[bytes]) -> None:
        """Write the segments without a gap that are long enough. Raises TraceError where times are uneven."""
        if self._spec is None and (rate_hz := trace.describe()["rate_hz"]):
            self._spec = plain_spec(trace.channels, float(f"{rate_hz:.6g}"))
        if self._spec is None:
            self._notes += left_out("index", 2, len(trace.episodes), len(trace))
        else:
            self._write_segments(trace, _channel_columns(self._spec.channels, trace.channels), values, times)
        name, sha256 = trace.sources[0] if trace.sources else (trace.episodes[0].recording, "")
        self._sources.append({"name": name, "sha256": sha256})

    def _write_segments(self, trace: Trace, columns: list[int], values: IO[bytes], times: IO[bytes]) -> None:
        pieces = trace.segments(self.spec.rate_hz, nan="split", min_length=self.span, allow_none=True)
        pieces = pieces.with_continuous(rotation_columns(trace.channels))
        for piece in pieces.episodes:
            values.write(piece.values[:, columns].astype("<f4").tobytes())
            times.write(piece.t.astype("<f8").tobytes())
            where = {"recording": piece.recording, "source": len(self._sources), "rows": len(piece)}
            self._segments.append(where)
        self._notes += [note for note in pieces.notes if isinstance(note, LeftOut)]

    def described(self) -> dict[str, Any]:
        """Return the entries of the manifest about specification, sources and segments."""
        spec = self.spec
        about = {"spec": to_builtins(spec), "fingerprint": spec.fingerprint, "span": self.span}
        return {**about, "rows": sum(self.lengths), "sources": self._sources, "segments": self._segments}


def _encode(folder: Path, contents: _Contents, descriptor: Descriptor) -> Iterator[Progress]:
    """Compute weights and hyperplanes from a sample of the moments, then the code of every moment."""
    span, lengths = contents.span, contents.lengths
    values = np.memmap(folder / "values.f32", np.float32, "r").reshape(-1, contents.spec.width)
    ends = np.cumsum(lengths)
    newest = np.concatenate([np.arange(end - rows + span - 1, end) for end, rows in zip(ends, lengths, strict=True)])
    chosen = np.linspace(0, len(newest) - 1, min(SAMPLE, len(newest))).astype(np.int64)
    sample = np.concatenate([descriptor.vectors(values, newest[block]) for block in _row_blocks(chosen)])
    weights = weights_of(descriptor.groups, sample)
    hyperplanes = Hyperplanes.fit(sample * weights)
    np.savez(folder / "descriptor.npz", allow_pickle=False, weights=weights, **vars(hyperplanes))
    yield Progress("encoding", 0, len(newest))
    with open(folder / "codes.u8", "wb") as stream:
        for start in range(0, len(newest), BLOCK):
            rows = newest[start : start + BLOCK]
            stream.write(hyperplanes.codes(descriptor.vectors(values, rows) * weights).tobytes())
            yield Progress("encoding", start + len(rows), len(newest), contents.notes)


def _row_blocks(rows: np.ndarray[Any, np.dtype[np.int64]]) -> Iterator[np.ndarray[Any, np.dtype[np.int64]]]:
    for start in range(0, len(rows), BLOCK):
        yield rows[start : start + BLOCK]


def _channel_columns(wanted: Sequence[Channel], stored: Sequence[Channel]) -> list[int]:
    names = [channel.name for channel in stored]
    return [names.index(channel.name) for channel in wanted]
