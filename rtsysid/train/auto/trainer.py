"""Run the default training: short runs choose how the network corrects, then judge and result, then the gains."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch

from rtsysid.config import Config
from rtsysid.errors import ScheduleError
from rtsysid.evaluation.metrics import LEAST, log_ratio
from rtsysid.guards.stages import say_stage, with_progress
from rtsysid.model.npz import Arrays
from rtsysid.recordings.pieces import Note
from rtsysid.schedule import AUTO, preset, resolve
from rtsysid.spec import Doubles, to_builtins
from rtsysid.train.auto import words
from rtsysid.train.auto.candidates import CANDIDATES, Candidate, noise_stages_for, refitted, stages_for
from rtsysid.train.auto.expected import TICKS, expected_errors, with_network
from rtsysid.train.auto.frames import target_groups
from rtsysid.train.auto.jobs import run_jobs
from rtsysid.train.auto.judge import errors_on, fit_gains, ground_of
from rtsysid.train.auto.parts import Parts, network_of, short_run, trainer_of
from rtsysid.train.auto.plan import ModelPlan
from rtsysid.train.auto.start import linear_arrays
from rtsysid.train.config_text import toml_text
from rtsysid.train.generative.calibration import calibrate_spread
from rtsysid.train.loop import Epoch
from rtsysid.train.network import Network
from rtsysid.train.run import Run
from rtsysid.train.stage_optimiser import with_prefix
from rtsysid.train.tensors import Tensors
from rtsysid.train.windows import Sequences

PASSES = 60  # of the full run over the recordings, at most
SEQUENCES = 4000  # of an epoch, at most about
BATCH = 128
NOISE_UPDATES = 400  # of the weights that sample futures
WATCHED = 150  # forecasts that show the progress of the judge
USED = 0.8  # share of the minutes for the full runs
JUDGE, RESULT = "judge", "full"


class Updates(NamedTuple):
    """Count the updates of the weights in a short run, and in a full one."""

    short: int = 120
    full: int = 900


NORMAL = Updates()


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

    @property
    def total(self) -> int:
        """Count the epochs of judge and result together."""
        if self._linear:
            return 0
        config = self._config if self.plan is None else self._completed(CANDIDATES[0], self._updates.full)
        return 2 * sum(stage.epochs for stage in config.stages)

    @property
    def done(self) -> int:
        """Count the epochs that the checkpoints have finished. Raises ConfigError where one is damaged."""
        if self.plan is not None:
            return 0
        checkpoints = (self.run.part(name).checkpoint() for name in (JUDGE, RESULT))
        return sum(each[2] for each in checkpoints if each is not None)

    @property
    def _config(self) -> Config:
        return msgspec.convert(self.run.about["config"], Config)

    def epochs(self) -> Iterator[Epoch]:
        """Train to the end and yield each epoch of the judge and of the result after it is saved.

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
            parts = {name: self.run.part(name) for name in (JUDGE, RESULT)}
            jobs = {name: partial(self._train, name) for name, part in parts.items() if not part.complete}
            for _, epoch in run_jobs(jobs):
                yield epoch
            self._finish()

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
        gains = run.weights()["head_gain"].numpy()
        return [*words.of_result(run.spec, gains, target_groups(run.spec)), *stated]

    def _completed(self, candidate: Candidate, steps: int) -> Config:
        assert self.plan is not None
        return completed_config(self.given, self.plan, self.parts, candidate, steps)

    def _choose(self, plan: ModelPlan) -> None:
        """Choose among the candidates by short runs, and write everything that the full runs start from."""
        parts = self.parts
        fitted = plan.choice.spec
        judge = linear_arrays(plan.spec, refitted(plan.choice, parts.training), fitted)
        config = self._completed(self._best(plan, judge), self._updates.full)
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
        """Return the candidate whose short run is the best on the validation recordings."""
        if self.given.stage or self._linear:
            return CANDIDATES[0]
        jobs = {str(k): partial(self._score, each, plan, judge) for k, each in enumerate(CANDIDATES)}
        begun = time.monotonic()
        scores = dict(with_progress(run_jobs(jobs), "trying networks", len(jobs)))
        if self._minutes:
            short = self._updates.short
            each = (time.monotonic() - begun) / (short * math.ceil(len(jobs) / 2))
            self._updates = Updates(short, max(short, int(USED * 60 * self._minutes / each)))
        return CANDIDATES[int(min(jobs, key=lambda k: scores[k]))]  # of equal ones the first, whichever ended first

    def _score(self, candidate: Candidate, plan: ModelPlan, judge: Arrays) -> Iterator[float]:
        config, parts, spec = self._completed(candidate, self._updates.short), self.parts, plan.spec
        ground = ground_of(Sequences(parts.validation), spec.settling_samples, plan.horizon)
        network = network_of(spec, judge, config.train.seed)
        linear = errors_on(network, ground)
        trained = short_run(config, network, parts.training, plan.unit, config.stages[0])
        yield log_ratio(errors_on(trained, ground).mean(0), linear.mean(0))

    def _train(self, name: str) -> Iterator[Epoch]:
        run, parts = self.run, self.parts
        judge = name == JUDGE
        config, unit = self._config, run.arrays("yardstick.npz")["rms"]
        network = network_of(run.spec, run.arrays("judge_path.npz" if judge else "linear_path.npz"), config.train.seed)
        pieces = parts.training if judge else parts.every
        trainer = trainer_of(config, run.part(name), network, pieces, parts, unit)
        trainer.calibrates = False  # `_finish` does, once the gains are known
        if not judge:
            yield from trainer.epochs()
            return
        ground = ground_of(Sequences(parts.validation), run.spec.settling_samples, len(unit), WATCHED)
        linear = errors_on(network_of(run.spec, run.arrays("judge_path.npz"), 0), ground)
        for epoch in trainer.epochs():
            found = ratio(errors_on(network, ground), linear).mean(0)
            yield replace(epoch, ahead=tuple(float(found[n - 1]) for n in TICKS if n <= len(found)))

    def keep_best(self) -> bool:
        """Finish the run with the best of the epochs so far; without any, with the linear model.

        Returns False where there is nothing to keep yet. Raises ConfigError where a checkpoint is damaged.
        """
        if not self.run.begun or self.run.complete:
            return False
        with self.run.claimed():
            for part in (self.run.part(name) for name in (JUDGE, RESULT)):
                checkpoint = None if part.complete else part.checkpoint()
                if checkpoint is not None:
                    part.finish(with_prefix(checkpoint[0], "best/"))
            if self.run.part(JUDGE).complete and self.run.part(RESULT).complete:
                self._finish()
            else:
                self._finish_linear()
        return True

    def _finish_linear(self) -> None:
        """Write the linear model as the result: the head adds nothing."""
        run = self.run
        for name, to in (("judge_path.npz", run.part(JUDGE)), ("linear_path.npz", run)):
            network = network_of(run.spec, run.arrays(name), 0)
            network.head_gain.data.zero_()
            to.finish(network.state_dict())

    def _finish(self) -> None:
        """Use as much of the network as the judge shows to be of use, and write the result."""
        say_stage("weighing the network")
        run, spec = self.run, self.run.spec
        network = network_of(spec, run.arrays("judge_path.npz"), 0)
        network.load_state_dict(run.part(JUDGE).weights())
        horizon = len(run.arrays("yardstick.npz")["rms"])
        ground = ground_of(Sequences(self.parts.validation), spec.settling_samples, horizon)
        linear, errors = fit_gains(network, ground, target_groups(spec))
        run.save_expected(with_network(run.expected(), ratio(errors, linear)))
        measured = {"head_gain": network.head_gain.detach().clone(), **self._calibrated_noise(network)}
        run.part(JUDGE).finish(network.state_dict())
        run.save_history(run.part(JUDGE).history())
        run.finish({**run.part(RESULT).weights(), **measured})

    def _calibrated_noise(self, judge: Network) -> Tensors:
        """Calibrate the noise of the judge on the validation recordings; correct that of the result by as much."""
        if not judge.spec.distribution:
            return {}
        say_stage("calibrating the noise")
        unit, before = torch.from_numpy(self.run.arrays("yardstick.npz")["rms"]), judge.spread.age.detach().clone()
        calibrate_spread(judge, Sequences(self.parts.validation), unit, self._config.train.seed)
        return {"spread.age": self.run.part(RESULT).weights()["spread.age"] + judge.spread.age.detach() - before}


