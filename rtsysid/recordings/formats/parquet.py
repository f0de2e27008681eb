"""Read and write Parquet: one column per channel, its unit in the field's metadata under `unit`. Needs pyarrow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rtsysid.errors import TraceError
from rtsysid.guards.limits import checked_size
from rtsysid.recordings.formats import EPISODE, Block, Column, block_of, column, rows_per_block
from rtsysid.recordings.formats.damage import damaged, reading
from rtsysid.recordings.formats.parquet_claims import Footer
from rtsysid.spec import Channel, Doubles

_NUMBERED = "episode_index"  # of a LeRobot dataset, whose other bookkeeping is no channel
_BOOKKEEPING = {_NUMBERED: EPISODE, **{name: name for name in ("frame_index", "index", "task_index", "timestamp")}}


class _Place(NamedTuple):
    """Locate a column: the field of the file, the item of its lists or -1, and by what its numbers are divided."""

    field: int
    item: int = -1
    divisor: float = 1.0


class Reader:
    """Open a Parquet file. Integers, booleans and decimals are numbers; null is NaN.

    A field of lists, which are equally long, is a column for each item: `action[0]`. A file of a LeRobot dataset, which
    numbers its episodes, has a column `t`, too: its `timestamp`, or its `frame_index` at `fps` frames a second.
    Raises TraceError where the file is damaged, ImportError where pyarrow is missing.
    """

    def __init__(self, path: Path, fps: float = 0.0) -> None:
        self.path = path
        with _damage(path):
            self._footer = Footer(path)
        with _opened_parquet(path) as file:
            checked_size(f"recording {path.name}", file.metadata.num_columns, "columns")
            self.rows: int | None = checked_size(f"recording {path.name}: rows", file.metadata.num_rows, "rows")
            self._fields = list(file.schema_arrow)
            self._lengths = [self._length(file, field) for field in self._fields]
        checked_size(f"recording {path.name}", sum(max(each, 1) for each in self._lengths), "columns")
        places = [*self._listed(), *_lerobot([field.name for field in self._fields], fps)]
        self.columns: tuple[Column, ...] = tuple(column for column, _ in places)
        self._places = tuple(place for _, place in places)

    def blocks(self, exact: Sequence[int], values: Sequence[int]) -> Iterator[Block]:
        """Stream the columns with these indices. A timestamp is a count of its unit.

        Raises TraceError for a column that holds no numbers, and for lists of unequal lengths.
        """
        wanted = {i: self._places[i] for i in (*exact, *values)}
        for i, place in wanted.items():
            kind = self._fields[place.field].type
            if not (_is_numeric(kind) or _is_time(kind) or place.item >= 0):
                found = f"its type is {kind}"
                raise TraceError(f"{self.path.name}, column {self.columns[i].name!r}", found, "leave the column out")
        names = list(dict.fromkeys(self._fields[place.field].name for place in wanted.values()))
        with _opened_parquet(self.path) as file:
            self._footer.check_pages(names)
            for batch in file.iter_batches(rows_per_block(len(wanted)), columns=names):
                yield block_of({i: self._cells(batch, place) for i, place in wanted.items()}, exact, values)

    def _cells(self, batch: Any, place: _Place) -> Doubles:
        from pyarrow import compute

        array = batch.column(self._fields[place.field].name)
        if place.item >= 0:
            self._require_length(compute.list_value_length(array), place.field)
            array = compute.list_element(array, place.item)
        doubles = _doubles(array)
        return doubles if place.divisor == 1 else doubles / place.divisor

    def _require_length(self, lengths: Any, field: int) -> None:
        from pyarrow import compute

        bounds = compute.min_max(lengths).as_py()
        if {bounds["min"], bounds["max"]} - {None, self._lengths[field]}:
            found = f"lists of {bounds['min']} to {bounds['max']} numbers"
            remedy = "write lists of one length, or leave the column out"
            raise TraceError(f"{self.path.name}, column {self._fields[field].name!r}", found, remedy)

    def _length(self, file: Any, field: Any) -> int:
        """Return the items of the lists of a field, as its type or its first row says; 0 where it holds none."""
        from pyarrow import types

        if types.is_fixed_size_list(field.type) and _is_numeric(field.type.value_type):
            return int(field.type.list_size)
        if not (types.is_list(field.type) and _is_numeric(field.type.value_type)) or not self.rows:
            return 0
        self._footer.check_pages([field.name])
        first = next(file.iter_batches(1, columns=[field.name])).column(0)[0].as_py()
        return len(first or ())

    def _listed(self) -> Iterator[tuple[Column, _Place]]:
        """Yield the columns of the fields, the bookkeeping of a LeRobot dataset as no channels."""
        numbered = _NUMBERED in [field.name for field in self._fields]
        for k, field in enumerate(self._fields):
            whole = _parquet_column(field)
            if numbered and field.name in _BOOKKEEPING:
                whole = whole._replace(name=_BOOKKEEPING[field.name], numeric=field.name == _NUMBERED)
            if not self._lengths[k]:
                yield whole, _Place(k)
            for item in range(self._lengths[k]):
                yield Column(f"{whole.name}[{item}]", whole.unit, True), _Place(k, item)


def _lerobot(names: Sequence[str], fps: float) -> Iterator[tuple[Column, _Place]]:
    """Yield the time of a file whose episodes are numbered."""
    if _NUMBERED in names and "t" not in names:
        if "timestamp" in names:
            yield Column("t", "s", False), _Place(names.index("timestamp"))
        elif "frame_index" in names and fps > 0:
            yield Column("t", "s", False), _Place(names.index("frame_index"), divisor=fps)


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
    numeric = _is_numeric(field.type)
    unit = (field.metadata or {}).get(b"unit")
    if unit is not None:
        return Column(field.name, unit.decode(errors="replace"), numeric)
    if _is_time(field.type):
        return Column(field.name, field.type.unit, False)
    return column(field.name, numeric)


def _is_numeric(kind: Any) -> bool:
    from pyarrow import types

    return any(test(kind) for test in (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal))


def _is_time(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_timestamp(kind) or types.is_duration(kind))


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
