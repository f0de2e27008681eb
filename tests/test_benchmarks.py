"""Benchmarks: every loader on files made by code, every metric on known predictions, real recordings where present."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from export.benchmark import baselines, quickened, run
from rtsysid.benchmarks import ALL, NAMES, Benchmark, benchmark
from rtsysid.benchmarks.forecasting import forecast, windows
from rtsysid.benchmarks.nanodrone import (
    INPUTS,
    LAYOUTS,
    STARTS,
    STATES,
    Nanodrone,
    coasting,
    forecasts_of,
    score,
    starts_of,
)
from rtsysid.benchmarks.score import Score, rows
from rtsysid.benchmarks.simulation import Record, Simulation, Split
from rtsysid.benchmarks.tasks import SIMULATIONS
from rtsysid.bundle import Bundle
from rtsysid.cli import cli
from rtsysid.config import Config, embedded, parse_config
from rtsysid.coordinates import coordinates
from rtsysid.errors import ConfigError, SpecError, TraceError
from rtsysid.metrics import horizon_errors
from rtsysid.numpy_backend import NumpyBackend
from rtsysid.predictor import Predictor
from rtsysid.recordings import data_folder
from rtsysid.schedule import resolve
from rtsysid.spec import Channel, ModelSpec, RigidBody, unit_scaling
from rtsysid.trace import Episode

BY_NAME = {each.name: each for each in SIMULATIONS}
# First and last row of the file in each record, training records first; as nonlinear_benchmarks 1.0.1 cuts them.
SPLITS = {
    "wh2009": [(5200, 105199), (105200, 183999)],
    "silverbox": [(40650, 105711), (105712, 127399), (100, 40574), (100, 32099)],
    "emps": [(0, 24840), (0, 24840)],
    "cascaded-tanks": [(0, 1023), (0, 1023)],
    "ced": [(0, 399), (0, 399), (400, 499), (400, 499)],
}
recordings_of = {
    "nanodrone-live": "nanodrone",
    "nanodrone-history-free": "nanodrone",
    "cascaded-tanks": "cascaded_tanks",
    "schunk-arm": "schunk_arm",
}


def config_of(name: str) -> Config:
    chosen = benchmark(name)
    return parse_config(embedded(chosen.config), chosen.config)


def need(name: str) -> Benchmark:
    """The benchmark, where its recordings are here."""
    folder = data_folder()
    wanted = recordings_of.get(name, name)
    if folder is None or not (folder / wanted).is_dir():
        pytest.skip(f"wants recordings {wanted} under RTSYSID_DATA")
    return benchmark(name)


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of every simulation benchmark in which inputs are the row's number and outputs its negative."""
    import scipy.io

    def csv(path: str, header: str, count: int, *signs: int) -> None:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        table = np.arange(count)[:, None] * np.array(signs)
        lines = [header, *(f"{','.join(map(str, line))},," for line in table.tolist())]
        text = "\n".join(lines).encode()
        (tmp_path / path).write_bytes(gzip.compress(text, 1) if path.endswith(".gz") else text)

    csv("wh2009/WienerHammerBenchmark.csv.gz", '"uBenchMark","yBenchMark","fs",', 188_000, 1, -1)
    csv("silverbox/SNLS80mV.csv.gz", '"V1","V2",', 131_072, 1, -1)
    csv("cascaded_tanks/dataBenchmark.csv", '"uEst","uVal","yEst","yVal","Ts",', 1024, 1, 1, -1, -1)
    csv("ced/DATAUNIF.csv", '"u11","u12","z11","z12",', 500, 1, 1, -1, -1)
    (tmp_path / "emps").mkdir()
    for name in ("DATA_EMPS", "DATA_EMPS_PULSES"):
        count = np.arange(24841.0)[:, None]
        scipy.io.savemat(tmp_path / "emps" / f"{name}.mat", {"vir": count, "qm": -count, "t": count / 1000})
    monkeypatch.setenv("RTSYSID_DATA", str(tmp_path))
    return tmp_path


