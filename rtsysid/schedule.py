"""Define training schedules: `[[stage]]` tables with the groups to train, the losses and the epochs.

A schedule is read from TOML and checked against a model specification before it runs. The presets in
`rtsysid/presets/` are `two-stage` and `greedy`, and one for each member of the autoencoder family. The members share
their last stages (`autoencoders/dynamics.toml`). Ref: M. Mozifian, talk on autoencoders for dynamic system modelling,
2017.
"""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Literal

import msgspec

from rtsysid.errors import ScheduleError
from rtsysid.guards import ranges
from rtsysid.spec import ModelSpec

FAMILY = ("undercomplete", "layer-wise", "sparse", "sparse-kl", "denoising", "contractive", "variational")
AUTO = "auto"  # the schedule of a model that is chosen from the recordings
PRESETS = (AUTO, "two-stage", "greedy", *FAMILY)
GENERATIVE = ("gaussian", "mixture", "variational", "vrnn", "gan", "gsn", "ensemble")  # model.distribution
NOISE_GROUPS = ("spread", "latent", "members", "recognition", "critic")
GROUPS = ("encoder", "decoder", "log_variance", "cell", "head", "initialiser", "linear_path", "linear_near",
          *NOISE_GROUPS)  # fmt: skip
FREE_RUNS = ("rollout", "members", "score", "walkback", "adversarial")  # losses of forecasts of `horizon` ticks
NOISE_LOSSES = ("likelihood", "evidence", "members", "score", "walkback", "adversarial")
PREDICTIONS = ("one_step", "rollout", *NOISE_LOSSES)  # all other losses depend on the code alone
ONE_STEP_LENGTH = 50  # predicted ticks of a sequence where no rollout sets its length
PENALTIES = ("sparse_l1", "sparse_kl", "contractive", "divergence")


