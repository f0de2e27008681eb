"""Two robots with an attitude, and models of them that are spoiled on purpose, each in one way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rtsysid.recordings.trace import Episode, Trace
from rtsysid.spec import Channel

RATE = 50.0
Doubles = np.ndarray


@dataclass(frozen=True)
class Robot:
    """Rates follow ``-damping rates + turning u`` and a coupling; the speed follows ``push u - drag speed``; per s."""

    name: str
    inputs: tuple[str, ...]
    damping: tuple[float, float, float]
    turning: tuple[tuple[float, ...], ...]
    push: tuple[float, ...]
    drag: float


ROVER = Robot("rover", ("throttle", "steer"), (4.0, 3.0, 2.0), ((0.0, 1.5), (1.0, 0.0), (0.0, 3.0)), (2.0, 0.0), 0.6)
SATELLITE = Robot(
    "satellite", ("mx", "my", "mz"), (0.8, 1.0, 0.6), ((1.2, 0, 0.2), (0, 1.0, 0), (0.1, 0, 0.9)), (0.3, 0.2, 0), 1.5
)
ROBOTS = {robot.name: robot for robot in (ROVER, SATELLITE)}
QUATERNION = ("qx", "qy", "qz", "qw")


def fly(robot: Robot, seconds: float, seed: int, dead_ticks: int = 0, filter_rows: int = 0) -> Doubles:
    """Simulate rows [n, C]: inputs, speed, rates [3], quaternion [4]."""
    rng = np.random.default_rng([seed, len(robot.inputs)])
    n, nu, dt = int(seconds * RATE), len(robot.inputs), 1 / RATE
    u = np.stack([held(rng, n) for _ in range(nu)], 1)
    rows = np.zeros((n, nu + 8))
    rows[:, :nu] = u
    speed, rates, q, lag = 0.0, np.zeros(3), np.array([0.0, 0, 0, 1.0]), np.zeros(nu)
    history = np.zeros((n + 1, nu))
    for k in range(n):
        rows[k, nu:] = [speed, *rates, *q]
        acting = u[k - dead_ticks] if k >= dead_ticks else np.zeros(nu)
        history[k] = acting
        if filter_rows:
            acting = history[max(0, k - filter_rows) : k + 1].mean(0)
        lag = acting
        for _ in range(4):
            h = dt / 4
            cross = 0.3 * np.array([rates[1] * rates[2], -rates[0] * rates[2], 0.2 * rates[0] * rates[1]])
            rates = rates + h * (np.array(robot.turning) @ lag - np.array(robot.damping) * rates + cross)
            speed += h * (np.dot(robot.push, lag) - robot.drag * speed - 0.2 * speed * abs(speed))
            q = q + h * 0.5 * quaternion_rate(q, rates)
            q /= np.linalg.norm(q)
    rows[:, nu : nu + 4] += 0.002 * rng.standard_normal((n, 4))
    return rows


def held(rng: np.random.Generator, n: int) -> Doubles:
    """An input that jumps to a random level every few rows."""
    lengths = rng.integers(3, 25, n)
    return np.repeat(rng.uniform(-1, 1, n), lengths)[:n]


def quaternion_rate(q: Doubles, w: Doubles) -> Doubles:
    """Twice the derivative of the attitude x, y, z, w from body to world, for rates in the body frame."""
    x, y, z, s = q
    return np.array([
        s * w[0] + y * w[2] - z * w[1], s * w[1] + z * w[0] - x * w[2],
        s * w[2] + x * w[1] - y * w[0], -x * w[0] - y * w[1] - z * w[2],
    ])  # fmt: skip


def channels(robot: Robot) -> tuple[Channel, ...]:
    """The channels of its recordings."""
    inputs = [Channel(name, "", "input") for name in robot.inputs]
    rates = [Channel(name, "rad/s", group="rate") for name in ("wx", "wy", "wz")]
    return (*inputs, Channel("v", "m/s"), *rates, *(Channel(name, "quat", group="attitude") for name in QUATERNION))


def recordings(robot: Robot, count: int = 6, seconds: float = 24.0, seed: int = 0, **how: int) -> Trace:
    """Several recordings of a robot, as a trace."""
    made = [fly(robot, seconds, seed + k, **how) for k in range(count)]
    times = np.arange(len(made[0])) / RATE
    episodes = (Episode(f"{robot.name}{k}", times, rows.astype(np.float32)) for k, rows in enumerate(made))
    return Trace(channels(robot), tuple(episodes))


def changed(trace: Trace, change: Callable[[Doubles, Doubles], Doubles]) -> Trace:
    """A trace whose rows [n, C] are changed, given them and their times."""
    episodes = (replace(e, values=change(e.values.astype(float), e.t).astype(np.float32)) for e in trace.episodes)
    return replace(trace, episodes=tuple(episodes))


BODY = (
    'rigid_body = { attitude = ["qx", "qy", "qz", "qw"], rate = ["wx", "wy", "wz"], kinematics = true, gravity = 0.0 }'
)


def config(robot: Robot, *, taps: int = 6, inputs: tuple[str, ...] = (), body: str = BODY, epochs: int = 2) -> str:
    """The text of a small configuration."""
    rates = '"wx [rad/s]", "wy [rad/s]", "wz [rad/s]"'
    attitude = ", ".join(f'"{name} [quat]"' for name in QUATERNION)
    names = ", ".join(f'"{name}"' for name in inputs or robot.inputs)
    return f"""
