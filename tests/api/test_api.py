"""The Python interface: what it returns is what the parts below it compute, and its errors are one line."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot, rc_context
from support.robots import plant

import rtsysid
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.trace import Trace

ROOT = Path(__file__).parents[2]
NAMES = ["u [V]", "y [m]", "v [m/s]"]


@pytest.fixture(scope="module")
def model(bundle_folder: Path) -> rtsysid.Model:
    return rtsysid.load(bundle_folder)


@pytest.fixture(scope="module")
def table() -> dict[str, Any]:
    """A recording of the plant as named arrays [T], with columns that nobody asks for."""
    trace = plant(1, 200, seed=5)
    columns = {name: trace[name] for name in NAMES}
    return {"t": trace["t"], **columns, "rate": 50, "note": ["x"] * len(trace)}


def test_predictions_stand_next_to_their_rows(model: rtsysid.Model, table: dict[str, Any]) -> None:
    """Row k of `predict` is what a predictor said after row k - 1; `simulate` needs no output after the first rows."""
    trace = model.trace(table)
    predictor, values = Predictor.load(model.bundle), trace.episodes[0].values
    stepped = [predictor.step(row).copy() for row in values]
    first = predictor.settling_samples
    found = model.predict(table)
    assert np.isnan(found[:first]).all()
    np.testing.assert_allclose(found[first:], stepped[first - 1 : -1], rtol=1e-5, atol=1e-6)
    free = model.simulate(table)
    changed = {**table, "y [m]": np.where(np.arange(200) < first, table["y [m]"], 0.0)}
    np.testing.assert_array_equal(free, model.simulate(changed))
    assert np.isfinite(free[first:]).all()
    np.testing.assert_allclose(model.predict(table, ahead=7)[first + 6], free[first + 6], rtol=1e-5, atol=1e-6)


def test_a_forecast_begins_at_the_last_row_of_its_history(model: rtsysid.Model, table: dict[str, Any]) -> None:
    """It is that of a predictor after these rows, and the inputs of the last row are not used."""
    trace, plan = model.trace(table), np.asarray(table["u [V]"])[99:129, None]
    predictor = Predictor.load(model.bundle)
    for row in trace.episodes[0].values[:100]:
        predictor.step(row)
    found = model.forecast(trace[:100], plan)
    assert found.shape == (30, 2)
    np.testing.assert_array_equal(found, predictor.forecast(plan))
    unknown = {**table, "u [V]": np.where(np.arange(200) == 99, np.nan, table["u [V]"])}
    np.testing.assert_array_equal(found, model.forecast(model.trace(unknown)[:100], {"u": plan[:, 0]}))


def test_a_forecast_says_how_far_it_extrapolates(model: rtsysid.Model, table: dict[str, Any]) -> None:
    """Inputs within the trained range are at 0; of others it names how many widths of the range they are outside."""
    (low, high), history = (part[0] for part in (model.spec.scaling.low, model.spec.scaling.high)), model.trace(table)
    model.forecast(history, {"u": [low, high]})
    assert model.extrapolation == {"u": 0.0}
    model.forecast(history, {"u": [high, 3 * high - 2 * low]})
    assert model.extrapolation == {"u": pytest.approx(2.0, abs=1e-5)}


def test_no_prediction_crosses_a_gap(model: rtsysid.Model, table: dict[str, Any]) -> None:
    """After missing rows the model starts over and every row keeps its place; recordings follow one another."""
    kept = np.r_[0:90, 120:200]
    gap = {name: np.asarray(table[name])[kept] for name in ("t", *NAMES)}
    found, first = model.predict(gap), model.predictor.settling_samples
    assert np.flatnonzero(np.isnan(found[:, 0])).tolist() == [*range(first), *range(90, 90 + first)]
    np.testing.assert_array_equal(model.predict([table, gap]), np.concatenate([model.predict(table), found]))


def as_frame(table: dict[str, Any]) -> Any:
    return pd.DataFrame(table)


def as_stamps(table: dict[str, Any]) -> Any:
    """A frame with instants as its index, columns without units, and a type that holds missing values."""
    index = pd.Timestamp("2026-05-01") + pd.to_timedelta(np.asarray(table["t"]), unit="s")
    plain = {name.split(" ")[0]: pd.array(table[name], "Float64") for name in reversed(NAMES)}
    return pd.DataFrame(plain, index=index)


def as_trace(table: dict[str, Any]) -> Any:
    return Trace.from_pandas(table)


FORMS: list[Callable[[dict[str, Any]], Any]] = [as_frame, as_stamps, as_trace]


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_of_data_are_the_same_rows(
    form: Callable[[dict[str, Any]], Any], model: rtsysid.Model, table: dict[str, Any], tmp_path: Path
) -> None:
    """A dict, a DataFrame, one with instants, a trace and a file give the same values at the same times."""
    wanted, found = model.trace(table), model.trace(form(table))
    np.testing.assert_array_equal(found.episodes[0].values, wanted.episodes[0].values)
    np.testing.assert_allclose(found["t"], wanted["t"], atol=1e-9)
    as_trace(table).write(tmp_path / "a.csv")
    np.testing.assert_array_equal(model.trace(tmp_path / "a.csv").episodes[0].values, wanted.episodes[0].values)


def test_a_frame_comes_back(table: dict[str, Any]) -> None:
    """Two episodes, their times and every bit of their values survive the way to a DataFrame and back."""
    trace = plant(2, 60, seed=3)
    back = Trace.from_pandas(trace.to_pandas(), [str(channel) for channel in trace.channels])
    assert [len(each) for each in back.episodes] == [60, 60]
    for ours, theirs in zip(back.episodes, trace.episodes, strict=True):
        np.testing.assert_array_equal(ours.values, theirs.values)
        np.testing.assert_array_equal(ours.t, theirs.t)


def test_a_trace_is_indexed_by_names_and_rows() -> None:
    """A name gives an array over all episodes, names give channels, a slice gives rows across episodes."""
    trace = plant(2, 60, seed=3)
    assert trace["y"].shape == (120,)
    assert [channel.name for channel in trace[["v", "u"]].channels] == ["v", "u"]
    part = trace[50:70]
    assert [len(each) for each in part.episodes] == [10, 10]
    np.testing.assert_array_equal(part["y"], trace["y"][50:70])
    assert len(trace[-5:]) == 5
    assert repr(part) == f"Trace(20 rows in 2 episodes, {part.duration:.4g} s: u [V], y [m], v [m/s])"


WRONG: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no such column": (lambda t: {"t": t["t"], "u": t["u [V]"]}, "missing column 'y'"),
    "another length": (lambda t: {**t, "y [m]": t["y [m]"][:50]}, "y has 50 rows"),
    "two axes": (lambda t: {**t, "y [m]": np.zeros((200, 2))}, r"shape \(200, 2\)"),
    "text": (lambda t: {**t, "y [m]": ["x"] * 200}, "not numbers"),
    "another unit": (lambda t: {**t, "y [mm]": t["y [m]"], "y [m]": None}, "y"),
    "another rate": (lambda t: {**t, "t": 2 * np.asarray(t["t"])}, "25 Hz"),
    "a number": (lambda t: 3, "a int"),
    "nothing": (lambda t: [], "nothing"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_data_are_refused_in_one_line(name: str, model: rtsysid.Model, table: dict[str, Any]) -> None:
    """Each fault is an error of ours that names it."""
    make, words = WRONG[name]
    with pytest.raises(rtsysid.RtsysidError, match=words):
        model.predict(make(table))


@pytest.mark.parametrize("plan", [np.zeros(3), np.zeros((0, 1)), np.zeros((5, 2))])
def test_a_plan_of_another_shape_is_refused(plan: Any, model: rtsysid.Model, table: dict[str, Any]) -> None:
    """Inputs that are not [N, nu] are named; a single input may be [N]."""
    if plan.ndim == 1:
        assert model.forecast(table, plan).shape == (3, 2)
        return
    with pytest.raises(rtsysid.SpecError, match="u_future"):
        model.forecast(table, plan)


@pytest.mark.torch
def test_fit_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of arrays: no file in the folder, torch as it was, and what is saved is what was fitted."""
    import torch

    monkeypatch.chdir(tmp_path)
    trace = plant(3, 250)
    data = [{"u": e.values[:, 0], "y": e.values[:, 1], "other": e.values[:, 2]} for e in trace.episodes]
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.random.get_rng_state()
    model = rtsysid.fit(data, ["u"], ["y"], 50, linear=True, seed=7)
    after = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.random.get_rng_state()
    assert before[:2] == after[:2]
    assert torch.equal(before[2], after[2])
    assert list(tmp_path.iterdir()) == []
    assert (model.inputs, model.outputs, model.get_params()["train.seed"]) == (["u"], ["y"], 7)
    assert repr(model) == f"Model(u -> y; 50 Hz, {model.spec.macs:,} MACs, bundle {model.bundle.id})"
    saved = rtsysid.load(model.save(tmp_path / "bundle"))
    assert saved.bundle.id == model.bundle.id
    np.testing.assert_array_equal(saved.predict(data[0]), model.predict(data[0]))
    assert model.score(data, horizon=10) > 0.5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"outputs": "y"}, "give lists of names"),
        ({"inputs": ["u"]}, "no outputs"),
        ({"inputs": ["u"], "outputs": ["w"]}, "missing column 'w'"),
        ({"inputs": ["u"], "outputs": ["y"], "settings": {"model.hiden": 3}}, "did you mean 'hidden'"),
        ({"inputs": ["u"], "outputs": ["y"], "time": "when"}, "no time column 'when'"),
        ({"outputs": ["y"], "config": "quadrotor"}, "next to a configuration"),
    ],
)
def test_wrong_arguments_of_fit_are_refused(arguments: dict[str, Any], words: str, table: dict[str, Any]) -> None:
    """Before anything is trained, in one line."""
    with pytest.raises(rtsysid.RtsysidError, match=words):
        rtsysid.fit(table, **arguments)


