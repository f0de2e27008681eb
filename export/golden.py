"""The golden trace: samples that exercise a model, with the outputs of the trained network in float64."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rtsysid.model.bundle import Arrays
from rtsysid.model.golden import relative_error
from rtsysid.spec import Floats, ModelSpec
from rtsysid.train.network import Network
from rtsysid.train.windows import row_windows

EXTREME_ROWS = 120
FORECASTS, FORECAST_STEPS = 8, 50
PLANS = 4  # input plans per forecast


def golden_trace(network: Network, excerpt: Floats) -> tuple[Arrays, dict[str, float]]:
    """Make the arrays of golden.npz, and measure the float32 rounding of this model in spreads of the outputs.

    Two sequences, each from a cold start: `excerpt` [n, C] of real validation samples, and steps to and beyond the
    ends of every trained range. Outputs are NaN until the delay line is full. Forecasts start in the first sequence
    alone: from an extreme state a rollout amplifies rounding without bound.
    """
    spec = network.spec
    sequences = [excerpt, _extreme_rows(spec, max(EXTREME_ROWS, 2 * spec.taps))]
    single, double = _golden_outputs(network, sequences), _golden_outputs(_in_float64(network), sequences)
    starts = np.cumsum([0] + [len(sequence) for sequence in sequences[:-1]])
    golden = {"samples": np.concatenate(sequences), "starts": starts, **double}
    measured = {
        "step": relative_error(single["y"], double["y"], spec),
        "forecast": relative_error(single["y_future"], double["y_future"], spec),
    }
    return golden, measured


def _in_float64(network: Network) -> Network:
    """Copy the network in float64."""
    copy = Network(network.spec)
    copy.load_state_dict(network.state_dict())
    return copy.double()


@torch.no_grad()
def _golden_outputs(network: Network, sequences: list[Floats]) -> Arrays:
    """Step through the sequences in the network's own precision, and forecast from a few ticks of the first."""
    network = network.cpu().eval()
    steps, at, plans, forecasts, offset = [], [], [], [], 0
    for sequence in sequences:
        seen, states, y = _golden_steps(network, torch.from_numpy(sequence).to(network.target_mean.dtype))
        steps.append(y)
        for tick in np.linspace(0, len(seen) - 1, FORECASTS + 1, dtype=int)[1:] if not offset else ():
            plan = _golden_plans(network.spec, sequence, int(tick))
            window, state = seen[tick].expand(PLANS, -1, -1), states[tick].expand(PLANS, -1)
            forecasts.append(_golden_forecast(network, window, state, torch.from_numpy(plan)).numpy())
            plans.append(plan)
            at.append(offset + network.spec.taps - 1 + tick)
        offset += len(sequence)
    return {
        "y": np.concatenate(steps),
        "forecast_at": np.array(at),
        "u_future": np.stack(plans),
        "y_future": np.stack(forecasts),
    }


def _golden_steps(network: Network, rows: Tensor) -> tuple[Tensor, list[Tensor], np.ndarray]:
    """Step through rows [n, C]: the windows, the state before each, and the prediction at every row."""
    taps = network.spec.taps
    seen = row_windows(rows[None], taps)[0]
    state, states = network.initial_state(seen[:1]), []
    y = np.full((len(rows), network.spec.n_outputs), np.nan)
    for tick, window in enumerate(seen):
        states.append(state)
        predicted, state = network.step(window[None], state)
        y[taps - 1 + tick] = predicted[0].numpy()
    return seen, states, y


def _golden_forecast(network: Network, window: Tensor, state: Tensor, plan: Tensor) -> Tensor:
    """Forecast under plans [B, N, nu]; the outputs of the later rows are never read."""
    spec, steps = network.spec, plan.shape[1]
    rows = torch.zeros(len(plan), spec.taps - 1 + steps, spec.width, dtype=window.dtype)
    rows[:, : spec.taps] = window
    rows[:, spec.taps - 1 :, : spec.n_inputs] = plan
    return network.rollout(row_windows(rows, spec.taps), state)


def _extreme_rows(spec: ModelSpec, rows: int) -> Floats:
    """Hold every channel at random levels, from half a range below to half a range above what was trained on."""
    rng = np.random.default_rng(0)
    low, high = np.asarray(spec.scaling.low), np.asarray(spec.scaling.high)
    levels = low + (high - low) * rng.uniform(-0.5, 1.5, (rows // 10 + 1, spec.width))
    return np.repeat(levels, 10, 0)[:rows].astype(np.float32)


def _golden_plans(spec: ModelSpec, sequence: Floats, tick: int) -> Floats:
    """Take input plans [PLANS, N, nu] from the sequence itself."""
    rng = np.random.default_rng(tick)
    first = rng.integers(0, max(1, len(sequence) - FORECAST_STEPS), PLANS)
    rows = np.minimum(first[:, None] + np.arange(FORECAST_STEPS), len(sequence) - 1)
    return np.ascontiguousarray(sequence[rows, : spec.n_inputs])
