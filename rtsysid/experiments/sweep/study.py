"""Keep the trials of a sweep in a study of Optuna: its name, its sampler, its pruner, its parameters.

Optuna prunes studies of one objective only. The study minimises the error; the cost of a trial is known before it is
trained, so it needs no model of the sampler, and the pruner compares a trial with those that cost no more.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from rtsysid.config import Config
from rtsysid.experiments.sweep.objective import RUNGS
from rtsysid.experiments.sweep.space import Space, longest_trials, own_trials
from rtsysid.spec import digest

MACS, BYTES = "macs", "weight_bytes"
PLAN = "plan"
BEGAN, SECONDS, REASON = "began", "seconds", "reason"
OWN = "own"  # a trial of the configuration itself
RANDOM_TRIALS = 4  # before the sampler models the error; those of the configuration itself count
ENOUGH = 16  # finished trials that say which parameters matter


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """State what a sweep searches.

    ``config``, ``space``: in full, with what was chosen from the recordings. ``asked``: SHA-256 of what the user gave:
    configuration, space, recordings. ``storage``: public address of the server, empty for the journal.
    """

    config: Config
    space: Space
    asked: dict[str, str]
    storage: str = ""

    @property
    def study(self) -> str:
        """Name the study: sweeps of the same configuration, space and recordings share it, on any machine."""
        return f"rtsysid {digest(self.asked)[:16]}"


def asked_for(config: Config, space: Space | None, sources: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Digest what the user gave: a configuration, a space or none, and recordings by name and SHA-256."""
    given = {"configuration": config, "space": space, "recordings": sources}
    return {name: digest(msgspec.to_builtins(each)) for name, each in given.items()}


def joined_plan(plan: Plan, study: optuna.Study) -> Plan:
    """Return the plan with configuration and space of the study, which another machine may have made."""
    text = study.user_attrs.get(PLAN)
    return plan if text is None else msgspec.structs.replace(msgspec.json.decode(text, type=Plan), storage=plan.storage)


def open_study(plan: Plan, storage: BaseStorage, pruning: bool = True) -> optuna.Study:
    """Create the study, or join it. Its first trials are the configuration itself, as far as it lies in the space.

    Those of a default training follow with the longest training of the space.
    """
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    made: dict[str, Any] = {
        "storage": storage,
        "sampler": _sampler(),
        "pruner": AtMostItsCost() if pruning else NopPruner(),
    }
    study = optuna.create_study(study_name=plan.study, direction="minimize", load_if_exists=True, **made)
    if not study.get_trials(deepcopy=False):  # it is new, or the process that created it was killed before this
        _enqueue_first(study, joined_plan(plan, study))
    return study


def _enqueue_first(study: optuna.Study, plan: Plan) -> None:
    study.set_user_attr(PLAN, msgspec.json.encode(plan).decode())
    for own in own_trials(plan.config, plan.space):
        _enqueue(study, plan.space, own, {OWN: True} if own.keys() == plan.space.keys() else {})
    for longest in longest_trials(plan.config, plan.space):
        _enqueue(study, plan.space, longest, {})


def _enqueue(study: optuna.Study, space: Space, values: Mapping[str, Any], attributes: dict[str, Any]) -> None:
    encoded = {path: _encoded(value, space, path) for path, value in values.items()}
    study.enqueue_trial(encoded, user_attrs=attributes, skip_if_exists=True)


def _sampler() -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return TPESampler(n_startup_trials=RANDOM_TRIALS, multivariate=True, constant_liar=True)


def suggested(trial: Trial, space: Space) -> dict[str, Any]:
    """Let the sampler choose a value for each path."""
    return {path: _suggested(trial, path, space) for path in space}


def _suggested(trial: Trial, path: str, space: Space) -> Any:
    parameter = space[path]
    low, high, step = parameter.low, parameter.high, parameter.step
    if parameter.values or low is None or high is None:
        texts = dict.fromkeys(json.dumps(value) for value in parameter.values)
        return json.loads(trial.suggest_categorical(path, tuple(texts)))
    if isinstance(low, int) and isinstance(high, int) and isinstance(step, int | None):
        return trial.suggest_int(path, low, high, step=step or 1, log=parameter.log)
    return trial.suggest_float(path, low, high, step=step, log=parameter.log)


