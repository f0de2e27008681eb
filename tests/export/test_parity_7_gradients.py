"""Link 7 of the parity chain: gradients of forecasts are the same in C, NumPy, torch and by central differences."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from support.every_model import CASES, DEEP, RELATIVE, YOUNG, make_network
from support.robots import ENCODERS, ages_for, flight, turns

from export import firmware
from export.compile import STRICT
from export.to_c import c_sources
from export.to_c_control import control_sources
from firmware_bridge import emulator
from rtsysid.model.backends.numpy_backend import NumpyBackend
from rtsysid.model.backends.numpy_gradient import NumpyGradients
from rtsysid.model.backends.protocol import Snapshot
from rtsysid.model.predictor import Predictor
from rtsysid.model.tolerance import GRADIENT
from rtsysid.spec import Doubles, Floats, ModelSpec
from rtsysid.train.network import Network
from rtsysid.train.run import state_arrays
from rtsysid.train.windows import row_windows

SAMPLES, PLANS, TICKS = 9, 17, 6  # more plans than lanes, and not a whole number of them
KINDS: list[dict[str, Any]] = [
    {"linear_path": True, "head_sees_code": True}, {"degree": 3, "relative": True}, {"friction": True},
    {"rigid_body": True}, {"kinematics": True, "rate_hz": 4.0}, {"rotors": True, "linear_path": True}, {"turret": True},
    {"angles": True, "degree": 2, "friction": (("y2", 0.5),)},
    {"attitude": True, "linear_path": True, "near_ticks": 3, "age_bands": (2, 5)},
]  # fmt: skip
COARSE = ("lstm-tdl", {"kinematics": True, "linear_path": True, "rate_hz": 4.0})  # turns far in a tick
CELLS = ("lstm", "gru")
WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror")
SANITIZED = ("-O0", "-fsanitize=address", "-ffp-contract=off")
DEFINED = ("-O0", "-fsanitize=undefined", "-fno-sanitize-recover=all")
DRIVER = Path(__file__).parents[1] / "c" / "gradients.c"
COMPILER = next((name for name in ("gcc", "clang") if shutil.which(name)), "")
needs_compiler = pytest.mark.skipif(not COMPILER, reason="wants a C compiler: apt-get install gcc")


class Case(NamedTuple):
    """Samples [SAMPLES, C] with their ages, plans [PLANS, TICKS, nu], and costs by each output [PLANS, TICKS, ny]."""

    rows: Floats
    ages: list[int]
    plans: Floats
    costs: Floats


class Found(NamedTuple):
    """What tests/c/gradients.c prints."""

    y: Floats
    each: Floats
    together: Floats
    jacobian: Floats
    decided: Floats


def case_of(spec: ModelSpec) -> Case:
    rng = np.random.default_rng(0)
    rows = flight(SAMPLES, batch=1)[0] if spec.rigid_body else rng.standard_normal((SAMPLES, spec.width))
    sizes = ((PLANS, TICKS, n) for n in (spec.n_inputs, spec.n_outputs))
    plans, costs = (rng.standard_normal(size).astype(np.float32) for size in sizes)
    return Case((rows * turns(spec)).astype(np.float32), ages_for(spec, SAMPLES), plans, costs)


def stepped(network: Network, case: Case) -> Predictor:
    """A predictor on NumPy after all samples."""
    predictor = Predictor(network.spec, NumpyBackend(network.spec, state_arrays(network.state_dict())))
    for row, age in zip(case.rows, case.ages, strict=True):
        predictor.step(row, age)
    return predictor


def by_torch(network: Network, start: Snapshot, plan: Floats, cost: Floats) -> Doubles:
    """The gradient of one plan [N, nu] by autograd in float64."""
    spec, u = network.spec, torch.tensor(plan, dtype=torch.float64, requires_grad=True)
    window = torch.tensor(start.window, dtype=torch.float64)
    last = torch.cat((u, window[-1:, spec.n_inputs :].expand(len(u), -1)), -1)  # outputs after the first are not read
    windows = row_windows(torch.cat((window[:-1], last))[None], spec.taps)
    y = network.double().rollout(windows, torch.tensor(start.state[None], dtype=torch.float64), start.age)
    (y[0] * torch.tensor(cost)).sum().backward()
    assert u.grad is not None
    return np.asarray(u.grad)


def by_differences(
    gradients: NumpyGradients, start: Snapshot, plan: Floats, cost: Floats, step: float = 1e-5
) -> Doubles:
    """The gradient of one plan [N, nu] by central differences in float64."""
    moves = step * np.eye(plan.size).reshape(-1, *plan.shape)
    ahead, behind = (gradients.forecast(start, plan + sign * moves) for sign in (1, -1))
    return (((ahead - behind) * cost).sum((1, 2)) / (2 * step)).reshape(plan.shape)


def off(found: Any, wanted: Any) -> float:
    """The largest error as a share of the largest entry."""
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("variant", ENCODERS)
def test_numpy_is_torch_is_differences(variant: str, kind: dict[str, Any]) -> None:
    """Every kind of coordinates in every variant, cells in turn: three ways to one gradient, in float64."""
    number = KINDS.index(kind) + list(ENCODERS).index(variant)
    changes = {**kind, "cell": CELLS[number % 2]}
    if changes.get("relative"):
        changes["relative"] = () if variant == "lstm" else ("y0",)
    network = make_network(variant, changes)
    case = case_of(network.spec)
    start, plan, cost = stepped(network, case).snapshot(), case.plans[0], case.costs[0]
    ours = NumpyGradients(network.spec, state_arrays(network.state_dict()), np.float64)
    found = ours.gradient(start, plan[None], cost[None])[0]
    assert off(found, by_torch(network, start, plan, cost)) < 1e-12
    assert off(found, by_differences(ours, start, plan, cost)) < 1e-6


@pytest.mark.parametrize(
    ("variant", "choice"), [CASES[1], CASES[5], CASES[8], ("lstm-tdl", {"cell": "gru", **YOUNG})], ids=str
)
def test_linear_models_multiply_to_the_jacobian(variant: str, choice: dict[str, Any]) -> None:
    """The derivative of a forecast by an input is the product of the linear models along it: C A .. A B."""
    network = make_network(variant, choice)
    case = case_of(network.spec)
    predictor, plan, y = stepped(network, case), case.plans[0, :4], case.rows[-1, network.spec.n_inputs :]
    jacobian, models, age = predictor.forecast_jacobian(plan, double=True), [], predictor.backend.age
    predictor.decide(plan[0])
    for n in range(len(plan)):
        models.append(predictor.linearise())
        y = predictor.y.copy()
        if n + 1 < len(plan):
            predictor.step(np.concatenate((plan[n + 1], y)), age + n + 1)
    for m in range(len(plan)):
        response = models[m].b
        for n in range(m, len(plan)):
            response = response if n == m else models[n].a @ response
            assert np.abs(models[n].c @ response - jacobian[n, :, m]).max() < 1e-4 * np.abs(jacobian).max()
    assert not models[0].d.any()
    assert len(models[0].poles) == len(models[0].a)


def build(network: Network, folder: Path, *flags: str, compiler: str = COMPILER) -> Path:
    """gradients.c with the model of a network, warnings as errors."""
    folder.mkdir(exist_ok=True)
    weights = state_arrays(network.float().state_dict())
    for name, text in {**c_sources(network.spec, weights), **control_sources(network.spec, weights)}.items():
        (folder / name).write_text(text)
    out, model = folder / f"gradients{''.join(flags)}".replace("/", ""), folder / "model-control.c"
    command = [compiler, *WARNINGS, *flags, "-I", str(folder), str(model), str(DRIVER), "-lm", "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def run(program: Path, spec: ModelSpec, case: Case, *emulator: str) -> Found:
    sent = (case.rows, np.array(case.ages, np.float32), case.plans, case.costs)
    command = [*emulator, str(program), str(len(case.rows)), str(PLANS), str(TICKS)]
    done = subprocess.run(command, input=b"".join(each.tobytes() for each in sent), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    out, nu, ny = np.frombuffer(done.stdout, np.float32), spec.n_inputs, spec.n_outputs
    ends = np.cumsum([PLANS * TICKS * (ny + nu), PLANS * TICKS * nu, TICKS * ny * TICKS * nu])
    each, together, jacobian, decided = np.split(out, ends)
    y, du = np.split(each.reshape(PLANS, -1), [TICKS * ny], 1)
    return Found(
        y.reshape(case.costs.shape), du.reshape(case.plans.shape), together.reshape(case.plans.shape),
        jacobian.reshape(TICKS, ny, TICKS, nu), decided,
    )  # fmt: skip


@needs_compiler
@pytest.mark.parametrize(("variant", "choice"), [*CASES, COARSE], ids=str)
def test_c_is_numpy(variant: str, choice: dict[str, Any], tmp_path: Path) -> None:
    """Gradients of one plan and of many, the Jacobian and decided inputs, under ASan.

    Forecasts that are kept have the bits of others, and plans in lanes those of single ones; a horizon that is longer
    than the room does nothing.
    """
    network = make_network(variant, choice)
    case = case_of(network.spec)
    found, predictor = run(build(network, tmp_path / "c", *SANITIZED), network.spec, case), stepped(network, case)
    wanted = predictor.forecast_gradient(case.plans, case.costs, double=True)
    assert off(found.each, wanted) < GRADIENT
    assert off(predictor.forecast_gradient(case.plans, case.costs), wanted) < GRADIENT
    assert found.together.tobytes() == found.each.tobytes()
    assert off(found.jacobian, predictor.forecast_jacobian(case.plans[0], double=True)) < GRADIENT
    np.testing.assert_allclose(found.decided, predictor.decide(case.plans[0, 0]), rtol=1e-5, atol=1e-5)


@needs_compiler
@pytest.mark.parametrize("choice", [{**RELATIVE, **YOUNG}, {"attitude": True, "cell": "gru"}], ids=str)
def test_strict_gradients_have_the_same_bits(choice: dict[str, Any], tmp_path: Path) -> None:
    """Vectors and an emulated ARMv7 change no bit of a gradient of the strict build; UBSan finds nothing."""
    network = make_network(DEEP, {**choice, "hidden": 18, "encoder": (34, 9)})
    case, folder = case_of(network.spec), tmp_path / "c"
    first = run(build(network, folder, *STRICT, *DEFINED), network.spec, case)
    others = [run(build(network, folder, *STRICT, "-O1", "-march=native"), network.spec, case)]
    if shutil.which("arm-linux-gnueabihf-gcc") and shutil.which("qemu-arm"):
        arm = build(network, folder, *STRICT, "-O2", "-static", compiler="arm-linux-gnueabihf-gcc")
        others.append(run(arm, network.spec, case, "qemu-arm"))
    for other in others:
        assert [part.tobytes() for part in other] == [part.tobytes() for part in first]


@needs_compiler
def test_the_cortex_has_the_bits_of_the_host(tmp_path: Path) -> None:
    """An emulated Cortex-M4F computes a forecast and its gradient bit for bit as strict C here."""
    if not (firmware.available() and emulator.emulator_available()):
        pytest.skip("wants what `make hil` installs")
    network = make_network("lstm-tdl-aeu", {"attitude": True, "linear_path": True, "head_sees_code": True})
    spec, folder = network.spec, tmp_path / "c"
    case = case_of(spec)
    case = case._replace(rows=case.rows[: spec.taps], ages=[0] * spec.taps)
    here = run(build(network, folder, *STRICT, "-O1"), spec, case)
    sources = {path.name: path.read_text() for path in folder.glob("model*.[ch]")}
    image = firmware.build_image("gradient", sources, tmp_path / "image.elf", horizon=TICKS)
    there = emulator.differentiate_image(image.path, case.rows, case.plans[0], case.costs[0])
    assert there.y.tobytes() == here.y[0].tobytes()
    assert there.du.tobytes() == here.each[0].tobytes()
    assert 0 < there.gradient < 2 * there.forecast
