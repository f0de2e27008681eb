"""The golden trace: samples that exercise a model, with the outputs that the trained network gives in float64."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rtsysid.model.bundle import Arrays
from rtsysid.model.parity import relative_error
from rtsysid.spec import Floats, ModelSpec
from rtsysid.train.network import Network, State
from rtsysid.train.windows import row_windows

EXTREME_ROWS = 120
FORECASTS, FORECAST_STEPS = 8, 50
PLANS = 4  # input plans per forecast


def golden_trace(network: Network, excerpt: Floats) -> tuple[Arrays, dict[str, float]]:
    """Arrays of golden.npz, and the float32 rounding of this model that bounds are made from.

    Two stretches, each from a cold start: `excerpt` [n, C] of real validation samples, and steps to and beyond the
    ends of every trained range. Outputs are NaN until the delay line is full. Forecasts start in the first stretch:
    from an extreme state a rollout grows rounding without bound, so that comparing there says nothing.
    """
    spec = network.spec
    stretches = [excerpt, _extremes(spec, max(EXTREME_ROWS, 2 * spec.taps))]
    single, double = _outputs(network, stretches), _outputs(_doubled(network), stretches)
    starts = np.cumsum([0] + [len(stretch) for stretch in stretches[:-1]])
    golden = {"samples": np.concatenate(stretches), "starts": starts, **double}
    measured = {
        "step": relative_error(single["y"], double["y"], spec),
        "forecast": relative_error(single["y_future"], double["y_future"], spec),
    }
    return golden, measured


def _doubled(network: Network) -> Network:
    """A copy in float64."""
    copy = Network(network.spec)
    copy.load_state_dict(network.state_dict())
    return copy.double()


@torch.no_grad()
def _outputs(network: Network, stretches: list[Floats]) -> Arrays:
    """Step through the stretches in the network's own precision; forecasts from a few ticks of the first."""
    network = network.cpu().eval()
    steps, at, plans, forecasts, offset = [], [], [], [], 0
    for stretch in stretches:
        seen, states, y = _run(network, torch.from_numpy(stretch).to(network.target_mean.dtype))
        steps.append(y)
        for tick in np.linspace(0, len(seen) - 1, FORECASTS + 1, dtype=int)[1:] if not offset else ():
            plan = _plans(network.spec, stretch, int(tick))
            h, c = (part.expand(PLANS, -1) for part in states[tick])
            window = seen[tick].expand(PLANS, -1, -1)
            forecasts.append(_forecast(network, window, (h, c), torch.from_numpy(plan)).numpy())
            plans.append(plan)
            at.append(offset + network.spec.taps - 1 + tick)
        offset += len(stretch)
    return {
        "y": np.concatenate(steps),
        "forecast_at": np.array(at),
        "u_future": np.stack(plans),
        "y_future": np.stack(forecasts),
    }


def _run(network: Network, rows: Tensor) -> tuple[Tensor, list[State], np.ndarray]:
    """Windows of a stretch, the state before each, and the prediction at every row."""
    taps = network.spec.taps
    seen = row_windows(rows[None], taps)[0]
    state, states = network.initial_state(seen[:1]), []
    y = np.full((len(rows), network.spec.n_outputs), np.nan)
    for tick, window in enumerate(seen):
        states.append(state)
        predicted, state = network.step(window[None], state)
        y[taps - 1 + tick] = predicted[0].numpy()
    return seen, states, y


def _forecast(network: Network, window: Tensor, state: State, plan: Tensor) -> Tensor:
    """Rollout with the inputs of a plan [B, N, nu]; outputs of the later rows are never looked at."""
    spec, steps = network.spec, plan.shape[1]
    rows = torch.zeros(len(plan), spec.taps - 1 + steps, spec.width, dtype=window.dtype)
    rows[:, : spec.taps] = window
    rows[:, spec.taps - 1 :, : spec.n_inputs] = plan
    return network.rollout(row_windows(rows, spec.taps), state)


def _extremes(spec: ModelSpec, rows: int) -> Floats:
    """Every channel held at random between half a range below and half a range above what was trained on."""
    rng = np.random.default_rng(0)
    low, high = np.asarray(spec.scaling.low), np.asarray(spec.scaling.high)
    levels = low + (high - low) * rng.uniform(-0.5, 1.5, (rows // 10 + 1, spec.width))
    return np.repeat(levels, 10, 0)[:rows].astype(np.float32)


def _plans(spec: ModelSpec, stretch: Floats, tick: int) -> Floats:
    """Input plans [PLANS, N, nu] drawn from the stretch itself."""
    rng = np.random.default_rng(tick)
    first = rng.integers(0, max(1, len(stretch) - FORECAST_STEPS), PLANS)
    rows = np.minimum(first[:, None] + np.arange(FORECAST_STEPS), len(stretch) - 1)
    return np.ascontiguousarray(stretch[rows, : spec.n_inputs])
