"""Link 8 of the parity chain: sampled futures are the same in C, ONNX, NumPy and torch, and strict C the same bits."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.every_model import DEEP, YOUNG, make_network

from export import firmware
from export.compile import STRICT
from export.to_c import c_sources
from export.to_onnx import all_graphs
from firmware_bridge import emulator
from rtsysid.model.backends.draws import draws_of
from rtsysid.model.backends.noise import NumpyNoise
from rtsysid.model.backends.numpy_backend import NumpyBackend
from rtsysid.model.backends.onnx_backend import OnnxBackend
from rtsysid.model.coordinates.deviations import FutureStretch, stretch_factors
from rtsysid.model.golden import golden_errors
from rtsysid.model.predictor import Predictor
from rtsysid.spec import Floats, ModelSpec
from rtsysid.train.generative.sampling import Drawn, FutureStart, sampled_rollout
from rtsysid.train.network import Network
from rtsysid.train.run import state_arrays

ROWS, TICKS, COUNT, SEED = 9, 70, 21, 2**32 + 7  # more futures than lanes, and every band of ticks
DRIVER = Path(__file__).parents[1] / "c" / "futures.c"
WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror")
SANITIZED = ("-g", "-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-ffp-contract=off")
COMPILER = next((name for name in ("gcc", "clang") if shutil.which(name)), "")
needs_compiler = pytest.mark.skipif(not COMPILER, reason="wants a C compiler: apt-get install gcc")
CASES: list[tuple[str, str, dict[str, Any]]] = [  # every distribution, coordinates and cells in turn
    ("gaussian", DEEP, {"linear_path": True}),
    ("gaussian", "lstm-tdl-aeu", {"attitude": True, **YOUNG}),
    ("mixture", "lstm", {"feedback": ("y0", "y2"), "linear_path": True}),
    ("variational", "lstm-tdl-aeu", {"kinematics": True, "linear_path": True, "near_ticks": 3, "rate_hz": 50.0}),
    ("vrnn", "lstm-tdl", {"cell": "gru", "state_init": "network"}),
    ("gan", "lstm-tdl", {"angles": True, "degree": 2, "linear_path": True}),
    ("gsn", "lstm-tdl-aeu", {"integrate": (("y1", "y2"),), "linear_path": True}),
    ("ensemble", DEEP, {"rotors": True, "linear_path": True, "state_init": "network"}),
]


def network_with(distribution: str, variant: str, choice: dict[str, Any]) -> Network:
    """A network whose noise depends on everything that it may depend on."""
    network = make_network(variant, {**choice, "distribution": distribution})
    with torch.no_grad():
        for module in (network.spread, getattr(network, "latent", None), getattr(network, "members", None)):
            for parameter in [] if module is None else module.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
            if hasattr(module, "limit"):
                module.limit.copy_(0.3 * torch.randn_like(module.limit) - 1.0)
        network.spread.stretch.copy_(0.5 + torch.rand_like(network.spread.stretch))
    return network


def stimuli(spec: ModelSpec) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(2)
    return tuple(  # type: ignore[return-value]
        rng.standard_normal(size).astype(np.float32) for size in ((ROWS, spec.width), (TICKS, spec.n_inputs))
    )


def stepped(network: Network, backend: Any = None) -> Predictor:
    spec = network.spec
    predictor = Predictor(spec, backend or NumpyBackend(spec, state_arrays(network.state_dict())))
    for row in stimuli(spec)[0]:
        predictor.step(row)
    return predictor


def build(network: Network, folder: Path, *flags: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in c_sources(network.spec, state_arrays(network.state_dict())).items():
        (folder / name).write_text(text)
    out = folder / f"futures{''.join(flags)}".replace("/", "").replace(",", "")
    command = [COMPILER, *WARNINGS, *flags, "-I", str(folder), str(folder / "model.c"), str(DRIVER), "-lm", "-o", out]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def run(program: Path, spec: ModelSpec, *emulator: str) -> tuple[Floats, Floats, Floats]:
    """The futures, those from number 3 on, and the prediction after another step."""
    command = [*emulator, str(program), str(ROWS), str(TICKS), str(COUNT), str(SEED)]
    sent = b"".join(each.tobytes() for each in stimuli(spec))
    done = subprocess.run(command, input=sent, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    out, size = np.frombuffer(done.stdout, np.float32), TICKS * spec.n_outputs
    every, later, y = np.split(out, [COUNT * size, (2 * COUNT - 3) * size])
    return every.reshape(COUNT, TICKS, -1), later.reshape(COUNT - 3, TICKS, -1), y


@pytest.mark.parametrize(("distribution", "variant", "choice"), CASES, ids=str)
def test_onnx_and_torch_sample_what_numpy_samples(distribution: str, variant: str, choice: dict[str, Any]) -> None:
    """The same futures within rounding, for every distribution and kind of coordinates, and they differ."""
    network = network_with(distribution, variant, choice)
    spec, weights = network.spec, state_arrays(network.state_dict())
    graphs = {name: graph.SerializeToString() for name, graph in all_graphs(spec, weights).items()}
    ours, plan = stepped(network), stimuli(spec)[1]
    wanted = ours.sample_futures(plan, COUNT, SEED)
    assert wanted.std(0).max() > 1e-3
    backend = OnnxBackend(spec, graphs, weights["spread.stretch"])
    found = stepped(network, backend).sample_futures(plan, COUNT, SEED)
    np.testing.assert_allclose(found, wanted, atol=1e-4, rtol=1e-4)
    draws = draws_of(SEED, 0, COUNT, TICKS, spec.n_draws)
    member = torch.from_numpy(NumpyNoise(spec, weights).members(draws.uniform))
    window, state, *_ = (torch.from_numpy(np.asarray(part)) for part in ours.snapshot()[:2])
    start = FutureStart(window.expand(COUNT, -1, -1), state.expand(COUNT, -1))
    plans = torch.from_numpy(plan).expand(COUNT, -1, -1)
    with torch.no_grad():
        sampled = sampled_rollout(network, start, plans, Drawn(torch.from_numpy(draws.normal), member))
    factors = torch.from_numpy(stretch_factors(weights["spread.stretch"], TICKS))
    stretched = FutureStretch(spec, torch).stretched(sampled, torch.from_numpy(ours.forecast(plan)), factors)
    np.testing.assert_allclose(stretched.numpy(), wanted, atol=1e-4, rtol=1e-4)


def test_wide_futures_are_compared_in_units_of_their_spread() -> None:
    """Futures a hundred standard deviations apart amplify rounding as much; narrow ones and forecasts do not."""
    spec = network_with(*CASES[0]).spec
    unit = np.asarray(spec.scaling.std[spec.n_inputs :])
    wide = np.stack([-100 * np.ones((3, len(unit))), 100 * np.ones((3, len(unit)))])[None] * unit
    golden = {"y": unit, "y_future": unit, "futures": wide, "code": np.zeros(2), "reconstruction": np.ones(2)}
    for futures, off in ((wide, 1e-3), (1e-3 * wide, 0.1)):
        found = {**golden, "futures": futures + 0.1 * unit}
        assert golden_errors(found, {**golden, "futures": futures}, spec)["forecast"] == pytest.approx(off)
    assert golden_errors({**golden, "y_future": 1.1 * unit}, golden, spec)["forecast"] == pytest.approx(0.1)


@needs_compiler
@pytest.mark.parametrize(("distribution", "variant", "choice"), CASES, ids=str)
def test_c_samples_what_numpy_samples(distribution: str, variant: str, choice: dict[str, Any], tmp_path: Path) -> None:
    """Under ASan and UBSan; later futures are the same in a call of their own, and the robot is as it was."""
    network = network_with(distribution, variant, choice)
    spec, (rows, plan) = network.spec, stimuli(network.spec)
    every, later, y = run(build(network, tmp_path / "c", *SANITIZED), spec)
    predictor = stepped(network)
    np.testing.assert_allclose(every, predictor.sample_futures(plan, COUNT, SEED), atol=1e-4, rtol=1e-4)
    assert later.tobytes() == every[3:].tobytes()
    np.testing.assert_allclose(y, predictor.step(rows[-1]), atol=1e-4)


@needs_compiler
@pytest.mark.parametrize(("distribution", "variant", "choice"), [CASES[k] for k in (1, 2, 4, 5, 6)], ids=str)
def test_strict_futures_have_the_same_bits(
    distribution: str, variant: str, choice: dict[str, Any], tmp_path: Path
) -> None:
    """Vectors, one lane instead of sixteen, and an emulated Cortex-M4F change no bit of a future of strict C."""
    network = network_with(distribution, variant, choice)
    spec, folder = network.spec, tmp_path / "c"
    first, *_ = run(build(network, folder, *STRICT, "-O0"), spec)
    for flags in (("-O3", "-march=native"), ("-O2", "-DMODEL_LANES=1")):
        assert run(build(network, folder, *STRICT, *flags), spec)[0].tobytes() == first.tobytes(), flags
    if not (firmware.available() and emulator.emulator_available()):
        pytest.skip("wants what `make hil` installs")
    rows, plan = stimuli(spec)
    here = run_from(build(network, folder, *STRICT, "-O1"), spec, rows[: spec.taps], plan[:10])
    sources = {path.name: path.read_text() for path in folder.glob("model*.[ch]")}
    image = firmware.build_image("sample", sources, tmp_path / "image.elf", horizon=10)
    there = emulator.sample_image(image.path, rows[: spec.taps], plan[:10], spec.n_outputs)
    assert there.tobytes() == here[: len(there)].tobytes()


def run_from(program: Path, spec: ModelSpec, rows: Floats, plan: Floats) -> Floats:
    """Futures after these rows under this plan."""
    command = [str(program), str(len(rows)), str(len(plan)), str(COUNT), str(SEED)]
    done = subprocess.run(command, input=rows.tobytes() + plan.tobytes(), capture_output=True, check=False)
    found = np.frombuffer(done.stdout, np.float32)[: COUNT * len(plan) * spec.n_outputs]
    return found.reshape(COUNT, len(plan), spec.n_outputs)
