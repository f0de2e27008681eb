"""The candidates of the default training: a network that corrects the linear model, or one that replaces it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from rtsysid.evaluation.linear.choice import LinearChoice
from rtsysid.evaluation.linear.folds import Folds
from rtsysid.evaluation.linear.maps import LinearModel
from rtsysid.evaluation.linear.ridge import equations
from rtsysid.schedule import Loss, Stage, noise_stages
from rtsysid.spec import Floats


class Candidate(NamedTuple):
    """Hold the weight decay, and the standard deviation of the noise on what the network sees.

    ``replaces``: the network predicts alone. A linear model that is far off after some ticks then leads it nowhere.
    """

    name: str
    decay: float
    noise: float
    replaces: bool = False


CORRECTIONS = (Candidate("firm", 1.0, 0.05), Candidate("loose", 0.01, 0.03), Candidate("very firm", 8.0, 0.1))
REPLACEMENT = Candidate("replacement", 0.01, 0.03, replaces=True)
RECONSTRUCTION = 0.01  # weight of the reconstruction where the network predicts alone


def refitted(choice: LinearChoice, episodes: Sequence[Floats]) -> LinearModel:
    """Fit the chosen linear model to these episodes [n, C] alone."""
    folds = Folds(list(episodes), [0] * len(episodes))
    lags = choice.model.near.lags, choice.model.far.lags
    near, far = (equations(choice.spec, folds, n).solve(r) for n, r in zip(lags, choice.ridges, strict=True))
    return choice.model._replace(near=near, far=far)


def stages_for(
    candidate: Candidate, stages: Sequence[Stage], steps: int, per_epoch: int, horizon: int
) -> tuple[Stage, ...]:
    """Return the stages of a candidate with about so many updates, `per_epoch` of them in an epoch."""
    return tuple(adapted(candidate, stage) for stage in _shortened(stages, steps, per_epoch, horizon))


def _shortened(stages: Sequence[Stage], steps: int, per_epoch: int, horizon: int) -> Iterator[Stage]:
    epochs = sum(stage.epochs for stage in stages)
    for stage in stages:
        own = max(1, round(stage.epochs / epochs * steps / per_epoch))
        losses = tuple(msgspec.structs.replace(loss, horizon=min(loss.horizon, horizon)) for loss in stage.loss)
        yield msgspec.structs.replace(stage, epochs=own, loss=losses)


def adapted(candidate: Candidate, stage: Stage) -> Stage:
    """Return the stage with decay, noise and losses of a candidate."""
    losses = tuple(map(_alone, stage.loss)) if candidate.replaces else stage.loss
    return msgspec.structs.replace(stage, loss=losses, weight_decay=candidate.decay, input_noise=candidate.noise)


def _alone(loss: Loss) -> Loss:
    """Adapt a loss to a network that predicts alone: each tick weighs alike, in units of hold's last error."""
    weight = loss.weight if loss.kind == "rollout" else RECONSTRUCTION
    return msgspec.structs.replace(loss, octaves=False, weight=weight)


def noise_stages_for(distribution: str, steps: int, per_epoch: int, horizon: int) -> tuple[Stage, ...]:
    """Return the stages of the noise of a distribution with about so many updates, `per_epoch` of them in an epoch."""
    return tuple(_shortened(noise_stages(distribution), steps, per_epoch, horizon))
