"""Define the benchmark of robots: folders of recordings with a configuration of [data] alone.

========================= ===================================================================
NAME/robot.toml           the table [data] of a configuration, and nothing else
NAME/train/               recordings for training and validation
NAME/test/                recordings that test; before training only their lengths are checked
========================= ===================================================================

The default model is trained on each robot. It forecasts 50 ticks under the recorded inputs from every row of the test
recordings that has 49 rows before it: like each peer, it may look back on 50 rows. The error of a cell (robot, group,
ticks ahead) is the mean over all forecasts of `rtsysid.evaluation.metrics.group_errors`.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from rtsysid.benchmarks.forecasting import windows
from rtsysid.circle import unwrapped_plan
from rtsysid.config import Config, config_text, parse_config
from rtsysid.errors import ConfigError, SpecError, TraceError
from rtsysid.evaluation.forecasts import forecasts
from rtsysid.evaluation.metrics import forecast_windows, group_errors
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.held_out import split_long_enough
from rtsysid.recordings.home import home
from rtsysid.recordings.names import recording_files
from rtsysid.recordings.reading import read_recordings
from rtsysid.recordings.trace import Trace
from rtsysid.spec import Channel, Doubles, Floats, ModelSpec

PAST, HORIZON = 50, 50
TICKS = (1, 2, 5, 10, 20, 50)  # ticks ahead of the cells
NEEDED = PAST + HORIZON  # rows of an episode that allow one forecast
DIVERGED = 1e9  # in place of an infinite error, which has no mean
_BATCH = 1024  # forecasts at a time
_FILE = "robot.toml"


class Peer(Protocol):
    """Define a predictor that knows the rows before a forecast and the planned inputs, and no state."""

    def forecast(self, history: Floats, u_future: Floats) -> Doubles:
        """Forecast from histories [K, L, C] under inputs [K, N, nu] from the newest row on: [K, N, ny]."""


@dataclass(frozen=True)
class Robot:
    """Hold one robot: its name, its configuration of [data] alone, and its folder."""

    name: str
    config: Config
    folder: Path

    @classmethod
    def open(cls, folder: Path) -> Robot:
        """Read the configuration of a folder, and check that its recordings can test.

        Raises ConfigError where robot.toml is not valid or has more than [data], TraceError where training or test
        recordings are missing, cannot be read, or are too short for one forecast.
        """
        text, where = config_text(folder / _FILE), str(folder / _FILE)
        config = parse_config(text, where)
        if more := sorted(tomllib.loads(text).keys() - {"data"}):
            raise ConfigError(where, f"has {', '.join(more)}", "leave [data] alone: the default model is trained")
        robot = cls(_robot_name(folder), config, folder)
        for part in ("train", "test"):
            if not (folder / part).is_dir() or not list((folder / part).iterdir()):
                raise TraceError(f"robot {robot.name}", f"no {part} recordings", f"put some into {folder / part}")
            recording_files(folder / part)
        robot.testing(config.data.channels)
        return robot

    def training(self) -> Trace:
        """Read the recordings for training and validation. Raises TraceError where they cannot be read."""
        return self._read("train", self.config.data.channels)

    def testing(self, channels: Sequence[Channel], rotations: Sequence[Sequence[int]] = ()) -> Trace:
        """Read the test recordings, cut at every gap, without pieces that are too short for one forecast.

        `channels` and `rotations` are those of the model. Raises TraceError where nothing is left.
        """
        return self._cut(self._read("test", channels), rotations).long_enough(
            NEEDED, f"robot {self.name}, forecasts of {HORIZON} ticks", "give longer test recordings"
        )

    def split(self, spec: ModelSpec) -> tuple[list[Floats], list[Floats]]:
        """Read the training and the validation episodes [n, C] for peers, with the channels of a model.

        Raises TraceError where a part has no piece that is long enough.
        """
        trace = self._cut(self._read("train", spec.channels), spec.rotations)
        parts = split_long_enough(trace, self.config.data.validation, NEEDED)
        return [e.values for e in parts[0].episodes], [e.values for e in parts[1].episodes]

    def _read(self, part: str, channels: Sequence[Channel]) -> Trace:
        return read_recordings([self.folder / part], self.config.data, channels)

    def _cut(self, trace: Trace, rotations: Sequence[Sequence[int]]) -> Trace:
        data = self.config.data
        return trace.segments(data.rate_hz, nan="split").with_continuous(rotations).with_feedthrough(data.feedthrough)


def find_robots(folders: Sequence[Path] = (), names: Sequence[str] = ()) -> list[Robot]:
    """Open every robot in the folders, or those of these names; by default in the recordings folder ``robots``.

    A folder may also be that of a single robot. Raises ConfigError for a name that no folder has or that two have, and
    TraceError for a folder without robots; also the errors of `Robot.open`.
    """
    found = [robot for folder in folders or (home() / "robots",) for robot in _robot_folders(folder)]
    listed = [_robot_name(folder) for folder in found]
    if twice := sorted({name for name in listed if listed.count(name) > 1}):
        raise ConfigError(f"robot {twice[0]}", "there are two of this name", "rename one, or name one folder")
    if unknown := [name for name in names if name not in listed]:
        raise ConfigError("robot", repr(unknown[0]), f"choose among {', '.join(listed)}")
    return [Robot.open(folder) for folder, name in zip(found, listed, strict=True) if name in (names or listed)]


def _robot_name(folder: Path) -> str:
    return os.path.basename(os.path.abspath(folder))  # also of "." and "..", and a link has its own name


def _robot_folders(folder: Path) -> list[Path]:
    if (folder / _FILE).is_file():
        return [folder]
    inside = sorted(each for each in folder.iterdir() if (each / _FILE).is_file()) if folder.is_dir() else []
    if not inside:
        remedy = "set RTSYSID_DATA to the folder of your recordings, or give --data"
        raise TraceError(f"robots in {folder}", f"no folder with a {_FILE}", remedy)
    return inside


def forecast_counts(test: Trace) -> list[int]:
    """Return the number of forecasts of each test episode."""
    return [len(episode) - NEEDED + 1 for episode in test.episodes]


def model_errors(predictor: Predictor, test: Trace) -> Floats:
    """Measure the errors of a model, by forecast, group and ticks ahead: [K, G, T]. Forecasts are in time order.

    Raises SpecError where the model needs more rows than a peer may look back on.
    """
    if predictor.settling_samples > PAST:
        found = f"{predictor.settling_samples} samples before the first forecast, and peers look back on {PAST}"
        raise SpecError("taps and warmup", found, "configure fewer")
    batches = (b for e in test.episodes for b in forecasts(predictor, e.values, HORIZON, past=PAST))
    outputs = predictor.spec.outputs
    return np.concatenate([errors_at_ticks(batch.predicted, batch.truth, outputs) for batch in batches])


def peer_errors(peer: Peer, test: Trace, spec: ModelSpec) -> Floats:
    """Measure the errors of a peer, as `model_errors`: [K, G, T]."""
    return np.concatenate([
        errors_at_ticks(peer.forecast(*unwrapped_plan(history, u_future, spec.channels)), truth, spec.outputs)
        for history, u_future, truth in _peer_windows(test, spec.n_inputs)
    ])  # fmt: skip


def _peer_windows(test: Trace, n_inputs: int) -> Iterator[tuple[Floats, Floats, Floats]]:
    """Yield histories [K, PAST, C], inputs [K, N, nu] and truth [K, N, ny], a batch at a time."""
    for episode in test.episodes:
        starts = windows([episode], PAST - 1, HORIZON).t
        for at in (starts[k : k + _BATCH] for k in range(0, len(starts), _BATCH)):
            history = episode.values[at[:, None] + np.arange(1 - PAST, 1)]
            yield history, *forecast_windows(episode.values, n_inputs, at, HORIZON)


def errors_at_ticks(predicted: ArrayLike, truth: ArrayLike, outputs: Sequence[Channel]) -> Floats:
    """Return the errors of forecasts [K, N, ny] by group of outputs at `TICKS`: [K, G, T]; at most `DIVERGED`."""
    rows = [tick - 1 for tick in TICKS]
    guess, true = np.asarray(predicted)[:, rows], np.asarray(truth)[:, rows]
    errors = np.stack(list(group_errors(guess, true, outputs).values()), 1)
    return np.minimum(errors, DIVERGED).astype(np.float32)
