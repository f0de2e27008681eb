"""Losses of sampled futures.

* ``score``: fair CRPS of every tick and output, plus fair energy score of the whole course, of futures sampled in free
  run. Both are proper: the true distribution has the smallest expected loss. Ref: T. Gneiting, A. Raftery, J. Am. Stat.
  Assoc. 102 (2007) 359; L. Pacchiardi et al., arXiv 2112.08217 (training by scoring rules).
* ``likelihood``: negative log density of each measured tick, given the ones before it.
* ``evidence``: the same for a variational recurrent network, with latent values from the recognition network, plus
  their divergence from what is drawn without a measurement. Ref: J. Chung et al., arXiv 1506.02216.
* ``walkback``: the chain of a generative stochastic network runs freely, and each tick must lead back to the
  recording. Ref: Y. Bengio et al., arXiv 1306.1091.
* ``adversarial``: hinge loss of a critic, and of the futures that it judges. Ref: J. Lim, J. Ye, arXiv 1705.02894.
* ``members``: squared error of a free run without noise, by a member that is drawn for each sequence.

Shapes: B sequences, M futures each, N ticks, T targets, D = N ny values of a course.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call

from rtsysid.model.backends.noise import LEAST, MOST
from rtsysid.schedule import Loss
from rtsysid.train.generative.density import tick_density
from rtsysid.train.generative.sampling import (
    Drawn,
    FutureStart,
    NoiseOfFutures,
    drawn,
    sampled_rollout,
    sampled_step,
    spread_band,
)
from rtsysid.train.network import Network

TINY = 1e-12
TRAJECTORIES = 256  # sampled futures of one update: more cost time and change little


class Measured(NamedTuple):
    """Hold what a loss compares futures with.

    ``windows`` [B, N, L, C] from the first forecast tick on, ``state`` [B, S] before it, ``truth`` [B, N, ny]; ``unit``
    [N, ny] of errors after 1 .. N ticks.
    """

    windows: Tensor
    state: Tensor
    truth: Tensor
    unit: Tensor

    def some(self, count: int) -> Measured:
        """Return `count` of the sequences, at even distances."""
        at = slice(None, None, max(1, len(self.state) // count))
        windows, state, truth = (part[at][:count] for part in (self.windows, self.state, self.truth))
        return Measured(windows, state, truth, self.unit)

    def plan(self, network: Network) -> Tensor:
        """Return the inputs of each tick [B, N, nu]."""
        return self.windows[:, :, -1, : network.spec.n_inputs]


def noise_loss(network: Network, loss: Loss, ground: Measured) -> Tensor:
    """Compute one loss of sampled futures: of sequences [B, N, ...] as a scalar."""
    return _LOSSES[loss.kind](network, loss, ground)


def _sample_score(network: Network, loss: Loss, ground: Measured) -> Tensor:
    futures, weights = _futures(network, loss, ground)
    return proper_score(futures, weights, ground.unit)


class FutureWeights(NamedTuple):
    """Weigh M futures: ``each`` of them [M], and every ordered pair of two of them ``pairs`` [M, M]; both sum to 1."""

    each: Tensor
    pairs: Tensor


def future_weights(share: Tensor, copies: int) -> FutureWeights:
    """Weigh `copies` futures of each of K components by their share [K] that sums to 1; future m is of component m % K.

    A pair within a component is of two different futures, with the weight of all pairs that two draws would give. So
    the score is right in expectation. Weights that leave out each future paired with itself, and no more, would favour
    components that are far apart without limit.
    """
    each = share.repeat(copies) / copies
    together, itself = (torch.eye(n).to(share) for n in (len(share), len(each)))
    pairs = each[:, None] * each * (1 + together.repeat(copies, copies) / (copies - 1)) * (1 - itself)
    return FutureWeights(each, pairs)


def proper_score(errors: Tensor, futures: FutureWeights, unit: Tensor) -> Tensor:
    """Add the mean fair CRPS and the fair energy score of futures whose deviations from the truth are `errors`.

    [B, M, N, ny], units of error [N, ny]. The CRPS counts errors in the unit of their tick, the energy score in that of
    the last one.
    """
    weights, pairs = futures
    apart = errors[:, :, None] - errors[:, None]
    size = errors.shape[2] * errors.shape[3]
    each = ((errors.abs() / unit).mean((2, 3)) * weights).sum(1) - 0.5 * (
        (apart.abs() / unit).mean((3, 4)) * pairs
    ).sum((1, 2))
    lengths, distances = (torch.sqrt((x / unit[-1]).square().sum((-1, -2)) / size + TINY) for x in (errors, apart))
    whole = (lengths * weights).sum(1) - 0.5 * (distances * pairs).sum((1, 2))
    return (each + whole).mean()


def _futures(network: Network, loss: Loss, ground: Measured) -> tuple[Tensor, FutureWeights]:
    """Sample M futures of each sequence, two or more of each component: deviations from the truth [B, M, N, ny]."""
    spec, members = network.spec, max(1, network.spec.noise.members)
    copies = max(2, -(-loss.futures // members))
    count = copies * members
    ground = ground.some(max(1, TRAJECTORIES // count))
    state, window, plan = (
        part.repeat_interleave(count, 0) for part in (ground.state, ground.windows[:, 0], ground.plan(network))
    )
    draws = drawn(spec, len(state), plan.shape[1], state)
    member = (torch.arange(count, device=state.device) % members).repeat(len(ground.state))
    futures = sampled_rollout(network, FutureStart(window, state), plan, Drawn(draws.normal, member))
    futures = futures.view(-1, count, *futures.shape[1:])
    share = torch.softmax(network.members.share, 0) if members > 1 else state.new_ones(1)
    return network.coordinates.error(futures, ground.truth[:, None]), future_weights(share, copies)


def _tick_surprise(network: Network, loss: Loss, ground: Measured) -> Tensor:
    return -tick_density(network, ground.windows, ground.state, ground.truth).mean() / network.spec.n_targets


def _evidence_bound(network: Network, loss: Loss, ground: Measured) -> Tensor:
    """Compute the bound, divided by the weight of the divergence: the weight then acts on the divergence alone."""
    spec, state = network.spec, ground.state
    coords, steps = network.coordinates, list[tuple[Tensor, Tensor]]()
    for n, window in enumerate(ground.windows.unbind(1)):
        features = network.features(window)
        code = network.encode(features[..., spec.encoder_columns])
        seen = torch.cat((code, state[:, : spec.hidden]), -1)
        measured = (coords.targets(window[:, -1], ground.truth[:, n]) - network.target_mean) / network.target_std
        point = network.target(features, code, network.cell.tick(code, state)[0])
        mean, log_scale = network.recognition(seen, (measured - point).clamp(-10, 10))
        prior = network.latent.log_scale(seen).clamp(LEAST, MOST)
        latent = mean + log_scale.exp() * torch.randn_like(mean)
        ratio = (2 * (log_scale - prior)).exp() + (mean / prior.exp()).square()
        divergence = (prior - log_scale + 0.5 * ratio - 0.5).sum(-1)
        code = code + network.latent.into(latent)
        hidden, state = network.cell.tick(code, state)
        scale = network.spread.log_scale(seen, 0).clamp(LEAST, MOST)
        off = (measured - network.target(features, code, hidden)) / scale.exp()
        steps.append(((0.5 * off.square() + scale).sum(-1), divergence))
    surprise, divergence = (torch.stack(each).mean() / spec.n_targets for each in zip(*steps, strict=True))
    return surprise / loss.weight + divergence


def _walkback(network: Network, loss: Loss, ground: Measured) -> Tensor:
    spec, state, window = network.spec, ground.state, ground.windows[:, 0]
    draws = drawn(spec, len(state), ground.windows.shape[1], state)
    noise, total, nu = NoiseOfFutures(network, draws), list[Tensor](), spec.n_inputs
    y = window[:, -1, nu:]
    for n, plan in enumerate(ground.plan(network).unbind(1)):
        newest = torch.cat((plan, y), -1)[:, None]
        window = torch.cat((window[:, 1:], newest), 1) if n else window
        features = network.features(window)
        code = network.encode(features[..., spec.encoder_columns])
        seen = torch.cat((code, state[:, : spec.hidden]), -1)
        code = code + noise.into_code(seen, n)
        hidden = network.cell.tick(code, state)[0]
        wanted = network.coordinates.targets(window[:, -1], ground.truth[:, n])
        back = (wanted - network.target_mean) / network.target_std - network.target(features, code, hidden, n)
        scale = network.spread.log_scale(seen, spread_band(n)).clamp(LEAST, MOST)
        total.append((0.5 * (back / scale.exp()).clamp(-30, 30).square() + scale).mean())
        y, state = sampled_step(network, window, state, noise, n)
    return torch.stack(total).mean()


def _member_error(network: Network, loss: Loss, ground: Measured) -> Tensor:
    spec, state = network.spec, ground.state
    silent = state.new_zeros(len(state), ground.windows.shape[1] + 1, spec.n_draws)
    member = torch.randint(spec.noise.members, (len(state),), device=state.device)
    start = FutureStart(ground.windows[:, 0], state)
    predicted = sampled_rollout(network, start, ground.plan(network), Drawn(silent, member))
    error: Tensor = network.coordinates.error(predicted, ground.truth)
    return (error / ground.unit).square().mean()


def _adversarial(network: Network, loss: Loss, ground: Measured) -> Tensor:
    """Add the hinge losses of the critic and of the futures; in evaluation 0: there the score decides."""
    if not network.training:
        return ground.state.new_zeros(())
    ground = ground.some(max(1, TRAJECTORIES // loss.futures))
    critic, plan = network.critic, ground.plan(network)
    false, _ = _futures(network, loss, ground)
    with torch.no_grad():
        point = network.rollout(ground.windows, ground.state)
        true = network.coordinates.error(ground.truth, point) / ground.unit
    off = (false - network.coordinates.error(point, ground.truth)[:, None]) / ground.unit
    count, hidden = off.shape[1], ground.state[:, : network.spec.hidden]
    scaled = (plan - plan.mean((0, 1))) / (plan.std((0, 1)) + TINY)
    courses = torch.cat((scaled.repeat_interleave(count, 0), off.flatten(0, 1)), -1)
    states = hidden.repeat_interleave(count, 0)
    fixed = {name: each.detach() for name, each in critic.named_parameters()}
    fooled = -functional_call(critic, fixed, (states, courses)).mean()
    of_true, of_false = critic(hidden, torch.cat((scaled, true), -1)), critic(states, courses.detach())
    total: Tensor = fooled + torch.relu(1 - of_true).mean() + torch.relu(1 + of_false).mean()
    return total


_LOSSES: Mapping[str, Callable[[Network, Loss, Measured], Tensor]] = {
    "score": _sample_score,
    "likelihood": _tick_surprise,
    "evidence": _evidence_bound,
    "walkback": _walkback,
    "members": _member_error,
    "adversarial": _adversarial,
}
