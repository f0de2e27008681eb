"""Represent recordings as time and named channels, in episodes that are never joined.

Values are float32 in engineering units; time is float64 in seconds. Reading checks names and units. `Trace.segments`
is the strict check before training. `rtsysid.recordings.reading` puts an uneven recording on an even time grid.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypedDict, overload

import numpy as np
from numpy.typing import NDArray

from rtsysid.circle import continuous
from rtsysid.errors import TraceError
from rtsysid.guards.text import for_json
from rtsysid.recordings import formats
from rtsysid.recordings.describe import describe_channel, describe_episode
from rtsysid.recordings.episode import Episode, Integers, episode_blocks, episodes_in
from rtsysid.recordings.formats import EPISODE
from rtsysid.recordings.frames import data_frame, select_rows
from rtsysid.recordings.names import digest_of, matching_names, names_of, recording_files, require_distinct
from rtsysid.recordings.pieces import LeftOut, Note, judging, left_out, long_enough, too_short
from rtsysid.recordings.streaming import runs_between, stream_samples
from rtsysid.recordings.time_column import NO_TIME, TimeColumn
from rtsysid.recordings.timeline import check_rate, check_time, is_odd, longest_run, require_rate
from rtsysid.spec import Channel, Sample

__all__ = ["Clock", "Episode", "Integers", "Trace", "clock"]


class Clock(TypedDict):
    """Say how rows get their times: from the column `time`, or evenly spaced at `rate_hz`."""

    time: str | None
    rate_hz: float | None


def clock(time: str, rate_hz: float | None) -> Clock:
    """Make a clock from a setting: `time` is a column, or "" for evenly spaced rows without a time column."""
    return Clock(time=time, rate_hz=None) if time else Clock(time=None, rate_hz=rate_hz)


@dataclass(frozen=True, eq=False)
class Trace:
    """Hold episodes with the same channels. `sources` are the name and SHA-256 of each file that was read.

    `notes` say what was left out or changed on the way here; `aligned`: the rows are even; `time`: the time column.
    """

    channels: tuple[Channel, ...]
    episodes: tuple[Episode, ...]
    sources: tuple[tuple[str, str], ...] = ()
    notes: tuple[Note, ...] = ()
    aligned: bool = False
    time: TimeColumn = NO_TIME

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

        `channels` selects channels, their order and their roles. By default every column of numbers of the first file
        is an output. `time` names the time column; its unit may be s, ms, us or ns, in the file or stated, as in
        ``timestamp [us]``. A counter that rolls over is continued. With None, rows are spaced at `rate_hz`. Raises
        TraceError where a file cannot be read or lacks a channel.
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
        """Read several files and folders as one trace; see `read`. Episodes are named after their files."""
        traces = list(cls.read_each(paths, channels, time=time, rate_hz=rate_hz))
        episodes = tuple(episode for trace in traces for episode in trace.episodes)
        sources = tuple(source for trace in traces for source in trace.sources)
        notes = tuple(note for trace in traces for note in trace.notes)
        return cls(traces[0].channels, episodes, sources, notes, time=traces[0].time)

    @classmethod
    def read_each(
        cls,
        paths: Iterable[Path | str],
        channels: Sequence[Channel] | None = None,
        *,
        time: str | None = "t",
        rate_hz: float | None = None,
    ) -> Iterator[Trace]:
        """Read files and folders as one trace per file; see `read`. Memory holds one recording at a time.

        Raises TraceError where no path was given, or a file twice, and like `read`.
        """
        files = [file for path in paths for file in recording_files(Path(path))]
        if not files:
            raise TraceError("recordings", "no path was given", "name at least one file or folder")
        require_distinct(files)
        wanted = None if channels is None else tuple(channels)
        for file, name in zip(files, names_of(files), strict=True):
            selection = formats.select_columns(formats.open_log(file), wanted, time, rate_hz)
            wanted = selection.channels
            episodes, notes = episodes_in(selection, formats.gather(selection), name)
            source = (for_json(file.name), digest_of(file))
            yield cls(wanted, tuple(episodes), (source,), tuple(notes), time=selection.time)

    @staticmethod
    def stream(
        path: Path | str, channels: Sequence[Channel], *, time: str | None = "t", rate_hz: float | None = None
    ) -> Iterator[Sample]:
        """Stream the samples of one file, one block in memory at a time. Gaps and NaN are not checked.

        Raises TraceError where the file cannot be read or lacks a channel.
        """
        selection = formats.select_columns(formats.open_log(Path(path)), tuple(channels), time, rate_hz)
        return stream_samples(selection)

    @classmethod
    def from_pandas(
        cls,
        frame: Any,
        channels: Sequence[Channel | str] | None = None,
        *,
        time: str | None = None,
        rate_hz: float | None = None,
        name: str = "data",
    ) -> Trace:
        """Take a DataFrame, or a mapping of names to arrays [T], as one recording called `name`.

        `channels`, as ``"vx [m/s]"``, select columns, their order and their roles; by default every column of numbers
        is an output. The time is the column `time`, or an index or column with the name of a time; with "", or where
        there is none, rows are spaced at `rate_hz`. A column ``episode`` separates recordings. Raises TraceError where
        a column is missing, holds text or has another length, and where neither a time nor a rate is known.
        """
        selection, rows = select_rows(frame, name, channels, time, rate_hz)
        if not len(rows.values):
            raise TraceError(f"recording {name}", "no rows", "give at least one")
        episodes, notes = episodes_in(selection, rows, name)
        return cls(selection.channels, tuple(episodes), (), tuple(notes), time=selection.time)

    def to_pandas(self) -> Any:
        """Make a pandas DataFrame: columns ``vx [m/s]``, the time in s as the index ``t [s]``.

        Several episodes are numbered by the column ``episode``. Raises RtsysidError where pandas is not installed.
        """
        return data_frame(self.channels, self.episodes)

    @overload
    def __getitem__(self, key: str) -> Any: ...
    @overload
    def __getitem__(self, key: Sequence[str] | slice) -> Trace: ...
    def __getitem__(self, key: str | Sequence[str] | slice) -> Any:
        """Return the values [T] of a channel over all episodes, in order; ``t`` is the time in s, float64.

        Of a list of names or of a slice of rows return that part as a trace. Raises TraceError for an unknown name.
        """
        if isinstance(key, slice):
            return self._rows(*slice(key.start, key.stop).indices(len(self))[:2])
        if not isinstance(key, str):
            columns = [self._column_of(each) for each in key]
            episodes = (replace(e, values=e.values[:, columns]) for e in self.episodes)
            return replace(self, channels=tuple(self.channels[c] for c in columns), episodes=tuple(episodes))
        if key == "t" and key not in [channel.name for channel in self.channels]:
            return np.concatenate([episode.t for episode in self.episodes])
        column = self._column_of(key)
        return np.concatenate([episode.values[:, column] for episode in self.episodes])

    def _column_of(self, name: str) -> int:
        names = [channel.name for channel in self.channels]
        if (wanted := Channel.parse(name).name) not in names:
            raise TraceError(f"channel {name!r}", f"there is {', '.join(names)}", "use one of these names")
        return names.index(wanted)

    def plot(self) -> Any:
        """Draw every channel over time, one panel for each group; return a matplotlib Figure.

        Raises RtsysidError where matplotlib is not installed: it comes with the extra ``plot``.
        """
        from rtsysid.recordings.figures import recording_figure

        return recording_figure(self.channels, self.episodes)

    def __repr__(self) -> str:
        names = ", ".join(map(str, self.channels[:6])) + (", .." if len(self.channels) > 6 else "")
        return f"Trace({len(self)} rows in {len(self.episodes)} episodes, {self.duration:.4g} s: {names})"

    def write(self, path: Path | str, *, overwrite: bool = False) -> None:
        """Write to one file, in the format of its suffix; see `write_log`. Names of episodes are not kept.

        Raises TraceError where the suffix cannot be written, StorageError where the file cannot be written, or exists
        and `overwrite` is not given.
        """
        several = len(self.episodes) > 1
        exact = (Channel("t", "s"), Channel(EPISODE)) if several else (Channel("t", "s"),)
        formats.write_log(path, exact, self.channels, episode_blocks(self.episodes, several), overwrite=overwrite)

    def __len__(self) -> int:
        """Return the number of rows of all episodes."""
        return sum(len(episode) for episode in self.episodes)

    @cached_property
    def duration(self) -> float:
        """Return the total duration of the episodes in s, without the time between them."""
        return float(sum(episode.t[-1] - episode.t[0] for episode in self.episodes))

    def segments(
        self, rate_hz: float, *, nan: Literal["error", "split"] = "error", min_length: int = 2, allow_none: bool = False
    ) -> Trace:
        """Check that the recordings are evenly spaced at `rate_hz`, and split them at every missing sample.

        The trace is split at every interval outside 0.5 to 1.5 of 1 / `rate_hz`. No window crosses a missing sample,
        and timestamps may jitter by a quarter interval. With ``nan="split"`` rows with a value that is not finite are
        removed too. Pieces of fewer than `min_length` rows are dropped; `notes` count both. Raises TraceError where
        times do not increase, where there are two rates or another rate, for values that are not finite, and, unless
        `allow_none`, where nothing is left.
        """
        require_rate(rate_hz)
        pieces: list[Episode] = []
        short = infinite = 0
        for episode in self.episodes:
            check_time(episode.name, episode.t)
            check_rate(episode.name, episode.t, rate_hz, self.time)
            if nan == "error":
                _check_finite(episode, self.channels)
            finite: NDArray[np.bool_] = np.asarray(np.isfinite(episode.values).all(axis=1))
            kept, dropped = _split_at_gaps(episode, finite, rate_hz, min_length)
            pieces += kept
            short, infinite = short + dropped, infinite + int((~finite).sum())
        if not pieces and not allow_none:
            none = f"no segment of {min_length} rows at {rate_hz:g} Hz without a gap or NaN"
            raise TraceError("recordings", none, "give a recording with a longer part without gaps and NaN")
        rows = len(self) - infinite - sum(map(len, pieces))
        nans = (LeftOut("recordings", "a value is not finite", 0, infinite),) if infinite else ()
        notes = (*self.notes, *nans, *left_out("recordings", min_length, short, rows))
        return replace(self, episodes=tuple(pieces), notes=notes)

    def long_enough(self, needed: int, use: str, remedy: str) -> Trace:
        """Return the episodes of `needed` rows or more; `notes` count the others.

        Raises TraceError where no episode is long enough for the `use`.
        """
        kept, notes = long_enough(self.episodes, needed, use)
        if not kept:
            raise too_short(use, self.episodes, needed, remedy)
        return replace(self, episodes=tuple(kept), notes=(*self.notes, *notes))

    def with_continuous(self, rotations: Sequence[Sequence[int]]) -> Trace:
        """Give the quaternions of each episode, in columns `rotations`, signs that do not jump; see `circle`."""
        return replace(self, episodes=tuple(replace(e, values=continuous(e.values, rotations)) for e in self.episodes))

    def with_feedthrough(self, wanted: bool = True) -> Trace:
        """Return rows [u_{k+1}, y_k], with the inputs of the next row. The last row of each episode is dropped."""
        if not wanted:
            return self
        inputs = [channel.role == "input" for channel in self.channels]
        return replace(self, episodes=tuple(_with_feedthrough(e, inputs) for e in self.episodes if len(e) > 1))

    def split(self, validation: Sequence[str] = ()) -> tuple[Trace, Trace]:
        """Split into training and validation recordings. Recordings that match a pattern (``run4*``) validate.

        Without patterns the last fifth of the recordings does, or of a single one the last fifth of the rows; see
        `judging`. Raises TraceError where a pattern matches nothing, or nothing is left to train on.
        """
        names = list(dict.fromkeys(episode.recording for episode in self.episodes))
        chosen = matching_names(validation, names) if validation else judging(self.episodes)
        if not validation and not chosen:
            return self._split_rows(len(self) - len(self) // 5)
        training = tuple(e for e in self.episodes if e.recording not in chosen)
        held_out = tuple(e for e in self.episodes if e.recording in chosen)
        if not training or not held_out:
            share = f"{', '.join(validation)} takes {len(chosen)} of {len(names)} recordings"
            raise TraceError("validation split", share, "leave at least one for training and one for validation")
        return replace(self, episodes=training), replace(self, episodes=held_out)

    def _split_rows(self, row: int) -> tuple[Trace, Trace]:
        if not 0 < row < len(self):
            raise TraceError("validation split", f"one recording of {len(self)} rows", "record at least five rows")
        return self._rows(0, row), self._rows(row, len(self))

    def _rows(self, start: int, stop: int) -> Trace:
        """Rows `start` to `stop`, counted over all episodes."""
        ends = np.cumsum([len(episode) for episode in self.episodes])
        inside = (
            (e, max(0, start - int(end) + len(e)), stop - int(end) + len(e))
            for e, end in zip(self.episodes, ends, strict=True)
        )
        return replace(self, episodes=tuple(e.piece(i, min(j, len(e))) for e, i, j in inside if i < min(j, len(e))))

    def describe(self) -> dict[str, Any]:
        """Summarise the trace as plain values: rows, duration and gaps per episode, and statistics per channel."""
        episodes = [describe_episode(episode.name, episode.t) for episode in self.episodes]
        rates = [each["rate_hz"] for each in episodes if each["rate_hz"]]
        return {
            "rows": len(self),
            "duration_s": self.duration,
            "rate_hz": float(np.median(rates)) if rates else None,
            "gaps": sum(each["gaps"] for each in episodes),
            "episodes": episodes,
            "channels": [
                describe_channel(channel, [episode.values[:, i] for episode in self.episodes])
                for i, channel in enumerate(self.channels)
            ],
            "sources": [{"name": name, "sha256": digest} for name, digest in self.sources],
        }


def _check_finite(episode: Episode, channels: Sequence[Channel]) -> None:
    bad = ~np.isfinite(episode.values)
    counts = bad.sum(axis=0)
    if counts.any():
        worst = int(counts.argmax())
        start, length = longest_run(bad[:, worst])
        others = int((counts > 0).sum()) - 1
        gaps = f"{counts[worst]} values are not finite, the longest run {length} rows from {episode.t[start]:.6g} s"
        also = f" ({others} more columns too)" if others else ""
        remedy = 'set nan = "split" to remove them, resample, or leave the column out'
        raise TraceError(f"{episode.name}: column {channels[worst].name!r}", gaps + also, remedy)


def _with_feedthrough(episode: Episode, inputs: list[bool]) -> Episode:
    shorter = episode.piece(0, len(episode) - 1)
    return replace(shorter, values=np.where(inputs, episode.values[1:], shorter.values))


def _split_at_gaps(
    episode: Episode, finite: NDArray[np.bool_], rate_hz: float, min_length: int
) -> tuple[list[Episode], int]:
    """Return the runs of `finite` rows [n] without a gap, and the number of runs that are too short."""
    odd = is_odd(np.diff(episode.t), 1 / rate_hz)
    starts, stops = runs_between(odd | ~finite[1:] | ~finite[:-1])
    starts, stops = starts[finite[starts]], stops[finite[starts]]
    whole = stops - starts >= min_length
    return episode.pieces(starts[whole], stops[whole]), int((~whole).sum())