def test_every_split_is_the_official_one(counted: Path) -> None:
    """Each record of each benchmark starts and ends at the row of the file at which the official loader cuts it."""
    for name, expected in SPLITS.items():
        split = BY_NAME[name].read()
        records = (*split.train, *split.test)
        assert [(int(r.u[0]), int(r.u[-1])) for r in records] == expected
        assert all(np.array_equal(r.y, -r.u) for r in records)


def test_training_never_sees_a_test_row(counted: Path) -> None:
    """The training trace holds every row of the training records once, the last fifth of each as validation."""
    for each in SIMULATIONS:
        trace = each.training(config_of(each.name).data.channels)
        training, validation = trace.split(config_of(each.name).data.validation)
        whole = sum(len(record.y) for record in each.read().train)
        assert len(training) + len(validation) == whole
        assert len(validation) == pytest.approx(whole / 5, abs=2)
        assert all(episode.name.endswith("validation") for episode in validation.episodes)


@pytest.mark.parametrize("name", NAMES)
def test_every_configuration_fits_its_protocol(name: str) -> None:
    """A benchmark's own configuration is whole, its schedule applies, and its past fits the protocol."""
    config = config_of(name)
    blank = ModelSpec(channels=config.data.channels, rate_hz=1.0, **msgspec.structs.asdict(config.model))
    assert resolve(config.stages, blank)
    shown = benchmark(name).initial if name in BY_NAME else 51
    if name != "nanodrone-live":  # which lives through whole flights
        assert config.model.taps + config.model.warmup <= shown
    assert config.data.validation


def test_a_model_is_trained_on_the_rows_that_predict_it(counted: Path) -> None:
    """Where the protocol puts an input one tick ahead, the configuration does, so that training and bundle know it."""
    for each in SIMULATIONS:
        lead = config_of(each.name).data.input_lead
        first = each.read().train[0]
        trace = each.training(config_of(each.name).data.channels).led(lead)
        assert lead == each.feedthrough
        assert np.array_equal(trace.episodes[0].values, each.rows(first)[: len(trace.episodes[0])])


