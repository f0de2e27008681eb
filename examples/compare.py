"""Fly every controller and model on every task: `compare.py BUNDLE -o closed_loop.html`.

The first row of each table is the bound: the simulation itself is the model. `rtsysid demo --control` does the same
with a bundle of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import command
from fly import TASKS, fly, make_controller, make_model

from rtsysid import Predictor
from rtsysid.cli.console import table
from rtsysid.cli.progress import Display, StageBar
from rtsysid.experiments.closed_loop import HEADER, TITLES, Loop, loop_cells, loop_rows, loop_svg, save_loop_page
from rtsysid.recordings.true_model import SimulatedFlight

ROWS = (("true", "mppi"), ("learned", "mppi"), ("learned", "gradient"), ("learned", "casadi"), ("arx", "mppi"),
        ("hold", "mppi"))  # fmt: skip


def flights(bundle: Any, seeds: int = 5, seconds: float | None = None, horizon: int = 30) -> Iterator[Loop]:
    """Fly each row on each task, with gusts of each seed. Without CasADi its row is left out."""
    predictor = bundle if isinstance(bundle, Predictor) else command.load(bundle)
    for key, task in TASKS.items():
        for model, controller in ROWS:
            if controller == "casadi" and not _has_casadi(predictor):
                continue
            for seed in range(seeds):
                flight = SimulatedFlight(seed)
                pilot = make_controller(controller, predictor.bundle.folder, horizon)
                found = fly(pilot, make_model(model, predictor, flight), flight, task, seconds)
                whole = found.seconds >= (seconds or task.seconds) - 1e-9
                yield Loop(key, model, controller, seed, found.error_cm, found.decision_ms, found.in_time,
                           found.seconds, whole, found.track)  # fmt: skip


def count(seeds: int = 5) -> int:
    """Count the flights, at most."""
    return len(TASKS) * len(ROWS) * seeds


def _has_casadi(predictor: Predictor) -> bool:
    try:
        import casadi  # noqa: F401
    except ModuleNotFoundError:
        return False
    return any(predictor.bundle.folder.glob("model-casadi-*.so"))


def main() -> None:
    """Fly all, print the tables, and write the page and the plot that are asked for."""
    arguments = command.Arguments(description=__doc__)
    arguments.add_argument("bundle", help="a bundle of the preset quadrotor")
    arguments.add_argument("-o", "--out", type=Path, help="write a page")
    arguments.add_argument("--plot", type=Path, help="write the plot of the first task as SVG")
    arguments.add_argument("--seeds", type=command.flights, default=5)
    given = arguments.parse_args()
    predictor, found = command.load(given.bundle), []
    with StageBar(Display(), count(given.seeds), "flying") as bar:
        for each in flights(predictor, given.seeds):
            found.append(each)
            bar.update(1)
    if not _has_casadi(predictor):
        print("left out: casadi; it wants pip install 'rtsysid[control]', and a bundle with --target onnx,c,casadi")
    for task in TASKS:
        print(f"{TITLES[task]}\n{table(HEADER, loop_cells(loop_rows(found, task)))}\n")
    if given.out:
        save_loop_page(given.out, found)
    if given.plot:
        given.plot.write_text(loop_svg(found, "eight"), "utf-8")


if __name__ == "__main__":
    command.run(main)
