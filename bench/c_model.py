"""The generated C called from Python, beside the floor, the graph runtimes and torch, in one run, as ratios."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch

from bench import step_cost
from bench.latency import plain_session, timed
from bench.peers_c import Floor, OnnxToC, flash
from bench.reference import Reference
from export.compile import Build, compile_library
from export.to_c import c_sources
from rtsysid.c_backend import CBackend, machines
from rtsysid.console import table
from rtsysid.parity import TOLERANCE, relative_error
from rtsysid.predictor import Predictor
from rtsysid.train.run import state_arrays

PLANS, TICKS, ROUNDS = 1000, 50, 5


def main() -> None:
    torch.set_num_threads(1)
    reference = Reference()
    predictors = {
        build: Predictor(reference.spec, backend(reference, build, int8))
        for build, int8 in (("fast", False), ("strict", False), ("int8", True))
    }
    predictors["NumPy"] = Predictor(reference.spec, reference.numpy)
    for predictor in predictors.values():
        for row in reference.window:
            predictor.step(row)
    steps = one_tick(reference, predictors)
    futures(reference, predictors["fast"], steps)
    sizes(reference, predictors)
    step_cost.main()


def backend(reference: Reference, build: str, int8: bool = False) -> CBackend:
    """The reference model as a library for this machine."""
    sources = c_sources(reference.spec, state_arrays(reference.network.state_dict()), int8=int8)
    contraction: Build = "strict" if build == "strict" else "fast"
    out = reference.folder / f"model-{build}.so"
    return CBackend(reference.spec, compile_library(sources, out, machines()[0], contraction))


def one_tick(reference: Reference, predictors: dict[str, Predictor]) -> dict[str, float]:
    """Microseconds of a step of each, all taking turns, and the table of ratios with the goals."""
    sample = reference.window[0]
    floor, peer, (plain, feeds) = Floor(reference), OnnxToC(reference), plain_session(reference)
    check(reference, floor, predictors["fast"])
    found = timed(
        {
            "floor": lambda: floor.step(sample),
            "fast": lambda: predictors["fast"].backend.step(sample),
            "strict": lambda: predictors["strict"].backend.step(sample),
            "int8": lambda: predictors["int8"].backend.step(sample),
            "Predictor": lambda: predictors["fast"].step(sample),
            "onnxruntime": lambda: plain.run(None, feeds),
            "NumPy": lambda: predictors["NumPy"].step(sample),
            "emx": peer.step,
        }
    )
    titles = {
        "floor": "plain C loop of this one model (the floor)", "fast": "C backend, fast", "strict": "C backend, strict",
        "int8": "C backend, int8 weights", "Predictor": "Predictor.step on C, fast",
        "onnxruntime": "onnxruntime InferenceSession.run", "NumPy": "Predictor.step on NumPy",
        "emx": "emx-onnx-cgen, no delay line",
    }  # fmt: skip
    rows = [[titles[name], f"{us:.2f}", f"{us / found['fast']:.2f}"] for name, us in found.items()]
    print(f"reference size, {reference.spec.macs:,} multiply-accumulates, library for {machines()[0]}\n")
    print(table(["one tick from Python", "p50 us", "of C fast"], rows))
    goal("C fast / floor", found["fast"] / found["floor"], "<=", 1.2)
    goal("onnxruntime run / C fast", found["onnxruntime"] / found["fast"], ">=", 8)
    goal("NumPy / C fast", found["NumPy"] / found["fast"], ">=", 8)
    return found


def check(reference: Reference, floor: Floor, ours: Predictor) -> None:
    """A floor that computed something else would be none: both compute the same over the same samples."""
    rows = np.random.default_rng(3).standard_normal((50, reference.spec.width)).astype(np.float32)
    ours.reset()
    for row in rows[:15]:
        floor.step(row)
        ours.step(row)
    floor.forget()
    error = max(relative_error(floor.step(row), ours.step(row), reference.spec) for row in rows[15:])
    assert error < TOLERANCE["step"], error


def futures(reference: Reference, ours: Predictor, steps: dict[str, float]) -> None:
    """Forecasts: one plan beside single steps, and a thousand plans beside torch."""
    plans = np.random.default_rng(0).standard_normal((PLANS, TICKS, 4)).astype(np.float32)
    single = timed({"one": lambda: ours.forecast(plans[0])})["one"]
    state = (torch.zeros(PLANS, 64), torch.zeros(PLANS, 64))
    rows = torch.from_numpy(np.broadcast_to(reference.window, (PLANS, TICKS, 16, 10)).copy())

    def by_torch() -> None:
        with torch.inference_mode():
            reference.network.rollout(rows, state)

    seconds = in_turns(lambda: ours.forecast(plans), by_torch)
    ratio = statistics.median(b / a for a, b in seconds)
    a, b = (statistics.median(column) * 1e3 for column in zip(*seconds, strict=True))
    rows_ = [
        [f"forecast of {TICKS} ticks, one plan", f"{single / 1e3:.3f}"],
        [f"{TICKS} C steps from Python", f"{TICKS * steps['fast'] / 1e3:.3f}"],
        [f"{PLANS} x {TICKS} futures, C, one core", f"{a:.1f}"],
        [f"{PLANS} x {TICKS} futures, torch batched, one thread", f"{b:.1f}"],
    ]
    print("\n" + table(["forecast", "ms"], rows_))
    goal(f"forecast / {TICKS} C steps", single / (TICKS * steps["fast"]), "<=", 1.1)
    goal(f"{TICKS} onnxruntime calls / forecast", TICKS * steps["onnxruntime"] / single, ">=", 10)
    goal(f"torch batched / C, {PLANS} x {TICKS}", ratio, ">=", 3)


def in_turns(first: Callable[[], object], second: Callable[[], object]) -> list[tuple[float, float]]:
    """Seconds of both, in pairs."""
    return [(_seconds(first), _seconds(second)) for _ in range(ROUNDS)]


def _seconds(function: Callable[[], object]) -> float:
    begun = time.perf_counter()
    function()
    return time.perf_counter() - begun


def sizes(reference: Reference, predictors: dict[str, Predictor]) -> None:
    """Flash on a Cortex-M4F, of float32 and int8 weights and of the ONNX-to-C peer, and what int8 costs in accuracy."""
    if not shutil.which("arm-none-eabi-gcc"):
        print("\nsizes on a Cortex-M4F: left out, wants gcc-arm-none-eabi")
        return
    rows = [[title, f"{size:,}", error] for title, size, error in measured_sizes(reference, predictors)]
    print("\n" + table(["Cortex-M4F, -O2, what a step needs", "flash bytes", "step error, spreads"], rows))


def measured_sizes(reference: Reference, predictors: dict[str, Predictor]) -> Iterator[tuple[str, int, str]]:
    spec, weights, folder = reference.spec, state_arrays(reference.network.state_dict()), reference.folder
    rows = np.random.default_rng(1).standard_normal((500, spec.width)).astype(np.float32)
    outputs = {}
    for name in ("NumPy", "fast", "int8"):
        predictors[name].reset()
        outputs[name] = np.stack([predictors[name].step(row).copy() for row in rows])
    for name, int8 in (("fast", False), ("int8", True)):
        for file, text in c_sources(spec, weights, int8=int8).items():
            (folder / file).write_text(text)
        source = f'#include "model{"-int8" if int8 else ""}.c"\nmodel_state robot; float sample[MODEL_CHANNELS];'
        size = flash(folder, source, "model_reset(&robot); sink = *model_step(&robot, sample)")
        error = relative_error(outputs[name], outputs["NumPy"], spec)
        yield f"ours, {'int8' if int8 else 'float32'}", size, f"{error:.1e}"
    source = '#include "peer.c"\nfloat w[1][16][10], h[1][64], c[1][64], y[1][6], h2[1][64], c2[1][64];'
    yield "emx-onnx-cgen, float32, no delay line", flash(folder, source, "peer(w, h, c, y, h2, c2); sink = y[0][0]"), ""


def goal(what: str, found: float, relation: str, wanted: float) -> None:
    """One figure with its goal beside it."""
    met = found <= wanted if relation == "<=" else found >= wanted
    print(f"{what}: {found:.2f} (goal {relation} {wanted:g}{', met' if met else ', NOT met'})")