@pytest.mark.parametrize("name", NAMES)
def test_absent_recordings_are_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its recordings a benchmark says in one line which it wants and how to get them."""
    monkeypatch.setenv("RTSYSID_DATA", str(tmp_path))
    with pytest.raises(TraceError, match="data get") as refused:
        benchmark(name).training(config_of(name).data.channels)
    assert recordings_of.get(name, name) in str(refused.value)


def test_other_columns_are_refused(counted: Path) -> None:
    """A file without a wanted column, and a configuration for other channels, are refused by name."""
    (counted / "ced" / "DATAUNIF.csv").write_text('"u11","z11",\n1,2,\n')
    with pytest.raises(TraceError, match="no column u12, z12"):
        BY_NAME["ced"].read()
    with pytest.raises(ConfigError, match="vir"):
        BY_NAME["emps"].training((Channel("force", "N", "input"), Channel("qm", "m")))
    with pytest.raises(ConfigError, match="choose among nanodrone, nanodrone-history-free"):
        benchmark("other")


def test_the_score_is_the_rmse_after_the_initial_samples(counted: Path) -> None:
    """An error of 2 counts as 2 after the initial samples, whatever stands in them, and a diverged run as infinite."""
    for each in SIMULATIONS:
        off = {
            r.name: np.concatenate((r.y[: each.initial] + 99.0, r.y[each.initial :] - 2.0)) for r in each.read().test
        }
        (found,) = each.score("m", off)
        assert list(found.errors) == list(each.measures)
        assert [error for (error,) in found.errors.values()] == pytest.approx([2 * each.scale] * len(each.measures))
        off[each.read().test[0].name][-1] = np.nan
        assert each.score("m", off)[0].errors[each.measures[0]] == (np.inf,)
        with pytest.raises(TraceError, match="predict every sample"):
            each.score("m", {name: series[1:] for name, series in off.items()})


def copying(feedthrough: bool) -> tuple[Simulation, Predictor]:
    """A benchmark, and the model whose next output is the input of the newest row."""
    base = BY_NAME["cascaded-tanks"]
    task = Simulation(**{**vars(base), "feedthrough": feedthrough})
    channels = (task.input, task.output)
    spec = ModelSpec(
        channels=channels, rate_hz=0.25, variant="lstm-tdl", encoder=(), taps=2, hidden=1, direct=True,
        output="absolute", warmup=0,
    )  # fmt: skip
    spec = msgspec.structs.replace(spec, scaling=unit_scaling(spec))
    return task, Predictor(spec, NumpyBackend(spec, weights_of(spec, {(0, 2): 1.0})))


def weights_of(spec: ModelSpec, direct: dict[tuple[int, int], float]) -> dict[str, np.ndarray]:
    """An LSTM that says nothing, and these entries [target, feature] of the direct path."""
    gates, map_ = 4 * spec.hidden, np.zeros((spec.n_targets, spec.window_size), np.float32)
    for place, value in direct.items():
        map_[place] = value
    shapes = {
        "lstm.weight_ih_l0": (gates, spec.code_size), "lstm.weight_hh_l0": (gates, spec.hidden),
        "lstm.bias_ih_l0": (gates,), "lstm.bias_hh_l0": (gates,),
        "head.weight": (spec.n_targets, spec.hidden), "head.bias": (spec.n_targets,), "direct.bias": (spec.n_targets,),
    }  # fmt: skip
    return {"direct.weight": map_, **{name: np.zeros(shape, np.float32) for name, shape in shapes.items()}}


@pytest.mark.parametrize("feedthrough", [False, True])
def test_a_simulation_lines_up_with_its_record(counted: Path, feedthrough: bool) -> None:
    """A model that copies the input gives y_k = u_{k-1}, or u_k with feedthrough, and the measured initial samples."""
    task, predictor = copying(feedthrough)
    record = task.read().test[0]
    simulated = task.predict(predictor)[record.name]
    assert np.array_equal(simulated[:50], record.y[:50])
    assert np.array_equal(simulated[50:], record.u[50:] if feedthrough else record.u[49:-1])


def test_a_past_shorter_than_the_delay_line_is_refused() -> None:
    """A model that needs more samples than the protocol shows is refused, and not started on nothing."""
    _, predictor = copying(False)
    with pytest.raises(SpecError, match="fewer taps"):
        forecast(predictor, [np.zeros((1, 2), np.float32)], np.zeros((1, 5, 1), np.float32))


def test_windows_stay_inside_their_episode() -> None:
    """Starts run from the first allowed row to the last whose forecast is measured, per episode."""
    episodes = [Episode(f"{n}", np.arange(n) / 1.0, np.zeros((n, 1), np.float32)) for n in (10, 7, 4)]
    found = windows(episodes, 2, 4)
    assert found.episode.tolist() == [0, 0, 0, 0, 1]
    assert found.t.tolist() == [2, 3, 4, 5, 2]


def flights(count: int = 2, rows: int = 130, seed: int = 0) -> tuple[Episode, ...]:
    """Random walks with the channels of the nano-drone."""
    rng = np.random.default_rng(seed)
    made = []
    for k in range(count):
        values = np.cumsum(rng.standard_normal((rows, 17)), 0).astype(np.float32)
        made.append(Episode(f"melon{k}", np.arange(rows) / 100, values))
    return tuple(made)


def standing(order: list[int]) -> Predictor:
    """The model that stands still, with states in another order than the files'."""
    channels = (*INPUTS, *(STATES[k] for k in order))
    spec = ModelSpec(channels=channels, rate_hz=100.0, variant="lstm-tdl", encoder=(), taps=3, hidden=1, direct=True)
    spec = msgspec.structs.replace(spec, scaling=unit_scaling(spec))
    return Predictor(spec, NumpyBackend(spec, weights_of(spec, {})))


def test_nanodrone_predictions_have_the_files_order() -> None:
    """Whatever the model's order of channels, predictions come in the files' order; standing still shows it."""
    flown = flights()
    for start in STARTS:
        predicted = forecasts_of(standing([3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 1, 2]), flown, start)
        at = starts_of(flown, start)
        now = np.stack([flown[k].values[t, 4:] for k, t in zip(*at, strict=True)])
        np.testing.assert_allclose(predicted, np.repeat(now[:, None], 50, 1), rtol=1e-5, atol=1e-5)
    with pytest.raises(ConfigError, match="channels of benchmark nanodrone"):
        forecasts_of(copying(False)[1], flown, "50 samples")


