"""Differentiate what a tracer wrote: each node in reverse, by the rule of its operator.

No formula of the network or of the coordinates exists a second time. There is a rule for each operator that a forecast
uses. Ref: A. Griewank, A. Walther, Evaluating Derivatives, 2nd edition, section 3.2: reverse mode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from onnx import TensorProto

from export.onnx_tracer import Shape, TracedArray, Tracer

Back: TypeAlias = Callable[[TracedArray], TracedArray]  # from the gradient of a result to that of one of its inputs
FLAT = ("Floor",)  # operators whose gradient is zero


class Node(NamedTuple):
    """One node: operator, inputs (arrays, or constants as they were given), result, and attributes."""

    operator: str
    inputs: Sequence[Any]
    result: TracedArray
    attributes: Mapping[str, Any]


class RecordingTracer(Tracer):
    """A tracer that keeps its nodes with their inputs, so that a gradient can be taken back through them."""

    def __init__(self) -> None:
        super().__init__()
        self._recorded: dict[str, Node] = {}

    def node(self, operator: str, inputs: Sequence[Any], shape: Shape, **attributes: Any) -> TracedArray:
        """Add a node with one output of this shape; the same node with the same inputs is added once."""
        result = super().node(operator, inputs, shape, **attributes)
        self._recorded.setdefault(result.name, Node(operator, inputs, result, attributes))
        return result

    def gradients(
        self, results: Iterable[tuple[TracedArray, TracedArray]], by: Sequence[TracedArray]
    ) -> list[TracedArray]:
        """Add the nodes that compute the gradient of a cost by each array of `by`, which are inputs of the graph.

        `results`: arrays, each with the gradient of the cost by it. Raises KeyError where no result depends on an array
        of `by`, and for an operator without a rule.
        """
        found: dict[str, TracedArray] = {}
        for result, gradient in results:
            _accumulate(found, result, gradient)
        for node, varying in reversed(self._varying_nodes(by)):
            if (above := found.get(node.result.name)) is not None:
                backs = _BACK[node.operator](node)
                for at in varying:
                    _accumulate(found, node.inputs[at], _unbroadcast(node.inputs[at].shape, backs[at](above)))
        return [found[each.name] for each in by]

    def _varying_nodes(self, by: Sequence[TracedArray]) -> list[tuple[Node, list[int]]]:
        """List the nodes that depend on arrays of `by`, each with the numbers of the inputs that do."""
        varying, nodes = {each.name for each in by}, []
        for node in self._recorded.values():
            at = [k for k, part in enumerate(node.inputs) if isinstance(part, TracedArray) and part.name in varying]
            if at and node.operator not in FLAT:
                varying.add(node.result.name)
                nodes.append((node, at))
        return nodes


def _accumulate(found: dict[str, TracedArray], to: TracedArray, gradient: TracedArray) -> None:
    found[to.name] = found[to.name] + gradient if to.name in found else gradient


def _unbroadcast(shape: Shape, gradient: TracedArray) -> TracedArray:
    """Sum over the axes that an operator broadcast."""
    axes = [k for k, (own, now) in enumerate(zip(shape, gradient.shape, strict=True)) if own == 1 != now]
    return gradient.tracer.node("ReduceSum", [gradient, axes], shape, keepdims=1) if axes else gradient


def _inside(node: Node) -> TracedArray:
    """Add a 1 for each value strictly within the limits of a clip, and a 0 for every other."""
    of, low, high = node.inputs
    xp, shape = node.result.tracer, node.result.shape
    within = [xp.node("Greater", [of, low], shape), xp.node("Less", [of, high], shape)]
    return xp.node("Cast", [xp.node("And", within, shape)], shape, to=TensorProto.FLOAT)


def _swapped(of: TracedArray) -> TracedArray:
    """Swap the last two axes."""
    rank = len(of.shape)
    shape = (*of.shape[:-2], of.shape[-1], of.shape[-2])
    return of.tracer.node("Transpose", [of], shape, perm=(*range(rank - 2), rank - 1, rank - 2))


def padded_axis(of: TracedArray, axis: int, before: int, size: int) -> TracedArray:
    """Put an array among zeros along an axis, which has `size` entries then, `before` of them in front of it."""
    shape = (*of.shape[:axis], size, *of.shape[axis + 1 :])
    around = [before, size - before - (of.shape[axis] or 0)]
    return of.tracer.node("Pad", [of, around, np.float32(0), [axis]], shape)


def _of_slice(node: Node) -> Sequence[Back]:
    of, (start,), (end,), (axis,) = node.inputs
    size = of.shape[axis]
    first = slice(start, end).indices(size)[0]
    return (lambda g: padded_axis(g, axis, first, size),)


def _of_gather(node: Node) -> Sequence[Back]:
    """Put entries back to where they were taken from; one that was taken twice gets the sum."""
    (of, key), axis = node.inputs, node.attributes["axis"]
    size = of.shape[axis]
    if isinstance(key, int):
        one = (*of.shape[:axis], 1, *of.shape[axis + 1 :])
        return (lambda g: padded_axis(g.reshape(*one), axis, key % size, size),)
    assert axis == len(of.shape) - 1, "lists index the last axis alone"
    places = of.tracer.constant(np.eye(size, dtype=np.float32)[key])
    return (lambda g: g @ places,)


def _of_concat(node: Node) -> Sequence[Back]:
    ends = np.cumsum([part.shape[-1] for part in node.inputs]).tolist()
    starts = [end - part.shape[-1] for end, part in zip(ends, node.inputs, strict=True)]
    return [lambda g, cut=slice(*each): g[..., cut] for each in zip(starts, ends, strict=True)]  # type: ignore[misc]


def _of_reshape(node: Node) -> Sequence[Back]:
    return (lambda g: g.reshape(*node.inputs[0].shape),)


def _of_sum(node: Node) -> Sequence[Back]:
    return (lambda g: g[..., None] * np.ones(node.inputs[0].shape[-1], np.float32),)


def _of_divide(node: Node) -> Sequence[Back]:
    return (lambda g: g / node.inputs[1], lambda g: -(g * node.result / node.inputs[1]))


_BACK: Mapping[str, Callable[[Node], Sequence[Back]]] = {
    "Add": lambda node: (lambda g: g, lambda g: g),
    "Sub": lambda node: (lambda g: g, lambda g: -g),
    "Mul": lambda node: (lambda g: g * node.inputs[1], lambda g: g * node.inputs[0]),
    "Div": _of_divide,
    "Neg": lambda node: (lambda g: -g,),
    "Tanh": lambda node: (lambda g: g * (1 - node.result * node.result),),
    "Sigmoid": lambda node: (lambda g: g * (node.result * (1 - node.result)),),
    "Sqrt": lambda node: (lambda g: g / (2 * node.result),),
    "Clip": lambda node: (lambda g: g * _inside(node),),
    "Gemm": lambda node: (lambda g: g @ node.inputs[1],),
    "MatMul": lambda node: (lambda g: g @ _swapped(node.inputs[1]), lambda g: _swapped(node.inputs[0]) @ g),
    "Reshape": _of_reshape,
    "Unsqueeze": _of_reshape,
    "Slice": _of_slice,
    "Gather": _of_gather,
    "Concat": _of_concat,
    "ReduceSum": _of_sum,
}