def test_a_model_gets_other_targets(model: rtsysid.Model, table: dict[str, Any], tmp_path: Path) -> None:
    """`export` writes a verified bundle with these targets alone, from the weights in the bundle."""
    fresh = rtsysid.Model(model.bundle)
    rows = fresh.export(tmp_path / "onnx", ["onnx"])
    assert {row.backend for row in rows} == {"onnx", "numpy"}
    assert not [name for name in fresh.bundle.manifest.files if name.endswith((".so", ".c"))]
    np.testing.assert_allclose(fresh.predict(table), model.predict(table), rtol=1e-4, atol=1e-5)
    with pytest.raises(rtsysid.ConfigError, match="choose among onnx"):
        fresh.export(tmp_path / "other", ["onx"])


def test_figures_and_a_page(model: rtsysid.Model, table: dict[str, Any], tmp_path: Path) -> None:
    """`plot` returns a figure with one panel for each output, `report` writes a page, `evaluate` and `score` agree."""
    mpl.use("agg")
    with rc_context({"figure.max_open_warning": 0}):
        _try_figures(model, table)
    page = model.report(table, tmp_path / "report.html", horizon=20)
    assert page.read_text().lower().startswith("<!doctype html>")
    assert repr(model.evaluate(table, horizon=20)).startswith("Evaluation(")
    assert model.score(table, horizon=20) <= 1


