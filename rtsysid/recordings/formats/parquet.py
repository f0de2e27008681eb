"""Read and write Parquet: one column per channel, its unit in the field's metadata under `unit`. Needs pyarrow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from rtsysid.errors import TraceError
from rtsysid.guards.limits import checked_size
from rtsysid.recordings.formats import Block, Column, block_of, column, damaged, reading, rows_per_block
from rtsysid.recordings.formats.parquet_claims import Footer
from rtsysid.spec import Channel, Doubles


class Reader:
    """Open a Parquet file with flat columns. Integers, booleans and decimals are numbers; null is NaN.

    Raises TraceError where the file is damaged, ImportError where pyarrow is missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _damage(path):
            self._footer = Footer(path)
        with _opened_parquet(path) as file:
            checked_size(f"recording {path.name}", file.metadata.num_columns, "columns")
            self.rows: int | None = checked_size(f"recording {path.name}: rows", file.metadata.num_rows, "rows")
            self._fields = list(file.schema_arrow)
            self.columns: tuple[Column, ...] = tuple(_parquet_column(field) for field in self._fields)

    def blocks(self, exact: Sequence[int], values: Sequence[int]) -> Iterator[Block]:
        """Stream the columns with these indices. A timestamp is a count of its unit.

        Raises TraceError for a column that holds no numbers.
        """
        wanted = dict.fromkeys((*exact, *values))
        for i in wanted:
            if not self.columns[i].numeric and not _is_time(self._fields[i]):
                kind = f"its type is {self._fields[i].type}"
                raise TraceError(f"{self.path.name}, column {self.columns[i].name!r}", kind, "leave the column out")
        names = [self._fields[i].name for i in wanted]
        with _opened_parquet(self.path) as file:
            self._footer.check_pages(names)
            for batch in file.iter_batches(rows_per_block(len(names)), columns=names):
                cells = {i: _doubles(batch.column(self._fields[i].name)) for i in wanted}
                yield block_of(cells, exact, values)


def write_blocks(path: Path, exact: Sequence[Channel], channels: Sequence[Channel], blocks: Iterable[Block]) -> None:
    """Write blocks as row groups: float64 for the exact columns, float32 for the others."""
    import pyarrow
    from pyarrow import parquet

    fields = [_parquet_field(pyarrow.float64(), channel) for channel in exact]
    schema = pyarrow.schema([*fields, *[_parquet_field(pyarrow.float32(), channel) for channel in channels]])
    with parquet.ParquetWriter(path, schema) as file:
        for block in blocks:
            columns = [np.ascontiguousarray(each) for each in (*block.exact.T, *block.values.T)]
            file.write_batch(pyarrow.record_batch(columns, schema=schema))


def _parquet_field(kind: Any, channel: Channel) -> Any:
    import pyarrow

    return pyarrow.field(channel.name, kind, metadata={"unit": channel.unit})


def _parquet_column(field: Any) -> Column:
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
    # safe=False: an integer above 2**53 keeps its leading 53 bits
    doubles: Doubles = array.cast(pyarrow.float64(), safe=False).to_numpy(zero_copy_only=False)
    return doubles


@contextmanager
def _opened_parquet(path: Path) -> Iterator[Any]:
    """Open the file. Raises TraceError where pyarrow reports damage."""
    from pyarrow import parquet

    # pre_buffer=False: pyarrow would otherwise hold the whole file
    with _damage(path), parquet.ParquetFile(path, pre_buffer=False) as file:
        yield file


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Raise TraceError where pyarrow, or a check of ours, finds damage."""
    import pyarrow

    try:
        with reading(path):
            yield
    except (pyarrow.ArrowException, ValueError, LookupError, OverflowError) as error:  # of a damaged schema
        raise damaged(path, error) from error
