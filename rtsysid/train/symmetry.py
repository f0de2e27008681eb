"""Apply symmetries of the robot to training sequences.

A quadrotor that is mirrored left to right flies the mirrored manoeuvre when the motors of both sides exchange their
commands. Each symmetry exchanges channels and negates others. Training draws one of all their combinations at random
for each sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rtsysid.config import Symmetry
from rtsysid.errors import ConfigError
from rtsysid.spec import Channel, Floats

Element: TypeAlias = tuple[NDArray[np.int64], Floats]  # order and sign of the columns

LARGEST = 48  # rotations and reflections of a cube; a larger group is a mistake in the configuration


class Symmetries:
    """Hold the group that the configured symmetries generate: `order` [G, C] of the columns, and `sign` [G, C]."""

    def __init__(self, symmetries: Sequence[Symmetry], channels: Sequence[Channel]) -> None:
        """Raises ConfigError where a channel is unknown, or where there are more than `LARGEST` combinations."""
        names = [channel.name for channel in channels]
        elements = _closure([_element(symmetry, names) for symmetry in symmetries], _element(Symmetry(), names))
        self.order = torch.from_numpy(np.stack([order for order, _ in elements]))
        self.sign = torch.from_numpy(np.stack([sign for _, sign in elements]))

    def __len__(self) -> int:
        return len(self.order)

    def sample(self, rows: Tensor) -> Tensor:
        """Apply one random symmetry to each sequence: [B, R, C] -> [B, R, C]."""
        if len(self) == 1:
            return rows
        which = torch.randint(len(self), (len(rows),))
        order, sign = self.order[which].to(rows.device), self.sign[which].to(rows.device)
        return rows.gather(2, order[:, None].expand_as(rows)) * sign[:, None]

    def all(self, episodes: Sequence[Floats]) -> list[Floats]:
        """Apply every symmetry to every episode [n, C]: G episodes for each one."""
        pairs = list(zip(self.order.numpy(), self.sign.numpy(), strict=True))
        return [episode[:, order] * sign for episode in episodes for order, sign in pairs]


def _element(symmetry: Symmetry, names: list[str]) -> Element:
    unknown = {*symmetry.negate, *(name for pair in symmetry.exchange for name in pair)} - set(names)
    if unknown:
        raise ConfigError(
            "train.symmetry", f"no channel is named {', '.join(sorted(unknown))}", "use channel names of this file"
        )
    order, sign = np.arange(len(names)), np.ones(len(names), np.float32)
    for a, b in symmetry.exchange:
        i, j = names.index(a), names.index(b)
        order[i], order[j] = j, i
    for name in symmetry.negate:
        sign[names.index(name)] = -1
    return order, sign


def _closure(generators: list[Element], identity: Element) -> list[Element]:
    """All combinations of the generators, the identity first."""
    group = {_key(identity): identity}
    fresh = [identity]
    while fresh:
        products = {_key(p): p for e in fresh for g in generators for p in [_composed(e, g)]}
        fresh = [p for key, p in products.items() if key not in group]
        group |= products
        if len(group) > LARGEST:
            raise ConfigError("train.symmetry", f"more than {LARGEST} combinations", "check the pairs in exchange")
    return list(group.values())


def _composed(first: Element, second: Element) -> Element:
    """The symmetry that applies `first` and then `second`."""
    return first[0][second[0]], first[1][second[0]] * second[1]


def _key(element: Element) -> tuple[float, ...]:
    return (*element[0].tolist(), *element[1].tolist())
