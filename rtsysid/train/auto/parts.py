"""The recordings of a default training, and the networks that train on them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from rtsysid.circle import differences
from rtsysid.config import Config
from rtsysid.model.npz import Arrays
from rtsysid.schedule import Stage, resolve
from rtsysid.spec import Doubles, Floats, ModelSpec
from rtsysid.train.augmentation import Augmentation
from rtsysid.train.linear_path import set_linear_path
from rtsysid.train.loop import Trainer
from rtsysid.train.network import Network
from rtsysid.train.run import Run
from rtsysid.train.stage_optimiser import StageOptimiser
from rtsysid.train.windows import Sequences


class Parts(NamedTuple):
    """Hold pieces [n, C] of recordings: to train the judge on, and to judge it on."""

    training: list[Floats]
    validation: list[Floats]

    @property
    def every(self) -> list[Floats]:
        """Return all pieces."""
        return [*self.training, *self.validation]


def network_of(spec: ModelSpec, arrays: Arrays, seed: int, *, replaces: bool = False) -> Network:
    """Make a network that starts from the linear maps in `arrays` [T, F]; its head adds nothing yet.

    With `replaces` the linear maps have no part in its predictions, and the head works in spreads of the increments.
    """
    torch.manual_seed(seed)
    network = Network(spec)
    set_linear_path(network, arrays)
    if replaces:
        network.linear_gain.data.zero_()
        network.head_gain.data.copy_(torch.from_numpy(arrays["spread"]).expand_as(network.head_gain))
    return network


def hold_unit(pieces: list[Floats], spec: ModelSpec, horizon: int) -> Doubles:
    """Mean absolute error of hold after the last of `horizon` ticks on pieces [n, C], at every tick: [N, ny]."""
    outputs = [piece[:, spec.n_inputs :] for piece in pieces if len(piece) > horizon]
    moved = [np.abs(differences(each[horizon:], each[:-horizon], spec.outputs)) for each in outputs]
    least = 1e-9 * np.asarray(spec.scaling.std[spec.n_inputs :])
    return np.tile(np.maximum(np.concatenate(moved).mean(0), least), (horizon, 1))


def trainer_of(
    config: Config, run: Run, network: Network, pieces: list[Floats], parts: Parts, unit: Doubles
) -> Trainer:
    """Make the trainer of one network, with `unit` [N, ny] as the unit of its losses."""
    spec = network.spec
    return Trainer(
        network,
        resolve(config.stages, spec, config.train.effort),
        (Sequences(pieces), Sequences(parts.validation)),
        torch.from_numpy(unit).float(),
        augmentation=Augmentation.of(config.train, spec),
        settings=config.train,
        run=run,
    )


def short_run(config: Config, network: Network, pieces: list[Floats], unit: Doubles, stage: Stage) -> Network:
    """Train a network on pieces [n, C] by one stage, and keep nothing on the way."""
    yardstick, augmentation = torch.from_numpy(unit).float(), Augmentation.of(config.train, network.spec)
    optimiser = StageOptimiser(network, stage, yardstick, Sequences(pieces), augmentation, config.train)
    for epoch in range(stage.epochs):
        torch.manual_seed(epoch)
        optimiser.epoch(epoch)
    return network.eval()
