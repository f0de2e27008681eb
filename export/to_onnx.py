"""The step graph and the forecast graph of a trained network.

The step graph comes from torch's exporter. One tick has no time axis: torch 2.13 freezes time axes silently from the
second export in a process on. The forecast graph is an ONNX Scan built here around the nodes of the step graph, so that
both compute the same by construction, for any horizon and batch.
"""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import onnxscript.optimizer
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from rtsysid.errors import ParityError
from rtsysid.spec import ModelSpec
from rtsysid.train.network import Network

OPSET = 18
STEP_INPUTS = ("window", "state")
PREDICTED = ("y_next", "state_next")
STEP_OUTPUTS = (*PREDICTED, "code", "reconstruction_error")


class StepGraph(nn.Module):
    """Compute one tick, with the state as input and output: window [B, L, C], state [B, S]."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, window: Tensor, state: Tensor) -> tuple[Tensor, ...]:
        """Return y_next [B, ny], state_next [B, S], code [B, Z] and reconstruction error [B]."""
        network = self.network
        features = network.features(window)
        code = network.encode(features)
        hidden, state = network.cell.tick(code, state)
        error = (network.decode(code) - features).square().mean(-1)
        return network.predict(window[:, -1], features, hidden), state, code, error


class InitialiserGraph(nn.Module):
    """Compute the first state from the first full window: [B, L, C] -> [B, S]."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, window: Tensor) -> Tensor:
        """Return the state [B, S]."""
        return self.network.initial_state(window)


def step_graph(network: Network) -> onnx.ModelProto:
    """Export `window, state -> y_next, state_next, code, reconstruction_error` with a dynamic batch."""
    spec = network.spec
    # Traced with a batch of 2: the exporter takes a dimension of size 1 for a constant.
    example = (torch.zeros(2, spec.taps, spec.width), torch.zeros(2, spec.state_size))
    model = _exported_graph(StepGraph(network), example, STEP_INPUTS, STEP_OUTPUTS)
    return _cleaned_graph(model, spec, "rtsysid step")


def initialiser_graph(network: Network) -> onnx.ModelProto:
    """Export `window -> state` with a dynamic batch."""
    spec = network.spec
    model = _exported_graph(
        InitialiserGraph(network), (torch.zeros(2, spec.taps, spec.width),), ("window",), ("state",)
    )
    return _cleaned_graph(model, spec, "rtsysid initialiser")


def forecast_graph(step: onnx.ModelProto, spec: ModelSpec) -> onnx.ModelProto:
    """Build `window, state, u_future -> y_future`: a Scan over [B, N, nu] with predictions fed back.

    `window` ends with s_k, `state` is the state before tick k. Tick n replaces the inputs of the newest row by
    u_future[n] and predicts y_{k+n+1}. Raises onnx.checker.ValidationError where the graph is not valid.
    """
    body = _scan_body(step, spec)
    scan = helper.make_node(
        "Scan",
        ["window", "state", "u_future"],
        ["window_last", "state_last", "y_future"],
        num_scan_inputs=1,
        scan_input_axes=[1],
        scan_output_axes=[1],
        body=body,
    )
    shapes = _graph_shapes(spec)
    graph = helper.make_graph(
        [scan],
        "rtsysid forecast",
        [_tensor_info(name, ["batch", *shapes[name]]) for name in STEP_INPUTS]
        + [_tensor_info("u_future", ["batch", "horizon", spec.n_inputs])],
        [_tensor_info("y_future", ["batch", "horizon", spec.n_outputs])],
        initializer=_weights_of(step.graph),  # an inner graph sees the names of the outer one
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=step.ir_version)
    _set_metadata(model, spec)
    onnx.checker.check_model(model, full_check=True)
    return model


def _scan_body(step: onnx.ModelProto, spec: ModelSpec) -> onnx.GraphProto:
    """Build one tick: replace the newest inputs by u_n, run the step nodes, append the prediction to the window.

    Inner names carry the prefix "tick/": they must not hide the outer ones, which name the weights.
    """
    constants = {"zero": 0, "one": 1, "two": 2, "last": -1, "end": 2**31, "nu": spec.n_inputs}
    nodes = [helper.make_node("Constant", [], [f"tick/{name}"], value_ints=[at]) for name, at in constants.items()]
    nodes += [
        _scan_node("past", "Slice", "before", "zero", "last", "one"),
        _scan_node("newest", "Slice", "before", "last", "end", "one"),
        _scan_node("y", "Slice", "newest", "nu", "end", "two"),
        _scan_node("u_row", "Unsqueeze", "u", "one"),
        _scan_node("row", "Concat", "u_row", "y", axis=2),
        _scan_node("window", "Concat", "past", "row", axis=1),
        *_inner_nodes(step.graph),
        _scan_node("y_row", "Unsqueeze", "y_next", "one"),
        _scan_node("next_row", "Concat", "u_row", "y_row", axis=2),  # the next tick replaces its inputs
        _scan_node("kept", "Slice", "window", "one", "end", "one"),
        _scan_node("after", "Concat", "kept", "next_row", axis=1),
        _scan_node("y_out", "Identity", "y_next"),
    ]
    return helper.make_graph(nodes, "tick", *_scan_interface(spec))


