"""Say where the values of a channel, or of a group of channels, come from: a row of the table ``[data.sources]``."""

from __future__ import annotations

from typing import Literal

import msgspec

from rtsysid.guards import ranges

QuaternionOrder = Literal["xyzw", "wxyz"]


class ChannelSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Map fields of a topic to a channel, or to the channels of a group in their order.

    ``topic`` and ``field`` or ``fields``: where the numbers are; ``file``: name pattern of the file that holds them,
    where a run is several files. ``stamp``: time stamp to use, "" the time of receipt or logging; ``shift_s`` is added
    to it. ``unit``: unit in the log, converted to the channel's; ``scale`` is arithmetic ("9.81/2048"), applied first,
    then ``offset`` is subtracted. ``poles``: number of a motor's poles, for a unit of eRPM. ``order`` and ``inverse``:
    of a quaternion in the log. ``frames``: the log's convention ("ned-frd"), converted to z up, forward left up.
    ``period``: range after which an angle or a counter starts again; it is unwrapped. ``derive``: "rate" makes
    rotation rates of the body from the quaternion in ``fields``, "yaw" its heading. ``max_age``: seconds that a value
    is held, None: 2.5 mean periods.
    """

    topic: str = ""
    field: str = ""
    fields: tuple[str, ...] = ()
    file: str = ""
    stamp: str = ""
    shift_s: ranges.Offset = 0.0
    unit: str = ""
    scale: ranges.Finite | str = 1.0
    offset: ranges.Offset = 0.0
    poles: ranges.Few = 2
    order: QuaternionOrder = "xyzw"
    inverse: bool = False
    frames: str = ""
    period: ranges.Amount = 0.0
    derive: Literal["", "rate", "yaw"] = ""
    max_age: ranges.Seconds | None = None
