"""The layers of sampled futures in torch. `rtsysid.model.backends.noise` says what they compute.

Shapes: Q latent, T targets, R slow values, K members, Z code, H hidden.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rtsysid.model.backends.noise import MOST
from rtsysid.model.contents import CRITIC_WIDTH, SPREAD_AGES, SPREAD_WIDTH, STRETCH_TICKS
from rtsysid.spec import ModelSpec

FIRST_SCALE = -1.0  # logarithm of the scale of the noise before training, in the unit of the targets
CORRUPTION = -2.0  # logarithm of the noise on a code before training
PERSISTENCES = (0.5, 0.9, 0.97, 0.99)  # of the slow values before training: times of 1 to 100 ticks


class Spread(nn.Module):
    """The scale of the noise on the targets, and the slow values that all targets share."""

    factors: nn.Parameter
    persistence: nn.Parameter
    limit: Tensor
    stretch: Tensor

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.hidden = nn.Linear(spec.code_size + spec.hidden, SPREAD_WIDTH)
        self.scale = nn.Linear(SPREAD_WIDTH, spec.n_targets)
        nn.init.zeros_(self.scale.weight)
        nn.init.constant_(self.scale.bias, FIRST_SCALE)
        self.age = nn.Parameter(torch.zeros(len(SPREAD_AGES) + 1, spec.n_targets))
        self.register_buffer("limit", torch.full((spec.n_targets,), MOST))
        self.register_buffer("stretch", torch.ones(len(STRETCH_TICKS), spec.n_outputs))
        if spec.noise.factors:
            self.factors = nn.Parameter(0.1 * torch.randn(spec.n_targets, spec.noise.factors))
            first = torch.tensor([PERSISTENCES[k % len(PERSISTENCES)] for k in range(spec.noise.factors)])
            self.persistence = nn.Parameter(torch.logit(first))

    def log_scale(self, seen: Tensor, band: int) -> Tensor:
        """Compute the logarithm of the scale of each target at a band of ages: [..., Z + H] -> [..., T]."""
        return torch.minimum(self.of_state(seen), self.limit) + self.age[band]

    def of_state(self, seen: Tensor) -> Tensor:
        """Compute the same without its limit and the ages: [..., Z + H] -> [..., T]."""
        found: Tensor = self.scale(torch.tanh(self.hidden(seen)))
        return found


class Latent(nn.Module):
    """Values drawn at each tick that enter the cell: how large they are, and how they move the code."""

    limit: Tensor

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.scale = nn.Linear(spec.code_size + spec.hidden, spec.noise.latent)
        self.into = nn.Linear(spec.noise.latent, spec.code_size, bias=False)
        nn.init.zeros_(self.scale.weight)
        nn.init.constant_(self.scale.bias, CORRUPTION if spec.noise.latent == spec.code_size else 0.0)
        if spec.noise.latent == spec.code_size:
            nn.init.eye_(self.into.weight)
        else:
            nn.init.normal_(self.into.weight, std=0.1)
        self.register_buffer("limit", torch.full((spec.noise.latent,), MOST))

    def log_scale(self, seen: Tensor) -> Tensor:
        """Compute the logarithm of the scale of each value: [..., Z + H] -> [..., Q]."""
        return torch.minimum(self.scale(seen), self.limit)


class Members(nn.Module):
    """What distinguishes the members of a mixture or an ensemble: offset of the targets, scale of the noise, share."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        members, targets = spec.noise.members, spec.n_targets
        self.offset = nn.Linear(spec.hidden, members * targets)
        nn.init.normal_(self.offset.weight, std=0.1 * (spec.distribution == "ensemble"))
        nn.init.zeros_(self.offset.bias)
        steps = torch.linspace(-0.7, 0.7, members) * (spec.distribution == "mixture")
        self.scale = nn.Parameter(steps[:, None].repeat(1, targets))
        self.share = nn.Parameter(torch.zeros(members))


class Posterior(nn.Module):
    """What a measurement says of the latent values before it: mean and logarithm of the scale of each."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.hidden = nn.Linear(spec.code_size + spec.hidden + spec.n_targets, SPREAD_WIDTH)
        self.out = nn.Linear(SPREAD_WIDTH, 2 * spec.noise.latent)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, seen: Tensor, measured: Tensor) -> tuple[Tensor, Tensor]:
        """Compute mean and log scale: [..., Z + H], [..., T] -> 2 x [..., Q]."""
        mean, log_scale = self.out(torch.tanh(self.hidden(torch.cat((seen, measured), -1)))).chunk(2, -1)
        return mean, log_scale.clamp(-8, 2)


class Critic(nn.Module):
    """Tells the course of a recording from that of a sample, given the planned inputs and the state before them."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.begin = nn.Linear(spec.hidden, CRITIC_WIDTH)
        self.cell = nn.GRU(spec.n_inputs + spec.n_outputs, CRITIC_WIDTH, batch_first=True)
        self.verdict = nn.Linear(CRITIC_WIDTH, 1)

    def forward(self, hidden: Tensor, course: Tensor) -> Tensor:
        """Judge courses [B, N, nu + ny] from states [B, H]: a number for each tick [B, N], larger for recordings."""
        states, _ = self.cell(course, torch.tanh(self.begin(hidden))[None])
        judged: Tensor = self.verdict(states)[..., 0]
        return judged


def noise_modules(spec: ModelSpec) -> dict[str, nn.Module]:
    """Make the layers that a specification has beyond the point model, by the names of their groups."""
    if not spec.distribution:
        return {}
    made: dict[str, nn.Module] = {"spread": Spread(spec)}
    if spec.noise.latent:
        made["latent"] = Latent(spec)
    if spec.noise.members > 1:
        made["members"] = Members(spec)
    if spec.distribution == "vrnn":
        made["recognition"] = Posterior(spec)
    if spec.distribution == "gan":
        made["critic"] = Critic(spec)
    return made
