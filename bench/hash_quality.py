"""Measure how well binary codes separate near moments from others: `python -m bench.hash_quality`.

On simulated flights, and for each kind of code, print the share of the ten nearest moments whose code is among the
2,000 nearest codes. This is the best recall that an exact comparison of 2,000 windows can reach.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.retrieval import PER_FLIGHT, SIZES, SPEC, TOP, simulated_files, unseen_queries
from rtsysid.cli.console import table
from rtsysid.recordings.simulate import CHANNELS
from rtsysid.recordings.trace import Trace
from rtsysid.retrieval import search
from rtsysid.retrieval.build import build
from rtsysid.retrieval.hashing import Hyperplanes, hamming
from rtsysid.spec import Floats

NEAREST_CODES = 2000
BITS = (64, 128, 256)


def main() -> None:
    """Print the recall of each kind of code and each number of bits."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        flights = simulated_files(Path(folder), -(-SIZES[0] // PER_FLIGHT))
        index = build(Trace.read_each(flights, CHANNELS), Path(folder) / "index", spec=SPEC)
        queries = unseen_queries(index)
        newest = index.newest(np.arange(len(index)))
        truth = [np.searchsorted(newest, rows) for rows in search.exact_rows(index, queries, TOP)]
        vectors = np.concatenate([index.vectors(part) for part in np.array_split(newest, 100)])
        targets = np.stack([query.vector for query in queries])
        kinds = {"at the median": median_cuts, "at random quantiles": Hyperplanes.fit}
        rows = [
            [name, *(f"{share(make(vectors[::5], bits), vectors, targets, truth):.3f}" for bits in BITS)]
            for name, make in kinds.items()
        ]
    print(f"{len(newest):,} moments: share of the {TOP} nearest moments among the {NEAREST_CODES:,} nearest codes")
    print(table(["thresholds", *(f"{bits} bits" for bits in BITS)], rows))


def median_cuts(sample: Floats, bits: int) -> Hyperplanes:
    """Return the hyperplanes of sign hashing: the same directions, with thresholds at the median of `sample` [m, D]."""
    directions = Hyperplanes.fit(sample, bits).directions
    return Hyperplanes(directions, np.median(sample @ directions, axis=0))


def share(hyperplanes: Hyperplanes, vectors: Floats, targets: Floats, truth: Sequence[np.ndarray]) -> float:
    """Return the share of the moments `truth` whose code is among the nearest codes of their query."""
    codes = hyperplanes.codes(vectors)
    is_near = []
    for query, numbers in zip(hyperplanes.codes(targets), truth, strict=True):
        distances = hamming(codes, query)
        is_near += [np.count_nonzero(distances < distances[number]) < NEAREST_CODES for number in numbers]
    return float(np.mean(is_near))


if __name__ == "__main__":
    main()
