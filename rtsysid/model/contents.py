"""Derive the arrays of bundles and runs from a specification: names, types and shapes, in one place.

Weights keep the names that torch gives them. Shapes: L taps, C channels, ny outputs, F features of a window, Z code,
H hidden, S state, T targets.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping

from rtsysid.guards.limits import limit
from rtsysid.model.npz import ArrayType, ArrayTypes, AtMost
from rtsysid.spec import CELLS, INITIALISER_WIDTH, ModelSpec

EXCERPT_ROWS = 1000  # rows of the golden trace that are measured, at most
EXTREME_ROWS = 120  # rows beyond the trained ranges, at least
FORECASTS, FORECAST_STEPS = 8, 50  # forecasts of the golden trace at most, and their ticks
PLANS = 4  # input plans per forecast
CODES = 48  # ticks whose code and reconstruction error are compared, at most
HORIZON = 100_000  # ticks of intervals, at most
SPREAD_WIDTH = 16  # hidden units of the layer that knows the scale of the noise
SPREAD_AGES = (1, 2, 4, 8, 16, 32)  # first ages of the further bands, each with its own scale of the noise
STRETCH_TICKS = (1, 2, 4, 8, 16, 32, 64)  # ticks ahead at which the stretch of sampled futures is stated
CRITIC_WIDTH = 24  # hidden units of the network that tells recordings from samples
FUTURES = 5  # sampled futures per forecast of the golden trace
QUANTILES = 37  # quantiles of intervals: the length of `rtsysid.model.intervals.SHARES`


def weight_shapes(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """List the shape of every weight [out, in] and bias [out] of a model, by name."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, (out, into) in _layers(spec).items():
        shapes |= {f"{name}.weight": (out, into), f"{name}.bias": (out,)}
    gates = CELLS[spec.cell].gates * spec.hidden
    shapes |= dict.fromkeys(gain_names(spec), (spec.n_bands, spec.n_targets))
    shapes |= {"cell.weight_ih_l0": (gates, spec.code_size), "cell.weight_hh_l0": (gates, spec.hidden)}
    return shapes | {"cell.bias_ih_l0": (gates,), "cell.bias_hh_l0": (gates,)} | _noise_shapes(spec)


