"""Training schedules as data: `[[stage]]` tables that say what trains, on which losses, for how long.

A schedule is read from TOML, checked against a model specification, and only then run. The presets under
`rtsysid/presets/` are the two schedules of M. Mozifian's 2017 talk, `two-stage` and `greedy`, and one for each member
of the autoencoder family: its own stages, then those that all of them share.
"""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Literal

import msgspec

from rtsysid.errors import ScheduleError
from rtsysid.spec import ModelSpec

FAMILY = ("undercomplete", "layer-wise", "sparse", "sparse-kl", "denoising", "contractive", "variational")
PRESETS = ("two-stage", "greedy", *FAMILY)
GROUPS = ("encoder", "decoder", "log_variance", "cell", "head", "initialiser", "linear_path")
PREDICTIONS = ("one_step", "rollout")  # every other loss is about the code alone
PENALTIES = ("sparse_l1", "sparse_kl", "contractive", "divergence")


class Corruption(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is done to a window before it is encoded, for its reconstruction to undo.

    ``noise``: standard deviation of what is added to every value, in spreads. ``mask``: share of the values that show
    their mean instead. ``channels``: up to so many channels show their mean over the whole window, as a sensor that
    failed; how many is drawn for each window.
    """

    noise: float = 0.0
    mask: float = 0.0
    channels: int = 0

    def __post_init__(self) -> None:
        if not (self.noise >= 0 and 0 <= self.mask < 1 and self.channels >= 0):
            found = f"noise {self.noise}, mask {self.mask}, channels {self.channels}"
            raise ScheduleError("corruption", found, "give none below zero, and a mask below 1")


class Loss(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One term of a stage's objective.

    ``reconstruction``: window against its decoded code; with ``layer`` k, the input of encoder layer k against what
    decoder layer k makes of its output. ``one_step``: teacher-forced prediction. ``rollout``: ``horizon`` steps with
    predictions fed back. Both count errors in units of what a linear ARX leaves after as many steps; with the ``unit``
    last, in that of the last step alone, as a sum over the horizon does, in which the first steps say less. With the
    ``norm`` square errors are squared; with absolute they are not, and a few violent stretches say less.

    Penalties, on the code or with ``layer`` k on the output h of encoder layer k alone: ``sparse_l1``, the mean of
    |h|; ``sparse_kl``, how far the mean |h| of each unit is from ``target``; ``contractive``, the squared
    Frobenius norm of the Jacobian, exact for one layer and by ``probes`` random directions for more; ``divergence``,
    of a variational code from a standard normal, in nats per value of the window. See `rtsysid.train.autoencoders`.

    ``anneal``: share of the stage's epochs over which the weight rises to its value.
    """

    kind: Literal["reconstruction", "one_step", "rollout", "sparse_l1", "sparse_kl", "contractive", "divergence"]
    weight: float = 1.0
    horizon: int = 50
    layer: int = 0
    norm: Literal["square", "absolute"] = "square"
    unit: Literal["each", "last"] = "each"
    corruption: Corruption = Corruption()
    target: float = 0.05
    probes: int = 1
    anneal: float = 0.0

    def __post_init__(self) -> None:
        if self.weight <= 0 or self.horizon < 1 or self.layer < 0:
            raise ScheduleError(f"loss {self.kind}", "weight or horizon is not positive", "drop the loss or mend it")
        if not 0 < self.target < 1 or self.probes < 1 or not 0 <= self.anneal <= 1:
            found = f"target {self.target}, probes {self.probes}, anneal {self.anneal}"
            raise ScheduleError(f"loss {self.kind}", found, "target and anneal are shares, and a probe is the least")
        if self.corruption != Corruption() and self.kind != "reconstruction":
            raise ScheduleError(f"loss {self.kind}", "a corruption", "corrupt a reconstruction; or set input_noise")

    def weight_at(self, progress: float) -> float:
        """The weight when this share of the stage's epochs, the running one included, is done."""
        return self.weight * min(1.0, progress / self.anneal) if self.anneal else self.weight


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
    epochs (0: full at once).
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
    optimiser: Literal["adam", "lbfgs"] = "adam"
    iterations: int = 20
    episode_weighting: float | None = None  # of the sequences drawn, where it is not that of [train]
    optional: bool = False
    each_layer: bool = False

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.learning_rate <= 0 or not self.loss:
            raise ScheduleError(f"stage {self.name!r}", "no epochs, rate or loss", "give it at least one of each")
        if self.first_horizon < 0 or self.iterations < 1:
            found = f"first_horizon {self.first_horizon}, iterations {self.iterations}"
            raise ScheduleError(f"stage {self.name!r}", found, "give a horizon of 0 or more, and an iteration")

    @property
    def horizon(self) -> int:
        """Steps that the longest rollout needs; 0 where predictions are never fed back."""
        return max((loss.horizon for loss in self.loss if loss.kind == "rollout"), default=0)

    def episode_weighting_in(self, train: float) -> float:
        """How recordings count in this stage, given how they do in the whole training."""
        return train if self.episode_weighting is None else self.episode_weighting

    def for_epoch(self, epoch: int) -> Stage:
        """The stage as it is in epoch 0 .. epochs - 1: how long its rollouts are by then, and what its losses weigh."""
        grown, longest = min(1.0, 2 * epoch / self.epochs), self.horizon
        if self.first_horizon:
            longest = round(self.first_horizon + (self.horizon - self.first_horizon) * grown)
        progress = (epoch + 1) / self.epochs
        loss = tuple(
            msgspec.structs.replace(
                each, horizon=min(each.horizon, longest or each.horizon), weight=each.weight_at(progress)
            )
            for each in self.loss
        )
        return msgspec.structs.replace(self, loss=loss)


def preset(name: str) -> tuple[Stage, ...]:
    """Stages of a preset by name."""
    if name not in PRESETS:
        raise ScheduleError("preset", repr(name), f"choose among {', '.join(PRESETS)}, or write [[stage]] tables")
    if name in FAMILY:
        return (*_stages(f"autoencoders/{name}"), *_stages("autoencoders/dynamics"))
    return _stages(name)


def _stages(file: str) -> tuple[Stage, ...]:
    text = resources.files("rtsysid.presets").joinpath(f"{file}.toml").read_text()
    return msgspec.convert(tomllib.loads(text)["stage"], tuple[Stage, ...])


def resolve(stages: tuple[Stage, ...], spec: ModelSpec, effort: float = 1.0) -> tuple[Stage, ...]:
    """The stages that this model will run: layers unrolled, epochs scaled by `effort`, everything checked."""
    unrolled = [one for stage in stages for one in _per_layer(stage, spec)]
    fitted = [one for stage in unrolled if (one := _fit(stage, spec)) is not None]
    if not fitted:
        raise ScheduleError("schedule", f"no stage applies to {spec.variant}", "add a stage that trains cell and head")
    if spec.variational and not any("log_variance" in stage.train for stage in fitted):
        remedy = "take preset variational, or train it with a divergence loss"
        raise ScheduleError("schedule of a variational model", "no stage trains log_variance", remedy)
    return tuple(msgspec.structs.replace(s, epochs=max(1, round(s.epochs * effort))) for s in fitted)


def groups_of(spec: ModelSpec) -> tuple[str, ...]:
    """Names that `Stage.train` may use for this model: whole groups, and single encoder or decoder layers."""
    layers = [f"{part}.{k + 1}" for part in ("encoder", "decoder") for k in range(len(spec.encoder))]
    parts = ["encoder", "decoder"] if spec.encoder else []
    parts += ["log_variance"] if spec.variational else []
    extra = ["initialiser"] if spec.state_init == "network" else []
    return (*parts, *layers, "cell", "head", *extra, *(["linear_path"] if spec.linear_path else []))


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
    useless = [loss for loss in stage.loss if _lacks_layer(loss, spec)]
    if set(unknown) - set(absent) or (not stage.optional and (unknown or useless)):
        found = ", ".join(unknown) or f"layer for a {useless[0].kind} loss"
        variational = "log_variance" in unknown or "divergence" in found
        remedy = "set model.variational = true" if variational else f"it has {', '.join(known)}"
        raise ScheduleError(f"stage {stage.name!r}", f"{spec.variant} has no {found}", remedy)
    train = tuple(group for group in stage.train if group in known)
    loss = tuple(loss for loss in stage.loss if loss not in useless)
    if not train or not loss:
        if stage.optional:
            return None
        raise ScheduleError(f"stage {stage.name!r}", "nothing to train", f"name groups among {', '.join(known)}")
    _check_reach(stage.name, train, loss)
    for each in loss:
        _check_penalty(stage.name, train, each, spec)
    return msgspec.structs.replace(stage, train=train, loss=loss)


def _lacks_layer(loss: Loss, spec: ModelSpec) -> bool:
    """Whether the model has not the layer that a loss is about; divergence is about the variational one."""
    if loss.kind in PREDICTIONS:
        return False
    return not spec.encoder or loss.layer > len(spec.encoder) or (loss.kind == "divergence" and not spec.variational)


def _check_reach(name: str, train: tuple[str, ...], losses: tuple[Loss, ...]) -> None:
    """Every group that trains must be reached by a loss, or it would sit still under the name of training."""
    kinds = {loss.kind for loss in losses}
    predictions = set(PREDICTIONS)
    reach = {
        "encoder": kinds,
        "decoder": kinds & {"reconstruction"},
        "log_variance": kinds & {"reconstruction", "divergence", *PREDICTIONS},
    }
    for group in train:
        part = group.split(".")[0]
        if not reach.get(part, kinds & predictions):
            wanted = "reconstruction" if part == "decoder" else "one_step or rollout"
            raise ScheduleError(
                f"stage {name!r}", f"nothing to train in {group!r}: no loss reaches it", f"add a {wanted} loss"
            )


def _check_penalty(name: str, train: tuple[str, ...], loss: Loss, spec: ModelSpec) -> None:
    """A penalty needs a layer that trains, and a corruption must leave something to see."""
    layers = [f"encoder.{loss.layer}"] if loss.layer else [f"encoder.{k + 1}" for k in range(len(spec.encoder))]
    wanted = ["log_variance"] if loss.kind == "divergence" else ["encoder", *layers]
    if loss.kind in PENALTIES and not set(wanted) & set(train):
        raise ScheduleError(
            f"stage {name!r}", f"a {loss.kind} loss, but its layer does not train", f"train {' or '.join(wanted)}"
        )
    if loss.corruption.channels > spec.n_features:
        found = f"up to {loss.corruption.channels} channels are lost of {spec.n_features} that the network sees"
        raise ScheduleError(f"stage {name!r}", found, "lose fewer")
