"""Turn what is done with arrays into the nodes of an ONNX graph.

A `Tracer` stands where `rtsysid.model.coordinates` expects numpy or torch, so that a graph holds the formulas of all
other backends. Only what these formulas use can be traced. Shapes are tuples; None is the batch: the first axis, where
there is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import EllipsisType
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import helper, numpy_helper

Shape: TypeAlias = tuple[int | None, ...]
Key: TypeAlias = int | slice | list[int] | EllipsisType | None
END = 2**31 - 1  # the end of an axis, whatever its length


class TracedArray:
    """An array that is computed when the graph runs."""

    __array_ufunc__ = None  # numpy leaves the operators to this class

    def __init__(self, tracer: Tracer, name: str, shape: Shape) -> None:
        self.tracer, self.name, self.shape = tracer, name, shape

    def __add__(self, other: Any) -> TracedArray:
        return self.tracer.elementwise("Add", self, other)

    def __radd__(self, other: Any) -> TracedArray:
        return self.tracer.elementwise("Add", other, self)

    def __sub__(self, other: Any) -> TracedArray:
        return self.tracer.elementwise("Sub", self, other)

    def __rsub__(self, other: Any) -> TracedArray:
        return self.tracer.elementwise("Sub", other, self)

    def __mul__(self, other: Any) -> TracedArray:
        return self.tracer.elementwise("Mul", self, other)

    def __rmul__(self, other: Any) -> TracedArray:
        return self.tracer.elementwise("Mul", other, self)

    def __truediv__(self, other: Any) -> TracedArray:
        return self.tracer.elementwise("Div", self, other)

    def __neg__(self) -> TracedArray:
        return self.tracer.node("Neg", [self], self.shape)

    def __matmul__(self, other: TracedArray) -> TracedArray:
        leading = _broadcast(self.shape[:-2], other.shape[:-2])
        return self.tracer.node("MatMul", [self, other], (*leading, self.shape[-2], other.shape[-1]))

    def __getitem__(self, key: Key | tuple[Key, ...]) -> TracedArray:
        part, axis = self, 0
        for each in _for_each_axis(key, len(self.shape)):
            part = part._part(each, axis)
            axis += not isinstance(each, int)
        return part

    def _part(self, key: int | slice | list[int] | None, axis: int) -> TracedArray:
        """Take one index, a slice or a list of indices along an axis; None adds an axis of length 1."""
        tracer, before, after = self.tracer, self.shape[:axis], self.shape[axis + 1 :]
        if key is None:
            return tracer.node("Unsqueeze", [self, [axis]], (*before, 1, *self.shape[axis:]))
        if isinstance(key, slice):
            return self if key == slice(None) else self._slice(key, axis)
        found: Shape = () if isinstance(key, int) else (len(key),)
        return tracer.node("Gather", [self, key], (*before, *found, *after), axis=axis)

    def _slice(self, key: slice, axis: int) -> TracedArray:
        size = self.shape[axis]
        assert size is not None, "a batch is never cut"
        length = len(range(*key.indices(size)))
        start, end = key.start or 0, END if key.stop is None else key.stop
        shape = (*self.shape[:axis], length, *self.shape[axis + 1 :])
        return self.tracer.node("Slice", [self, [start], [end], [axis]], shape)

    def sum(self, axis: int) -> TracedArray:
        """Sum over the last axis; `axis` must be -1."""
        return self._reduced("ReduceSum", axis)

    def mean(self, axis: int) -> TracedArray:
        """Average over the last axis; `axis` must be -1."""
        return self._reduced("ReduceMean", axis)

    def _reduced(self, operator: str, axis: int) -> TracedArray:
        assert axis == -1
        return self.tracer.node(operator, [self, [len(self.shape) - 1]], self.shape[:-1], keepdims=0)

    def reshape(self, *shape: int | None) -> TracedArray:
        """Return the same values in another shape."""
        return self.tracer.node("Reshape", [self, [-1 if size is None else size for size in shape]], shape)


class Tracer:
    """The nodes and constants of one graph, and the functions of numpy and torch that make them."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._made: dict[Any, TracedArray] = {}

    def node(self, operator: str, inputs: Sequence[Any], shape: Shape, **attributes: Any) -> TracedArray:
        """Add a node with one output of this shape; the same node with the same inputs is added once."""
        names = [self._array(each).name for each in inputs]
        key = (operator, *names, *attributes.items())
        if key not in self._made:
            output = f"v{len(self.nodes)}"
            self.nodes.append(helper.make_node(operator, names, [output], **attributes))
            self._made[key] = TracedArray(self, output, shape)
        return self._made[key]

    def elementwise(self, operator: str, left: Any, right: Any) -> TracedArray:
        """Add an operation on two arrays or numbers that are broadcast."""
        left, right = (
            each if isinstance(each, TracedArray) else self.constant(np.float32(each)) for each in (left, right)
        )
        return self.node(operator, [left, right], _broadcast(left.shape, right.shape))

    def constant(self, values: ArrayLike, name: str = "") -> TracedArray:
        """Add an array of float32, or of int64 where the values are integers; equal ones without a name once."""
        array = np.asarray(values)
        array = np.ascontiguousarray(array, np.int64 if array.dtype.kind == "i" else np.float32).reshape(array.shape)
        key = (name, array.dtype.str, array.shape, array.tobytes())
        if key not in self._made:
            name = name or f"c{len(self.constants)}"
            self.constants.append(numpy_helper.from_array(array, name))
            self._made[key] = TracedArray(self, name, array.shape)
        return self._made[key]

    def _array(self, value: Any) -> TracedArray:
        return value if isinstance(value, TracedArray) else self.constant(value)

    def tanh(self, of: TracedArray) -> TracedArray:
        """Compute the hyperbolic tangent of each value."""
        return self.node("Tanh", [of], of.shape)

    def exp(self, of: TracedArray) -> TracedArray:
        """Compute the exponential of each value."""
        return self.node("Exp", [of], of.shape)

    def sigmoid(self, of: TracedArray) -> TracedArray:
        """Compute 1 / (1 + exp(-x)) of each value."""
        return self.node("Sigmoid", [of], of.shape)

    def sqrt(self, of: TracedArray) -> TracedArray:
        """Compute the square root of each value."""
        return self.node("Sqrt", [of], of.shape)

    def floor(self, of: TracedArray) -> TracedArray:
        """Round each value down."""
        return self.node("Floor", [of], of.shape)

    def clip(self, of: TracedArray, low: float, high: float) -> TracedArray:
        """Limit each value to a range."""
        return self.node("Clip", [of, low, high], of.shape)

    def concatenate(self, parts: Sequence[TracedArray], axis: int) -> TracedArray:
        """Join arrays along the last axis; `axis` must be -1."""
        assert axis == -1
        last = len(parts[0].shape) - 1
        length = sum(size for part in parts if (size := part.shape[-1]) is not None)
        return self.node("Concat", list(parts), (*parts[0].shape[:-1], length), axis=last)

    def stack(self, parts: Sequence[TracedArray], axis: int) -> TracedArray:
        """Join arrays along a new last axis; `axis` must be -1."""
        return self.concatenate([part[..., None] for part in parts], axis)

    def output(self, of: TracedArray, name: str) -> None:
        """Give a value the name of an output."""
        self.nodes.append(helper.make_node("Identity", [of.name], [name]))


def _for_each_axis(key: Key | tuple[Key, ...], rank: int) -> list[int | slice | list[int] | None]:
    """Replace the ellipsis of an index, or one at its end, by whole axes."""
    keys = list(key) if isinstance(key, tuple) else [key]
    keys = keys if any(each is ... for each in keys) else [*keys, ...]
    at = next(i for i, each in enumerate(keys) if each is ...)
    used = sum(each is not None for each in keys) - 1
    whole = [slice(None)] * (rank - used)
    return [each for each in (*keys[:at], *whole, *keys[at + 1 :]) if not isinstance(each, EllipsisType)]


def _broadcast(left: Shape, right: Shape) -> Shape:
    rank = max(len(left), len(right))
    pairs = zip((1,) * (rank - len(left)) + left, (1,) * (rank - len(right)) + right, strict=True)
    return tuple(b if a == 1 else a for a, b in pairs)
