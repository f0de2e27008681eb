"""Test a default training from recordings to a bundle: what it leaves, what it continues, and what it may not see."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.linear_robots import rows_of_forecasts
from support.robots import DATA_ALONE, TINY, plant

from export.bundle import export
from rtsysid.config import parse_config, read_config
from rtsysid.errors import ConfigError, StorageError
from rtsysid.evaluation.horizon import evaluate
from rtsysid.evaluation.linear.maps import linear_run
from rtsysid.recordings.trace import Trace
from rtsysid.train.auto.begin import begin_auto, completed
from rtsysid.train.auto.completed import CORRECTION, REPLACED
from rtsysid.train.auto.networks import JUDGE
from rtsysid.train.auto.trainer import RESULT, Updates
from rtsysid.train.fit import begin
from rtsysid.train.freerun import free_run
from rtsysid.train.network import Network
from rtsysid.train.run import Run
from rtsysid.train.windows import row_windows

CONFIG = parse_config(DATA_ALONE + "[model]\ntaps = 8\nhidden = 4\nencoder = [4]\n[train]\nstride = 10\n")
FEW = Updates(1, 1)  # one epoch of each stage, of one update
PARTS = (CORRECTION, REPLACED, JUDGE, RESULT)
HANGS_S = 120  # a wait that ends only where something hangs
ONE_CORE = len(os.sched_getaffinity(0)) == 1


@pytest.fixture(scope="module")
def trace() -> Trace:
    return plant(3, 150)


def trained(trace: Trace, folder: Path) -> Run:
    """Train to the end, or continue to it."""
    for _ in begin_auto(CONFIG, trace, folder, DATA_ALONE, updates=FEW).epochs():
        pass
    return Run(folder)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, trace: Trace) -> Run:
    """A run that nobody interrupted; not to be changed."""
    return trained(trace, tmp_path_factory.mktemp("auto") / "run")


def test_the_run_of_a_default_training_is_whole_and_makes_a_bundle(finished: Run, trace: Trace, tmp_path: Path) -> None:
    """Both kinds, judge and result are finished, errors are stated, and the bundle is verified and forecasts."""
    result = finished.result()
    assert result.judge is not None
    assert result.epochs == len(finished.part(CORRECTION).history()) == len(finished.part(REPLACED).history()) == 2
    assert len(finished.part(RESULT).history()) == 1
    assert all(finished.part(name).complete for name in PARTS)
    assert finished.expected().groups.keys() == {"y", "v"}
    bundle, rows = export(finished.folder, tmp_path / "bundle", ("onnx",))
    assert all(row.passed for row in rows)
    errors = evaluate(bundle, plant(1, 150, seed=7), 20).errors["model"]
    assert np.isfinite(list(errors.values())).all()


def weights(run: Run) -> dict[str, torch.Tensor]:
    """The weights of all networks of a run, by name."""
    of = {"": run, **{name: run.part(name) for name in PARTS}}
    return {f"{name}/{key}": value for name, each in of.items() for key, value in each.weights().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


def test_a_run_that_stopped_continues_to_the_same_weights(finished: Run, trace: Trace, tmp_path: Path) -> None:
    """After one epoch nobody reads on; the same command trains the others, and makes the same weights."""
    trainer = begin_auto(CONFIG, trace, tmp_path / "run", DATA_ALONE, updates=FEW)
    assert (trainer.total, trainer.done) == (5, 0)
    epochs = trainer.epochs()
    next(epochs)
    epochs.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()
    again = begin_auto(CONFIG, trace, tmp_path / "run", DATA_ALONE, updates=FEW)
    done = again.done
    assert done >= 1
    assert len(list(again.epochs())) == again.total - done == 5 - done
    assert same(weights(again.run), weights(finished))


def wait_for(condition: object) -> None:
    ends = time.monotonic() + HANGS_S
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < ends
        time.sleep(0.01)


@pytest.mark.skipif(ONE_CORE, reason="one core: no processes of their own")
def test_a_run_that_was_killed_continues_to_the_same_weights(finished: Run, trace: Trace, tmp_path: Path) -> None:
    """SIGKILL after the short runs ends the processes that train too: the folder is free, and the run continues."""
    folder = tmp_path / "run"
    process = multiprocessing.get_context("fork").Process(target=trained, args=(trace, folder))
    process.start()
    wait_for((folder / "run.json").exists)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()

    def free() -> bool:
        try:
            Run(folder).claim().release()
        except StorageError:
            return False
        return True

    wait_for(free)
    assert same(weights(trained(trace, folder)), weights(finished))


def begun(run: Run, folder: Path) -> Path:
    """A copy of a run as it was before the full runs."""
    parts = shutil.ignore_patterns(*(f"{name}-*" for name in PARTS), "weights.safetensors", "history.jsonl")
    return shutil.copytree(run.folder, folder, ignore=parts)


def test_the_judge_does_not_see_the_validation_recordings(finished: Run, trace: Trace, tmp_path: Path) -> None:
    """Other values in the validation recording change the result's loss, and no weight of a network that is judged."""
    *training, validation = trace.episodes
    other = replace(trace, episodes=(*training, replace(validation, values=validation.values[::-1].copy())))
    changed = trained(other, begun(finished, tmp_path / "run"))
    ours, theirs = weights(finished), weights(changed)
    judged = {key for key in ours if key.startswith((CORRECTION, REPLACED))}
    assert judged
    assert all(torch.equal(ours[key], theirs[key]) for key in judged)
    losses = [run.part(RESULT).history()[0]["train"] for run in (finished, changed)]
    assert losses[0] != losses[1]


