"""Test the benchmarks: loaders on generated files, metrics on known predictions, real recordings if present."""

from __future__ import annotations

import gzip
import json
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from support.benchmark_parts import BY_NAME, config_of, copying, need, recordings_of
from support.shell import command

from rtsysid.benchmarks import ALL, NAMES, Benchmark, benchmark
from rtsysid.benchmarks.forecasting import forecast, windows
from rtsysid.benchmarks.score import Score, score_rows
from rtsysid.benchmarks.simulation import Record, Split
from rtsysid.benchmarks.tasks import SIMULATIONS
from rtsysid.cli import cli
from rtsysid.errors import ConfigError, SpecError, TraceError
from rtsysid.experiments.benchmark import BenchmarkResult, baselines, quickened, run_benchmark
from rtsysid.model.bundle import Bundle
from rtsysid.recordings.trace import Episode
from rtsysid.schedule import resolve
from rtsysid.spec import Channel, ModelSpec

# First and last row of the file in each record, training records first; as nonlinear_benchmarks 1.0.1 cuts them.
SPLITS = {
    "wh2009": [(5200, 105199), (105200, 183999)],
    "silverbox": [(40650, 105711), (105712, 127399), (100, 40574), (100, 32099)],
    "emps": [(0, 24840), (0, 24840)],
    "cascaded-tanks": [(0, 1023), (0, 1023)],
    "ced": [(0, 399), (0, 399), (400, 499), (400, 499)],
}


@pytest.fixture(scope="module")
def counted_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of every simulation benchmark in which inputs are the row's number and outputs its negative."""
    import scipy.io

    tmp_path = tmp_path_factory.mktemp("counted")

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
    return tmp_path


