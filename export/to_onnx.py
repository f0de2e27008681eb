"""The step graph, the forecast graph and the initialiser graph of a network, from its specification and weights.

The forecast graph is a Scan around the nodes of the step graph, so that both compute the same by construction, for any
horizon and batch. Ref: ONNX operators, opset 18: https://onnx.ai/onnx/operators/
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.onnx_network import OnnxNetwork
from export.onnx_noise import sampled_tick
from export.onnx_tracer import TracedArray, Tracer
from rtsysid.model.backends.cells import Weights
from rtsysid.model.backends.onnx_graph import sample_inputs
from rtsysid.spec import ModelSpec

OPSET, IR_VERSION = 18, 10  # what onnxruntime 1.20 reads
STEP_INPUTS = ("window", "state")
TICK = "one_tick"  # the constant that the age grows by
PREDICTED = ("y_next", "state_next")
COUNTERS = ("age", "ahead")  # inputs that count ticks


def all_graphs(spec: ModelSpec, weights: Weights) -> dict[str, onnx.ModelProto]:
    """Build every graph of a model by file name: step, forecast and, where the first state is learned, initialiser.

    Raises onnx.checker.ValidationError where a graph is not valid.
    """
    step = step_graph(spec, weights)
    graphs = {"step.onnx": step, "forecast.onnx": forecast_graph(step, spec)}
    if spec.state_init == "network":
        graphs["initialiser.onnx"] = initialiser_graph(spec, weights)
    if spec.distribution:
        graphs["sample.onnx"] = sample_graph(spec, weights)
    return graphs


def step_graph(spec: ModelSpec, weights: Weights) -> onnx.ModelProto:
    """Build `window, state -> y_next, state_next, code, reconstruction_error` for any batch.

    window [B, L, C], state [B, S], y_next [B, ny], code [B, Z], reconstruction error [B]. A model that depends on it
    has a third input, age [B]: the ticks from the newest measurement to the newest row, as float32. Raises
    onnx.checker.ValidationError where the graph is not valid.
    """
    tracer = Tracer()
    network = OnnxNetwork(spec, weights, tracer)
    inputs = [graph_input(tracer, spec, name) for name in step_inputs(spec)]
    y, state, code, seen = network.step(*inputs)
    difference = network.decode(code) - seen
    error = (difference * difference).mean(-1)
    outputs = {"y_next": y, "state_next": state, "code": code, "reconstruction_error": error}
    return traced_model(tracer, spec, "rtsysid step", inputs, outputs)


def initialiser_graph(spec: ModelSpec, weights: Weights) -> onnx.ModelProto:
    """Build `window -> state` for any batch: the first state [B, S] from the first full window [B, L, C].

    Raises onnx.checker.ValidationError where the graph is not valid.
    """
    tracer = Tracer()
    window = graph_input(tracer, spec, "window")
    state = OnnxNetwork(spec, weights, tracer).initial_state(window)
    return traced_model(tracer, spec, "rtsysid initialiser", (window,), {"state": state})


def sample_graph(spec: ModelSpec, weights: Weights) -> onnx.ModelProto:
    """Build `window, state, .., u_future, draws -> y_future`: as the forecast, with the numbers of each future.

    draws [B, N, draws] are standard normal; `ahead` [B] starts at 0; where the model has them, slow [B, R] are normal
    numbers, too, and uniform [B] lies in 0 .. 1 and chooses a member. Raises onnx.checker.ValidationError where the
    graph is not valid.
    """
    tracer, carried = Tracer(), sample_inputs(spec)
    fixed = ("uniform",) if spec.noise.members > 1 else ()
    inputs = {name: graph_input(tracer, spec, name) for name in (*carried, *fixed, "draws")}
    outputs = sampled_tick(spec, weights, tracer, inputs)
    tick = traced_model(tracer, spec, "rtsysid sampled tick", list(inputs.values()), outputs)
    return _looped(tick, spec, "rtsysid sample", TickLoop(carried, ("u_future", "draws"), fixed))


def step_inputs(spec: ModelSpec) -> tuple[str, ...]:
    """List the inputs of the step graph: the age where the model depends on it."""
    return (*STEP_INPUTS, "age") if spec.age_changes else STEP_INPUTS


def graph_input(tracer: Tracer, spec: ModelSpec, name: str) -> TracedArray:
    """Return an input of a traced graph by name: [B, ..]."""
    return TracedArray(tracer, name, (None, *graph_shapes(spec)[name]))


def traced_model(
    tracer: Tracer, spec: ModelSpec, title: str, inputs: Sequence[TracedArray], outputs: Mapping[str, TracedArray]
) -> onnx.ModelProto:
    """Make a model of what was traced; `outputs` by name.

    Raises onnx.checker.ValidationError where the graph is not valid.
    """
    for name, value in outputs.items():
        tracer.output(value, name)
    nodes = needed_nodes(tracer.nodes, outputs)
    graph = helper.make_graph(
        nodes,
        title,
        [_value(value.name, value) for value in inputs],
        [_value(name, value) for name, value in outputs.items()],
        initializer=used_constants(tracer.constants, nodes),
    )
    return checked_model(graph, spec)


def checked_model(graph: onnx.GraphProto, spec: ModelSpec) -> onnx.ModelProto:
    """Make a model of a graph, with the marks of its specification, and check it.

    Raises onnx.checker.ValidationError where the graph is not valid.
    """
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="rtsysid")
    helper.set_model_props(model, {"fingerprint": spec.fingerprint, "schema_hash": spec.schema_hash})
    onnx.checker.check_model(model, full_check=True)
    return model


def forecast_graph(step: onnx.ModelProto, spec: ModelSpec) -> onnx.ModelProto:
    """Build `window, state, u_future -> y_future`: a Scan over [B, N, nu] with predictions fed back.

    `window` ends with s_k, `state` is the state before tick k; a model that depends on it has the age of s_k as a third
    input. Tick n replaces the inputs of the newest row by
    u_future[n] and predicts y_{k+n+1}. Raises onnx.checker.ValidationError where the graph is not valid.
    """
    return _looped(step, spec, "rtsysid forecast", TickLoop(step_inputs(spec), ("u_future",)))


class TickLoop(NamedTuple):
    """What a Scan over ticks carries from tick to tick, takes tick by tick, and reads as a whole."""

    carried: tuple[str, ...]  # the window first
    taken: tuple[str, ...]  # u_future first
    fixed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()  # carried values that are results, as they are at each tick

    @property
    def counters(self) -> tuple[str, ...]:
        """Return the values that grow by one at each tick."""
        return tuple(name for name in self.carried if name in COUNTERS)


def _looped(step: onnx.ModelProto, spec: ModelSpec, title: str, loop: TickLoop) -> onnx.ModelProto:
    scan, shapes = ticks_of(step, spec, loop), graph_shapes(spec)
    graph = helper.make_graph(
        [scan],
        title,
        [tensor_info(name, ["batch", *shapes[name]]) for name in (*loop.carried, *loop.fixed)]
        + [tensor_info(name, ["batch", "horizon", *shapes[name]]) for name in loop.taken],
        [tensor_info("y_future", ["batch", "horizon", spec.n_outputs])],
        initializer=loop_constants(step, spec, loop),
    )
    return checked_model(graph, spec)


def ticks_of(step: onnx.ModelProto, spec: ModelSpec, loop: TickLoop) -> onnx.NodeProto:
    """Make the Scan over ticks: `y_future`, and `NAME_each` [B, N, ..] of what the loop keeps of every tick."""
    return helper.make_node(
        "Scan",
        [*loop.carried, *loop.taken],
        [*(f"{name}_last" for name in loop.carried), "y_future", *(f"{name}_each" for name in loop.kept)],
        num_scan_inputs=len(loop.taken),
        scan_input_axes=[1] * len(loop.taken),
        scan_output_axes=[1] * (1 + len(loop.kept)),
        body=_loop_body(step, spec, loop),
    )


def loop_constants(step: onnx.ModelProto, spec: ModelSpec, loop: TickLoop) -> list[onnx.TensorProto]:
    """List the constants that a loop over ticks reads: an inner graph sees outer names."""
    return used_constants([*step.graph.initializer, _one_tick()], _loop_body(step, spec, loop).node)


def _one_tick() -> onnx.TensorProto:
    return numpy_helper.from_array(np.ones((), np.float32), TICK)


def _loop_body(step: onnx.ModelProto, spec: ModelSpec, loop: TickLoop) -> onnx.GraphProto:
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
        *_step_nodes(step.graph, loop),
        _scan_node("y_row", "Unsqueeze", "y_next", "one"),
        _scan_node("next_row", "Concat", "u_row", "y_row", axis=2),  # the next tick replaces its inputs
        _scan_node("kept", "Slice", "window", "one", "end", "one"),
        _scan_node("after", "Concat", "kept", "next_row", axis=1),
        _scan_node("y_out", "Identity", "y_next"),
    ]
    nodes += [helper.make_node("Add", [f"tick/{name}", TICK], [f"tick/{name}_next"]) for name in loop.counters]
    nodes += [_scan_node(f"{name}_each", "Identity", name) for name in loop.kept]
    return helper.make_graph(nodes, "tick", *_scan_interface(spec, loop))


def _scan_node(output: str, operator: str, *inputs: str, **attributes: int) -> onnx.NodeProto:
    return helper.make_node(operator, [f"tick/{name}" for name in inputs], [f"tick/{output}"], **attributes)


def _scan_interface(spec: ModelSpec, loop: TickLoop) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
    shapes = {name: ["batch", *shape] for name, shape in graph_shapes(spec).items()}
    taken = [("u" if name == "u_future" else name, shapes[name]) for name in loop.taken]
    carried, y = loop.carried[1:], ("y_out", ["batch", spec.n_outputs])
    inputs = [("before", shapes["window"]), *((name, shapes[name]) for name in carried), *taken]
    outputs = [("after", shapes["window"]), *((f"{name}_next", shapes[name]) for name in carried), y]
    outputs += [(f"{name}_each", shapes[name]) for name in loop.kept]
    named = ([tensor_info(f"tick/{name}", shape) for name, shape in side] for side in (inputs, outputs))
    return next(named), next(named)


def _step_nodes(graph: onnx.GraphProto, loop: TickLoop) -> list[onnx.NodeProto]:
    """Copy the nodes that compute prediction and state."""
    outer = {tensor.name for tensor in graph.initializer} | {"", *loop.fixed}
    wanted = ("y_next", *(f"{name}_next" for name in loop.carried[1:] if name not in COUNTERS))
    return inner_nodes(needed_nodes(graph.node, wanted), outer, "tick/")


def inner_nodes(nodes: Iterable[onnx.NodeProto], outer: Container[str], prefix: str) -> list[onnx.NodeProto]:
    """Copy nodes for a graph within another, with a prefix before all names but `outer` ones, as of weights."""
    copies = []
    for node in nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [name if name in outer else f"{prefix}{name}" for name in node.input]
        copy.output[:] = [f"{prefix}{name}" for name in node.output]
        copies.append(copy)
    return copies


def used_constants(constants: Iterable[onnx.TensorProto], nodes: Iterable[onnx.NodeProto]) -> list[onnx.TensorProto]:
    """List the constants that nodes read."""
    names = {name for node in nodes for name in node.input}
    return [constant for constant in constants if constant.name in names]


def needed_nodes(nodes: Sequence[onnx.NodeProto], outputs: Iterable[str]) -> list[onnx.NodeProto]:
    """List the nodes that the outputs depend on, in order: a forecast does not need the decoder."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted & set(node.output):
            wanted |= set(node.input)
            kept.append(node)
    return kept[::-1]


def _value(name: str, value: TracedArray) -> onnx.ValueInfoProto:
    return tensor_info(name, ["batch" if size is None else size for size in value.shape])


def graph_shapes(spec: ModelSpec) -> dict[str, list[int]]:
    """Return the shape of every input of a graph for one robot and one tick, by name."""
    of_noise = {"slow": [spec.noise.factors], "ahead": [], "uniform": [], "draws": [spec.n_draws]}
    plain = {"window": [spec.taps, spec.width], "state": [spec.state_size], "age": [], "u_future": [spec.n_inputs]}
    return {**plain, **of_noise}


def tensor_info(name: str, shape: list[Any]) -> onnx.ValueInfoProto:
    """Declare an array of float32; a size may be a name."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
