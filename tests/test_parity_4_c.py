"""Link 4 of the parity chain: the generated C computes what the network computes, and strict C the same bits."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import flight, make_body_spec, make_spec

from export.compile import compile_library
from export.to_c import c_sources
from rtsysid.c_backend import CBackend, machines
from rtsysid.numpy_backend import NumpyBackend
from rtsysid.parity import TOLERANCE, relative_error
from rtsysid.predictor import Predictor
from rtsysid.spec import ModelSpec
from rtsysid.train.network import Network
from rtsysid.train.run import state_arrays

CHOICES: list[dict[str, Any]] = [
    {},
    {"feedback": ("y0", "y2"), "direct": True},
    {"feedback": False, "state_init": "zero"},
    {"state_init": "network", "output": "absolute"},
    {"rigid_body": True},
    {"rigid_body": True, "direct": True, "state_init": "network"},
]
WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror")
SANITIZED = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-ffp-contract=off")
SAMPLES, PLANS, TICKS = 1003, 19, 7  # more plans than lanes, and not a whole number of them
REPLAY = Path(__file__).parent / "c" / "replay.c"
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


def make_network(variant: str, choice: dict[str, Any], seed: int = 4) -> Network:
    torch.manual_seed(seed)
    rest = {key: value for key, value in choice.items() if key != "rigid_body"}
    return Network((make_body_spec if "rigid_body" in choice else make_spec)(variant, **rest)).eval()


def stimuli(spec: ModelSpec) -> tuple[np.ndarray, np.ndarray]:
    """Samples [SAMPLES, C] and plans [PLANS, TICKS, nu]."""
    rng = np.random.default_rng(0)
    rows = flight(SAMPLES, batch=1)[0] if spec.rigid_body else rng.standard_normal((SAMPLES, spec.width))
    plans = rng.standard_normal((PLANS, TICKS, spec.n_inputs))
    return rows.astype(np.float32), plans.astype(np.float32)


def build(network: Network, folder: Path, compiler: str, *flags: str, int8: bool = False) -> Path:
    """replay.c with the model of a network, warnings as errors."""
    folder.mkdir(exist_ok=True)
    for name, text in c_sources(network.spec, state_arrays(network.state_dict()), int8=int8).items():
        (folder / name).write_text(text)
    out = folder / f"replay-{compiler}{''.join(flags)}".replace("/", "").replace(",", "")
    command = [compiler, *WARNINGS, *flags, "-I", str(folder), str(folder / "model.c"), str(REPLAY), "-lm", "-o", out]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def replay(program: Path, spec: ModelSpec) -> Results:
    rows, plans = stimuli(spec)
    done = subprocess.run(
        [program, str(SAMPLES), str(PLANS), str(TICKS)],
        input=rows.tobytes() + plans.tobytes(),
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


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_generated_c_computes_what_numpy_computes(variant: str, choice: dict[str, Any], tmp_path: Path) -> None:
    """Steps with the state carried 1,000 times, forecasts, code and reconstruction error, under ASan and UBSan."""
    network = make_network(variant, choice)
    spec, (rows, plans) = network.spec, stimuli(network.spec)
    found = replay(build(network, tmp_path / "c", COMPILERS[0], *SANITIZED), spec)
    predictor = Predictor(spec, NumpyBackend(spec, state_arrays(network.state_dict())))
    y = np.stack([predictor.step(row).copy() for row in rows])
    assert np.isnan(found.y[: spec.taps - 1]).all()
    assert relative_error(found.y, y, spec) <= TOLERANCE["step"]
    np.testing.assert_allclose(found.code, predictor.code, atol=1e-5)
    assert found.error == pytest.approx(predictor.reconstruction_error, rel=1e-4, abs=1e-9)
    assert relative_error(found.each, predictor.forecast(plans), spec) <= TOLERANCE["forecast"]
    assert found.together.tobytes() == found.each.tobytes()
    assert found.again.tobytes() == found.each[0].tobytes()
