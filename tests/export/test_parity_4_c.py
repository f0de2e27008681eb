"""Link 4 of the parity chain: the generated C computes what the network computes, and strict C the same bits."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from support.every_model import BODY, CASES, DEEP, RELATIVE, YOUNG, make_network
from support.robots import AGED, ages_for, flight, make_spec, turns

from export.compile import STRICT, compile_library
from export.to_c import c_sources, model_layers, quantised
from rtsysid.model.backends.c_backend import CBackend, machines
from rtsysid.model.backends.numpy_backend import NumpyBackend
from rtsysid.model.backends.protocol import Snapshot, stacked
from rtsysid.model.golden import TOLERANCE, relative_error
from rtsysid.model.predictor import Predictor
from rtsysid.spec import CELLS, Channel, ModelSpec
from rtsysid.train.network import Network
from rtsysid.train.run import state_arrays

WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror")
SANITIZED = ("-g", "-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-ffp-contract=off")
SAMPLES, PLANS, TICKS = 1003, 19, 7  # more plans than lanes, and not a whole number of them
WIDEST = (machines()[0] if machines() else "native").replace("_", "-")
TANH = """#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#define INLINE static inline
TANH_OF
int main(void)
{
    double worst = 0.0;
    for (uint32_t bits = 0; bits <= 0x7f800000u; bits += bits >= 0x3a000000u && bits < 0x41200000u ? 7 : 4099) {
        float x;
        memcpy(&x, &bits, sizeof x);
        const double error = fabs((double)tanh_of(x) - tanh(x));
        worst = error > worst ? error : worst;
        if (tanh_of(-x) != -tanh_of(x) || (x > 0.0f && x < 1e-4f && fabs(tanh_of(x) / x - 1.0) > 1e-6))
            return 1;
    }
    if (tanh_of(NAN) == tanh_of(NAN) || fabs(tanh_of(INFINITY) - 1.0f) > 5e-7f)
        return 2;
    printf("%.9g\\n", worst);
    return 0;
}
"""
EMULATED: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "aarch64": ("aarch64-linux-gnu-gcc", ("-static",), ("qemu-aarch64",)),
    "armv7": ("arm-linux-gnueabihf-gcc", ("-static",), ("qemu-arm",)),
}
REPLAY = Path(__file__).parents[1] / "c" / "replay.c"
COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)]

pytestmark = pytest.mark.skipif(not COMPILERS, reason="wants a C compiler: apt-get install gcc")


@dataclass
class Results:
    """What tests/c/replay.c prints."""

    y: np.ndarray
    code: np.ndarray
    error: float
    each: np.ndarray
    together: np.ndarray
    again: np.ndarray


def stimuli(spec: ModelSpec) -> tuple[np.ndarray, np.ndarray]:
    """Samples [SAMPLES, C] and plans [PLANS, TICKS, nu]."""
    rng = np.random.default_rng(0)
    rows = flight(SAMPLES, batch=1)[0] if spec.rigid_body else rng.standard_normal((SAMPLES, spec.width))
    plans = rng.standard_normal((PLANS, TICKS, spec.n_inputs))
    return (rows * turns(spec)).astype(np.float32), plans.astype(np.float32)


def build(network: Network, folder: Path, compiler: str, *flags: str, int8: bool = False) -> Path:
    """replay.c with the model of a network, warnings as errors."""
    folder.mkdir(exist_ok=True)
    sources = c_sources(network.spec, state_arrays(network.state_dict()), int8=int8)
    for name, text in sources.items():
        (folder / name).write_text(text)
    model = folder / next(name for name in sources if name.endswith(".c"))
    flags = (*flags, "-DWITH_INT8") if int8 else flags
    out = folder / f"replay-{compiler}{''.join(flags)}".replace("/", "").replace(",", "")
    command = [compiler, *WARNINGS, *flags, "-I", str(folder), str(model), str(REPLAY), "-lm", "-o", out]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def replay(program: Path, spec: ModelSpec, *emulator: str) -> Results:
    rows, plans = stimuli(spec)
    ages = np.array(ages_for(spec, SAMPLES), np.float32)
    done = subprocess.run(
        [*emulator, program, str(SAMPLES), str(PLANS), str(TICKS)],
        input=rows.tobytes() + ages.tobytes() + plans.tobytes(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    out, ny = np.frombuffer(done.stdout, np.float32), spec.n_outputs
    ends = np.cumsum([SAMPLES * ny, spec.code_size, 1, PLANS * TICKS * ny, PLANS * TICKS * ny, TICKS * ny])
    y, code, error, each, together, again = np.split(out, ends[:-1])
    shape = (PLANS, TICKS, ny)
    return Results(
        y.reshape(-1, ny), code, float(error[0]), each.reshape(shape), together.reshape(shape), again.reshape(TICKS, ny)
    )


def step_through(predictor: Predictor, rows: np.ndarray) -> np.ndarray:
    """The predictions [n, ny] from rows [n, C] of every age."""
    pairs = zip(rows, ages_for(predictor.spec, len(rows)), strict=True)
    return np.stack([predictor.step(row, age).copy() for row, age in pairs])


@pytest.mark.parametrize(("variant", "choice"), CASES, ids=str)
def test_generated_c_computes_what_numpy_computes(variant: str, choice: dict[str, Any], tmp_path: Path) -> None:
    """Steps with the state carried 1,000 times, forecasts, code and reconstruction error, under ASan and UBSan.

    Every variant, cell, option and kind of coordinates appears; forecasts in lanes have the bits of single ones.
    """
    network = make_network(variant, choice)
    spec, (rows, plans) = network.spec, stimuli(network.spec)
    found = replay(build(network, tmp_path / "c", COMPILERS[0], *SANITIZED), spec)
    predictor = Predictor(spec, NumpyBackend(spec, state_arrays(network.state_dict())))
    y = step_through(predictor, rows)
    assert np.isnan(found.y[: spec.taps - 1]).all()
    assert relative_error(found.y, y, spec) <= TOLERANCE["step"]
    np.testing.assert_allclose(found.code, predictor.code, atol=1e-5)
    assert found.error == pytest.approx(predictor.reconstruction_error, rel=1e-4, abs=1e-9)
    assert relative_error(found.each, predictor.forecast(plans), spec) <= TOLERANCE["forecast"]
    assert found.together.tobytes() == found.each.tobytes()
    assert found.again.tobytes() == found.each[0].tobytes()


STRICT_CASES = [{"cell": "gru", "output": "absolute"}, RELATIVE, BODY, {"friction": True}, {"angles": True},
                {"attitude": True, **YOUNG}]  # fmt: skip
STRICT_BUILDS = [*((compiler, "-O2") for compiler in COMPILERS), (COMPILERS[0], "-O3") if COMPILERS else (),
                 *((compiler, "-O3", f"-march={WIDEST}") for compiler in COMPILERS)]  # fmt: skip


@pytest.mark.parametrize("number", range(len(STRICT_CASES)), ids=map(str, STRICT_CASES))
def test_strict_c_gives_the_same_bits_however_it_is_built(number: int, tmp_path: Path) -> None:
    """Compilers, optimisation levels and vector widths change no bit of any output of the strict build.

    The reference is -O0. Each model meets two of the other builds, and each build two of the models: both cells, plain
    coordinates, a rigid body, friction, angles, and quaternions with rows of every age.
    """
    choice = {**STRICT_CASES[number], "hidden": 37, "encoder": (70, 9), "state_init": "network"}
    network = make_network(DEEP, choice)
    builds = [STRICT_BUILDS[(number + step) % len(STRICT_BUILDS)] for step in (0, 2)]
    first, *others = (
        replay(build(network, tmp_path / "c", compiler, *STRICT, *flags), network.spec)
        for compiler, *flags in [(COMPILERS[0], "-O0"), *builds]
    )
    for other in others:
        assert all(
            np.array_equal(a, b, equal_nan=True)
            for a, b in zip(vars(first).values(), vars(other).values(), strict=True)
        )


@pytest.mark.parametrize("choice", [{**RELATIVE, **YOUNG}, BODY], ids=str)
@pytest.mark.parametrize("target", EMULATED)
def test_strict_c_gives_the_same_bits_on_arm(target: str, choice: dict[str, Any], tmp_path: Path) -> None:
    """An emulated aarch64 and ARMv7 compute, bit for bit, what this machine computes."""
    compiler, flags, emulator = EMULATED[target]
    missing = [name for name in (compiler, emulator[0]) if not shutil.which(name)]
    if missing:
        pytest.skip(f"wants {' and '.join(missing)}")
    network = make_network("lstm-tdl-deep-aeu", {**choice, "hidden": 37, "encoder": (70, 9)})
    here = replay(build(network, tmp_path / "c", COMPILERS[0], *STRICT, "-O2"), network.spec)
    there = replay(build(network, tmp_path / "c", compiler, *STRICT, "-O2", *flags), network.spec, *emulator)
    for name, found in vars(there).items():
        assert np.array_equal(found, vars(here)[name], equal_nan=True), name


@pytest.mark.parametrize(
    ("variant", "choice"), [CASES[0], CASES[1], ("lstm-tdl-aeu", {**RELATIVE, **YOUNG}), CASES[7], CASES[-1]], ids=str
)
def test_the_fast_library_stays_within_bounds(variant: str, choice: dict[str, Any], tmp_path: Path) -> None:
    """The library that a bundle carries, through Predictor: 1,000 steps, forecasts, and rollouts from snapshots.

    Every variant, both cells, plain coordinates and a rigid body.
    """
    network = make_network(variant, choice)
    spec, (rows, plans) = network.spec, stimuli(network.spec)
    weights = state_arrays(network.state_dict())
    library = compile_library(c_sources(spec, weights), tmp_path / "model.so", machines()[0])
    ours, reference = (
        Predictor(spec, CBackend(spec, library.read_bytes())),
        Predictor(spec, NumpyBackend(spec, weights)),
    )
    found, expected = step_through(ours, rows), step_through(reference, rows)
    assert relative_error(found, expected, spec) <= TOLERANCE["step"]
    assert relative_error(ours.forecast(plans), reference.forecast(plans), spec) <= TOLERANCE["forecast"]
    assert relative_error(ours.forecast(plans[3]), reference.forecast(plans[3]), spec) <= TOLERANCE["forecast"]
    for a, b in zip(ours.snapshot(), reference.snapshot(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    window, state, age, count = reference.snapshot()
    other = Snapshot(window * np.float32(0.9), state * np.float32(0.9), age + 4, count)
    starts = stacked([reference.snapshot(), other])
    own = (predictor.rollout(starts, plans[:2]) for predictor in (ours, reference))
    assert relative_error(next(own), next(own), spec) <= TOLERANCE["forecast"]


def test_a_forecast_is_steps_with_predictions_fed_back(tmp_path: Path) -> None:
    """model_forecast gives, bit for bit, what stepping with its own predictions gives."""
    network = make_network(DEEP, {})
    spec, (rows, plans) = network.spec, stimuli(network.spec)
    library = compile_library(c_sources(spec, state_arrays(network.state_dict())), tmp_path / "m.so", machines()[0])
    predictor = Predictor(spec, CBackend(spec, library.read_bytes()))
    for row in rows[:40]:
        predictor.step(row)
    found, y, steps = predictor.forecast(plans[0]), rows[39, spec.n_inputs :], []
    predictor.reset()
    for row in rows[:39]:
        predictor.step(row)
    for u in plans[0]:
        y = predictor.step(np.concatenate([u, y])).copy()
        steps.append(y)
    assert np.array_equal(found, np.stack(steps))


def test_a_sample_that_is_no_number_gives_none(tmp_path: Path) -> None:
    """NaN in a sample is NaN in the prediction on the fast build, as on every backend, and a reset forgets it."""
    network = make_network("lstm-tdl-aeu", {})
    spec, (rows, _) = network.spec, stimuli(network.spec)
    library = compile_library(c_sources(spec, state_arrays(network.state_dict())), tmp_path / "m.so", machines()[0])
    predictor = Predictor(spec, CBackend(spec, library.read_bytes()))
    before = [predictor.step(row).copy() for row in rows[:9]]
    assert np.isnan(predictor.step(np.where(np.arange(spec.width) == 0, np.nan, rows[9]).astype(np.float32))).all()
    predictor.reset()
    assert np.array_equal([predictor.step(row).copy() for row in rows[:9]], before, equal_nan=True)


@pytest.mark.parametrize("cell", CELLS)
def test_int8_stays_near(cell: str, tmp_path: Path) -> None:
    """int8 weights with a scale per row: a quarter of the bytes, and predictions within 0.3 % of a spread."""
    changes = {**AGED, "encoder_taps": 3, "head_sees_code": True, "cell": cell, "hidden": 64, "encoder": (64, 12)}
    network = make_network(DEEP, changes)
    spec, (rows, _) = network.spec, stimuli(network.spec)
    weights = state_arrays(network.state_dict())
    found = replay(build(network, tmp_path / "c", COMPILERS[0], *SANITIZED, int8=True), spec)
    predictor = Predictor(spec, NumpyBackend(spec, weights))
    y = step_through(predictor, rows)
    assert 1e-6 < relative_error(found.y, y, spec) < 0.003
    assert found.together.tobytes() == found.each.tobytes()
    small, whole = (sum(x.bytes for x in map(f, model_layers(spec, weights))) for f in (quantised, lambda x: x))
    assert small < 0.3 * whole


def test_tanh_keeps_its_bound(tmp_path: Path) -> None:
    """Own tanh within 5e-7 for every float32 in turn of the exponents that matter; NaN for NaN, 1 beyond."""
    source = (REPLAY.parents[2] / "export" / "c" / "kernels.c").read_text()
    start = source.index("INLINE float tanh_of")
    body = source[start : source.index("INLINE void tanh_all")]
    (tmp_path / "t.c").write_text(TANH.replace("TANH_OF", body))
    compile_ = [COMPILERS[0], "-std=c99", "-O2", "-ffp-contract=off", "t.c", "-lm", "-o", "t"]
    subprocess.run(compile_, cwd=tmp_path, check=True)
    worst = float(subprocess.run(["./t"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout)
    assert worst <= 5e-7


def test_nothing_is_asked_of_libc_but_memory_and_roots(tmp_path: Path) -> None:
    """The object refers to no allocation, no output, no libm: memcpy, memset and at most sqrtf."""
    network = make_network(DEEP, BODY)
    for name, text in c_sources(network.spec, state_arrays(network.state_dict())).items():
        (tmp_path / name).write_text(text)
    subprocess.run([COMPILERS[0], "-std=c99", "-O2", "-c", "model.c"], cwd=tmp_path, check=True)
    listed = subprocess.run(["nm", "-u", "model.o"], cwd=tmp_path, capture_output=True, text=True, check=True)
    allowed = {"memcpy", "memset", "sqrtf", "__stack_chk_fail", "_GLOBAL_OFFSET_TABLE_"}
    assert {line.split()[-1] for line in listed.stdout.splitlines()} <= allowed


def test_a_channel_name_cannot_leave_its_comment(tmp_path: Path) -> None:
    """Whatever a channel is called, the header still compiles: names appear in a comment alone."""
    spec = make_spec()
    evil = Channel("*/ #error \n ?? \\ /*", "é", "input")
    spec = msgspec.structs.replace(spec, channels=(evil, *spec.channels[1:]))
    torch.manual_seed(0)
    build(Network(spec).eval(), tmp_path / "c", COMPILERS[0], "-O0")
