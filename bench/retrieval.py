"""Measure retrieval on simulated flights: build rate, bytes, milliseconds per query and recall at 10, at three sizes.

`python -m bench.retrieval 1000000` stops at a million moments. Ten million take 2 GB of disk and 15 minutes. A folder
as the second argument keeps the flights for the next run.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import msgspec
import numpy as np

from bench import arguments
from rtsysid.cli.console import table
from rtsysid.recordings.simulate import CHANNELS, fly
from rtsysid.recordings.trace import Trace
from rtsysid.retrieval import hashing, search
from rtsysid.retrieval.build import build
from rtsysid.retrieval.index import Index
from rtsysid.spec import ModelSpec, RigidBody

SIZES = (100_000, 1_000_000, 10_000_000)
SECONDS, RATE_HZ, SPAN_S = 180.0, 100.0, 1.0
PER_FLIGHT = round((SECONDS - SPAN_S) * RATE_HZ) + 1  # moments
BATCH = 112  # flights simulated together
QUERIES, TOP = 100, 10
SPEC = ModelSpec(
    channels=CHANNELS, rate_hz=RATE_HZ, taps=1, encoder=(),
    rigid_body=RigidBody(("qx", "qy", "qz", "qw"), ("wx", "wy", "wz"), ("vx", "vy", "vz"), ("x", "y", "z")),
)  # fmt: skip


class Times(NamedTuple):
    """Hold the milliseconds per query: median and 99 % of the elapsed time, mean processor time."""

    p50: float
    p99: float
    cpu: float


def main(largest: int = SIZES[-1], kept: Path | None = None) -> None:
    """Build an index of each size up to `largest` moments, measure it, and print the tables."""
    faiss.omp_set_num_threads(1)
    print(f"simulated flights, moments of {SPAN_S:g} s in the body frame, {QUERIES} queries from other flights")
    print(f"one thread; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    results, scans = [], []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        sizes = [size for size in SIZES if size <= largest]
        flights = simulated_files(kept or Path(folder), -(-sizes[-1] // PER_FLIGHT))
        for size in sizes:
            begun = time.perf_counter()
            index = build(
                Trace.read_each(flights[: -(-size // PER_FLIGHT)], CHANNELS), Path(folder) / "index", spec=SPEC
            )
            rate = len(index) / (time.perf_counter() - begun)
            queries = unseen_queries(index)
            results.append(row(index, rate, queries))
            scans.append(scanned(index, queries))
            print(".", end="", file=sys.stderr, flush=True)
    print(
        table(
            ["moments", "built/s", "bytes each", "p50 ms", "p99 ms", "cpu ms", "all windows s", "recall at 10"], results
        )
    )
    print(f"\nthe {search.CANDIDATES:,} nearest of the same codes, p50 ms")
    print(table(["moments", "faiss, mapped", "faiss IndexBinaryFlat", "NumPy", "NumPy / faiss"], scans))


def simulated_files(folder: Path, count: int) -> list[Path]:
    """Simulate `count` flights, one file each, unless the files exist."""
    paths = [folder / f"flight{k:03d}.npz" for k in range(count)]
    for start in range(0, count, BATCH):
        if all(path.exists() for path in paths[start : start + BATCH]):
            continue
        trace = fly(min(BATCH, count - start), SECONDS, seed=start, rate_hz=RATE_HZ)
        for path, episode in zip(paths[start:], trace.episodes, strict=False):
            Trace(trace.channels, (episode,)).write(path)
    return paths


def unseen_queries(index: Index) -> list[search.Query]:
    """Draw queries from flights that are not in the index."""
    rng, unseen = np.random.default_rng(0), fly(10, 60.0, seed=1_000_003, rate_hz=RATE_HZ)
    flights = [episode.values for episode in unseen.episodes] * (QUERIES // 10)
    starts = rng.integers(0, len(flights[0]) - index.span, QUERIES)
    return [
        search.query_of(index, values[start : start + index.span])
        for values, start in zip(flights, starts, strict=True)
    ]


def row(index: Index, rate: float, queries: list[search.Query]) -> list[str]:
    """Measure an index: time per query, and recall against the exact search."""
    begun = time.perf_counter()
    truth = search.exact_rows(index, queries, TOP)
    exactly = time.perf_counter() - begun
    matches: list[list[int]] = []
    times = timed(lambda query: matches.append([f.row for f in search.find(index, query, TOP)]), queries)
    recall = np.mean([len({*got} & {*true}) / len(true) for got, true in zip(matches[1:], truth, strict=True)])
    size = sum(msgspec.structs.astuple(index.manifest.files)) / len(index)
    return [
        f"{len(index):,}", f"{rate:,.0f}", f"{size:.0f}", f"{times.p50:.0f}", f"{times.p99:.0f}", f"{times.cpu:.0f}",
        f"{exactly:.0f}", f"{recall:.3f}",
    ]  # fmt: skip


def scanned(index: Index, queries: list[search.Query]) -> list[str]:
    """Time the scan with faiss on the mapped file, with faiss in memory, and with NumPy."""
    codes = index.hyperplanes.codes(np.stack([query.vector for query in queries[:20]]))
    flat = faiss.IndexBinaryFlat(hashing.BITS)
    flat.use_heap = False  # counting is faster than a heap for so many results
    flat.add(np.asarray(index.codes))
    mapped = timed(lambda code: hashing.by_faiss(index.codes, code, search.CANDIDATES), codes)
    library = timed(lambda code: flat.search(code[None], min(search.CANDIDATES, len(index))), codes)
    ours = timed(lambda code: hashing.by_numpy(index.codes, code, search.CANDIDATES), codes)
    shown = [f"{times.p50:.1f}" for times in (mapped, library, ours)]
    return [f"{len(index):,}", *shown, f"{ours.p50 / mapped.p50:.1f}"]


def timed(ask: Callable[[Any], Any], queries: Any) -> Times:
    """Time each query once, after a first one that warms the page cache."""
    ask(queries[0])
    cpu, walls = time.process_time(), list(_walls(ask, queries))
    cpu = time.process_time() - cpu
    return Times(float(np.median(walls)), float(np.percentile(walls, 99)), 1e3 * cpu / len(walls))


def _walls(ask: Callable[[Any], Any], queries: Any) -> Iterator[float]:
    for query in queries:
        begun = time.perf_counter()
        ask(query)
        yield 1e3 * (time.perf_counter() - begun)


if __name__ == "__main__":
    given = arguments(__doc__)
    main(int((given or [SIZES[-1]])[0]), Path(given[1]) if given[1:] else None)
