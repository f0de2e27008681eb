"""Find what channels are where nobody says it: quaternions, and angles that come back after a turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import msgspec
import numpy as np

from rtsysid.channels import PERIODS, QUATERNION
from rtsysid.config import Config, Data
from rtsysid.recordings.trace import Trace
from rtsysid.spec import Channel, Doubles

LENGTH = 5e-3  # by which the length of a quaternion may differ from 1
TURN = 0.1  # share of a turn by which a jump may differ from it
CALM = 0.4  # of a turn: the largest change of an angle between two rows
ATTITUDE = "attitude"  # the group of a quaternion that has none
UNITS = ("rad", "deg")  # tried for an angle without a unit


def with_quantities(config: Config, trace: Trace) -> tuple[Config, Trace]:
    """Return configuration and recordings whose channels say what they are.

    Four outputs of one group, or neighbours without a group, whose squares sum to 1 in every row are a quaternion,
    unless all are whole numbers, as the flags of four states. A channel that jumps by a turn, stays within a turn and
    changes slowly otherwise is an angle; an input without a unit is none, since a command may jump.
    """
    rows = [episode.values.astype(np.float64) for episode in trace.episodes]
    channels = list(config.data.channels)
    for columns in _quaternions(channels, np.concatenate(rows)):
        for i in columns:
            channels[i] = msgspec.structs.replace(channels[i], unit=QUATERNION, group=channels[i].group or ATTITUDE)
    for i, unit in _angles(channels, rows):
        channels[i] = msgspec.structs.replace(channels[i], unit=unit, angle=True)
    if channels == list(config.data.channels):
        return config, trace
    data = _said(config.data, channels)
    return msgspec.structs.replace(config, data=data), replace(trace, channels=tuple(channels))


def _said(data: Data, channels: Sequence[Channel]) -> Data:
    """Return the settings that describe these channels."""
    groups: dict[str, tuple[str, ...]] = {}
    for channel in channels:
        if channel.group:
            groups[channel.group] = (*groups.get(channel.group, ()), channel.name)
    return msgspec.structs.replace(
        data,
        inputs=tuple(str(channel) for channel in channels if channel.role == "input"),
        outputs=tuple(str(channel) for channel in channels if channel.role == "output"),
        groups=groups,
        angles=tuple(channel.name for channel in channels if channel.angle),
    )


def _quaternions(channels: Sequence[Channel], rows: Doubles) -> Iterator[list[int]]:
    """Yield the columns of each quaternion that is not called one."""
    outputs = [i for i, channel in enumerate(channels) if channel.role == "output" and not channel.unit]
    taken: set[int] = set()
    for columns in (outputs[k : k + 4] for k in range(len(outputs) - 3)):
        groups, neighbours = {channels[i].group for i in columns}, columns[3] - columns[0] == 3
        whole = len(groups) == 1 and ("" in groups or sum(c.group in groups for c in channels) == 4)
        if neighbours and whole and not taken & set(columns) and _are_units(rows[:, columns]):
            taken |= set(columns)
            yield columns


def _are_units(rows: Doubles) -> bool:
    finite = rows[np.isfinite(rows).all(1)]
    lengths = np.linalg.norm(finite, axis=1)
    turns = bool(len(finite)) and (finite.std(0) > 0).sum() > 1 and not np.array_equal(finite, np.rint(finite))
    return bool(turns and (np.abs(lengths - 1) < LENGTH).all())


def _angles(channels: Sequence[Channel], rows: Sequence[Doubles]) -> Iterator[tuple[int, str]]:
    """Yield the column and the unit of each channel that comes back after a turn and is not called an angle."""
    for i, channel in enumerate(channels):
        units = [channel.unit] if channel.unit else UNITS if channel.role == "output" else ()
        steps = np.concatenate([np.diff(each[:, i]) for each in rows])
        steps = np.abs(steps[np.isfinite(steps)])
        reach = max(_value_range(each[:, i]) for each in rows)
        found = [unit for unit in units if unit in PERIODS and _comes_back(steps, reach, PERIODS[unit])]
        if found and not channel.angle:
            yield i, found[0]


def _value_range(values: Doubles) -> float:
    """Return the range of the finite values [n] of a recording; 0 without any."""
    finite = values[np.isfinite(values)]
    return float(np.ptp(finite)) if len(finite) else 0.0


def _comes_back(steps: Doubles, reach: float, period: float) -> bool:
    """Tell whether a channel turns: a command of two levels only jumps, and a counter leaves the turn."""
    jumps = np.abs(steps - period) < TURN * period
    turns = jumps.any() and reach < (1 + TURN) * period and steps[~jumps].any()
    return bool(turns and (steps[~jumps] < CALM * period).all())
