"""Check quaternions: their length and signs, and whether their convention agrees with the measured rotation rates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from rtsysid.channels import QUATERNION
from rtsysid.checking.arrays import quantile
from rtsysid.checking.findings import Fault, Finding
from rtsysid.checking.rotations import DEGREES, SAME, AttitudeFit, Convention, fit_attitude
from rtsysid.checking.tables import RawTable
from rtsysid.checking.vectors import Vector, vectors_of
from rtsysid.recordings.trace import Episode, Trace
from rtsysid.spec import Doubles

LENGTH = 0.01  # by which the length of a quaternion may differ from 1
RECORDINGS = 40  # of which the attitude is compared with the rates
_XYZ = "xyz"


def quaternion_findings(table: RawTable) -> Iterator[Finding]:
    """Check the length of the quaternions of a table, and whether their signs jump."""
    for vector in vectors_of(table.channels):
        if vector.kind != "attitude" or len(vector.columns) != 4:
            continue
        names = tuple(table.channels[column].name for column in vector.columns)
        q = table.values[:, list(vector.columns)]
        whole = np.isfinite(q).all(1)
        t, q = table.t[whole], q[whole]
        lengths = np.linalg.norm(q, axis=1)
        off = np.abs(lengths - 1)
        if len(q) and quantile(off, 0.9) > LENGTH and vector.unit in ("", QUATERNION):
            ends = f"{lengths.min():.4g} to {lengths.max():.4g}"
            found = f"its length is {ends}, 90 % of the rows within {quantile(off, 0.9):.3g} of 1"
            remedy = "check the scale of its components: data.sources scale"
            yield Finding("unit norm", names, found, remedy, table.recording, float(t[off.argmax()]))
        flips = np.flatnonzero((q[1:] * q[:-1]).sum(1) < 0)
        if len(flips):
            found = f"its sign jumps {len(flips)} times: q and -q are one rotation"
            remedy = 'nothing to do where its unit is "quat": signs are made continuous'
            yield Finding("sign flip", names, found, remedy, table.recording, float(t[flips[0]]))


def attitude_findings(trace: Trace, vectors: Sequence[Vector]) -> Iterator[Finding]:
    """Compare each attitude with each rate among the outputs, recording by recording."""
    attitudes = [each for each in vectors if each.kind == "attitude" and len(each.columns) == 4]
    for attitude in attitudes:
        for rate in (each for each in vectors if each.kind == "rate"):
            for episode in _longest_piece_of(trace):
                yield from _of_episode(trace, episode, attitude, rate)


def _longest_piece_of(trace: Trace) -> list[Episode]:
    """Return the longest episode of each recording."""
    longest: dict[str, Episode] = {}
    for episode in trace.episodes:
        if len(episode) > len(longest.get(episode.recording, ())):
            longest[episode.recording] = episode
    return list(longest.values())[:RECORDINGS]


def _of_episode(trace: Trace, episode: Episode, attitude: Vector, rate: Vector) -> Iterator[Finding]:
    q, rates = (episode.values[:, list(each.columns)].astype(np.float64) for each in (attitude, rate))
    given = Convention(order=attitude.order or "xyzw", scale=DEGREES if rate.unit in ("deg/s", "dps") else 1.0)
    fit = fit_attitude(q, episode.t, rates, episode.t, given)
    if fit is None:
        return
    if not attitude.order:  # nobody says it
        given = given._replace(order=fit.best.order)
    if not rate.unit and not rate.stated:
        given = given._replace(scale=fit.best.scale)
    names = [[trace.channels[column].name for column in each.columns] for each in (attitude, rate)]
    if fit.best == given and fit.upright is not None and attitude.order:
        evidence = f"the rates fit {convention_text(fit.upright)} as well, and the body stands upright then alone"
        remedy = _order_remedy(fit.upright, names[0])
        yield Finding("quaternion order", tuple(names[0]), evidence, remedy, episode.recording)
    if not fit.disproved or fit.best == given:
        return
    whole = f"what fits: {attitude_text(fit)}, by what is stated {fit.given:.0%}"
    grave = attitude.stated or attitude.unit == QUATERNION
    for fault, channels, text, remedy in _differences(fit.best, given, names[0], names[1]):
        yield Finding(fault, channels, f"{text}; {whole}", remedy, episode.recording, None, grave=grave)


def _differences(
    best: Convention, given: Convention, q: Sequence[str], rates: Sequence[str]
) -> Iterator[tuple[Fault, tuple[str, ...], str, str]]:
    """Yield fault, channels, text and remedy for each part in which a convention differs from the stated one."""
    if best.scale != given.scale:
        unit, other = ("deg/s", "rad/s") if best.scale > given.scale else ("rad/s", "deg/s")
        yield (
            "degrees",
            tuple(rates),
            f"the rates are in {unit}, not in {other}",
            f'state it: "{rates[0]} [{unit}]"; or data.sources unit = "{unit}"',
        )
    if best.order != given.order:
        yield (
            "quaternion order",
            tuple(q),
            f"the components are in the order {', '.join(best.order)}",
            _order_remedy(best, q),
        )
    axes = np.array(best.axes) @ np.array(given.axes).T
    if best.inverse != given.inverse:
        yield from _inverse(axes, q, rates)
    elif (axes != np.eye(3)).any():
        yield _of_axes(axes, rates, "rates", best)


def _order_remedy(best: Convention, q: Sequence[str]) -> str:
    places = [best.order.index(axis) for axis in "xyzw"]
    listed = ", ".join(f'"{q[place]}"' for place in places)
    return f'list them as model.rigid_body.attitude = [{listed}], or set data.sources order = "{best.order}"'


def _inverse(
    axes: Doubles, q: Sequence[str], rates: Sequence[str]
) -> Iterator[tuple[Fault, tuple[str, ...], str, str]]:
    """Describe a quaternion that turns the other way: as a whole, or by a component."""
    remedy = "invert the quaternion: data.sources inverse = true"
    if (axes == np.eye(3)).all():
        yield "inverse quaternion", tuple(q), "the quaternion turns from world to body", remedy
    elif (axes == -np.eye(3)).all():
        found = "the rates are those about the axes of the world"
        yield "other axes", tuple(rates), found, "turn them into the frame of the body, or use the gyroscope"
    elif (named := _of_axes(-axes, q, "components", None))[0] != "other axes":
        yield named
    else:
        text = f"the quaternion turns from world to body, in the axes {Convention(axes=_attitude_rows(axes)).axes_text}"
        yield "inverse quaternion", tuple(q), text, remedy


def _of_axes(
    axes: Doubles, names: Sequence[str], what: str, best: Convention | None
) -> tuple[Fault, tuple[str, ...], str, str]:
    """Describe a signed permutation [3, 3] of the channels `names` against the other vector."""
    moved = [k for k in range(3) if not axes[k, k]]
    negative = [k for k in range(3) if axes[k].sum() < 0]
    if not moved and len(negative) == 1:
        (k,) = negative
        text = f"the {_XYZ[k]} of the {what} has the other sign"
        return "mirrored axis", (names[k],), text, f"change the sign of {names[k]}: data.sources scale = -1"
    if len(moved) == 2 and not negative:
        i, j = moved
        return (
            "exchanged axes",
            (names[i], names[j]),
            f"{_XYZ[i]} and {_XYZ[j]} of the {what} are exchanged",
            f"exchange {names[i]} and {names[j]} where they are listed",
        )
    text = f"the axes of the {what} are {Convention(axes=_attitude_rows(axes)).axes_text} of the body"
    remedy = 'turn them into the frame of the attitude: data.sources frames ("frd", "ned-frd")'
    return "other axes", tuple(names[:3]), text, remedy


def _attitude_rows(axes: Doubles) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(part) for part in row) for row in axes)


def attitude_text(fit: AttitudeFit) -> str:
    """Describe the convention that a fit has found, in one line."""
    return f"{convention_text(fit.best)}; {fit.residual:.1%} of the rates unexplained"


def convention_text(each: Convention) -> str:
    """Describe a convention: ``order x, y, z, w, from body to world, rates in rad/s about x, -y, -z``."""
    way = "from world to body" if each.inverse else "from body to world"
    axes = "" if each.axes == SAME else f" about {each.axes_text}"
    unit = {1.0: "rad/s", DEGREES: "deg/s"}.get(each.scale, "rad/s times pi/180")
    return f"order {', '.join(each.order)}, {way}, rates in {unit}{axes}"
