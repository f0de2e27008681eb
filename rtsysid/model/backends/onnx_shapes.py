"""Follow the shapes through the nodes of a graph, so that no array is larger than the specification implies.

The operators are those of our exporter. `OPERATORS` has a rule for each; a graph with another one is refused. A rule
gets the shapes of the inputs, the values of those that are constants, and the attributes; it returns the shapes of the
outputs. Whatever it does not expect is a ValueError.

Ref: ONNX operators, opset 18: https://onnx.ai/onnx/operators/
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

Shape: TypeAlias = tuple[int, ...]
RANK = 6  # dimensions of an array, at most


class Operands(NamedTuple):
    """Hold the operands of a node: shapes of its inputs, constant values [..] among them, and attributes."""

    shapes: list[Shape]
    constants: list[Any]
    attributes: Mapping[str, Any]

    def integers(self, number: int) -> list[int]:
        """Return a constant input as integers. Raises ValueError where it is no constant of integers."""
        value = self.constants[number]
        if value is None or value.dtype != np.int64 or value.ndim > 1 or value.size > RANK:
            raise ValueError("an operand that is no short constant")
        return [int(each) for each in value.reshape(-1)]

    def axis(self) -> int:
        """Return the attribute `axis`, of the first input, counted from 0. Raises ValueError where there is none."""
        axis = self.attributes.get("axis", 0)
        if type(axis) is not int:  # an attribute may be a float or a list
            raise ValueError("an axis that is no integer")
        return counted(axis, len(self.shapes[0]))


Rule: TypeAlias = Callable[[Operands], list[Shape]]


def counted(axis: int, rank: int) -> int:
    """Count a possibly negative axis from 0. Raises ValueError where there is no such axis."""
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} of {rank}")
    return axis % rank


def _elementwise(of: Operands) -> list[Shape]:
    return [np.broadcast_shapes(*of.shapes)]


def _gemm(of: Operands) -> list[Shape]:
    left, right, bias = of.shapes
    if len(left) != 2 or len(right) != 2 or bias != right[:1] or left[1] != right[1] or not of.attributes.get("transB"):
        raise ValueError("a layer of other shapes")
    return [(left[0], right[0])]


def _matmul(of: Operands) -> list[Shape]:
    left, right = of.shapes
    if len(left) < 2 or len(right) < 2 or left[-1] != right[-2]:
        raise ValueError("a product of other shapes")
    return [(*np.broadcast_shapes(left[:-2], right[:-2]), left[-2], right[-1])]


def _reshape(of: Operands) -> list[Shape]:
    wanted, size = of.integers(1), math.prod(of.shapes[0])
    known = math.prod(each for each in wanted if each != -1)
    if any(each < -1 or each == 0 for each in wanted) or wanted.count(-1) > 1 or size % known:
        raise ValueError("an impossible shape")
    shape = tuple(size // known if each == -1 else each for each in wanted)
    if math.prod(shape) != size:
        raise ValueError("an impossible shape")
    return [shape]


def _concat(of: Operands) -> list[Shape]:
    axis, first = of.axis(), of.shapes[0]
    if any(len(each) != len(first) for each in of.shapes):
        raise ValueError("parts of other shapes")
    if any(_without(each, axis) != _without(first, axis) for each in of.shapes):
        raise ValueError("parts of other shapes")
    return [(*first[:axis], sum(each[axis] for each in of.shapes), *first[axis + 1 :])]


def _slice(of: Operands) -> list[Shape]:
    shape = list(of.shapes[0])
    starts, ends = of.integers(1), of.integers(2)
    axes = of.integers(3) if len(of.shapes) > 3 else list(range(len(starts)))
    steps = of.integers(4) if len(of.shapes) > 4 else [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step < 1:
            raise ValueError("a step backwards")
        at = counted(axis, len(shape))
        shape[at] = len(range(*slice(start, end, step).indices(shape[at])))
    return [tuple(shape)]


def _gather(of: Operands) -> list[Shape]:
    axis, shape = of.axis(), of.shapes[0]
    _check_indices(of.constants[1], shape[axis])
    return [(*shape[:axis], *of.shapes[1], *shape[axis + 1 :])]


def _check_indices(values: Any, size: int) -> None:
    if values is None or values.dtype != np.int64 or not ((values >= -size) & (values < size)).all():
        raise ValueError("an index that is no constant, or out of range")


def _unsqueeze(of: Operands) -> list[Shape]:
    axes, shape = of.integers(1), of.shapes[0]
    rank = len(shape) + len(axes)
    new = {counted(axis, rank) for axis in axes}
    if len(new) != len(axes):
        raise ValueError("an axis twice")
    rest = iter(shape)
    return [tuple(1 if axis in new else next(rest) for axis in range(rank))]


def _reduce(of: Operands) -> list[Shape]:
    shape = of.shapes[0]
    gone = {counted(axis, len(shape)) for axis in of.integers(1)}
    if not gone or of.attributes.get("keepdims", 1) or of.attributes.get("noop_with_empty_axes", 0):
        raise ValueError("a sum of another kind")
    return [tuple(size for axis, size in enumerate(shape) if axis not in gone)]


def _without(shape: Shape, axis: int) -> Sequence[int]:
    return shape[:axis] + shape[axis + 1 :]


class Operator(NamedTuple):
    """One operator: its rule, its numbers of inputs, the attributes that it may have, and which inputs are integers.

    No operator computes with integers, so no graph divides by the integer 0, which would end the process.
    """

    rule: Rule
    inputs: tuple[int, ...]
    attributes: frozenset[str] = frozenset()
    integers: tuple[int, ...] = ()


_REDUCTION = frozenset({"keepdims", "noop_with_empty_axes"})
OPERATORS: Mapping[str, Operator] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Min"), Operator(_elementwise, (2,))),
    **dict.fromkeys(("Tanh", "Exp", "Sigmoid", "Sqrt", "Neg", "Floor", "Identity"), Operator(_elementwise, (1,))),
    **dict.fromkeys(("ReduceSum", "ReduceMean"), Operator(_reduce, (2,), _REDUCTION, (1,))),
    "Clip": Operator(lambda of: of.shapes[:1], (3,)),
    "Gemm": Operator(_gemm, (3,), frozenset({"alpha", "beta", "transA", "transB"})),
    "MatMul": Operator(_matmul, (2,)),
    "Reshape": Operator(_reshape, (2,), frozenset({"allowzero"}), (1,)),
    "Concat": Operator(_concat, tuple(range(1, 1025)), frozenset({"axis"})),
    "Slice": Operator(_slice, (3, 4, 5), integers=(1, 2, 3, 4)),
    "Gather": Operator(_gather, (2,), frozenset({"axis"}), (1,)),
    "Unsqueeze": Operator(_unsqueeze, (2,), integers=(1,)),
}  # fmt: skip
