"""The gradient graph: from the derivative of a cost by a forecast to that by each input of its plan.

For runtimes that have neither C nor automatic differentiation. One Scan over the ticks of the plan keeps window and
state of each; a second one goes back through them. Shapes: B plans, N ticks, L taps, C channels, S state.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper

from export.onnx_back import RecordingTracer, padded_axis
from export.onnx_network import OnnxNetwork
from export.onnx_tracer import TracedArray
from export.to_onnx import (
    PREDICTED,
    TickLoop,
    checked_model,
    graph_input,
    graph_shapes,
    inner_nodes,
    loop_constants,
    needed_nodes,
    step_inputs,
    tensor_info,
    ticks_of,
    traced_model,
    used_constants,
)
from rtsysid.errors import ParityError
from rtsysid.model.backends.cells import Weights
from rtsysid.model.backends.numpy_backend import NumpyBackend
from rtsysid.model.backends.numpy_gradient import NumpyGradients
from rtsysid.model.backends.protocol import Snapshot
from rtsysid.model.manifest import GRADIENT_GRAPH
from rtsysid.model.npz import Arrays
from rtsysid.model.predictor import Predictor
from rtsysid.model.tolerance import GRADIENT, ROUNDING
from rtsysid.spec import Floats, ModelSpec

BACK = "back/"  # prefix of names within the loop that goes back
PASSED_BACK = ("of_window", "of_state")  # gradients of the cost by what a tick hands to the next


def gradient_graph(spec: ModelSpec, weights: Weights) -> onnx.ModelProto:
    """Build `window, state, u_future, dy -> du`: [B, L, C], [B, S], [B, N, nu], [B, N, ny] -> [B, N, nu].

    A model that depends on it has a third input, age [B]. `dy` is the derivative of a cost by y_{k+1} .. y_{k+N}, `du`
    that by u_k .. u_{k+N-1}. Raises onnx.checker.ValidationError where the graph is not valid.
    """
    carried, shapes, tracer = step_inputs(spec), graph_shapes(spec), RecordingTracer()
    inputs = [graph_input(tracer, spec, name) for name in carried]
    y, after, *_ = OnnxNetwork(spec, weights, tracer).step(*inputs)
    step = traced_model(tracer, spec, "rtsysid tick", inputs, dict(zip(PREDICTED, (y, after), strict=True)))
    loop = TickLoop(carried, ("u_future",), kept=carried)
    body = _back_body(tracer, spec, inputs, (y, after))
    nodes = [ticks_of(step, spec, loop), *_zeros("window"), *_zeros("state"), _back_scan(body, carried)]
    constants = {each.name: each for each in loop_constants(step, spec, loop)}
    constants |= {each.name: each for each in used_constants(tracer.constants, body.node)}
    plan, dy = ["batch", "horizon", *shapes["u_future"]], ["batch", "horizon", spec.n_outputs]
    given = [tensor_info(name, ["batch", *shapes[name]]) for name in carried]
    graph = helper.make_graph(
        nodes,
        "rtsysid forecast gradient",
        [*given, tensor_info("u_future", plan), tensor_info("dy", dy)],
        [tensor_info("du", plan)],
        initializer=list(constants.values()),
    )
    return checked_model(graph, spec)


def _zeros(name: str) -> list[onnx.NodeProto]:
    """Make zeros in the shape of an input: the gradient by what the last tick hands on."""
    shape = helper.make_node("Shape", [name], [f"{name}_shape"])
    return [shape, helper.make_node("ConstantOfShape", [f"{name}_shape"], [f"of_{name}_last"])]


def _back_scan(body: onnx.GraphProto, carried: tuple[str, ...]) -> onnx.NodeProto:
    """Make the Scan that takes the ticks in reverse order."""
    taken = [*(f"{name}_each" for name in carried), "dy"]
    return helper.make_node(
        "Scan",
        [*(f"{name}_last" for name in PASSED_BACK), *taken],
        [*(f"{name}_first" for name in PASSED_BACK), "du"],
        num_scan_inputs=len(taken),
        scan_input_axes=[1] * len(taken),
        scan_output_axes=[1],
        scan_input_directions=[1] * len(taken),
        scan_output_directions=[1],
        body=body,
    )


def _back_body(
    tracer: RecordingTracer, spec: ModelSpec, inputs: list[TracedArray], results: tuple[TracedArray, TracedArray]
) -> onnx.GraphProto:
    """Build one tick of the way back: its window and state were kept, everything else is computed again."""
    of_window, of_state = (
        TracedArray(tracer, name, of.shape) for name, of in zip(PASSED_BACK, inputs[:2], strict=True)
    )
    dy = TracedArray(tracer, "dy", results[0].shape)
    of_y = dy + of_window[:, -1, spec.n_inputs :]  # the prediction is the newest row of the next window
    by_window, by_state = tracer.gradients(zip(results, (of_y, of_state), strict=True), inputs[:2])
    if spec.taps > 1:  # all rows but the oldest are in the next window, too
        by_window = by_window + padded_axis(of_window[:, :-1], 1, 1, spec.taps)
    found = {"of_window_before": by_window, "of_state_before": by_state, "du": by_window[:, -1, : spec.n_inputs]}
    for name, value in found.items():
        tracer.output(value, name)
    outer = {each.name for each in tracer.constants}
    nodes = inner_nodes(needed_nodes(tracer.nodes, found), outer, BACK)
    declared = {each.name: each.shape for each in (of_window, of_state, *inputs, dy)}
    sides = (declared, {name: value.shape for name, value in found.items()})
    return helper.make_graph(nodes, "tick back", *map(_declared, sides))


def _declared(shapes: Mapping[str, Any]) -> list[onnx.ValueInfoProto]:
    return [tensor_info(f"{BACK}{name}", ["batch", *shape[1:]]) for name, shape in shapes.items()]


def require_gradient(content: bytes, spec: ModelSpec, weights: Weights, golden: Arrays) -> None:
    """Check a gradient graph where a golden trace forecasts, with random costs, against NumPy in float64.

    It may be off by `GRADIENT` of the largest entry, or by `ROUNDING` times what float32 changes in NumPy. Raises
    ParityError.
    """
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    single, double = NumpyGradients(spec, weights), NumpyGradients(spec, weights, np.float64)
    rng = np.random.default_rng(0)
    for start, plans in _golden_starts(spec, weights, golden):
        dy = rng.standard_normal((*plans.shape[:2], spec.n_outputs)).astype(np.float32)
        found, wanted = run_gradient(session, start, plans, dy), double.gradient(start, plans, dy)
        off, rounding = (np.abs(each - wanted).max() for each in (found, single.gradient(start, plans, dy)))
        bound = max(GRADIENT * np.abs(wanted).max(), ROUNDING * rounding)
        if not off <= bound:
            difference = f"a gradient is off by {off:.2g} (bound {bound:.2g})"
            raise ParityError(GRADIENT_GRAPH, difference, "nothing was written; report this")


def run_gradient(session: Any, start: Snapshot, plans: Floats, dy: Floats) -> Floats:
    """Run a gradient graph in onnxruntime for plans [B, N, nu] from one snapshot, with dy [B, N, ny] -> [B, N, nu]."""
    every = {"window": start.window, "state": start.state, "age": np.float32(start.age)}
    every = {name: np.repeat(np.asarray(value)[None], len(plans), 0) for name, value in every.items()}
    every |= {"u_future": plans, "dy": dy}
    du: Floats = session.run(("du",), {each.name: every[each.name] for each in session.get_inputs()})[0]
    return du


def _golden_starts(spec: ModelSpec, weights: Weights, golden: Arrays) -> Iterator[tuple[Snapshot, Floats]]:
    """Step through a golden trace; yield each snapshot that it forecasts from, with its plans [B, N, nu]."""
    samples, starts = golden["samples"], golden["starts"].tolist()
    ages = golden.get("ages", np.zeros(len(samples), np.int64)).tolist()
    plans = dict(zip(golden["forecast_at"].tolist(), golden["u_future"], strict=True))
    predictor = Predictor(spec, NumpyBackend(spec, weights))
    for tick, (values, age) in enumerate(zip(samples, ages, strict=True)):
        if tick in starts:
            predictor.reset()
        predictor.step(values, age)
        if tick in plans:
            yield predictor.snapshot(), plans[tick]
