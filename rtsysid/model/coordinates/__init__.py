"""Coordinates: what the network sees of a window, and how its answer becomes the next outputs.

Plain coordinates see the channels as they are, and the network answers with increments or values. Rigid-body
coordinates look from the body at the newest tick: velocities, displacements and rotations of the past are turned into
its frame, gravity is a direction there, and the network answers with increments in it, which are then carried along
the rotation. What was learned flying north holds flying east, and a quaternion stays one. With kinematics the network
answers with accelerations alone, and velocity, position, attitude and rate are integrated from them.

The formulas are written once for NumPy and torch: `xp` is either module. Shapes: L taps, C channels, K features per
row, F = L * K + tail features of a window, T targets, ny outputs; leading dimensions are free.
"""

from __future__ import annotations

from typing import Any

from rtsysid.model.coordinates.body import Body, KinematicBody
from rtsysid.model.coordinates.plain import Plain
from rtsysid.spec import ModelSpec


def coordinates(spec: ModelSpec, xp: Any) -> Plain | Body:
    """The coordinates that the specification asks for, on NumPy or torch arrays."""
    body = spec.rigid_body
    if body is None:
        return Plain(spec, xp)
    return KinematicBody(spec, body, xp) if body.kinematics else Body(spec, body, xp)
