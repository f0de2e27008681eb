"""What a linear model of one moment says: poles, gains, times to rise, frequency response, a model of lower order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtsysid.errors import SpecError, TraceError
from rtsysid.model.linearised import Linearised
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.trace import Trace
from rtsysid.spec import Doubles, ModelSpec

TICKS = 100  # of an impulse response
FREQUENCIES = 30  # of a frequency response, from half of the sample rate down to a thousandth of that
SHARE = 0.1  # of the largest value of an impulse response: it has risen


def linearise_at(predictor: Predictor, trace: Trace, at: float) -> Linearised:
    """Step through the recording that holds the moment `at` in s, up to it, and linearise there.

    Raises TraceError where no recording holds it, SpecError where it comes before the delay line is full.
    """
    held = [episode for episode in trace.episodes if episode.t[0] <= at <= episode.t[-1]]
    if not held:
        spans = ", ".join(f"{e.t[0]:.6g} to {e.t[-1]:.6g} s" for e in trace.episodes[:5])
        raise TraceError(f"moment {at:g} s", f"recordings hold {spans}", "give a time in one of them")
    predictor.reset()
    for row in held[0].values[: int(np.searchsorted(held[0].t, at, "right"))]:
        predictor.step(row)
    return predictor.linearise()


def impulse_response(model: Linearised, ticks: int = TICKS) -> Doubles:
    """Compute what outputs do after a unit impulse of each input at tick 0: C A^k B, [ticks, ny, nu]."""
    state, found = model.b, []
    for _ in range(ticks):
        found.append(model.c @ state)
        state = model.a @ state
    return np.stack(found)


def rise_ticks(impulse: Doubles) -> NDArray[np.intp]:
    """Count the ticks until an output has moved by a tenth of its largest response: [N, ny, nu] -> [ny, nu].

    0 where it never moves. Of a fast output this is the delay of the input.
    """
    size = np.abs(impulse)
    moved = size >= SHARE * np.maximum(size.max(0), np.finfo(float).tiny)
    return np.where(size.any(0), moved.argmax(0) + 1, 0)


def held_gains(impulse: Doubles, ticks: int) -> Doubles:
    """Compute the change of outputs so many ticks after an input was raised by 1 and held: [N, ny, nu] -> [ny, nu].

    It exists where outputs integrate inputs, too, as a position does.
    """
    gains: Doubles = impulse[:ticks].sum(0)
    return gains


def frequency_response(model: Linearised, hz: Doubles, rate_hz: float) -> NDArray[np.complex128]:
    """Compute C (z I - A)^-1 B + D at frequencies [F] in Hz: [F, ny, nu]."""
    z = np.exp(2j * np.pi * hz / rate_hz)
    return np.stack([model.c @ np.linalg.solve(each * np.eye(len(model.a)) - model.a, model.b) + model.d for each in z])


def reduced(model: Linearised, order: int, ticks: int = TICKS) -> Linearised:
    """Make a model of `order` states with nearly the same impulse response.

    Ref: J.-N. Juang, R. Pappa, J. Guidance 8 (1985), pp. 620-627: eigensystem realisation. Raises SpecError for an
    order that the impulse response does not support.
    """
    markov, half = impulse_response(model, ticks), ticks // 2
    ny, nu = markov.shape[1:]
    hankel, later = (
        np.block([[markov[i + j + shift] for j in range(half - 1)] for i in range(half - 1)]) for shift in (0, 1)
    )
    left, size, right = np.linalg.svd(hankel, full_matrices=False)
    most = int((size > size[0] * 1e-9).sum())
    if not 1 <= order <= most:
        raise SpecError("order", f"{order}, and this moment has 1 to {most}", "give another one")
    root = np.sqrt(size[:order])
    observed, reached = left[:, :order] * root, root[:, None] * right[:order]
    a = (left[:, :order] / root).T @ later @ (right[:order].T / root)
    return Linearised(a, reached[:, :nu], observed[:ny], model.d)


def moment_content(spec: ModelSpec, model: Linearised, order: int | None = None) -> dict[str, Any]:
    """Describe a linear model in plain values: poles, times to rise, gains, frequency response, and the reduced model.

    Gains are those of one second: see `held_gains`.
    """
    second = max(1, round(spec.rate_hz))
    hz = np.geomspace(spec.rate_hz / 2000, 0.999 * spec.rate_hz / 2, FREQUENCIES)
    response, impulse = frequency_response(model, hz, spec.rate_hz), impulse_response(model)
    found: dict[str, Any] = {
        "states": len(model.a),
        "inputs": [channel.name for channel in spec.inputs],
        "outputs": [channel.name for channel in spec.outputs],
        "poles": [_pole(complex(*pole), spec.rate_hz) for pole in model.poles.tolist()],
        "rise_ticks": rise_ticks(impulse).tolist(),
        "gains": held_gains(impulse_response(model, second), second).tolist(),
        "bode": {
            "hz": hz.tolist(),
            "gain": np.abs(response).tolist(),
            "phase_deg": np.degrees(np.angle(response)).tolist(),
        },
    }
    if order is not None:
        small = reduced(model, order)
        off = np.abs(impulse_response(small) - impulse).max() / np.abs(impulse).max()
        found["reduced"] = {"error": float(off), **{name: part.tolist() for name, part in small._asdict().items()}}
    return found


def _pole(pole: complex, rate_hz: float) -> dict[str, float | None]:
    """Describe a pole: its frequency, and the seconds in which what it carries falls to 1/e; None where it does not."""
    falls = 0 < abs(pole) < 1
    return {
        "re": pole.real, "im": pole.imag, "size": abs(pole),
        "hz": float(abs(np.angle(pole))) * rate_hz / (2 * np.pi),
        "seconds": float(-1 / np.log(abs(pole)) / rate_hz) if falls else None,
    }  # fmt: skip
