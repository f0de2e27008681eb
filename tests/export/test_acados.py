"""The export target `acados`: acados compiles the forecast with its exact Jacobian into a solver that works."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.every_model import DEEP, make_network

from export.to_c_control import acados_sources
from rtsysid.model.backends.numpy_backend import NumpyBackend
from rtsysid.model.backends.protocol import casadi_state
from rtsysid.model.predictor import Predictor
from rtsysid.spec import Floats
from rtsysid.train.run import state_arrays

HORIZON, LIMIT = 6, 3.0
LIBRARIES = ("libblasfeo.so", "libhpipm.so", "libqpOASES_e.so.3.1", "libacados.so")


@pytest.fixture
def template(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The Python interface of acados, in an empty folder: it generates and compiles a solver there."""
    acados = pytest.importorskip("acados", reason="wants comma-deps-acados, and a casadi that loads next to it")
    monkeypatch.setenv("ACADOS_SOURCE_DIR", acados.DIR)
    monkeypatch.setenv("ACADOS_PYTHON_INTERFACE_PATH", acados.TEMPLATE_DIR)
    monkeypatch.chdir(tmp_path)
    for name in LIBRARIES:
        ctypes.CDLL(str(Path(acados.LIB_DIR) / name), ctypes.RTLD_GLOBAL)
    return pytest.importorskip("acados.acados_template", exc_type=ImportError)


@pytest.fixture
def predictor() -> Predictor:
    """A model with random weights after nine samples."""
    network, rng = make_network(DEEP, {"linear_path": True, "near_ticks": 3}), np.random.default_rng(0)
    predictor = Predictor(network.spec, NumpyBackend(network.spec, state_arrays(network.state_dict())))
    for row in rng.standard_normal((9, network.spec.width)).astype(np.float32):
        predictor.step(row)
    return predictor


def solver_of(template: Any, predictor: Predictor, wanted: Floats) -> Any:
    """One stage: its inputs are a whole plan, its next state the forecast, which should be `wanted` [N, ny]."""
    import acados
    import casadi

    source = acados_sources(predictor.spec, predictor.backend.weights)["model-acados.c"]  # type: ignore[attr-defined]
    Path("model.c").write_text(f"#define MODEL_HORIZON {HORIZON}\n{source}")
    state, nu, ny = casadi_state(predictor.snapshot()), HORIZON * predictor.spec.n_inputs, wanted.size
    ocp = template.AcadosOcp()
    model, cost, limits, options = ocp.model, ocp.cost, ocp.constraints, ocp.solver_options
    model.name, model.dyn_ext_fun_type, model.dyn_generic_source = "plan", "generic", "model.c"
    model.dyn_disc_fun, model.dyn_disc_fun_jac = "model_acados", "model_acados_jacobian"
    model.x, model.u, model.p = (casadi.SX.sym(name, n) for name, n in zip("xup", (ny, nu, len(state)), strict=True))
    ocp.dims.N, ocp.parameter_values = 1, state.astype(float)
    ocp.acados_include_path, ocp.acados_lib_path = acados.INCLUDE_DIR, acados.LIB_DIR
    cost.cost_type_0 = cost.cost_type = cost.cost_type_e = "LINEAR_LS"
    cost.W_0 = cost.W = 1e-9 * np.eye(nu)
    cost.Vx_0, cost.Vu_0, cost.yref_0 = cost.Vx, cost.Vu, cost.yref = np.zeros((nu, ny)), np.eye(nu), np.zeros(nu)
    cost.W_e, cost.Vx_e, cost.yref_e = np.eye(ny), np.eye(ny), wanted.ravel().astype(float)
    limits.x0, limits.idxbu = np.zeros(ny), np.arange(nu)
    limits.lbu, limits.ubu = np.full(nu, -LIMIT), np.full(nu, LIMIT)
    options.tf, options.integrator_type, options.nlp_solver_type = 1.0, "DISCRETE", "SQP"
    options.qp_solver, options.nlp_solver_max_iter = "FULL_CONDENSING_HPIPM", 20
    options.nlp_solver_tol_stat = 1e-4  # the forecast is float32
    return template.AcadosOcpSolver(ocp, json_file="ocp.json", verbose=False)


def test_acados_solves_with_the_exact_jacobian(template: Any, predictor: Predictor) -> None:
    """The Jacobian in acados is that of the predictor, the state it computes the forecast, and it reaches a target."""
    rng, spec = np.random.default_rng(1), predictor.spec
    plan = rng.standard_normal((HORIZON, spec.n_inputs)).astype(np.float32)
    wanted = predictor.forecast(plan * np.float32(0.5))
    solver = solver_of(template, predictor, wanted)
    solver.set(0, "u", plan.ravel().astype(float))
    assert solver.solve() == 0
    reached = solver.get(0, "u").reshape(plan.shape)
    jacobian = predictor.forecast_jacobian(reached, double=True).reshape(wanted.size, plan.size)
    assert np.abs(solver.get_from_qp_in(0, "B") - jacobian).max() < 1e-5 * np.abs(jacobian).max()
    found = predictor.forecast(reached)
    np.testing.assert_allclose(solver.get(1, "x").reshape(wanted.shape), found, rtol=1e-4, atol=1e-5)
    assert np.abs(found - wanted).max() < 0.01 * np.abs(predictor.forecast(plan) - wanted).max()


def test_the_source_is_one_file(predictor: Predictor) -> None:
    """acados copies one file into its solver: nothing of the model is included from another."""
    (source,) = acados_sources(predictor.spec, predictor.backend.weights).values()  # type: ignore[attr-defined]
    assert '#include "model' not in source
    assert source.count("int model_keep_from(") == 2  # declared and defined
