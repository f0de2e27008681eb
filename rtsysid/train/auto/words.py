"""Say in lines what a default training chose, and what to expect of its model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from rtsysid.evaluation.expectation import Expectation
from rtsysid.spec import Doubles, ModelSpec
from rtsysid.train.auto.expected import TICKS
from rtsysid.train.auto.plan import ModelPlan


def of_plan(plan: ModelPlan) -> Iterator[str]:
    """Describe coordinates, sizes and the linear model, with its error on recordings left out in ratio to hold's."""
    choice, spec = plan.choice, plan.spec
    if angles := [channel.name for channel in spec.channels if channel.angle]:
        yield f"angles, compared the short way around: {', '.join(angles)}"
    for columns in spec.rotations:
        yield f"one rotation, as a quaternion: {', '.join(spec.channels[i].name for i in columns)}"
    if spec.relative:
        yield f"relative to the newest row: {', '.join(spec.relative)}"
    model = choice.model
    near = f", and of {model.near.lags} while the newest row is younger than {model.near_ticks} ticks"
    yield f"linear model of {model.far.lags} rows{near if model.near_ticks else ''}"
    network = f"network of {spec.hidden} units; " if spec.hidden > 1 else ""  # 1: the linear model alone
    yield f"{network}the first forecast is ready after {spec.settling_samples} rows"
    ticks = _shown(choice.judged.mean.shape[1])
    yield f"its error on recordings left out, in ratio to hold's, after {', '.join(map(str, ticks))} ticks:"
    for name, ours, hold in zip(choice.groups, choice.judged.mean, choice.hold.mean, strict=True):
        yield f"  {name:<20}{_ratios(ours, hold, ticks)}"


def of_result(spec: ModelSpec, shares: Doubles, target_groups: Sequence[str], *, replaces: bool) -> Iterator[str]:
    """Describe where the network is not used; `shares` [K, T]: of the network at each age, 0 .. 1.

    `replaces`: the network predicts in the place of the linear model.
    """
    ages = (0, *spec.age_bands)
    for name in dict.fromkeys(target_groups):
        used = shares[:, [each == name for each in target_groups]].max(1)
        if not used.any():
            yield f"the network adds nothing for {name}; the linear model stays"
        elif replaces:
            yield f"the network replaces the linear model for {name}: {_by_age(ages, used)}"
        elif (used < 1).any():
            first = ages[int(np.argmax(used < 1))]
            yield f"the network is used in part for {name}, from {first} ticks after a measurement on"


def _by_age(ages: Sequence[int], used: Doubles) -> str:
    """List the share of the network from each age on where it changes."""
    changes = [k for k in range(len(used)) if k == 0 or used[k] != used[k - 1]]
    return ", ".join(f"{used[k]:.0%} from {ages[k]} ticks after a measurement on" for k in changes)


def of_expected(stated: Expectation) -> Iterator[str]:
    """Describe the errors to expect on new recordings."""
    yield "expected error on new recordings (and where 80 % should lie), by ticks ahead:"
    for name, group in stated.groups.items():
        cells = zip(group.ticks, group.error, group.low, group.high, strict=True)
        shown = (f"{tick}: {error:.3g} ({low:.3g} to {high:.3g})" for tick, error, low, high in cells)
        yield f"  {name:<20}{'  '.join(shown)}"


def _shown(horizon: int) -> list[int]:
    return [tick for tick in TICKS if tick <= horizon]


def _ratios(ours: Doubles, hold: Doubles, ticks: Sequence[int]) -> str:
    return "  ".join(f"{ours[n - 1] / max(hold[n - 1], 1e-30):6.3f}" for n in ticks)
