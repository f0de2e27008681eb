"""The step graph and the forecast graph of a trained network.

The step graph comes from torch's exporter: one tick has no time axis, which is what torch 2.13 freezes silently from
the second export in a process on. The forecast graph is an ONNX Scan built here around the nodes of the step graph, so
that both compute the same by construction, for any horizon and batch.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
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
STEP_INPUTS = ("window", "h", "c")
PREDICTED = {"y_next", "h_next", "c_next"}
STEP_OUTPUTS = ("y_next", "h_next", "c_next", "code", "reconstruction_error")


class StepGraph(nn.Module):
    """One tick with every state an input and an output: window [B, L, C], h and c [B, H]."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, window: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        network = self.network
        features = network.features(window)
        code = network.encode(features)
        h, c = network.cell_step(code, (h, c))
        error = (network.decode(code) - features).square().mean(-1)
        return network.predict(window[:, -1], features, h), h, c, code, error


class InitialiserGraph(nn.Module):
    """First state from the first full window: window [B, L, C] -> h, c [B, H]."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, window: Tensor) -> tuple[Tensor, ...]:
        return self.network.initial_state(window)


def step_graph(network: Network) -> onnx.ModelProto:
    """`window, h, c -> y_next, h_next, c_next, code, reconstruction_error`, batch dynamic."""
    spec = network.spec
    # Traced with a batch of 2: a dimension of size 1 would be taken for a constant.
    example = (torch.zeros(2, spec.taps, spec.width), torch.zeros(2, spec.hidden), torch.zeros(2, spec.hidden))
    model = _exported(StepGraph(network), example, STEP_INPUTS, STEP_OUTPUTS)
    return _named(model, spec, "rtsysid step")


def initialiser_graph(network: Network) -> onnx.ModelProto:
    """`window -> h, c`, batch dynamic."""
    spec = network.spec
    model = _exported(InitialiserGraph(network), (torch.zeros(2, spec.taps, spec.width),), ("window",), ("h", "c"))
    return _named(model, spec, "rtsysid initialiser")


def forecast_graph(step: onnx.ModelProto, spec: ModelSpec) -> onnx.ModelProto:
    """`window, h, c, u_future -> y_future`: a Scan over [B, N, nu] with predictions fed back through the delay line.

    `window` ends with s_k, `h` and `c` are the state before tick k. Tick n replaces the inputs of the newest row by
    u_future[n] and gives y_{k+n+1}.
    """
    body = _scan_body(step, spec)
    scan = helper.make_node(
        "Scan",
        ["window", "h", "c", "u_future"],
        ["window_last", "h_last", "c_last", "y_future"],
        num_scan_inputs=1,
        scan_input_axes=[1],
        scan_output_axes=[1],
        body=body,
    )
    shapes = _shapes(spec)
    graph = helper.make_graph(
        [scan],
        "rtsysid forecast",
        [_value(name, ["batch", *shapes[name]]) for name in STEP_INPUTS]
        + [_value("u_future", ["batch", "horizon", spec.n_inputs])],
        [_value("y_future", ["batch", "horizon", spec.n_outputs])],
        initializer=_weights_of(step.graph),  # an inner graph sees the names of the outer one
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=step.ir_version)
    _set_metadata(model, spec)
    onnx.checker.check_model(model, full_check=True)
    return model


def _scan_body(step: onnx.ModelProto, spec: ModelSpec) -> onnx.GraphProto:
    """One tick: put u_n beside the newest outputs, run the step nodes, shift the prediction in.

    Names inside carry the prefix "tick/": they must not hide those outside, where the weights live.
    """
    constants = {"zero": 0, "one": 1, "two": 2, "last": -1, "end": 2**31, "nu": spec.n_inputs}
    nodes = [helper.make_node("Constant", [], [f"tick/{name}"], value_ints=[at]) for name, at in constants.items()]
    nodes += [
        _tick("past", "Slice", "before", "zero", "last", "one"),
        _tick("newest", "Slice", "before", "last", "end", "one"),
        _tick("y", "Slice", "newest", "nu", "end", "two"),
        _tick("u_row", "Unsqueeze", "u", "one"),
        _tick("row", "Concat", "u_row", "y", axis=2),
        _tick("window", "Concat", "past", "row", axis=1),
        *_prefixed(step.graph),
        _tick("y_row", "Unsqueeze", "y_next", "one"),
        _tick("next_row", "Concat", "u_row", "y_row", axis=2),  # the next tick replaces its inputs
        _tick("kept", "Slice", "window", "one", "end", "one"),
        _tick("after", "Concat", "kept", "next_row", axis=1),
        _tick("y_out", "Identity", "y_next"),
    ]
    return helper.make_graph(nodes, "tick", *_scan_interface(spec))


def _tick(output: str, operator: str, *inputs: str, **attributes: int) -> onnx.NodeProto:
    return helper.make_node(operator, [f"tick/{name}" for name in inputs], [f"tick/{output}"], **attributes)


def _scan_interface(spec: ModelSpec) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
    shapes = {name: ["batch", *shape] for name, shape in _shapes(spec).items()}
    inputs = [("before", shapes["window"]), ("h", shapes["h"]), ("c", shapes["c"]), ("u", ["batch", spec.n_inputs])]
    outputs = [("after", shapes["window"]), ("h_next", shapes["h"]), ("c_next", shapes["c"])]
    outputs.append(("y_out", ["batch", spec.n_outputs]))
    named = ([_value(f"tick/{name}", shape) for name, shape in side] for side in (inputs, outputs))
    return next(named), next(named)


def _prefixed(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Copies of the nodes that compute the prediction and the state, with inner names; weights keep theirs."""
    outer = {tensor.name for tensor in graph.initializer} | {""}
    copies = []
    for node in _needed(graph, PREDICTED):
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [name if name in outer else f"tick/{name}" for name in node.input]
        copy.output[:] = [f"tick/{name}" for name in node.output]
        copies.append(copy)
    return copies


