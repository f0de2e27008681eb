"""The golden trace: samples that exercise a model, with the outputs of the trained network in float64."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rtsysid.errors import ParityError
from rtsysid.model.backends.draws import draws_of
from rtsysid.model.backends.noise import NumpyNoise
from rtsysid.model.backends.windowed import Ages
from rtsysid.model.contents import CODES, EXTREME_ROWS, FORECAST_STEPS, FORECASTS, FUTURES, PLANS
from rtsysid.model.coordinates.deviations import FutureStretch, stretch_factors
from rtsysid.model.golden import golden_errors
from rtsysid.model.npz import Arrays
from rtsysid.model.tolerance import excess, tolerances
from rtsysid.spec import Floats, ModelSpec
from rtsysid.train.generative.sampling import Drawn, FutureStart, sampled_rollout
from rtsysid.train.network import Network
from rtsysid.train.windows import row_windows

MOVED = 0.3  # share by which the last plan of a forecast is moved


def golden_trace(network: Network, excerpt: Floats) -> tuple[Arrays, dict[str, float]]:
    """Make the arrays of golden.npz, and measure the float32 rounding of this model by the names of the table.

    Two sequences, each from a cold start: `excerpt` [n, C] of real validation samples, and steps to and beyond the
    ends of every trained range. Outputs are NaN until the delay line is full. Forecasts start in the first sequence
    alone: from an extreme state a rollout amplifies rounding without bound. Codes and reconstruction errors are kept of
    some ticks of both. Where the model depends on the age of a row, ``ages`` [n] are on both sides of every change, as
    are those of the forecasts. Raises ParityError where the model is not finite, or too sensitive for float32.
    """
    spec = network.spec
    sequences = [excerpt, _extreme_rows(spec, max(EXTREME_ROWS, 2 * spec.taps))]
    ages = _golden_ages(spec, *map(len, sequences))
    single, double = (_golden_outputs(each, sequences, ages) for each in (network, _in_float64(network)))
    starts = np.cumsum([0] + [len(sequence) for sequence in sequences[:-1]])
    golden = {"samples": np.concatenate(sequences), "starts": starts, **double}
    if spec.age_changes:
        golden["ages"] = np.concatenate(ages)
    measured = golden_errors({**golden, **single}, golden, spec)
    if above := excess(tolerances(measured)):
        remedy = "train it longer, or on recordings without extreme values"
        raise ParityError("the model in float32", f"its rounding gives a tolerance of {above}", remedy)
    return golden, measured


def _in_float64(network: Network) -> Network:
    """Copy the network in float64."""
    copy = Network(network.spec)
    copy.load_state_dict(network.state_dict())
    return copy.double()


@torch.no_grad()
def _golden_outputs(network: Network, sequences: list[Floats], ages: list[Ages]) -> Arrays:
    """Step through the sequences in the network's own precision; forecast from a few ticks of the first."""
    network = network.cpu().eval()
    parts: list[Arrays] = []
    for offset, sequence, age in zip(np.cumsum([0, *map(len, sequences)]), sequences, ages, strict=False):
        rows = torch.from_numpy(sequence).to(network.target_mean.dtype)
        seen, states, y = _golden_steps(network, rows, age)
        first = int(offset) + network.spec.taps - 1
        part = {"y": y, **_golden_codes(network, seen, first)}
        parts.append(part if parts else {**part, **_golden_forecasts(network, sequence, age, seen, states)})
    return {name: np.concatenate([part[name] for part in parts if name in part]) for name in parts[0]}