class Corruption(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Configure the corruption of a window before encoding; the decoder learns to reconstruct the original.

    ``noise``: standard deviation of noise on every value, in standard deviations of the feature. ``mask``: share of
    single values that are replaced by their mean, 0 .. 1. ``channels``: maximum number of channels that are replaced by
    their mean over the whole window, like a failed sensor; the number is drawn for each window.
    """

    noise: ranges.Amount = 0.0
    mask: ranges.ShareBelowOne = 0.0
    channels: ranges.CountOrNone = 0


class Loss(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Configure one term of the objective of a stage.

    ``reconstruction``: error between a window and its decoded code. With ``layer`` k: between the input of encoder
    layer k and the output of decoder layer k. ``one_step``: error of teacher-forced predictions. ``rollout``: error of
    ``horizon`` ticks in free run.

    ``unit``: with each, errors are divided by the error of the linear ARX after as many ticks; with last, all are
    divided by its error after the last tick, so that early ticks weigh less. ``norm``: with square errors are squared;
    with absolute they are not, so that a few violent manoeuvres weigh less.

    Penalties act on the code, or with ``layer`` k on the output h of encoder layer k. ``sparse_l1``: mean of |h|.
    ``sparse_kl``: divergence of the mean |h| of each unit from ``target``. ``contractive``: squared Frobenius norm of
    the Jacobian, exact for one layer, estimated from ``probes`` random directions for several. ``divergence``:
    divergence of a variational code from a standard normal, in nats per value of the window. Ref:
    `rtsysid.train.autoencoders`.

    The losses of sampled futures (`rtsysid.train.generative.losses`, docs/generative.md): ``likelihood`` of measured
    ticks; ``evidence``, the bound of a variational recurrent network; ``members``, a rollout whose member is drawn;
    ``score``, energy score and CRPS of ``futures`` samples over ``horizon`` ticks; ``walkback``, likelihood along a
    sampled future; ``adversarial``, the judgement of a critic.

    ``anneal``: share of the epochs of the stage over which the weight rises to its value, 0 .. 1. ``octaves``: in a
    rollout, 1, 2 to 3, 4 to 7, .. ticks ahead weigh alike; by default every tick weighs alike.
    """

    kind: Literal[
        "reconstruction", "one_step", "rollout", "sparse_l1", "sparse_kl", "contractive", "divergence",
        "likelihood", "evidence", "members", "score", "walkback", "adversarial",
    ]  # fmt: skip
    weight: ranges.Weight = 1.0
    horizon: ranges.Count = 50
    layer: ranges.Layer = 0
    norm: Literal["square", "absolute"] = "square"
    unit: Literal["each", "last"] = "each"
    corruption: Corruption = Corruption()
    target: ranges.InnerShare = 0.05
    probes: ranges.Count = 1
    anneal: ranges.Share = 0.0
    octaves: bool = False
    futures: ranges.LossFutures = 8

    def __post_init__(self) -> None:
        if self.corruption != Corruption() and self.kind != "reconstruction":
            remedy = "use corruption with a reconstruction loss, or set input_noise"
            raise ScheduleError(f"loss {self.kind}", "a corruption", remedy)

    def weight_at(self, progress: float) -> float:
        """Compute the weight at `progress`: the share of epochs done, including the current one, 0 .. 1."""
        return self.weight * min(1.0, progress / self.anneal) if self.anneal else self.weight


class TeacherForcing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Configure the share of teacher-forced ticks at the start of a rollout; it changes linearly over the epochs."""

    start: ranges.Share = 0.0
    end: ranges.Share = 0.0

    def ratio(self, epoch: int, epochs: int) -> float:
        """Compute the share in `epoch` 0 .. `epochs` - 1."""
        return self.start + (self.end - self.start) * epoch / max(epochs - 1, 1)


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Configure one stage. Groups that are not in ``train`` are frozen: their weights stay bit-identical.

    ``optional``: groups and losses that the model lacks are left out, and the stage is skipped where none remain. One
    preset then fits all variants. ``each_layer``: repeat the stage for every encoder layer k; ``{layer}`` in names
    becomes k. ``patience``: epochs without a better validation loss before the stage ends (0: never); the best weights
    are kept.

    ``first_horizon``: horizon of rollouts in the first epoch. It grows linearly to the full one during the first half
    of the epochs (0: full at once). ``optimiser``: ``adam`` works batch by batch; ``lbfgs`` minimises the loss over all
    sequences, with ``iterations`` per epoch, and adds ``weight_decay`` times half of the squared weights to the loss.
    """

    name: str
    train: tuple[str, ...]
    loss: tuple[Loss, ...]
    epochs: ranges.Count = 20
    learning_rate: ranges.Weight = 1e-3
    final_rate: ranges.Share = 0.05  # share of learning_rate at the end of the stage, after a cosine decay
    teacher_forcing: TeacherForcing = TeacherForcing()
    patience: ranges.CountOrNone = 0
    weight_decay: ranges.Amount = 0.0
    input_noise: ranges.Amount = 0.0  # standard deviation of noise on features, in standard deviations of each feature
    first_horizon: ranges.CountOrNone = 0
    optimiser: Literal["adam", "lbfgs"] = "adam"
    iterations: ranges.Count = 20
    episode_weighting: ranges.Exponent | None = None  # replaces the value of [train] in this stage
    optional: bool = False
    each_layer: bool = False

    def __post_init__(self) -> None:
        if not self.loss:
            raise ScheduleError(f"stage {self.name!r}", "no loss", "give it a loss")

    @property
    def horizon(self) -> int:
        """Return the ticks of the longest rollout; 0 where the stage has none."""
        return max((loss.horizon for loss in self.loss if loss.kind in FREE_RUNS), default=0)

    def episode_weighting_in(self, train: float) -> float:
        """Return the episode weighting of this stage; `train` is the value of `[train]`."""
        return train if self.episode_weighting is None else self.episode_weighting

    def for_epoch(self, epoch: int) -> Stage:
        """Return the stage with the rollout horizon and the loss weights of `epoch` 0 .. epochs - 1."""
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
    """Read the stages of a preset by name. Raises ScheduleError where the name is unknown."""
    if name not in PRESETS:
        raise ScheduleError("preset", repr(name), f"choose among {', '.join(PRESETS)}, or write [[stage]] tables")
    if name in FAMILY:
        return (*_stages(f"autoencoders/{name}"), *_stages("autoencoders/dynamics"))
    return _stages(name)


def noise_stages(distribution: str) -> tuple[Stage, ...]:
    """Read the stages that train the noise of a distribution, after those of the point model; none for points."""
    return _stages(f"generative/{distribution}") if distribution else ()


def _stages(file: str) -> tuple[Stage, ...]:
    text = resources.files("rtsysid.presets").joinpath(f"{file}.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text)["stage"], tuple[Stage, ...])


def resolve(stages: tuple[Stage, ...], spec: ModelSpec, effort: float = 1.0) -> tuple[Stage, ...]:
    """Adapt a schedule to a model: unroll layers, leave out what it lacks, multiply epochs by `effort`, check all.

    Raises ScheduleError where a stage does not fit the model.
    """
    unrolled = [one for stage in stages for one in _per_layer(_with_latent_code(stage, spec), spec)]
    fitted = [one for stage in unrolled if (one := _stage_for_model(stage, spec)) is not None]
    if not fitted:
        raise ScheduleError("schedule", f"no stage applies to {spec.variant}", "add a stage that trains cell and head")
    if spec.variational and not any("log_variance" in stage.train for stage in fitted):
        remedy = "use preset variational, or train log_variance with a divergence loss"
        raise ScheduleError("schedule of a variational model", "no stage trains log_variance", remedy)
    return tuple(msgspec.structs.replace(s, epochs=max(1, round(s.epochs * effort))) for s in fitted)


def require_noise(stages: tuple[Stage, ...], spec: ModelSpec) -> None:
    """Check that a schedule trains what samples futures. Raises ScheduleError where a group is in no stage."""
    trained = {group for stage in stages for group in stage.train}
    if missing := [group for group in noise_groups(spec) if group not in trained]:
        remedy = f"leave out the [[stage]] tables, or add one that trains {missing[0]} with a loss of sampled futures"
        what = f"schedule of distribution {spec.distribution!r}"
        raise ScheduleError(what, f"no stage trains {', '.join(missing)}", remedy)


def rows_needed(stage: Stage, spec: ModelSpec) -> int:
    """Count the rows of a training sequence: first window, warm-up, predicted ticks and the last target."""
    if all(loss.kind not in PREDICTIONS for loss in stage.loss):
        return spec.taps
    return spec.settling_samples + (stage.horizon or ONE_STEP_LENGTH)


def groups_of(spec: ModelSpec) -> tuple[str, ...]:
    """List the names that `Stage.train` may use for this model: groups, and single encoder or decoder layers."""
    layers = [f"{group}.{k + 1}" for group in ("encoder", "decoder") for k in range(len(spec.encoder))]
    of_code = ["encoder", "decoder"] if spec.encoder else []
    of_code += ["log_variance"] if spec.variational else []
    extra = ["initialiser"] if spec.state_init == "network" else []
    extra += ["linear_path"] if spec.linear_path else []
    extra += ["linear_near"] if spec.near_ticks else []
    extra += noise_groups(spec)
    return (*of_code, *layers, "cell", "head", *extra)


def noise_groups(spec: ModelSpec) -> list[str]:
    """List the groups that a distribution adds to a model."""
    own = {
        "spread": bool(spec.distribution),
        "latent": spec.noise.latent > 0,
        "members": spec.noise.members > 1,
        "recognition": spec.distribution == "vrnn",
        "critic": spec.distribution == "gan",
    }
    return [name for name, there in own.items() if there]


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


def _with_latent_code(stage: Stage, spec: ModelSpec) -> Stage:
    """Train the latent values of a variational distribution where a stage trains the log variance of a code."""
    if spec.distribution != "variational":
        return stage
    train = tuple("latent" if group == "log_variance" else group for group in stage.train)
    return msgspec.structs.replace(stage, train=train)


def _stage_for_model(stage: Stage, spec: ModelSpec) -> Stage | None:
    known = groups_of(spec)
    unknown = [group for group in stage.train if group not in known]
    absent = [group for group in unknown if group.split(".")[0] in GROUPS]
    useless = [loss for loss in stage.loss if _lacks_layer(loss, spec)]
    if set(unknown) - set(absent) or (not stage.optional and (unknown or useless)):
        found = ", ".join(unknown) or f"layer for a {useless[0].kind} loss"
        variational = "log_variance" in unknown or "divergence" in found
        remedy = 'set model.distribution = "variational"' if variational else f"it has {', '.join(known)}"
        if not unknown and useless[0].kind in NOISE_LOSSES:
            remedy = f"set model.distribution to one of {', '.join(GENERATIVE)} that has it, or leave out the loss"
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
    """Whether the model lacks the layer that a loss needs. A divergence loss needs a variational code."""
    if loss.kind in PREDICTIONS:
        return loss.kind in NOISE_LOSSES and not _fits_noise(loss, spec)
    if spec.distribution == "variational" and loss.kind == "divergence":
        return False
    return not spec.encoder or loss.layer > len(spec.encoder) or (loss.kind == "divergence" and not spec.variational)


def _fits_noise(loss: Loss, spec: ModelSpec) -> bool:
    """Tell whether the distribution of a model has what a loss of sampled futures needs."""
    needs = {"evidence": "recognition", "adversarial": "critic", "members": "members"}
    return bool(spec.distribution) and needs.get(loss.kind, "spread") in noise_groups(spec)


def _check_reach(name: str, train: tuple[str, ...], losses: tuple[Loss, ...]) -> None:
    """Check that every trained group gets a gradient from some loss."""
    kinds = {loss.kind for loss in losses}
    predictions = set(PREDICTIONS)
    reach = {
        "encoder": kinds,
        "decoder": kinds & {"reconstruction"},
        "log_variance": kinds & {"reconstruction", "divergence", *PREDICTIONS},
        "latent": kinds & {"reconstruction", "divergence", *NOISE_LOSSES},
        **dict.fromkeys(("spread", "members", "recognition", "critic"), kinds & set(NOISE_LOSSES)),
    }
    for group in train:
        whole = group.split(".")[0]
        if not reach.get(whole, kinds & predictions):
            wanted = "reconstruction" if whole == "decoder" else "one_step or rollout"
            raise ScheduleError(
                f"stage {name!r}", f"nothing to train in {group!r}: no loss reaches it", f"add a {wanted} loss"
            )


def _check_penalty(name: str, train: tuple[str, ...], loss: Loss, spec: ModelSpec) -> None:
    """Check that the layer of a penalty trains, and that a corruption does not exceed the number of channels."""
    layers = [f"encoder.{loss.layer}"] if loss.layer else [f"encoder.{k + 1}" for k in range(len(spec.encoder))]
    wanted = ["log_variance", "latent"] if loss.kind == "divergence" else ["encoder", *layers]
    if loss.kind in PENALTIES and not set(wanted) & set(train):
        raise ScheduleError(
            f"stage {name!r}", f"a {loss.kind} loss, but its layer does not train", f"train {' or '.join(wanted)}"
        )
    if loss.corruption.channels > spec.n_features:
        found = f"corruption of up to {loss.corruption.channels} channels, but the window has {spec.n_features}"
        raise ScheduleError(f"stage {name!r}", found, f"give {spec.n_features} or fewer")