def _weights_of(graph: onnx.GraphProto) -> list[onnx.TensorProto]:
    used = {name for node in _needed(graph, PREDICTED) for name in node.input}
    return [tensor for tensor in graph.initializer if tensor.name in used]


def _needed(graph: onnx.GraphProto, wanted: set[str]) -> list[onnx.NodeProto]:
    """Nodes that the wanted values depend on, in order: a rollout has no use for the decoder."""
    wanted, kept = set(wanted), []
    for node in reversed(graph.node):
        if wanted & set(node.output):
            wanted |= set(node.input)
            kept.append(node)
    return kept[::-1]


def _exported(
    module: nn.Module, example: tuple[Tensor, ...], inputs: tuple[str, ...], outputs: tuple[str, ...]
) -> onnx.ModelProto:
    batch = torch.export.Dim("batch")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
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


def _named(model: onnx.ModelProto, spec: ModelSpec, title: str) -> onnx.ModelProto:
    """Nodes and weights only: stack traces with source paths and the exporter's notes go."""
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
    """Every declared axis must still be a name: an exporter that freezes one does so silently."""
    for value in [*model.graph.input, *model.graph.output]:
        for axis, name in axes.get(value.name, {}).items():
            found = value.type.tensor_type.shape.dim[axis]
            if found.dim_param != name:
                size = found.dim_value or found.dim_param
                raise ParityError(
                    f"graph {model.graph.name}", f"axis {axis} of {value.name} is {size}, not {name}", "export again"
                )


def check_private(model: onnx.ModelProto) -> None:
    """No path of the machine that exported may travel with the model."""
    blob = model.SerializeToString()
    for path in {str(Path.home()), str(Path.cwd()), str(Path(__file__).parent), "/site-packages/"} - {"/"}:
        if path.encode() in blob:
            raise ParityError(f"graph {model.graph.name}", f"it holds the path {path}", "report this as a bug")


def _shapes(spec: ModelSpec) -> dict[str, list[int]]:
    return {"window": [spec.taps, spec.width], "h": [spec.hidden], "c": [spec.hidden]}


def _value(name: str, shape: list[Any]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
