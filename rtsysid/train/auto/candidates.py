"""The candidates of the default training: a network that corrects the linear model, or one that replaces it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from rtsysid.config import Model
from rtsysid.evaluation.linear.choice import LinearChoice
from rtsysid.evaluation.linear.folds import Folds
from rtsysid.evaluation.linear.maps import LinearModel
from rtsysid.evaluation.linear.ridge import equations
from rtsysid.schedule import Loss, Stage
from rtsysid.spec import Floats, ModelSpec


class Candidate(NamedTuple):
    """Hold the weight decay, and the standard deviation of the noise on what the network sees.

    ``replaces``: the network predicts alone. A linear model that is far off after some ticks then leads it nowhere.
    ``encoder_taps``: newest rows that the encoder sees; None: those of the plan. Several rows average the noise of
    sensors; one row leaves less to learn.
    """

    name: str
    decay: float
    noise: float
    replaces: bool = False
    encoder_taps: int | None = None


CORRECTIONS = (Candidate("firm", 1.0, 0.05), Candidate("loose", 0.01, 0.03), Candidate("very firm", 8.0, 0.1))
REPLACEMENTS = (
    Candidate("replacement", 0.01, 0.03, replaces=True),
    Candidate("replacement of the newest row", 0.01, 0.03, replaces=True, encoder_taps=1),
)
RECONSTRUCTION = 0.01  # weight of the reconstruction where the network predicts alone


def spec_for(candidate: Candidate, spec: ModelSpec, said: Model) -> ModelSpec:
    """Return the specification of a candidate; what the configuration says about the encoder stays."""
    if candidate.encoder_taps is None or said.encoder is not None or said.encoder_taps is not None:
        return spec
    return msgspec.structs.replace(spec, encoder_taps=candidate.encoder_taps, encoder=(spec.hidden,))


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
            loss=tuple(_loss_for(candidate, loss, horizon) for loss in stage.loss),
            weight_decay=candidate.decay,
            input_noise=candidate.noise,
        )
        for stage in stages
    )


def _loss_for(candidate: Candidate, loss: Loss, horizon: int) -> Loss:
    """Fit a loss to the horizon. Where the network predicts alone, each tick weighs alike, in units of hold's error."""
    loss = msgspec.structs.replace(loss, horizon=min(loss.horizon, horizon))
    if not candidate.replaces:
        return loss
    weight = loss.weight if loss.kind == "rollout" else RECONSTRUCTION
    return msgspec.structs.replace(loss, octaves=False, weight=weight)
