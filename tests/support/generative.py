"""A small model with a distribution: its configuration, and a network of random weights."""

from __future__ import annotations

import msgspec
import torch
from support.robots import TINY, make_spec

from rtsysid.config import Config, parse_config
from rtsysid.train.network import Network

MODEL = TINY.split("[[stage]]")[0]


def config_of(member: str, preset: str = "two-stage") -> Config:
    """The tiny model with a distribution, every stage one epoch long, futures of ten ticks."""
    base = "" if member == "variational" else f'preset = "{preset}"\n'
    config = parse_config(MODEL.replace("[model]", f'[model]\ndistribution = "{member}"') + base)
    return msgspec.structs.replace(config, stage=tuple(map(_shortened, config.stages)))


def _shortened(stage: object) -> object:
    losses = tuple(msgspec.structs.replace(each, horizon=min(each.horizon, 10)) for each in stage.loss)  # type: ignore[attr-defined]
    return msgspec.structs.replace(stage, epochs=1, loss=losses)  # type: ignore[type-var]


def network_of(distribution: str) -> Network:
    torch.manual_seed(1)
    network = Network(make_spec(distribution=distribution)).eval()
    for parameter in (*network.spread.parameters(), *getattr(network, "members", torch.nn.Module()).parameters()):
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    return network
