"""Check an ONNX graph of a bundle before onnxruntime sees it: it computes what our exporter writes, and nothing else.

A graph may not read other files, run functions or operators of others, loop as it likes, or make arrays that the
specification does not imply. Only the forecast has a loop, one Scan over the ticks of its plan.

Ref: ONNX, onnx.proto3: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from rtsysid.model.backends.onnx_shapes import OPERATORS, RANK, Operands, Shape
from rtsysid.model.backends.protobuf import Field, Message, parse_message
from rtsysid.model.contents import weight_count
from rtsysid.model.untrusted import Refusal
from rtsysid.spec import ModelSpec

OPSET, IR_VERSIONS = 18, range(8, 11)
NODES = 2048
BATCHES = (1, 16)  # sizes are counted for one robot, and for several: a square of the batch would be noticed
CONSTANTS = 1 << 16  # bytes of constants that are no weights
ROOM = 16  # how many times the values of a window and its layers all arrays may have; our graphs stay below 5
SMALL = 4096  # values for the coordinates of the smallest model

_PAIR = {1: Field("key", "text"), 2: Field("value", "text")}
_DIM = {1: Field("size", "int"), 2: Field("name", "text")}
_SHAPE = {1: Field("dim", _DIM, True)}
_TENSOR_TYPE = {1: Field("element", "int"), 2: Field("shape", _SHAPE)}
_VALUE = {1: Field("name", "text"), 2: Field("type", {1: Field("tensor", _TENSOR_TYPE)}), 3: Field("doc", "text")}
_TENSOR = {
    1: Field("dims", "int", True), 2: Field("element", "int"), 8: Field("name", "text"), 9: Field("raw", "bytes"),
    12: Field("doc", "text"),
}  # fmt: skip
_ATTRIBUTE: dict[int, Field] = {
    1: Field("name", "text"), 2: Field("float", "float"), 3: Field("int", "int"), 8: Field("ints", "int", True),
    13: Field("doc", "text"), 20: Field("type", "int"),
}  # fmt: skip
_NODE = {
    1: Field("input", "text", True), 2: Field("output", "text", True), 3: Field("name", "text"),
    4: Field("operator", "text"), 5: Field("attribute", _ATTRIBUTE, True), 6: Field("doc", "text"),
    7: Field("domain", "text"), 8: Field("overload", "text"),
}  # fmt: skip
_GRAPH = {
    1: Field("node", _NODE, True), 2: Field("name", "text"), 5: Field("initializer", _TENSOR, True),
    10: Field("doc", "text"), 11: Field("input", _VALUE, True), 12: Field("output", _VALUE, True),
}  # fmt: skip
_SCAN_NODE = {**_NODE, 5: Field("attribute", {**_ATTRIBUTE, 6: Field("graph", _GRAPH)}, True)}
_OPSET = {1: Field("domain", "text"), 2: Field("version", "int")}
_MODEL = {
    1: Field("ir_version", "int"), 2: Field("producer", "text"), 3: Field("producer_version", "text"),
    4: Field("domain", "text"), 5: Field("version", "int"), 6: Field("doc", "text"), 8: Field("opset", _OPSET, True),
    14: Field("metadata", _PAIR, True),
}  # fmt: skip
_PLAIN_MODEL = {**_MODEL, 7: Field("graph", _GRAPH)}
_SCAN_MODEL = {**_MODEL, 7: Field("graph", {**_GRAPH, 1: Field("node", _SCAN_NODE, True)})}

_FLOAT, _INT64 = 1, 7  # TensorProto.DataType
_ELEMENTS: dict[int, np.dtype[Any]] = {_FLOAT: np.dtype("<f4"), _INT64: np.dtype("<i8")}
_KINDS = {1: "float", 2: "int", 7: "ints"}  # AttributeProto.AttributeType
Named: TypeAlias = list[tuple[str, list[Any]]]


def check_graph(content: bytes, name: str, spec: ModelSpec, refusal: Refusal) -> None:
    """Check the file `name` of a bundle: step.onnx, forecast.onnx, sample.onnx or initialiser.onnx.

    Raises the error of `refusal` where it is not a graph that our exporter makes of this specification.
    """
    most = 4 * weight_count(spec) + CONSTANTS + 512 * NODES
    if len(content) > most:
        raise refusal(f"{name} has {len(content)} bytes, and the specification allows {most}")
    try:
        if name in ("forecast.onnx", "sample.onnx"):
            loop = forecast_loop(spec) if name == "forecast.onnx" else sample_loop(spec)
            _check_loop(_parsed(content, _SCAN_MODEL, spec), spec, loop)
        else:
            _check_plain(_parsed(content, _PLAIN_MODEL, spec), _interface(name, spec), spec)
    except (ValueError, OverflowError) as error:
        raise refusal(f"{name} is no graph of this release: {error}") from None


def _interface(name: str, spec: ModelSpec) -> tuple[Named, Named]:
    """Return names and shapes of the inputs and outputs of a graph."""
    window, state = ["batch", spec.taps, spec.width], ["batch", spec.state_size]
    if name == "initialiser.onnx":
        return [("window", window)], [("state", state)]
    age: Named = [("age", ["batch"])] if spec.age_changes else []
    y, code = ["batch", spec.n_outputs], ["batch", spec.code_size]
    outputs: Named = [("y_next", y), ("state_next", state), ("code", code), ("reconstruction_error", ["batch"])]
    return [("window", window), ("state", state), *age], outputs


def _parsed(content: bytes, fields: Mapping[int, Field], spec: ModelSpec) -> Message:
    """Return the graph of a model of our exporter, for this specification."""
    model = parse_message(content, fields)
    if [(each.get("domain", ""), each.get("version")) for each in model["opset"]] != [("", OPSET)]:
        raise ValueError(f"its operators are not those of opset {OPSET}")
    if model.get("ir_version") not in IR_VERSIONS or "graph" not in model:
        raise ValueError("another version of ONNX")
    found = {each.get("key"): each.get("value") for each in model["metadata"]}.get("fingerprint")
    if found != spec.fingerprint:
        raise ValueError(f"fingerprint {str(found)[:16]}, not {spec.fingerprint}")
    graph: Message = model["graph"]
    return graph


def _check_plain(graph: Message, interface: tuple[Named, Named], spec: ModelSpec) -> None:
    shapes, constants = _initial(graph, spec)
    _check_body(graph, interface, shapes, constants, spec)


class LoopOfTicks(NamedTuple):
    """Names and shapes of what the loop of a graph carries, takes tick by tick, and reads as a whole."""

    carried: Named
    taken: Named
    fixed: Named


def forecast_loop(spec: ModelSpec) -> LoopOfTicks:
    """Return what the loop of a forecast works on."""
    window, state = ["batch", spec.taps, spec.width], ["batch", spec.state_size]
    age: Named = [("age", ["batch"])] if spec.age_changes else []
    return LoopOfTicks([("window", window), ("state", state), *age], [("u_future", ["batch", spec.n_inputs])], [])


def sample_loop(spec: ModelSpec) -> LoopOfTicks:
    """Return what the loop of sampled futures works on."""
    plain = forecast_loop(spec)
    slow: Named = [("slow", ["batch", spec.noise.factors])] if spec.noise.factors else []
    fixed: Named = [("uniform", ["batch"])] if spec.noise.members > 1 else []
    draws: Named = [("draws", ["batch", spec.n_draws])]
    return LoopOfTicks([*plain.carried, *slow, ("ahead", ["batch"])], [*plain.taken, *draws], fixed)


def sample_inputs(spec: ModelSpec) -> tuple[str, ...]:
    """List what sampled futures carry from tick to tick, by name."""
    return tuple(name for name, _ in sample_loop(spec).carried)


def _check_loop(graph: Message, spec: ModelSpec, loop: LoopOfTicks) -> None:
    """Check a graph that is one Scan over the ticks of a plan, with predictions fed back."""
    whole: Named = [(name, ["batch", "horizon", *shape[1:]]) for name, shape in loop.taken]
    if _named(graph["input"]) != [*loop.carried, *loop.fixed, *whole]:
        raise ValueError("other inputs")
    if _named(graph["output"]) != [("y_future", ["batch", "horizon", spec.n_outputs])]:
        raise ValueError("other outputs")
    shapes, constants = _initial(graph, spec)
    if shapes.keys() & {name for name, _ in loop.fixed}:
        raise ValueError("a name twice")
    (_, window), *carried = loop.carried
    (_, plan), *taken = loop.taken
    inner: tuple[Named, Named] = (
        [("tick/before", window), *((f"tick/{name}", shape) for name, shape in carried), ("tick/u", plan),
         *((f"tick/{name}", shape) for name, shape in taken)],
        [("tick/after", window), *((f"tick/{name}_next", shape) for name, shape in carried),
         ("tick/y_out", ["batch", spec.n_outputs])],
    )  # fmt: skip
    body = _scan_body(graph["node"], loop)
    if body["initializer"]:
        raise ValueError("weights inside its loop")
    _check_body(body, inner, shapes, constants, spec, loop.fixed)


def _scan_body(nodes: Sequence[Message], loop: LoopOfTicks) -> Message:
    """Return the graph inside the only node, which loops over the axis of the ticks and nothing else."""
    if len(nodes) != 1 or nodes[0].get("operator") != "Scan" or nodes[0].get("domain") or nodes[0].get("overload"):
        raise ValueError("it is not one loop")
    (node,) = nodes
    carried, taken = ([name for name, _ in part] for part in (loop.carried, loop.taken))
    if node["input"] != [*carried, *taken] or node["output"] != [*(f"{name}_last" for name in carried), "y_future"]:
        raise ValueError("a loop over other values")
    attributes = {each.get("name"): each for each in node["attribute"]}
    body = attributes.pop("body", {}).get("graph")
    plain = {name: _attribute(each) for name, each in attributes.items()}
    wanted = {"num_scan_inputs": len(taken), "scan_input_axes": [1] * len(taken), "scan_output_axes": [1]}
    if body is None or plain != wanted or len(node["attribute"]) != len(wanted) + 1:
        raise ValueError("a loop of another kind")
    found: Message = body
    return found


def _initial(graph: Message, spec: ModelSpec) -> tuple[dict[str, Shape], dict[str, Any]]:
    """Return the shapes of the weights and constants of a graph, and the values of the short constants."""
    shapes: dict[str, Shape] = {}
    constants: dict[str, Any] = {}
    sizes = {_FLOAT: 0, _INT64: 0}
    for tensor in graph["initializer"]:
        name, dims, element = tensor.get("name", ""), tuple(tensor["dims"]), tensor.get("element")
        if element not in _ELEMENTS or name in shapes or not name or len(dims) > RANK or min(dims, default=1) < 1:
            raise ValueError("a weight without a name, twice, or of another type")
        if len(tensor.get("raw", b"")) != math.prod(dims) * _ELEMENTS[element].itemsize:
            raise ValueError(f"{name[:60]} has other bytes than its shape says")
        values = np.frombuffer(tensor["raw"], _ELEMENTS[element]).reshape(dims)
        sizes[element] += values.nbytes
        shapes[name], constants[name] = dims, values
    scales = 8 * (spec.n_features + spec.n_targets)
    if sizes[_FLOAT] > 4 * weight_count(spec) + scales + CONSTANTS or sizes[_INT64] > CONSTANTS:
        raise ValueError("more weights than the specification has")
    return shapes, constants


def _check_body(
    graph: Message,
    interface: tuple[Named, Named],
    shapes: dict[str, Shape],
    constants: dict[str, Any],
    spec: ModelSpec,
    outer: Sequence[tuple[str, list[Any]]] = (),
) -> None:
    """Check inputs, nodes and outputs of a graph. Names that hold a value may not be given again.

    `outer`: inputs of the graph around it, which it may read.
    """
    inputs, outputs = interface
    if _named(graph["input"]) != inputs or _named(graph["output"]) != outputs or len(graph["node"]) > NODES:
        raise ValueError("other inputs or outputs, or more nodes")
    if shapes.keys() & {name for name, _ in inputs}:
        raise ValueError("a name twice")
    for batch in BATCHES:
        known = shapes | {name: _sized(shape, batch) for name, shape in (*inputs, *outer)}
        _check_nodes(graph["node"], known, dict(constants), batch, spec)
        for name, wanted in outputs:
            if known.get(name) != _sized(wanted, batch):
                raise ValueError(f"{name} is of another shape")


def _check_nodes(
    nodes: Sequence[Message], known: dict[str, Shape], constants: dict[str, Any], batch: int, spec: ModelSpec
) -> None:
    """Check the nodes one by one and how much they compute; the shapes of their outputs join `known`."""
    values = products = 0
    most = ROOM * batch * _layer_values(spec)
    for node in nodes:
        found = _node_shapes(node, known, constants)
        values += sum(map(math.prod, found))
        products += _products(node, known, found)
        if values > most or products > most + ROOM * batch * weight_count(spec):
            raise ValueError("more work than the specification implies")
        for name, shape in zip(node["output"], found, strict=True):
            if name in known or not name or len(shape) > RANK:
                raise ValueError("a name twice, or an array of too many dimensions")
            known[name] = shape


def _layer_values(spec: ModelSpec) -> int:
    """Count the values of a window, its features and the layers of a step, and some for the smallest model."""
    layers = spec.window_size + 2 * sum(spec.encoder) + spec.state_size + spec.n_targets
    return spec.taps * spec.width + layers + SMALL


def _node_shapes(node: Message, known: Mapping[str, Shape], constants: dict[str, Any]) -> list[Shape]:
    """Return the shapes of the outputs of a node. The value of a constant joins `constants`."""
    name = node.get("operator", "")
    if node.get("domain") or node.get("overload"):
        raise ValueError("an operator of somebody else")
    attributes = {each.get("name", ""): _attribute(each) for each in node["attribute"]}
    if len(attributes) != len(node["attribute"]):
        raise ValueError("an attribute twice")
    if name == "Constant":
        return [_constant(node, attributes, constants)]
    operator = OPERATORS.get(name)
    if operator is None or len(node["input"]) not in operator.inputs or not attributes.keys() <= operator.attributes:
        raise ValueError(f"the operator {name[:30]!r} is none of ours, or used in another way")
    if unknown := [each for each in node["input"] if each not in known]:
        raise ValueError(f"{unknown[0][:60]!r} is not known")
    shapes = [known[each] for each in node["input"]]
    values = [constants.get(each) for each in node["input"]]
    if any(_is_integer(value) != (at in operator.integers) for at, value in enumerate(values)):
        raise ValueError(f"{name} of integers, or without those that it needs")
    found = operator.rule(Operands(shapes, values, attributes))
    if len(found) != len(node["output"]):
        raise ValueError(f"{name} with {len(node['output'])} outputs")
    return found


def _attribute(attribute: Message) -> Any:
    """Return the value of an attribute: integers, an integer or a float, and no other than its type says."""
    given = {kind: attribute[kind] for kind in _KINDS.values() if attribute.get(kind) not in (None, [])}
    if list(given) != [_KINDS.get(attribute.get("type", 0))]:
        raise ValueError("an attribute of another type")
    return next(iter(given.values()))


def _is_integer(value: Any) -> bool:
    return value is not None and value.dtype == np.int64


def _constant(node: Message, attributes: Mapping[str, Any], constants: dict[str, Any]) -> Shape:
    values = attributes.get("value_ints")
    if node["input"] or len(node["output"]) != 1 or len(attributes) != 1 or not isinstance(values, list):
        raise ValueError("a constant of another kind")
    constants[node["output"][0]] = np.array(values, np.int64)
    return (len(values),)


def _products(node: Message, known: Mapping[str, Shape], found: Sequence[Shape]) -> int:
    """Count the multiplications of a matrix product."""
    if node["operator"] not in ("Gemm", "MatMul"):
        return 0
    return math.prod(found[0]) * known[node["input"][0]][-1]


def _named(values: Sequence[Message]) -> Named:
    """Return names and shapes of declared values; each is an array of float32."""
    named: Named = []
    for value in values:
        tensor = value.get("type", {}).get("tensor", {})
        if tensor.get("element") != _FLOAT or "shape" not in tensor:
            raise ValueError("a value that is no array of float32")
        sizes = [list(dim.values()) for dim in tensor["shape"]["dim"]]
        if any(len(each) != 1 for each in sizes):
            raise ValueError("a dimension without a size, or with two")
        named.append((value.get("name", ""), [size for (size,) in sizes]))
    return named


def _sized(shape: Sequence[Any], batch: int) -> Shape:
    return tuple(batch if each == "batch" else int(each) for each in shape)
