"""Binary codes: 256 hyperplanes through the space of vectors, and on which side of each a moment lies.

A cut is a random direction with a threshold at a random quantile of what the archive has there: two near moments are
rarely parted, and hyperplanes are dense where moments are. Hamming distance between codes then grows with the
distance of vectors. (Thresholds at the median, as hashing by signs has them, part the middle alone.)
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from rtsysid.spec import Floats

BITS = 256
BLOCK = 16_384  # codes of a block that NumPy scans in its cache

Codes: TypeAlias = NDArray[np.uint8]  # [N, BITS / 8]
Numbers: TypeAlias = NDArray[np.int64]
Scan: TypeAlias = Callable[[Codes, Codes, int], Numbers]


@dataclass(frozen=True)
class Hyperplanes:
    """`directions` [D, B] and `thresholds` [B]."""

    directions: Floats
    thresholds: Floats

    @classmethod
    def fit(cls, sample: Floats, bits: int = BITS, seed: int = 0) -> Hyperplanes:
        """Hyperplanes for what looks like the `sample` [m, D]."""
        rng = np.random.default_rng(seed)
        directions = rng.standard_normal((sample.shape[1], bits)).astype(np.float32)
        along = np.sort(sample @ directions, axis=0)
        ranks = rng.uniform(0.05, 0.95, bits) * len(sample)
        return cls(directions, along[ranks.astype(np.int64), np.arange(bits)])

    def codes(self, vectors: Floats) -> Codes:
        """Code of each vector [m, D], eight bits to a byte."""
        return np.packbits(vectors @ self.directions > self.thresholds, axis=1)


def scanner() -> Scan:
    """How this machine looks for near codes: by faiss where the [find] extra is installed, else by NumPy.

    A scan (codes [N, B / 8], query [B / 8], count) gives the numbers of the nearest codes, nearest first. Of the codes
    at the largest distance, which ones are among them may differ.
    """
    try:
        importlib.import_module("faiss")  # now, and not while the first query waits
    except ModuleNotFoundError:
        return by_numpy
    return by_faiss


def by_faiss(codes: Codes, query: Codes, count: int) -> Numbers:
    """Ref: M. Douze et al., The Faiss library, arXiv 2401.08281; a scan of all codes that counts distances."""
    import faiss

    _, numbers = faiss.knn_hamming(query[None], codes, min(count, len(codes)), variant="mc")
    found: Numbers = numbers[0]
    return found


def by_numpy(codes: Codes, query: Codes, count: int) -> Numbers:
    """The same, in blocks that stay in the processor's cache."""
    distances = hamming(codes, query)
    furthest = int(np.searchsorted(np.cumsum(np.bincount(distances)), min(count, len(codes))))
    numbers = np.flatnonzero(distances <= furthest)
    return numbers[np.argsort(distances[numbers], kind="stable")[:count]]


def hamming(codes: Codes, query: Codes) -> NDArray[np.uint16]:
    """Bits [N] in which each code differs from `query`."""
    width = codes.shape[1] // 8
    words, wanted = codes.reshape(-1).view(np.uint64), np.tile(query.view(np.uint64), BLOCK)
    found = np.zeros(len(codes), np.uint16)
    for start in range(0, len(codes), BLOCK):
        block = words[start * width : (start + BLOCK) * width]
        counts = np.bitwise_count(block ^ wanted[: len(block)]).reshape(-1, width)
        for word in range(width):
            found[start : start + BLOCK] += counts[:, word]
    return found