@pytest.fixture
def counted(counted_files: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same files as the folder of recordings; not to be changed."""
    monkeypatch.setenv("RTSYSID_DATA", str(counted_files))
    return counted_files


def test_every_split_is_the_official_one(counted: Path) -> None:
    """Each record of each benchmark starts and ends at the row of the official loader."""
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
    """A benchmark's configuration is complete, its schedule is valid, and its history fits the protocol."""
    config = config_of(name)
    blank = ModelSpec(channels=config.data.channels, rate_hz=1.0, **config.model.fields)
    assert resolve(config.stages, blank)
    shown = benchmark(name).initial if name in BY_NAME else 51
    if name != "nanodrone-live":  # which lives through whole flights
        assert blank.settling_samples <= shown
    assert config.data.validation


def test_a_model_is_trained_on_the_rows_that_predict_it(counted: Path) -> None:
    """A benchmark with feedthrough has a configuration with feedthrough."""
    for each in SIMULATIONS:
        lead = config_of(each.name).data.feedthrough
        first = each.read().train[0]
        trace = each.training(config_of(each.name).data.channels).with_feedthrough(lead)
        assert lead == each.feedthrough
        assert np.array_equal(trace.episodes[0].values, each.rows(first)[: len(trace.episodes[0])])


@pytest.mark.parametrize("name", NAMES)
def test_predictions_name_their_columns(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The array `channels` of a predictions file names each column of `pred`; they are outputs of the configuration."""
    chosen = benchmark(name)
    names = [channel.name for channel in chosen.outputs]
    assert sorted(names) == sorted(c.name for c in config_of(name).data.channels if c.role == "output")
    result = BenchmarkResult(0, "", 0, 0, 0.0, [], {"pred": np.zeros((1, 50, len(names)))})
    monkeypatch.setattr("rtsysid.cli.benchmark._score_bundle", lambda *_: result)
    monkeypatch.setattr("rtsysid.cli.benchmark._show", lambda *_: None)
    command("benchmark", name, "--bundle", tmp_path, "--predictions", tmp_path / "p.npz")
    with np.load(tmp_path / "p.npz", allow_pickle=False) as stored:
        assert stored["channels"].tolist() == names
        assert stored["pred"].shape[-1] == len(names)


@pytest.mark.parametrize("name", NAMES)
def test_absent_recordings_are_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without recordings a benchmark raises one line with the set's name and the download command."""
    monkeypatch.setenv("RTSYSID_DATA", str(tmp_path))
    with pytest.raises(TraceError, match="data get") as refused:
        benchmark(name).training(config_of(name).data.channels)
    assert recordings_of.get(name, name) in str(refused.value)


def test_other_columns_are_refused(counted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without a wanted column, and a configuration for other channels, are refused by name."""
    shutil.copytree(counted, tmp_path / "data")
    monkeypatch.setenv("RTSYSID_DATA", str(tmp_path / "data"))
    (tmp_path / "data" / "ced" / "DATAUNIF.csv").write_text('"u11","z11",\n1,2,\n')
    with pytest.raises(TraceError, match="no column u12, z12"):
        BY_NAME["ced"].read()
    with pytest.raises(ConfigError, match="vir"):
        BY_NAME["emps"].training((Channel("force", "N", "input"), Channel("qm", "m")))
    with pytest.raises(ConfigError, match="choose among nanodrone, nanodrone-history-free"):
        benchmark("other")


def test_the_score_is_the_rmse_after_the_initial_samples(counted: Path) -> None:
    """An error of 2 after the initial samples scores 2. A diverged run scores infinity."""
    for each in SIMULATIONS:
        off = {
            r.name: np.concatenate((r.y[: each.initial] + 99.0, r.y[each.initial :] - 2.0)) for r in each.read().test
        }
        (score,) = each.score("m", off)
        assert list(score.errors) == list(each.measures)
        assert [error for (error,) in score.errors.values()] == pytest.approx([2 * each.scale] * len(each.measures))
        off[each.read().test[0].name][-1] = np.nan
        assert each.score("m", off)[0].errors[each.measures[0]] == (np.inf,)
        with pytest.raises(TraceError, match="predict every sample"):
            each.score("m", {name: series[1:] for name, series in off.items()})


@pytest.mark.parametrize("feedthrough", [False, True])
def test_a_simulation_lines_up_with_its_record(counted: Path, feedthrough: bool) -> None:
    """A model that copies the input gives y_k = u_{k-1}, or u_k with feedthrough, after the measured samples."""
    task, predictor = copying(feedthrough)
    record = task.read().test[0]
    simulated = task.predict(predictor)[record.name]
    assert np.array_equal(simulated[:50], record.y[:50])
    assert np.array_equal(simulated[50:], record.u[50:] if feedthrough else record.u[49:-1])


def test_a_past_shorter_than_the_delay_line_is_refused() -> None:
    """A history shorter than the delay line raises SpecError."""
    _, predictor = copying(False)
    with pytest.raises(SpecError, match="fewer taps"):
        forecast(predictor, [np.zeros((1, 2), np.float32)], np.zeros((1, 5, 1), np.float32))


def test_windows_stay_inside_their_episode() -> None:
    """Per episode, starts run from the first allowed row to the last with a measured forecast."""
    episodes = [Episode(f"{n}", np.arange(n) / 1.0, np.zeros((n, 1), np.float32)) for n in (10, 7, 4)]
    starts = windows(episodes, 2, 4)
    assert starts.episode.tolist() == [0, 0, 0, 0, 1]
    assert starts.t.tolist() == [2, 3, 4, 5, 2]


def test_a_table_shows_several_seeds_as_mean_and_spread() -> None:
    """Two seeds of a model are one row, and a missing figure is a dash."""
    scores = [Score("a", {"x": (1.0, 4.0)}), Score("a", {"x": (3.0, 4.0)}), Score("b", {})]
    assert score_rows(scores, ["x"]) == [["a", "", "2 ±1 / 4"], ["b", "", "-"]]


@pytest.mark.recordings
def test_the_arms_runs_are_in_one_part_each() -> None:
    """Of the arm's 80 runs 16 test, 16 validate and 48 train: 47,614 rows."""
    arm = need("schunk-arm")
    trace = arm.training(config_of("schunk-arm").data.channels)
    training, validation = trace.split(config_of("schunk-arm").data.validation)
    test = arm.test  # type: ignore[attr-defined]
    assert [len(training.episodes), len(validation.episodes), len(test)] == [48, 16, 16]
    assert len(training) + len(validation) + sum(map(len, test)) == 47_614
    assert set(arm.hold()["run"]) == set(range(5, 81, 5))


@pytest.mark.recordings
@pytest.mark.parametrize("name", ["cascaded-tanks"])
def test_a_very_short_run_beats_standing_still(name: str, tmp_path: Path) -> None:
    """On real recordings, a few epochs of a benchmark's configuration predict better than hold."""
    chosen = need(name)
    *_, result = run_benchmark(chosen, quickened(config_of(name), 0.02), tmp_path)
    (ours,), hold = result.scores, baselines(chosen)[-1]  # type: ignore[union-attr]
    assert all(ours.errors[measure] < hold.errors[measure] for measure in chosen.measures)


@pytest.mark.recordings
def test_one_epoch_of_an_integrating_axis_beats_standing_still(tmp_path: Path) -> None:
    """On emps, whose position drifts with every error of the force, five steps of L-BFGS on inertia and friction, over
    rollouts of 0.2 s, predict better than hold."""
    chosen, config = need("emps"), config_of("emps")
    (loss,) = config.stage[0].loss
    short = msgspec.structs.replace(loss, horizon=200)
    first = msgspec.structs.replace(config.stage[0], epochs=1, iterations=5, loss=(short,))
    train = msgspec.structs.replace(config.train, stride=2000)
    *_, result = run_benchmark(chosen, msgspec.structs.replace(config, stage=(first,), train=train), tmp_path)
    (ours,), hold = result.scores, baselines(chosen)[-1]  # type: ignore[union-attr]
    assert ours.errors["test mm"] < hold.errors["test mm"]


def hurried(monkeypatch: pytest.MonkeyPatch) -> Benchmark:
    """The benchmark ced with hardly any epochs under --quick, here and for the command."""
    hasty = replace(need("ced"), quick=0.02)  # type: ignore[type-var]
    monkeypatch.setattr("rtsysid.benchmarks.ALL", tuple(hasty if each.name == "ced" else each for each in ALL))
    return hasty


@pytest.mark.recordings
def test_the_verb_prints_and_writes_and_repeats_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`rtsysid benchmark` prints its table next to the published rows. Predictions follow from the seed. The bundle
    scores the same once more."""
    hasty = hurried(monkeypatch)
    command = ["benchmark", "ced", "--quick", "-o", str(tmp_path / "a"), "--predictions", str(tmp_path / "a.npz")]
    done = CliRunner().invoke(cli, command, catch_exceptions=False)
    assert "CT-SUBNET" in done.stdout
    assert "\nrtsysid " in done.stdout
    scored = CliRunner().invoke(
        cli, ["benchmark", "ced", "--bundle", str(tmp_path / "a" / "quick" / "seed0" / "bundle")]
    )
    assert scored.stdout == done.stdout
    *_, again = run_benchmark(hasty, quickened(config_of("ced"), 0.02), tmp_path / "b")  # type: ignore[arg-type]
    with np.load(tmp_path / "a.npz", allow_pickle=False) as stored:
        assert set(stored) == {"low", "high", "channels", "generator"}
        assert stored["channels"].tolist() == ["z"]
        assert set(again.predictions) == {"low", "high"}  # type: ignore[union-attr]
        assert all(np.array_equal(stored[name], each) for name, each in again.predictions.items())  # type: ignore[union-attr]


@pytest.mark.parametrize("feedthrough", [False, True])
def test_validating_never_reads_what_tests(feedthrough: bool) -> None:
    """With validation data as test data, the record is the last fifth that training leaves out."""
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
def test_the_verb_judges_on_validation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --validate the table has the validation part alone, of a model that did not learn from it; what has none of
    its own is refused."""
    hurried(monkeypatch)
    command = ["benchmark", "ced", "--quick", "--validate", "-o", str(tmp_path), "--json"]
    printed = json.loads(CliRunner().invoke(cli, command, catch_exceptions=False).stdout)
    assert [score["model"] for score in printed["beside"]] == ["hold (here)"]
    bundle = Bundle.open(tmp_path / "quick" / "validate" / "seed0" / "bundle")
    assert bundle.manifest.training.config.data.train_on_validation is False
    refused = CliRunner().invoke(cli, ["benchmark", "schunk-arm", "--validate"])
    assert "it is for simulations" in str(refused.exception)
