"""Compute binary codes: one bit per hyperplane says on which side of it a vector lies.

A hyperplane has a random direction and a threshold at a random quantile of the archive along that direction. A
hyperplane rarely separates two similar moments, and hyperplanes are dense where moments are dense. The Hamming distance
of codes therefore grows with the distance of vectors. Thresholds at the median, as in sign hashing, would only separate
the two halves of the archive.
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
BLOCK = 16_384  # codes per block; a block fits into the processor cache

Codes: TypeAlias = NDArray[np.uint8]  # [N, BITS / 8]
Numbers: TypeAlias = NDArray[np.int64]
Scan: TypeAlias = Callable[[Codes, Codes, int], Numbers]


@dataclass(frozen=True)
class Hyperplanes:
    """Hold B hyperplanes: `directions` [D, B] and `thresholds` [B]."""

    directions: Floats
    thresholds: Floats

    @classmethod
    def fit(cls, sample: Floats, bits: int = BITS, seed: int = 0) -> Hyperplanes:
        """Draw random hyperplanes for vectors distributed like `sample` [m, D]."""
        rng = np.random.default_rng(seed)
        directions = rng.standard_normal((sample.shape[1], bits)).astype(np.float32)
        along = np.sort(sample @ directions, axis=0)
        ranks = rng.uniform(0.05, 0.95, bits) * len(sample)
        return cls(directions, along[ranks.astype(np.int64), np.arange(bits)])

    def codes(self, vectors: Floats) -> Codes:
        """Return the codes [m, B / 8] of vectors [m, D], eight bits per byte."""
        return np.packbits(vectors @ self.directions > self.thresholds, axis=1)


def scanner() -> Scan:
    """Return the fastest scan of this machine: faiss where the [find] extra is installed, otherwise NumPy.

    A scan (codes [N, B / 8], query [B / 8], count) returns the numbers [count] of the nearest codes, nearest first.
    The two scans may choose differently among codes at the largest distance.
    """
    try:
        importlib.import_module("faiss")  # import here, so that the first query does not wait for it
    except ModuleNotFoundError:
        return by_numpy
    return by_faiss


def by_faiss(codes: Codes, query: Codes, count: int) -> Numbers:
    """Find the numbers [count] of the nearest codes with faiss. Ref: M. Douze et al., arXiv 2401.08281."""
    import faiss

    _, numbers = faiss.knn_hamming(query[None], codes, min(count, len(codes)), variant="mc")
    nearest: Numbers = numbers[0]
    return nearest


def by_numpy(codes: Codes, query: Codes, count: int) -> Numbers:
    """Find the numbers [count] of the nearest codes with NumPy, in blocks that fit into the processor cache."""
    distances = hamming(codes, query)
    furthest = int(np.searchsorted(np.cumsum(np.bincount(distances)), min(count, len(codes))))
    numbers = np.flatnonzero(distances <= furthest)
    return numbers[np.argsort(distances[numbers], kind="stable")[:count]]


def hamming(codes: Codes, query: Codes) -> NDArray[np.uint16]:
    """Count the bits [N] in which each code [N, B / 8] differs from `query` [B / 8]."""
    width = codes.shape[1] // 8
    words, wanted = codes.reshape(-1).view(np.uint64), np.tile(query.view(np.uint64), BLOCK)
    distances = np.zeros(len(codes), np.uint16)
    for start in range(0, len(codes), BLOCK):
        block = words[start * width : (start + BLOCK) * width]
        counts = np.bitwise_count(block ^ wanted[: len(block)]).reshape(-1, width)
        for word in range(width):
            distances[start : start + BLOCK] += counts[:, word]
    return distances
