"""Find the vectors among channels: quaternions, rotation rates, velocities, positions and accelerations.

A rigid body of the configuration says them. Otherwise groups, names (``gyro.x``, ``q[0]``, ``vx``) and units tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, TypeAlias

from rtsysid.alignment.source import QuaternionOrder
from rtsysid.channels import QUATERNION
from rtsysid.spec import Channel, RigidBody

Kind: TypeAlias = Literal["attitude", "rate", "velocity", "position", "acceleration"]
UNITS: dict[str, Kind] = {
    QUATERNION: "attitude", "rad/s": "rate", "deg/s": "rate", "dps": "rate", "m/s": "velocity", "m": "position",
    "m/s^2": "acceleration", "m/s2": "acceleration", "m/s/s": "acceleration", "G": "acceleration", "g": "acceleration",
}  # fmt: skip
_WORDS: tuple[tuple[str, Kind], ...] = (
    (r"quat|orientation|attitude|(^|[._])q$|(^|[._])q_$", "attitude"),
    (r"gyr|omega|angular_?vel|(^|[._])(w|rates?)$", "rate"),
    (r"acc|(^|[._])a$", "acceleration"),
    (r"vel|(^|[._])v$", "velocity"),
    (r"pos|(^|[._])$", "position"),
)
_AXIS = re.compile(
    r"(?P<stem>.*?)[._]?(?:\[(?P<index>[0-3])\]|(?P<letter>[xyzw])|(?P<digit>[0-3]))"
    r"(?P<frame>_(?:body|world|b|w|raw|mocap|est|filtered))?$",
    re.IGNORECASE,
)
_PQR = {"p": 0, "q": 1, "r": 2}


class Vector(NamedTuple):
    """Hold a vector: what it is, its columns in the order x, y, z, of a quaternion x, y, z, w as far as known.

    ``order``: that in which the columns of a quaternion are, "" where names do not tell. ``stated``: the configuration
    says what it is, and a model relies on it.
    """

    kind: Kind
    columns: tuple[int, ...]
    unit: str
    order: QuaternionOrder | Literal[""] = ""
    stated: bool = False


def vectors_of(channels: Sequence[Channel], body: RigidBody | None = None) -> list[Vector]:
    """List the vectors among channels, those of a rigid body first."""
    stated = [] if body is None else list(_of_body(channels, body))
    taken = {column for vector in stated for column in vector.columns}
    families: dict[tuple[str, str], dict[int, int]] = {}
    for column, channel in enumerate(channels):
        if column not in taken and channel.role == "output" and (place := _place_of(channel)) is not None:
            stem, axis = place
            families.setdefault((channel.group or stem, stem), {}).setdefault(axis, column)
    found = (_of_family(channels, stem, axes) for (_, stem), axes in families.items())
    return stated + [vector for vector in found if vector is not None]


def _of_body(channels: Sequence[Channel], body: RigidBody) -> Iterator[Vector]:
    names = [channel.name for channel in channels]
    parts: tuple[tuple[Kind, tuple[str, ...]], ...] = (
        ("attitude", body.attitude), ("rate", body.rate), ("velocity", body.velocity), ("position", body.position),
    )  # fmt: skip
    for kind, part in parts:
        if part and all(name in names for name in part):
            columns = tuple(names.index(name) for name in part)
            yield Vector(kind, columns, channels[columns[0]].unit, "xyzw" if kind == "attitude" else "", stated=True)


def _place_of(channel: Channel) -> tuple[str, int] | None:
    """Return the stem of a name and the axis that it ends with: 0 to 2 for x to z, 3 for w; from 10 on for indices."""
    if channel.name in _PQR and channel.unit in ("rad/s", "deg/s"):
        return "rate", _PQR[channel.name]
    found = _AXIS.fullmatch(channel.name)
    if found is None:
        return None
    stem = found["stem"] + (found["frame"] or "")
    if found["letter"]:
        return stem, "xyzw".index(found["letter"].lower())
    return stem, 10 + int(found["index"] or found["digit"])


def _bare_name(stem: str) -> str:
    return re.sub(r"_(body|world|b|w|raw|mocap|est|filtered)$", "", stem.lower())


def _of_family(channels: Sequence[Channel], stem: str, axes: dict[int, int]) -> Vector | None:
    """Make a vector of the columns of one stem, by axis; None where they are none."""
    columns = tuple(axes[axis] for axis in sorted(axes))
    units = {channels[column].unit for column in columns}
    unit = next(iter(units)) if len(units) == 1 else "?"
    by_name = next((k for word, k in _WORDS if re.search(word, _bare_name(stem))), None)
    kind = UNITS.get(unit, None if unit == "?" else by_name)
    lettered = max(axes) < 10
    if kind == "attitude" and len(columns) in (3, 4):
        return Vector(kind, columns, unit, "xyzw" if lettered or len(columns) == 3 else "")
    if kind is None or kind == "attitude" or len(columns) != 3 or 3 in axes:
        return None
    return Vector(kind, columns, unit)