def _try_figures(model: rtsysid.Model, table: dict[str, Any]) -> None:
    figure = model.plot(table, horizon=20)
    assert [axis.get_ylabel() for axis in figure.axes] == ["y\n[m]", "v\n[m/s]"]
    assert len(model.plot(table, horizon=20, at=2.0).axes[0].lines) == 2
    assert len(model.trace(table).plot().axes) == 3
    with pytest.raises(rtsysid.TraceError, match="the recordings hold 0 to"):
        model.plot(table, at=99.0)
    pyplot.close("all")


def test_load_says_what_else_it_found(tmp_path: Path, bundle_folder: Path) -> None:
    """A folder that is no model, a file of one, and nothing at all."""
    for path, words in (
        (tmp_path, "neither a run nor a bundle"),
        (bundle_folder / "weights.npz", f"give its folder: {bundle_folder}"),
        (tmp_path / "none", "no such file or folder"),
    ):
        with pytest.raises(rtsysid.RtsysidError, match=words):
            rtsysid.load(path)


def test_stages_are_log_records(model: rtsysid.Model, table: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """Long work names its stages to any log handler."""
    with caplog.at_level(logging.INFO, "rtsysid.stage"):
        logging.getLogger("rtsysid.stage").propagate = True
        model.evaluate(table, horizon=20)
    assert "evaluating" in caplog.messages


def documented(name: str, call: Any) -> str:
    """A function as the reference writes it: its parameters with their defaults."""
    parameters = [each for each in inspect.signature(call).parameters.values() if each.name not in ("self", "cls")]
    empty = inspect.Parameter.empty
    shown = [each.name if each.default is empty else f"{each.name}={each.default!r}" for each in parameters]
    return f"| `{name}({', '.join(shown)})` |"


def members(owner: type) -> list[tuple[str, Any]]:
    """The public methods of a class."""
    found = inspect.getmembers(owner, lambda each: inspect.isfunction(each) or inspect.ismethod(each))
    return [(f"{owner.__name__}.{name}", each) for name, each in found if not name.startswith("_")]


TRACE = ("from_pandas", "to_pandas", "read", "write", "segments", "plot")  # the others are for the work on a model
CALLS = [
    ("rtsysid.fit", rtsysid.fit), ("rtsysid.load", rtsysid.load), *members(rtsysid.Model),
    *((f"Trace.{name}", getattr(Trace, name)) for name in TRACE),
]  # fmt: skip


@pytest.mark.parametrize(("name", "call"), CALLS, ids=[name for name, _ in CALLS])
def test_the_reference_is_that_of_the_code(name: str, call: Any) -> None:
    """docs/api.md has a line for each function, with its parameters and their defaults."""
    assert documented(name, call) in (ROOT / "docs" / "api.md").read_text()