def test_a_perfect_forecast_scores_zero_in_the_safe_layout_alone() -> None:
    """The truth itself scores 0 boundary-safe; in the paper's layout a few rows cross into the next flight."""
    flown = flights()
    for start in STARTS:
        at = starts_of(flown, start)
        perfect = np.stack([flown[k].values[t + 1 : t + 51, 4:] for k, t in zip(*at, strict=True)])
        safe = score("m", flown, start, "boundary-safe", perfect).errors
        paper = score("m", flown, start, "paper", perfect).errors
        assert all(max(errors) < 1e-5 for errors in safe.values())
        assert all(errors[0] < 1e-5 < errors[-1] for errors in paper.values())
    with pytest.raises(TraceError, match="the protocol has"):
        score("m", flown, "50 samples", "paper", perfect[1:])


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 60), st.integers(0, 1000))
def test_coasting_ends_at_the_row_and_moves_as_it_says(samples: int, seed: int) -> None:
    """The made-up past ends at x_t, keeps its velocities, and differs from row to row by velocity and rate times dt."""
    rng = np.random.default_rng(seed)
    row = rng.standard_normal(17).astype(np.float32)
    row[10:14] /= np.linalg.norm(row[10:14])
    past = coasting(row, samples)
    assert past.shape == (samples, 17)
    np.testing.assert_allclose(past[-1], row, atol=1e-6)
    np.testing.assert_allclose(np.diff(past[:, 4:7], axis=0), np.tile(0.01 * row[7:10], (samples - 1, 1)), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(past[:, 10:14], axis=1), 1.0, atol=1e-5)
    turned = np.abs(np.sum(past[1:, 10:14].astype(float) * past[:-1, 10:14], 1))
    np.testing.assert_allclose(turned, np.cos(0.005 * np.linalg.norm(row[14:17])), atol=1e-5)
    assert (past[:, [0, 1, 2, 3, 7, 8, 9, 14, 15, 16]] == row[[0, 1, 2, 3, 7, 8, 9, 14, 15, 16]]).all()


def test_coasting_turns_about_the_axes_of_the_body() -> None:
    """A drone on its side that turns about its own z has come from where that turn, undone, puts it."""
    half = np.sqrt(0.5)
    row = np.zeros(17, np.float32)
    row[10:14], row[14:17] = (half, 0, 0, half), (0, 0, 100 * np.pi / 2)  # a quarter turn per tick
    # (half, 0, 0, half) * (0, 0, -half, half), multiplied out by hand
    np.testing.assert_allclose(coasting(row, 2)[0, 10:14], (0.5, 0.5, -0.5, 0.5), atol=1e-6)


def test_a_table_shows_several_seeds_as_mean_and_spread() -> None:
    """Two seeds of one model are one line, a figure that nobody published is a dash."""
    scores = [Score("a", {"x": (1.0, 4.0)}), Score("a", {"x": (3.0, 4.0)}), Score("b", {})]
    assert rows(scores, ["x"]) == [["a", "", "2 ±1 / 4"], ["b", "", "-"]]


@pytest.mark.recordings
def test_the_naive_model_has_the_published_figures() -> None:
    """Standing still scores on the real flights what the paper prints, and the known figures boundary-safe."""
    drone = need("nanodrone")
    assert isinstance(drone, Nanodrone)
    held = drone.hold()
    assert held["pred_history_free"].shape == (19_347, 50, 13)
    paper, safe = (score("hold", drone.flights, "history-free", each, held["pred_history_free"]) for each in LAYOUTS)
    naive = drone.published[0]
    for measure in drone.measures:
        assert paper.errors[measure][:3] == pytest.approx(naive.errors[measure][:3], abs=2.5e-4)
        assert paper.errors[measure][3] == pytest.approx(naive.errors[measure][3], rel=2e-4)
    sums = [errors[3] for errors in safe.errors.values()]
    assert sums == pytest.approx([17.682, 38.725, 8.194, 28.985], abs=5e-3)


