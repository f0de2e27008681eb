"""Coordinates: from a window to the network's features, and from its targets to the next outputs.

Plain coordinates use the channels as they are; targets are increments or values. Rigid-body coordinates use the body
frame of the newest row: past velocities, displacements and rotations are rotated into it, gravity is a direction there,
and targets are increments in it, which are rotated back. So a model does not depend on the heading, and a predicted
quaternion has length one. With kinematics the targets are accelerations alone, and velocity, position, attitude and
rate are integrated from them.

The formulas are written once for NumPy and torch: `xp` is either module. Shapes: L taps, C channels, K features per
row, F = L * K + tail features of a window, T targets, ny outputs; leading dimensions are free.
"""

from __future__ import annotations

from typing import Any

from rtsysid.model.coordinates.body import Body, KinematicBody
from rtsysid.model.coordinates.plain import Plain
from rtsysid.spec import ModelSpec


def coordinates(spec: ModelSpec, xp: Any) -> Plain | Body:
    """Make the coordinates of a specification. `xp`: the module of the arrays, numpy or torch."""
    body = spec.rigid_body
    if body is None:
        return Plain(spec, xp)
    return KinematicBody(spec, body, xp) if body.kinematics else Body(spec, body, xp)
