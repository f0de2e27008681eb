"""Inject known faults into recordings, each drawn from a seed, with the time or channel to be found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from rtsysid.checking.findings import Finding
from rtsysid.checking.tables import RawTable
from rtsysid.recordings.trace import Episode, Trace
from rtsysid.spec import Channel, Doubles


@dataclass(frozen=True)
class Faulty:
    """A recording with a fault. ``channels``: those that have it; ``time_s``: when it begins, None for all of it."""

    table: RawTable
    channels: tuple[str, ...] = ()
    time_s: float | None = None


Injector = Callable[[RawTable, np.random.Generator], Faulty]


def table_of(trace: Trace, number: int = 0) -> RawTable:
    """One episode of a trace as it was recorded."""
    episode = trace.episodes[number]
    values = episode.values.astype(np.float64)
    return RawTable(episode.name, "", episode.t, values, trace.channels, True, ".csv")


def trace_of(tables: Sequence[RawTable]) -> Trace:
    """Tables as a trace."""
    episodes = (Episode(each.recording, each.t, each.values.astype(np.float32)) for each in tables)
    return Trace(tables[0].channels, tuple(episodes))


def _with(table: RawTable, column: int, values: Doubles) -> RawTable:
    changed = table.values.copy()
    changed[:, column] = values
    return table._replace(values=changed)


def _row(table: RawTable, rng: np.random.Generator, low: float = 0.2, high: float = 0.7) -> int:
    return int(rng.uniform(low, high) * len(table.t))


def _moving(table: RawTable, rng: np.random.Generator, role: str = "output", row: int | None = None) -> int:
    """Choose a channel that changes often, also around a row."""
    part = table.values if row is None else table.values[row - 20 : row + 20]
    often = (np.diff(part, axis=0) != 0).mean(0)
    columns = [i for i, channel in enumerate(table.channels) if channel.role == role and often[i] > 0.5]
    return int(rng.choice(columns))


def lost_rows(table: RawTable, rng: np.random.Generator) -> Faulty:
    row, count = _row(table, rng), int(rng.integers(3, 40))
    kept = np.delete(np.arange(len(table.t)), np.s_[row : row + count])
    return Faulty(table._replace(t=table.t[kept], values=table.values[kept]), (), float(table.t[row - 1]))


def duplicated_rows(table: RawTable, rng: np.random.Generator) -> Faulty:
    row = _row(table, rng)
    rows = np.insert(np.arange(len(table.t)), row, np.arange(row, row + 5).repeat(1))
    rows.sort()
    return Faulty(table._replace(t=table.t[rows], values=table.values[rows]), (), float(table.t[row]))


def time_backward(table: RawTable, rng: np.random.Generator) -> Faulty:
    row, t = _row(table, rng), table.t.copy()
    t[row:] -= rng.uniform(50, 200) * float(np.median(np.diff(t)))
    return Faulty(table._replace(t=t), (), float(t[row - 1]))


def swapped_rows(table: RawTable, rng: np.random.Generator) -> Faulty:
    row, rows = _row(table, rng), np.arange(len(table.t))
    rows[row : row + 2] = row + 1, row
    return Faulty(table._replace(t=table.t[rows], values=table.values[rows]), (), float(table.t[row + 1]))


def clock_step(table: RawTable, rng: np.random.Generator) -> Faulty:
    row, t = _row(table, rng), table.t.copy()
    t[row:] += rng.uniform(100, 2000) * float(np.median(np.diff(t)))
    return Faulty(table._replace(t=t), (), float(t[row - 1]))


def burst_of_stamps(table: RawTable, rng: np.random.Generator) -> Faulty:
    row, t = _row(table, rng), table.t.copy()
    tick = float(np.median(np.diff(t)))
    for start in range(row, min(row + 100, len(t) - 10), 10):
        t[start : start + 10] = t[start + 9] + np.arange(10) * 0.01 * tick
    return Faulty(table._replace(t=t), (), float(t[row - 1]))


def only_bursts(table: RawTable, rng: np.random.Generator) -> Faulty:
    size = int(rng.integers(5, 20))
    number = np.arange(len(table.t)) // size
    tick = float(np.median(np.diff(table.t)))
    t = (number + 1) * size * tick + (np.arange(len(table.t)) % size) * 0.01 * tick
    return Faulty(table._replace(t=t), (), float(t[0]))


def wrong_time_unit(table: RawTable, rng: np.random.Generator) -> Faulty:
    return Faulty(table._replace(t=table.t * float(rng.choice([1e3, 1e6, 1e9]))))


def topic_silent(table: RawTable, rng: np.random.Generator) -> Faulty:
    row, column = _row(table, rng, 0.2, 0.5), _moving(table, rng)
    x = table.values[:, column].copy()
    x[row:] = np.nan
    return Faulty(_with(table, column, x), (table.channels[column].name,), float(table.t[row - 1]))


def frozen(table: RawTable, rng: np.random.Generator) -> Faulty:
    row = _row(table, rng)
    column = _moving(table, rng, "output", row)
    x = table.values[:, column].copy()
    x[row : row + int(0.2 * len(x))] = x[row]
    return Faulty(_with(table, column, x), (table.channels[column].name,), float(table.t[row]))


def saturated(table: RawTable, rng: np.random.Generator) -> Faulty:
    column = _moving(table, rng)
    x = table.values[:, column]
    limit = np.quantile(x, 0.9)
    return Faulty(_with(table, column, np.minimum(x, limit)), (table.channels[column].name,))


def quantised(table: RawTable, rng: np.random.Generator) -> Faulty:
    column = _moving(table, rng)
    x = table.values[:, column]
    height = np.ptp(x) / int(rng.integers(8, 32))
    return Faulty(_with(table, column, np.round(x / height) * height), (table.channels[column].name,))


def spikes(table: RawTable, rng: np.random.Generator) -> Faulty:
    column, rows = _moving(table, rng), np.sort(rng.choice(np.arange(20, len(table.t) - 20), 4, replace=False))
    x = table.values[:, column].copy()
    x[rows] += rng.choice([-1, 1], 4) * np.ptp(x) * rng.uniform(0.7, 2.0, 4)
    return Faulty(_with(table, column, x), (table.channels[column].name,), float(table.t[rows[0]]))


def constant_output(table: RawTable, rng: np.random.Generator) -> Faulty:
    column = _moving(table, rng)
    x = np.full(len(table.t), table.values[0, column])
    return Faulty(_with(table, column, x), (table.channels[column].name,))


def still_input(table: RawTable, rng: np.random.Generator) -> Faulty:
    column = _moving(table, rng, "input")
    return Faulty(_with(table, column, np.full(len(table.t), 0.5)), (table.channels[column].name,))


def roll_over(table: RawTable, rng: np.random.Generator) -> Faulty:
    """A counter of 16 bits in place of a channel: its motion on top of a steady count."""
    column = _moving(table, rng)
    x = table.values[:, column]
    count = np.arange(len(x)) * 65536 * 2.5 / len(x) + 20 * (x - x[0]) / np.ptp(x)
    wrapped = np.floor(count + rng.uniform(0, 65536)) % 65536
    jump = int(np.abs(np.diff(wrapped)).argmax() >= 0) and int(np.flatnonzero(np.abs(np.diff(wrapped)) > 30000)[0])
    return Faulty(_with(table, column, wrapped), (table.channels[column].name,), float(table.t[jump]))


def wrapped_angle(table: RawTable, rng: np.random.Generator) -> Faulty:
    """A heading in place of a channel, that turns and comes back after pi."""
    column = _moving(table, rng)
    x = table.values[:, column]
    angle = np.linspace(0, 15, len(x)) + 0.2 * (x - x[0]) / np.ptp(x) + rng.uniform(-1, 1)
    wrapped = (angle + np.pi) % (2 * np.pi) - np.pi
    jump = int(np.flatnonzero(np.abs(np.diff(wrapped)) > 3)[0])
    channels = list(table.channels)
    channels[column] = Channel(channels[column].name, "rad", "output")
    changed = _with(table, column, wrapped)._replace(channels=tuple(channels))
    return Faulty(changed, (channels[column].name,), float(table.t[jump]))


def large_offset(table: RawTable, rng: np.random.Generator) -> Faulty:
    column = _moving(table, rng)
    x = table.values[:, column]
    offset = float(np.ptp(x)) * 2**22 * rng.uniform(1, 4)
    return Faulty(_with(table, column, x + offset), (table.channels[column].name,))


# Faults of conventions and of the experiment: they change a whole recording.


def _columns(table: RawTable, *units: str) -> list[int]:
    return [i for i, channel in enumerate(table.channels) if channel.unit in units and channel.role == "output"]


def _quaternion(table: RawTable) -> list[int]:
    columns = _columns(table, "quat")
    if len(columns) != 4:
        raise ValueError("no quaternion")
    return columns


def _replaced(table: RawTable, columns: Sequence[int], values: Doubles, named: Sequence[int] | None = None) -> Faulty:
    changed = table.values.copy()
    changed[:, list(columns)] = values
    return Faulty(table._replace(values=changed), tuple(table.channels[i].name for i in named or columns))


def quaternion_order(table: RawTable, rng: np.random.Generator) -> Faulty:
    columns = _quaternion(table)
    return _replaced(table, columns, table.values[:, [columns[3], *columns[:3]]])


def inverse_quaternion(table: RawTable, rng: np.random.Generator) -> Faulty:
    columns = _quaternion(table)
    return _replaced(table, columns, table.values[:, columns] * [-1, -1, -1, 1])


def sign_flip(table: RawTable, rng: np.random.Generator) -> Faulty:
    columns, row = _quaternion(table), _row(table, rng)
    q = table.values[:, columns].copy()
    q[row:] *= -1
    found = _replaced(table, columns, q)
    return replace(found, time_s=float(table.t[row - 1]))


def degrees(table: RawTable, rng: np.random.Generator) -> Faulty:
    columns = _columns(table, "rad/s")
    if not columns or not _columns(table, "rad", "quat"):
        raise ValueError("no angle with its speed")
    return _replaced(table, columns, np.degrees(table.values[:, columns]))


def _triple(table: RawTable, rng: np.random.Generator) -> list[int]:
    """Choose a group of a quantity whose speed, or whose integral, is logged, too."""
    pairs = [("m", "m/s"), ("rad", "rad/s"), ("quat", "rad/s")]
    units = [unit for pair in pairs if all(_columns(table, each) for each in pair) for unit in pair if unit != "quat"]
    if not units:
        raise ValueError("no vector with its speed")
    return _columns(table, str(rng.choice(units)))


def exchanged_axes(table: RawTable, rng: np.random.Generator) -> Faulty:
    i, j = rng.choice(_triple(table, rng), 2, replace=False)
    return _replaced(table, [i, j], table.values[:, [j, i]])


def mirrored_axis(table: RawTable, rng: np.random.Generator) -> Faulty:
    i = int(rng.choice(_triple(table, rng)))
    return _replaced(table, [i], -table.values[:, [i]])


def held_inputs(table: RawTable, rng: np.random.Generator) -> Faulty:
    columns = [i for i, channel in enumerate(table.channels) if channel.role == "input"]
    rows = np.arange(len(table.t)) // 10 * 10
    return _replaced(table, columns, table.values[rows][:, columns])


def delayed(table: RawTable, ticks: int, columns: Sequence[int] | None = None) -> RawTable:
    """Let inputs act so many ticks after they were logged."""
    inputs = [i for i, channel in enumerate(table.channels) if channel.role == "input"]
    stop = len(table.t) - ticks
    values = table.values[:stop].copy()
    for column in inputs if columns is None else columns:
        values[:, column] = table.values[ticks : ticks + stop, column]
    return table._replace(t=table.t[:stop], values=values)


def inputs_delayed(table: RawTable, rng: np.random.Generator) -> Faulty:
    names = tuple(channel.name for channel in table.channels if channel.role == "input")
    return Faulty(delayed(table, int(rng.integers(8, 15))), names)


class Known(NamedTuple):
    """Say how a fault is injected, and by which word a check must find it."""

    inject: Injector
    word: str
    convention: bool = False


FAULTS: dict[str, Known] = {
    "lost rows": Known(lost_rows, "dropout"),
    "one topic silent": Known(topic_silent, "topic silent"),
    "duplicated rows": Known(duplicated_rows, "duplicated rows"),
    "time backward": Known(time_backward, "time backward"),
    "rows exchanged": Known(swapped_rows, "time backward"),
    "clock step": Known(clock_step, "clock step"),
    "burst of stamps": Known(burst_of_stamps, "burst of stamps"),
    "only bursts": Known(only_bursts, "burst of stamps"),
    "wrong time unit": Known(wrong_time_unit, "wrong time unit"),
    "counter roll-over": Known(roll_over, "roll-over"),
    "frozen channel": Known(frozen, "frozen"),
    "saturated channel": Known(saturated, "saturated"),
    "coarse quantisation": Known(quantised, "quantised"),
    "spikes": Known(spikes, "spikes"),
    "constant output": Known(constant_output, "constant"),
    "offset beyond float32": Known(large_offset, "float32 resolution"),
    "wrapped angle": Known(wrapped_angle, "wrapped angle"),
    "degrees for radians": Known(degrees, "degrees", True),
    "quaternion order": Known(quaternion_order, "quaternion order", True),
    "inverse quaternion": Known(inverse_quaternion, "inverse quaternion", True),
    "sign flip": Known(sign_flip, "sign flip", True),
    "two axes exchanged": Known(exchanged_axes, "exchanged axes", True),
    "one axis mirrored": Known(mirrored_axis, "mirrored axis", True),
    "inputs delayed": Known(inputs_delayed, "input delay", True),
    "inputs held at a tenth of the rate": Known(held_inputs, "held inputs", True),
    "an input that never moves": Known(still_input, "input never moves", True),
}


def inject(name: str, table: RawTable, seed: int) -> Faulty:
    """Inject a fault by its name. Raises ValueError where the recording has nothing to inject it into."""
    return FAULTS[name].inject(table, np.random.default_rng([seed, 7]))


def is_found(faulty: Faulty, known: Known, found: Sequence[Finding], tick: float) -> bool:
    """Whether a finding names the fault in its word, with its channel and its time as far as it has them."""
    return any(
        each.fault == known.word
        and (not faulty.channels or set(faulty.channels) & set(each.channels))
        and (faulty.time_s is None or (each.time_s is not None and abs(each.time_s - faulty.time_s) < 3 * tick))
        for each in found
    )
