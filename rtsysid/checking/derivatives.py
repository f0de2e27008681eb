"""Compare outputs with the integrals of their speeds, and joints with their targets: signs, order and units."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from rtsysid.channels import QUATERNION
from rtsysid.checking.findings import Fault, Finding
from rtsysid.checking.rotations import DEGREES
from rtsysid.recordings.trace import Episode, Trace
from rtsysid.spec import Channel, Doubles

SPEEDS = {"m": ("m/s",), "rad": ("rad/s", "deg/s"), "deg": ("deg/s", "rad/s"), "": ()}
SPANS = (1, 2, 4, 8, 16, 32, 64)  # rows over which a change is compared with the mean speed
TIMES = 3.0  # times less must be left by what is right than by what is stated
CLEAR, GOOD = 0.1, 0.8  # share of a channel that the better of two leaves, and the other one
ROWS = 60_000


class Relation(NamedTuple):
    """Hold two groups of as many outputs each: columns of what is predicted from the columns of `other`.

    ``speeds``: the others are speeds; otherwise they are the targets of the same quantities.
    """

    columns: tuple[int, ...]
    other: tuple[int, ...]
    speeds: bool


def relation_findings(trace: Trace, stated: bool) -> Iterator[Finding]:
    """Check every pair of related groups, recording by recording. `stated`: a rigid body relies on them."""
    for relation in relations_of(trace.channels):
        for name, episodes in _by_recording(trace).items():
            yield from _of_recording(trace.channels, relation, name, episodes, stated)


def relations_of(channels: Sequence[Channel]) -> list[Relation]:
    """Find positions with their speeds, and outputs with targets among the inputs, of as many channels each."""
    families: dict[tuple[str, str, str], list[int]] = {}
    for column, channel in enumerate(channels):
        if channel.unit == QUATERNION:
            continue  # q and -q are one rotation: a sign says nothing
        families.setdefault((channel.role, channel.group, channel.unit), []).append(column)
    found = []
    for (role, _, unit), columns in families.items():
        for (other_role, _, other_unit), other in families.items():
            speeds = other_role == "output" and other_unit in SPEEDS.get(unit, ())
            targets = other_role == "input" and other_unit == unit and len(columns) > 1
            if (
                role == "output"
                and len(columns) == len(other)
                and (speeds or (targets and _named_alike(channels, columns, other)))
            ):
                found.append(Relation(tuple(columns), _in_order(channels, columns, other), speeds))
    return found


def _named_alike(channels: Sequence[Channel], columns: Sequence[int], other: Sequence[int]) -> bool:
    """Tell whether the name of each output is a part of another input's name."""
    return len({k for c in columns for k in other if channels[c].name in channels[k].name}) >= len(columns)


def _in_order(channels: Sequence[Channel], columns: Sequence[int], other: Sequence[int]) -> tuple[int, ...]:
    """Order the other columns by the names that they share with the columns; as they are where names do not tell."""
    owners = [[k for k in other if _core(channels[c].name) in channels[k].name] for c in columns]
    chosen = [each[0] for each in owners if len(each) == 1]
    return tuple(chosen) if len(set(chosen)) == len(columns) else tuple(other)


def _core(name: str) -> str:
    return re.sub(r"^(pos|position|angle)_?", "", name) or name


def _by_recording(trace: Trace) -> dict[str, list[Episode]]:
    by_name: dict[str, list[Episode]] = {}
    for episode in trace.episodes:
        by_name.setdefault(episode.recording, []).append(episode)
    return by_name


class _Sums(NamedTuple):
    """Hold sums over rows: of squares of the channels [k], of the others [k], and of their products [k, k]."""

    own: Doubles
    other: Doubles
    products: Doubles

    def residual(self, factors: Doubles) -> Doubles:
        """Return the share of each channel's power that each of the others leaves, times factors [k, 1]: [k, k]."""
        left = self.own[:, None] - 2 * factors * self.products + factors**2 * self.other
        return np.asarray(np.divide(left, self.own[:, None], out=np.ones_like(left), where=self.own[:, None] > 0))


