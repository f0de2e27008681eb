"""Binary codes: 256 cuts through the space of vectors, and on which side of each a moment lies.

A cut is a random direction with a threshold at a random quantile of what the archive has there: two near moments are
rarely parted, and cuts are dense where moments are. Hamming distance between codes then grows with the distance of
vectors. (Thresholds at the median, as hashing by signs has them, part the middle alone: see docs/retrieval.md.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from rtsysid.spec import Floats

BITS = 256
BLOCK = 16_384  # codes of a block that NumPy scans in its cache

Codes: TypeAlias = NDArray[np.uint8]  # [N, BITS / 8]


@dataclass(frozen=True)
class Cuts:
    """`directions` [D, B] and `thresholds` [B]."""

    directions: Floats
    thresholds: Floats

    @classmethod
    def through(cls, sample: Floats, bits: int = BITS, seed: int = 0) -> Cuts:
        """Cuts for what looks like the `sample` [m, D]."""
        rng = np.random.default_rng(seed)
        directions = rng.standard_normal((sample.shape[1], bits)).astype(np.float32)
        along = np.sort(sample @ directions, axis=0)
        ranks = rng.uniform(0.05, 0.95, bits) * len(sample)
        return cls(directions, along[ranks.astype(np.int64), np.arange(bits)])

    def codes(self, vectors: Floats) -> Codes:
        """Code of each vector [m, D], eight bits to a byte."""
        return np.packbits(vectors @ self.directions > self.thresholds, axis=1)


def nearest(codes: Codes, query: Codes, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The `count` codes nearest to `query` [B / 8], nearest first: their numbers and Hamming distances.

    By faiss where it is installed (the [find] extra), which is faster, else by NumPy. They may differ in which
    of the codes at the largest distance they take.
    """
    count = min(count, len(codes))
    try:
        import faiss
    except ModuleNotFoundError:
        return _nearest(codes, query, count)
    faiss.omp_set_num_threads(1)
    distances, numbers = faiss.knn_hamming(query[None], codes, count, variant="mc")
    return numbers[0].astype(np.int64), distances[0].astype(np.int64)


def _nearest(codes: Codes, query: Codes, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    distances = hamming(codes, query)
    within = np.searchsorted(np.cumsum(np.bincount(distances)), count)  # the distance that the last of them has
    numbers = np.flatnonzero(distances <= within)
    order = np.argsort(distances[numbers], kind="stable")[:count]
    return numbers[order], distances[numbers[order]].astype(np.int64)


def hamming(codes: Codes, query: Codes) -> NDArray[np.uint16]:
    """Bits [N] in which each code differs from `query`."""
    width = codes.shape[1] // 8
    words, wanted = codes.reshape(-1).view(np.uint64), np.tile(query.view(np.uint64), BLOCK)
    found = np.empty(len(codes), np.uint16)
    counts = np.empty((BLOCK, width), np.uint8)
    for start in range(0, len(codes), BLOCK):
        block = words[start * width : (start + BLOCK) * width]
        here = len(block) // width
        np.bitwise_count(block ^ wanted[: len(block)], out=counts[:here].reshape(-1))
        counts[:here].sum(axis=1, dtype=np.uint16, out=found[start : start + here])
    return found
