"""Configurations of the autoencoder family: the tiny model, its stages, and each member shortened."""

from __future__ import annotations

import msgspec
from support.robots import TINY

from rtsysid.config import Config, parse_config

MODEL = TINY.split("[[stage]]")[0]
JOINT = """
[[stage]]
name = "code"
train = ["encoder", "decoder", "log_variance"]
loss = [{ kind = "reconstruction" }, { kind = "divergence", weight = 0.02, anneal = 0.5 }]
epochs = 2
[[stage]]
name = "dynamics"
train = ["cell", "head"]
loss = [{ kind = "rollout", horizon = 6 }]
epochs = 2
"""


def config_of(member: str) -> Config:
    """The tiny model under a member's preset, every stage one epoch long."""
    text = MODEL + f'preset = "{member}"\n'
    if member == "variational":
        text = text.replace("[model]", "[model]\nvariational = true")
    config = parse_config(text)
    short = tuple(msgspec.structs.replace(stage, epochs=1) for stage in config.stages)
    return msgspec.structs.replace(config, stage=short)
