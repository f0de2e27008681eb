"""Run the default training: short runs choose how the network corrects, then judge and result, then the gains."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
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
from rtsysid.model.contents import gain_names
from rtsysid.model.npz import Arrays
from rtsysid.recordings.pieces import Note
from rtsysid.schedule import AUTO, resolve
from rtsysid.spec import Doubles, to_builtins
from rtsysid.train.auto import words
from rtsysid.train.auto.candidates import CORRECTIONS, REPLACEMENTS, Candidate, refitted, spec_for, stages_for
from rtsysid.train.auto.expected import TICKS, expected_errors, with_network
from rtsysid.train.auto.frames import target_groups
from rtsysid.train.auto.jobs import run_jobs
from rtsysid.train.auto.judge import errors_on, fit_gains, ground_of
from rtsysid.train.auto.parts import Parts, hold_unit, network_of, short_run, trainer_of
from rtsysid.train.auto.plan import ModelPlan
from rtsysid.train.auto.start import linear_arrays
from rtsysid.train.config_text import toml_text
from rtsysid.train.loop import Epoch
from rtsysid.train.network import Network
from rtsysid.train.run import Run
from rtsysid.train.stage_optimiser import with_prefix
from rtsysid.train.windows import Sequences

PASSES = 60  # of the full run over the recordings, at most
SEQUENCES = 4000  # of an epoch, at most about
BATCH = 128
WATCHED = 150  # forecasts that show the progress of the judge
USED = 0.8  # share of the minutes for the full runs
JUDGE, RESULT = "judge", "full"


class Updates(NamedTuple):
    """Count the updates of the weights in a short run, in one that decides between kinds, and in a full one."""

    short: int = 100
    longer: int = 250
    full: int = 750


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
        config = self._config if self.plan is None else self._completed(CORRECTIONS[0], self._updates.full)
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
        replaces, gains = self._config.train.replace_linear, run.weights()["head_gain"].numpy()
        shares = gains / run.arrays("linear_path.npz")["spread"] if replaces else gains
        return [*words.of_result(run.spec, shares, target_groups(run.spec), replaces=bool(replaces)), *stated]

    def _completed(self, candidate: Candidate, steps: int) -> Config:
        assert self.plan is not None
        return completed_config(self.given, self.plan, self.parts, candidate, steps)

    def _choose(self, plan: ModelPlan) -> None:
        """Choose among the candidates by short runs, and write everything that the full runs start from."""
        fitted, judge_model = plan.choice.spec, refitted(plan.choice, self.parts.training)
        candidate = self._best(plan, linear_arrays(plan.spec, judge_model, fitted))
        config = self._completed(candidate, self._updates.full)
        spec = spec_for(candidate, plan.spec, self.given.model)
        arrays: dict[str, Arrays] = {
            "linear_path.npz": linear_arrays(spec, plan.choice.model, fitted),
            "judge_path.npz": linear_arrays(spec, judge_model, fitted),
            "yardstick.npz": {"rms": self._unit(candidate, plan).astype(np.float32)},
        }
        about = {**self._begin["about"], "config": msgspec.to_builtins(config), "spec": to_builtins(spec)}
        with self.run.filling() as new:
            new.save_expected(expected_errors(plan.choice))
            new.save_completed(toml_text(config))
            new.begin(about, self._begin["config_text"], {**self._begin["arrays"], **arrays})

    def _unit(self, candidate: Candidate, plan: ModelPlan) -> Doubles:
        """Return the unit [N, ny] of the losses: what the linear model leaves, or hold where it is replaced."""
        return hold_unit(self.parts.training, plan.spec, plan.horizon) if candidate.replaces else plan.unit

    def _best(self, plan: ModelPlan, judge: Arrays) -> Candidate:
        """Return the candidate that is the best on the validation recordings after a short run.

        The best of each kind are found first; a longer run decides between them, since a correction starts better.
        """
        said = self.given.train.replace_linear
        kinds = [kind for kind in (CORRECTIONS, REPLACEMENTS) if said in (None, kind[0].replaces)]
        if self.given.stage or self._linear:
            return (REPLACEMENTS if said else CORRECTIONS)[0]
        begun, (short, longer, _) = time.monotonic(), self._updates
        scores = self._scores([each for kind in kinds for each in kind], short, plan, judge)
        if self._minutes:
            each = (time.monotonic() - begun) / (short * math.ceil(len(scores) / 2))
            left = max(2 * short, int(USED * 60 * self._minutes / each))
            longer = left // 4 if len(kinds) > 1 else 0
            self._updates = Updates(short, longer, left - longer)
        best = [min(kind, key=lambda each: scores[each.name]) for kind in kinds]
        if len(best) > 1:
            scores = self._scores(best, longer, plan, judge)
        return min(best, key=lambda each: scores[each.name])

    def _scores(self, candidates: Sequence[Candidate], steps: int, plan: ModelPlan, judge: Arrays) -> dict[str, float]:
        """Train each candidate for so many updates and return the scores by name."""
        jobs = {each.name: partial(self._score, each, steps, plan, judge) for each in candidates}
        return dict(with_progress(run_jobs(jobs), f"trying networks, {steps} updates", len(jobs)))

    def _score(self, candidate: Candidate, steps: int, plan: ModelPlan, judge: Arrays) -> Iterator[float]:
        """Yield the score of a candidate where each group and band of ages takes the linear model if that is better."""
        config, parts = self._completed(candidate, steps), self.parts
        spec = spec_for(candidate, plan.spec, self.given.model)
        ground = ground_of(Sequences(parts.validation), spec.settling_samples, plan.horizon)
        linear = errors_on(network_of(spec, judge, 0), ground).mean(0)
        network = network_of(spec, judge, config.train.seed, replaces=candidate.replaces)
        trained = short_run(config, network, parts.training, self._unit(candidate, plan), config.stages[0])
        yield log_ratio(np.minimum(errors_on(trained, ground).mean(0), linear), linear)

    def _train(self, name: str) -> Iterator[Epoch]:
        run, parts = self.run, self.parts
        judge = name == JUDGE
        config, unit = self._config, run.arrays("yardstick.npz")["rms"]
        network = self._network(name)
        pieces = parts.training if judge else parts.every
        trainer = trainer_of(config, run.part(name), network, pieces, parts, unit)
        if not judge:
            yield from trainer.epochs()
            return
        ground = ground_of(Sequences(parts.validation), run.spec.settling_samples, len(unit), WATCHED)
        linear = errors_on(network_of(run.spec, run.arrays("judge_path.npz"), 0), ground)
        for epoch in trainer.epochs():
            found = ratio(errors_on(network, ground), linear).mean(0)
            yield replace(epoch, ahead=tuple(float(found[n - 1]) for n in TICKS if n <= len(found)))

    def _network(self, name: str) -> Network:
        """Make the judge or the result as it is before training."""
        run, train = self.run, self._config.train
        path = run.arrays("judge_path.npz" if name == JUDGE else "linear_path.npz")
        return network_of(run.spec, path, train.seed, replaces=bool(train.replace_linear))

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
        run, spec, network = self.run, self.run.spec, self._network(JUDGE)
        network.load_state_dict(run.part(JUDGE).weights())
        horizon = len(run.arrays("yardstick.npz")["rms"])
        ground = ground_of(Sequences(self.parts.validation), spec.settling_samples, horizon)
        linear_gain = torch.from_numpy(run.arrays("judge_path.npz")["gain"])
        gains = fit_gains(network, linear_gain, ground, target_groups(spec))
        run.save_expected(with_network(run.expected(), ratio(gains.errors, gains.linear)))
        run.part(JUDGE).finish(network.state_dict())
        run.save_history(run.part(JUDGE).history())
        fitted = {name: getattr(network, name).detach().clone() for name in gain_names(spec)}
        run.finish({**run.part(RESULT).weights(), **fitted})


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
    train, rows = given.train, sum(map(len, parts.every))
    spec = spec_for(candidate, plan.spec, given.model)
    batch, stride = train.batch or BATCH, train.stride or max(1, min(10, rows // SEQUENCES))
    per_epoch = max(1, rows // stride // batch)
    updates = min(steps, PASSES * per_epoch)
    stages = given.stage or stages_for(candidate, given.stages, updates, per_epoch, plan.horizon)
    fields = {name: getattr(spec, name) for name in given.model.__struct_fields__}
    return msgspec.structs.replace(
        given,
        model=msgspec.structs.replace(given.model, **fields),
        train=msgspec.structs.replace(
            train, preset=AUTO, batch=batch, stride=stride, effort=1.0, replace_linear=candidate.replaces
        ),
        stage=resolve(stages, spec, train.effort),
    )
