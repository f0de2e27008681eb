"""Run trials, one at a time, until the sweep has what was asked for. Several workers share a study.

Optuna samples, stops and stores. A worker decides only whether to begin another trial, and ends the trial that runs
when the budget is spent.
"""

from __future__ import annotations

import multiprocessing
import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, Trial, TrialState

from rtsysid.errors import RtsysidError, StorageError
from rtsysid.evaluation.bootstrap import geometric_mean
from rtsysid.experiments.sweep.comparison import keep_errors
from rtsysid.experiments.sweep.objective import RESOLUTION, Measure, train_trial
from rtsysid.experiments.sweep.space import check_space, configured, fitting_spec
from rtsysid.experiments.sweep.study import (
    BEGAN,
    BYTES,
    MACS,
    OWN,
    REASON,
    SECONDS,
    Plan,
    finished,
    seconds_used,
    suggested,
)
from rtsysid.recordings.trace import Trace

POLL_S = 0.5  # between two looks at the trials of others, at the end of a sweep
NOTE_S = 2.0  # between two notes of the time that a trial has taken
FAILURES = 10  # in a row, after which a sweep gives up
FLOAT_BYTES = 4


class Limits(NamedTuple):
    """State when a sweep ends: after seconds of the whole sweep, or at a number of finished trials."""

    seconds: float = float("inf")
    trials: float = float("inf")


class TrialResult(NamedTuple):
    """Report one trial: its state in words, its error where it was measured, and the reason where it failed."""

    number: int
    state: str
    error: float | None
    reason: str = ""


class TrialEnded(Exception):
    """The trial that runs is given up: it is not wanted any more."""


class Worker:
    """Run the trials of one process, which are trained in `folder`.

    Raises ConfigError where a value of the space is not possible, TraceError where the recordings are not enough.
    """

    def __init__(self, plan: Plan, trace: Trace, folder: Path) -> None:
        trace = replace(trace, channels=plan.config.data.channels)  # a default training finds rotations and angles
        self._plan, self._trace, self._folder = plan, trace, folder
        specs = check_space(plan.config, plan.space)
        warms_up = any(s.state_init == "warmup" for s in specs)  # in the space, the warm-up may be another value's
        settling = max(s.taps for s in specs) + warms_up * max(s.warmup for s in specs)
        self._measure = Measure(plan.config, trace, settling)
        self._deadline = float("inf")
        self._begun = 0.0

    def outcomes(self, study: optuna.Study, limits: Limits) -> Iterator[TrialResult]:
        """Run trials until a limit of the whole sweep is reached, and yield each outcome.

        Raises the error of a trial where trial after trial fails, StorageError where nothing can be written.
        """
        failures = 0
        while (left := self._left(study, limits)) > 0 and not _is_orphan():
            if _open_trials(study, limits) <= 0:
                _wait_for_others(study)
                continue
            self._deadline = time.monotonic() + left
            one = _Objective(self, study, limits)
            study.optimize(one, n_trials=1, catch=(RtsysidError, TrialEnded))
            outcome = one.outcome(study)
            if outcome is not None:
                yield outcome
            failures = failures + 1 if one.error is not None else 0
            if isinstance(one.error, StorageError) or (one.error is not None and failures >= FAILURES):
                raise one.error

    def _left(self, study: optuna.Study, limits: Limits) -> float:
        if len(finished(study)) >= limits.trials:
            return 0.0
        return limits.seconds - seconds_used(study)

    def run(self, trial: Trial) -> float:
        """Train and measure the configuration of a trial. Raises TrialPruned where it is stopped early."""
        values = suggested(trial, self._plan.space)
        config = configured(self._plan.config, values, self._plan.space)
        spec = fitting_spec(config)
        trial.set_user_attr(MACS, spec.macs)
        trial.set_user_attr(BYTES, FLOAT_BYTES * spec.parameters)
        folder = self._folder / "trials" / str(trial.number)
        error, noted = float("inf"), time.monotonic()
        try:
            with closing(train_trial(config, self._trace, folder, self._measure)) as progress:
                for percent, measured in progress:
                    self._require_wanted()
                    if time.monotonic() - noted > NOTE_S:
                        noted = self.note_time(trial)
                    if measured is not None:
                        error = float(geometric_mean(measured.sum(0), RESOLUTION))
                        _report_error(trial, percent, error)
                        if percent == 100:
                            keep_errors(trial, measured)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return error

    def begin(self, trial: Trial) -> None:
        """Note when a trial begins."""
        self._begun = time.monotonic()
        trial.set_user_attr(BEGAN, time.time())

    def note_time(self, trial: Trial) -> float:
        """Note how long the trial takes so far: a clock that is set meanwhile changes nothing."""
        now = time.monotonic()
        trial.set_user_attr(SECONDS, now - self._begun)
        return now

    def _require_wanted(self) -> None:
        if time.monotonic() > self._deadline:
            raise TrialEnded("the budget is spent")
        if _is_orphan():
            raise TrialEnded("the sweep was stopped")


class _Objective:
    """One call of Optuna: it runs one trial and remembers which."""

    def __init__(self, worker: Worker, study: optuna.Study, limits: Limits) -> None:
        self._worker, self._study, self._limits = worker, study, limits
        self.number = -1
        self.error: RtsysidError | None = None

    def __call__(self, trial: Trial) -> float:
        self._worker.begin(trial)
        self.number = trial.number
        try:
            require_place(self._study, trial.number, self._limits)
            return self._worker.run(trial)
        except (RtsysidError, TrialEnded) as error:
            trial.set_user_attr(REASON, str(error))
            self.error = error if isinstance(error, RtsysidError) else None
            raise
        finally:
            self._worker.note_time(trial)

    def outcome(self, study: optuna.Study) -> TrialResult | None:
        """Report the trial; None where it was not wanted."""
        trial = next(each for each in study.get_trials(deepcopy=False) if each.number == self.number)
        state = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "stopped early"}.get(trial.state, "failed")
        reason = trial.user_attrs.get(REASON, "")
        return None if state == "failed" and not reason else TrialResult(trial.number, state, trial.value, reason)


def _is_orphan() -> bool:
    """Tell whether the process that started this one has ended, by whatever signal."""
    parent = multiprocessing.parent_process()
    return parent is not None and not parent.is_alive()


def _wait_for_others(study: optuna.Study) -> None:
    """Wait a moment: the trials that others run are enough, unless one is lost or stopped early."""
    time.sleep(POLL_S)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)


def _report_error(trial: Trial, percent: int, error: float) -> None:
    """Let Optuna decide whether the trial goes on. A trial of the configuration itself always does."""
    if not error < float("inf"):
        raise RtsysidError(f"trial {trial.number}", "its forecasts are not finite", "none is needed: it is left out")
    if percent < 100:
        trial.report(error, percent)
        if OWN not in trial.user_attrs and trial.should_prune():
            raise optuna.TrialPruned


def _open_trials(study: optuna.Study, limits: Limits) -> float:
    """Count the trials that are wanted and that nobody runs."""
    return limits.trials - sum(map(_counts, study.get_trials(deepcopy=False)))


def _counts(trial: FrozenTrial) -> bool:
    return trial.state in (TrialState.COMPLETE, TrialState.RUNNING)


def require_place(study: optuna.Study, number: int, limits: Limits) -> None:
    """Raise TrialEnded for a trial before which enough others began: two workers may begin the last one at once."""
    before = [each for each in study.get_trials(deepcopy=False) if each.number < number and _counts(each)]
    if len(before) >= limits.trials:
        raise TrialEnded("")
