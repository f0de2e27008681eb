"""Read MAT files of MATLAB (`.mat`): see `array_topics`. Versions 5 to 7 need scipy, version 7.3 needs h5py.

A structure is a group: `/imu/gyro`; items of an array of structures or of cells are `/run[2]/gyro`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rtsysid.recordings.array_topics import ArrayLog, StoredArray
from rtsysid.recordings.formats.damage import damaged, reading
from rtsysid.recordings.formats.hdf5 import Hdf5Arrays
from rtsysid.recordings.matfile import MatIndex

_HDF5 = b"\x89HDF\r\n\x1a\n"
_BEHIND = 512  # bytes before the HDF5 part of a MAT file of version 7.3


class Reader(ArrayLog):
    """Open a MAT file. Raises TraceError where it is damaged, ImportError where scipy or h5py is missing."""

    def __init__(self, path: Path) -> None:
        with reading(path), path.open("rb") as stream:
            head = stream.read(_BEHIND + len(_HDF5))
        if _HDF5 in (head[: len(_HDF5)], head[_BEHIND:]):
            super().__init__(Hdf5Arrays(path, transposed=True))
        else:
            arrays = Mat5Arrays(path)
            super().__init__(arrays)
            self.missing = arrays.missing


class Mat5Arrays:
    """List and read the arrays of numbers in a MAT file of version 5; see `array_topics.ArrayFile`.

    Raises TraceError where it is damaged.
    """

    def __init__(self, path: Path) -> None:
        import scipy.io  # noqa: F401  # an error of the import names the extra that installs it

        self.path = path
        with reading(path):
            raw = path.read_bytes()
        try:
            index = MatIndex(raw)
        except ValueError as error:
            raise damaged(path, error) from error
        self.missing, self._known = index.missing, index.arrays
        self.arrays: Sequence[StoredArray] = [StoredArray(name, each.shape) for name, each in index.arrays.items()]

    def load(self, paths: Sequence[str]) -> Mapping[str, np.ndarray[Any, Any]]:
        """Read arrays [..] by their path. Raises TraceError where one is damaged."""
        variables = {name: self._variable(name) for name in dict.fromkeys(self._known[path].variable for path in paths)}
        return {path: self._within(variables, path) for path in paths}

    def _variable(self, name: str) -> Any:
        from scipy.io import loadmat

        try:
            with reading(self.path), warnings.catch_warnings(action="ignore"):
                return loadmat(str(self.path), appendmat=False, variable_names=[name])[name]
        except Exception as error:  # of a library that was not written for damaged files
            raise damaged(self.path, error) from error

    def _within(self, variables: Mapping[str, Any], path: str) -> np.ndarray[Any, Any]:
        known = self._known[path]
        found = variables[known.variable]
        for place, field in known.steps:
            found = np.ravel(found, order="F")[place]
            found = found[field] if field else found
        array = np.squeeze(np.asarray(found))
        if array.shape != known.shape or array.dtype.kind not in "biuf":
            raise damaged(self.path, ValueError(f"{path} is not what it claims"))
        return array
