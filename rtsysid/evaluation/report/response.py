"""Step and frequency responses of the linear path of a model, and the transfer function that recordings show.

The step response is the median over moments of the recordings: a forecast with one input a little higher, minus the
same forecast without. The frequency response is exact where the coordinates are linear, else the transform of the step
response. A model without a linear path is shown as a whole. The empirical transfer function divides cross-spectra of
the recordings; its coherence is the share of an output's power that all inputs explain linearly. Under a controller
inputs depend on outputs, and the empirical one is biased: compare both where the coherence is high.
Ref: L. Ljung, System Identification, 2nd ed., 1999, sections 6.3 and 6.4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from rtsysid.evaluation.report.linear_path import Complexes, LinearPath
from rtsysid.evaluation.report.observed import Observed
from rtsysid.evaluation.report.quantities import ShownOutputs
from rtsysid.evaluation.report.ringing import some_moments
from rtsysid.model.backends.protocol import Snapshot
from rtsysid.model.bundle import Bundle
from rtsysid.model.predictor import Predictor
from rtsysid.spec import Doubles, Floats, ModelSpec

Shown: TypeAlias = Literal["linear path", "unused linear path", "whole model"]
Rollout: TypeAlias = Callable[[Snapshot, Floats], Floats | Doubles]
MOMENTS = 24
TICKS = 3  # length of a response, in horizons
SIZE = 0.2  # of a standard deviation of the input
SEGMENT = 512  # rows of a segment at most
FINEST = 60  # frequencies, evenly spread on a logarithmic axis


class Responses(NamedTuple):
    """Hold responses to each input: ``step`` [T, nq, nu], per unit of the input; ``hz`` [F] with ``model`` and
    ``measured`` [F, nq, nu], complex, and ``coherence`` [F, nq], of all inputs together.

    ``of``: what ``step`` and ``model`` are the responses of; no forecast uses an unused linear path.
    """

    of: Shown
    step: Doubles
    hz: Doubles
    model: Complexes
    measured: Complexes
    coherence: Doubles
    input_power: Doubles


def responses_of(bundle: Bundle, predictor: Predictor, every: Sequence[Observed]) -> Responses | None:
    """Compute the responses of a model and of its recordings; None where it has no input."""
    spec = bundle.spec
    if not spec.n_inputs:
        return None
    shown, path = ShownOutputs(spec), LinearPath.of(bundle)
    ticks = TICKS * every[0].truth.shape[1]
    step = step_responses(spec, predictor.rollout if path is None else path.rollout, every, shown, ticks)
    hz, measured, coherence, power = empirical(spec, every, shown, _segment_of(every))
    exact = None if path is None else path.frequency_response(hz / spec.rate_hz)
    model = _transform(step, hz / spec.rate_hz) if exact is None else exact
    return Responses(_name_of(path), step, hz, model, measured, coherence, power)


def _name_of(path: LinearPath | None) -> Shown:
    return "whole model" if path is None else "unused linear path" if path.unused else "linear path"


def _segment_of(every: Sequence[Observed]) -> int:
    """Return the rows of a segment: a power of two, at most a quarter of the longest episode."""
    longest = max(len(o.episode) for o in every)
    return 1 << (min(SEGMENT, max(16, longest // 4)).bit_length() - 1)


def step_responses(
    spec: ModelSpec, rollout: Rollout, every: Sequence[Observed], shown: ShownOutputs, ticks: int
) -> Doubles:
    """Return the change of each shown value after 1 .. `ticks` ticks of a step of one unit, [ticks, nq, nu]."""
    base, u = some_moments(spec, every, ticks, MOMENTS)
    with np.errstate(over="ignore", invalid="ignore"):
        still = rollout(base, u).astype(np.float64)
        found = []
        for k in range(spec.n_inputs):
            size = np.float32(SIZE * spec.scaling.std[k])
            moved = u.copy()
            moved[..., k] += size
            change = shown.differences(rollout(base, moved).astype(np.float64), still)
            found.append(np.nanmedian(change, axis=0) / size)
    return np.stack(found, -1)


def _transform(step: Doubles, cycles: Doubles) -> Complexes:
    """Return the frequency response [F, nq, nu] at `cycles` per tick [F] of step responses [T, nq, nu].

    The second difference decays where an output integrates its input; the transform divides by that difference again.
    """
    impulse = np.diff(step, axis=0, prepend=0.0)
    change = np.nan_to_num(np.diff(impulse, axis=0, prepend=0.0))
    fade = np.ones(len(change))
    tail = len(change) // 3
    fade[len(change) - tail :] = np.cos(np.linspace(0, np.pi / 2, tail))
    z = np.exp(-2j * np.pi * cycles)
    powers = z[:, None] ** np.arange(1, len(change) + 1)
    total = np.einsum("ft,tqu->fqu", powers, change * fade[:, None, None])
    return np.asarray(total / (1 - z)[:, None, None])


def empirical(
    spec: ModelSpec, every: Sequence[Observed], shown: ShownOutputs, segment: int
) -> tuple[Doubles, Complexes, Doubles, Doubles]:
    """Return frequencies [F] in Hz, the transfer function [F, nq, nu], the coherence [F, nq], and input power [F, nu].

    By Welch's method on segments of `segment` rows that overlap by half; of outputs their changes are used.
    """
    nu, window = spec.n_inputs, np.hanning(segment)
    half, nq = segment // 2, len(shown.names)
    uu, yu = np.zeros((half, nu, nu), np.complex128), np.zeros((half, nq, nu), np.complex128)
    yy, count = np.zeros((half, nq)), 0
    for o in every:
        u, outputs = o.episode.values[:-1, :nu].astype(np.float64), o.episode.values[:, nu:].astype(np.float64)
        y = shown.differences(outputs[1:], outputs[:-1])
        for start in range(0, len(u) - segment + 1, half):
            fu, fy = (np.fft.rfft(_even(x[start : start + segment]) * window[:, None], axis=0)[1:] for x in (u, y))
            uu += fu[:, :, None] * fu[:, None].conj()
            yu += fy[:, :, None] * fu[:, None].conj()
            yy, count = yy + np.abs(fy) ** 2, count + 1
    rows = np.unique(np.geomspace(1, half, FINEST).round().astype(int)) - 1
    cycles, (uu, yu, yy) = np.fft.rfftfreq(segment)[1:][rows], (each[rows] for each in (uu, yu, yy))
    level = np.einsum("fii->f", uu).real[:, None, None] / nu
    solved = np.linalg.solve(uu + (1e-6 * level + 1e-30) * np.eye(nu), yu.conj().transpose(0, 2, 1))
    change = solved.conj().transpose(0, 2, 1)
    explained = np.einsum("fqu,fqu->fq", change, yu.conj()).real
    coherence: Doubles = np.clip(np.divide(explained, yy, out=np.zeros_like(yy), where=yy > 0), 0, 1)
    # the change from row k to k + 1 is the response to u_k: one tick, and the sum of changes
    z = np.exp(-2j * np.pi * cycles)[:, None, None]
    power: Doubles = np.einsum("fii->fi", uu).real / max(count, 1) / (window**2).sum() / spec.rate_hz * 2
    return cycles * spec.rate_hz, np.asarray(change * z / (1 - z)), coherence, power


def _even(x: Doubles) -> Doubles:
    return np.asarray(x - x.mean(0))


def power_of(spec: ModelSpec, pieces: Sequence[Floats], every: Sequence[Observed]) -> Doubles | None:
    """Return the power of each input [F, nu] of other recordings, at the frequencies of `empirical`; None if short."""
    segment = _segment_of(every)
    window, total, count = np.hanning(segment), np.zeros((segment // 2, spec.n_inputs)), 0
    for values in pieces:
        for start in range(0, len(values) - segment + 1, segment // 2):
            part = values[start : start + segment, : spec.n_inputs].astype(np.float64)
            total += np.abs(np.fft.rfft(_even(part) * window[:, None], axis=0)[1:]) ** 2
            count += 1
    rows = np.unique(np.geomspace(1, len(total), FINEST).round().astype(int)) - 1
    return total[rows] / count / (window**2).sum() / spec.rate_hz * 2 if count else None
