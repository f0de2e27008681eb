"""Ratios of one run: the generated C called from Python, a minimal loop, the graph runtimes and torch."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import torch

from bench import step_cost
from bench.latency import plain_session, timed
from bench.peers_c import Floor, OnnxToC, flash
from bench.reference import Reference
from export.compile import Build, compile_library
from export.to_c import c_sources
from rtsysid.cli.console import table
from rtsysid.config import read_config
from rtsysid.model.backends.c_backend import CBackend, machines
from rtsysid.model.golden import TOLERANCE, relative_error
from rtsysid.model.predictor import Predictor
from rtsysid.spec import Floats, ModelSpec, unit_scaling
from rtsysid.train.network import Network
from rtsysid.train.run import state_arrays

PLANS, TICKS, ROUNDS = 1000, 50, 15


def main() -> None:
    torch.set_num_threads(1)
    reference = Reference()
    predictors = {
        build: Predictor(reference.spec, of_reference(reference, build, int8))
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


def of_reference(reference: Reference, build: str, int8: bool = False) -> CBackend:
    """The reference model as a library for this machine."""
    contraction: Build = "strict" if build == "strict" else "fast"
    return backend(reference.spec, reference.network, reference.folder / f"model-{build}.so", contraction, int8=int8)


def backend(spec: ModelSpec, network: Network, out: Path, build: Build, *, int8: bool = False) -> CBackend:
    """A network as the library `out` for this machine."""
    sources = c_sources(spec, state_arrays(network.state_dict()), int8=int8)
    return CBackend(spec, compile_library(sources, out, machines()[0], build).read_bytes())


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
    """Forecasts: one plan compared with single steps, and a thousand plans compared with torch."""
    plans = np.random.default_rng(0).standard_normal((PLANS, TICKS, 4)).astype(np.float32)
    single = timed({"one": lambda: ours.forecast(plans[0])})["one"]
    a, b = batched(reference.spec, reference.network, ours, reference.window)
    drone, network, flown = nanodrone()
    backend_ = backend(drone, network, reference.folder / "nanodrone.so", "fast")
    c, d = batched(drone, network, Predictor(drone, backend_), flown)
    rows_ = [
        [f"forecast of {TICKS} ticks, one plan", f"{single / 1e3:.3f}"],
        [f"{TICKS} C steps from Python", f"{TICKS * steps['fast'] / 1e3:.3f}"],
        [f"{PLANS} x {TICKS} futures, C, one core", f"{a:.1f}"],
        [f"{PLANS} x {TICKS} futures, torch batched, one thread", f"{b:.1f}"],
        [f"nanodrone preset, {drone.macs:,} MAC, C", f"{c:.1f}"],
        ["nanodrone preset, torch batched", f"{d:.1f}"],
    ]
    print("\n" + table(["forecast", "ms"], rows_))
    goal(f"forecast / {TICKS} C steps", single / (TICKS * steps["fast"]), "<=", 1.1)
    goal(f"{TICKS} onnxruntime calls / forecast", TICKS * steps["onnxruntime"] / single, ">=", 10)
    goal(f"torch batched / C, {PLANS} x {TICKS}", b / a, ">=", 3)
    goal("the same, nanodrone preset", d / c, ">=", 3)


def batched(spec: ModelSpec, network: Network, ours: Predictor, window: Floats) -> tuple[float, float]:
    """Least milliseconds of processor time of PLANS futures, in C and in torch: what others do here counts for less."""
    plans = np.random.default_rng(0).standard_normal((PLANS, TICKS, spec.n_inputs)).astype(np.float32)
    rows = torch.from_numpy(np.broadcast_to(window, (PLANS, TICKS, *window.shape)).copy())
    state = torch.zeros(PLANS, spec.state_size)
    for row in window:
        ours.step(row)
    least = [math.inf, math.inf]
    with torch.inference_mode():
        for _ in range(ROUNDS):
            for k, call in enumerate((lambda: ours.forecast(plans), lambda: network.rollout(rows, state))):
                begun = time.process_time()
                call()
                least[k] = min(least[k], 1e3 * (time.process_time() - begun))
    return least[0], least[1]


def nanodrone() -> tuple[ModelSpec, Network, Floats]:
    """The preset's model, a rigid body, with random weights, and a window of it."""
    config = read_config("nanodrone")
    blank = ModelSpec(channels=config.data.channels, rate_hz=100.0, **config.model.fields)
    scaling = msgspec.structs.replace(unit_scaling(blank, 4.0), target_std=(1e-3,) * blank.n_targets)
    spec = msgspec.structs.replace(blank, scaling=scaling)
    return spec, Network(spec).eval(), np.random.default_rng(0).standard_normal((spec.taps, spec.width)).astype("f4")


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
    source = '#include "peer.c"\nfloat w[1][16][10], state[1][128], y[1][6], next[1][128];'
    yield "emx-onnx-cgen, float32, no delay line", flash(folder, source, "peer(w, state, y, next); sink = y[0][0]"), ""


def goal(what: str, found: float, relation: str, wanted: float) -> None:
    """One figure with its goal."""
    met = found <= wanted if relation == "<=" else found >= wanted
    print(f"{what}: {found:.2f} (goal {relation} {wanted:g}{', met' if met else ', NOT met'})")
