"""A sweep on one machine: what it finds, what it shows, and what survives a kill."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import optuna
import pytest
from support.robots import plant
from support.shell import command, process, refused_here
from support.sweeps import SMALL, shown, small_sweep, trial_counts, wait_for_the_middle

from rtsysid.config import parse_config, read_config
from rtsysid.errors import TraceError
from rtsysid.evaluation.bootstrap import geometric_mean
from rtsysid.experiments.sweep.comparison import keep_errors, ratio_of_trials
from rtsysid.experiments.sweep.folder import read_plan, studied
from rtsysid.experiments.sweep.objective import RESOLUTION, RUNGS, Measure, train_trial
from rtsysid.experiments.sweep.space import configured
from rtsysid.experiments.sweep.storage import LockedJournal
from rtsysid.experiments.sweep.study import AtMostItsCost, chosen, finished, front, seconds_used
from rtsysid.experiments.sweep.worker import Limits, TrialEnded, require_place
from rtsysid.recordings.trace import Episode, Trace

State = optuna.trial.TrialState


def test_a_sweep_finds_shows_and_exports(tmp_path: Path) -> None:
    """Trials finish, best first; the page needs no network; an exported trial is a configuration that trains alike."""
    run = small_sweep(tmp_path)
    done = command(*run, "--trials", 3, "--json")
    assert json.loads(done.stdout)["finished"] == 3
    lines = shown(tmp_path)
    errors = [float(line.split()[1]) for line in lines]
    assert errors == sorted(errors)
    assert "0" in [line.split()[0] for line in lines]  # the configuration itself is never stopped early
    page = (tmp_path / "sweep" / "sweep.html").read_text()
    assert all(f'<th scope="row">{line.split()[0]}</th>' in page for line in lines)
    assert "http:" not in page.replace("http://www.w3.org", "")
    assert "<script" not in page
    number = lines[0].split()[0]
    command("sweep", "export", tmp_path / "sweep", number, "-o", tmp_path / "best.toml")
    command("train", tmp_path / "best.toml", "--data", tmp_path / "logs", "-o", tmp_path / "run")
    plan = read_plan(tmp_path / "sweep")
    with studied(tmp_path / "sweep", plan) as study:
        best = finished(study)[0]
    assert best.number == int(number)
    assert read_config(tmp_path / "best.toml") == configured(plan.config, chosen(best, plan.space), plan.space)
    assert not any((tmp_path / "sweep" / "trials").iterdir())
    remedy = refused_here("sweep", "export", tmp_path / "sweep", 999, "-o", tmp_path / "none.toml", code=1)
    assert "trial 999 is not finished" in remedy


def test_limits_count_the_whole_sweep(tmp_path: Path) -> None:
    """A spent budget begins no trial; it is exit code 1 until one is finished. A larger one extends the sweep, and the
    earlier lines stay as they are."""
    run = small_sweep(tmp_path)
    assert "no trial is finished" in refused_here(*run, "--budget", "0.001s", code=1)
    assert shown(tmp_path) == []
    command(*run, "--trials", 1)
    before = shown(tmp_path)
    assert len(before) == 1
    command(*run, "--budget", "0.01s")
    command(*run, "--trials", 1, "--budget", "1h")
    assert shown(tmp_path) == before
    command(*run, "--trials", 2, "--budget", "1h")
    after = shown(tmp_path)
    assert len(after) == 2
    assert before[0] in after


def test_a_sweep_is_refused_where_training_is(tmp_path: Path) -> None:
    """Recordings with a grave finding, here a copy, begin no sweep of hours; `--force` begins it."""
    run = small_sweep(tmp_path)
    first = next(iter((tmp_path / "logs").iterdir()))
    (tmp_path / "logs" / "copy.csv").write_bytes(first.read_bytes())
    assert "--force" in refused_here(*run, "--trials", 1, code=1)
    assert not (tmp_path / "sweep").exists()
    command(*run, "--trials", 1, "--force")


def test_another_sweep_does_not_go_on_in_the_folder(tmp_path: Path) -> None:
    """Another configuration or space is refused with what differs, and the trials stay."""
    run = small_sweep(tmp_path)
    command(*run, "--budget", "0.001s", check=1)
    (tmp_path / "small.toml").write_text((tmp_path / "small.toml").read_text().replace("hidden = 4", "hidden = 5"))
    assert "begun with another configuration" in refused_here(*run, "--budget", "1s", code=1)
    assert "another storage" in refused_here(
        "sweep", "show", tmp_path / "sweep", "--storage", "postgresql://u@nowhere/d", code=1
    )
    for budget in ("60", "0s", "-1h", "nanm", "s", "1e300h"):
        assert "--budget" in refused_here(*run, "--budget", budget, code=1)
    assert "not the address" in refused_here(*run, "--storage", "", code=1)
    assert "not a sweep" in refused_here("sweep", "show", tmp_path / "logs", code=1)


def test_a_killed_sweep_continues_with_the_same_command(tmp_path: Path) -> None:
    """kill -9 of a sweep with two workers: they end too, finished trials keep line and rank, and no number is lost."""
    run = [*small_sweep(tmp_path, epochs=15), "--trials", 4, "--no-pruning"]
    with process(*run, "--jobs", 2) as running:
        wait_for_the_middle(tmp_path)
        running.kill()
        running.communicate()  # until both workers have closed the pipe
    plan, before = read_plan(tmp_path / "sweep"), shown(tmp_path)
    assert 1 <= len(before) < 4
    command(*run)
    after = shown(tmp_path)
    assert [line for line in after if line in before] == before
    assert len(after) == 4
    assert trial_counts(tmp_path)["running"] == 0
    with studied(tmp_path / "sweep", plan) as study:
        assert len({trial.number for trial in study.trials}) == len(study.trials)


@pytest.mark.filterwarnings("ignore:Heartbeat of storage", "ignore:.*fail_stale_trials")
def test_a_trial_whose_process_ended_is_lost_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock of a trial ends with its process: that trial fails, while one that runs in a live process goes on."""
    monkeypatch.setattr("rtsysid.experiments.sweep.storage.YOUNG_S", -1)
    study = optuna.create_study(storage=LockedJournal(tmp_path))
    dead, alive = study.ask(), study.ask()
    code = f"""
import sys
from pathlib import Path
from rtsysid.experiments.sweep.storage import LockedJournal
LockedJournal(Path({str(tmp_path)!r})).record_heartbeat({alive._trial_id})
print("locked", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        optuna.storages.fail_stale_trials(study)
        assert [trial.state for trial in study.trials] == [State.FAIL, State.RUNNING]
        other.kill()
    optuna.storages.fail_stale_trials(study)
    assert [trial.state for trial in study.trials] == [State.FAIL, State.FAIL]
    assert dead.number == 0


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_a_journal_with_part_of_a_line_goes_on(tmp_path: Path) -> None:
    """A process killed while it wrote leaves part of a line; the next entry does not join it."""
    study = optuna.create_study(storage=LockedJournal(tmp_path), study_name="s")
    study.tell(study.ask(), 1.0)
    for _ in range(2):
        with open(tmp_path / "journal.jsonl", "ab") as journal:
            journal.write(b'{"op_code":4,"worker')
        study.tell(study.ask(), 2.0)  # the same process, and then another
        study = optuna.load_study(storage=LockedJournal(tmp_path), study_name="s")
    assert [trial.value for trial in study.trials] == [1.0, 2.0, 2.0]


def study_of(*trials: tuple[float, int]) -> optuna.Study:
    """A study of finished trials of an error and a cost, which passed the first rung with that error."""
    study = optuna.create_study(pruner=AtMostItsCost())
    for error, macs in trials:
        trial = study.ask()
        trial.set_user_attr("macs", macs)
        trial.report(error, RUNGS[0])
        assert not trial.should_prune()
        study.tell(trial, error)
    return study


def test_a_small_model_is_not_stopped_for_a_large_one() -> None:
    """A trial is compared with those that cost no more: a worse one goes on where it is cheaper, and else stops."""
    study = study_of((0.5, 1000))
    outcomes = {}
    for macs, error in ((999, 0.6), (1000, 0.61), (2000, 0.62)):
        trial = study.ask()
        trial.set_user_attr("macs", macs)
        trial.report(error, RUNGS[0])
        outcomes[macs] = trial.should_prune()
        study.tell(trial, state=State.PRUNED)
    assert outcomes == {999: False, 1000: True, 2000: True}


def test_the_front_has_no_trial_that_another_beats() -> None:
    """Sorted by error, each trial of the front costs less than the one before."""
    study = study_of((0.9, 10), (0.5, 30), (0.5, 20))
    assert [(t.value, t.user_attrs["macs"]) for t in front(finished(study))] == [(0.5, 20), (0.9, 10)]


def test_time_is_counted_once_however_many_workers_ran() -> None:
    """Overlapping trials count once, pauses between calls not at all, and lost trials as far as they were noted."""
    study = optuna.create_study()
    for began, seconds in ((100.0, 10.0), (105.0, 10.0), (106.0, 2.0), (1000.0, 1.0), (2000.0, None)):
        trial = study.ask()
        trial.set_user_attr("began", began)
        if seconds is not None:
            trial.set_user_attr("seconds", seconds)
    assert seconds_used(study) == pytest.approx(16.0)


def test_two_workers_that_begin_the_last_trial_at_once_train_it_once() -> None:
    """Of trials that run at the same time only as many go on as are wanted; one that failed makes room for another."""
    study = optuna.create_study()
    first, second, third = (study.ask() for _ in range(3))
    for trial in (first, second):
        require_place(study, trial.number, Limits(trials=2))
    with pytest.raises(TrialEnded):
        require_place(study, third.number, Limits(trials=2))
    study.tell(first, state=State.FAIL)
    require_place(study, third.number, Limits(trials=2))


def test_the_error_is_the_geometric_mean_of_its_ratios() -> None:
    """Ratios weigh alike; nothing counts below the resolution; one forecast that is not finite makes the error so."""
    assert geometric_mean(np.array([0.25, 1.0]), RESOLUTION) == pytest.approx(0.5)
    assert geometric_mean(np.array([0.0, 1.0]), RESOLUTION) == pytest.approx(RESOLUTION**0.5)
    assert geometric_mean(np.array([np.inf, 1.0]), RESOLUTION) == np.inf


def test_an_output_that_rests_while_the_sweep_measures_is_left_out(tmp_path: Path) -> None:
    """What hold predicts exactly has no ratio: the errors are finite, and those of the output that moves alone."""
    *moving, last = plant(3, 200).episodes
    resting = Episode(last.name, last.t, last.values * np.float32([1, 1, 0]))
    both, one = (Trace(plant().channels, (*moving, each)) for each in (last, resting))
    config, counted = parse_config(SMALL), []
    for number, trace in enumerate((both, one)):
        *_, end = train_trial(config, trace, tmp_path / str(number), Measure(config, trace, 7))
        assert end.errors is not None
        assert np.isfinite(end.errors).all()
        counted.append(end.errors.shape[1])
    assert counted[0] == 2 * counted[1] > 0


def test_a_gain_inside_the_spread_of_the_rows_is_not_sure() -> None:
    """Two trials are compared on the same blocks: an even gain is sure, an uneven one of the same size is not."""
    own = np.full((10, 3), 0.1)
    uneven = own * np.array([0.1, 1.8] * 5)[:, None]
    trials = []
    for errors in (own, 0.95 * own, uneven, own[:1]):
        study = optuna.create_study()
        keep_errors(trial := study.ask(), errors)
        study.tell(trial, float(errors.sum()))
        trials += study.trials
    even, single = ratio_of_trials(trials[1], trials[0]), ratio_of_trials(trials[3], trials[3])
    assert even == pytest.approx((0.95, 0.95, 0.95))
    found = ratio_of_trials(trials[2], trials[0])
    assert found is not None
    assert found.ratio == pytest.approx(0.95)
    assert found.low < 0.8
    assert found.high > 1.1
    assert single is None, "one block has no spread"


def test_a_sweep_without_anything_to_measure_is_refused(tmp_path: Path) -> None:
    """Validation in which no output moves gives no ranking, a short one no forecast: one line before any trial."""
    *moving, last = plant(3, 200).episodes
    still = Episode(last.name, last.t, last.values * np.float32([1, 0, 0]))
    with pytest.raises(TraceError, match="no output moves"):
        Measure(parse_config(SMALL), Trace(plant().channels, (*moving, still)), 7)
    with pytest.raises(TraceError, match="fewer taps"):
        Measure(parse_config(SMALL), plant(3, 200), 300)
