"""Parquet: one column per channel, its unit in the field's metadata under `unit`. Needs pyarrow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from rtsysid.errors import TraceError
from rtsysid.recordings.formats import ROWS, Block, Column, block_of, column, damaged, reading
from rtsysid.spec import Channel, Doubles


class ParquetLog:
    """A Parquet file with flat columns; integers, booleans and decimals are read as numbers, null as NaN."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with _opened(path) as file:
            self.rows: int | None = file.metadata.num_rows
            self._fields = list(file.schema_arrow)
        self.columns: tuple[Column, ...] = tuple(_column(field) for field in self._fields)

    def blocks(self, exact: Sequence[int], values: Sequence[int]) -> Iterator[Block]:
        """Stream these columns; a timestamp comes as a count of its unit."""
        wanted = dict.fromkeys((*exact, *values))
        for i in wanted:
            if not self.columns[i].numeric and not _is_time(self._fields[i]):
                found = f"its type is {self._fields[i].type}"
                raise TraceError(f"{self.path.name}, column {self.columns[i].name!r}", found, "leave the column out")
        names = [self._fields[i].name for i in wanted]
        with _opened(self.path) as file:
            for batch in file.iter_batches(ROWS, columns=names):
                cells = {i: _doubles(batch.column(self._fields[i].name)) for i in wanted}
                yield block_of(cells, exact, values)


def write(path: Path, exact: Sequence[Channel], channels: Sequence[Channel], blocks: Iterable[Block]) -> None:
    """Write blocks as row groups: float64 for the exact columns, float32 for the others."""
    pyarrow, parquet = _arrow(path)
    fields = [_field(pyarrow.float64(), channel) for channel in exact]
    schema = pyarrow.schema([*fields, *[_field(pyarrow.float32(), channel) for channel in channels]])
    with parquet.ParquetWriter(path, schema) as file:
        for block in blocks:
            columns = [np.ascontiguousarray(each) for each in (*block.exact.T, *block.values.T)]
            file.write_batch(pyarrow.record_batch(columns, schema=schema))


def _field(kind: Any, channel: Channel) -> Any:
    import pyarrow

    return pyarrow.field(channel.name, kind, metadata={"unit": channel.unit})


def _column(field: Any) -> Column:
    from pyarrow import types

    numeric = any(
        test(field.type) for test in (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)
    )
    unit = (field.metadata or {}).get(b"unit")
    if unit is not None:
        return Column(field.name, unit.decode(errors="replace"), numeric)
    if _is_time(field):
        return Column(field.name, field.type.unit, False)
    return column(field.name, numeric)


def _is_time(field: Any) -> bool:
    from pyarrow import types

    return bool(types.is_timestamp(field.type) or types.is_duration(field.type))


def _doubles(array: Any) -> Doubles:
    import pyarrow

    if pyarrow.types.is_temporal(array.type):
        array = array.cast(pyarrow.int64())
    # safe=False: an integer beyond 2**53 keeps its leading 53 bits
    doubles: Doubles = array.cast(pyarrow.float64(), safe=False).to_numpy(zero_copy_only=False)
    return doubles


def _arrow(path: Path) -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        remedy = "pip install 'rtsysid[train]', or use CSV or npz"
        raise TraceError(f"recording {path.name}", "Parquet needs pyarrow, which is not installed", remedy) from None
    return pyarrow, parquet


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Yield the file; what pyarrow says about damage becomes one line."""
    pyarrow, parquet = _arrow(path)
    try:
        with reading(path), parquet.ParquetFile(path, pre_buffer=False) as file:  # else it holds the whole file
            yield file
    except pyarrow.ArrowException as error:
        raise damaged(path, error) from error
