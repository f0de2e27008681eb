"""The score that trains the noise is proper: also for mixtures, whose futures are drawn component by component."""

from __future__ import annotations

import pytest
import torch

from rtsysid.schedule import noise_stages
from rtsysid.train.generative.losses import future_weights, proper_score

SHARE = torch.tensor([0.7, 0.25, 0.05])
CENTRE, SCALE = torch.tensor([0.0, 1.0, -3.0]), torch.tensor([0.5, 1.0, 2.0])
SEQUENCES, TICKS = 4000, 3


def drawn(member: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """Draw courses of so many components [..]: [.., TICKS, 1]."""
    noise = torch.randn((*member.shape, TICKS, 1), generator=random)
    return CENTRE[member][..., None, None] + SCALE[member][..., None, None] * noise


@pytest.mark.parametrize("copies", [2, 3, 7])
def test_weights_are_those_of_two_draws(copies: int) -> None:
    """Each component has its share in both sums, a pair of components the product of their shares, no future is paired
    with itself."""
    each, pairs = future_weights(SHARE, copies)
    torch.testing.assert_close(each.view(copies, 3).sum(0), SHARE)
    torch.testing.assert_close(pairs.view(copies, 3, copies, 3).sum((0, 2)), SHARE[:, None] * SHARE)
    assert pairs.diagonal().abs().max() == 0


@pytest.mark.parametrize("copies", [2, 3])
def test_the_score_of_a_mixture_is_that_of_independent_draws(copies: int) -> None:
    """Futures drawn component by component have the same expected score as independent draws of the mixture."""
    random = torch.Generator().manual_seed(0)
    truth = drawn(torch.multinomial(SHARE, SEQUENCES, replacement=True, generator=random), random)[:, None]
    by_component = drawn(torch.arange(3 * copies).remainder(3).expand(SEQUENCES, -1), random) - truth
    members = torch.multinomial(SHARE, SEQUENCES * 12, replacement=True, generator=random).view(SEQUENCES, 12)
    independent = drawn(members, random) - truth
    unit = torch.ones(TICKS, 1)
    wanted = proper_score(independent, future_weights(torch.ones(1), 12), unit)
    found = proper_score(by_component, future_weights(SHARE, copies), unit)
    assert float(found) == pytest.approx(float(wanted), rel=0.03)


def test_a_component_that_is_far_away_is_no_gain() -> None:
    """A mixture whose rare component moves away from every measurement scores worse the farther it is."""
    random = torch.Generator().manual_seed(0)
    truth = torch.randn(SEQUENCES, 1, TICKS, 1, generator=random)
    near = torch.randn(SEQUENCES, 6, TICKS, 1, generator=random)
    away = torch.tensor([0.0, 1.0] * 3).view(6, 1, 1)
    weights, unit = future_weights(torch.tensor([0.9, 0.1]), 3), torch.ones(TICKS, 1)
    scores = [float(proper_score(near + distance * away - truth, weights, unit)) for distance in (0.0, 10.0, 100.0)]
    assert scores == sorted(scores)
    assert scores[0] > 0


def test_single_ticks_teach_no_component_of_a_mixture() -> None:
    """A component is drawn for a whole future: the likelihood of one tick, where it would explain rare wild ticks, does
    not train it, and scores of futures do."""
    trained = {loss.kind: "members" in stage.train for stage in noise_stages("mixture") for loss in stage.loss}
    assert trained == {"likelihood": False, "score": True}
