"""Check the inputs of an experiment: whether they move, often enough, in every direction, and by themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from rtsysid.checking.findings import Finding
from rtsysid.recordings.trace import Episode, Trace
from rtsysid.spec import Channel, Doubles

LOGGERS = {  # what sets the rate of a topic, by the suffix of the log
    ".ulg": "PX4: parameter SDLOG_PROFILE, or a topic in etc/logging/logger_topics.txt",
    ".bin": "ArduPilot: parameters LOG_BITMASK (fast attitude, RCOUT) and LOG_FILE_RATEMAX",
    ".bfl": "Betaflight: blackbox_sample_rate",
    ".bbl": "Betaflight: blackbox_sample_rate",
    ".bag": "ROS: publish the command at the rate of the controller",
    ".db3": "ROS: publish the command at the rate of the controller",
    ".mcap": "ROS: publish the command at the rate of the controller",
}
REGULAR = 0.8  # share of the pauses between changes that are alike
MOST = 40_000  # rows
PAST = 20  # rows of an input that predict its next one
SEGMENT = 256  # rows of a spectrum
LINES = 6.0  # frequencies that carry the changes of an input, below which it is too poor
CHANGES = 20
DIRECTION = 1e-3  # of the power of the direction that is moved most
SAME = 0.95  # correlation of two inputs
CLOSED = 0.05  # share of an input's news that past outputs tell
OFTEN = 0.6  # share of the times at which a held input changes, when it may


class Excitation(msgspec.Struct, frozen=True):
    """Describe how an input moves. Changes are the differences of successive rows.

    ``spread``: standard deviation. ``changing``: share of the rows in which it changes. ``held_rows``: rows between two
    changes, where they are regular; 1 otherwise. ``frequencies``: how many of 128 carry the power of the changes.
    ``band_hz``: band of 90 % of that power. ``from_outputs``: share of what its own past does not tell that past
    outputs do.
    """

    input: str
    spread: float
    changing: float
    held_rows: float
    frequencies: float
    band_hz: tuple[float, float]
    from_outputs: float


class Directions(NamedTuple):
    """Hold the news of the inputs, what their own past does not tell: its correlations [m, m] and their directions.

    ``names`` [m]: the inputs that move; ``condition``: of the correlations; ``least`` [m]: the direction moved least.
    """

    names: tuple[str, ...]
    correlation: Doubles
    condition: float
    least: Doubles


def input_findings(
    trace: Trace, rate_hz: float, suffix: str = ""
) -> tuple[list[Finding], list[Excitation], Directions]:
    """Check the inputs of recordings without gaps; return how each moves, too. `suffix`: of the log."""
    columns = [i for i, channel in enumerate(trace.channels) if channel.role == "input"]
    pieces = [each.values.astype(np.float64) for each in some_rows(trace, MOST)]
    every = [_excitation(trace, i, pieces, columns, rate_hz) for i in columns]
    moving = [i for i, each in zip(columns, every, strict=True) if each.spread > 0]
    directions = _directions([trace.channels[i].name for i in moving], moving, pieces)
    held = _held_rows_of(every, pieces, trace.channels, rate_hz, suffix.lower())
    return [*_still(every), *held, *_poor(every), *_same_inputs(directions), *_closed(every)], every, directions


def some_rows(trace: Trace, most: int) -> list[Episode]:
    """Return episodes of about `most` rows in all: of many recordings some, of one long one ten parts of it."""
    if len(trace) <= most:
        return list(trace.episodes)
    parts = [part for episode in trace.episodes for part in _tenths(episode, most // 10)]
    return parts[:: max(1, sum(map(len, parts)) // most)]


def _tenths(episode: Episode, rows: int) -> list[Episode]:
    starts = np.linspace(0, len(episode) - rows, 10).astype(int) if len(episode) > 10 * rows else [0]
    return [episode.piece(start, start + rows) if len(starts) > 1 else episode for start in map(int, starts)]


def _excitation(
    trace: Trace, column: int, pieces: Sequence[Doubles], inputs: Sequence[int], rate_hz: float
) -> Excitation:
    x, name = [piece[:, column] for piece in pieces], trace.channels[column].name
    first = trace.episodes[0].values[0, column]
    if all((each.values[:, column] == first).all() for each in trace.episodes):
        return Excitation(name, 0.0, 0.0, 1.0, 0.0, (0.0, 0.0), 0.0)
    spread = float(np.concatenate([each.values[:, column] for each in trace.episodes]).std(dtype=np.float64))
    changed = np.concatenate([each[1:] != each[:-1] for each in x])
    power = _spectrum(x)
    band = np.searchsorted(np.cumsum(power) / max(power.sum(), 1e-300), (0.05, 0.95)) + 1
    low, high = (float(each) * rate_hz / SEGMENT for each in band)
    lines = float(power.sum() ** 2 / max((power**2).sum(), 1e-300))
    told = _told_by_outputs(column, pieces, inputs) if changed.mean() > 0.02 else 0.0
    return Excitation(name, spread, float(changed.mean()), _held_rows(x), lines, (low, high), told)


def _spectrum(x: Sequence[Doubles]) -> Doubles:
    """Return the power of the changes of series [n] at 1 .. 128 of 256 rows, without the mean: [128]."""
    power = np.zeros(SEGMENT // 2)
    for each in x:
        steps = np.diff(each)
        steps = np.concatenate((steps, np.zeros(max(0, SEGMENT - len(steps)))))
        parts = sliding_window_view(steps, SEGMENT)[:: SEGMENT // 2] * np.hanning(SEGMENT)
        power += (np.abs(np.fft.rfft(parts, axis=1)) ** 2).sum(0)[1:]
    return power


def _held_rows(x: Sequence[Doubles]) -> float:
    """Return the rows between two changes of series [n] where they are regular, 1 otherwise."""
    pauses = np.concatenate([np.diff(np.flatnonzero(each[1:] != each[:-1])) for each in x])
    if len(pauses) < CHANGES or len(np.unique(np.concatenate(x)[:MOST])) <= 3:
        return 1.0
    usual = float(np.median(pauses))
    multiples = np.maximum(np.round(pauses / usual), 1)
    alike = np.abs(pauses - multiples * usual) <= np.maximum(0.25 * usual, 1.0) if usual >= 4 else pauses % usual == 0
    return usual if usual >= 2 and alike.mean() > REGULAR else 1.0


def _told_by_outputs(column: int, pieces: Sequence[Doubles], inputs: Sequence[int]) -> float:
    """Return the share of an input's news, beyond the past of all inputs, that the outputs before its row tell."""
    rows = [_past_of(piece, column, inputs) for piece in pieces if len(piece) > PAST + 20]
    if sum(len(x) for x, _, _ in rows) < 10 * (PAST + 60):
        return 0.0
    own, news, outputs = (np.concatenate(each) for each in zip(*rows, strict=True))
    left = [  # each parameter explains a row by chance
        float((_left(features, news) ** 2).sum()) / (len(news) - features.shape[1])
        for features in (own, np.concatenate((own, outputs), 1))
    ]
    return max(0.0, 1 - left[1] / left[0]) if left[0] > 1e-12 * float(np.var(news)) else 0.0


