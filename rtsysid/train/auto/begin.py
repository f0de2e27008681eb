"""Begin a default training: read what the recordings are, and plan the model."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch

from rtsysid.circle import unwrapped
from rtsysid.config import Config
from rtsysid.errors import ConfigError
from rtsysid.evaluation.baselines import LinearArx
from rtsysid.evaluation.linear.choice import LAGS, RIDGES
from rtsysid.evaluation.linear.maps import is_affine
from rtsysid.model.npz import Arrays
from rtsysid.recordings.held_out import LONGER
from rtsysid.recordings.pieces import Note, long_enough
from rtsysid.recordings.reading import align_trace
from rtsysid.recordings.trace import Trace
from rtsysid.spec import Floats
from rtsysid.train.auto.parts import Parts
from rtsysid.train.auto.plan import SETTLING, LinearSearch, ModelPlan, blank_spec, horizon_of, plan_of, settling_of
from rtsysid.train.auto.quantities import with_quantities
from rtsysid.train.auto.trainer import NORMAL, AutoTrainer, Updates
from rtsysid.train.origin import origin
from rtsysid.train.run import Run

KEPT_ROWS = 400  # of one validation recording, for the golden trace


def begin_auto(
    config: Config,
    trace: Trace,
    folder: Path | str,
    config_text: str = "",
    *,
    restart: bool = False,
    linear: bool = False,
    minutes: float | None = None,
    updates: Updates = NORMAL,
    known: dict[str, LinearSearch] | None = None,
) -> AutoTrainer:
    """Create the run folder, or open an unfinished one, and return its trainer; see `rtsysid.train.fit.begin`.

    `known`: linear models that trainings on the same recordings chose before; that of this one is added.

    Raises the errors of `rtsysid.train.fit.begin`.
    """
    torch.set_num_threads(1)  # judge and result have a process each
    torch.use_deterministic_algorithms(True)
    if minutes and config.stage:
        raise ConfigError("--minutes", "the configuration has [[stage]] tables", "leave out one of them")
    if linear and config.model.distribution:
        raise ConfigError("--linear", "a distribution needs its stages", "leave out --linear, or model.distribution")
    run = Run(folder)
    asked: dict[str, Any] = {"linear": linear, "minutes": minutes, "updates": updates}
    claim = run.claim(restart)
    try:
        return _auto_trainer(config, trace, run, config_text, restart, asked, known)
    except BaseException:
        claim.release()
        raise


def _auto_trainer(
    config: Config, trace: Trace, run: Run, config_text: str, restart: bool, asked: dict[str, Any],
    known: dict[str, LinearSearch] | None,
) -> AutoTrainer:  # fmt: skip
    about = {**origin(config, trace.sources), "given": msgspec.to_builtins(config)}
    config, trace = with_quantities(config, trace)
    read = _read(config, trace)
    parts = Parts(*_pieces(read.halves))
    if run.begun and not restart:
        run.refuse_another({key: about[key] for key in ("given", "sources")})
        return AutoTrainer(config, None, parts, run, read.notes, {}, **asked)
    blank = blank_spec(config, trace.channels)
    plan = plan_of(config, read.whole, blank, parts, linear=asked["linear"], known=known)
    arrays: dict[str, Arrays] = {
        "baseline.npz": baseline(plan, parts).arrays(),
        "excerpt.npz": {"values": max(parts.validation, key=len)[:KEPT_ROWS]},
        "validation.npz": {
            "true": np.concatenate(parts.validation), "rows": np.array([len(each) for each in parts.validation])
        },
    }  # fmt: skip
    begin = {"about": about, "config_text": config_text, "arrays": arrays}
    return AutoTrainer(config, plan, parts, run, read.notes, begin, **asked)


def parts_of(config: Config, trace: Trace) -> Parts:
    """Return the pieces that the judge of a default training is trained on, and those that it is judged on.

    Raises TraceError where the recordings cannot be used.
    """
    return Parts(*_pieces(_read(*with_quantities(config, trace)).halves))


class _Recordings(NamedTuple):
    """Hold the recordings after cutting and checking; `halves`: the training part and the validation part."""

    whole: Trace
    halves: tuple[Trace, Trace]
    notes: tuple[Note, ...]


def _read(config: Config, trace: Trace) -> _Recordings:
    """Cut, check and split the recordings. Pieces without a forecast are left out, and noted.

    Raises TraceError where the recordings cannot be used.
    """
    if config.data.resample and not trace.aligned:
        trace = align_trace(trace, config.data)
    rotations = blank_spec(config, trace.channels).rotations
    trace = trace.segments(config.data.rate_hz, nan=config.data.nan).with_continuous(rotations)
    trace = trace.with_feedthrough(config.data.feedthrough)
    halves = _split(trace, config)
    settling = settling_of(config.model, _pieces(halves))
    needed = settling + 1
    training, validation = (
        half.long_enough(needed, use, LONGER) for half, use in zip(halves, ("training", "validation"), strict=True)
    )
    whole = trace.long_enough(needed, "training", LONGER)
    rollout = settling + horizon_of(settling, _pieces(halves))
    notes = [note for half in (training, validation) for note in half.notes]
    notes += long_enough(whole.episodes, rollout, "the network, but not the linear model")[1]
    return _Recordings(whole, (training, validation), tuple(dict.fromkeys(notes)))


def _split(trace: Trace, config: Config) -> tuple[Trace, Trace]:
    """Split into training and validation part. Without patterns, short pieces take no part in the choice."""
    if not config.data.validation:
        longest = max(map(len, trace.episodes), default=0)
        trace = trace.long_enough(min(SETTLING, longest // 2) + 1, "training", LONGER)
    return trace.split(config.data.validation)


def _pieces(halves: tuple[Trace, Trace]) -> list[list[Floats]]:
    return [[episode.values for episode in half.episodes] for half in halves]


def baseline(plan: ModelPlan, parts: Parts) -> LinearArx:
    """Return the linear ARX of the tables: the far map, or in coordinates of a body or of angles one of plain rows."""
    spec, far = plan.choice.spec, plan.choice.model.far
    if not is_affine(spec) or spec.integrate or spec.output != "increment":
        train, held_out = ([unwrapped(piece, spec.channels) for piece in half] for half in parts)
        moving = [k for k, channel in enumerate(spec.channels) if channel.angle or channel.name in spec.relative]
        searched: dict[str, Any] = {"horizon": plan.horizon, "lags": LAGS, "ridges": RIDGES, "relative": moving}
        return LinearArx.select(train, held_out, spec.n_inputs, **searched)
    weights = far.affine(spec).weights * np.asarray(spec.scaling.target_std)
    return LinearArx.of_rows(far.lags, spec.n_inputs, weights)


def completed(config: Config, trace: Trace, *, updates: Updates = NORMAL) -> Config:
    """Return the configuration with everything said that a default training chooses before its full runs.

    Raises the errors of `rtsysid.train.fit.begin`.
    """
    if not config.auto:
        return config
    with TemporaryDirectory() as folder:
        return begin_auto(config, trace, folder, updates=updates).completed()
