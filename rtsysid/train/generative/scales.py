"""Set scales of the noise from the training recordings: where training begins, and what a future never exceeds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rtsysid.train.generative.calibration import ground_after_warmup
from rtsysid.train.generative.density import tick_deviations
from rtsysid.train.generative.losses import Measured
from rtsysid.train.generative.modules import Latent
from rtsysid.train.network import Network
from rtsysid.train.windows import Sequences

SEQUENCES, TICKS = 512, 50
IDLE = 0.01  # share of the noise of a target, below which latent values count for nothing
SMALLEST = 1e-5  # scale in the unit of the targets


@torch.no_grad()
def begin_scales(network: Network, training: Sequences) -> None:
    """Set the scale of each target to the root mean square of its one-tick errors, in place.

    Noise on the code begins where it moves the targets by as much, or less. Training moves the logarithm of a scale
    slowly. From noise that is many times too large the first futures leave everything that the model was trained on,
    and their scores say nothing.

    Raises TraceError where no sequence fits.
    """
    ground = _measured_ticks(network, training)
    off = tick_deviations(network, ground.windows, ground.state, ground.truth).off
    root = off.square().mean((0, 1)).sqrt().clamp_min(SMALLEST)
    network.spread.scale.bias.copy_(root.log())
    if network.spec.noise.latent and network.spec.distribution != "variational":  # its encoder has learned how large
        network.latent.scale.bias.add_((root / _moved_by_latent(network, ground)).median().log().clamp_max(0.0))
    if network.spec.noise.members > 1:
        network.members.offset.weight.mul_(_offset_units(network)[:, None])


def shorten_offset_steps(network: Network, adam: torch.optim.Optimizer) -> None:
    """Let an optimiser move the offsets of members in units of the noise of one tick.

    A step of Adam is as long for every weight, whatever its unit. Where a tick is predicted to a thousandth of the unit
    of its target, a step in that unit would move each member far away from everything that the model knows.
    """
    if network.spec.noise.members < 2:
        return
    parameters, before = list(network.members.offset.parameters()), list[Tensor]()

    def keep(*_: Any) -> None:
        before[:] = [each.detach().clone() for each in parameters]

    @torch.no_grad()
    def shorten(*_: Any) -> None:
        unit = _offset_units(network)
        for old, new in zip(before, parameters, strict=True):
            new.copy_(torch.lerp(old, new, unit.view(-1, *[1] * (new.ndim - 1)).expand_as(new)))

    adam.register_step_pre_hook(keep)
    adam.register_step_post_hook(shorten)


def _offset_units(network: Network) -> Tensor:
    """Return the scale of the noise of a tick for each row of the offsets: [members T]."""
    return network.spread.scale.bias.detach().exp().clamp_max(1.0).repeat(network.spec.noise.members)


@torch.no_grad()
def limit_scales(network: Network, training: Sequences) -> None:
    """Set the limit of each logarithm of a scale to its largest value on training recordings, in place.

    Raises TraceError where no sequence fits.
    """
    ground = _measured_ticks(network, training)
    seen = tick_deviations(network, ground.windows, ground.state, ground.truth).seen.flatten(0, 1)
    network.spread.limit.copy_(network.spread.of_state(seen).amax(0))
    latent = getattr(network, "latent", None)
    if isinstance(latent, Latent):
        latent.limit.copy_(latent.scale(seen).amax(0))


@torch.no_grad()
def idle_latent(network: Network, training: Sequences) -> str:
    """Say in one line that latent values have collapsed, and what to do; empty where they move a target.

    Raises TraceError where no sequence fits.
    """
    if not network.spec.noise.latent:
        return ""
    ground = _measured_ticks(network, training)
    seen = tick_deviations(network, ground.windows, ground.state, ground.truth).seen.flatten(0, 1)
    noise = network.spread.log_scale(seen, 0).exp().mean(0)
    if (_moved_by_latent(network, ground) > IDLE * noise).any():
        return ""
    return f"its latent values move no target by {IDLE:.0%} of its noise: they have collapsed; gaussian is smaller"


def _measured_ticks(network: Network, training: Sequences) -> Measured:
    """Return the ticks of some training sequences, after a warm-up."""
    network.eval()
    ticks = max(1, min(TICKS, max(training.lengths) - network.spec.settling_samples))
    length = network.spec.settling_samples + ticks
    rows = training.rows(training.evenly_spaced(training.starts(length, 1), SEQUENCES), length)
    return ground_after_warmup(network, rows, rows.new_ones(ticks, network.spec.n_outputs))


def _moved_by_latent(network: Network, ground: Measured) -> Tensor:
    """Return the root mean square by which latent values move each target, where the network counts fully: [T]."""
    age = max(network.spec.age_bands, default=0)
    features = network.features(ground.windows[:, 0])
    code = network.encode(features[..., network.spec.encoder_columns])
    seen = torch.cat((code, ground.state[:, : network.spec.hidden]), -1)
    draws = torch.randn(len(seen), network.spec.noise.latent, generator=torch.Generator().manual_seed(0))
    moved = network.latent.into(network.latent.log_scale(seen).exp() * draws.to(seen))
    at, near = (network.target(features, c, network.cell.tick(c, ground.state)[0], age) for c in (code, code + moved))
    return (near - at).square().mean(0).sqrt().clamp_min(SMALLEST**2)
