"""Test the generator of sampled futures: known answers, normal numbers, and that a future does not depend on others."""

from __future__ import annotations

import numpy as np
import pytest
from support.robots import make_spec

from rtsysid.model.backends.draws import normal_draws, philox, uniform_draws
from rtsysid.model.contents import noise_macs
from rtsysid.structure import DistributionName

ALL = 0xFFFFFFFF
# Ref: Random123, kat_vectors, philox4x32 with 10 rounds
KNOWN = [
    ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ((ALL,) * 4, (ALL, ALL), "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0), "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_the_generator_gives_the_known_answers(counter: tuple[int, ...], key: tuple[int, int], words: str) -> None:
    """The three vectors that the authors of Philox publish."""
    assert [f"{word:08x}" for word in philox(counter, key).tolist()] == words.split()


def test_the_numbers_are_normal_and_uncorrelated() -> None:
    """Mean, variance, kurtosis and the shares beyond 1, 2 and 3 are those of a normal distribution."""
    draws = normal_draws(3, 0, 4000, 9, 7).astype(np.float64)
    flat = draws.ravel()
    assert abs(flat.mean()) < 0.01
    assert abs(flat.var() - 1) < 0.01
    assert abs(np.mean(flat**4) - 3) < 0.1
    shares = [np.mean(np.abs(flat) > k) for k in (1, 2, 3)]
    np.testing.assert_allclose(shares, [0.3173, 0.0455, 0.0027], rtol=0.06)
    correlation = np.corrcoef(draws.reshape(4000, -1).T)
    assert np.abs(correlation - np.eye(70)).max() < 0.08


def test_a_future_depends_on_its_seed_number_and_tick_alone() -> None:
    """The numbers of future 17 are the same in any batch and for any length; other seeds give other numbers."""
    whole = normal_draws(2**40 + 5, 0, 30, 12, 6)
    np.testing.assert_array_equal(normal_draws(2**40 + 5, 17, 2, 4, 6), whole[17:19, :5])
    assert (normal_draws(5, 17, 2, 4, 6) != whole[17:19, :5]).all()
    uniform = uniform_draws(9, 0, 1000, 6)
    np.testing.assert_array_equal(uniform_draws(9, 400, 10, 6), uniform[400:410])
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.05


@pytest.mark.parametrize(
    ("distribution", "macs"), [("gaussian", 192 + 12), ("mixture", 192 + 12 + 18), ("vrnn", 192 + 72 + 24), ("", 0)]
)
def test_the_cost_of_the_noise_is_counted(distribution: DistributionName, macs: int) -> None:
    """Code 3, cell 6, three targets: 16 x 9 and 3 x 16 of the scale; slow values, a member, latent values on top."""
    assert noise_macs(make_spec(encoder=(3,), hidden=6, distribution=distribution)) == macs