@pytest.mark.recordings
def test_the_authors_validation_flights_are_kept_apart() -> None:
    """Run 4 of each manoeuvre validates, nine flights train, and no test flight is among them."""
    trace = need("nanodrone").training(config_of("nanodrone").data.channels)
    training, validation = trace.split(config_of("nanodrone").data.validation)
    assert {e.name.split("_")[0] for e in validation.episodes} == {"chirp", "random", "square"}
    assert all(e.name.endswith("run4") for e in validation.episodes)
    assert len(training.episodes) == 9
    assert not any("melon" in e.name for e in trace.episodes)


@pytest.mark.recordings
def test_a_manoeuvre_left_out_is_not_trained_on_and_alone_judges() -> None:
    """Without random flights, training has none of them, and the four of them stand in for the test flights."""
    drone = need("nanodrone")
    assert isinstance(drone, Nanodrone)
    left = drone.without("random")
    kinds = {e.name.split("_")[0] for e in left.training(config_of("nanodrone").data.channels).episodes}
    assert kinds == {"chirp", "square"}
    assert [e.name.split("_")[0] for e in left.flights] == ["random"] * 4
    assert left.published == ()
    with pytest.raises(ConfigError, match="choose among chirp, random, square"):
        drone.without("melon")


@pytest.mark.recordings
def test_recorded_positions_are_not_the_integral_of_the_velocities() -> None:
    """Kinematics that knows every velocity and rate of the random flights errs by 1.3 m and 0.7 rad over 50 ticks."""
    drone = need("nanodrone")
    assert isinstance(drone, Nanodrone)
    flights = drone.without("random").flights
    values = np.concatenate([e.values[t : t + 51][None] for e in flights for t in range(50, len(e) - 51, 40)])
    values = values.astype(np.float64)
    body = RigidBody(("qx", "qy", "qz", "qw"), ("wx", "wy", "wz"), ("vx", "vy", "vz"), ("x", "y", "z"), kinematics=True)
    plane = coordinates(ModelSpec(channels=(*INPUTS, *STATES), rate_hz=100, rigid_body=body), np)
    row, ahead = values[:, 0], []
    for after in np.moveaxis(values[:, 1:], 1, 0):
        y = plane.advance(row, plane.targets(row, after[:, 4:]))
        ahead.append(y)
        row = np.concatenate((after[:, :4], y), 1)
    found = horizon_errors(np.stack(ahead, 1), values[:, 1:, 4:], STATES)
    assert found["velocity"].sum() < 1e-6
    assert found["position"].sum() == pytest.approx(1.3, abs=0.1)
    assert found["rotation"].sum() == pytest.approx(0.7, abs=0.1)


@pytest.mark.recordings
def test_the_arms_runs_are_in_one_part_each() -> None:
    """16 runs test, 16 validate, 48 train: 80 in all, 47,614 rows."""
    arm = need("schunk-arm")
    trace = arm.training(config_of("schunk-arm").data.channels)
    training, validation = trace.split(config_of("schunk-arm").data.validation)
    test = arm.test  # type: ignore[attr-defined]
    assert [len(training.episodes), len(validation.episodes), len(test)] == [48, 16, 16]
    assert len(training) + len(validation) + sum(map(len, test)) == 47_614
    assert set(arm.hold()["run"]) == set(range(5, 81, 5))


def short(name: str, share: float) -> Config:
    config = quickened(config_of(name), share)
    return msgspec.structs.replace(config, train=msgspec.structs.replace(config.train, stride=20))


@pytest.mark.recordings
@pytest.mark.parametrize("name", ["cascaded-tanks"])
def test_a_very_short_run_beats_standing_still(name: str, tmp_path: Path) -> None:
    """On real recordings, a few epochs of a benchmark's own configuration predict better than hold."""
    chosen = need(name)
    *_, result = run(chosen, quickened(config_of(name), 0.02), tmp_path)
    (ours,), hold = result.scores, baselines(chosen)[-1]  # type: ignore[union-attr]
    assert all(ours.errors[measure] < hold.errors[measure] for measure in chosen.measures)


