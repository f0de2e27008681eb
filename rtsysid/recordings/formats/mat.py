"""Read MAT files of MATLAB (`.mat`): see `array_topics`. Version 7.3 needs h5py.

A structure is a group: `/imu/gyro`; items of an array of structures or of cells are `/run[2]/gyro`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rtsysid.recordings.array_topics import ArrayLog, StoredArray
from rtsysid.recordings.formats.damage import damaged, reading
from rtsysid.recordings.formats.hdf5 import Hdf5Arrays
from rtsysid.recordings.matfile import MatFile

_HDF5 = b"\x89HDF\r\n\x1a\n"
_BEHIND = 512  # bytes before the HDF5 part of a MAT file of version 7.3


class Reader(ArrayLog):
    """Open a MAT file. Raises TraceError where it is damaged, ImportError where version 7.3 misses h5py."""

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
        self.path = path
        with reading(path):
            raw = path.read_bytes()
        try:
            self._file = MatFile(raw)
        except ValueError as error:
            raise damaged(path, error) from error
        self.missing = self._file.missing
        self.arrays: Sequence[StoredArray] = [StoredArray(name, each.shape) for name, each in self._file.arrays.items()]

    def load(self, paths: Sequence[str]) -> Mapping[str, np.ndarray[Any, Any]]:
        """Read arrays [..] by their path."""
        return self._file.load(list(paths))
