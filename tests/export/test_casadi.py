"""The export target `casadi`: CasADi loads the forecast with its exact derivatives, and IPOPT solves with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.every_model import DEEP, make_network

from export import compile as compiling
from export.compile import compile_library
from export.targets import write_c
from export.to_c_control import casadi_sources
from rtsysid.errors import BundleError
from rtsysid.model.backends.c_backend import machines
from rtsysid.model.backends.numpy_backend import NumpyBackend
from rtsysid.model.backends.protocol import casadi_state
from rtsysid.model.predictor import Predictor
from rtsysid.train.run import state_arrays

HORIZON = 6  # as a user sets it with -DMODEL_HORIZON=6
IPOPT = {"ipopt.print_level": 0, "print_time": 0, "ipopt.hessian_approximation": "limited-memory", "ipopt.tol": 1e-6,
         "ipopt.max_iter": 60, "ipopt.sb": "yes"}  # fmt: skip


@pytest.mark.skipif(not machines(), reason="wants a machine that C libraries are made for")
def test_casadi_has_the_exact_derivatives(tmp_path: Path) -> None:
    """Forecast, Jacobian and adjoint in CasADi are those of the predictor, and IPOPT reaches a target with them."""
    casadi = pytest.importorskip("casadi", reason="wants casadi: pip install casadi")
    network = make_network(DEEP, {"linear_path": True, "near_ticks": 3})
    spec, weights, rng = network.spec, state_arrays(network.state_dict()), np.random.default_rng(0)
    predictor = Predictor(spec, NumpyBackend(spec, weights))
    for row in rng.standard_normal((9, spec.width)):
        predictor.step(row.astype(np.float32))
    sources = casadi_sources(spec, weights)
    sources["model-casadi.c"] = f"#define MODEL_HORIZON {HORIZON}\n" + sources["model-casadi.c"]
    library = compile_library(sources, tmp_path / "model.so", machines()[0])
    forecast = casadi.external("forecast", str(library))
    state, plan = casadi_state(predictor.snapshot()), rng.standard_normal((HORIZON, spec.n_inputs)).astype("f4")

    y = predictor.forecast(plan)
    np.testing.assert_allclose(forecast(state, plan.T), y.T, rtol=1e-4, atol=1e-5)
    x = casadi.MX.sym("x", plan.size)  # columns of u, one after the other: the rows of a plan
    planned = forecast(state, casadi.reshape(x, spec.n_inputs, HORIZON))
    jacobian = casadi.Function("jacobian", [x], [casadi.jacobian(planned, x)])(plan.ravel())
    wanted = predictor.forecast_jacobian(plan, double=True).reshape(HORIZON * spec.n_outputs, -1)
    assert np.abs(np.array(jacobian) - wanted).max() < 1e-5 * np.abs(wanted).max()

    target = predictor.forecast(plan * np.float32(0.5))
    scale = float(np.abs(y - target).max())
    cost = casadi.sumsqr((planned - target.T) / scale)
    gradient = casadi.Function("gradient", [x], [casadi.gradient(cost, x)])(plan.ravel())
    ours = predictor.forecast_gradient(plan, 2 * (y - target) / scale**2, double=True)
    assert np.abs(np.array(gradient).reshape(plan.shape) - ours).max() < 1e-3 * np.abs(ours).max()
    solver = casadi.nlpsol("solver", "ipopt", {"x": x, "f": cost}, IPOPT)
    found = float(solver(x0=plan.ravel(), lbx=-3, ubx=3)["f"])
    assert found < 0.05 * float(casadi.Function("cost", [x], [cost])(plan.ravel()))


def test_without_a_compiler_it_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Asked for by name, the target says what it lacks."""
    network = make_network("lstm", {})
    monkeypatch.setattr(compiling, "find_compiler", lambda machine: None)
    with pytest.raises(BundleError, match="no compiler for it is installed; install gcc or clang, or leave it out"):
        write_c(network.spec, state_arrays(network.state_dict()), {}, tmp_path, ("casadi",))
