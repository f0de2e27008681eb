"""Compare several configurations on the same recordings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from export.bundle import export
from rtsysid.config import Config, Model
from rtsysid.evaluation.horizon import Evaluation, evaluate
from rtsysid.recordings.trace import Trace
from rtsysid.spec import VARIANTS, Doubles, ModelSpec, Variant
from rtsysid.train.fit import begin
from rtsysid.train.loop import Epoch

LARGEST_HIDDEN = 512


class ComparedModel(msgspec.Struct, frozen=True):
    """Hold the size, the cost per step and the held-out error of one trained model.

    ``parameters``: as counted by `ModelSpec`. ``ram_bytes``: delay line and state of the generated C; None where no
    compiler was available.
    """

    title: str
    seed: int
    parameters: int
    macs: int
    step_us: float
    ram_bytes: int | None
    evaluation: Evaluation


def variants_of(config: Config) -> list[tuple[str, Config]]:
    """Return the variants of the talk: `VARIANTS` with about as many parameters as `config`.

    A variant changes the encoder and the taps. The width of its LSTM is the one whose parameter count is nearest.
    """
    wanted = _spec(config, config.model).parameters
    models = ((name, _of_size(config, _as_variant(config, name), wanted)) for name in VARIANTS)
    return [(name, msgspec.structs.replace(config, model=model)) for name, model in models]


def _as_variant(config: Config, variant: Variant) -> Model:
    model, fields = config.model, config.model.fields
    encoder: tuple[int, ...] = {
        "lstm": (),
        "lstm-tdl": (),
        "lstm-tdl-aeu": fields["encoder"][-1:],
        "lstm-tdl-deep-aeu": fields["encoder"],
    }[variant]
    taps = 1 if variant == "lstm" else fields["taps"]
    return msgspec.structs.replace(model, encoder=encoder, taps=taps)


def _of_size(config: Config, model: Model, wanted: int) -> Model:
    """Return the model with the hidden width whose parameter count is nearest to `wanted`."""

    def deviation(hidden: int) -> int:
        return abs(_spec(config, msgspec.structs.replace(model, hidden=hidden)).parameters - wanted)

    return msgspec.structs.replace(model, hidden=min(range(1, LARGEST_HIDDEN), key=deviation))


def _spec(config: Config, model: Model) -> ModelSpec:
    return ModelSpec(channels=config.data.channels, rate_hz=config.data.rate_hz, **model.fields)


def seeded(config: Config, seed: int) -> Config:
    """Return the configuration with another seed."""
    return msgspec.structs.replace(config, train=msgspec.structs.replace(config.train, seed=seed))


def run_one(
    title: str, config: Config, trace: Trace, held_out: Trace, folder: Path, horizon: int
) -> Iterator[Epoch | ComparedModel]:
    """Train, export and evaluate one configuration in `folder`. Yield every epoch, then the result.

    Raises the errors of training, export and evaluation.
    """
    trainer = begin(config, trace, folder / "run")
    yield from trainer.epochs()
    bundle, rows = export(folder / "run", folder / "bundle")
    evaluation = evaluate(bundle, held_out, horizon)
    compiled = bundle.manifest.c.get("float32")
    cost = (bundle.spec.macs, rows[0].step_us, None if compiled is None else compiled.state_bytes)
    yield ComparedModel(title, config.train.seed, bundle.spec.parameters, *cost, evaluation)


def rows(results: list[ComparedModel]) -> list[list[str]]:
    """Format results as table rows: one per title and output group; errors of several seeds as mean ± deviation."""
    lines = []
    for title in dict.fromkeys(result.title for result in results):
        same = [result for result in results if result.title == title]
        shown, first = same[0].evaluation.table_ticks, same[0]
        for group in first.evaluation.units:
            curves = [r.evaluation.errors["model"][group] for r in same]
            errors = np.array([[*(curve[n - 1] for n in shown), sum(curve)] for curve in curves])
            cells = [_mean_and_deviation(column) for column in errors.T]
            ram = "-" if first.ram_bytes is None else f"{first.ram_bytes}"
            cost = [str(first.parameters), str(first.macs), f"{min(r.step_us for r in same):.1f}", ram]
            lines.append([title, group, *cells, *cost])
    return lines


def _mean_and_deviation(errors: Doubles) -> str:
    return f"{errors.mean():.4g}" + (f" ±{errors.std(ddof=1):.2g}" if len(errors) > 1 else "")
