"""Write the predictions of a session to a file, and read them: CSV or npz."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np

from rtsysid.errors import TraceError
from rtsysid.guards.limits import VARIABLE
from rtsysid.live.session import STATUSES, Prediction
from rtsysid.recordings.formats.csv_text import text_lines
from rtsysid.recordings.formats.npz import read_arrays
from rtsysid.spec import Channel, Doubles, Floats
from rtsysid.statuses import BY_NAME, Status
from rtsysid.storage import replacing
from rtsysid.storage.products import PREDICTIONS, npz_mark


class Recorded(NamedTuple):
    """Predictions from a file: ``t`` [N] in s, ``y`` [N, ny] in engineering units, ``status`` [N], ``columns`` [ny]."""

    t: Doubles
    y: Floats
    status: list[Status]
    columns: tuple[str, ...]


def write_predictions(
    path: Path | str,
    outputs: Sequence[Channel],
    predictions: Iterable[Prediction],
    *,
    inputs: Sequence[Path | str] = (),
    overwrite: bool = False,
) -> int:
    """Write time, predicted outputs and status; return the number of predictions.

    The suffix chooses the format: `.csv` and `.csv.gz` are written as the predictions come, in constant memory, with 9
    significant digits, which keep a float32 exactly; `.npz` is collected first. The file appears at `path` when it is
    complete. `inputs` and `overwrite` are those of `rtsysid.storage.replacing`. Raises StorageError where the file is
    refused or cannot be written, TraceError where `predictions` fails.
    """
    path = Path(path)
    source = _readable(predictions)
    with replacing(path, PREDICTIONS, inputs=inputs, overwrite=overwrite) as scratch:
        suffix = _predictions_suffix(path)
        if suffix == ".npz":
            return _write_npz(scratch, outputs, source)
        with _csv_writer(scratch, suffix) as stream:
            return _write_csv(stream, outputs, source)


def read_predictions(path: Path | str) -> Recorded:
    """Read a file of `write_predictions`. Raises TraceError where it is incomplete or has another suffix."""
    path = Path(path)
    suffix = _predictions_suffix(path)
    if path.exists() and not path.is_file():
        raise TraceError(f"predictions {path}", "not a plain file", "name a file that a replay wrote")
    remedy = "name a whole file that a replay wrote"
    try:
        return _read_npz(path) if suffix == ".npz" else _read_csv(path)
    except TraceError as error:
        raise TraceError(
            f"predictions {path}", error.found, error.remedy if VARIABLE in error.remedy else remedy
        ) from error
    except (OSError, EOFError, LookupError, ValueError, csv.Error, zlib.error) as error:
        found = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or "it ends too early"
        raise TraceError(f"predictions {path}", found, remedy) from error


def _predictions_suffix(path: Path) -> str:
    for suffix in (".csv", ".csv.gz", ".npz"):
        if path.name.lower().endswith(suffix):
            return suffix
    raise TraceError(f"predictions {path}", f"suffix {path.suffix!r}", "choose .csv, .csv.gz or .npz")


def _readable(predictions: Iterable[Prediction]) -> Iterator[Prediction]:
    """Raise TraceError where the source fails: both that and a file that cannot be written are OSErrors."""
    try:
        yield from predictions
    except OSError as error:
        raise TraceError(
            "source of the samples", error.strerror or str(error), "check the recording or link"
        ) from error


@contextmanager
def _csv_writer(path: Path, suffix: str) -> Iterator[TextIO]:
    if suffix == ".csv":
        with open(path, "w", encoding="utf-8", newline="") as stream:
            yield stream
        return
    with (
        open(path, "wb") as raw,
        # Without name and time inside, equal predictions give equal files, byte for byte.
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="") as stream,
    ):
        yield stream


def _write_csv(stream: TextIO, outputs: Sequence[Channel], predictions: Iterable[Prediction]) -> int:
    csv.writer(stream, lineterminator="\n").writerow(["t", *map(str, outputs), "status"])
    layout, count = ",".join(["%.9g"] * len(outputs)), 0
    for t, y, status, *_ in predictions:
        stream.write(f"{float(t)!r},{layout % tuple(y.tolist())},{status}\n")
        count += 1
    return count


def _read_csv(path: Path) -> Recorded:
    rows = csv.reader(text_lines(path), strict=True)
    header = next(rows, [])
    if len(header) < 3 or header[0] != "t" or header[-1] != "status":
        raise ValueError(f"header is {','.join(header)[:80]!r} instead of t, outputs, status")
    t, y, status = array("d"), array("f"), []
    for row in rows:
        if len(row) != len(header) or row[-1] not in STATUSES:
            raise ValueError(f"line {rows.line_num} is not whole")
        t.append(float(row[0]))
        y.extend(map(float, row[1:-1]))
        status.append(BY_NAME[row[-1]])
    return _recorded(t, y, status, header[1:-1])


def _write_npz(path: Path, outputs: Sequence[Channel], predictions: Iterable[Prediction]) -> int:
    t, y, status = array("d"), array("f"), array("B")
    for prediction in predictions:
        t.append(prediction.t)
        y.extend(prediction.y.tolist())
        status.append(STATUSES.index(prediction.status))
    arrays = _recorded(t, y, [], [str(channel) for channel in outputs])
    with open(path, "wb") as stream:  # numpy would append its suffix to a name like RUN.NPZ
        np.savez(
            stream,
            t=arrays.t,
            y=arrays.y,
            columns=np.array(arrays.columns),
            status=np.asarray(status, np.uint8),
            statuses=np.array(STATUSES),  # names of the codes, should the table ever change
            **npz_mark(PREDICTIONS),
        )
    return len(t)


def _read_npz(path: Path) -> Recorded:
    t, y, columns, codes, names = read_arrays(path, ("t", "y", "columns", "status", "statuses")).values()
    if [each.dtype.kind for each in (t, y, columns, codes, names)] != list("ffUuU"):
        raise ValueError("its arrays are of other types")
    if t.ndim != 1 or codes.shape != t.shape or columns.ndim != 1 or y.shape != (len(t), len(columns)):
        raise ValueError("columns of unequal length")
    table = [BY_NAME[name] for name in names.reshape(-1).tolist()]
    return Recorded(t, y, [table[code] for code in codes.tolist()], tuple(columns.tolist()))


def _recorded(t: array[float], y: array[float], status: list[Status], columns: Sequence[str]) -> Recorded:
    values = np.asarray(y, np.float32).reshape(len(t), len(columns))
    return Recorded(np.asarray(t, np.float64), values, status, tuple(columns))
