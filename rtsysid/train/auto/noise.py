"""Train the noise of sampled futures after a default training, on top of its judge, which stays as it is."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from rtsysid.config import Config
from rtsysid.schedule import NOISE_GROUPS, Stage, resolve
from rtsysid.train.augmentation import Augmentation
from rtsysid.train.auto.candidates import noise_stages_for
from rtsysid.train.auto.parts import Parts
from rtsysid.train.loop import Epoch, Trainer
from rtsysid.train.network import Network
from rtsysid.train.run import Run
from rtsysid.train.tensors import Tensors
from rtsysid.train.windows import Sequences

PART = "noise"  # of the run
UPDATES = 1200


def noise_epochs(run: Run, judge: str, config: Config, parts: Parts, updates: int = UPDATES) -> Iterator[Epoch]:
    """Train the noise on the training part, and calibrate it on the validation part; yield each epoch.

    `judge`: the part of the run whose network did not see the validation part. Nothing where the model predicts points.
    """
    spec = run.spec
    if not spec.distribution or run.part(PART).complete:
        return
    torch.manual_seed(config.train.seed)
    network, unit = Network(spec), torch.from_numpy(run.arrays("yardstick.npz")["rms"])
    network.load_state_dict(run.part(judge).weights())
    yield from Trainer(
        network,
        resolve(stages_of(config, spec.distribution, parts, len(unit), updates), spec),
        (Sequences(parts.training), Sequences(parts.validation)),
        unit,
        augmentation=Augmentation.of(config.train, spec),
        settings=config.train,
        run=run.part(PART),
    ).epochs()


def stages_of(
    config: Config, distribution: str, parts: Parts, horizon: int, updates: int = UPDATES
) -> tuple[Stage, ...]:
    """Return the stages of the noise, with about so many updates."""
    rows = sum(map(len, parts.training))
    per_epoch = max(1, rows // config.train.sequence_stride // config.train.batch_size)
    return noise_stages_for(distribution, updates, per_epoch, horizon)


def noise_weights(run: Run) -> Tensors:
    """Return the weights of the noise by name [..]; nothing where it was not trained."""
    if not run.spec.distribution or not run.part(PART).complete:
        return {}
    weights = run.part(PART).weights()
    return {name: value for name, value in weights.items() if name.split(".")[0] in NOISE_GROUPS}
