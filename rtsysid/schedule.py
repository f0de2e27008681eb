"""Training schedules as data: `[[stage]]` tables that say what trains, on which losses, for how long.

A schedule is read from TOML, checked against a model specification, and only then run. The presets under
`rtsysid/presets/` are the two schedules of M. Mozifian's 2017 talk: `two-stage` and `greedy`.
"""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Literal

import msgspec

from rtsysid.errors import ScheduleError
from rtsysid.spec import ModelSpec

PRESETS = ("two-stage", "greedy")
GROUPS = ("encoder", "decoder", "lstm", "head", "initialiser", "direct")


class Loss(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One term of a stage's objective.

    ``reconstruction``: window against its decoded code; with ``layer`` k, the input of encoder layer k against what
    decoder layer k makes of its output. ``one_step``: teacher-forced prediction. ``rollout``: ``horizon`` steps with
    predictions fed back. With the ``norm`` square both are squared errors in units of what a linear ARX leaves after as
    many steps. With absolute they are errors as they are, in the unit of the last step: what a sum over the horizon
    counts, in which a few violent stretches and the first steps say less.
    """

    kind: Literal["reconstruction", "one_step", "rollout"]
    weight: float = 1.0
    horizon: int = 50
    layer: int = 0
    norm: Literal["square", "absolute"] = "square"

    def __post_init__(self) -> None:
        if self.weight <= 0 or self.horizon < 1 or self.layer < 0:
            raise ScheduleError(f"loss {self.kind}", "weight or horizon is not positive", "drop the loss or mend it")


class TeacherForcing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Share of a rollout's ticks, from its start, that see the measured output; annealed linearly over the epochs."""

    start: float = 0.0
    end: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.start <= 1 and 0 <= self.end <= 1):
            raise ScheduleError("teacher_forcing", f"{self.start} to {self.end}", "ratios lie between 0 and 1")

    def ratio(self, epoch: int, epochs: int) -> float:
        """Ratio in epoch 0 .. epochs - 1."""
        return self.start + (self.end - self.start) * epoch / max(epochs - 1, 1)


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One stage. Groups that are not named in ``train`` are frozen: their weights stay bit-identical.

    ``optional``: what the model at hand lacks is left out, and the stage is skipped when nothing remains; so one
    preset serves all variants. ``each_layer``: the stage is repeated for every encoder layer, ``{layer}`` in names.
    ``patience``: epochs without a better validation loss before the stage ends (0: never); the best weights are kept.

    ``first_horizon``: of rollouts in the first epoch, from where it grows to the full one over the first half of the
    epochs (0: full at once). ``average``: the weights that are judged and kept are a running mean with this decay per
    batch (0: the weights themselves).
    ``optimiser``: ``adam`` batch by batch, or ``lbfgs``, which minimises the loss over all sequences at once,
    ``iterations`` per epoch; there ``weight_decay`` times half of the squared weights joins the loss.
    """

    name: str
    train: tuple[str, ...]
    loss: tuple[Loss, ...]
    epochs: int = 20
    learning_rate: float = 1e-3
    final_rate: float = 0.05  # of learning_rate, reached by a cosine over the epochs
    teacher_forcing: TeacherForcing = TeacherForcing()
    patience: int = 0
    weight_decay: float = 0.0
    input_noise: float = 0.0  # standard deviation, in units of each channel's spread
    first_horizon: int = 0
    average: float = 0.0
    optimiser: Literal["adam", "lbfgs"] = "adam"
    iterations: int = 20
    balance: float | None = None  # of the sequences drawn, where it is not that of [train]
    optional: bool = False
    each_layer: bool = False

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.learning_rate <= 0 or not self.loss:
            raise ScheduleError(f"stage {self.name!r}", "no epochs, rate or loss", "give it at least one of each")
        if self.first_horizon < 0 or self.iterations < 1 or not 0 <= self.average < 1:
            found = "first_horizon, iterations or average out of range"
            raise ScheduleError(f"stage {self.name!r}", found, "give counts, and an average below 1")
        if self.optimiser == "lbfgs" and self.average:
            raise ScheduleError(f"stage {self.name!r}", "an average of lbfgs", "it has no batches: leave average out")

    @property
    def horizon(self) -> int:
        """Steps that the longest rollout needs; 0 where predictions are never fed back."""
        return max((loss.horizon for loss in self.loss if loss.kind == "rollout"), default=0)

    def balance_of(self, train: float) -> float:
        """How recordings count in this stage, given how they do in the whole training."""
        return train if self.balance is None else self.balance

    def at(self, epoch: int) -> Stage:
        """The stage with rollouts as long as they are in epoch 0 .. epochs - 1."""
        grown = min(1.0, 2 * epoch / self.epochs)
        if not self.first_horizon or grown == 1.0:
            return self
        longest = round(self.first_horizon + (self.horizon - self.first_horizon) * grown)
        shorter = tuple(msgspec.structs.replace(each, horizon=min(each.horizon, longest)) for each in self.loss)
        return msgspec.structs.replace(self, loss=shorter)


def preset(name: str) -> tuple[Stage, ...]:
    """Stages of a preset by name."""
    if name not in PRESETS:
        raise ScheduleError("preset", repr(name), f"choose among {', '.join(PRESETS)}, or write [[stage]] tables")
    text = resources.files("rtsysid.presets").joinpath(f"{name}.toml").read_text()
    return msgspec.convert(tomllib.loads(text)["stage"], tuple[Stage, ...])


def resolve(stages: tuple[Stage, ...], spec: ModelSpec, effort: float = 1.0) -> tuple[Stage, ...]:
    """The stages that this model will run: layers unrolled, epochs scaled by `effort`, everything checked."""
    unrolled = [one for stage in stages for one in _per_layer(stage, spec)]
    fitted = [one for stage in unrolled if (one := _fit(stage, spec)) is not None]
    if not fitted:
        raise ScheduleError("schedule", f"no stage applies to {spec.variant}", "add a stage that trains lstm and head")
    return tuple(msgspec.structs.replace(s, epochs=max(1, round(s.epochs * effort))) for s in fitted)


def groups_of(spec: ModelSpec) -> tuple[str, ...]:
    """Names that `Stage.train` may use for this model: whole groups, and single encoder or decoder layers."""
    layers = [f"{part}.{k + 1}" for part in ("encoder", "decoder") for k in range(len(spec.encoder))]
    parts = ["encoder", "decoder"] if spec.encoder else []
    extra = ["initialiser"] if spec.state_init == "network" else []
    return (*parts, *layers, "lstm", "head", *extra, *(["direct"] if spec.direct else []))


def _per_layer(stage: Stage, spec: ModelSpec) -> list[Stage]:
    if not stage.each_layer:
        return [stage]
    layers = range(1, len(spec.encoder) + 1)
    return [
        msgspec.structs.replace(
            stage,
            name=stage.name.format(layer=k),
            train=tuple(group.format(layer=k) for group in stage.train),
            loss=tuple(msgspec.structs.replace(loss, layer=k) for loss in stage.loss),
        )
        for k in layers
    ]


def _fit(stage: Stage, spec: ModelSpec) -> Stage | None:
    known = groups_of(spec)
    unknown = [group for group in stage.train if group not in known]
    absent = [group for group in unknown if group.split(".")[0] in GROUPS]
    useless = [loss for loss in stage.loss if loss.kind == "reconstruction" and loss.layer > len(spec.encoder)]
    if not spec.encoder:
        useless = [loss for loss in stage.loss if loss.kind == "reconstruction"]
    if set(unknown) - set(absent) or (not stage.optional and (unknown or useless)):
        found = ", ".join(unknown) or "a reconstruction loss without its layer"
        raise ScheduleError(f"stage {stage.name!r}", f"{spec.variant} has no {found}", f"it has {', '.join(known)}")
    train = tuple(group for group in stage.train if group in known)
    loss = tuple(loss for loss in stage.loss if loss not in useless)
    if not train or not loss:
        if stage.optional:
            return None
        raise ScheduleError(f"stage {stage.name!r}", "nothing to train", f"name groups among {', '.join(known)}")
    _check_reach(stage.name, train, loss)
    return msgspec.structs.replace(stage, train=train, loss=loss)


def _check_reach(name: str, train: tuple[str, ...], losses: tuple[Loss, ...]) -> None:
    """Every group that trains must be reached by a loss, or it would sit still under the name of training."""
    predicts = any(loss.kind != "reconstruction" for loss in losses)
    reconstructs = any(loss.kind == "reconstruction" for loss in losses)
    for group in train:
        part = group.split(".")[0]
        if (part == "decoder" and not reconstructs) or (part not in ("encoder", "decoder") and not predicts):
            wanted = "reconstruction" if part == "decoder" else "one_step or rollout"
            raise ScheduleError(
                f"stage {name!r}", f"nothing to train in {group!r}: no loss reaches it", f"add a {wanted} loss"
            )
