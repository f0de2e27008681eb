"""Columns of a row, and what else both coordinates take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self, TypeAlias

Array: TypeAlias = Any  # numpy.ndarray or torch.Tensor
Columns: TypeAlias = slice | list[int]


class Immutable:
    """Nothing in it ever changes, so that a copy is the thing itself; the module it holds could not be copied."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


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
