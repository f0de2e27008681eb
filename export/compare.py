"""The source talk's table: several configurations side by side on the same recordings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from export.bundle import export
from rtsysid.config import Config, Model
from rtsysid.evaluate import Evaluation, evaluate
from rtsysid.spec import VARIANTS, Doubles, Variant
from rtsysid.trace import Trace
from rtsysid.train.fit import begin
from rtsysid.train.loop import Epoch


class Result(msgspec.Struct, frozen=True):
    """One trained model: its size, cost per step and error on the recordings held out."""

    title: str
    seed: int
    parameters: int
    macs: int
    step_us: float
    evaluation: Evaluation


def variants_of(config: Config) -> list[tuple[str, Config]]:
    """The four variants of the talk from one configuration, with the encoder that each of them takes."""
    return [(name, msgspec.structs.replace(config, model=_as_variant(config, name))) for name in VARIANTS]


def _as_variant(config: Config, variant: Variant) -> Model:
    model = config.model
    encoder: tuple[int, ...] = {
        "lstm": (),
        "lstm-tdl": (),
        "lstm-tdl-aeu": model.encoder[-1:],
        "lstm-tdl-deep-aeu": model.encoder,
    }[variant]
    taps = 1 if variant == "lstm" else model.taps
    return msgspec.structs.replace(model, variant=variant, encoder=encoder, taps=taps)


def seeded(config: Config, seed: int) -> Config:
    """The same configuration with another seed."""
    return msgspec.structs.replace(config, train=msgspec.structs.replace(config.train, seed=seed))


def run_one(
    title: str, config: Config, trace: Trace, held_out: Trace, folder: Path, horizon: int
) -> Iterator[Epoch | Result]:
    """Train, export and evaluate one configuration in `folder`; yields every epoch, and the result at last."""
    trainer = begin(config, trace, folder / "run")
    yield from trainer.epochs()
    bundle, rows = export(folder / "run", folder / "bundle")
    parameters = sum(p.numel() for p in trainer.network.parameters())
    result = evaluate(bundle, held_out, horizon)
    yield Result(title, config.train.seed, parameters, bundle.spec.macs, rows[0].step_us, result)


def rows(results: list[Result]) -> list[list[str]]:
    """A printable table: one row per title and group, errors as mean and, over several seeds, spread."""
    lines = []
    for title in dict.fromkeys(result.title for result in results):
        same = [result for result in results if result.title == title]
        shown, first = same[0].evaluation.shown, same[0]
        for group in first.evaluation.units:
            errors = np.array([[r.evaluation.errors["model"][group][n - 1] for n in shown] for r in same])
            cells = [_spread(column) for column in errors.T]
            lines.append([title, group, *cells, str(first.parameters), str(first.macs), f"{first.step_us:.1f}"])
    return lines


def _spread(errors: Doubles) -> str:
    return f"{errors.mean():.4g}" + (f" ±{errors.std(ddof=1):.2g}" if len(errors) > 1 else "")
