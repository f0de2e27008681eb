"""One step called from Python: ours compared with a plain `InferenceSession.run` on the same graph and torch eager."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import onnxruntime
import torch

from bench.reference import Reference
from rtsysid.cli.console import table
from rtsysid.model.delayline import TappedDelayLine
from rtsysid.model.predictor import Predictor

K = TypeVar("K")
ROUNDS, CALLS = 20, 500


def timed(functions: dict[K, Callable[[], object]]) -> dict[K, float]:
    """Median microseconds per call. The candidates take turns, so that a drifting machine slows all alike."""
    times: dict[K, list[float]] = {name: [] for name in functions}
    for round_ in range(ROUNDS + 2):
        for name, function in functions.items():
            for _ in range(CALLS if round_ > 1 else 50):
                begun = time.perf_counter()
                function()
                spent = time.perf_counter() - begun
                if round_ > 1:  # the first two rounds warm up
                    times[name].append(spent * 1e6)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    torch.set_num_threads(1)
    reference = Reference()
    window, sample = reference.window, reference.window[0]
    plain, feeds = plain_session(reference)
    state = torch.zeros(1, reference.spec.state_size)
    seen = torch.from_numpy(window)[None]
    onnx, numpy_ = Predictor(reference.spec, reference.onnx), Predictor(reference.spec, reference.numpy)
    for predictor in (onnx, numpy_):
        for row in window:
            predictor.step(row)
    line = TappedDelayLine(16, 10)
    with torch.inference_mode():
        found = timed(
            {
                "InferenceSession.run": lambda: plain.run(None, feeds),
                "ours, ONNX backend step": lambda: reference.onnx.advance(window),
                "ours, ONNX Predictor.step (with push)": lambda: onnx.step(sample),
                "ours, NumPy Predictor.step (with push)": lambda: numpy_.step(sample),
                "torch eager step": lambda: reference.network.step(seen, state),
                "delay line push": lambda: line.push(sample),
            }
        )
    peer = found["InferenceSession.run"]
    rows = [[name, f"{us:.2f}", f"{us / peer:.2f}"] for name, us in found.items()]
    print(f"reference size, {reference.spec.macs:,} multiply-accumulates\n")
    print(table(["one tick", "p50 us", "of plain run"], rows))


def plain_session(reference: Reference) -> tuple[onnxruntime.InferenceSession, dict[str, np.ndarray]]:
    """The plain way of a user: the same graph, one thread, a dictionary per call."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    path = reference.folder / "step.onnx"
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    state = np.zeros((1, reference.spec.state_size), np.float32)
    return session, {"window": reference.window[None], "state": state}
