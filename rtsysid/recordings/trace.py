"""Trace: recordings as time and named channels, in episodes that nothing ever joins.

Values stay in engineering units and float32; time is float64 seconds. Reading checks names and units; `segments` is
the strict check before training, and `rtsysid.recordings.resample` makes an uneven recording even.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypedDict

import numpy as np
from numpy.typing import NDArray

from rtsysid.errors import TraceError
from rtsysid.recordings import formats
from rtsysid.recordings.formats import EPISODE, ROWS, Block, Selection
from rtsysid.recordings.timeline import check_rate, check_time, is_odd, longest_run
from rtsysid.spec import Channel, Doubles, Floats, Sample
from rtsysid.storage import sha256

Integers: TypeAlias = NDArray[np.int64]
_PART = re.compile(r"(#\d+)?(:\d+)?$")  # of an episode's name: which of the file, which piece of that


class Clock(TypedDict):
    """How a recording's rows get their times: from the column `time`, or one after the other at `rate_hz`."""

    time: str | None
    rate_hz: float | None


def clock(time: str, rate_hz: float | None) -> Clock:
    """As configurations and command lines say it: a column's name, or "" where rows are even and have none."""
    return Clock(time=time, rate_hz=None) if time else Clock(time=None, rate_hz=rate_hz)


@dataclass(frozen=True, eq=False)
class Episode:
    """An unbroken stretch: `t` float64 [n] s, `values` float32 [n, C].

    `age` float32 [n] s, after resampling: how long before this row the oldest of its inputs was really sampled
    (infinite where one never was).
    """

    name: str
    t: Doubles = field(repr=False)
    values: Floats = field(repr=False)
    age: Floats | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not len(self.t) or self.values.ndim != 2 or len(self.values) != len(self.t):
            found = f"{len(self.t)} times for values of shape {self.values.shape}"
            raise TraceError(f"episode {self.name}", found, "give each of one or more rows its time")

    def __len__(self) -> int:
        return len(self.t)

    @property
    def recording(self) -> str:
        """Name of the recording that this episode is a part of."""
        return _PART.sub("", self.name)

    def piece(self, start: int, stop: int, name: str = "") -> Episode:
        """Rows `start` to `stop`, by another name if one is given, without a copy."""
        age = None if self.age is None else self.age[start:stop]
        return Episode(name or self.name, self.t[start:stop], self.values[start:stop], age)

    def pieces(self, starts: Integers, stops: Integers) -> list[Episode]:
        """Stretches of rows as episodes; a single one keeps the name, several are ``name:1``, ``name:2``."""
        ranges = list(zip(starts, stops, strict=True))
        names = [self.name] if len(ranges) == 1 else [f"{self.name}:{k + 1}" for k in range(len(ranges))]
        return [self.piece(int(i), int(j), name) for (i, j), name in zip(ranges, names, strict=True)]


