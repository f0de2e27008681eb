"""Take recordings as Python code gives them: tables in memory, traces, paths, or a list of any of these."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from rtsysid.config import Config, Data, with_keys
from rtsysid.errors import ConfigError, TraceError
from rtsysid.recordings.columns import Column, indices_of
from rtsysid.recordings.formats import open_reader
from rtsysid.recordings.frames import is_table_like
from rtsysid.recordings.names import recording_files
from rtsysid.recordings.reading import align_trace, read_recordings
from rtsysid.recordings.survey_table import guessed_time
from rtsysid.recordings.time_column import time_setting
from rtsysid.recordings.topics import is_topic_log
from rtsysid.recordings.trace import Episode, Trace
from rtsysid.spec import Channel

# A DataFrame, a mapping of names to arrays [T], a trace, a file or a folder; or several of them, each a recording.
Recordings: TypeAlias = Any


def read_given(data: Recordings, settings: Data) -> Trace:
    """Read recordings as a configuration says; tables and traces in memory have the time that they say themselves.

    Raises TraceError where a channel is missing, or the data are none of these kinds.
    """
    parts = [_with_settings(each, settings, name) for each, name in _each(data)]
    trace = _as_one_trace(parts)
    return align_trace(trace, settings) if settings.resample and not trace.aligned else trace


def select_given(data: Recordings, channels: Sequence[Channel], time: str | None, rate_hz: float | None) -> Trace:
    """Read channels of recordings without a configuration. `time`: the time column, "" for none, None to find it.

    Raises TraceError where a channel is missing, or neither a time nor a rate is known.
    """
    return _as_one_trace([_selected(each, channels, time, rate_hz, name) for each, name in _each(data)])


def named_channels(
    data: Recordings, inputs: Sequence[str], outputs: Sequence[str], rate_hz: float | None, time: str | None,
    said: Mapping[str, Any],
) -> tuple[Config, Trace]:  # fmt: skip
    """Make the configuration of channels that are named, and read them.

    `said`: other keys of the configuration. Raises ConfigError where names or keys are wrong, TraceError where the data
    cannot be used.
    """
    if isinstance(inputs, str) or isinstance(outputs, str):
        raise ConfigError("fit", "inputs or outputs are one text", "give lists of names, as outputs=['y']")
    if not outputs:
        raise ConfigError("fit", "no outputs", "name the columns to predict, as outputs=['y'], or give config")
    wanted = [Channel.parse(each, "input") for each in inputs] + [Channel.parse(each) for each in outputs]
    trace = select_given(data, wanted, time, rate_hz)
    names = [[str(each) for each in trace.channels if each.role == role] for role in ("input", "output")]
    settings = Data(rate_hz or rate_of(trace), tuple(names[0]), tuple(names[1]), time_setting(trace.time))
    config = with_keys(Config(settings), said)
    return config, replace(trace, channels=config.data.channels)


def rate_of(trace: Trace) -> float:
    """Return the median rate of the rows in Hz, to six digits. Raises TraceError where no time passes."""
    steps = np.concatenate([np.diff(episode.t) for episode in trace.episodes])
    forward = steps[steps > 0]
    if not len(forward):
        raise TraceError("rate", "no time passes between rows", "give rate_hz")
    return float(f"{1 / np.median(forward):.6g}")


def _each(data: Recordings) -> list[tuple[Any, str]]:
    """List the recordings with a name for those that have none; paths stay together, to be read as one."""
    if isinstance(data, (str, Path, Trace)) or is_table_like(data):
        return [([data] if isinstance(data, (str, Path)) else data, "data")]
    if not isinstance(data, (list, tuple)) or not data:
        found = "nothing" if isinstance(data, (list, tuple)) else f"a {type(data).__name__}"
        remedy = "give a DataFrame, a dict of names to arrays, a Trace, a path, or a list of them"
        raise TraceError("recordings", found, remedy)
    if all(isinstance(each, (str, Path)) for each in data):
        return [(list(data), "data")]
    return [(_each(each)[0][0], f"recording_{k}") for k, each in enumerate(data, 1)]


def _with_settings(data: Any, settings: Data, name: str) -> Trace:
    if isinstance(data, list):
        return read_recordings(data, settings)
    return _selected(data, settings.channels, None, settings.rate_hz, name)


def _selected(data: Any, channels: Sequence[Channel], time: str | None, rate_hz: float | None, name: str) -> Trace:
    if isinstance(data, list):
        chosen = _first_time(data) if time is None else time
        return Trace.read_all(data, channels, time=chosen or None, rate_hz=None if chosen else rate_hz)
    trace = (
        data if isinstance(data, Trace) else Trace.from_pandas(data, channels, time=time, rate_hz=rate_hz, name=name)
    )
    return _with_channels(trace, channels)


def _first_time(paths: Sequence[Path | str]) -> str:
    """Find the time column of the first file. Raises TraceError where a log of topics needs a configuration."""
    first = recording_files(Path(paths[0]))[0]
    log = open_reader(first)
    if is_topic_log(log):
        raise TraceError(f"recording {first.name}", "its channels are in topics", "give config: see rtsysid init")
    return guessed_time(log) or ""  # type: ignore[arg-type]


def _with_channels(trace: Trace, channels: Sequence[Channel]) -> Trace:
    """Select channels, in this order and with these roles, and note what the rows are."""
    columns = [Column(each.name, each.unit, True) for each in trace.channels]
    places = indices_of(channels, columns, trace.episodes[0].recording)
    units = (each.unit or columns[place].unit for each, place in zip(channels, places, strict=True))
    named = tuple(_in_unit(each, unit) for each, unit in zip(channels, units, strict=True))
    episodes = tuple(replace(each, values=each.values[:, places]) for each in trace.episodes)
    sources = trace.sources or tuple((each.name, _digest_of_rows(each)) for each in episodes)
    return replace(trace, channels=named, episodes=episodes, sources=sources)


def _in_unit(channel: Channel, unit: str) -> Channel:
    return Channel(channel.name, unit, channel.role, channel.group, channel.angle)


def _digest_of_rows(episode: Episode) -> str:
    rows = np.ascontiguousarray(episode.t).tobytes() + np.ascontiguousarray(episode.values).tobytes()
    return hashlib.sha256(rows).hexdigest()


def _as_one_trace(parts: Sequence[Trace]) -> Trace:
    """Join recordings into one trace; equal names get a number."""
    episodes = [(k, episode) for k, part in enumerate(parts, 1) for episode in part.episodes]
    names = {(k, episode.recording) for k, episode in episodes}
    twice = len({name for _, name in names}) < len(names)
    named = tuple(replace(e, name=f"{k}_{e.name}") if twice else e for k, e in episodes)
    sources = tuple(source for part in parts for source in part.sources)
    notes = tuple(note for part in parts for note in part.notes)
    return replace(parts[0], episodes=named, sources=sources, notes=notes)
