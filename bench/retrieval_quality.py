"""Measure retrieval on real flights: `python -m bench.retrieval_quality BUNDLE...`, with models of the nano-drone.

Runs 1 to 3 of each manoeuvre are indexed, and there is one query per second of run 4. Two metrics are independent of
the distance: the share of the ten matches with the same kind of manoeuvre, and the distance of the seconds that follow.
Each bundle is one encoder, named as its folder. `--encoders FOLDER` trains the encoder of each autoencoder preset
there, and one by prediction alone; what is in the folder is used again.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import msgspec
import numpy as np

from bench import arguments
from export.bundle import export
from rtsysid.benchmarks.nanodrone import Nanodrone
from rtsysid.cli.console import table
from rtsysid.config import Config, embedded, parse_config
from rtsysid.experiments.autoencoders import THROUGH
from rtsysid.model.bundle import Bundle
from rtsysid.recordings.home import recordings
from rtsysid.recordings.trace import Trace
from rtsysid.retrieval import search
from rtsysid.retrieval.build import build
from rtsysid.retrieval.index import Index
from rtsysid.schedule import FAMILY, Stage, preset
from rtsysid.train.fit import begin_stages

TOP = 10
BY_PREDICTION = "prediction"
BATCH, STRIDE = 64, 20  # as the comparison of autoencoders trains them


def main(*folders: str) -> None:
    """Build an index of each kind and encoder, and print its metrics."""
    if folders[0] == "--encoders":
        folders = tuple(encoders(Path(folders[1])))
    bundles = {_name(Path(folder)): Bundle.open(folder) for folder in folders}
    bundle = next(iter(bundles.values()))
    files = sorted(recordings("nanodrone", "train").glob("*.csv.gz"))
    indexed, unseen = ([f for f in files if ("run4" in f.name) is wanted] for wanted in (False, True))
    with tempfile.TemporaryDirectory() as folder:
        cases = {
            "window, from the body": ("window", bundle),
            "window, as recorded": ("window", None),
            **{f"code of {name}": ("code", each) for name, each in bundles.items()},
        }
        indexes = {
            name: build(Trace.read_each(indexed, bundle.spec.channels), Path(folder) / name, bundle=chosen, by=by)
            for name, (by, chosen) in cases.items()
        }
        flights = Trace.read_all(unseen, bundle.spec.channels)
        judge = next(iter(indexes.values()))
        rows = [[name, *map("{:.3f}".format, measured(index, judge, flights))] for name, index in indexes.items()]
    print(table(["compared by", "same manoeuvre", "by chance", "next second apart", "recall at 10"], rows))


def _name(folder: Path) -> str:
    return folder.parent.name if folder.name == "bundle" else folder.name


def encoders(folder: Path) -> list[str]:
    """Train the encoder of every preset on the flights, each with a short LSTM, and export the models."""
    config = parse_config(embedded("nanodrone"))
    flights = Nanodrone().training(config.data.channels)
    schedules = {BY_PREDICTION: THROUGH} | {member: preset(member) for member in FAMILY}
    for name, schedule in schedules.items():
        if not (folder / name / "bundle").exists():
            begun = begin_stages(_with(config, name, schedule), flights, folder / name / "run")
            for epoch in begun.epochs():
                print(f"{name}: {epoch}", file=sys.stderr)
            export(folder / name / "run", folder / name / "bundle")
    return [str(folder / name / "bundle") for name in schedules]


def _with(config: Config, name: str, schedule: tuple[Stage, ...]) -> Config:
    """Return the configuration with this schedule; an LSTM on a frozen encoder is trained for one epoch."""
    stages = tuple(s if "encoder" in s.train else msgspec.structs.replace(s, epochs=1) for s in schedule)
    return msgspec.structs.replace(
        config,
        model=msgspec.structs.replace(config.model, variational=name == "variational"),
        train=msgspec.structs.replace(config.train, preset="", batch=BATCH, stride=STRIDE),
        stage=stages,
    )


def measured(index: Index, judge: Index, flights: Trace) -> tuple[float, float, float, float]:
    """Return the share of the same kind among matches, and by chance; the distance of what followed; recall at 10.

    The index `judge` measures the distance of what followed.
    """
    names = [segment.recording for segment in index.manifest.segments for _ in range(segment.rows)]
    kinds = np.array([name.split("_")[0] for name in names])
    same, chance, after, recall = [], [], [], []
    for flight in flights.episodes:
        kind = flight.recording.split("_")[0]
        for stop in range(index.span, len(flight) - index.span, round(index.spec.rate_hz)):
            query = search.query_of(index, flight.values[stop - index.span : stop])
            matches = np.array([match.row for match in search.find(index, query, TOP)])
            truth = search.exact_rows(index, [query], TOP)[0]
            same.append(np.mean(kinds[matches] == kind))
            chance.append(np.mean(kinds == kind))
            recall.append(len({*matches.tolist()} & {*truth}) / len(truth))
            after.append(_following(judge, flight.values[stop : stop + index.span], matches))
    return tuple(float(np.mean(values)) for values in (same, chance, after, recall))  # type: ignore[return-value]


def _following(judge: Index, rows: np.ndarray, matches: np.ndarray) -> float:
    """Return the mean distance between the rows [span, C] after the query and those after the matches."""
    later = np.array([row for row in (matches + judge.span).tolist() if row in judge.windows(row - 1, row + 1)])
    return float(np.linalg.norm(judge.vectors(later) - search.query_of(judge, rows).vector, axis=1).mean())


if __name__ == "__main__":
    main(*arguments(__doc__))
