"""What retrieval finds on real flights: `python -m bench.retrieval_quality BUNDLE`, a model of the nano-drone.

Runs 1 to 3 of each manoeuvre are indexed and a moment of every second of run 4 is asked for. Two measures that no
distance was made for: how many of the ten moments found are of the same kind of manoeuvre, and how unlike is what the
robot did in the second that followed.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from rtsysid.cli.console import table
from rtsysid.model.bundle import Bundle
from rtsysid.recordings.home import recordings
from rtsysid.recordings.trace import Trace
from rtsysid.retrieval import search
from rtsysid.retrieval.build import build
from rtsysid.retrieval.index import Index

TOP = 10


def main(bundle: Bundle) -> None:
    files = sorted(recordings("nanodrone", "train").glob("*.csv.gz"))
    indexed, unseen = ([f for f in files if ("run4" in f.name) is wanted] for wanted in (False, True))
    with tempfile.TemporaryDirectory() as folder:
        cases = {
            "window, from the body": ("window", bundle),
            "code": ("code", bundle),
            "window, as recorded": ("window", None),
        }
        indexes = {
            name: build(Trace.read_each(indexed, bundle.spec.channels), Path(folder) / name, bundle=chosen, by=by)
            for name, (by, chosen) in cases.items()
        }
        flights = Trace.read_all(unseen, bundle.spec.channels)
        judge = next(iter(indexes.values()))
        rows = [[name, *map("{:.3f}".format, measured(index, judge, flights))] for name, index in indexes.items()]
    print(table(["compared by", "same manoeuvre", "by chance", "next second apart", "recall at 10"], rows))


def measured(index: Index, judge: Index, flights: Trace) -> tuple[float, float, float, float]:
    """Share of the same kind found and by chance, distance of what followed (by `judge`), and recall at 10."""
    names = [segment["recording"] for segment in index.manifest["segments"] for _ in range(segment["rows"])]
    kinds = np.array([name.split("_")[0] for name in names])
    same, chance, after, recall = [], [], [], []
    for flight in flights.episodes:
        kind = flight.recording.split("_")[0]
        for stop in range(index.span, len(flight) - index.span, round(index.spec.rate_hz)):
            query = search.query_of(index, flight.values[stop - index.span : stop])
            found = np.array([f.row for f in search.find(index, query, TOP)])
            truth = search.exact_rows(index, [query], TOP)[0]
            same.append(np.mean(kinds[found] == kind))
            chance.append(np.mean(kinds == kind))
            recall.append(len({*found.tolist()} & {*truth}) / len(truth))
            after.append(_following(judge, flight.values[stop : stop + index.span], found))
    return tuple(float(np.mean(values)) for values in (same, chance, after, recall))  # type: ignore[return-value]


def _following(judge: Index, rows: np.ndarray, found: np.ndarray) -> float:
    """Mean distance between what followed the query and what followed the moments found."""
    later = np.array([row for row in (found + judge.span).tolist() if row in judge.windows(row - 1, row + 1)])
    return float(np.linalg.norm(judge.vectors(later) - search.query_of(judge, rows).vector, axis=1).mean())


if __name__ == "__main__":
    main(Bundle.open(sys.argv[1]))