def _of_recording(
    channels: Sequence[Channel], relation: Relation, name: str, episodes: Sequence[Episode], stated: bool
) -> Iterator[Finding]:
    every = [each for span in SPANS if (each := _sums(relation, episodes, span)) is not None]
    if not every:
        return
    units = zip(relation.columns, relation.other, strict=True)
    factors = np.array([[_expected(channels[c].unit, channels[k].unit)] for c, k in units])
    best = min(every, key=lambda each: float(np.minimum(each.residual(factors), each.residual(-factors)).min(1).sum()))
    own, others = ([channels[c].name for c in part] for part in (relation.columns, relation.other))
    for fault, i, j in _faults(best, factors):
        places = (i, j) if fault == "exchanged axes" else (i,)  # nobody knows which of the two is wrong
        named = tuple(part[place] for part in (own, others) for place in places)
        text, remedy = _words(fault, "the change of " if relation.speeds else "", own, others, i, j)
        left = best.residual(factors)[i, i]
        yield Finding(
            fault, named, f"{text} ({left:.0%} unexplained otherwise)", remedy, name, None, stated or fault == "degrees"
        )


def _words(fault: Fault, what: str, own: Sequence[str], others: Sequence[str], i: int, j: int) -> tuple[str, str]:
    """Describe a fault of the channels number i and j, and its remedy."""
    if fault == "exchanged axes":
        text = f"{what}{own[i]} follows {others[j]}, and that of {own[j]} follows {others[i]}"
        return text, f"exchange {own[i]} and {own[j]}, or {others[i]} and {others[j]}, where they are listed"
    if fault == "mirrored axis":
        remedy = f"change the sign of {own[i]} or of {others[i]}: data.sources scale = -1"
        return f"{what}{own[i]} follows {others[i]} with the other sign", remedy
    text = f"{what}{own[i]} and {others[i]} differ by 180 / pi: one of them is in degrees, one in radians"
    return text, f"correct the unit of {own[i]} or of {others[i]}: data.sources unit"


def _faults(best: _Sums, factors: Doubles) -> Iterator[tuple[Fault, int, int]]:
    """Yield faults with the places of the channels that have them. `factors` [k, 1]: what the units say."""
    e = best.residual(factors)
    turned, less, more = (np.diag(best.residual(factors * by)) for by in (-1.0, DEGREES, 1 / DEGREES))
    for i in range(len(e)):
        pairs = [j for j in range(len(e)) if j != i and _is_exchanged(e, i, j)]
        if pairs:
            j = min(pairs, key=lambda j: e[i, j] + e[j, i])
            if i < j:
                yield "exchanged axes", i, j
        elif turned[i] < min(e[i, i] / TIMES, GOOD):
            yield "mirrored axis", i, i
        elif min(less[i], more[i]) < min(e[i, i] / TIMES, GOOD):
            yield "degrees", i, i


def _is_exchanged(e: Doubles, i: int, j: int) -> bool:
    """Tell whether two channels follow each other's counterpart; `e` [k, k]: what is left of each by each."""
    return bool(
        e[i, j] + e[j, i] < (e[i, i] + e[j, j]) / TIMES
        and min(e[i, j], e[j, i]) < CLEAR
        and max(e[i, j], e[j, i]) < GOOD
    )


def _expected(unit: str, other: str) -> float:
    """Return the factor between a channel and the integral of the other one that their units say."""
    own, of_other = unit.split("/", maxsplit=1)[0], other.split("/", maxsplit=1)[0]
    return {("deg", "rad"): DEGREES, ("rad", "deg"): 1 / DEGREES}.get((own, of_other), 1.0)


def _sums(relation: Relation, episodes: Sequence[Episode], span: int) -> _Sums | None:
    """Compare changes over so many rows with the integrals of the speeds; of targets, the values themselves."""
    k = len(relation.columns)
    products, own, other, count = np.zeros((k, k)), np.zeros(k), np.zeros(k), 0
    for episode in episodes:
        rows = episode.values[:ROWS].astype(np.float64)
        pair = _changes_and_integrals(rows, episode.t[:ROWS], relation, span)
        a, b = (part[np.isfinite(pair[0]).all(1) & np.isfinite(pair[1]).all(1)] for part in pair)
        products += a.T @ b
        own, other, count = own + (a * a).sum(0), other + (b * b).sum(0), count + len(a)
    return _Sums(own, other, products) if count >= 50 else None


def _changes_and_integrals(rows: Doubles, t: Doubles, relation: Relation, span: int) -> tuple[Doubles, Doubles]:
    own, other = rows[:, list(relation.columns)], rows[:, list(relation.other)]
    if len(rows) <= span:
        return own[:0], other[:0]
    if not relation.speeds:  # a joint follows its target after some rows
        own, other = own[span:], other[:-span]
        return own - own.mean(0), other - other.mean(0)
    steps = (other[1:] + other[:-1]) / 2 * np.diff(t)[:, None]
    total = np.concatenate((np.zeros((1, steps.shape[1])), np.cumsum(steps, axis=0)))
    return own[span:] - own[:-span], total[span:] - total[:-span]