def _noise_shapes(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """List the shapes of what samples futures; see `rtsysid.model.backends.noise`."""
    if not spec.distribution:
        return {}
    seen, targets = spec.code_size + spec.hidden, spec.n_targets
    shapes: dict[str, tuple[int, ...]] = {
        "spread.hidden.weight": (SPREAD_WIDTH, seen),
        "spread.hidden.bias": (SPREAD_WIDTH,),
        "spread.scale.weight": (targets, SPREAD_WIDTH),
        "spread.scale.bias": (targets,),
        "spread.age": (len(SPREAD_AGES) + 1, targets),
        "spread.limit": (targets,),
        "spread.stretch": (len(STRETCH_TICKS), spec.n_outputs),
    }
    if factors := spec.noise.factors:
        shapes |= {"spread.factors": (targets, factors), "spread.persistence": (factors,)}
    if latent := spec.noise.latent:
        shapes |= {"latent.scale.weight": (latent, seen), "latent.scale.bias": (latent,)}
        shapes |= {"latent.into.weight": (spec.code_size, latent), "latent.limit": (latent,)}
    if (members := spec.noise.members) > 1:
        shapes |= {
            "members.offset.weight": (members * targets, spec.hidden),
            "members.offset.bias": (members * targets,),
        }
        shapes |= {"members.scale": (members, targets), "members.share": (members,)}
    return shapes | _training_shapes(spec)


def noise_macs(spec: ModelSpec) -> int:
    """Multiply-accumulates that a tick of one sampled future needs beyond those of a step: its own member alone."""
    shapes = _noise_shapes(spec)
    matrices = [name for name in shapes if name.split(".")[0] in ("spread", "latent") and name.endswith(".weight")]
    offset = spec.n_targets * spec.hidden if spec.noise.members > 1 else 0
    return sum(math.prod(shapes[name]) for name in matrices) + spec.n_targets * spec.noise.factors + offset


def _training_shapes(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """List the shapes of what only the training of a distribution needs: the posterior, and the critic."""
    if spec.distribution == "vrnn":
        into, out = spec.code_size + spec.hidden + spec.n_targets, 2 * spec.noise.latent
        return _perceptron_shapes("recognition", into, out)
    if spec.distribution == "gan":
        gates, into = 3 * CRITIC_WIDTH, spec.n_inputs + spec.n_outputs
        cell: dict[str, tuple[int, ...]] = {
            "critic.cell.weight_ih_l0": (gates, into),
            "critic.cell.weight_hh_l0": (gates, CRITIC_WIDTH),
        }
        cell |= {"critic.cell.bias_ih_l0": (gates,), "critic.cell.bias_hh_l0": (gates,)}
        begin = {"critic.begin.weight": (CRITIC_WIDTH, spec.hidden), "critic.begin.bias": (CRITIC_WIDTH,)}
        return {**begin, **cell, "critic.verdict.weight": (1, CRITIC_WIDTH), "critic.verdict.bias": (1,)}
    return {}


def _perceptron_shapes(name: str, into: int, out: int) -> dict[str, tuple[int, ...]]:
    width = SPREAD_WIDTH
    hidden = {f"{name}.hidden.weight": (width, into), f"{name}.hidden.bias": (width,)}
    return {**hidden, f"{name}.out.weight": (out, width), f"{name}.out.bias": (out,)}


def gain_names(spec: ModelSpec) -> tuple[str, ...]:
    """List the tables [K, T] of factors by which each band of ages scales the linear map and the head."""
    return () if not spec.n_bands else ("linear_gain", "head_gain") if spec.linear_path else ("head_gain",)


def _layers(spec: ModelSpec) -> dict[str, tuple[int, int]]:
    """List outputs and inputs of the linear layers."""
    widths = (spec.encoder_window, *spec.encoder)
    layers: dict[str, tuple[int, int]] = {}
    for k, (below, above) in enumerate(itertools.pairwise(widths), 1):
        layers |= {f"encoder.{k}": (above, below), f"decoder.{k}": (below, above)}
    if spec.variational:
        layers["log_variance"] = (spec.code_size, widths[-2])
    layers["head"] = (spec.n_targets, spec.head_size)
    if spec.linear_path:
        layers["linear_path"] = (spec.n_targets, spec.window_size)
    if spec.near_ticks:
        layers["linear_near"] = (spec.n_targets, spec.window_size)
    if spec.state_init == "network":
        first, second = (INITIALISER_WIDTH, spec.window_size), (spec.state_size, INITIALISER_WIDTH)
        layers |= {"initialiser.0": first, "initialiser.2": second}
    return layers


def weight_count(spec: ModelSpec) -> int:
    """Count all weights and biases, those of decoder and initialiser included."""
    return sum(map(math.prod, weight_shapes(spec).values()))


def _weights(spec: ModelSpec) -> ArrayTypes:
    return {name: ArrayType("<f4", shape) for name, shape in weight_shapes(spec).items()}


def _golden(spec: ModelSpec) -> ArrayTypes:
    rows = AtMost("rows", EXCERPT_ROWS + max(EXTREME_ROWS, 2 * spec.taps))
    forecasts, codes = AtMost("forecasts", FORECASTS), AtMost("codes", CODES)
    ages = {"ages": ArrayType("<i8", (rows,))} if spec.age_changes else {}
    future = (forecasts, FUTURES, FORECAST_STEPS, spec.n_outputs)
    sampled = {"futures": ArrayType("<f8", future)} if spec.distribution else {}
    return {
        **ages,
        **sampled,
        "samples": ArrayType("<f4", (rows, spec.width)),
        "starts": ArrayType("<i8", (AtMost("starts", 2),)),
        "y": ArrayType("<f8", (rows, spec.n_outputs), finite=False),  # NaN until the delay line is full
        "forecast_at": ArrayType("<i8", (forecasts,)),
        "u_future": ArrayType("<f4", (forecasts, PLANS, FORECAST_STEPS, spec.n_inputs)),
        "y_future": ArrayType("<f8", (forecasts, PLANS, FORECAST_STEPS, spec.n_outputs)),
        "code_at": ArrayType("<i8", (codes,)),
        "code": ArrayType("<f8", (codes, spec.code_size)),
        "reconstruction": ArrayType("<f8", (codes,)),
    }


def _intervals(spec: ModelSpec) -> ArrayTypes:
    ticks = AtMost("ticks", HORIZON)
    return {
        "coverage": ArrayType("<f8", (QUANTILES, ticks)),
        "quantiles": ArrayType("<f4", (QUANTILES, ticks, spec.n_outputs)),
        "n_independent": ArrayType("<i8", ()),
        "futures": ArrayType("<i8", (), optional=True),
    }


def _baseline(spec: ModelSpec) -> ArrayTypes:
    window = _any("lags x channels", 8 * spec.n_outputs)
    return {
        "lags": ArrayType("<i8", ()),
        "n_inputs": ArrayType("<i8", ()),
        "relative": ArrayType("<i8", (AtMost("relative", spec.width),)),
        "mean": ArrayType("<f8", (spec.width,)),
        "std": ArrayType("<f8", (spec.width,)),
        "weights": ArrayType("<f8", (spec.n_outputs, window)),
        "bias": ArrayType("<f8", (spec.n_outputs,)),
    }


def _linear_path(spec: ModelSpec) -> ArrayTypes:
    weight, bias = (spec.n_targets, spec.window_size), (spec.n_targets,)
    far = {"weight": ArrayType("<f4", weight), "bias": ArrayType("<f4", bias)}
    near = {f"near_{name}": ArrayType("<f4", each.shape, optional=True) for name, each in far.items()}
    gain, spread = (max(1, spec.n_bands), spec.n_targets), (spec.n_targets,)
    of_ages = {"gain": ArrayType("<f4", gain, optional=True), "spread": ArrayType("<f4", spread, optional=True)}
    return {**far, **near, **of_ages}


def _validation(spec: ModelSpec) -> ArrayTypes:
    samples = (_any("rows", 4 * spec.width), spec.width)
    kept = {"true": ArrayType("<f4", samples), "rows": ArrayType("<i8", (_any("episodes", 8),))}
    return {**kept, "shown": ArrayType("<f4", samples, optional=True)}


def _any(name: str, each_bytes: int) -> AtMost:
    """Return a dimension that the size of a file alone limits."""
    return AtMost(name, limit("model_bytes") // each_bytes)


BUNDLE_ARRAYS: Mapping[str, Callable[[ModelSpec], ArrayTypes]] = {
    "weights.npz": _weights,
    "golden.npz": _golden,
    "baseline.npz": _baseline,
    "intervals.npz": _intervals,
}
RUN_ARRAYS: Mapping[str, Callable[[ModelSpec], ArrayTypes]] = {
    "linear_path.npz": _linear_path,
    "judge_path.npz": _linear_path,
    "baseline.npz": _baseline,
    "yardstick.npz": lambda spec: {"rms": ArrayType("<f4", (_any("ticks", 4 * spec.n_outputs), spec.n_outputs))},
    "excerpt.npz": lambda spec: {"values": ArrayType("<f4", (AtMost("rows", EXCERPT_ROWS), spec.width))},
    "validation.npz": _validation,
}