@pytest.mark.recordings
def test_one_epoch_of_an_integrating_axis_beats_standing_still(tmp_path: Path) -> None:
    """On emps, whose position drifts with every error of the force, one epoch of the network beside the linear map and
    its travel of one tick predict better than hold."""
    chosen, config = need("emps"), config_of("emps")
    first = msgspec.structs.replace(config.stage[0], epochs=1, iterations=5)
    *_, result = run(chosen, msgspec.structs.replace(config, stage=(first,)), tmp_path)
    (ours,), hold = result.scores, baselines(chosen)[-1]  # type: ignore[union-attr]
    assert ours.errors["test mm"] < hold.errors["test mm"]


@pytest.mark.recordings
def test_the_verb_prints_and_writes_and_repeats_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`rtsysid benchmark` prints its table beside the published rows; predictions follow from the seed; the bundle that
    was trained scores the same once more."""
    hasty = replace(need("ced"), quick=0.02)  # type: ignore[type-var]
    monkeypatch.setattr("rtsysid.benchmarks.ALL", tuple(hasty if each.name == "ced" else each for each in ALL))
    command = ["benchmark", "ced", "--quick", "-o", str(tmp_path / "a"), "--predictions", str(tmp_path / "a.npz")]
    done = CliRunner().invoke(cli, command, catch_exceptions=False)
    assert "CT-SUBNET" in done.stdout
    assert "\nrtsysid " in done.stdout
    scored = CliRunner().invoke(
        cli, ["benchmark", "ced", "--bundle", str(tmp_path / "a" / "quick" / "seed0" / "bundle")]
    )
    assert scored.stdout == done.stdout
    *_, again = run(hasty, quickened(config_of("ced"), 0.02), tmp_path / "b")  # type: ignore[arg-type]
    with np.load(tmp_path / "a.npz", allow_pickle=False) as stored:
        assert set(stored) == {"low", "high"}
        assert all(np.array_equal(stored[name], again.predictions[name]) for name in stored)  # type: ignore[union-attr]


@pytest.mark.parametrize("feedthrough", [False, True])
def test_validating_never_reads_what_tests(feedthrough: bool) -> None:
    """Judged on validation, the record is the last fifth that training keeps apart, in the same protocol."""
    u, y = np.arange(100.0), 200 + np.arange(100.0)
    split = Split((Record("train", u, y),), (Record("test", u, y),))
    simulation = replace(SIMULATIONS[0], read=lambda: split, feedthrough=feedthrough, initial=5).validating()
    apart = simulation.training((simulation.input, simulation.output)).episodes[1]
    (judged,) = simulation.read().test
    np.testing.assert_array_equal(judged.u, apart.values[:, 0])
    np.testing.assert_array_equal(judged.y, apart.values[:, 1])
    assert (judged.u == np.arange(80.0, 100.0)).all()
    (score,) = simulation.score("late", {"train": np.where(np.arange(20) < 10, judged.y, judged.y + 3)})
    assert score.errors == {"train mV": (pytest.approx(1e3 * np.sqrt(9 * 10 / 15)),)}


@pytest.mark.recordings
def test_the_verb_judges_on_validation(tmp_path: Path) -> None:
    """With --validate the table has the validation part alone, of a model that did not learn from it; what has none of
    its own is refused."""
    need("ced")
    command = ["benchmark", "ced", "--quick", "--validate", "-o", str(tmp_path), "--json"]
    found = json.loads(CliRunner().invoke(cli, command, catch_exceptions=False).stdout)
    assert [score["model"] for score in found["beside"]] == ["hold (here)"]
    bundle = Bundle.open(tmp_path / "quick" / "validate" / "seed0" / "bundle")
    assert bundle.manifest["training"]["config"]["data"]["refit"] is False
    refused = CliRunner().invoke(cli, ["benchmark", "schunk-arm", "--validate"])
    assert "it is for simulations" in str(refused.exception)
