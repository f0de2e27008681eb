"""Run the default training: short runs choose a correction, full runs a kind of network, the last stage the result.

A correction adds to the linear model; a replacement predicts alone. Both train without the validation recordings, which
then show which of them is better, and where the linear model stays. The better one is the judge. The result continues
from it on all recordings.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import msgspec
import numpy as np

from rtsysid.config import Config
from rtsysid.errors import ScheduleError
from rtsysid.evaluation.metrics import log_ratio
from rtsysid.guards.stages import say_stage, with_progress
from rtsysid.model.npz import Arrays
from rtsysid.recordings.pieces import Note
from rtsysid.spec import to_builtins
from rtsysid.train.auto import words
from rtsysid.train.auto.candidates import CORRECTIONS, REPLACEMENT, Candidate, refitted
from rtsysid.train.auto.completed import (
    CORRECTION,
    PASSES,
    REPLACED,
    completed_config,
    last_stage_alone,
    network_kinds,
    with_kind,
)
from rtsysid.train.auto.expected import TICKS, expected_errors
from rtsysid.train.auto.frames import target_groups
from rtsysid.train.auto.jobs import run_jobs
from rtsysid.train.auto.judge import errors_on, ground_of, ratio
from rtsysid.train.auto.networks import JUDGE, RunNetworks
from rtsysid.train.auto.noise import UPDATES, noise_epochs, noise_weights
from rtsysid.train.auto.parts import Parts, network_of, short_run, trainer_of
from rtsysid.train.auto.plan import ModelPlan
from rtsysid.train.auto.start import linear_arrays
from rtsysid.train.config_text import toml_text
from rtsysid.train.loop import Epoch, Trainer
from rtsysid.train.run import Run
from rtsysid.train.stage_optimiser import with_prefix
from rtsysid.train.windows import Sequences

WATCHED = 150  # forecasts that show the progress of a network
USED = 0.65  # share of the minutes for the full runs; the result takes a quarter of their time
LARGEST = 64  # units of a cell that is chosen
RESULT = "full"  # part of the run, next to the kinds of network and the judge


class Updates(NamedTuple):
    """Count the updates of the weights in a short run, and in a full one of a cell of `LARGEST` units."""

    short: int = 100
    full: int = 800
    noise: int = UPDATES

    def full_of(self, hidden: int) -> int:
        """Count the updates of a full run; an update of a smaller cell takes less time, and there are more of them."""
        return round(self.full * more_updates(hidden))


NORMAL = Updates()


def more_updates(hidden: int) -> float:
    """Return the factor by which a smaller cell has more updates."""
    return min(2.0, max(1.0, LARGEST / hidden))


class AutoTrainer:
    """Train with everything chosen that the configuration does not say. Iterate over `epochs`, like `Trainer`."""

    def __init__(
        self,
        given: Config,
        plan: ModelPlan | None,
        parts: Parts,
        run: Run,
        notes: tuple[Note, ...],
        begin: dict[str, Any],
        *,
        linear: bool = False,
        minutes: float | None = None,
        updates: Updates = NORMAL,
    ) -> None:
        """`plan`: None where the run in the folder is continued. `begin`: about, config_text and arrays of `Run.begin`.

        `linear`: end with the linear model. `minutes`: how long the training takes about, in place of `effort`.
        """
        if minutes:
            given = msgspec.structs.replace(given, train=msgspec.structs.replace(given.train, effort=1.0))
        self.given, self.plan, self.parts, self.run, self.notes = given, plan, parts, run, notes
        self._begin, self._linear, self._minutes, self._updates = begin, linear, minutes, updates
        self.networks = RunNetworks(run, parts)

    @property
    def total(self) -> int:
        """Count the epochs of each kind and of the result together."""
        if self._linear:
            return 0
        config = self.networks.config if self.plan is None else self._completed(CORRECTIONS[0])
        return len(network_kinds(config)) * sum(stage.epochs for stage in config.stages) + config.stages[-1].epochs

    @property
    def done(self) -> int:
        """Count the epochs that the checkpoints have finished. Raises ConfigError where one is damaged."""
        if self.plan is not None:
            return 0
        checkpoints = (self.run.part(name).checkpoint() for name in (CORRECTION, REPLACED, RESULT))
        return sum(each[2] for each in checkpoints if each is not None)

    def epochs(self) -> Iterator[Epoch]:
        """Train to the end and yield each epoch of each kind and of the result after it is saved.

        A run that is finished stays as it is. Raises the errors of `rtsysid.train.loop.Trainer.epochs`.
        """
        with self.run.claimed():
            if self.plan is not None:
                self._choose(self.plan)
            elif self.run.complete:
                return
            if self._linear:
                return self._finish_linear()
            say_stage("training")
            yield from self._train_all(network_kinds(self.networks.config))
            if self.networks.trained():
                self.networks.weigh()
                say_stage("training on all recordings")
                yield from self._train_all((RESULT,))
            else:
                say_stage("the training diverged: the linear model stays")
                self._judge_linear()
            yield from noise_epochs(self.run, JUDGE, self.networks.config, self.parts, self._updates.noise)
            self._finish()

    def _train_all(self, names: Sequence[str]) -> Iterator[Epoch]:
        """Train these parts at the same time. Epochs show the best of the errors so far."""
        jobs = {name: partial(self._train, name) for name in names if not self.run.part(name).complete}
        latest: dict[str, tuple[float, ...]] = {}
        for name, epoch in run_jobs(jobs):
            latest[name] = epoch.ahead
            yield replace(epoch, ahead=tuple(min(1.0, *each) for each in zip(*latest.values(), strict=True)))

    def findings(self) -> list[str]:
        """Describe what was chosen before the short runs; nothing where a run is continued."""
        return [] if self.plan is None else [*words.of_plan(self.plan), *self._heading()]

    def _heading(self) -> list[str]:
        shown = "  ".join(f"{n:>5}" for n in TICKS)
        return [] if self._linear else ["error in ratio to the linear model's", f"{'after ticks':>21}   {shown}"]

    def conclusions(self) -> list[str]:
        """Describe what the finished run holds, and what to expect of it."""
        run, stated = self.run, list(words.of_expected(self.run.expected()))
        stated = [*stated, f"everything that was chosen: {run.folder / 'completed.toml'}"]
        if self._linear:
            return stated
        replaces, gains = self.networks.replaces(), run.weights()["head_gain"].numpy()
        shares = gains / run.arrays("linear_path.npz")["spread"] if replaces else gains
        return [*words.of_result(run.spec, shares, target_groups(run.spec), replaces=replaces), *stated]

    def _completed(self, candidate: Candidate, steps: int | None = None) -> Config:
        """Complete the configuration for so many updates; by default for a full run."""
        assert self.plan is not None
        steps = steps or self._updates.full_of(self.plan.spec.hidden)
        passes = math.inf if self._minutes else PASSES  # who says how long has said enough
        return completed_config(self.given, self.plan, self.parts, candidate, steps, passes)

    def _choose(self, plan: ModelPlan) -> None:
        """Choose among the candidates by short runs, and write everything that the full runs start from."""
        fitted = plan.choice.spec
        judge = linear_arrays(plan.spec, refitted(plan.choice, self.parts.training), fitted)
        config = self._completed(self._best(plan, judge))
        arrays: dict[str, Arrays] = {
            "linear_path.npz": linear_arrays(plan.spec, plan.choice.model, fitted),
            "judge_path.npz": judge,
            "yardstick.npz": {"rms": plan.unit.astype(np.float32)},
        }
        about = {**self._begin["about"], "config": msgspec.to_builtins(config), "spec": to_builtins(plan.spec)}
        with self.run.filling() as new:
            new.save_expected(expected_errors(plan.choice))
            new.save_completed(toml_text(config))
            new.begin(about, self._begin["config_text"], {**self._begin["arrays"], **arrays})

    def _best(self, plan: ModelPlan, judge: Arrays) -> Candidate:
        """Return the correction whose short run is the best on the validation recordings, unless there is no choice.

        Where there is none, a short run still shows how many updates fit into the minutes.
        """
        said = REPLACEMENT if self.given.train.replace_linear else CORRECTIONS[0]
        if self.given.stage or self._linear or (said.replaces and not self._minutes):
            return said
        tried = (said,) if said.replaces else CORRECTIONS
        jobs = {str(k): partial(self._score, each, plan, judge) for k, each in enumerate(tried)}
        begun, short = time.monotonic(), self._updates.short
        scores = dict(with_progress(run_jobs(jobs), "trying networks", len(jobs)))
        if self._minutes:
            each = (time.monotonic() - begun) / (short * math.ceil(len(jobs) / 2))
            updates = USED * 60 * self._minutes / each / more_updates(plan.spec.hidden)
            self._updates = self._updates._replace(full=max(short, int(updates)))
        return tried[int(min(jobs, key=lambda k: scores[k]))]  # of equal ones the first, whichever ended first

    def _score(self, candidate: Candidate, plan: ModelPlan, judge: Arrays) -> Iterator[float]:
        config, parts, spec = self._completed(candidate, self._updates.short), self.parts, plan.spec
        ground = ground_of(Sequences(parts.validation), spec.settling_samples, plan.horizon)
        network = network_of(spec, judge, config.train.seed)
        linear = errors_on(network, ground)
        trained = short_run(config, network, parts.training, plan.unit, config.stages[0])
        yield log_ratio(errors_on(trained, ground).mean(0), linear.mean(0))

    def completed(self) -> Config:
        """Choose what the configuration leaves open, by short runs where there is a choice, and return it whole."""
        with self.run.claimed():
            if self.plan is not None:
                self._choose(self.plan)
            return self.networks.config

    def trial(self) -> Trainer:
        """Return the trainer of the one kind of network that a completed configuration has."""
        return self._trainer(network_kinds(self.completed())[0])

    def _trainer(self, name: str) -> Trainer:
        """Make the trainer of a kind, or of the result: the last stage with all recordings."""
        run, parts = self.run, self.parts
        if name == RESULT:
            pieces, network, kind = parts.every, self.networks.of_judge(), self.networks.kind()
        else:
            pieces, network, kind = parts.training, self.networks.new(name), name
        config = with_kind(self.networks.config, kind)
        if name == RESULT:
            config = last_stage_alone(config, run.part(kind).history())
        return trainer_of(config, run.part(name), network, pieces, parts, self.networks.unit(kind))

    def _train(self, name: str) -> Iterator[Epoch]:
        """Train a part of the run; a kind that diverges is left out."""
        try:
            yield from self._measured(name)
        except ScheduleError:
            if name == RESULT:
                raise

    def _measured(self, name: str) -> Iterator[Epoch]:
        """Train a part of the run, and measure each epoch on some validation sequences."""
        trainer, ground = self._trainer(name), self.networks.ground(WATCHED)
        linear = errors_on(self.networks.new(CORRECTION), ground)
        for epoch in trainer.epochs():
            found = ratio(errors_on(trainer.network, ground), linear).mean(0)
            yield replace(epoch, ahead=tuple(float(found[n - 1]) for n in TICKS if n <= len(found)))

    def keep_best(self) -> bool:
        """Finish the run with the best of the epochs so far; without any, with the linear model.

        Returns False where there is nothing to keep yet. Raises ConfigError where a checkpoint is damaged.
        """
        run = self.run
        if not run.begun or run.complete or run.spec.distribution:  # its noise is trained last, and cannot be missing
            return False
        with run.claimed():
            for part in (run.part(name) for name in (*network_kinds(self.networks.config), RESULT)):
                checkpoint = None if part.complete else part.checkpoint()
                if checkpoint is not None:
                    part.finish(with_prefix(checkpoint[0], "best/"))
            if self.networks.trained():
                self.networks.weigh()
                self._finish()
            else:
                self._finish_linear()
        return True

    def _finish_linear(self) -> None:
        """Write the linear model as the result."""
        self._judge_linear()
        self._finish()

    def _judge_linear(self) -> None:
        """Let the linear model be the judge: the head adds nothing."""
        run = self.run
        network = network_of(run.spec, run.arrays("judge_path.npz"), 0)
        network.head_gain.data.zero_()
        run.part(JUDGE).finish(network.state_dict())

    def _finish(self) -> None:
        """Write the result; where its training has not begun, the judge with the linear maps of all recordings.

        Both get the noise: the judge calibrates the bundle.
        """
        result, judge, noise = self.run.part(RESULT), self.run.part(JUDGE), noise_weights(self.run)
        weights = result.weights() if result.complete else self.networks.of_judge().state_dict()
        judge.finish({**judge.weights(), **noise})
        self.run.finish({**weights, **noise})
