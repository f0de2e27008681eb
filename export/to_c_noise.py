"""The noise of sampled futures as C constants; `export/c/sample.c` computes with them."""

from __future__ import annotations

import numpy as np

from export.c_layers import Layer, Weights, linear_layer
from export.c_tables import array, floats, indices
from rtsysid.model.backends.noise import cumulative_shares, persistence_of
from rtsysid.model.contents import SPREAD_AGES, STRETCH_TICKS
from rtsysid.model.coordinates.deviations import output_rotations
from rtsysid.spec import ModelSpec


def noise_layers(spec: ModelSpec, weights: Weights) -> list[Layer]:
    """List the matrices of the noise; none where the model predicts points. Raises KeyError for a missing weight."""
    if not spec.distribution:
        return []
    layers = [linear_layer(weights, "spread.hidden"), linear_layer(weights, "spread.scale")]
    if spec.noise.latent:
        into = np.asarray(weights["latent.into.weight"])
        layers += [linear_layer(weights, "latent.scale"), Layer("latent_into", into, np.zeros(len(into), np.float32))]
    if spec.noise.members > 1:
        layers.append(linear_layer(weights, "members.offset"))
    return layers


def noise_definitions(spec: ModelSpec, weights: Weights) -> str:
    """Write the tables of the noise: scales by tick, slow values, members; nothing where the model predicts points."""
    if not spec.distribution:
        return ""
    lines = [array("uint32_t", "spread_first", [f"{first}u" for first in SPREAD_AGES])]
    lines.append(array("uint32_t", "stretch_ticks", [f"{tick}u" for tick in STRETCH_TICKS]))
    if rotations := output_rotations(spec):
        lines.append(indices("output_rotations", sum(rotations, ())))
    tables = {"spread_age": np.asarray(weights["spread.age"]), "spread_limit": np.asarray(weights["spread.limit"])}
    tables["spread_stretch"] = np.asarray(weights["spread.stretch"])
    if spec.noise.latent:
        tables["latent_limit"] = np.asarray(weights["latent.limit"])
    if spec.noise.factors:
        kept, fresh = persistence_of(np.asarray(weights["spread.persistence"]))
        tables |= {"spread_factors": np.asarray(weights["spread.factors"]), "slow_kept": kept, "slow_fresh": fresh}
    if spec.noise.members > 1:
        until = cumulative_shares(np.asarray(weights["members.share"]))
        tables |= {"members_scale": np.asarray(weights["members.scale"]), "members_until": until}
    return "\n".join([*lines, *(floats(name, table.ravel()) for name, table in tables.items()), ""])
