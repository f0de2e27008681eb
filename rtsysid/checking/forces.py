"""Check the velocity of a rigid body against its attitude, by the force that must have moved it.

The actuators push a body in its own frame, and not along the compass. Acceleration and gravity, turned into the
frame of the body, are therefore told best by the inputs where velocity and attitude have one frame. And an
accelerometer that is turned into the world shows up on average.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rtsysid.checking.findings import Finding
from rtsysid.checking.rotations import AXES, SAME, Convention
from rtsysid.checking.vectors import Vector
from rtsysid.recordings.trace import Episode, Trace
from rtsysid.spec import STANDARD_GRAVITY, Doubles

SPAN_S = 0.05  # over which velocity is differenced
ROWS = 4000
TIMES = 3.0  # times less power must be left by what is right
SHORT = 100  # rows
UPRIGHT = 0.7  # of gravity, that an accelerometer shows along the vertical


class Motion(NamedTuple):
    """Hold inner products [10, 10] of what the force in the frame of the body may be made of, in (m/s^2)^2.

    The first nine are the logged acceleration i along the axis j of the world, number 3 i + j; then the vertical.
    The part that the features explain is subtracted.
    """

    products: Doubles

    def unexplained(self, axes: Sequence[Sequence[int]], gravity: float) -> float:
        """Return the power that is left where the logged axes are these of the world, in (m/s^2)^2."""
        weights = np.append(np.array(axes, float).ravel(), gravity)
        return float(weights @ self.products @ weights)


def force_findings(trace: Trace, vectors: Sequence[Vector], gravity: float) -> Iterator[Finding]:
    """Check the velocity of a rigid body among the outputs, recording by recording. `gravity`: in m/s^2, downward."""
    stated = {vector.kind: vector for vector in vectors if vector.stated}
    if not {"attitude", "velocity", "rate"} <= set(stated):
        return
    names = tuple(trace.channels[column].name for column in stated["velocity"].columns)
    for episode in trace.episodes[:: max(1, len(trace.episodes) // 20)]:
        motion = motion_of(trace, episode, stated)
        if motion is None:
            continue
        left = {(axes, g): motion.unexplained(axes, g) for axes in AXES for g in (gravity, -gravity)}
        axes, g = min(left, key=lambda each: (left[each], each != (SAME, gravity)))
        if left[SAME, gravity] < TIMES * left[axes, g]:
            continue
        stated_left = f"what is stated {np.sqrt(left[SAME, gravity]):.3g}"
        by = f"it leaves {np.sqrt(left[axes, g]):.3g} m/s^2 of the force unexplained, {stated_left}"
        if axes == SAME:
            found, fault = "gravity points along +z: z is down", "gravity"
        else:
            found, fault = f"its axes are {Convention(axes=axes).axes_text} of the attitude's world", "other axes"
        frames = 'data.sources frames ("ned-frd" of the attitude, "ned" of the velocity)'
        remedy = f"bring both into one world with z up: {frames}"
        yield Finding(fault, names, f"{found}: {by}", remedy, episode.recording, None, grave=True)  # type: ignore[arg-type]


def motion_of(trace: Trace, episode: Episode, stated: Mapping[Any, Vector]) -> Motion | None:
    """Difference the velocity of an episode; None where it is too short."""
    values, t = episode.values.astype(np.float64), episode.t
    step = float(np.median(np.diff(t))) if len(t) > 1 else 1.0
    span = max(2, round(SPAN_S / step))
    first = np.arange(0, len(t) - span, max(1, (len(t) - span) // ROWS))
    if len(first) < SHORT or not np.isfinite(values).all():
        return None
    v, q, rate = (values[:, list(stated[kind].columns)] for kind in ("velocity", "attitude", "rate"))
    middle = first + span // 2
    inputs = values[:, [i for i, channel in enumerate(trace.channels) if channel.role == "input"]]
    acceleration = (v[first + span] - v[first]) / (t[first + span] - t[first])[:, None]
    features = np.column_stack((np.ones(len(first)), (inputs[first] + inputs[middle]) / 2, rate[middle]))
    parts = [to_body(q[middle], np.eye(3)[[axis] * len(first)]) for axis in range(3)]
    made = [acceleration[:, i, None] * parts[j] for i in range(3) for j in range(3)] + [parts[2]]
    base, _ = np.linalg.qr(features[:, (features.std(0) > 0) | (np.arange(features.shape[1]) == 0)])
    left = np.stack([(each - base @ (base.T @ each)).ravel() for each in made])
    return Motion(left @ left.T / len(first))


def gravity_findings(trace: Trace, vectors: Sequence[Vector]) -> Iterator[Finding]:
    """Check that accelerometers, turned into the world by the attitude, show gravity upward on average."""
    attitudes = [v for v in vectors if v.kind == "attitude" and len(v.columns) == 4 and v.order == "xyzw"]
    for attitude in attitudes[:1]:
        for sensor in (v for v in vectors if v.kind == "acceleration"):
            for episode in trace.episodes[:: max(1, len(trace.episodes) // 20)]:
                yield from _shown_gravity(trace, episode, attitude, sensor)


def _shown_gravity(trace: Trace, episode: Episode, attitude: Vector, sensor: Vector) -> Iterator[Finding]:
    q, f = (episode.values[:, list(each.columns)].astype(np.float64) for each in (attitude, sensor))
    known = np.isfinite(q).all(1) & np.isfinite(f).all(1)
    if known.sum() < SHORT:
        return
    up, size = to_world(q[known], f[known]).mean(0), float(np.linalg.norm(f[known], axis=1).mean())
    unit = 1.0 if sensor.unit in ("g", "G") else STANDARD_GRAVITY
    names = tuple(trace.channels[column].name for column in sensor.columns)
    if not 0.7 < size / unit < 1.5:
        if 0.7 < size / (STANDARD_GRAVITY if unit == 1.0 else 1.0) < 1.5:
            found = f"its mean length is {size:.3g}: the unit is not {sensor.unit or 'm/s^2'}"
            yield Finding("gravity", names, found, "correct its unit: data.sources unit", episode.recording)
        return
    if up[2] < UPRIGHT * size:
        found = (
            f"turned into the world by the attitude, it shows {up[0]:.3g}, {up[1]:.3g}, {up[2]:.3g} on average, not up"
        )
        remedy = (
            "attitude and accelerometer have other frames: data.sources frames, or order and inverse of the quaternion"
        )
        yield Finding("gravity", names, found, remedy, episode.recording)


def to_world(q: Doubles, v: Doubles) -> Doubles:
    """Turn vectors [n, 3] by unit quaternions x, y, z, w [n, 4]."""
    twice = 2 * np.cross(q[:, :3], v)
    return np.asarray(v + q[:, 3:] * twice + np.cross(q[:, :3], twice))


def to_body(q: Doubles, v: Doubles) -> Doubles:
    """Turn vectors [n, 3] back by unit quaternions x, y, z, w [n, 4]."""
    return to_world(q * [-1.0, -1.0, -1.0, 1.0], v)