def _past_of(piece: Doubles, column: int, inputs: Sequence[int]) -> tuple[Doubles, Doubles, Doubles]:
    """Return the past of an input [m, p], its value [m], and the outputs before its row [m, q]."""
    past = sliding_window_view(piece[:, column], PAST)[:-1]
    others = [piece[PAST - lag - 1 : len(piece) - lag - 1, i] for i in inputs if i != column for lag in range(3)]
    outputs = np.delete(piece, list(inputs), axis=1)
    shown = [outputs[PAST - lag - 1 : len(piece) - lag - 1] for lag in range(3)]  # its own row may show its effect
    return np.column_stack((past, *others, np.ones(len(past)))), piece[PAST:, column], np.concatenate(shown, 1)


def _left(features: Doubles, target: Doubles) -> Doubles:
    """Return what a linear model of features [m, p] leaves of a target [m], with each feature in its own unit."""
    size = np.abs(features).max(0)
    x = features / np.where(size > 0, size, 1.0)
    gram = x.T @ x
    gram[np.diag_indices(len(gram))] *= 1 + 1e-10
    return np.asarray(target - x @ np.linalg.lstsq(gram, x.T @ target, rcond=None)[0])


def _directions(names: Sequence[str], columns: Sequence[int], pieces: Sequence[Doubles]) -> Directions:
    """Measure the news of the inputs in these columns of pieces [n, C]."""
    long = [piece for piece in pieces if len(piece) > PAST + 20]
    if len(columns) < 2 or sum(map(len, long)) < 10 * PAST:
        return Directions(tuple(names), np.eye(len(names)), 1.0, np.zeros(len(names)))
    news = []
    for column in columns:
        windows = np.concatenate([sliding_window_view(piece[:, column], PAST // 2 + 1) for piece in long])
        news.append(_left(np.column_stack((windows[:, :-1], np.ones(len(windows)))), windows[:, -1]))
    correlation: Doubles = np.atleast_2d(np.corrcoef(news))
    power, vectors = np.linalg.eigh(correlation)
    return Directions(tuple(names), correlation, float(power[-1] / max(power[0], 1e-15)), vectors[:, 0])


def _still(every: Sequence[Excitation]) -> Iterator[Finding]:
    for each in every:
        if each.spread == 0:
            found = "it has one value in all recordings: a model cannot learn what it does"
            yield Finding("input never moves", (each.input,), found, "leave it out of data.inputs, or record it moving")


def _held_rows_of(
    every: Sequence[Excitation], pieces: Sequence[Doubles], channels: Sequence[Channel], rate_hz: float, suffix: str
) -> Iterator[Finding]:
    """Find inputs that change less often than the outputs do."""
    outputs = [i for i, channel in enumerate(channels) if channel.role == "output"]
    fastest = max(float(np.mean(np.concatenate([p[1:, i] != p[:-1, i] for p in pieces]))) for i in outputs)
    for each in every:
        if each.held_rows > 1 and each.changing * each.held_rows > OFTEN and fastest > 2 * each.changing:
            own = rate_hz / each.held_rows
            found = (
                f"it changes each {each.held_rows:g} rows: {own:.4g} Hz set-points cannot explain what happens at "
                f"{rate_hz:g} Hz between them"
            )
            setting = LOGGERS.get(suffix, "raise the rate of its topic")
            remedy = f"log it at the model's rate ({setting}), or set data.rate_hz = {own:.4g}"
            yield Finding("held inputs", (each.input,), found, remedy)


def _poor(every: Sequence[Excitation]) -> Iterator[Finding]:
    for each in every:
        if 0 < each.frequencies < LINES and each.spread > 0:
            low, high = each.band_hz
            found = (
                f"{each.frequencies:.0f} frequencies carry its changes, 90 % of them from {low:.3g} to {high:.3g} Hz"
            )
            remedy = "add a signal with many frequencies (steps of random length, a chirp, a multisine)"
            yield Finding("little excitation", (each.input,), found, remedy)


def _same_inputs(directions: Directions) -> Iterator[Finding]:
    """Find inputs that move together, and the direction in which none moves."""
    names, r = directions.names, directions.correlation
    pairs = [(i, j) for i in range(len(names)) for j in range(i) if abs(r[i, j]) > SAME]
    for i, j in pairs:
        found = f"what is new in them has a correlation of {r[i, j]:.3f}: a model cannot tell which of them acts"
        yield Finding("correlated inputs", (names[j], names[i]), found, "move them apart, or leave one of them out")
    if directions.condition > 1 / DIRECTION and not pairs:
        parts = [
            f"{weight:+.2f} {name}" for name, weight in zip(names, directions.least, strict=True) if abs(weight) > 0.1
        ]
        condition = f"condition {directions.condition:.2g} of the information matrix"
        found = f"the direction {' '.join(parts)} is hardly moved ({condition})"
        yield Finding("unmoved direction", names, found, "add motion in this direction, as single inputs moved alone")


def _closed(every: Sequence[Excitation]) -> Iterator[Finding]:
    closed = [each for each in every if each.from_outputs > CLOSED]
    if closed:
        shares = ", ".join(f"{each.input} {each.from_outputs:.0%}" for each in closed[:6])
        found = f"past outputs tell much of what is new in the inputs ({shares}): a controller closes the loop"
        remedy = "add excitation that does not come from the controller, or the model learns the controller"
        yield Finding("closed loop", tuple(each.input for each in closed), found, remedy)
