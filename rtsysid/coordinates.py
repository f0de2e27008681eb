"""Coordinates: what the network sees of a window, and how its answer becomes the next outputs.

Plain coordinates see the channels as they are, and the network answers with increments or values. Rigid-body
coordinates look from the body at the newest tick: velocities, displacements and rotations of the past are turned into
its frame, gravity is a direction there, and the network answers with increments in it, which are then carried along
the rotation. What was learned flying north holds flying east, and a quaternion stays one.

The formulas are written once for NumPy and torch: `xp` is either module. Shapes: L taps, C channels, K features per
row, F = L * K + tail features of a window, T targets, ny outputs; leading dimensions are free.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from rtsysid.spec import ModelSpec, RigidBody

Array: TypeAlias = Any  # numpy.ndarray or torch.Tensor
Columns: TypeAlias = slice | list[int]

GRAVITY = 3  # features of the tail: the world's vertical in the body frame
TINY = 1e-12  # keeps the length of a quaternion of zeros from dividing by zero


class Plain:
    """Channels as they are; where the specification says so, relative to the newest row, and with powers of outputs."""

    def __init__(self, spec: ModelSpec, xp: Any) -> None:
        self._xp, self._nu, self._powers = xp, spec.n_inputs, spec.powers
        absolute = len(spec.columns) - len(spec.relative)
        self._absolute, self._relative = columns(spec.columns[:absolute]), columns(spec.columns[absolute:])
        self._moving = bool(spec.relative)
        self._increments = spec.output == "increment"

    def features(self, window: Array) -> tuple[Array, Array | None]:
        """Rows [..., L, K] in engineering units, and the tail [..., F - L * K] or None: [..., L, C] in."""
        rows = window[..., self._absolute]
        if self._moving:
            moved = window[..., self._relative] - window[..., -1:, self._relative]
            rows = self._xp.concatenate((rows, moved), -1)
        if self._powers > 1:
            rows = self._xp.concatenate((rows, *powers(rows[..., self._nu :], self._powers)), -1)
        return rows, None

    def advance(self, newest: Array, target: Array) -> Array:
        """The next outputs [..., ny] from the newest row [..., C] and the network's answer [..., T]."""
        return target + newest[..., self._nu :] if self._increments else target

    def targets(self, newest: Array, following: Array) -> Array:
        """The inverse of `advance`: the answer that leads from the newest row to the `following` outputs."""
        return following - newest[..., self._nu :] if self._increments else following


