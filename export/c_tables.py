"""Write the tables of scaling and coordinates as C constants."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from rtsysid.model.c_layout import TILE
from rtsysid.model.coordinates.body import effects, gyration
from rtsysid.model.coordinates.plain import brakes
from rtsysid.spec import Doubles, Floats, ModelSpec, RigidBody


def coordinate_sizes(spec: ModelSpec) -> dict[str, int | str]:
    """Return the sizes of the coordinates, by the name of their macro."""
    body = spec.rigid_body or RigidBody(())
    return {
        "BODY": int(spec.rigid_body is not None),
        "FROM_NEWEST": int(spec.rigid_body is not None or bool(spec.distances) or bool(spec.friction)),
        "ROW_MAX": max(spec.width, spec.n_features),
        "OTHERS": len(_channels_apart(spec, body)),
        "OTHER_OUTPUTS": len([i for i in _channels_apart(spec, body) if i >= spec.n_inputs]),
        "VELOCITY": len(body.velocity),
        "POSITION": len(body.position),
        "RATE": len(body.rate),
        "INTEGRATED": len(spec.integrate),
        "N_FRICTION": len(spec.friction),
        "KINEMATICS": int(body.kinematics),
        "ROTORS": len(body.rotors.speeds) if body.rotors else 0,
        "SQUARES": spec.n_lifts,
        "ANGLES": sum(channel.angle for channel in spec.channels),
        "ANGLE_OUTPUTS": sum(channel.angle for channel in spec.outputs),
        "DIRECTIONS": len(spec.directions),
        "QUATERNIONS": len(spec.quaternions),
    }


def table_definitions(spec: ModelSpec) -> str:
    """Write the tables of scaling and coordinates as C constants."""
    scaling = spec.scaling
    lines = ["/* ---- Tables */", ""]
    lines += [
        floats("feature_mean", scaling.feature_mean),
        floats("feature_scale", 1.0 / np.asarray(scaling.feature_std)),
        floats("target_mean", scaling.target_mean),
        floats("target_std", scaling.target_std),
    ]
    if spec.rigid_body is None:
        seen = spec.columns + spec.columns[spec.n_inputs :] * (spec.degree - 1)
        relative = [int(i in spec.distances) for i in seen]
        return "\n".join(
            [
                *lines,
                indices("columns_seen", seen),
                indices("seen_relative", relative),
                *_angle_tables(spec, "seen", seen),
                *_friction_tables(spec),
                *_integrator_tables(spec),
                *([indices("quaternions", sum(spec.quaternions, ()))] if spec.quaternions else []),
            ]
        )
    names, body, others = [c.name for c in spec.channels], spec.rigid_body, _channels_apart(spec, spec.rigid_body)
    parts = {"attitude": body.attitude, "velocity": body.velocity, "position": body.position, "rate": body.rate}
    if body.kinematics:
        lines += [constant("tick_length", 1 / spec.rate_hz), constant("gravity", body.gravity)]
    if body.rotors is not None:
        flat = [effect for axis in effects(body.rotors) for effect in axis]
        lines += [floats("rotor_effect", flat), floats("rotor_gyration", gyration(body.rotors))]
        lines.append(indices("at_rotors", [names.index(name) for name in body.rotors.speeds]))
    lines += [indices(f"at_{part}", [names.index(name) for name in listed]) for part, listed in parts.items()]
    lines += _angle_tables(spec, "other", others)
    lines += [indices("at_others", others), indices("at_other_outputs", [i for i in others if i >= spec.n_inputs])]
    return "\n".join(lines)


def _angle_tables(spec: ModelSpec, what: str, columns: Sequence[int]) -> list[str]:
    """Write the tables of angles: the periods of these columns, the directions that are seen, and the outputs."""
    if not any(channel.angle for channel in spec.channels):
        return []
    outputs = [i for i, channel in enumerate(spec.channels) if channel.angle and i >= spec.n_inputs]
    return [
        *_period_tables(spec, what, columns),
        indices("seen_directions", spec.directions),
        *_period_tables(spec, "direction", spec.directions),
        floats("direction_half", [math.pi / spec.channels[i].period for i in spec.directions] or [0.0]),
        indices("angle_outputs", [i - spec.n_inputs for i in outputs]),
        *_period_tables(spec, "angle", outputs),
        floats("angle_start", [spec.turn_start(i) for i in outputs] or [0.0]),
    ]


def _period_tables(spec: ModelSpec, what: str, columns: Sequence[int]) -> list[str]:
    """Write the period of each column and its inverse, both 0 for what is no angle; nothing without angles."""
    if not any(channel.angle for channel in spec.channels):
        return []
    periods = [spec.channels[i].period for i in columns] or [0.0]
    inverse = [1 / period if period else 0.0 for period in periods]
    return [floats(f"{what}_period", periods), floats(f"{what}_per_period", inverse)]


def _friction_tables(spec: ModelSpec) -> list[str]:
    """Write the tables of outputs with dry friction: columns, whether they travel, factors inside tanh."""
    if not spec.friction:
        return []
    channels, travels, _ = zip(*brakes(spec), strict=True)
    factors = [(spec.rate_hz if brake.travels else 1.0) / brake.slow for brake in brakes(spec)]
    return [
        indices("braked", channels),
        indices("braked_travels", [int(moves) for moves in travels]),
        floats("braked_factor", factors),
        *_period_tables(spec, "braked", channels),
    ]


def _integrator_tables(spec: ModelSpec) -> list[str]:
    """Write the tables of outputs that the head predicts, and of those that are integrated from them."""
    names = [c.name for c in spec.outputs]
    positions, velocities = ([names.index(pair[k]) for pair in spec.integrate] for k in (0, 1))
    head_outputs = indices("head_outputs", [i for i in range(len(names)) if i not in positions])
    if not positions:
        return [head_outputs]
    following = [indices("integrals", positions), indices("derivatives", velocities)]
    return [head_outputs, *following, constant("tick_length", 1 / spec.rate_hz)]


def _channels_apart(spec: ModelSpec, body: RigidBody) -> list[int]:
    """List the channels that do not belong to the body."""
    named = {*body.attitude, *body.velocity, *body.position, *body.rate}
    return [i for i, channel in enumerate(spec.channels) if channel.name not in named]


def literal(value: float | np.floating[Any]) -> str:
    """Write a float32 as a C literal that reads back as the same bits: nine significant digits."""
    text = f"{np.float32(value):.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def floats(name: str, values: Sequence[float] | Floats | Doubles) -> str:
    """Write a table of float32 [n]."""
    return array("float", name, [literal(value) for value in np.asarray(values, np.float32)])


def constant(name: str, value: float) -> str:
    """Write one float32."""
    return f"static const float {name} = {literal(value)};"


def indices(name: str, values: Sequence[int]) -> str:
    """Write a table of columns; one 0 where there is none."""
    return array("unsigned short", name, [str(value) for value in values] or ["0"])


def array(kind: str, name: str, values: list[str]) -> str:
    """Write a table of C literals of one type."""
    rows = [", ".join(values[i : i + TILE]) for i in range(0, len(values), TILE)]
    return f"static const {kind} {name}[{len(values)}] = {{\n    " + ",\n    ".join(rows) + "};"
