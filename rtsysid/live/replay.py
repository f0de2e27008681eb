"""Replay recorded samples through a session, write and read predictions, and compare them.

A replay runs the same code as the robot; only `paced` is added.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import time
import zipfile
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple, TextIO, cast

import msgspec
import numpy as np

from rtsysid.errors import SpecError, TraceError
from rtsysid.live.session import STATUSES, Prediction, Session
from rtsysid.spec import Channel, Doubles, Floats, Sample
from rtsysid.statuses import BY_NAME, Status
from rtsysid.storage import replacing


class Recorded(NamedTuple):
    """Predictions from a file: ``t`` [N] in s, ``y`` [N, ny] in engineering units, ``status`` [N], ``columns`` [ny]."""

    t: Doubles
    y: Floats
    status: list[Status]
    columns: tuple[str, ...]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Result of comparing predictions with recorded ones.

    ``max_abs``: over all outputs of all matched ticks; infinity where one side is NaN and the other is not.
    ``first_tick``, ``first_t``: count and time of the first prediction that differs by more than the tolerance, or in
    status. ``statuses``: how many differ in status. ``unmatched``: ticks that only one side has.
    """

    compared: int
    max_abs: float
    first_tick: int | None
    first_t: float | None
    statuses: int
    unmatched: int

    @property
    def equal(self) -> bool:
        """Whether every tick is on both sides, with outputs within the tolerance and the same status."""
        return self.first_tick is None and self.unmatched == 0


def replay(
    session: Session,
    samples: Iterable[Sample],
    *,
    speed: float | Literal["max"] | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Prediction]:
    """Feed recorded samples to `session` at `speed` times the recorded rate, or as fast as possible (None, "max").

    Raises SpecError for a speed that is not positive and finite.
    """
    if speed is None or speed == "max":
        return session.run(samples)
    restart_s = session.max_gap / session.spec.rate_hz
    return session.run(paced(samples, speed=speed, restart_s=restart_s, clock=clock, sleep=sleep))


def paced(
    samples: Iterable[Sample],
    *,
    speed: float,
    restart_s: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Sample]:
    """Yield each sample at its time: the start plus the time since the first sample, divided by `speed`.

    The times are absolute, so that delays of the consumer and errors of `sleep` do not add up. Gaps are waited for.
    Where time jumps back by more than `restart_s` seconds, the count starts again. Raises SpecError for a speed that is
    not positive and finite.
    """
    if not 0 < speed < math.inf:
        raise SpecError("replay speed", str(speed), "give a positive factor, or max")
    return _paced(samples, speed, restart_s, clock, sleep)


