"""Small robots for tests: specifications of every kind, a pendulum to record, and its configuration. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from rtsysid.recordings.trace import Episode, Trace
from rtsysid.spec import Channel, ModelSpec, RigidBody, Rotors, unit_scaling

if TYPE_CHECKING:
    from rtsysid.train.network import Network

TINY = """
[data]
rate_hz = 50
inputs = ["u [V]"]
outputs = ["y [m]", "v [m/s]"]
[data.groups]
motion = ["y"]
[model]
taps = 5
encoder = [8, 3]
hidden = 6
linear_path = true
warmup = 4
[train]
batch = 64
stride = 7
[[stage]]
name = "joint"
train = ["encoder", "decoder", "cell", "head"]
loss = [{ kind = "reconstruction" }, { kind = "one_step" }, { kind = "rollout", horizon = 6 }]
teacher_forcing = { start = 0.5, end = 0.0 }
epochs = 3
input_noise = 0.01
[[stage]]
name = "frozen encoder"
train = ["cell", "head"]
loss = [{ kind = "rollout", horizon = 6 }]
epochs = 3
"""
DATA_ALONE = TINY.partition("[model]")[0]  # everything else is chosen from the recordings
# A model that depends on the age of its rows: two linear maps, and three bands of gains. No change coincides. The
# encoder sees the newest row alone.
AGED = {"linear_path": True, "near_ticks": 3, "age_bands": (2, 5), "encoder_taps": 1}
ENCODERS = {"lstm": (), "lstm-tdl": (), "lstm-tdl-aeu": (4,), "lstm-tdl-deep-aeu": (8, 3)}


def make_spec(variant: str = "lstm-tdl-deep-aeu", **changes: object) -> ModelSpec:
    """Two inputs and three outputs with scaling that is far from 0 and 1."""
    channels = (*(Channel(f"u{i}", "V", "input") for i in range(2)), *(Channel(f"y{i}", "m") for i in range(3)))
    return _scaled(channels, variant, changes)


def make_attitude_spec(variant: str = "lstm-tdl-deep-aeu", **changes: object) -> ModelSpec:
    """A speed between the components of a quaternion, of which plain coordinates keep the length, and a distance."""
    parts = [Channel(name, "quat", group="attitude") for name in ("qx", "qy", "qz", "qw")]
    channels = (*(Channel(f"u{i}", "V", "input") for i in range(2)), *parts[:2], Channel("y0", "m/s"), *parts[2:])
    return _scaled((*channels, Channel("y1", "m")), variant, changes)


def make_braked_spec(variant: str = "lstm-tdl-deep-aeu", **changes: object) -> ModelSpec:
    """Two outputs that dry friction brakes: a speed, and, where a window has several rows, a position that travels."""
    moving = {"relative": ("y2",), "friction": (("y1", 0.5), ("y2", 40.0), ("y2", 90.0))}
    braked = {"friction": (("y1", 0.5),)} if variant == "lstm" else moving
    return make_spec(variant, **{**braked, **changes})


def make_body_spec(variant: str = "lstm-tdl-deep-aeu", **changes: object) -> ModelSpec:
    """Two inputs, a battery and a rigid body, its channels in no particular order."""
    names = ["wx", "wy", "wz", "battery", "x", "y", "z", "qx", "qy", "qz", "qw", "vx", "vy", "vz"]
    channels = (*(Channel(f"u{i}", "", "input") for i in range(2)), *map(Channel, names))
    body = RigidBody(
        ("qx", "qy", "qz", "qw"), rate=("wx", "wy", "wz"), velocity=("vx", "vy", "vz"), position=("x", "y", "z")
    )
    return _scaled(channels, variant, {"rigid_body": body, **changes})


def make_moving_spec(variant: str = "lstm-tdl-deep-aeu", **changes: object) -> ModelSpec:
    """The same body with kinematics: accelerations are predicted and integrated."""
    body = make_body_spec().rigid_body
    assert body is not None
    return make_body_spec(variant, **{"rigid_body": msgspec.structs.replace(body, kinematics=True), **changes})


def make_driven_spec(variant: str = "lstm-tdl-deep-aeu", **changes: object) -> ModelSpec:
    """The same, driven by its two inputs as rotors whose constants are known, and corrected."""
    body = make_moving_spec().rigid_body
    assert body is not None
    rotors = Rotors(("u0", "u1"), (0.1, -0.2), (0.3, -0.1), (1, -1), 0.7, 0.2, 1.5, (0.4, 0.5, 0.8), learned=True)
    return make_body_spec(variant, **{"rigid_body": msgspec.structs.replace(body, rotors=rotors), **changes})


def make_angle_spec(variant: str = "lstm-tdl-deep-aeu", **changes: object) -> ModelSpec:
    """A heading that only turns, a pendulum whose direction matters, a speed, and a commanded heading."""
    channels = (
        Channel("u0", "V", "input"), Channel("u1", "rad", "input", angle=True), Channel("y0", "rad", angle=True),
        Channel("y1", "rad", angle=True), Channel("y2", "m"),
    )  # fmt: skip
    return _scaled(channels, variant, {"relative": () if variant == "lstm" else ("y0",), **changes})


def make_turret_spec(variant: str = "lstm-tdl-deep-aeu", **changes: object) -> ModelSpec:
    """The rigid body with an angle in the place of its battery: a turret on top of it."""
    spec = make_driven_spec(variant)
    turned = {"battery": Channel("battery", "rad", angle=True)}
    channels = tuple(turned.get(channel.name, channel) for channel in spec.channels)
    return _scaled(channels, variant, {"rigid_body": spec.rigid_body, **changes})


def _scaled(channels: tuple[Channel, ...], variant: str, changes: dict[str, object]) -> ModelSpec:
    fields = {
        "channels": channels, "rate_hz": 100.0, "hidden": 6, "warmup": 3,
        "taps": 1 if variant == "lstm" else 4, "encoder": ENCODERS[variant], **changes,
    }  # fmt: skip
    spec = ModelSpec(**fields)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    sizes = {"std": spec.width, "feature_std": spec.n_features, "target_std": spec.n_targets}
    drawn = {name: tuple(rng.uniform(0.5, 3.0, size).tolist()) for name, size in sizes.items()}
    drawn["target_std"] = tuple(rng.uniform(0.05, 0.2, spec.n_targets).tolist())
    drawn["feature_mean"] = tuple(rng.uniform(-2, 2, spec.n_features).tolist())
    drawn["target_mean"] = tuple((rng.uniform(-0.02, 0.02, spec.n_targets) * (not spec.age_bands)).tolist())
    return msgspec.structs.replace(spec, scaling=msgspec.structs.replace(unit_scaling(spec, 4.0), **drawn))


def set_gains(network: Network) -> Network:
    """Give a network of random weights gains from 0 to 1, where its specification has bands of ages."""
    for k, name in enumerate(("linear_gain", "head_gain")):
        if hasattr(network, name):
            gain = getattr(network, name).data
            gain.view(-1).copy_((k + gain.new_tensor(range(gain.numel()))) * 0.37 % 1)
    return network


def ages_for(spec: ModelSpec, rows: int) -> list[int]:
    """Ages of rows in no order, the last of them 1; 0 where the model does not depend on them."""
    if not spec.age_changes:
        return [0] * rows
    return [*np.random.default_rng(7).integers(0, spec.age_changes[-1] + 2, rows - 1).tolist(), 1]


def turns(spec: ModelSpec) -> np.ndarray:
    """Factors [C] that spread the angles of random rows over some turns."""
    return np.where([channel.angle for channel in spec.channels], 4.0, 1.0)


def flight(taps: int, batch: int = 3, seed: int = 0) -> np.ndarray:
    """Random rows [batch, taps, C] for `make_body_spec`, with unit quaternions that stay within a turn."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((batch, taps, 16))
    start = rng.standard_normal((batch, 1, 4))
    q = start + 0.2 * np.cumsum(rng.standard_normal((batch, taps, 4)), 1) / np.sqrt(taps)
    rows[..., 9:13] = q / np.linalg.norm(q, axis=-1, keepdims=True)
    return rows


def plant(recordings: int = 4, rows: int = 300, seed: int = 0) -> Trace:
    """A damped pendulum under random torque: nonlinear, stable, three channels."""
    rng = np.random.default_rng(seed)
    episodes = []
    for number in range(recordings):
        values = np.zeros((rows, 3), np.float32)
        y = v = 0.0
        torque = np.repeat(rng.uniform(-2, 2, rows // 10 + 1), 10)
        for k in range(rows):
            values[k] = torque[k], y, v
            v += 0.02 * (torque[k] - 4.0 * np.sin(y) - 0.5 * v)
            y += 0.02 * v
        episodes.append(Episode(f"run{number + 1}", np.arange(rows) / 50, values))
    channels = (Channel("u", "V", "input"), Channel("y", "m"), Channel("v", "m/s"))
    return Trace(channels, tuple(episodes))
