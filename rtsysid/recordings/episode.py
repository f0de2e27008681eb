"""Hold one unbroken recording, and make such episodes from the rows of a table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from rtsysid.errors import TraceError
from rtsysid.recordings.formats import ROWS, Block, Selection, times
from rtsysid.recordings.pieces import Note, RolledOver
from rtsysid.recordings.rollover import unrolled_times
from rtsysid.recordings.streaming import runs_between
from rtsysid.spec import Doubles, Floats

Integers: TypeAlias = NDArray[np.int64]
_PIECE = re.compile(r"(#\d+)?(:\d+)?$")  # end of an episode's name: its number in the file, and its piece of that


@dataclass(frozen=True, eq=False)
class Episode:
    """Hold one unbroken recording: `t` float64 [n] in s, `values` float32 [n, C].

    Raises TraceError where the shapes do not match or there is no row.
    """

    name: str
    t: Doubles = field(repr=False)
    values: Floats = field(repr=False)

    def __post_init__(self) -> None:
        if not len(self.t) or self.values.ndim != 2 or len(self.values) != len(self.t):
            shapes = f"{len(self.t)} times for values of shape {self.values.shape}"
            raise TraceError(f"episode {self.name}", shapes, "give each of one or more rows its time")

    def __len__(self) -> int:
        return len(self.t)

    @property
    def recording(self) -> str:
        """Return the name of the recording that the episode belongs to."""
        return _PIECE.sub("", self.name)

    def piece(self, start: int, stop: int, name: str = "") -> Episode:
        """Return rows `start` to `stop` as an episode, without a copy. `name` replaces the name of this one."""
        return Episode(name or self.name, self.t[start:stop], self.values[start:stop])

    def pieces(self, starts: Integers, stops: Integers) -> list[Episode]:
        """Return ranges of rows, from `starts` [k] to before `stops` [k], as episodes.

        A single one keeps the name; several are ``name:1``, ``name:2``.
        """
        ranges = list(zip(starts, stops, strict=True))
        names = [self.name] if len(ranges) == 1 else [f"{self.name}:{k + 1}" for k in range(len(ranges))]
        return [self.piece(int(i), int(j), name) for (i, j), name in zip(ranges, names, strict=True)]


def episodes_in(selection: Selection, rows: Block, name: str) -> tuple[list[Episode], list[Note]]:
    """Make the episodes of all rows of a table: one, or one for each run of equal episode numbers."""
    exact, values = rows
    t = times(selection, exact, 0)
    number = np.nan_to_num(exact[:, -1]) if selection.episodes else np.zeros(len(t))
    episodes: list[Episode] = []
    notes: list[Note] = []
    for k, (i, j) in enumerate(zip(*runs_between(np.diff(number) != 0), strict=True), 1):
        own = name if k == 1 else f"{name}#{k}"
        unrolled, clock_ = unrolled_times(t[i:j], selection.time.seconds)
        episodes.append(Episode(own, unrolled, values[i:j]))
        notes += [RolledOver(own, clock_.count, clock_.period_s)] if clock_.count else []
    return episodes, notes


def episode_blocks(episodes: Sequence[Episode], numbered: bool) -> Iterator[Block]:
    """Yield the rows of episodes as blocks of a file; `numbered`: with the number of the episode."""
    for k, episode in enumerate(episodes):
        for start in range(0, len(episode), ROWS):
            t = episode.t[start : start + ROWS]
            exact = np.column_stack((t, np.full(len(t), float(k)))) if numbered else t[:, np.newaxis]
            yield Block(exact, episode.values[start : start + ROWS])
