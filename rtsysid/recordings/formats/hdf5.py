"""Read HDF5 files (`.h5`, `.hdf5`), and MAT files of version 7.3, which are HDF5: see `array_topics`. Needs h5py.

Links to other files are not followed, and arrays that are stored in other files are not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from rtsysid.errors import TraceError
from rtsysid.guards.limits import checked_growth, checked_size
from rtsysid.recordings.array_topics import ArrayLog, StoredArray
from rtsysid.recordings.formats.damage import damaged, reading

_TEXT_CLASSES = (b"char", b"cell", b"function_handle", b"string")  # of MATLAB, stored as numbers


class Reader(ArrayLog):
    """Open an HDF5 file. Raises TraceError where it is damaged, ImportError where h5py is missing."""

    def __init__(self, path: Path) -> None:
        super().__init__(Hdf5Arrays(path))


class Hdf5Arrays:
    """List and read the arrays of numbers in an HDF5 file; see `array_topics.ArrayFile`.

    ``transposed``: MATLAB stores the first index of an array as the last one. Raises TraceError where it is damaged.
    """

    def __init__(self, path: Path, transposed: bool = False) -> None:
        self.path, self._transposed = path, transposed
        self._listed = 0
        with self._opened() as file:
            self.arrays: Sequence[StoredArray] = list(self._walk(file["/"], "", 0, set()))

    def load(self, paths: Sequence[str]) -> Mapping[str, np.ndarray[Any, Any]]:
        """Read arrays [..] by their path. Raises TraceError where one is damaged, and where they exceed the limits."""
        found, claimed = {}, 0
        with self._opened() as file:
            for path in paths:
                dataset = file[path]
                claimed += dataset.nbytes
                checked_growth(f"recording {self.path.name}: {path}", claimed, self.path.stat().st_size)
                array = np.squeeze(dataset[()])
                found[path] = array.T if self._transposed else array
        return found

    def _walk(self, group: Any, prefix: str, depth: int, seen: set[int]) -> Iterator[StoredArray]:
        import h5py

        checked_size(f"recording {self.path.name}: groups in groups", depth, "depth")
        seen.add(h5py.h5o.get_info(group.id).addr)
        for name in group:
            self._listed += 1
            checked_size(f"recording {self.path.name}: arrays and groups", self._listed, "columns")
            if not name.isprintable() or name.startswith("#") or not _is_hard(group, name):
                continue
            item = group[name]
            if isinstance(item, h5py.Dataset) and _holds_numbers(item):
                shape = tuple(n for n in item.shape if n != 1)
                yield StoredArray(f"{prefix}/{name}", shape[::-1] if self._transposed else shape, _stated_unit(item))
            elif isinstance(item, h5py.Group) and h5py.h5o.get_info(item.id).addr not in seen:
                yield from self._walk(item, f"{prefix}/{name}", depth + 1, seen)

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        import h5py

        try:
            with reading(self.path), h5py.File(self.path, "r") as file:
                yield file
        except TraceError:
            raise
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
            raise damaged(self.path, error) from error  # the library reports damage by any of these


def _is_hard(group: Any, name: str) -> bool:
    """Tell whether a link leads to an object of its own, not to another path or to another file."""
    import h5py

    return isinstance(group.get(name, getlink=True), h5py.HardLink)


def _holds_numbers(dataset: Any) -> bool:
    shape, kind = dataset.shape, dataset.dtype.kind
    text = _fixed_text(dataset, "MATLAB_class") in _TEXT_CLASSES or "MATLAB_empty" in dataset.attrs
    elsewhere = dataset.external is not None or dataset.is_virtual
    return kind in "biuf" and shape is not None and 0 not in shape and not text and not elsewhere


def _stated_unit(dataset: Any) -> str:
    return (_fixed_text(dataset, "unit") or _fixed_text(dataset, "units")).decode(errors="replace")[:40]


def _fixed_text(dataset: Any, name: str) -> bytes:
    """Return a text that is kept with an array, b"" where there is none, or none of a fixed length.

    The HDF5 library (2.0.0) does not come back from the text of a variable length in some damaged files.
    """
    import h5py

    if name not in dataset.attrs:
        return b""
    kind = h5py.h5a.open(dataset.id, name.encode()).get_type()
    fixed = isinstance(kind, h5py.h5t.TypeStringID) and not kind.is_variable_str()
    return bytes(dataset.attrs[name]) if fixed and dataset.attrs.get_id(name).shape == () else b""
