"""Convert frames to the convention of the project: a world whose z is up, a body with x forward, y left, z up.

A world that is north, east, down (``ned``) becomes east, north, up. A body that is forward, right, down (``frd``)
becomes forward, left, up. Ref: REP 103 of ROS.
"""

from __future__ import annotations

import numpy as np

from rtsysid.errors import ConfigError
from rtsysid.spec import Doubles

WORLDS = {
    "ned": np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]]),
    "enu": np.eye(3),
    "nwu": np.eye(3),
}
BODIES = {"frd": np.diag([1.0, -1.0, -1.0]), "flu": np.eye(3)}
_HALF = np.sqrt(0.5)
_TURNS = {  # the same maps as quaternions x, y, z, w
    "ned": np.array([_HALF, _HALF, 0.0, 0.0]),
    "frd": np.array([1.0, 0.0, 0.0, 0.0]),
}
_NONE = np.array([0.0, 0.0, 0.0, 1.0])


def vector_map(frames: str) -> Doubles:
    """Return the map [3, 3] of vectors in a world (``ned``) or a body frame (``frd``).

    Raises ConfigError where the frame is not known.
    """
    known = {**WORLDS, **BODIES}
    if frames not in known:
        pair = ": a vector has one frame" if "-" in frames else ""
        raise ConfigError(f"frames {frames!r}", f"not known of a vector{pair}", f"use one of {', '.join(known)}")
    return known[frames]


def rotation_maps(frames: str) -> tuple[Doubles, Doubles]:
    """Return quaternions [4], [4] that turn body to world after and before one in these frames (``ned-frd``).

    Raises ConfigError where the pair is not known.
    """
    world, _, body = frames.partition("-")
    if world not in WORLDS or body not in BODIES:
        pairs = ", ".join(f"{w}-{b}" for w in WORLDS for b in BODIES)
        raise ConfigError(f"frames {frames!r}", "not known of a quaternion", f"use one of {pairs}")
    return _TURNS.get(world, _NONE), _TURNS.get(body, _NONE)


def product(p: Doubles, q: Doubles) -> Doubles:
    """Multiply quaternions x, y, z, w: [..., 4] by [..., 4]."""
    px, py, pz, pw = np.moveaxis(p, -1, 0)
    qx, qy, qz, qw = np.moveaxis(q, -1, 0)
    parts = (
        pw * qx + px * qw + py * qz - pz * qy,
        pw * qy - px * qz + py * qw + pz * qx,
        pw * qz + px * qy - py * qx + pz * qw,
        pw * qw - px * qx - py * qy - pz * qz,
    )
    return np.stack(parts, -1)


def conjugate(q: Doubles) -> Doubles:
    """Invert unit quaternions [..., 4]."""
    return np.asarray(q * np.array([-1.0, -1.0, -1.0, 1.0]))
