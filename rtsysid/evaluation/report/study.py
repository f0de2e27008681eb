"""Set up the search for causes: errors of one-step predictions and of forecasts, next to what may explain them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rtsysid.evaluation.report.explained import block_means, explained_share, octave_blocks, running_sums
from rtsysid.evaluation.report.observed import Observed
from rtsysid.evaluation.report.quantities import ShownOutputs
from rtsysid.spec import Doubles, ModelSpec

REACH = 256  # ticks of the past that are searched
KEPT = 0.6  # of the forecasts must lie so far from the start of their episode
SOME_ROWS = 20_000  # in which late effects of inputs are searched
FINE_TAPS = 16  # of a window that is compared row by row
OF_GROUP = 0.2  # of the motion of a group's liveliest part: what moves less does not count
PATIENCE = 5  # horizons of a recording, from which on it has a constant error of its own


@dataclass(frozen=True, eq=False)
class Study:
    """Hold the errors of K forecasts, and compute features of their starts. All arrays have K rows.

    ``every``: the episodes; ``rows``: the starts in each of them that have `reach` rows before them.
    """

    spec: ModelSpec
    shown: ShownOutputs
    every: Sequence[Observed]
    stride: int
    reach: int
    rows: list[NDArray[np.intp]] = field(repr=False)

    @classmethod
    def of(cls, spec: ModelSpec, every: Sequence[Observed], stride: int) -> Study:
        """Choose how far back to look: as far as most forecasts allow, `REACH` ticks at most."""
        starts = np.concatenate([o.starts for o in every])
        farthest = int(np.quantile(starts, 1 - KEPT)) - 1
        reach = max(spec.taps + 1, min(max(REACH, 8 * spec.taps), farthest))
        rows = [np.flatnonzero(o.starts + 1 >= reach) for o in every]
        return cls(spec, ShownOutputs(spec), every, stride, reach, rows)

    @property
    def near(self) -> int:
        """Return how many neighbouring forecasts share measurements with one."""
        return -(-self.horizon // self.stride)

    def near_of(self, tick: int) -> int:
        """Return how many neighbouring forecasts share measurements with one, up to so many ticks ahead."""
        return -(-max(tick, self.spec.taps) // self.stride)

    @property
    def horizon(self) -> int:
        """Return the ticks of a forecast."""
        return int(self.every[0].truth.shape[1])

    @cached_property
    def far_errors(self) -> Doubles:
        """Return the errors at the end of the horizon, [K, nq]."""
        return self.errors_at(self.horizon)

    def errors_at(self, tick: int) -> Doubles:
        """Return the errors so many ticks ahead, [K, nq]."""
        with np.errstate(over="ignore", invalid="ignore"):
            off = [self.shown.differences(o.predicted[r, tick - 1], o.truth[r, tick - 1]) for o, r in self._parts]
        return np.concatenate(off)

    @cached_property
    def near_errors(self) -> Doubles:
        """Return the errors of the first tick, [K, nq]."""
        return self.errors_at(1)

    @cached_property
    def relative_size(self) -> Doubles:
        """Return the error at the end of the horizon, over the usual motion until then, [nq]; 0 without motion."""
        size = np.sqrt(np.mean(np.nan_to_num(self.far_errors, posinf=1e9, neginf=-1e9) ** 2, axis=0))
        motion = self.motion
        return np.asarray(np.minimum(np.divide(size, motion, out=np.zeros_like(size), where=motion > 0), 10.0))

    @cached_property
    def motion(self) -> Doubles:
        """Return the RMS change over the horizon, and at least `OF_GROUP` of the liveliest one of a group, [nq]."""
        moved = [self.shown.differences(o.truth[:, -1], _newest(self.spec, o)) for o in self.every]
        motion = np.sqrt(np.mean(np.concatenate(moved) ** 2, axis=0))
        groups = np.array([q.group for q in self.shown.quantities for _ in q.columns])
        liveliest = np.array([motion[groups == group].max() for group in groups])
        return np.asarray(np.maximum(motion, OF_GROUP * liveliest))

    @cached_property
    def drift(self) -> Doubles:
        """Return features [K, F] of a constant error in each recording, and of one that grows with its time."""
        names = [o.episode.recording for o, r in self._parts for _ in r]
        own = {name for name in set(names) if names.count(name) * self.stride >= PATIENCE * self.horizon}
        labels = np.array([name if name in own else "" for name in names])
        seconds = np.concatenate([o.seconds[o.starts[r]] for o, r in self._parts])
        columns = []
        for name in sorted(set(labels)):
            mine = labels == name
            span = np.ptp(seconds[mine]) or 1.0
            columns += [mine * 1.0, np.where(mine, (seconds - seconds[mine].mean()) / span, 0.0)]
        return np.stack(columns, 1)

    @property
    def progress(self) -> Doubles:
        """Return where in its recording each forecast starts, [K], from 0 to 1."""
        ends: dict[str, float] = {}
        for o in self.every:
            ends[o.episode.recording] = max(ends.get(o.episode.recording, 0.0), float(o.seconds[-1]))
        return np.concatenate([o.seconds[o.starts[r]] / (ends[o.episode.recording] or 1.0) for o, r in self._parts])

    @cached_property
    def window(self) -> Doubles:
        """Return features [K, F] of what the model is given: the rows of its window, and the planned inputs."""
        blocks = octave_blocks(0, self.spec.taps)
        return np.concatenate((self._newest_rows(), self._past(blocks), self._plan()), axis=1)

    def surprises(self) -> tuple[list[Doubles], list[Doubles], list[Doubles]]:
        """Return inputs, one-step errors and measured values of each episode; errors without what the window tells.

        Of each episode the first rows, `SOME_ROWS` of all together. Arrays are [n, nu], [n, nq] and [n, nq].
        """
        taps, nu, whole = self.spec.taps, self.spec.n_inputs, sum(len(o.episode) for o in self.every)
        blocks = [(k, k + 1) for k in range(taps)] if taps <= FINE_TAPS else octave_blocks(0, taps)
        inputs, errors, measured, windows = list[Doubles](), list[Doubles](), list[Doubles](), list[Doubles]()
        for o in self.every:
            n = min(len(o.episode), max(1, SOME_ROWS * len(o.episode) // whole))
            rows = np.arange(max(o.first + 1, taps), n)
            values = o.episode.values[:n].astype(np.float64)
            windows.append(block_means(values, rows - 1, blocks))
            inputs.append(values[rows, :nu])
            errors.append(self.shown.differences(values[rows, nu:], o.one_step[rows]))
            measured.append(self.shown.values(values[rows, nu:]))
        rest = _rest_of_errors(np.concatenate(windows), np.concatenate(errors))
        return inputs, np.split(rest, np.cumsum([len(each) for each in errors])[:-1]), measured

    def older(self, last: int | None = None) -> Doubles:
        """Return features [K, F] of rows from before the window, `last` ticks ago at most; by default `reach`."""
        return self._past(octave_blocks(self.spec.taps, last or self.reach))

    def share(self, features: Sequence[Doubles], *, first_tick: bool = False) -> Doubles:
        """Return the share [nq] of the squared error at the end of the horizon that features [K, F] explain."""
        errors = self.near_errors if first_tick else self.far_errors
        near = -(-self.spec.taps // self.stride) if first_tick else self.near
        return explained_share(np.concatenate(features, axis=1), errors, near)

    def loss(self, share: Doubles) -> Doubles:
        """Return by how much of the usual motion the error would shrink without this share, [nq]."""
        return np.asarray(self.relative_size * (1 - np.sqrt(1 - np.clip(share, 0, 1))))

    def series(self, columns: Sequence[Doubles], blocks: Sequence[tuple[int, int]], *, before: int = 0) -> Doubles:
        """Return block means of other columns [n, m] of each episode, from so many rows before the starts on."""
        parts = zip(columns, self._parts, strict=True)
        return np.concatenate([block_means(x, o.starts[r] - before, blocks) for x, (o, r) in parts])

    @cached_property
    def _sums(self) -> list[Doubles]:
        return [running_sums(o.episode.values) for o in self.every]

    @property
    def _parts(self) -> list[tuple[Observed, NDArray[np.intp]]]:
        return list(zip(self.every, self.rows, strict=True))

    def _newest_rows(self) -> Doubles:
        seen = [c for c in range(self.spec.width) if c not in self.spec.free_columns]
        rows = [o.episode.values[o.starts[r]][:, seen].astype(np.float64) for o, r in self._parts]
        return np.concatenate(rows)

    def _past(self, blocks: Sequence[tuple[int, int]]) -> Doubles:
        """Block means of inputs, and of outputs as distances from the newest row."""
        nu, parts = self.spec.n_inputs, list[Doubles]()
        for (o, r), sums in zip(self._parts, self._sums, strict=True):
            values = o.episode.values
            means = block_means(values, o.starts[r], blocks, sums)
            offset = values[o.starts[r]].astype(np.float64)
            offset[:, :nu] = 0.0
            parts.append(means - np.tile(offset, (1, len(blocks))))
        return np.concatenate(parts) if blocks else np.zeros((len(self.far_errors), 0))

    def _plan(self) -> Doubles:
        nu, n = self.spec.n_inputs, self.horizon
        blocks = [(n - high, n - low) for low, high in octave_blocks(0, n)]
        parts = zip(self._parts, self._sums, strict=True)
        plans = [
            block_means(o.episode.values[:, :nu], o.starts[r] + n - 1, blocks, sums[:, :nu]) for (o, r), sums in parts
        ]
        return np.concatenate(plans)


def _newest(spec: ModelSpec, o: Observed) -> Doubles:
    return np.asarray(o.episode.values[o.starts, spec.n_inputs :], np.float64)


def _rest_of_errors(features: Doubles, errors: Doubles) -> Doubles:
    """Return what a linear map of features [n, F] leaves of errors [n, nq]."""
    spread = features.std(0)
    x = np.column_stack(((features - features.mean(0)) / np.where(spread > 0, spread, 1.0), np.ones(len(features))))
    gram = x.T @ x / len(x)
    weights = np.linalg.solve(gram + 1e-6 * np.eye(len(gram)), x.T @ errors / len(x))
    return np.asarray(errors - x @ weights)
