"""Complete a configuration for a default training, and derive the configuration of each kind of network from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from rtsysid.config import Config
from rtsysid.errors import ScheduleError
from rtsysid.schedule import AUTO, preset, resolve
from rtsysid.train.auto.candidates import REPLACEMENT, Candidate, adapted, stages_for

if TYPE_CHECKING:  # both load torch
    from rtsysid.train.auto.parts import Parts
    from rtsysid.train.auto.plan import ModelPlan

CORRECTION, REPLACED = "correction", "replacement"  # kinds of network
PASSES = 60  # of the full run over the recordings, at most
SEQUENCES = 4000  # of an epoch, at most about
BATCH = 128


def completed_config(
    given: Config, plan: ModelPlan, parts: Parts, candidate: Candidate, steps: int, passes: float = PASSES
) -> Config:
    """Return the configuration with everything said, for about so many updates.

    `passes`: of the full run over the recordings, at most.

    Raises ScheduleError where a stage of the file forecasts for longer than the recordings allow.
    """
    if (longest := max((stage.horizon for stage in given.stage), default=0)) > plan.horizon:
        found = f"a rollout of {longest} ticks, and errors of the linear model for {plan.horizon}"
        raise ScheduleError("stages with the preset auto", found, f"set horizon to {plan.horizon} or less")
    train, spec, rows = given.train, plan.spec, sum(map(len, parts.every))
    replaces = False if given.stage and train.replace_linear is None else train.replace_linear
    batch, stride = train.batch or BATCH, train.stride or max(1, min(10, rows // SEQUENCES))
    per_epoch = max(1, rows // stride // batch)
    updates = int(min(steps, passes * per_epoch))
    stages = given.stage or stages_for(candidate, preset(AUTO), updates, per_epoch, plan.horizon)
    fields = {name: getattr(spec, name) for name in given.model.__struct_fields__}
    return msgspec.structs.replace(
        given,
        model=msgspec.structs.replace(given.model, **fields),
        train=msgspec.structs.replace(
            train, preset=AUTO, batch=batch, stride=stride, effort=1.0, replace_linear=replaces
        ),
        stage=resolve(stages, spec, train.effort),
    )


def last_stage_alone(config: Config, history: Iterable[Mapping[str, Any]]) -> Config:
    """Return the configuration that repeats the last stage, for as many epochs as were best in this training.

    `history`: see `Run.history`. The recordings that showed it are trained on then, and cannot show it again.
    """
    stage = config.stages[-1]
    best = [line["epoch"] for line in history if line["stage"] == stage.name and line["best"]]
    return msgspec.structs.replace(
        config, stage=(msgspec.structs.replace(stage, epochs=max(best, default=stage.epochs)),)
    )


def network_kinds(config: Config) -> tuple[str, ...]:
    """List the kinds of network that a configuration has trained."""
    replaces = config.train.replace_linear
    return (CORRECTION, REPLACED) if replaces is None else (REPLACED,) if replaces else (CORRECTION,)


def with_kind(config: Config, kind: str) -> Config:
    """Return the configuration that trains one kind."""
    if config.train.replace_linear is not None:
        return config
    replaces = kind == REPLACED
    train = msgspec.structs.replace(config.train, replace_linear=replaces)
    stages = tuple(adapted(REPLACEMENT, stage) for stage in config.stages) if replaces else config.stages
    return msgspec.structs.replace(config, train=train, stage=stages)
