"""Channels: the measured and commanded quantities of a robot. `rtsysid.spec` offers these names, too."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

from rtsysid.errors import SpecError

Role: TypeAlias = Literal["input", "output"]

PERIODS = {"rad": 2 * math.pi, "deg": 360.0, "°": 360.0}  # of an angle, by its unit
QUATERNION = "quat"  # the unit of a component of a rotation
_HEADER = re.compile(r"(?P<name>.*\S)\s*\[(?P<unit>[^\[\]]*)\]")


class Channel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Describe one measured or commanded quantity.

    ``group`` joins components of one vector (``position`` = x, y, z): errors are reported per group as the Euclidean
    norm, and as the angle between rotations where the unit is ``quat``. ``angle``: the value is an angle, which comes
    back after a turn; see `rtsysid.circle`.
    """

    name: str
    unit: str = ""
    role: Role = "output"
    group: str = ""
    angle: bool = False

    @property
    def period(self) -> float:
        """Return a whole turn in the unit of an angle; 0 for what does not come back. Raises SpecError for the unit."""
        if not self.angle:
            return 0.0
        if self.unit not in PERIODS:
            found, units = (
                f"its unit is {self.unit!r}",
                " or ".join(f"'{self.name} [{unit}]'" for unit in ("rad", "deg")),
            )
            raise SpecError(f"angle {self.name!r}", found, f"write {units}")
        return PERIODS[self.unit]

    @classmethod
    def parse(cls, text: str, role: Role = "output", group: str = "") -> Channel:
        """Read ``"vx [m/s]"``, the form of CSV headers and configuration files. Raises SpecError without a name."""
        name, unit = split_unit(text)
        if not name or name.startswith("["):
            raise SpecError("channel name", f"{text!r} is not 'name [unit]'", "write for example 'vx [m/s]'")
        return cls(name, unit, role, group)

    def __str__(self) -> str:
        return f"{self.name} [{self.unit}]" if self.unit else self.name


def rotation_columns(channels: Sequence[Channel]) -> list[tuple[int, ...]]:
    """List the columns of each quaternion: four channels of one role and group, of unit ``quat``."""
    found: dict[tuple[Role, str], list[int]] = {}
    for column, channel in enumerate(channels):
        if channel.unit == QUATERNION:
            found.setdefault((channel.role, channel.group), []).append(column)
    return [tuple(columns) for columns in found.values() if len(columns) == 4]


def split_unit(text: str) -> tuple[str, str]:
    """Split ``name [unit]`` into name and unit.

    Digits in brackets are an index and belong to the name (``q[0]``). So does any text that follows the name of a ROS
    topic, which begins with a slash, without a space: ``/joint_states.position[left]``.
    """
    text = text.strip()
    match = _HEADER.fullmatch(text)
    if match is None or match["unit"].strip().isdecimal() or (text.startswith("/") and text[match.end("name")] == "["):
        return text, ""
    return match["name"], match["unit"].strip()