@dataclass(frozen=True, eq=False)
class Trace:
    """Episodes of the same channels. `sources` are the names and SHA-256 of the files that they came from."""

    channels: tuple[Channel, ...]
    episodes: tuple[Episode, ...]
    sources: tuple[tuple[str, str], ...] = ()

    @classmethod
    def read(
        cls,
        path: Path | str,
        channels: Sequence[Channel] | None = None,
        *,
        time: str | None = "t",
        rate_hz: float | None = None,
    ) -> Trace:
        """Read a file, or every recording of a folder in the order of names.

        `channels` asks for exactly these, in this order, with their roles; without, every column of numbers of the
        first file is an output. `time` names the time column (``[ms]``, ``[us]``, ``[ns]`` in its header are
        converted); None counts rows at `rate_hz`. Raises TraceError where the recording does not hold what is asked.
        """
        return cls.read_all([path], channels, time=time, rate_hz=rate_hz)

    @classmethod
    def read_all(
        cls,
        paths: Iterable[Path | str],
        channels: Sequence[Channel] | None = None,
        *,
        time: str | None = "t",
        rate_hz: float | None = None,
    ) -> Trace:
        """Read several files and folders as one trace; episodes are named after their files."""
        traces = list(cls.read_each(paths, channels, time=time, rate_hz=rate_hz))
        episodes = tuple(episode for trace in traces for episode in trace.episodes)
        return cls(traces[0].channels, episodes, tuple(source for trace in traces for source in trace.sources))

    @classmethod
    def read_each(
        cls,
        paths: Iterable[Path | str],
        channels: Sequence[Channel] | None = None,
        *,
        time: str | None = "t",
        rate_hz: float | None = None,
    ) -> Iterator[Trace]:
        """The same, one trace for each file, so that memory holds one recording at a time."""
        files = [file for path in paths for file in formats.files_of(Path(path))]
        if not files:
            raise TraceError("recordings", "no path was given", "name at least one file or folder")
        wanted = None if channels is None else tuple(channels)
        for file, name in zip(files, formats.names_of(files), strict=True):
            selection = formats.select(formats.open_log(file), wanted, time, rate_hz)
            wanted = selection.channels
            yield cls(wanted, tuple(_episodes(selection, name)), ((file.name, sha256(file)),))

    @staticmethod
    def stream(
        path: Path | str, channels: Sequence[Channel], *, time: str | None = "t", rate_hz: float | None = None
    ) -> Iterator[Sample]:
        """Samples of one file as they stand, one block in memory at a time; gaps and NaN are the session's matter."""
        selection = formats.select(formats.open_log(Path(path)), tuple(channels), time, rate_hz)
        return _samples(selection)

    def write(self, path: Path | str) -> None:
        """Write to one file (format by suffix); names of episodes and ages are not kept. Atomic; see `write_log`."""
        several = len(self.episodes) > 1
        exact = (Channel("t", "s"), Channel(EPISODE)) if several else (Channel("t", "s"),)
        formats.write_log(path, exact, self.channels, _blocks(self.episodes, several))

    def __len__(self) -> int:
        """Rows in all episodes."""
        return sum(len(episode) for episode in self.episodes)

    @cached_property
    def duration(self) -> float:
        """Seconds in all episodes, without what lies between them."""
        return float(sum(episode.t[-1] - episode.t[0] for episode in self.episodes))

    def segments(self, rate_hz: float, *, nan: Literal["error", "split"] = "error", min_length: int = 2) -> Trace:
        """Check that the recordings are even at `rate_hz`, and cut them wherever a sample is missing.

        The cut is at every interval outside 0.5 to 1.5 of 1 / `rate_hz`, so that no window is joined across even one
        missing sample, while timestamps may jitter by a quarter interval. With ``nan="split"`` rows with a value
        that is not finite are left out, too. Pieces under `min_length` rows are dropped. Raises TraceError on time
        that does not increase, on two rates or another one, on values that are not finite, and if nothing is left.
        """
        pieces: list[Episode] = []
        for episode in self.episodes:
            check_time(episode.name, episode.t)
            check_rate(episode.name, episode.t, rate_hz)
            if nan == "error":
                _check_finite(episode, self.channels)
            pieces += _cut(episode, rate_hz, min_length)
        if not pieces:
            found = f"no stretch of {min_length} rows at {rate_hz:g} Hz without a gap or NaN"
            raise TraceError("recordings", found, "resample them, or allow shorter stretches")
        return replace(self, episodes=tuple(pieces))

    def with_feedthrough(self, wanted: bool = True) -> Trace:
        """Return rows [u_{k+1}, y_k]: the inputs of the next row; the last row of each episode goes."""
        if not wanted:
            return self
        inputs = [channel.role == "input" for channel in self.channels]
        return replace(self, episodes=tuple(_with_feedthrough(e, inputs) for e in self.episodes if len(e) > 1))

    def split(self, validation: Sequence[str] = ()) -> tuple[Trace, Trace]:
        """Set the recordings whose names match the patterns (``run4*``) apart: (training, validation).

        Without patterns these are the last fifth of the recordings, at least one; of a single recording, its last
        fifth of rows. Raises TraceError where a pattern matches nothing, or the patterns leave nothing.
        """
        names = list(dict.fromkeys(episode.recording for episode in self.episodes))
        if not validation and len(names) == 1:
            return self._split_rows(len(self) - len(self) // 5)
        chosen = set(names[-max(1, round(len(names) / 5)) :]) if not validation else _match(validation, names)
        parts = [[e for e in self.episodes if (e.recording in chosen) is wanted] for wanted in (False, True)]
        if not parts[0] or not parts[1]:
            found = f"{', '.join(validation) or 'the last fifth'} takes {len(chosen)} of {len(names)} recordings"
            raise TraceError("validation split", found, "leave at least one for training and one for validation")
        return replace(self, episodes=tuple(parts[0])), replace(self, episodes=tuple(parts[1]))

    def _split_rows(self, row: int) -> tuple[Trace, Trace]:
        if not 0 < row < len(self):
            raise TraceError("validation split", f"one recording of {len(self)} rows", "record at least five rows")
        before: list[Episode] = []
        after: list[Episode] = []
        for episode in self.episodes:
            here = min(max(row, 0), len(episode))
            before += [episode.piece(0, here)] if here else []
            after += [episode.piece(here, len(episode))] if here < len(episode) else []
            row -= len(episode)
        return replace(self, episodes=tuple(before)), replace(self, episodes=tuple(after))

    def describe(self) -> dict[str, Any]:
        """What is in it, as plain values: rows, duration, rate and gaps per episode, and figures per channel."""
        episodes = [_describe_episode(episode) for episode in self.episodes]
        rates = [each["rate_hz"] for each in episodes if each["rate_hz"]]
        return {
            "rows": len(self),
            "duration_s": self.duration,
            "rate_hz": float(np.median(rates)) if rates else None,
            "gaps": sum(each["gaps"] for each in episodes),
            "episodes": episodes,
            "channels": [_describe_channel(self, i) for i in range(len(self.channels))],
            "sources": [{"name": name, "sha256": digest} for name, digest in self.sources],
        }


def _check_finite(episode: Episode, channels: Sequence[Channel]) -> None:
    bad = ~np.isfinite(episode.values)
    counts = bad.sum(axis=0)
    if counts.any():
        worst = int(counts.argmax())
        start, length = longest_run(bad[:, worst])
        others = int((counts > 0).sum()) - 1
        found = f"{counts[worst]} values are not finite, the longest run {length} rows from {episode.t[start]:.6g} s"
        also = f" ({others} more columns too)" if others else ""
        remedy = 'set nan = "split" to cut them out, resample, or leave the column out'
        raise TraceError(f"{episode.name}: column {channels[worst].name!r}", found + also, remedy)


def _with_feedthrough(episode: Episode, inputs: list[bool]) -> Episode:
    shorter = episode.piece(0, len(episode) - 1)
    return replace(shorter, values=np.where(inputs, episode.values[1:], shorter.values))


def _cut(episode: Episode, rate_hz: float, min_length: int) -> list[Episode]:
    keep: NDArray[np.bool_] = np.asarray(np.isfinite(episode.values).all(axis=1))
    odd = is_odd(np.diff(episode.t), 1 / rate_hz)
    starts, stops = _stretches(odd | ~keep[1:] | ~keep[:-1])
    whole = keep[starts] & (stops - starts >= min_length)
    return episode.pieces(starts[whole], stops[whole])


def _stretches(breaks: NDArray[np.bool_]) -> tuple[Integers, Integers]:
    """First rows and ends of the stretches between the breaks; `breaks` [n - 1] lie between rows."""
    inner = np.flatnonzero(breaks) + 1
    return np.concatenate(([0], inner)), np.concatenate((inner, [len(breaks) + 1]))


def _match(patterns: Sequence[str], names: Sequence[str]) -> set[str]:
    chosen: set[str] = set()
    for pattern in patterns:
        matched = {name for name in names if fnmatchcase(name, pattern)}
        if not matched:
            found = f"no recording is named {pattern!r}"
            raise TraceError("validation split", found, f"choose among {', '.join(names)}")
        chosen |= matched
    return chosen


def _episodes(selection: Selection, name: str) -> list[Episode]:
    exact, values = formats.gather(selection)
    t = formats.times(selection, exact, 0)
    number = np.nan_to_num(exact[:, -1]) if selection.episodes else np.zeros(len(t))
    ranges = zip(*_stretches(np.diff(number) != 0), strict=True)
    return [Episode(name if k == 1 else f"{name}#{k}", t[i:j], values[i:j]) for k, (i, j) in enumerate(ranges, 1)]


def _samples(selection: Selection) -> Iterator[Sample]:
    row = 0
    for block in formats.blocks_of(selection):
        t = formats.times(selection, block.exact, row)
        row += len(t)
        yield from map(Sample, t.tolist(), block.values)


def _blocks(episodes: Sequence[Episode], numbered: bool) -> Iterator[Block]:
    for k, episode in enumerate(episodes):
        for start in range(0, len(episode), ROWS):
            t = episode.t[start : start + ROWS]
            exact = np.column_stack((t, np.full(len(t), float(k)))) if numbered else t[:, np.newaxis]
            yield Block(exact, episode.values[start : start + ROWS])


def _describe_episode(episode: Episode) -> dict[str, Any]:
    steps = np.diff(episode.t)
    forward = steps[steps > 0]
    typical = float(np.median(forward)) if len(forward) else None
    return {
        "name": episode.name,
        "rows": len(episode),
        "duration_s": float(episode.t[-1] - episode.t[0]),
        "rate_hz": 1 / typical if typical else None,
        "gaps": int((steps > 1.5 * typical).sum()) if typical else 0,
        "longest_interval_s": float(forward.max()) if len(forward) else None,
        "duplicates": int((steps == 0).sum()),
        "backward": int((steps < 0).sum()),
    }


def _describe_channel(trace: Trace, index: int) -> dict[str, Any]:
    parts = [episode.values[:, index] for episode in trace.episodes]
    column = np.concatenate(parts) if parts else np.empty(0, np.float32)
    finite = column[np.isfinite(column)]
    some = len(finite) > 0
    return {
        "name": trace.channels[index].name,
        "unit": trace.channels[index].unit,
        "role": trace.channels[index].role,
        "min": float(finite.min()) if some else None,
        "max": float(finite.max()) if some else None,
        "mean": float(finite.mean(dtype=np.float64)) if some else None,
        "std": float(finite.std(dtype=np.float64)) if some else None,
        "nan": len(column) - len(finite),
    }
