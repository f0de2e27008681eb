"""Check a model specification: each contradiction is one line with its remedy."""

from __future__ import annotations

from collections import Counter

import msgspec
import numpy as np

from rtsysid.errors import SpecError
from rtsysid.guards.limits import checked_size
from rtsysid.guards.ranges import OLDEST
from rtsysid.structure import RigidBody, Rotors, Structure

TICKS = 1 << 24  # taps, ticks of a warm-up, units of a layer
LAYERS, ROTORS, DEGREE, BANDS = 64, 64, 16, 12
LARGEST, SMALLEST = 1e30, 1e-30  # values of a scaling: the model computes in float32


def check(spec: Structure) -> None:
    """Check all fields against each other, and sizes against limits. Raises SpecError at the first contradiction."""
    _check_sizes(spec)
    _check_channels(spec)
    _check_shape(spec)
    _check_seen(spec)
    _check_body(spec)
    _check_angles(spec)
    _check_integrators(spec)
    _check_friction(spec)
    _check_ages(spec)
    _check_scaling(spec)


def sees_otherwise(spec: Structure) -> bool:
    """Tell whether a row is judged in other coordinates than its channels: a rigid body, or angles."""
    return spec.rigid_body is not None or any(channel.angle for channel in spec.channels)


def _check_sizes(spec: Structure) -> None:
    """Check every size before anything is computed or allocated by it: a specification may come from anyone."""
    rotors = () if spec.rigid_body is None or spec.rigid_body.rotors is None else spec.rigid_body.rotors.speeds
    for name, found in {"relative": spec.relative, "integrate": spec.integrate, "friction": spec.friction}.items():
        checked_size(name, len(found), "channels", SpecError)
    checked_size("channels", len(spec.channels), "channels", SpecError)
    for name, size, largest in (
        ("encoder", len(spec.encoder), LAYERS),
        ("rigid_body.rotors.speeds", len(rotors), ROTORS),
        ("age_bands", len(spec.age_bands), BANDS),
        ("degree", spec.degree, DEGREE),
        ("warmup", spec.warmup, TICKS),
        ("taps", spec.taps, TICKS),
        ("encoder_taps", spec.encoder_taps, max(spec.taps, 0)),
        ("hidden", spec.hidden, TICKS),
        ("near_ticks", spec.near_ticks, OLDEST),
        *(("encoder", width, TICKS) for width in spec.encoder),
        *(("age_bands", age, OLDEST) for age in spec.age_bands),
    ):
        if size > largest:
            raise SpecError(name, str(size)[:40], f"give {largest} or less")
    room = 4 * max(spec.parameters, 2 * spec.taps * spec.width)
    checked_size("bytes of the weights or the delay line", room, "model_bytes", SpecError)


def _check_channels(spec: Structure) -> None:
    names = [c.name for c in spec.channels]
    if len(set(names)) != len(names):
        twice = sorted(name for name, count in Counter(names).items() if count > 1)
        raise SpecError("channels", f"named twice: {', '.join(twice)}", "give each channel its own name")
    roles = [c.role for c in spec.channels]
    if "output" not in roles or roles != sorted(roles):
        raise SpecError("channels", f"roles are {roles}", "list the inputs first, then at least one output")
    unknown = set() if isinstance(spec.feedback, bool) else set(spec.feedback) - {c.name for c in spec.outputs}
    if unknown:
        raise SpecError("feedback", f"no output is named {sorted(unknown)}", f"choose among {names[spec.n_inputs :]}")


def _check_shape(spec: Structure) -> None:
    for name in ("taps", "hidden", "rate_hz"):
        if not 0 < getattr(spec, name) < np.inf:
            raise SpecError(name, str(getattr(spec, name)), "give a positive number")
    if spec.warmup < 0 or any(width < 1 for width in spec.encoder):
        raise SpecError("warmup or encoder", f"{spec.warmup}, {spec.encoder}", "give counts that are not negative")
    _check_code(spec)


def _check_seen(spec: Structure) -> None:
    """Check what the window contains."""
    if not spec.columns:
        raise SpecError("feedback", "off, with no inputs", "a model needs inputs or feedback to see anything")
    if set(spec.relative) - {spec.channels[i].name for i in spec.columns[spec.n_inputs :]} or (
        spec.relative and spec.rigid_body
    ):
        found = ", ".join(spec.relative)
        raise SpecError("relative", found, "name outputs that are fed back; a rigid body has its own")
    if spec.degree < 1 or (spec.degree > 1 and (spec.rigid_body or len(spec.columns) == spec.n_inputs)):
        raise SpecError("degree", str(spec.degree), "give 1 or more; outputs must be fed back, and no rigid body")


def _check_code(spec: Structure) -> None:
    if spec.encoder_taps < 0:
        raise SpecError("encoder_taps", str(spec.encoder_taps), "give the rows that the encoder sees, or 0 for all")
    if spec.encoder and spec.code_size > spec.encoder_window and not spec.head_sees_code:
        found = f"a code of {spec.code_size} for a window of {spec.encoder_window} values"
        raise SpecError("encoder", found, "end it with a smaller layer, or see more taps")
    if spec.variational and not spec.encoder:
        raise SpecError("variational", "the model has no encoder", "give it encoder layers, or drop the key")
    if spec.distribution == "variational" and not spec.encoder:
        raise SpecError("distribution", "variational, but the model has no encoder", "give it encoder layers")
    if spec.distribution and spec.variational:
        remedy = f'leave out variational; distribution = "{spec.distribution}" says it all'
        raise SpecError("distribution", "next to variational = true", remedy)


