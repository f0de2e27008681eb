"""Random draws of sampled futures: one counter-based generator for all backends.

Philox4x32-10 turns a counter and a key into four words of 32 bits, without a state: every number of every future can be
computed by itself, in any order and on any machine. The key is the seed. The counter is (future, tick, block, 0), where
a block holds four numbers of a tick, and tick 0 holds what a future begins with. Words become normal numbers in pairs
(Box-Muller). `export/c/draws.c` is the same in C. Ref: J. Salmon et al., Parallel random numbers: as easy as 1, 2, 3,
SC 2011; G. Box, M. Muller, Ann. Math. Stat. 29 (1958) 610.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rtsysid.spec import Floats

Words: TypeAlias = NDArray[np.uint32]
ROUNDS = 10
_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL = 0x9E3779B9, 0xBB67AE85
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


class Draws(NamedTuple):
    """Hold the numbers of B futures: ``normal`` [B, N + 1, draws], row 0 for the beginning, and ``uniform`` [B]."""

    normal: Floats
    uniform: Floats


def draws_of(seed: int, first: int, count: int, ticks: int, size: int) -> Draws:
    """Draw the numbers of the futures from `first` on, `size` for each tick."""
    return Draws(normal_draws(seed, first, count, ticks, size), uniform_draws(seed, first, count, size))


def philox(counter: Any, key: tuple[int, int]) -> Words:
    """Compute the four words [4, ...] of counters [4, ...] under a key of two words."""
    a, b, c, d = (np.asarray(word, np.uint64) for word in counter)
    k0, k1 = key
    for _ in range(ROUNDS):
        first, second = _MULTIPLIERS[0] * a, _MULTIPLIERS[1] * c
        a, b, c, d = (
            (second >> _HALF) ^ b ^ np.uint64(k0), second & _LOW, (first >> _HALF) ^ d ^ np.uint64(k1), first & _LOW
        )  # fmt: skip
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return np.stack((a, b, c, d)).astype(np.uint32)


def normal_draws(seed: int, first: int, count: int, ticks: int, size: int) -> Floats:
    """Draw standard normal numbers [count, ticks + 1, size] of the futures from `first` on; row 0 is the beginning."""
    blocks = -(-size // 4)
    future = np.arange(first, first + count, dtype=np.uint32)[:, None, None]
    tick, block = np.arange(ticks + 1)[:, None], np.arange(blocks)
    words = philox(np.broadcast_arrays(future, tick, block, 0), _key_of(seed))
    radius = np.sqrt(-2 * np.log(((words[::2] >> 9) + 0.5) * 2.0**-23))
    angle = 2 * np.pi * 2.0**-24 * (words[1::2] >> 8)
    pairs = np.stack((radius * np.cos(angle), radius * np.sin(angle)), -1)  # [pair of words, ..., 2]
    whole = np.moveaxis(pairs, 0, -2).reshape(count, ticks + 1, 4 * blocks)
    return np.ascontiguousarray(whole[..., :size], np.float32)


def uniform_draws(seed: int, first: int, count: int, size: int) -> Floats:
    """Draw a number in 0 .. 1 for each future [count], from the block after its `size` normal numbers of tick 0."""
    future = np.arange(first, first + count, dtype=np.uint32)
    words = philox(np.broadcast_arrays(future, 0, -(-size // 4), 0), _key_of(seed))
    return np.asarray((words[0] >> 8) * 2.0**-24, np.float32)


def _key_of(seed: int) -> tuple[int, int]:
    return seed & 0xFFFFFFFF, seed >> 32
