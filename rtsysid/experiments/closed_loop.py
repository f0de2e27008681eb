"""Show flights of controllers in a closed loop: tables, plots, and a page.

The controllers are the project's examples (`examples/`). A wheel carries them next to this package.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rtsysid.errors import RtsysidError
from rtsysid.evaluation.report.html import figures, html_table, page
from rtsysid.evaluation.report.picture import svg_text
from rtsysid.evaluation.report.plot import Line, Plot
from rtsysid.evaluation.report.tree import el
from rtsysid.model.bundle import Bundle
from rtsysid.spec import Doubles
from rtsysid.storage import replacing
from rtsysid.storage.products import CONTROL_PAGE

HEADER = ["model", "controller", "off the path, cm", "spread", "of the bound", "decision, ms", "within 10 ms",
          "flown, s", "lost"]  # fmt: skip
TITLES = {"eight": "Figure of eight", "step": "Step in position"}
MODELS = {"true": "the simulation", "learned": "learned", "arx": "linear ARX", "hold": "hold"}
SHOWN = {("learned", "gradient"): "s1", ("arx", "mppi"): "s2", ("hold", "mppi"): "s3"}
AROUND = 0.3  # m around the path that a plot shows


class Loop(NamedTuple):
    """One flight in a closed loop. ``whole``: it was not lost; ``track``: positions [n, 3] in m, 100 a second."""

    task: str
    model: str
    controller: str
    seed: int
    error_cm: float  # RMS distance from the path
    decision_ms: float  # processor time, median
    in_time: float  # share of the ticks with at most 10 ms
    seconds: float
    whole: bool
    track: Doubles


class LoopRow(NamedTuple):
    """The flights of one model and controller on one task: means, and the standard deviation between flights."""

    model: str
    controller: str
    error_cm: float
    spread_cm: float
    decision_ms: float
    in_time: float
    seconds: float
    lost: int
    flights: int


def control_flights(bundle: Bundle, seeds: int, seconds: float | None = None) -> tuple[int, Iterator[Loop]]:
    """Fly the examples with a bundle of the preset quadrotor: return the number of flights at most, and the flights.

    Raises RtsysidError where the examples are not installed.
    """
    flown = _example_module("compare")
    return flown.count(seeds), flown.flights(bundle, seeds, seconds)


def control_paths() -> dict[str, Callable[[Doubles], Doubles]]:
    """Return the path of each task: positions [N, 3] in m at times [N] in s.

    Raises RtsysidError where the examples are not installed.
    """
    return {name: task.path for name, task in _example_module("fly").TASKS.items()}


def loop_rows(flights: Sequence[Loop], task: str) -> list[LoopRow]:
    """Sum up the flights of one task, in the order in which they were flown."""
    here = [each for each in flights if each.task == task]
    return [
        _loop_row([each for each in here if (each.model, each.controller) == key])
        for key in dict.fromkeys((each.model, each.controller) for each in here)
    ]


def loop_cells(rows: Sequence[LoopRow]) -> list[list[str]]:
    """Write rows as the cells of a table under `HEADER`. The bound is the first row; a lost robot has no ratio."""
    return [
        [
            MODELS[row.model],
            row.controller,
            f"{row.error_cm:.2f}",
            f"{row.spread_cm:.2f}",
            "-" if row.lost else f"{row.error_cm / rows[0].error_cm:.2f}",
            f"{row.decision_ms:.1f}",
            f"{row.in_time:.0%}",
            f"{row.seconds:.2f}",
            f"{row.lost} of {row.flights}",
        ]
        for row in rows
    ]


def save_loop_page(path: Path | str, flights: Sequence[Loop], *, overwrite: bool = False) -> Path:
    """Write the page of flights. Raises StorageError where the file is refused."""
    body = [
        el("header", el("h1", "Model predictive control"), el("p", _INTRODUCTION, class_="quiet")),
        *(
            el(
                "section",
                el("h2", TITLES[task]),
                html_table(HEADER, loop_cells(loop_rows(flights, task))),
                figures([loop_plot(flights, task)], loop_legend(flights, task)),
                id=task,
            )
            for task in dict.fromkeys(each.task for each in flights)
        ),
    ]
    with replacing(path, CONTROL_PAGE, overwrite=overwrite) as scratch:
        scratch.write_text(page(CONTROL_PAGE, "rtsysid: model predictive control", body), encoding="utf-8")
    return Path(path)


def loop_svg(flights: Sequence[Loop], task: str) -> str:
    """Return the plot of one task as the text of an SVG file."""
    return svg_text(loop_plot(flights, task), loop_legend(flights, task))


def loop_legend(flights: Sequence[Loop], task: str) -> list[tuple[str, str]]:
    """Return names and styles of the lines of `loop_plot`, with the errors of their flights."""
    found = {(row.model, row.controller): row for row in loop_rows(flights, task)}
    return [("path", "measured"), *((_legend_name(found[key]), SHOWN[key]) for key in SHOWN if key in found)]


def loop_plot(flights: Sequence[Loop], task: str) -> Plot:
    """Plot the flights of the first seed: seen from above, or for the step over time."""
    first = {(each.model, each.controller): each.track for each in flights if each.task == task and not each.seed}
    longest = max(map(len, first.values()))
    wanted = control_paths()[task](np.arange(1, longest + 1) / 100)
    tracks = {"measured": wanted, **{SHOWN[key]: track for key, track in first.items() if key in SHOWN}}
    low, high = wanted.min(0) - AROUND, wanted.max(0) + AROUND
    lines = [
        _line(style, np.clip(_until_outside(track, low, high), low, high), task) for style, track in tracks.items()
    ]
    if task == "eight":
        return Plot("y [m]", "x [m]", "Figure of eight, seen from above", lines)
    return Plot("x [m]", "time [s]", "Step in position, over time", lines)


_INTRODUCTION = (
    "A simulated quadrotor, commanded by its four motors at 100 Hz, with gusts, noise, battery sag and rotor lag. "
    "Means over flights with gusts of their own; the first row is the bound that an exact model reaches."
)


def _example_module(name: str) -> Any:
    """Import one module of the examples: from a checkout, or as a wheel carries them."""
    package = Path(__file__).parents[1]
    folders = [each for each in (package.parent / "examples", package / "examples") if (each / "compare.py").is_file()]
    if not folders:
        raise RtsysidError("examples", "they are not installed", "run from a checkout of the project")
    if str(folders[0]) not in sys.path:
        sys.path.insert(0, str(folders[0]))
    return import_module(name)


def _loop_row(flights: Sequence[Loop]) -> LoopRow:
    errors = np.array([each.error_cm for each in flights])
    decision, in_time, seconds = (
        float(np.mean([getattr(each, name) for each in flights])) for name in ("decision_ms", "in_time", "seconds")
    )
    lost = sum(not each.whole for each in flights)
    spread = float(errors.std(ddof=1)) if len(errors) > 1 else 0.0
    mean = float(errors.mean())
    return LoopRow(
        flights[0].model, flights[0].controller, mean, spread, decision, in_time, seconds, lost, len(flights)
    )


def _legend_name(row: LoopRow) -> str:
    error = f"lost after {row.seconds:.1f} s" if row.lost else f"{row.error_cm:.1f} cm off"
    return f"{MODELS[row.model]}, {row.controller}: {error}"


def _until_outside(track: Doubles, low: Doubles, high: Doubles) -> Doubles:
    """End a track where it leaves the picture."""
    outside = ((track < low) | (track > high))[:, :2].any(1)
    return track[: int(outside.argmax()) + 1] if outside.any() else track


def _line(style: str, track: Doubles, task: str) -> Line:
    x, y = (track[:, 0], track[:, 1]) if task == "eight" else (np.arange(1, len(track) + 1) / 100, track[:, 0])
    return Line(style, style, x.tolist(), y.tolist())


def flights_as_builtins(flights: Sequence[Loop]) -> list[Mapping[str, Any]]:
    """Return flights as plain values, without their tracks."""
    return [{name: value for name, value in each._asdict().items() if name != "track"} for each in flights]