[data]
rate_hz = {RATE}
inputs = [{names}]
outputs = ["v [m/s]", {rates}, {attitude}]
[data.groups]
rate = ["wx", "wy", "wz"]
attitude = ["qx", "qy", "qz", "qw"]
[model]
taps = {taps}
encoder = []
hidden = 8
linear_path = true
warmup = 5
{body}
[train]
batch = 64
stride = 5
[[stage]]
name = "all"
train = ["cell", "head"]
loss = [{{ kind = "rollout", horizon = 15 }}]
epochs = {epochs}
"""


def trained(text: str, trace: Trace, folder: Path, spoil: Callable[[Path], None] = lambda run: None) -> Path:
    """Train a model of a configuration on a trace, spoil its run, and export it as a bundle."""
    from export.bundle import export
    from rtsysid.config import parse_config
    from rtsysid.train.fit import begin

    settings = parse_config(text)
    own = Trace(settings.data.channels, _columns(trace, settings.data.channels))
    for _ in begin(settings, own, folder / "run", text).epochs():
        pass
    spoil(folder / "run")
    export(folder / "run", folder / "bundle", targets=())
    return folder / "bundle"


def ringing_gain(own: Doubles) -> float:
    """The least gain of that feedback at which a swing grows by 2 % per tick; `own` [taps]: weights of the speed."""

    def radius(gain: float) -> float:
        rows = np.eye(len(own), k=-1)
        rows[0] = own
        rows[0, [0, 5]] += 1 - gain, gain
        return float(np.abs(np.linalg.eigvals(rows)).max())

    return next(gain for gain in np.arange(0.1, 3.0, 0.02) if radius(gain) > 1.02)


def make_ring(run: Path) -> None:
    """Feed the change of the speed over five ticks back into a trained linear path, until it rings."""
    from safetensors.torch import load_file, save_file

    from rtsysid.train.run import Run

    spec, weights = Run(run).spec, load_file(run / "weights.safetensors")
    names = [channel.name for channel in spec.channels]
    column, target = names.index("v"), [channel.name for channel in spec.outputs].index("v")
    newest = (spec.taps - 1) * spec.n_features + column
    units = spec.scaling.feature_std[column] / spec.scaling.target_std[target]
    rows = np.arange(spec.taps)[::-1] * spec.n_features + column  # the newest first
    gain = ringing_gain(weights["linear_path.weight"][target, rows.copy()].numpy() / units) * units
    weights["linear_path.weight"][target, newest] -= gain
    weights["linear_path.weight"][target, newest - 5 * spec.n_features] += gain
    save_file(weights, run / "weights.safetensors")


def _columns(trace: Trace, wanted: tuple[Channel, ...]) -> tuple[Episode, ...]:
    names = [channel.name for channel in trace.channels]
    rows = [names.index(channel.name) for channel in wanted]
    return tuple(replace(e, values=e.values[:, rows]) for e in trace.episodes)
