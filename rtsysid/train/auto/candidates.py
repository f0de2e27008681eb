"""The candidates of the default training: how strongly the network that corrects the linear model is held back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from rtsysid.evaluation.linear.choice import LinearChoice
from rtsysid.evaluation.linear.folds import Folds
from rtsysid.evaluation.linear.maps import LinearModel
from rtsysid.evaluation.linear.ridge import equations
from rtsysid.schedule import Stage, noise_stages
from rtsysid.spec import Floats


class Candidate(NamedTuple):
    """Hold the weight decay, and the standard deviation of the noise on what the network sees."""

    name: str
    decay: float
    noise: float


CANDIDATES = (Candidate("firm", 1.0, 0.05), Candidate("loose", 0.01, 0.03), Candidate("very firm", 8.0, 0.1))


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
    epochs = sum(stage.epochs for stage in stages)
    return tuple(
        msgspec.structs.replace(
            stage,
            epochs=max(1, round(stage.epochs / epochs * steps / per_epoch)),
            loss=tuple(msgspec.structs.replace(loss, horizon=min(loss.horizon, horizon)) for loss in stage.loss),
            weight_decay=candidate.decay,
            input_noise=candidate.noise,
        )
        for stage in stages
    )


def noise_stages_for(distribution: str, steps: int, per_epoch: int, horizon: int) -> tuple[Stage, ...]:
    """Return the stages of the noise of a distribution with about so many updates, `per_epoch` of them in an epoch."""
    stages = noise_stages(distribution)
    epochs = sum(stage.epochs for stage in stages)
    return tuple(
        msgspec.structs.replace(
            stage,
            epochs=max(1, round(stage.epochs / epochs * steps / per_epoch)),
            loss=tuple(msgspec.structs.replace(loss, horizon=min(loss.horizon, horizon)) for loss in stage.loss),
        )
        for stage in stages
    )
