"""Gradients of forecasts and forecasts on threads, next to central differences and torch, in one run, as ratios."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TypeVar

import msgspec
import numpy as np
import torch

from bench.c_model import PLANS, TICKS, goal, nanodrone
from bench.reference import Reference, reference_spec
from export.compile import compile_library
from export.step_cost import can_count, gradient_cost
from export.to_c import c_sources
from export.to_c_control import control_sources
from rtsysid.cli.console import table
from rtsysid.model.backends.c_backend import CBackend, machines
from rtsysid.model.predictor import Predictor
from rtsysid.spec import Floats, ModelSpec
from rtsysid.train.network import Network
from rtsysid.train.run import state_arrays

K = TypeVar("K")
ROUNDS, CALLS, HORIZON = 15, 5, 10


def main() -> None:
    torch.set_num_threads(1)
    reference = Reference()
    weights = state_arrays(reference.network.state_dict())
    sources = {**c_sources(reference.spec, weights), **control_sources(reference.spec, weights)}
    library = compile_library(sources, reference.folder / "control.so", machines()[0])
    ours = Predictor(reference.spec, CBackend(reference.spec, library.read_bytes()))
    for row in reference.window:
        ours.step(row)
    gradients(reference, ours)
    threads(ours)
    on_the_cortex(reference)


def gradients(reference: Reference, ours: Predictor) -> None:
    """A gradient, a Jacobian and their peers at the reference size, in processor time, all taking turns."""
    rng, spec = np.random.default_rng(0), reference.spec
    plan, cost = (rng.standard_normal((TICKS, n)).astype(np.float32) for n in (spec.n_inputs, spec.n_outputs))
    moves = 1e-3 * np.eye(plan.size, dtype=np.float32).reshape(-1, *plan.shape)
    directions = spec.taps * spec.width + spec.state_size
    numpy_ = Predictor(spec, reference.numpy)
    for row in reference.window:
        numpy_.step(row)

    def differences() -> None:
        for move in moves:
            for moved in (plan + move, plan - move):
                ours.forecast(moved)

    others = {} if (peer := by_l4casadi(reference)) is None else {"L4CasADi": peer}
    found = least(
        {
            "forecast": lambda: ours.forecast(plan),
            "gradient": lambda: ours.forecast_gradient(plan, cost),
            "Jacobian": lambda: ours.forecast_jacobian(plan),
            "step": lambda: ours.step(reference.window[-1]),
            "linear": lambda: ours.backend.gradients.one_tick(ours.snapshot()),  # type: ignore[union-attr]
            "central differences": differences,
            "torch autograd": lambda: by_torch(reference.network, reference.window, plan, cost),
            "NumPy": lambda: numpy_.forecast_gradient(plan, cost),
            **others,
        }
    )
    titles = {
        "forecast": f"forecast of {TICKS} ticks, C", "gradient": "its gradient, forecast included, C",
        "Jacobian": f"its Jacobian, {TICKS * spec.n_outputs} x {plan.size}, C",
        "step": "step, C", "linear": f"step as a linear map, {directions} input directions, C",
        "central differences": f"central differences, {2 * plan.size} forecasts in C",
        "torch autograd": "torch autograd of the same rollout, one thread", "NumPy": "gradient in NumPy, recorded",
        "L4CasADi": "step with its derivatives in L4CasADi",
    }  # fmt: skip
    rows = [[titles[name], f"{ms:.3f}", f"{ms / found['forecast']:.1f}"] for name, ms in found.items()]
    print(f"reference size, {spec.macs:,} multiply-accumulates, {spec.n_inputs} inputs, {spec.n_outputs} outputs\n")
    print(table(["", "ms", "of a forecast"], rows))
    gradient_goals(found, spec, directions)


def gradient_goals(found: dict[str, float], spec: ModelSpec, directions: int) -> None:
    """Hold the times of `gradients` against what is wanted."""
    goal("gradient / forecast", found["gradient"] / found["forecast"], "<=", 4)
    goal("Jacobian / forecasts", found["Jacobian"] / found["forecast"], "<=", TICKS * spec.n_outputs)
    goal("linear map / step, for each input direction", found["linear"] / found["step"] / directions, "<=", 5)
    goal("central differences / gradient", found["central differences"] / found["gradient"], ">=", 20)
    goal("torch autograd / gradient", found["torch autograd"] / found["gradient"], ">=", 20)
    if "L4CasADi" in found:
        goal("L4CasADi / step as a linear map", found["L4CasADi"] / found["linear"], ">=", 10)
    else:
        print("L4CasADi: left out, it is not installed")


def by_torch(network: Network, window: Floats, plan: Floats, cost: Floats) -> None:
    """The gradient of one plan, with a rollout that reads its inputs from one tensor."""
    spec, u = network.spec, torch.tensor(plan, requires_grad=True)
    seen, state, total = torch.from_numpy(window)[None], torch.zeros(1, spec.state_size), torch.zeros(())
    y = seen[:, -1, spec.n_inputs :]
    for tick, weight in zip(u, torch.from_numpy(cost), strict=True):
        seen = torch.cat((seen[:, :-1], torch.cat((tick[None], y), -1)[:, None]), 1)
        y, state = network.step(seen, state)
        total = total + (y * weight).sum()
        seen = torch.cat((seen[:, 1:], seen[:, -1:]), 1)
    total.backward()


class OneTick(torch.nn.Module):
    """The step of a network as one function, [1, L * C + S] -> [1, ny + S], without `lstm_cell`: L4CasADi traces it."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        net, spec, w = self.network, self.network.spec, self.network.cell
        window = x[:, : spec.taps * spec.width].reshape(1, spec.taps, spec.width)
        h, c = x[:, spec.taps * spec.width :].chunk(2, -1)
        features = net.features(window)
        code = net.encode(features[..., spec.encoder_columns])
        gates = code @ w.weight_ih_l0.T + w.bias_ih_l0 + h @ w.weight_hh_l0.T + w.bias_hh_l0
        i, f, g, o = gates.chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        return torch.cat((net.predict(window[:, -1], features, code, h, 0), h, c), -1)


