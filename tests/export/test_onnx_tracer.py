"""What a tracer writes computes what numpy computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from export.onnx_tracer import Key, TracedArray, Tracer
from export.to_onnx import IR_VERSION, OPSET

SHAPE = (3, 4, 5)


def computed(result: TracedArray, tracer: Tracer, x: np.ndarray) -> np.ndarray:
    """Run the traced graph on x [3, 4, 5] and return its result."""
    tracer.output(result, "result")
    declared = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *SHAPE[1:]])
    out = helper.make_tensor_value_info("result", TensorProto.FLOAT, [size or "batch" for size in result.shape])
    graph = helper.make_graph(tracer.nodes, "test", [declared], [out], initializer=tracer.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {"x": x})[0]
    return found


def traced() -> tuple[Tracer, TracedArray, np.ndarray]:
    tracer = Tracer()
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    return tracer, TracedArray(tracer, "x", (None, *SHAPE[1:])), x


def keys(size: int) -> st.SearchStrategy[Any]:
    """Indices of an axis of this length: one, some, or a piece that is not empty."""
    starts = st.sampled_from([None, 0, 1, -2])
    pieces = st.builds(slice, starts, st.sampled_from([None, size - 1, size, -1]))
    return st.one_of(st.integers(-size, size - 1), st.lists(st.integers(0, size - 1), min_size=1, max_size=3), pieces)


@given(keys(4), keys(5), st.sampled_from(["whole", "ellipsis", "last", "new"]))
def test_parts_are_those_of_numpy(middle: Any, last: Any, form: str) -> None:
    """Numbers, lists, slices, an ellipsis and new axes take what numpy takes; shapes are known in advance."""
    if isinstance(middle, list) and not isinstance(last, slice):
        last = slice(None)  # numpy broadcasts two lists against each other; the formulas never have two
    if isinstance(middle, int) and isinstance(last, list):
        middle = slice(middle % 4, None)
    key: Key | tuple[Key, ...] = {
        "whole": (slice(None), middle, last), "ellipsis": (..., middle, last), "last": (..., last),
        "new": (slice(None), None, middle),
    }[form]  # fmt: skip
    tracer, x, values = traced()
    part, wanted = x[key], values[key]
    assert part.shape == (None, *wanted.shape[1:])
    np.testing.assert_array_equal(computed(part, tracer, values), wanted)


@pytest.mark.parametrize(
    "formula",
    [
        lambda xp, x: 2 * (1 - x) / (x * x + 1) - -x,
        lambda xp, x: xp.sqrt(xp.clip(x, 0.0, 0.5)) + xp.floor(x) * xp.tanh(x),
        lambda xp, x: xp.stack([x[..., 0], x[..., 3] - x[..., 1]], -1) @ x[..., :2, :],
        lambda xp, x: xp.concatenate((x, x.sum(-1)[..., None], x.mean(-1)[..., None]), -1),
        lambda xp, x: x.reshape(*x.shape[:-2], 20) + np.arange(20, dtype=np.float32),
        lambda xp, x: np.float32(3) * x[:, -1] + x[:, 0],
    ],
)
def test_formulas_are_those_of_numpy(formula: Any) -> None:
    """Operators with numbers and arrays on both sides, functions, products and reductions give what numpy gives."""
    tracer, x, values = traced()
    result, wanted = formula(tracer, x), formula(np, values)
    assert result.shape == (None, *wanted.shape[1:])
    np.testing.assert_allclose(computed(result, tracer, values), wanted, rtol=1e-5, atol=1e-6)


def test_a_part_that_is_used_twice_is_computed_once() -> None:
    """Equal nodes and equal constants are traced once."""
    tracer, x, _ = traced()
    assert (x[:, 1] * 2.0).name == (x[:, 1] * 2.0).name
    assert len(tracer.nodes) == 2
    assert len(tracer.constants) == 2
