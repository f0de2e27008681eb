"""Targets of an export: graphs, generated C, and its libraries for this machine and others."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from export.c_layers import Weights
from export.compile import MACHINE, compile_library, find_compiler, require_compiler
from export.onnx_gradient import gradient_graph, require_gradient
from export.to_c import c_sources, model_layers, quantised
from export.to_c_control import acados_sources, casadi_sources, control_sources
from export.to_onnx import all_graphs
from rtsysid.errors import BundleError, ConfigError
from rtsysid.guards.stages import say_stage
from rtsysid.model.backends.c_backend import CBackend, library_name, machines
from rtsysid.model.c_layout import state_bytes
from rtsysid.model.golden import relative_error, run_golden
from rtsysid.model.manifest import GRADIENT_GRAPH
from rtsysid.model.npz import Arrays
from rtsysid.model.predictor import Predictor
from rtsysid.spec import ModelSpec

Target: TypeAlias = Literal["onnx", "c", "int8", "gradient", "casadi", "acados", "aarch64", "armv7"]
CROSS: dict[str, str] = {"aarch64": "aarch64", "armv7": "armv7l"}  # target: machine as the kernel calls it


def parse_targets(text: str) -> tuple[Target, ...]:
    """Read `onnx,c,int8`. Raises ConfigError for a target that does not exist."""
    names = [name.strip() for name in text.split(",")]
    known: tuple[Target, ...] = get_args(Target)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError("--target", f"unknown {', '.join(map(repr, unknown))}", f"choose among {', '.join(known)}")
    return tuple(name for name in known if name in names)


def default_targets() -> tuple[Target, ...]:
    """List the default targets: ONNX, and C where this machine has a compiler and can load its libraries."""
    return ("onnx",) if without_c() else ("onnx", "c")


def without_c() -> str:
    """Say in one line why the default targets have no C; empty where they have."""
    if not machines():
        return f"rtsysid: no C libraries for {_computer()}, so the bundle has no C backend; it runs on ONNX and NumPy"
    if find_compiler(machines()[0]) is None:
        return "rtsysid: no C compiler, so the bundle has no C backend; install gcc or clang to add one"
    return ""


def _computer() -> str:
    return f"{platform.machine()} with {platform.system()}"


def write_graphs(spec: ModelSpec, weights: Weights, golden: Arrays, folder: Path, targets: Sequence[Target]) -> None:
    """Write the graphs of the ONNX targets. Raises ParityError where the gradient is not that of NumPy."""
    if "onnx" in targets:
        for name, graph in all_graphs(spec, weights).items():
            (folder / name).write_bytes(graph.SerializeToString())
    if "gradient" in targets:
        say_stage("verifying the gradient graph")
        content = gradient_graph(spec, weights).SerializeToString()
        require_gradient(content, spec, weights, golden)
        (folder / GRADIENT_GRAPH).write_bytes(content)


def write_c(
    spec: ModelSpec, weights: Weights, golden: Arrays, folder: Path, targets: Sequence[Target]
) -> dict[str, Any]:
    """Write sources and libraries of the C targets; return their entry in the manifest: bytes, and the error of int8.

    Raises BundleError where a compiler is missing or fails.
    """
    wanted = [machine for target, machine in CROSS.items() if target in targets]
    if "c" in targets:
        wanted = [this_machine(), *wanted]
    about: dict[str, Any] = {}
    if wanted:
        sources = {**c_sources(spec, weights), **control_sources(spec, weights)}
        _write_sources(folder, sources)
        for machine in wanted:
            compile_library(sources, folder / library_name(machine), machine)
        about["float32"] = _memory_of(spec, sum(layer.bytes for layer in model_layers(spec, weights)))
    if "casadi" in targets:
        sources = casadi_sources(spec, weights)
        _write_sources(folder, sources)
        compile_library(sources, folder / library_name(f"casadi-{this_machine()}"), this_machine())
    if "acados" in targets:
        _write_sources(folder, acados_sources(spec, weights))
    if "int8" in targets:
        sources = c_sources(spec, weights, int8=True)
        _write_sources(folder, sources)
        size = sum(quantised(layer).bytes for layer in model_layers(spec, weights))
        about["int8"] = {**_memory_of(spec, size), **_int8_errors(spec, sources, golden)}
        _refuse_useless(about["int8"]["step"])
    return {"c": about} if about else {}


def this_machine() -> str:
    """Return the best machine name of this computer. Raises BundleError where it loads no C libraries."""
    if not machines():
        known = ", ".join(MACHINE)
        raise BundleError("--target c", f"no libraries for {_computer()}", f"leave c out; there are some for {known}")
    require_compiler(machines()[0])
    return machines()[0]


def _memory_of(spec: ModelSpec, weight_bytes: int) -> dict[str, int]:
    return {"weight_bytes": weight_bytes, "state_bytes": state_bytes(spec)}


def _refuse_useless(step_error: float) -> None:
    """Raise BundleError where int8 weights change a step so much that the mean of the outputs would be nearer."""
    if not step_error <= 1.0:
        found = f"int8 weights change one step by {step_error:.2g} standard deviations of the outputs"
        raise BundleError("--target int8", found, "leave int8 out: eight bits are too few for this model")


def _int8_errors(spec: ModelSpec, sources: dict[str, str], golden: Arrays) -> dict[str, float]:
    """Measure the largest errors of int8 on the golden trace, in standard deviations of the outputs."""
    with tempfile.TemporaryDirectory() as scratch:
        library = compile_library(sources, Path(scratch) / "model-int8.so", this_machine())
        found = run_golden(Predictor(spec, CBackend(spec, library.read_bytes())), golden)
    return {
        "step": relative_error(found["y"], golden["y"], spec),
        "forecast": relative_error(found["y_future"], golden["y_future"], spec),
    }


def _write_sources(folder: Path, sources: dict[str, str]) -> None:
    for name, text in sources.items():
        (folder / name).write_text(text)