@torch.no_grad()
def test_linear_ends_with_the_linear_model(trace: Trace, tmp_path: Path) -> None:
    """No epoch is trained, and the network of the run forecasts what the linear model of the plan does."""
    trainer = begin(CONFIG, trace, tmp_path / "run", linear=True)
    assert trainer.total == 0
    assert list(trainer.epochs()) == []
    result, plan = Run(tmp_path / "run").result(), trainer.plan  # type: ignore[union-attr]
    network = Network(result.spec).eval()
    network.load_state_dict(result.weights)
    assert plan is not None
    rows, runs = rows_of_forecasts(plan.spec, [trace.episodes[0].values], ticks=20)
    windows = row_windows(torch.from_numpy(rows[:, :-1]), plan.spec.taps)
    found = free_run(network, windows, network.initial_state(windows[:, 0])).numpy()
    expected = linear_run(plan.choice.spec, plan.choice.model, runs)
    assert np.allclose(found, expected, atol=1e-3 * np.abs(expected).max())


def test_linear_is_refused_with_a_schedule_of_its_own(trace: Trace, tmp_path: Path) -> None:
    """Stages of a file cannot end before they begin."""
    with pytest.raises(ConfigError, match="--linear"):
        begin(parse_config(TINY), trace, tmp_path / "run", linear=True)


def test_the_completed_configuration_chooses_the_same_again(finished: Run, trace: Trace) -> None:
    """The file that says everything is read back, and leaves nothing else to choose."""
    said = read_config(finished.folder / "completed.toml")
    assert completed(said, trace).model == said.model
    assert said.model.taps == finished.spec.taps


def test_a_run_without_an_epoch_is_kept_as_its_linear_model(finished: Run, trace: Trace, tmp_path: Path) -> None:
    """Before the run begins there is nothing to keep; before the first epoch it is the linear model, with a judge."""
    assert not begin_auto(CONFIG, trace, tmp_path / "new", updates=FEW).keep_best()
    trainer = begin_auto(CONFIG, trace, begun(finished, tmp_path / "run"), updates=FEW)
    assert trainer.keep_best()
    result = trainer.run.result()
    assert not result.weights["head_gain"].any()
    assert result.judge is not None
    assert (result.epochs, result.loss) == (0, None)


@pytest.mark.parametrize("linear", [False, True])
def test_a_finished_run_stays_as_it_is(linear: bool, finished: Run, trace: Trace, tmp_path: Path) -> None:
    """Training again in the folder of a finished run, with the linear model alone or not, changes none of its files."""
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert list(begin_auto(CONFIG, trace, folder, DATA_ALONE, linear=linear, updates=FEW).epochs()) == []
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_restart_trains_again(finished: Run, trace: Trace, tmp_path: Path) -> None:
    """With `restart` a finished run is replaced: here by one that ends with the linear model."""
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    trainer = begin_auto(CONFIG, trace, folder, DATA_ALONE, restart=True, linear=True, updates=FEW)
    assert list(trainer.epochs()) == []
    assert Run(folder).spec.hidden == 1
