"""A graph that our exporter does not write is refused before onnxruntime sees it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from rtsysid.errors import BundleError
from rtsysid.model.backends import onnx_graph
from rtsysid.model.backends.onnx_graph import check_graph
from rtsysid.model.backends.onnx_shapes import OPERATORS, Operands
from rtsysid.model.backends.protobuf import VALUES, Field, parse_message
from rtsysid.model.bundle import Bundle
from rtsysid.model.untrusted import Refusal

REFUSAL = Refusal(BundleError, "graph", "export again")
Change = Callable[[onnx.ModelProto], object]


def external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "weights.npz"


def function(model: onnx.ModelProto) -> None:
    node = helper.make_node("Tanh", ["x"], ["y"])
    model.functions.append(helper.make_function("", "Tanh", ["x"], ["y"], [node], [helper.make_opsetid("", 18)]))


def loop(model: onnx.ModelProto) -> None:
    body = helper.make_graph([], "body", [], [])
    model.graph.node.append(helper.make_node("Loop", ["state"], ["again"], body=body))


def custom(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.microsoft"


def foreign_opset(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def newer_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 19


def random_operator(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("RandomNormal", [], ["noise"], shape=[10**9]))


def outer_products(model: onnx.ModelProto) -> None:
    """Each pair of nodes squares the number of values: after six the machine is full."""
    model.graph.initializer.append(numpy_helper.from_array(np.array([-1, 1]), "column"))
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, -1]), "row"))
    last = "state"
    for k in range(6):
        for name in ("column", "row"):
            model.graph.node.append(helper.make_node("Reshape", [last, name], [f"{name}{k}"]))
        model.graph.node.append(helper.make_node("MatMul", [f"column{k}", f"row{k}"], [f"product{k}"]))
        last = f"product{k}"


def more_weights(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1 << 18, np.float32), "more"))


def claims(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = 10**9


def sparse(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.add().dims.append(3)


def other_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = "state_next"


def fixed_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def doubles(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE


def other_fingerprint(model: onnx.ModelProto) -> None:
    model.metadata_props[0].value = "0" * 16


def twice(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Tanh", ["state"], ["y_next"]))


def unknown_name(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[0] = "nobody"


def other_attribute(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("auto_pad", 1))


def integer_division(model: onnx.ModelProto) -> None:
    """The smallest integer through -1, or anything through 0, ends the process in onnxruntime."""
    for name, value in (("least", -(2**63)), ("minus", -1)):
        model.graph.initializer.append(numpy_helper.from_array(np.array([value]), name))
    model.graph.node.append(helper.make_node("Div", ["least", "minus"], ["end"]))


def float_index(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array([1.0], np.float32), "at"))
    model.graph.node.append(helper.make_node("Unsqueeze", ["state", "at"], ["row"]))


def constants_alone(model: onnx.ModelProto) -> None:
    """A column and a row of constants make a square, whatever the batch."""
    for name, shape in (("column", (8000, 1)), ("row", (1, 8000))):
        model.graph.initializer.append(numpy_helper.from_array(np.ones(shape, np.float32), name))
    model.graph.node.append(helper.make_node("Add", ["column", "row"], ["square"]))


def _axis(model: onnx.ModelProto) -> onnx.AttributeProto:
    node = helper.make_node("Concat", ["state", "state"], ["more"], axis=1)
    model.graph.node.append(node)
    axis = model.graph.node[-1].attribute[0]
    axis.ClearField("i")
    return axis


def axis_of_integers(model: onnx.ModelProto) -> None:
    axis = _axis(model)
    axis.ints.append(1)
    axis.type = onnx.AttributeProto.INTS


def axis_of_floats(model: onnx.ModelProto) -> None:
    axis = _axis(model)
    axis.f, axis.type = 1.0, onnx.AttributeProto.FLOAT


def axis_without_a_value(model: onnx.ModelProto) -> None:
    _axis(model)


def axis_of_another_type(model: onnx.ModelProto) -> None:
    axis = _axis(model)
    axis.i, axis.type = 1, onnx.AttributeProto.FLOAT


def axis_twice(model: onnx.ModelProto) -> None:
    _axis(model).i = 1
    model.graph.node[-1].attribute.append(helper.make_attribute("axis", 0))


EITHER: list[Change] = [
    external, function, custom, foreign_opset, newer_opset, more_weights, claims, sparse, fixed_batch, doubles,
    other_fingerprint, other_output, loop,
]  # fmt: skip
STEP: list[Change] = [
    random_operator, outer_products, twice, unknown_name, other_attribute, integer_division, float_index,
    constants_alone, axis_of_integers, axis_of_floats, axis_without_a_value, axis_of_another_type, axis_twice,
]  # fmt: skip


def scan_over_less(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute[1].i = 2


def scan_backwards(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("scan_input_directions", [1]))


def inner_loop(model: onnx.ModelProto) -> None:
    (body,) = (each.g for each in model.graph.node[0].attribute if each.name == "body")
    body.node.append(helper.make_node("Scan", [], ["more"], num_scan_inputs=1, body=helper.make_graph([], "b", [], [])))


def inner_weights(model: onnx.ModelProto) -> None:
    (body,) = (each.g for each in model.graph.node[0].attribute if each.name == "body")
    body.initializer.append(numpy_helper.from_array(np.zeros(3, np.float32), "tick/more"))


def inner_work(model: onnx.ModelProto) -> None:
    (body,) = (each.g for each in model.graph.node[0].attribute if each.name == "body")
    last = "tick/before"
    for k in range(4):
        body.node.append(helper.make_node("Concat", [last] * 64, [f"tick/more{k}"], axis=1))
        last = f"tick/more{k}"


SCAN: list[Change] = [scan_over_less, scan_backwards, inner_loop, inner_weights, inner_work]
CASES = [
    *((change, "step.onnx") for change in (*EITHER, *STEP)),
    *((change, "forecast.onnx") for change in (*EITHER, *SCAN)),
]


@pytest.mark.parametrize(("change", "name"), CASES, ids=lambda each: getattr(each, "__name__", each))
def test_what_our_exporter_does_not_write_is_refused(bundle_folder: Path, change: Change, name: str) -> None:
    """External data, functions, foreign or unbounded operators, other interfaces, more weights: one line each."""
    bundle = Bundle.open(bundle_folder)
    check_graph(bundle.content(name), name, bundle.spec, REFUSAL)
    model = onnx.load_from_string(bundle.content(name))
    change(model)
    with pytest.raises(BundleError, match=rf"{name} (is no graph of this release|has \d+ bytes)"):
        check_graph(model.SerializeToString(), name, bundle.spec, REFUSAL)


def test_every_operator_of_a_graph_has_its_rule(bundle_folder: Path) -> None:
    """The rules give the shapes that ONNX infers, for each node of the step graph."""
    bundle = Bundle.open(bundle_folder)
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(bundle.content("step.onnx")), data_prop=True)
    inferred = {
        value.name: tuple(dim.dim_value or onnx_graph.BATCHES[-1] for dim in value.type.tensor_type.shape.dim)
        for value in [*model.graph.value_info, *model.graph.input, *model.graph.output]
    }
    constants = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    shapes = inferred | {name: array.shape for name, array in constants.items()}
    for node in model.graph.node:
        attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        operands = Operands(
            [shapes[name] for name in node.input], [constants.get(name) for name in node.input], attributes
        )
        assert OPERATORS[node.op_type].rule(operands) == [inferred[name] for name in node.output], node.op_type


def test_a_dimension_has_one_size(bundle_folder: Path) -> None:
    """A size next to a name is refused: protobuf takes the last of the two, and a reader may take the first."""
    bundle = Bundle.open(bundle_folder)
    content = bundle.content("step.onnx")
    named = onnx.load_from_string(content).graph.input[0].type.tensor_type.shape.dim[0].SerializeToString()
    both = named + onnx.TensorShapeProto.Dimension(dim_value=5).SerializeToString()
    parsed = parse_message(both, onnx_graph._DIM)
    graph = {"input": [{"name": "x", "type": {"tensor": {"element": 1, "shape": {"dim": [parsed]}}}}]}
    with pytest.raises(ValueError, match="or with two"):
        onnx_graph._named(graph["input"])


FIELDS = {1: Field("number", "int"), 2: Field("text", "text"), 3: Field("numbers", "int", True)}


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_a_value_error(content: bytes) -> None:
    """The reader of messages ends, whatever it is given, with fields of the table or one kind of error."""
    with suppress(ValueError):
        assert set(parse_message(content, FIELDS)) <= {"number", "text", "numbers"}


@given(st.integers(-(2**63), 2**63 - 1), st.text(max_size=20), st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5))
def test_what_protobuf_writes_is_read(number: int, text: str, numbers: list[int]) -> None:
    """Integers, texts and packed numbers come back as another implementation wrote them."""
    attribute = onnx.AttributeProto(name=text, i=number, ints=numbers)
    fields = {1: Field("name", "text"), 3: Field("int", "int"), 8: Field("ints", "int", True)}
    read = parse_message(attribute.SerializeToString(), fields)
    assert read == {"ints": numbers, "name": text, "int": number}


@pytest.mark.parametrize("content", [b"\x0a\x00", b"\x1a\x01\x01"], ids=["empty messages", "packed numbers"])
def test_a_message_has_a_limited_number_of_values(content: bytes) -> None:
    """Two bytes of a file may be one value, which takes a hundred times as much in memory."""
    fields = {1: Field("inner", FIELDS, True), 3: Field("numbers", "int", True)}
    fewer = VALUES // len(content)
    assert parse_message(content * fewer, fields)
    with pytest.raises(ValueError, match=f"more than {VALUES} values"):
        parse_message(content * (VALUES + 1), fields)


def test_a_message_inside_a_message_inside_a_message_ends() -> None:
    """Nesting deeper than a graph nests is refused."""
    fields: dict[int, Field] = {}
    fields[1] = Field("inner", fields)
    content = b""
    for _ in range(20):
        content = b"\x0a" + bytes([len(content)]) + content
    with pytest.raises(ValueError, match="unexpected field"):
        parse_message(content, fields)