def _check_body(spec: Structure) -> None:
    body = spec.rigid_body
    if body is None:
        return
    sizes = {"attitude": (4,), "rate": (0, 3), "velocity": (0, 3), "position": (0, 3)}
    for name, allowed in sizes.items():
        if len(getattr(body, name)) not in allowed:
            raise SpecError(f"rigid_body.{name}", f"{len(getattr(body, name))} channels", f"name {allowed[-1]}")
    if body.kinematics and (not body.rate or (body.position and not body.velocity)):
        raise SpecError("rigid_body.kinematics", "no rate, or a position without velocity", "name what moves the body")
    named = [*body.attitude, *body.rate, *body.velocity, *body.position]
    unknown = sorted(set(named) - {c.name for c in spec.outputs})
    if unknown or len(set(named)) != len(named):
        raise SpecError("rigid_body", f"{', '.join(unknown) or 'a channel twice'}", "name each of the outputs once")
    if spec.feedback is not True or spec.output != "increment":
        found = f"feedback {spec.feedback}, output {spec.output}"
        raise SpecError("rigid_body", found, "leave feedback on and output at increment")
    if body.rotors is not None:
        _check_rotors(spec, body, body.rotors)


def _check_angles(spec: Structure) -> None:
    angles = [channel for channel in spec.channels if channel.period]
    body = spec.rigid_body
    inside = set() if body is None else {*body.attitude, *body.rate, *body.velocity, *body.position}
    if of_body := sorted(inside & {channel.name for channel in angles}):
        raise SpecError("angles", f"{', '.join(of_body)} belongs to the rigid body", "name other channels")
    if spec.output == "absolute" and any(channel.role == "output" for channel in angles):
        raise SpecError("angles", "an output with output = 'absolute'", "predict increments: output = 'increment'")


def _check_integrators(spec: Structure) -> None:
    if not spec.integrate:
        return
    positions, velocities = zip(*spec.integrate, strict=True)
    names = {c.name for c in spec.outputs}
    if spec.rigid_body is not None:
        raise SpecError(
            "integrate", "together with a rigid body", "let its kinematics integrate: rigid_body.kinematics = true"
        )
    if unknown := sorted({*positions, *velocities} - names):
        raise SpecError("integrate", f"no output is named {', '.join(unknown)}", "name outputs")
    if len(set(positions)) != len(positions) or set(positions) & set(velocities):
        raise SpecError("integrate", "an output twice, or an integral of an integral", "name each position once")


def _check_friction(spec: Structure) -> None:
    if not spec.friction:
        return
    names = [name for name, _ in spec.friction]
    if unseen := sorted(set(names) - {spec.channels[i].name for i in spec.columns[spec.n_inputs :]}):
        raise SpecError("friction", f"{', '.join(unseen)} is not fed back", "name outputs that the window shows")
    if spec.rigid_body is not None or len(set(spec.friction)) != len(spec.friction):
        raise SpecError("friction", "of a rigid body, or the same twice", "name each output and speed once")
    if not all(0 < speed < np.inf for _, speed in spec.friction):
        raise SpecError("friction", "a speed that is not positive", "give the speed below which friction lets go")
    if spec.taps < 2 and set(names) & set(spec.relative):
        raise SpecError("friction", "travel in a window of one row", "see two taps, so that travel has a speed")


def _check_ages(spec: Structure) -> None:
    if spec.near_ticks and not spec.linear_path:
        raise SpecError("near_ticks", "the model has no linear path", "set linear_path = true, or near_ticks = 0")
    if spec.near_ticks < 0:
        raise SpecError("near_ticks", str(spec.near_ticks), "give the ticks for which the near map predicts, or 0")
    if list(spec.age_bands) != sorted({age for age in spec.age_bands if age > 0}):
        remedy = "list the first age of each further band in ascending order, from 1 on"
        raise SpecError("age_bands", str(list(spec.age_bands))[:40], remedy)
    if spec.age_bands and any(spec.scaling.target_mean):
        raise SpecError("age_bands", "targets whose mean is not 0", "train again: a gain of 0 must predict no change")


def _check_rotors(spec: Structure, body: RigidBody, rotors: Rotors) -> None:
    if not (body.kinematics and body.velocity):
        raise SpecError("rigid_body.rotors", "no kinematics or no velocity", "set kinematics = true, name a velocity")
    if unknown := sorted(set(rotors.speeds) - {c.name for c in spec.inputs}):
        raise SpecError("rigid_body.rotors.speeds", f"no input is named {', '.join(unknown)}", "name inputs")
    if not len(rotors.speeds) == len(rotors.x) == len(rotors.y) == len(rotors.spin):
        raise SpecError("rigid_body.rotors", "speeds, x, y and spin differ in length", "give one entry per rotor")
    if min(rotors.mass, *rotors.inertia) <= 0:
        raise SpecError("rigid_body.rotors", "mass or inertia is not positive", "give kg and kg m^2")


def _check_scaling(spec: Structure) -> None:
    scaling = spec.scaling
    if not any(msgspec.structs.astuple(scaling)):
        return  # the recordings have not been seen
    wanted = dict.fromkeys(("std", "low", "high"), spec.width)
    wanted |= {"feature_mean": spec.n_features, "feature_std": spec.n_features}
    wanted |= dict.fromkeys(("seen_low", "seen_high"), spec.width if sees_otherwise(spec) else 0)
    wanted |= {"target_mean": spec.n_targets, "target_std": spec.n_targets}
    for name, length in wanted.items():
        values = getattr(scaling, name)
        if len(values) != length or not all(abs(value) <= LARGEST for value in values):
            raise SpecError(f"scaling.{name}", f"{len(values)} values", f"it takes {length} finite values: train again")
    if min(*scaling.std, *scaling.feature_std, *scaling.target_std, 1.0) < SMALLEST:
        raise SpecError("scaling", "a standard deviation of zero", "drop the channel that never moves")