class Body:
    """Seen from the body at the newest tick.

    A row's features are the inputs and the outputs that do not belong to the body, then velocity, position relative
    to the newest, rotation relative to the newest, and rotation rate, each in the newest body frame.
    """

    def __init__(self, spec: ModelSpec, body: RigidBody, xp: Any) -> None:
        self._xp, self._nu = xp, spec.n_inputs
        names = [channel.name for channel in spec.channels]
        vectors = [[names.index(n) for n in part] for part in (body.velocity, body.position, body.attitude, body.rate)]
        self._velocity, self._position, self._attitude, self._rate = map(columns, vectors)
        others = [i for i in range(spec.width) if not any(i in part for part in vectors)]
        self._others, outputs = columns(others), [i for i in others if i >= self._nu]
        self._other_outputs = columns(outputs)
        # Answers come in the order: others, velocity, position, rotation, rate; outputs in that of the channels.
        self._sizes = [len(outputs), len(vectors[0]), len(vectors[1]), 3, len(vectors[3])]
        order = [i - self._nu for part in (outputs, *vectors) for i in part]
        self._order = columns([order.index(i) for i in range(len(order))])

    def features(self, window: Array) -> tuple[Array, Array | None]:
        """Rows [..., L, K] in engineering units, and the world's vertical in the body frame [..., 3]."""
        newest = window[..., -1:, :]
        q = self._unit(newest[..., self._attitude])[..., 0, :]
        turn = self._rotation(q)
        moved = window[..., self._position] - newest[..., self._position]
        product = self._relative(q, window[..., self._attitude])
        # sin(angle) axis: smooth everywhere, and the same for q and -q
        turned = 2 * product[..., :3] * product[..., 3:]
        vectors = (part @ turn for part in (window[..., self._velocity], moved) if part.shape[-1])
        return self._join((window[..., self._others], *vectors, turned, window[..., self._rate])), turn[..., 2, :]

    def advance(self, newest: Array, target: Array) -> Array:
        """The next outputs [..., ny] from the newest row [..., C] and increments in its body frame [..., T]."""
        q = self._unit(newest[..., self._attitude])
        turn = self._rotation(q)
        others, velocity, position, rotation, rate = self._split(target)
        following = (
            newest[..., self._other_outputs] + others,
            newest[..., self._velocity] + self._turned(turn, velocity),
            newest[..., self._position] + self._turned(turn, position),
            self._composed(q, rotation),
            newest[..., self._rate] + rate,
        )
        return self._join(following)[..., self._order]

    def targets(self, newest: Array, following: Array) -> Array:
        """The inverse of `advance`, for rotations of less than half a turn."""
        xp = self._xp
        after = xp.concatenate((newest[..., : self._nu], following), -1)
        q = self._unit(newest[..., self._attitude])
        back = self._rotation(q).swapaxes(-1, -2)
        product = self._relative(q, after[..., None, self._attitude])[..., 0, :]
        # 2 sin(angle / 2) axis, as `_composed` takes it; q and -q are one rotation: the shorter way
        rotation = 2 * product[..., :3] * xp.sign(product[..., 3:])
        return self._join(
            (
                (after - newest)[..., self._other_outputs],
                self._turned(back, (after - newest)[..., self._velocity]),
                self._turned(back, (after - newest)[..., self._position]),
                rotation,
                (after - newest)[..., self._rate],
            )
        )

    def _join(self, parts: Sequence[Array]) -> Array:
        return self._xp.concatenate([part for part in parts if part.shape[-1]], -1)

    def _split(self, target: Array) -> list[Array]:
        ends = [sum(self._sizes[: k + 1]) for k in range(len(self._sizes))]
        return [target[..., end - size : end] for end, size in zip(ends, self._sizes, strict=True)]

    def _unit(self, q: Array) -> Array:
        return q / self._xp.sqrt((q * q).sum(-1)[..., None] + TINY)

    def _turned(self, turn: Array, vector: Array) -> Array:
        return (turn @ vector[..., None])[..., 0] if vector.shape[-1] else vector

    def _rotation(self, q: Array) -> Array:
        """Matrix [..., 3, 3] from body to world of unit quaternions x, y, z, w [..., 4]."""
        x, y, z, w = (q[..., i] for i in range(4))
        rows = (
            1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
            2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
            2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
        )  # fmt: skip
        return self._xp.stack(rows, -1).reshape(*q.shape[:-1], 3, 3)

    def _relative(self, q: Array, others: Array) -> Array:
        """Quaternions [..., L, 4] that lead from `q` [..., 4] to `others` [..., L, 4], in the frame of q."""
        x, y, z, w = (q[..., i] for i in range(4))
        rows = (w, -z, y, x, z, w, -x, y, -y, x, w, z, -x, -y, -z, w)  # others @ this = conjugate(q) * others
        return others @ self._xp.stack(rows, -1).reshape(*q.shape[:-1], 4, 4)

    def _composed(self, q: Array, rotation: Array) -> Array:
        """The quaternion after a rotation of 2 sin(angle / 2) axis in the frame of q."""
        half = rotation / 2
        a, b, c = (half[..., i] for i in range(3))
        d = self._xp.sqrt(self._xp.clip(1 - a * a - b * b - c * c, 0.0, 1.0) + TINY)
        x, y, z, w = (q[..., i] for i in range(4))
        product = (
            w * a + x * d + y * c - z * b,
            w * b - x * c + y * d + z * a,
            w * c + x * b - y * a + z * d,
            w * d - x * a - y * b - z * c,
        )
        return self._unit(self._xp.stack(product, -1))


def coordinates(spec: ModelSpec, xp: Any) -> Plain | Body:
    """The coordinates that the specification asks for, on NumPy or torch arrays."""
    return Plain(spec, xp) if spec.rigid_body is None else Body(spec, spec.rigid_body, xp)


def powers(values: Array, highest: int) -> list[Array]:
    """Squares, cubes and so on up to the highest power; by products, so that all backends round alike."""
    found = [values]
    for _ in range(1, highest):
        found.append(found[-1] * values)
    return found[1:]


def columns(wanted: Sequence[int]) -> Columns:
    """Columns as a slice where they are neighbours: a view, in NumPy, in torch and in the exported graph."""
    first = wanted[0] if wanted else 0
    if list(wanted) == list(range(first, first + len(wanted))):
        return slice(first, first + len(wanted))
    return list(wanted)
