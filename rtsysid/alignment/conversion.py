"""Convert the fields of messages to the values of channels: units, scale, frames, order of quaternions, counters.

A conversion may depend on the messages before (a counter that starts again, a rate from two attitudes). Messages are
converted in order of arrival, a whole recording at once or one by one, to equal values.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rtsysid.alignment.arithmetic import computed
from rtsysid.alignment.frames import conjugate, product, rotation_maps, vector_map
from rtsysid.alignment.source import ChannelSource
from rtsysid.alignment.units import factor
from rtsysid.errors import ConfigError
from rtsysid.spec import Channel, Doubles

XYZW = {"xyzw": [0, 1, 2, 3], "wxyz": [1, 2, 3, 0]}
DERIVED = {"rate": (3, "rad/s"), "yaw": (1, "rad")}  # from a quaternion: the number of channels, and their unit


class Conversion:
    """Convert the fields of one source to its channels. `fields` names the fields that it wants, in order.

    Raises ConfigError where fields and channels do not fit each other, and for an unknown unit, frame or scale.
    """

    def __init__(self, name: str, source: ChannelSource, channels: Sequence[Channel]) -> None:
        self._source, self._units = source, [channel.unit for channel in channels]
        self.fields = source.fields or (source.field,)
        self.rotation = len(channels) == 4 and all(unit == "quat" for unit in self._units)
        self._quaternion = self.rotation or bool(source.derive)
        self._check(name, len(channels))
        unit, scale = DERIVED[source.derive][1] if source.derive else source.unit, computed(source.scale)
        if self.rotation:  # its length becomes one, whatever its unit
            unit, scale = "quat", 1.0
        self._factor = np.array([scale * factor(unit, each, source.poles) for each in self._units])
        self._offset = np.array([source.offset * factor(unit, each, source.poles) for each in self._units])
        turned = source.frames and not self._quaternion
        self._map = vector_map(source.frames) if turned else None
        self._turns = rotation_maps(source.frames or "enu-flu") if self._quaternion else None
        self.forget()

    def _check(self, name: str, channels: int) -> None:
        fields = 4 if self._quaternion else channels
        derived = DERIVED.get(self._source.derive, (channels, ""))[0]
        if len(self.fields) != fields or channels != derived:
            found = f"{len(self.fields)} fields for {channels} channels"
            raise ConfigError(f"source of {name!r}", found, 'give "field" for a channel, "fields" for those of a group')
        if self._source.frames and not self._quaternion and channels != 3:
            raise ConfigError(f"source of {name!r}", "frames without three channels", "give frames to a group of three")

    def forget(self) -> None:
        """Start over: the next message is the first one."""
        self._last: Doubles | None = None  # [1, F] the last message
        self._last_t = np.nan
        self._laps = np.zeros(len(self.fields))

    def apply(self, t: Doubles, raw: Doubles) -> Doubles:
        """Convert messages [n, F] at times [n] s, in order of arrival, to values [n, k]. NaN marks what has none."""
        if not len(raw):
            return np.empty((0, len(self._units)))
        if self._source.period:
            raw = self._unwrapped(raw)
        if self._quaternion:
            return np.asarray(self._derived(t, self._attitude(raw)) * self._factor)
        values: Doubles = raw * self._factor - self._offset
        if self._map is not None:
            x, y, z = values.T
            values = np.stack([x * a + y * b + z * c for a, b, c in self._map], -1)
        return values

    def _unwrapped(self, raw: Doubles) -> Doubles:
        """Add a period each time that a value starts again."""
        period, known = self._source.period, np.where(np.isnan(raw), 0.0, raw)
        last = known[:1] if self._last is None else self._last
        steps = np.diff(np.concatenate((last, known)), axis=0)
        laps = self._laps + np.cumsum(-np.round(steps / period), axis=0)
        self._last, self._laps = known[-1:], laps[-1]
        return np.asarray(raw + period * laps)

    def _attitude(self, raw: Doubles) -> Doubles:
        """Bring quaternions to the order x, y, z, w, from body to world, in the frames of the project."""
        assert self._turns is not None
        q = raw[:, XYZW[self._source.order]]
        with np.errstate(invalid="ignore", divide="ignore"):  # a quaternion of length zero becomes NaN
            x, y, z, w = q.T
            q = q / np.sqrt(x * x + y * y + z * z + w * w)[:, None]
        q = conjugate(q) if self._source.inverse else q
        if not self._source.frames:
            return q
        after, before = self._turns
        return product(product(after, q), conjugate(before))

    def _derived(self, t: Doubles, q: Doubles) -> Doubles:
        if self._source.derive == "rate":
            return self._rates(t, q)
        if self._source.derive == "yaw":
            x, y, z, w = q.T
            return np.asarray(np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))[:, None])
        return q

    def _rates(self, t: Doubles, q: Doubles) -> Doubles:
        """Compute body rates [n, 3] rad/s from attitudes [n, 4]; the first message has none."""
        first = np.full((1, 4), np.nan) if self._last is None else self._last
        before, times = np.concatenate((first, q[:-1])), np.concatenate(([self._last_t], t[:-1]))
        self._last, self._last_t = q[-1:], t[-1]
        turn = product(conjugate(before), q)
        turn = np.where(turn[:, 3:] < 0, -turn, turn)
        x, y, z, w = turn.T
        size = np.sqrt(x * x + y * y + z * z)
        with np.errstate(invalid="ignore", divide="ignore"):
            per_size = np.where(size > 1e-12, 2 * np.arctan2(size, w) / size, 2.0)
            return np.asarray(turn[:, :3] * (per_size / (t - times))[:, None])
