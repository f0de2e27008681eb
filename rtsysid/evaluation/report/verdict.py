"""Say in one sentence how far ahead a model is of use, where it is worst, and what to do first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np

from rtsysid.evaluation.report.causes import Cause
from rtsysid.evaluation.report.observed import Observed, predictions_of
from rtsysid.evaluation.report.quantities import Quantity, ShownOutputs
from rtsysid.evaluation.report.study import OF_GROUP
from rtsysid.spec import Doubles, ModelSpec

OF_MOTION = 0.5  # a forecast with a larger error, in units of the usual motion, is of no use
OF_HOLD = 0.9  # nor is one that is hardly better than the last measurement
NOTHING = "nothing to do"


class Reach(msgspec.Struct, frozen=True):
    """State how far forecasts of one group are of use: up to so many ticks, 0 for not at all.

    ``limit``: the output that limits it. ``relative``: its error at the end of the horizon, in units of its usual
    motion. ``moves``: False for a group that stands still.
    """

    group: str
    limit: str
    ticks: int
    seconds: float
    relative: float
    moves: bool = True


class Verdict(msgspec.Struct, frozen=True):
    """Hold the sentence, its grade, and the parts that it is made of."""

    sentence: str
    grade: Literal["good", "fair", "poor"]
    reach: list[Reach]
    worst: str
    first: str


def reach_of(spec: ModelSpec, every: Sequence[Observed], ringing: Mapping[str, int]) -> list[Reach]:
    """Measure how far ahead forecasts are of use, by group. `ringing`: by group, the tick from where on they ring."""
    shown, truth = ShownOutputs(spec), np.concatenate([o.truth for o in every])
    forecasts = [predictions_of(spec, o) for o in every]
    model, hold = (
        _sizes(shown, np.concatenate([each[name] for each in forecasts]), truth).mean(0) for name in ("model", "hold")
    )
    usual = _sizes(shown, np.roll(truth[:, -1:], len(truth) // 2, axis=0), truth[:, -1:]).mean((0, 1)) / 2**0.5
    found: dict[str, list[Reach]] = {}
    for k, q in enumerate(shown.quantities):
        liveliest = max(usual[n] for n, other in enumerate(shown.quantities) if other.group == q.group)
        if usual[k] >= OF_GROUP * liveliest:
            own = _reach(spec, q, model[:, k], hold[:, k], float(usual[k]), ringing.get(q.group, 1 << 30))
            found.setdefault(q.group, []).append(own)
    return [min(each, key=lambda reach: (reach.ticks, -reach.relative)) for each in found.values()]


def _sizes(shown: ShownOutputs, predicted: Doubles, truth: Doubles) -> Doubles:
    """Return the size of the error of each output or rotation, [K, N, quantities]; inf where it is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        off = shown.differences(predicted, truth)
        sizes = [np.linalg.norm(off[..., list(q.columns)], axis=-1) for q in shown.quantities]
    return np.asarray(np.nan_to_num(np.stack(sizes, -1), nan=np.inf, posinf=np.inf))


def verdict_of(spec: ModelSpec, reach: list[Reach], horizon: int, worst: str, causes: Sequence[Cause]) -> Verdict:
    """Put the verdict into words."""
    moving = [each for each in reach if each.moves]
    usable = [each for each in moving if each.ticks]
    whole = bool(usable) and all(each.ticks >= horizon for each in moving)
    first = causes[0].remedy if causes else NOTHING if whole else _without_cause(moving)
    grade = _grade(whole, bool(usable), causes)
    fault = f"; fault: {_fault_text(causes[0])}" if causes else ""
    to_do = first if first == NOTHING else f"first thing to do: {first}"
    sentence = f"{_usable_text(moving, horizon, grade)}{fault}; worst on {worst}; {to_do}"
    return Verdict(sentence, grade, reach, worst, first)


def _grade(whole: bool, usable: bool, causes: Sequence[Cause]) -> Literal["good", "fair", "poor"]:
    if whole and not causes:
        return "good"
    return "poor" if not usable or any(each.grade == "poor" for each in causes) else "fair"


def _fault_text(cause: Cause) -> str:
    return f"{cause.fault} ({', '.join(cause.names[:3])})" if cause.names else cause.fault


def _usable_text(moving: Sequence[Reach], horizon: int, grade: str) -> str:
    usable = [each for each in moving if each.ticks]
    if not usable:
        return "not usable at any horizon" if moving else "not usable: no output moves in these recordings"
    if all(each.ticks >= horizon for each in moving):
        good = ": good" if grade == "good" else ""
        groups = _groups_text([msgspec.structs.replace(each, limit=each.group) for each in usable])
        return f"usable up to {usable[0].seconds:.3g} s ahead, as far as tested, for {groups}{good}"
    by_time: dict[float, list[Reach]] = {}
    for each in sorted(usable, key=lambda each: each.seconds):
        by_time.setdefault(each.seconds, []).append(each)
    parts = [
        f"{seconds:.3g} s{' ahead' * (not k)} for {_groups_text(own)}"
        for k, (seconds, own) in enumerate(by_time.items())
    ]
    useless = [each for each in moving if not each.ticks]
    return f"usable up to {', '.join(parts)}" + (f"; not usable for {_groups_text(useless)}" if useless else "")


def _groups_text(groups: Sequence[Reach]) -> str:
    names = [each.group if each.limit == each.group else f"{each.group} ({each.limit})" for each in groups]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _without_cause(moving: Sequence[Reach]) -> str:
    worst = max(moving, key=lambda each: each.relative, default=None)
    about = f" of {worst.group}" if worst else ""
    return f"look at the worst forecasts{about}: record more of that motion, or record what drives it as an input"


def _reach(spec: ModelSpec, q: Quantity, error: Doubles, hold: Doubles, usual: float, ringing: int) -> Reach:
    if not usual > 0:
        return Reach(q.group, q.name, 0, 0.0, 0.0, moves=False)
    close = np.cumprod(error <= OF_MOTION * usual).astype(bool)
    close[ringing - 1 :] = False
    useful = np.flatnonzero(close & (error <= OF_HOLD * hold))
    ticks = int(useful.max()) + 1 if len(useful) else 0
    return Reach(q.group, q.name, ticks, ticks / spec.rate_hz, float(min(error[-1] / usual, 1e6)))