def _golden_codes(network: Network, seen: Tensor, first: int) -> Arrays:
    """Compute code and reconstruction error at some of the windows `seen`; the first window ends at row `first`."""
    ticks = np.unique(np.linspace(0, len(seen) - 1, CODES // 2, dtype=int))
    features = network.features(seen[ticks])[:, network.spec.encoder_columns]
    code = network.encode(features)
    error = (network.decode(code) - features).square().mean(-1)
    return {"code_at": first + ticks, "code": code.double().numpy(), "reconstruction": error.double().numpy()}


def _golden_forecasts(network: Network, sequence: Floats, ages: Ages, seen: Tensor, states: list[Tensor]) -> Arrays:
    """Forecast from a few ticks of the first sequence."""
    ticks, first = _forecast_ticks(len(seen)), network.spec.taps - 1
    plans, forecasts, futures = [], [], []
    for tick in ticks:
        plan = _golden_plans(network.spec, sequence, int(tick))
        window, state = seen[tick].expand(PLANS, -1, -1), states[tick].expand(PLANS, -1)
        forecast = _golden_forecast(network, window, state, plan, int(ages[first + tick]))
        forecasts.append(forecast.double().numpy())
        plans.append(plan)
        if network.spec.distribution:
            start = FutureStart(seen[tick][None], states[tick])
            sampled = _golden_futures(network, start, plan[0], int(first + tick), int(ages[first + tick]))
            futures.append(sampled.double().numpy())
    found: Arrays = {"forecast_at": first + ticks, "u_future": np.stack(plans), "y_future": np.stack(forecasts)}
    return {**found, "futures": np.stack(futures)} if futures else found


def _golden_futures(network: Network, start: FutureStart, plan: Floats, seed: int, age: int) -> Tensor:
    """Sample futures [M, N, ny] from one start under one plan [N, nu], with the draws of every backend."""
    spec, like = network.spec, network.target_mean
    draws = draws_of(seed, 0, FUTURES, len(plan), spec.n_draws)
    noise = NumpyNoise(spec, {name: each.numpy() for name, each in network.state_dict().items()})
    member = torch.from_numpy(noise.members(draws.uniform))
    window, state = (part.expand(FUTURES, *part.shape[1:]) for part in start)
    plans = torch.from_numpy(plan).to(like).expand(FUTURES, -1, -1)
    futures = sampled_rollout(
        network, FutureStart(window, state), plans, Drawn(torch.from_numpy(draws.normal).to(like), member), age
    )
    point = _golden_forecast(network, start.window, start.state, plan[None], age)
    factors = torch.from_numpy(stretch_factors(network.spread.stretch.numpy(), len(plan))).to(like)
    stretched: Tensor = FutureStretch(spec, torch).stretched(futures, point, factors)
    return stretched


def _forecast_ticks(windows: int) -> Ages:
    """List the windows of the first sequence that forecasts start from."""
    return np.unique(np.linspace(0, windows - 1, FORECASTS + 1, dtype=int)[1:])


def _golden_ages(spec: ModelSpec, *lengths: int) -> list[Ages]:
    """Give every second row of each sequence an age at, or a tick before, a change of the model, in turn; others 0.

    Forecasts start at age 0, and by turns half of their ticks before the last change.
    """
    ages = [np.zeros(length, np.int64) for length in lengths]
    if not spec.age_changes:
        return ages
    wanted = sorted({age for change in spec.age_changes for age in (change - 1, change)})
    for each in ages:
        each[::2] = np.resize(wanted, len(each[::2]))
    starts = spec.taps - 1 + _forecast_ticks(lengths[0] - spec.taps + 1)
    ages[0][starts] = 0
    ages[0][starts[1::2]] = max(0, spec.age_changes[-1] - FORECAST_STEPS // 2)
    return ages


def _golden_steps(network: Network, rows: Tensor, ages: Ages) -> tuple[Tensor, list[Tensor], np.ndarray]:
    """Step through rows [n, C] of ages [n]: the windows, the state before each, and the prediction at every row."""
    taps = network.spec.taps
    seen = row_windows(rows[None], taps)[0]
    state, states = network.initial_state(seen[:1]), []
    y = np.full((len(rows), network.spec.n_outputs), np.nan)
    for tick, window in enumerate(seen):
        states.append(state)
        predicted, state = network.step(window[None], state, int(ages[taps - 1 + tick]))
        y[taps - 1 + tick] = predicted[0].numpy()
    return seen, states, y


def _golden_forecast(network: Network, window: Tensor, state: Tensor, plan: Floats, age: int) -> Tensor:
    """Forecast under plans [B, N, nu] from a row of this age; the outputs of the later rows are never read."""
    spec, steps = network.spec, plan.shape[1]
    rows = torch.zeros(len(plan), spec.taps - 1 + steps, spec.width, dtype=window.dtype)
    rows[:, : spec.taps] = window
    rows[:, spec.taps - 1 :, : spec.n_inputs] = torch.from_numpy(plan)
    return network.rollout(row_windows(rows, spec.taps), state, age)


def _extreme_rows(spec: ModelSpec, rows: int) -> Floats:
    """Hold every channel at random levels, from half a range below to half a range above what was trained on."""
    rng = np.random.default_rng(0)
    low, high = np.asarray(spec.scaling.low), np.asarray(spec.scaling.high)
    levels = low + (high - low) * rng.uniform(-0.5, 1.5, (rows // 10 + 1, spec.width))
    return np.repeat(levels, 10, 0)[:rows].astype(np.float32)


def _golden_plans(spec: ModelSpec, sequence: Floats, tick: int) -> Floats:
    """Take input plans [PLANS, N, nu]: what follows in the sequence, moved toward other parts of it by some shares.

    Inputs that have nothing to do with the state drive an unstable robot so far away that rounding decides.
    """
    rng, start = np.random.default_rng(tick), tick + spec.taps - 1
    first = rng.integers(0, max(1, len(sequence) - FORECAST_STEPS), PLANS)
    rows = np.minimum(
        np.stack((first, np.full(PLANS, start)))[..., None] + np.arange(FORECAST_STEPS), len(sequence) - 1
    )
    other, own = sequence[rows][..., : spec.n_inputs]
    shares = np.linspace(0, MOVED, PLANS, dtype=np.float32)[:, None, None]
    return np.ascontiguousarray(own + shares * (other - own), np.float32)