def _encoded(value: Any, space: Space, path: str) -> Any:
    """Encode a value as the storage has it: choices are JSON texts, since they may be lists."""
    return json.dumps(value) if space[path].values else value


def chosen(trial: FrozenTrial, space: Space) -> dict[str, Any]:
    """Return the values of a stored trial by path, without the paths that the space does not have."""
    plain = {path: value for path, value in trial.params.items() if path in space}
    return {path: json.loads(value) if space[path].values else value for path, value in plain.items()}


class AtMostItsCost(BasePruner):
    """Stop a trial by successive halving among the trials that cost no more multiply-accumulates.

    Half of them go on at each rung. A third did, at two rungs: the first one says too little for that.
    A small model is thus never stopped because a larger one is better: the front keeps its cheap end.
    """

    def __init__(self) -> None:
        factor = RUNGS[1] // RUNGS[0]
        self._halving = SuccessiveHalvingPruner(min_resource=RUNGS[0], reduction_factor=factor)

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Tell whether to stop the trial at its last step."""
        return self._halving.prune(_Peers(study, trial), trial)  # type: ignore[arg-type]


class _Peers:
    """Show the study with only the trials that cost no more than one of them."""

    def __init__(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._study, self._trial = study, trial

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def get_trials(self, *arguments: Any, **options: Any) -> list[FrozenTrial]:
        """List the trials, as `optuna.Study.get_trials` does."""
        most = self._trial.user_attrs[MACS]
        return [t for t in self._study.get_trials(*arguments, **options) if t.user_attrs.get(MACS, most + 1) <= most]


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """List the trials that were trained to the end, best first; of equal errors the earlier first."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(complete, key=lambda trial: (trial.value, trial.number))


def of_configuration(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """List the trials of the configuration itself: one, or one for each kind of network that it leaves open."""
    return [trial for trial in trials if OWN in trial.user_attrs]


def front(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials that no other beats in error without more multiply-accumulates, best error first."""
    kept: list[FrozenTrial] = []
    for trial in sorted(trials, key=lambda trial: (trial.value, trial.user_attrs[MACS])):
        if not kept or trial.user_attrs[MACS] < kept[-1].user_attrs[MACS]:
            kept.append(trial)
    return kept


def importances(study: optuna.Study, space: Mapping[str, Any]) -> dict[str, float]:
    """Return the share of each path in the error, most important first; none where there are too few trials."""
    trials = finished(study)
    varied = [path for path in space if len({str(trial.params.get(path)) for trial in trials}) > 1]
    if len(trials) < ENOUGH or not varied:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return optuna.importance.get_param_importances(study, params=varied)


def counts(study: optuna.Study) -> dict[str, int]:
    """Count the trials that finished, that were stopped early, that failed, and that run."""
    names = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "stopped_early", TrialState.RUNNING: "running"}
    states = [names.get(trial.state, "failed") for trial in study.get_trials(deepcopy=False) if _was_wanted(trial)]
    return {name: states.count(name) for name in (*names.values(), "failed")}


def _was_wanted(trial: FrozenTrial) -> bool:
    """Tell a trial from one that waits, and from one too many, which ended before it was trained."""
    return trial.state not in (TrialState.WAITING, TrialState.FAIL) or MACS in trial.user_attrs


def seconds_used(study: optuna.Study) -> float:
    """Count the seconds in which at least one worker ran a trial, over all invocations and machines."""
    attributes = [trial.user_attrs for trial in study.get_trials(deepcopy=False)]
    spans = sorted((each[BEGAN], each[BEGAN] + each.get(SECONDS, 0.0)) for each in attributes if BEGAN in each)
    used, until = 0.0, float("-inf")
    for began, ended in spans:
        used += max(0.0, ended - max(began, until))
        until = max(until, ended)
    return used