def by_l4casadi(reference: Reference) -> Callable[[], object] | None:
    """Compute a step and its Jacobian in CasADi through L4CasADi; None where that is not installed."""
    try:
        import casadi
        from l4casadi import L4CasADi
    except ImportError:
        return None
    torch._C._set_graph_executor_optimize(False)  # L4CasADi 2.0 fails at this model with TorchScript's optimisation
    spec, folder = reference.spec, str(reference.folder / "l4casadi")
    at = np.concatenate((reference.window.ravel(), np.zeros(spec.state_size)))[None]
    x = casadi.MX.sym("x", *at.shape)
    y = L4CasADi(OneTick(reference.network), name="one_tick", build_dir=folder, generate_jac_adj1=False)(x)
    both = casadi.Function("both", [x], [y, casadi.jacobian(y, x)])
    return lambda: both(at)


def threads(ours: Predictor) -> None:
    """A thousand plans on one thread and on two, by the clock: what others use of the machine counts against it."""
    plans = np.random.default_rng(0).standard_normal((PLANS, TICKS, ours.spec.n_inputs)).astype(np.float32)
    found = least({n: lambda n=n: ours.forecast(plans, threads=n) for n in (1, 2)}, time.perf_counter)
    rows = [[f"{PLANS} x {TICKS} on {n} thread{'s' * (n > 1)}", f"{ms:.1f}"] for n, ms in found.items()]
    print("\n" + table(["forecasts", "ms"], rows))
    goal("two threads / one", found[2] / found[1], "<=", 0.6)


def least(functions: dict[K, Callable[[], object]], clock: Callable[[], float] = time.process_time) -> dict[K, float]:
    """Least milliseconds of a call. The candidates take turns of a few calls, the first of which warms the caches."""
    found = dict.fromkeys(functions, math.inf)
    for _ in range(ROUNDS):
        for name, function in functions.items():
            for _ in range(CALLS):
                begun = clock()
                function()
                found[name] = min(found[name], 1e3 * (clock() - begun))
    return found


def on_the_cortex(reference: Reference) -> None:
    """Instructions of one gradient on a Cortex-M4F, exact and emulated, and what it occupies."""
    if not can_count():
        print("\non a Cortex-M4F: left out, wants the packages that `make hil` installs")
        return
    rows = []
    small = msgspec.structs.replace(reference_spec(2, 2, taps=8), encoder=(16, 8), hidden=16)
    models = {"small, 2 inputs": small, "reference size": reference.spec, "nanodrone preset": nanodrone()[0]}
    for name, spec in models.items():
        found, image = gradient_cost(spec, "fast", HORIZON)
        each = [
            f"{found.forecast:,}",
            f"{found.gradient:,}",
            f"{(found.forecast + found.gradient) / found.forecast:.2f}",
        ]
        rows.append([name, f"{spec.macs:,}", *each, f"{image.flash / 1e3:.1f}", f"{image.ram / 1e3:.1f}"])
    heads = ["Cortex-M4F, fast", "MAC", f"forecast of {HORIZON}, instr", "back, instr", "ratio", "flash kB", "RAM kB"]
    print("\n" + table(heads, rows))


if __name__ == "__main__":
    main()
