"""Fit the convention of a quaternion to measured rotation rates: order, direction, axes and unit.

The rotation between two attitudes is compared with the integral of the rates between them, which needs no derivative
of a noisy attitude, and no common times.

Some conventions are one and the same: x, y, z, w read as w, x, y, z is the inverse rotation in other axes. Of those
that fit alike, the one is chosen in which the body stands upright, where one of the orders says so, and else the one
that changes least.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Literal, NamedTuple

import numpy as np

from rtsysid.alignment.conversion import XYZW
from rtsysid.alignment.frames import conjugate, product
from rtsysid.alignment.source import QuaternionOrder
from rtsysid.spec import Doubles

LONGEST_S = 0.4  # between two attitudes
LARGEST = 2.0  # rad between two attitudes
PAIRS = 8_000  # of attitudes, at most
DEGREES = 180 / np.pi
ALIKE, ALIKE_MORE = 1.05, 0.003  # a residual within this factor, or this much, is not worse
STATED, STATED_MORE = 1.3, 0.02  # the same of the stated convention
UPRIGHT = 0.5  # by which one order must be more upright
WORSE, WORSE_MORE = 2.0, 0.05  # a residual above this factor, and this much more, disproves
_ORDERS: tuple[QuaternionOrder, ...] = ("xyzw", "wxyz")


class Convention(NamedTuple):
    """State how a quaternion of four columns is to be read, and how the rates relate to it.

    ``order``: of the columns; ``inverse``: it turns world to body. ``axes`` [3][3]: the rates are this signed
    permutation of the body's rates. ``scale``: rates are so many times those in rad/s.
    """

    order: QuaternionOrder = "xyzw"
    inverse: bool = False
    axes: tuple[tuple[int, ...], ...] = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    scale: float = 1.0

    @property
    def proper(self) -> bool:
        """Tell whether the axes map is a rotation, not a mirror image."""
        return bool(np.linalg.det(np.array(self.axes, float)) > 0)

    @property
    def axes_text(self) -> str:
        """Write the axes in terms of those of the body: ``x, -y, -z``."""
        names = "xyz"
        return ", ".join(
            f"{'-' if sum(row) < 0 else ''}{names[next(k for k, part in enumerate(row) if part)]}" for row in self.axes
        )


AXES = tuple(
    tuple(tuple(sign * (column == k) for k in range(3)) for column, sign in zip(columns, signs, strict=True))
    for columns in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
)
SAME = Convention().axes
SCALES = (1.0, DEGREES, 1 / DEGREES)


class AttitudeFit(NamedTuple):
    """Hold the convention that fits best, and how well.

    ``residual``: share of the rates' power that it does not explain, by axis and averaged; ``given``: the same of the
    convention that was stated. ``span_s``: time between two attitudes. ``upright``: where the stated one is the best,
    another one that fits alike, in which alone the body stands upright.
    """

    best: Convention
    residual: float
    given: float
    span_s: float
    upright: Convention | None = None

    @property
    def is_good(self) -> bool:
        """Tell whether the best convention explains most of the rates."""
        return self.residual < 0.5

    @property
    def disproved(self) -> bool:
        """Tell whether the stated convention is wrong: it leaves far more than the best, which is good."""
        return self.is_good and self.given > max(WORSE * self.residual, self.residual + WORSE_MORE)


class Moments(NamedTuple):
    """Hold sums over pairs of attitudes: of squared rates [3], squared rotations [3], and their products [3, 3]."""

    rates: Doubles
    rotations: Doubles
    products: Doubles

    def residuals(self, axes: Doubles, scales: Doubles) -> Doubles:
        """Return the share of the rates' power that conventions do not explain, axes of weak rates included: [k, s].

        `axes` [k, 3, 3]: signed permutations, `scales` [s].
        """
        across = np.einsum("kij,ij->ki", axes, self.products)[:, None]
        own = np.einsum("kij,j->ki", axes**2, self.rotations)[:, None]
        by = scales[:, None]
        left = np.minimum((self.rates - 2 * by * across + by**2 * own) / self.rates, 4.0)
        weights = np.sqrt(self.rates)
        return np.asarray((left * weights).sum(2) / weights.sum())


def fit_attitude(
    q: Doubles, q_t: Doubles, rates: Doubles, rates_t: Doubles, given: Convention | None = None
) -> AttitudeFit | None:
    """Find the convention of quaternions [n, 4] at times [n] s, from rates [m, 3] at times [m] s.

    `given`: the stated one; by default x, y, z, w, from body to world, with rates of the body in rad/s. Returns None
    where the body does not turn.
    """
    given, best = given or Convention(), None
    q, q_t, rates, rates_t = *_known(q, q_t), *_known(rates, rates_t)
    if len(q) < 10 or len(rates) < 10:
        return None
    q = q / np.maximum(np.linalg.norm(q, axis=1, keepdims=True), 1e-30)  # a log may scale it to whole numbers
    upright = upright_order(q)
    for count in _spans(q_t):
        fitted = _fit_of_span(q, q_t, rates, rates_t, count, given, upright)
        if fitted is not None and (best is None or fitted.residual < best.residual):
            best = fitted
    return best


def upright_order(q: Doubles) -> QuaternionOrder | Literal[""]:
    """Return the order of unit quaternions [n, 4] in which a body stands upright and turned little; "" for neither.

    This is the same for the inverse rotation, and in all axes in which the vertical is z.
    """
    scores = []
    for order in _ORDERS:
        x, y, z, w = q[:, XYZW[order]].T
        scores.append(float((z * z + w * w - x * x - y * y + np.abs(w)).mean()))
    if abs(scores[0] - scores[1]) < UPRIGHT:
        return ""
    return _ORDERS[int(np.argmax(scores))]


def _known(values: Doubles, t: Doubles) -> tuple[Doubles, Doubles]:
    known = np.isfinite(values).all(1) & np.isfinite(t)
    known &= np.concatenate(([True], np.diff(np.maximum.accumulate(np.where(known, t, -np.inf))) > 0))
    return values[known], t[known]


def _spans(t: Doubles) -> Iterator[int]:
    """Yield numbers of rows between two attitudes, up to the longest time."""
    count, step = 1, float(np.median(np.diff(t)))
    while count == 1 or (count * step <= LONGEST_S and count < len(t) // 4):
        yield count
        count *= 2


def _fit_of_span(
    q: Doubles, q_t: Doubles, rates: Doubles, rates_t: Doubles, count: int, given: Convention, upright: str
) -> AttitudeFit | None:
    first, last, turned = _pairs_of_attitudes(q, q_t, rates, rates_t, count)
    if len(first) < 10 or not (turned**2).sum(0).all():
        return None
    every: dict[Convention, float] = {}
    for order, inverse in itertools.product(_ORDERS, (False, True)):
        left = _moments_of(first, last, turned, order, inverse).residuals(np.array(AXES, float), np.array(SCALES))
        for (axes, scale), residual in zip(itertools.product(AXES, SCALES), left.ravel().tolist(), strict=True):
            every[Convention(order, inverse, axes, scale)] = residual
    least = min(every.values())
    alike = [each for each, residual in every.items() if residual <= max(ALIKE * least, least + ALIKE_MORE)]
    fits = every[given] <= max(STATED * least, least + STATED_MORE)
    standing = [each for each in alike if each.order == upright]
    changes = partial(_changes_of, given=given)
    best = given if fits else min(standing or alike, key=lambda each: (changes(each), every[each]))
    other = min(standing, key=changes, default=None) if best == given and given not in standing else None
    span = float(np.median(q_t[count:] - q_t[:-count]))
    return AttitudeFit(best, every[best], every[given], span, other)


def _pairs_of_attitudes(
    q: Doubles, q_t: Doubles, rates: Doubles, rates_t: Doubles, count: int
) -> tuple[Doubles, Doubles, Doubles]:
    """Return attitudes [k, 4], those so many rows later [k, 4], and the integral of the rates between them [k, 3]."""
    first = np.arange(0, len(q) - count, max(1, (len(q) - count) // PAIRS))
    span = q_t[first + count] - q_t[first]
    inside = (q_t[first] >= rates_t[0]) & (q_t[first + count] <= rates_t[-1])
    first = first[inside & (span < 3 * np.median(span))]
    steps = (rates[1:] + rates[:-1]) / 2 * np.diff(rates_t)[:, None]
    total = np.concatenate((np.zeros((1, 3)), np.cumsum(steps, axis=0)))
    at = np.stack([np.interp(q_t, rates_t, column) for column in total.T], 1)
    turned = at[first + count] - at[first]
    kept = np.abs((q[first] * q[first + count]).sum(1)) > np.cos(LARGEST / 2)  # whatever the order
    return q[first[kept]], q[first[kept] + count], turned[kept]


def _moments_of(first: Doubles, last: Doubles, turned: Doubles, order: QuaternionOrder, inverse: bool) -> Moments:
    """Sum up rotations between attitudes [k, 4], [k, 4] in the body, with the integrals [k, 3] of rates."""
    a, b = first[:, XYZW[order]], last[:, XYZW[order]]
    rotation = rotation_vectors(product(a, conjugate(b)) if inverse else product(conjugate(a), b))
    return Moments((turned**2).sum(0), (rotation**2).sum(0), turned.T @ rotation)


def rotation_vectors(q: Doubles) -> Doubles:
    """Return axis times angle in rad, [n, 3], of quaternions x, y, z, w [n, 4]; the short way around."""
    q = np.where(q[:, 3:] < 0, -q, q)
    size = np.linalg.norm(q[:, :3], axis=1, keepdims=True)
    per_size = np.divide(2 * np.arctan2(size, q[:, 3:]), size, out=np.full_like(size, 2.0), where=size > 1e-12)
    return np.asarray(q[:, :3] * per_size)


def _changes_of(each: Convention, given: Convention) -> float:
    """Count by how much a convention differs from the stated one: what is changed easily counts less.

    A mirrored or exchanged component of a quaternion is the inverse rotation in other axes, and counts once. An inverse
    rotation in a mirror image counts more: where the body hardly turns, it is what was turned the right way.
    """
    axes = np.array(each.axes, float) @ np.array(given.axes, float).T
    inverse = each.inverse != given.inverse
    turned = min(_turns_of(axes) + inverse, _turns_of(-axes) if inverse and each.proper else np.inf)
    scaled = not 0.9 < each.scale / given.scale < 1.1
    return float(turned + (inverse and not each.proper) + (each.order != given.order) + scaled)


def _turns_of(axes: Doubles) -> float:
    """Count the changes of a signed permutation [3, 3]: one for a sign or an exchange, more for others."""
    simple = {(0, 0): 0.0, (0, 1): 1.0, (2, 0): 1.0, (0, 2): 1.2, (0, 3): 1.3}
    moved, negative = int((np.diag(axes) == 0).sum()), int((axes.sum(1) < 0).sum())
    return simple.get((moved, negative), 2.0 + 0.1 * negative)
