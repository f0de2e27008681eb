"""Which bits tell near moments from others: `python -m bench.hash_quality`, on simulated flights.

For each kind of binary code, the share of the ten nearest moments whose code is among the 2,000 nearest codes: what a
re-rank of so few windows could find at best.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.retrieval import PER_FLIGHT, SIZES, SPEC, TOP, asked, flown
from rtsysid.cli.console import table
from rtsysid.recordings.simulate import CHANNELS
from rtsysid.recordings.trace import Trace
from rtsysid.retrieval import search
from rtsysid.retrieval.build import build
from rtsysid.retrieval.hashing import Hyperplanes, hamming
from rtsysid.spec import Floats

LOOKED_AT = 2000
BITS = (64, 128, 256)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        flights = flown(Path(folder), -(-SIZES[0] // PER_FLIGHT))
        index = build(Trace.read_each(flights, CHANNELS), Path(folder) / "index", spec=SPEC)
        queries = asked(index)
        newest = index.newest(np.arange(len(index)))
        truth = [np.searchsorted(newest, rows) for rows in search.exact_rows(index, queries, TOP)]
        vectors = np.concatenate([index.vectors(part) for part in np.array_split(newest, 100)])
        targets = np.stack([query.vector for query in queries])
        kinds = {"at the median": median_cuts, "at random quantiles": Hyperplanes.fit}
        rows = [
            [name, *(f"{share(make(vectors[::5], bits), vectors, targets, truth):.3f}" for bits in BITS)]
            for name, make in kinds.items()
        ]
    print(f"{len(newest):,} moments, {LOOKED_AT:,} codes looked at: share of the {TOP} nearest moments among them")
    print(table(["thresholds", *(f"{bits} bits" for bits in BITS)], rows))


def median_cuts(sample: Floats, bits: int) -> Hyperplanes:
    """Hashing by signs: the same directions, each cut in the middle."""
    directions = Hyperplanes.fit(sample, bits).directions
    return Hyperplanes(directions, np.median(sample @ directions, axis=0))


def share(hyperplanes: Hyperplanes, vectors: Floats, targets: Floats, truth: Sequence[np.ndarray]) -> float:
    codes = hyperplanes.codes(vectors)
    found = []
    for query, numbers in zip(hyperplanes.codes(targets), truth, strict=True):
        distances = hamming(codes, query)
        found += [np.count_nonzero(distances < distances[number]) < LOOKED_AT for number in numbers]
    return float(np.mean(found))


if __name__ == "__main__":
    main()
