"""Train the noise of a distribution on top of a finished point model, whose weights stay: the model is trained once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import torch

from rtsysid.config import Config
from rtsysid.errors import ConfigError
from rtsysid.schedule import Stage, resolve
from rtsysid.spec import Floats, ModelSpec, to_builtins
from rtsysid.train.augmentation import Augmentation
from rtsysid.train.loop import Trainer
from rtsysid.train.network import Network
from rtsysid.train.run import Run
from rtsysid.train.windows import Sequences

COPIED = ("yardstick.npz", "excerpt.npz", "validation.npz", "baseline.npz")


def noise_trainer(
    point: Run, folder: Path | str, distribution: str, halves: Sequence[Sequence[Floats]], stages: Sequence[Stage],
    seed: int = 0,
) -> Trainer:  # fmt: skip
    """Make the trainer of a new run in `folder`: the point model with noise of a distribution.

    `halves`: pieces [n, C] for training and for validation, as the point model had them. Where that was trained by the
    preset auto, its judge is the mean: it did not see the validation part. Raises ConfigError where the run is not
    finished or is of a model with a distribution, ScheduleError where a stage does not fit.
    """
    if point.spec.distribution:
        raise ConfigError(f"run {point.folder}", "it has a distribution already", "train a point model first")
    spec: ModelSpec = msgspec.structs.replace(point.spec, distribution=distribution)
    config = msgspec.convert(point.about["config"], Config)
    settings = msgspec.structs.replace(config.train, seed=seed)
    run = Run(folder)
    arrays = {name: point.arrays(name) for name in COPIED if (point.folder / name).exists()}
    with run.filling() as new:
        new.begin({**point.about, "spec": to_builtins(spec)}, "", arrays)
    torch.manual_seed(seed)
    network, judge = Network(spec), point.part("judge")
    mean = (judge if judge.complete else point).weights()
    network.load_state_dict({**network.state_dict(), **mean})
    unit = torch.from_numpy(arrays["yardstick.npz"]["rms"])
    return Trainer(
        network, resolve(tuple(stages), spec), (Sequences(halves[0]), Sequences(halves[1])), unit,
        augmentation=Augmentation.of(settings, spec), settings=settings, run=run,
    )  # fmt: skip
