"""Set scales of the noise from the training recordings: where training begins, and what a future never exceeds."""

from __future__ import annotations

import torch

from rtsysid.train.generative.calibration import ground_after_warmup
from rtsysid.train.generative.density import TickDeviations, tick_deviations
from rtsysid.train.generative.modules import Latent
from rtsysid.train.network import Network
from rtsysid.train.windows import Sequences

SEQUENCES, TICKS = 512, 50
SMALLEST = 1e-5  # scale in the unit of the targets


@torch.no_grad()
def begin_scales(network: Network, training: Sequences) -> None:
    """Set the scale of each target to the root mean square of its one-tick errors, in place.

    Training moves the logarithm of a scale slowly. From noise that is many times too large the first futures leave
    everything that the model was trained on, and their scores say nothing.

    Raises TraceError where no sequence fits.
    """
    off = _deviations(network, training).off
    root = off.square().mean((0, 1)).sqrt().clamp_min(SMALLEST)
    network.spread.scale.bias.copy_(root.log())


@torch.no_grad()
def limit_scales(network: Network, training: Sequences) -> None:
    """Set the limit of each logarithm of a scale to its largest value on training recordings, in place.

    Raises TraceError where no sequence fits.
    """
    seen = _deviations(network, training).seen.flatten(0, 1)
    network.spread.limit.copy_(network.spread.of_state(seen).amax(0))
    latent = getattr(network, "latent", None)
    if isinstance(latent, Latent):
        latent.limit.copy_(latent.scale(seen).amax(0))


def _deviations(network: Network, training: Sequences) -> TickDeviations:
    """Compute the deviations of measured ticks of some training sequences, after a warm-up."""
    network.eval()
    ticks = max(1, min(TICKS, max(training.lengths) - network.spec.settling_samples))
    length = network.spec.settling_samples + ticks
    rows = training.rows(training.evenly_spaced(training.starts(length, 1), SEQUENCES), length)
    ground = ground_after_warmup(network, rows, rows.new_ones(ticks, network.spec.n_outputs))
    return tick_deviations(network, ground.windows, ground.state, ground.truth)