def _scan_node(output: str, operator: str, *inputs: str, **attributes: int) -> onnx.NodeProto:
    return helper.make_node(operator, [f"tick/{name}" for name in inputs], [f"tick/{output}"], **attributes)


def _scan_interface(spec: ModelSpec) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
    shapes = {name: ["batch", *shape] for name, shape in _graph_shapes(spec).items()}
    inputs = [("before", shapes["window"]), ("state", shapes["state"]), ("u", ["batch", spec.n_inputs])]
    outputs = [("after", shapes["window"]), ("state_next", shapes["state"]), ("y_out", ["batch", spec.n_outputs])]
    named = ([_tensor_info(f"tick/{name}", shape) for name, shape in side] for side in (inputs, outputs))
    return next(named), next(named)


def _inner_nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Copy the nodes that compute prediction and state, with inner names; weights keep their names."""
    outer = {tensor.name for tensor in graph.initializer} | {""}
    copies = []
    for node in _needed_nodes(graph):
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [name if name in outer else f"tick/{name}" for name in node.input]
        copy.output[:] = [f"tick/{name}" for name in node.output]
        copies.append(copy)
    return copies


def _weights_of(graph: onnx.GraphProto) -> list[onnx.TensorProto]:
    used = {name for node in _needed_nodes(graph) for name in node.input}
    return [tensor for tensor in graph.initializer if tensor.name in used]


def _needed_nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """List the nodes that prediction and state depend on, in order: a forecast does not need the decoder."""
    wanted, kept = set(PREDICTED), []
    for node in reversed(graph.node):
        if wanted & set(node.output):
            wanted |= set(node.input)
            kept.append(node)
    return kept[::-1]


def _exported_graph(
    module: nn.Module, example: tuple[Tensor, ...], inputs: tuple[str, ...], outputs: tuple[str, ...]
) -> onnx.ModelProto:
    batch = torch.export.Dim("batch")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad(), _no_collection():
        warnings.simplefilter("ignore")  # the exporter's own deprecations, nothing of ours
        program = torch.onnx.export(
            module.eval(),
            example,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=tuple({0: batch} for _ in example),
            verbose=False,
        )
    assert program is not None
    return onnxscript.optimizer.optimize(program.model_proto)


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Pause the garbage collector. It takes a quarter of an export, which makes many objects and keeps most of them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _cleaned_graph(model: onnx.ModelProto, spec: ModelSpec, title: str) -> onnx.ModelProto:
    """Keep nodes and weights alone: remove stack traces with source paths and the exporter's notes."""
    graph = model.graph
    graph.name, model.producer_name, model.producer_version, model.doc_string = title, "rtsysid", "", ""
    del model.metadata_props[:], graph.metadata_props[:], graph.value_info[:], model.functions[:]
    for item in [*graph.node, *graph.initializer, *graph.input, *graph.output]:
        item.doc_string = ""
        del item.metadata_props[:]
    _set_metadata(model, spec)
    onnx.checker.check_model(model, full_check=True)
    return model


def _set_metadata(model: onnx.ModelProto, spec: ModelSpec) -> None:
    model.producer_name = "rtsysid"
    helper.set_model_props(model, {"fingerprint": spec.fingerprint, "schema_hash": spec.schema_hash})


def check_dynamic(model: onnx.ModelProto, axes: dict[str, dict[int, str]]) -> None:
    """Check that every declared axis is still dynamic: the exporter freezes axes silently.

    Raises ParityError where an axis is a number.
    """
    for value in [*model.graph.input, *model.graph.output]:
        for axis, name in axes.get(value.name, {}).items():
            found = value.type.tensor_type.shape.dim[axis]
            if found.dim_param != name:
                size = found.dim_value or found.dim_param
                raise ParityError(
                    f"graph {model.graph.name}", f"axis {axis} of {value.name} is {size}, not {name}", "export again"
                )


def check_private(model: onnx.ModelProto) -> None:
    """Check that the graph holds no path of this machine. Raises ParityError where it does."""
    blob = model.SerializeToString()
    for path in {str(Path.home()), str(Path.cwd()), str(Path(__file__).parent), "/site-packages/"} - {"/"}:
        if path.encode() in blob:
            raise ParityError(f"graph {model.graph.name}", f"it holds the path {path}", "report this as a bug")


def _graph_shapes(spec: ModelSpec) -> dict[str, list[int]]:
    return {"window": [spec.taps, spec.width], "state": [spec.state_size]}


def _tensor_info(name: str, shape: list[Any]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