def _paced(
    samples: Iterable[Sample],
    speed: float,
    restart_s: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> Iterator[Sample]:
    start, first, newest = 0.0, math.nan, math.nan
    for sample in samples:
        if math.isfinite(sample.t):
            if not sample.t >= newest - restart_s:
                start, first, newest = clock(), sample.t, sample.t
            newest = max(newest, sample.t)
            wait = start + (sample.t - first) / speed - clock()
            if wait > 0:
                sleep(wait)
        yield sample


def write_predictions(path: Path | str, outputs: Sequence[Channel], predictions: Iterable[Prediction]) -> int:
    """Write time, predicted outputs and status; return the number of predictions.

    The suffix chooses the format: `.csv` and `.csv.gz` are written as the predictions come, in constant memory, with 9
    significant digits, which keep a float32 exactly; `.npz` is collected first. The file appears at `path` when it is
    complete. Raises StorageError where it cannot be written, TraceError for another suffix and where `predictions`
    fails.
    """
    path = Path(path)
    suffix = _predictions_suffix(path)
    source = _readable(predictions)
    with replacing(path) as scratch:
        if suffix == ".npz":
            return _write_npz(scratch, outputs, source)
        with _csv_writer(scratch, suffix) as stream:
            return _write_csv(stream, outputs, source)


def read_predictions(path: Path | str) -> Recorded:
    """Read a file of `write_predictions`. Raises TraceError where it is incomplete or has another suffix."""
    path = Path(path)
    suffix = _predictions_suffix(path)
    try:
        return _read_npz(path) if suffix == ".npz" else _read_csv(path, suffix)
    except (OSError, EOFError, KeyError, IndexError, ValueError, csv.Error, zlib.error, zipfile.BadZipFile) as error:
        found = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or "it ends too early"
        raise TraceError(f"predictions {path}", found, "name a whole file that a replay wrote") from error


def compare(predictions: Iterable[Prediction], recorded: Recorded, *, tolerance: float = 0.0) -> Comparison:
    """Match predictions with recorded ones by exact time, repeated times in order, and compare; NaN equals NaN.

    `tolerance` is absolute, in the unit of each output. Raises TraceError where the number of outputs differs.
    """
    rows, found = _Rows(recorded.t), Comparator(tolerance)
    for prediction in predictions:
        row = rows.take(prediction.t)
        if row is None:
            found.add_unmatched()
        else:
            found.add(prediction.t, prediction.y, recorded.y[row], changed=prediction.status != recorded.status[row])
    found.add_unmatched(len(recorded.t) - found.compared)
    return found.result()


class Comparator:
    """Compare predictions with recorded ones, one by one, in order."""

    def __init__(self, tolerance: float = 0.0) -> None:
        self.compared = 0
        self._tolerance, self._ticks = tolerance, 0
        self._statuses = self._unmatched = 0
        self._max_abs = 0.0
        self._first_tick: int | None = None
        self._first_t: float | None = None

    def add(self, t: float, y: Floats, recorded: Floats, *, changed: bool) -> None:
        """Add outputs `y` [ny] at time `t`, the recorded ones, and whether the status differs.

        Raises TraceError where the numbers of outputs differ.
        """
        difference = _difference(y, recorded)
        self._statuses += changed
        self._max_abs = max(self._max_abs, difference)
        if self._first_tick is None and (changed or difference > self._tolerance):
            self._first_tick, self._first_t = self._ticks, float(t)
        self.compared += 1
        self._ticks += 1

    def add_unmatched(self, count: int = 1) -> None:
        """Add ticks that only one side has."""
        self._unmatched += count
        self._ticks += count

    def result(self) -> Comparison:
        """Return the result so far."""
        return Comparison(
            compared=self.compared,
            max_abs=self._max_abs,
            first_tick=self._first_tick,
            first_t=self._first_t,
            statuses=self._statuses,
            unmatched=self._unmatched,
        )


class _Rows:
    """Rows by time. The next row is tried first, then a binary search. Needs 9 bytes per row."""

    def __init__(self, t: Doubles) -> None:
        self._order = np.argsort(t, kind="stable")
        self._t = t[self._order]
        self._taken = np.zeros(len(t), bool)
        self._guess = 0

    def take(self, t: float) -> int | None:
        """Return the number of the first row at `t` that was not taken yet; None without one."""
        if not self._free(self._guess, t):
            self._guess = int(np.searchsorted(self._t, t))
            while self._guess < len(self._t) and self._taken[self._guess] and self._t[self._guess] == t:
                self._guess += 1
            if not self._free(self._guess, t):
                return None
        place, self._guess = self._guess, self._guess + 1
        self._taken[place] = True
        return int(self._order[place])

    def _free(self, place: int, t: float) -> bool:
        return place < len(self._t) and bool(self._t[place] == t) and not self._taken[place]


def _difference(y: Floats, recorded: Floats) -> float:
    if y.shape != recorded.shape:
        raise TraceError("recorded predictions", f"{recorded.size} outputs", f"compare with a model of {y.size}")
    worst = 0.0
    for a, b in zip(y.tolist(), recorded.tolist(), strict=True):
        if a != b and not (a != a and b != b):  # noqa: PLR0124 - only NaN differs from itself
            worst = max(worst, math.inf if math.isnan(a - b) else abs(a - b))
    return worst


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


def _read_csv(path: Path, suffix: str) -> Recorded:
    opened = gzip.open if suffix == ".csv.gz" else open
    with opened(path, "rt", encoding="utf-8", newline="") as stream:
        rows = csv.reader(cast(TextIO, stream), strict=True)
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
        )
    return len(t)


def _read_npz(path: Path) -> Recorded:
    with open(path, "rb") as stream:
        if not zipfile.is_zipfile(stream):
            raise ValueError("it is not an npz file")
        stream.seek(0)
        with np.load(stream, allow_pickle=False) as arrays:
            if not {"t", "y", "columns", "status", "statuses"} <= set(arrays.files):
                raise ValueError(f"it holds {', '.join(arrays.files) or 'nothing'}")
            names = [BY_NAME[name] for name in arrays["statuses"].tolist()]
            status = [names[code] for code in arrays["status"].tolist()]
            recorded = Recorded(arrays["t"], arrays["y"], status, tuple(arrays["columns"].tolist()))
    if recorded.y.shape != (len(recorded.t), len(recorded.columns)) or len(status) != len(recorded.t):
        raise ValueError("columns of unequal length")
    return recorded


def _recorded(t: array[float], y: array[float], status: list[Status], columns: Sequence[str]) -> Recorded:
    values = np.asarray(y, np.float32).reshape(len(t), len(columns))
    return Recorded(np.asarray(t, np.float64), values, status, tuple(columns))
