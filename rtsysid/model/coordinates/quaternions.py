"""Quaternions among outputs: of length one, and compared with the nearer of q and -q."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rtsysid.model.coordinates.columns import Array, Immutable, columns

TINY = 1e-12  # keeps the length of a quaternion of zeros from dividing by zero


class Quaternions(Immutable):
    """Handle the outputs that form a quaternion. Without any, every method returns its argument.

    `quaternions`: the columns x, y, z, w of each among `n_outputs`.
    """

    def __init__(self, quaternions: Sequence[Sequence[int]], n_outputs: int, xp: Any) -> None:
        self._xp, inside = xp, [i for each in quaternions for i in each]
        others = [i for i in range(n_outputs) if i not in inside]
        order = [*others, *inside]
        self._each, self._others = [columns(each) for each in quaternions], columns(others)
        self._order = columns([order.index(i) for i in range(len(order))])

    def unit(self, y: Array) -> Array:
        """Scale each quaternion among outputs [..., ny] to length one."""
        return self._replaced(y, (unit(y[..., each], self._xp) for each in self._each))

    def near(self, y: Array, reference: Array) -> Array:
        """Replace each quaternion q among outputs [..., ny] by the one of q and -q that is nearer to the reference."""
        return self._replaced(y, (self._nearer(y[..., each], reference[..., each]) for each in self._each))

    def _nearer(self, q: Array, reference: Array) -> Array:
        return q * self._xp.where((q * reference).sum(-1)[..., None] < 0, -1.0, 1.0)

    def _replaced(self, y: Array, quaternions: Iterable[Array]) -> Array:
        if not self._each:
            return y
        parts = (y[..., self._others], *quaternions)
        return self._xp.concatenate([part for part in parts if part.shape[-1]], -1)[..., self._order]


def unit(q: Array, xp: Any) -> Array:
    """Scale quaternions [..., 4] to length one. `xp`: the module of the arrays."""
    return q / xp.sqrt((q * q).sum(-1)[..., None] + TINY)
