"""Read LeRobot datasets, versions 2 and 3: a folder of Parquet files that number their episodes. Needs pyarrow.

The columns are those of the files, see `parquet`: `action[0]`, `observation.state[5]`, and `t` within an episode.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from rtsysid.errors import TraceError
from rtsysid.guards.limits import checked_size
from rtsysid.recordings.formats import Block, Column
from rtsysid.recordings.formats.damage import damaged, reading
from rtsysid.recordings.formats.parquet import Reader as ParquetReader

INFO = "meta/info.json"


class _Info(msgspec.Struct):
    fps: float = 0.0
    total_episodes: int = 0
    total_frames: int = 0


class Reader:
    """Open the folder of a dataset. ``missing``: how many of its rows are not in the folder.

    Raises TraceError where a file is damaged, or has other columns than the first one, ImportError without pyarrow.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        info = _read_info(path)
        files = sorted(path.glob("data/**/*.parquet"))
        checked_size(f"dataset {path.name}: files", len(files), "columns")
        if not files:
            raise TraceError(f"dataset {path.name}", "no Parquet file in its folder data", "download its data, too")
        self._parts = [ParquetReader(file, info.fps) for file in files]
        self.columns: tuple[Column, ...] = self._parts[0].columns
        for part in self._parts:
            if part.columns != self.columns:
                found = f"{part.path.name} has other columns than {files[0].name}"
                raise TraceError(f"dataset {path.name}", found, "use files of one version of the dataset")
        self.rows: int | None = sum(part.rows or 0 for part in self._parts)
        self.missing = f"{info.total_frames - self.rows} of {info.total_frames} rows are not in the folder"
        if info.total_frames <= self.rows:
            self.missing = ""

    def blocks(self, exact: Sequence[int], values: Sequence[int]) -> Iterator[Block]:
        """Stream the columns with these indices, file by file. Raises TraceError for a column without numbers."""
        for part in self._parts:
            yield from part.blocks(exact, values)


def _read_info(path: Path) -> _Info:
    with reading(path):
        size = (path / INFO).stat().st_size
        checked_size(f"dataset {path.name}: bytes of {INFO}", size, "json_bytes")
        text = (path / INFO).read_bytes()
    try:
        return msgspec.json.decode(text, type=_Info)
    except (msgspec.DecodeError, RecursionError) as error:
        raise damaged(path / INFO, error) from error
