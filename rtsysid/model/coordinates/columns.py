"""Columns of a row, and what plain and rigid-body coordinates share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self, TypeAlias

Array: TypeAlias = Any  # numpy.ndarray or torch.Tensor
Columns: TypeAlias = slice | list[int]


class Immutable:
    """Base of objects that never change: a deep copy is the object itself, since it holds a module."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def powers(values: Array, highest: int) -> list[Array]:
    """Compute the powers 2 .. `highest` as repeated products, so that all backends round alike."""
    found = [values]
    for _ in range(1, highest):
        found.append(found[-1] * values)
    return found[1:]


def columns(wanted: Sequence[int]) -> Columns:
    """Return columns as a slice where they are adjacent, otherwise as a list: a slice gives a view on every backend."""
    first = wanted[0] if wanted else 0
    if list(wanted) == list(range(first, first + len(wanted))):
        return slice(first, first + len(wanted))
    return list(wanted)