def ratio(errors: Doubles, linear: Doubles) -> Doubles:
    """Return the mean errors [K, G, N] in ratio to those of the linear model: [G, N]."""
    found: Doubles = errors.mean(0) / np.maximum(linear.mean(0), LEAST)
    return found


def completed_config(given: Config, plan: ModelPlan, parts: Parts, candidate: Candidate, steps: int) -> Config:
    """Return the configuration with everything said, for about so many updates.

    Raises ScheduleError where a stage of the file forecasts for longer than the recordings allow.
    """
    if (longest := max((stage.horizon for stage in given.stage), default=0)) > plan.horizon:
        found = f"a rollout of {longest} ticks, and errors of the linear model for {plan.horizon}"
        raise ScheduleError("stages with the preset auto", found, f"set horizon to {plan.horizon} or less")
    train, spec, rows = given.train, plan.spec, sum(map(len, parts.every))
    batch, stride = train.batch or BATCH, train.stride or max(1, min(10, rows // SEQUENCES))
    per_epoch = max(1, rows // stride // batch)
    updates = min(steps, PASSES * per_epoch)
    point = stages_for(candidate, preset(AUTO), updates, per_epoch, plan.horizon)
    stages = given.stage or (*point, *noise_stages_for(spec.distribution, NOISE_UPDATES, per_epoch, plan.horizon))
    fields = {name: getattr(spec, name) for name in given.model.__struct_fields__}
    return msgspec.structs.replace(
        given,
        model=msgspec.structs.replace(given.model, **fields),
        train=msgspec.structs.replace(train, preset=AUTO, batch=batch, stride=stride, effort=1.0),
        stage=resolve(stages, spec, train.effort),
    )
