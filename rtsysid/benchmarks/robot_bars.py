"""Compare the default model with its peers, cell by cell, and hold the result against the bars of the benchmark.

A cell is a robot, a group of outputs and a number of ticks ahead. Its ratio is the mean error of the model over that of
the best of hold, linear ARX and GRU. One and two ticks ahead there is a second yardstick, the one-step ARX, or a
thousandth of hold's error where that is larger: no sensor resolves less.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from rtsysid.benchmarks.robots import HORIZON, TICKS
from rtsysid.errors import ConfigError
from rtsysid.evaluation.bootstrap import block_numbers, error_ratio, ratio_interval
from rtsysid.evaluation.expectation import EXPECTED, Expectation
from rtsysid.spec import Floats

MODEL, HOLD, LINEAR, ONE_STEP, GRU = "model", "hold", "linear ARX", "one-step ARX", "GRU"
PEERS = (HOLD, LINEAR, GRU)  # those whose best is the yardstick of a cell
NEAR = (1, 2)  # ticks that are compared with the one-step ARX
RESOLUTION = 1e-3  # of hold's error


class Cell(msgspec.Struct, frozen=True):
    """Hold one comparison. ``errors``: mean error by predictor; ``best``: the peer with the smallest one.

    ``low``, ``high``: 90 % interval of the ratio. ``near``: the ratio to the one-step ARX, for `NEAR` alone.
    """

    robot: str
    group: str
    ticks: int
    errors: dict[str, float]
    best: str
    ratio: float
    low: float
    high: float
    near: float | None = None


class Promise(msgspec.Struct, frozen=True):
    """Hold one stated interval, and the error that the test showed."""

    robot: str
    seed: int
    group: str
    ticks: int
    low: float
    high: float
    found: float

    @property
    def held(self) -> bool:
        """Tell whether the error lies inside the interval."""
        return self.low <= self.found <= self.high


class Bar(msgspec.Struct, frozen=True):
    """Hold one line of the result: what was found, and the limits of what is wanted.

    ``found`` is None where nothing was measured. ``goal``: wished for, and not required.
    """

    name: str
    found: float | None
    least: float | None = None
    most: float | None = None
    percent: bool = False
    goal: bool = False

    @property
    def holds(self) -> bool | None:
        """Tell whether the bar holds; None where nothing was measured."""
        if self.found is None:
            return None
        return (self.least is None or self.found >= self.least) and (self.most is None or self.found <= self.most)


def robot_cells(
    robot: str, groups: Sequence[str], errors: Mapping[str, Sequence[Any]], counts: Sequence[int]
) -> list[Cell]:
    """Compare the model with its peers on one robot.

    `errors`: by predictor one array [K, G, T] for each seed; `counts`: forecasts of each episode.
    """
    blocks = block_numbers(counts, HORIZON)
    tables = {name: np.stack(seeds).astype(np.float64) for name, seeds in errors.items()}  # [S, K, groups, ticks]
    cells = []
    for g, group in enumerate(groups):
        for t, ticks in enumerate(TICKS):
            columns = {name: table[:, :, g, t] for name, table in tables.items()}
            means = {name: float(column.mean()) for name, column in columns.items()}
            best = min(PEERS, key=means.__getitem__)
            interval = ratio_interval(columns[MODEL], columns[best], blocks)
            cells.append(Cell(robot, group, ticks, means, best, *interval, _near(means, ticks)))
    return cells


def _near(means: Mapping[str, float], ticks: int) -> float | None:
    limit = max(means[ONE_STEP], RESOLUTION * means[HOLD])
    return float(error_ratio(means[MODEL], limit)) if ticks in NEAR else None


def promises(robot: str, seed: int, groups: Sequence[str], stated: Expectation, errors: Floats) -> Iterator[Promise]:
    """Hold the stated intervals of one seed against its test errors [K, G, T], by group and ticks.

    Raises ConfigError where nothing was stated on a group.
    """
    for group, found in zip(groups, errors.mean(0), strict=True):
        expected = stated.groups.get(group)
        if expected is None:
            raise ConfigError(f"{EXPECTED} of robot {robot}", f"nothing on {group!r}", "train it again")
        for ticks, low, high in zip(expected.ticks, expected.low, expected.high, strict=True):
            if ticks in TICKS:
                yield Promise(robot, seed, group, ticks, low, high, float(found[TICKS.index(ticks)]))


def bars(cells: Sequence[Cell], promised: Sequence[Promise]) -> list[Bar]:
    """Return the result of the benchmark, line by line."""
    ratios = np.array([cell.ratio for cell in cells])
    far = np.array([cell.ratio for cell in cells if cell.ticks == HORIZON])
    near = [cell.near for cell in cells if cell.near is not None]
    return [
        Bar("cells with a ratio above 1.05", float(np.mean(ratios > 1.05)), most=0.05, percent=True),
        Bar("ratio of the worst cell", float(ratios.max()), most=1.15),
        Bar("cells whose 90 % interval lies above 1.03", sum(cell.low > 1.03 for cell in cells), most=0),
        Bar("worst ratio to the one-step ARX at 1 and 2 ticks", max(near), most=1.5),
        Bar("median ratio at 50 ticks", float(np.median(far)), most=1.0),
        Bar("groups at most 0.9 at 50 ticks", float(np.mean(far <= 0.9)), least=0.25, percent=True),
        Bar("median ratio at 50 ticks", float(np.median(far)), most=0.95, goal=True),
        Bar(
            "groups at most 0.85 at 50 ticks",
            float(np.mean(far <= 0.85)),
            least=0.25,
            percent=True,
            goal=True,
        ),
        *_promise_bars(promised),
    ]


def promise_kept(promised: Sequence[Promise]) -> tuple[float, float]:
    """Return the share of test errors inside the stated interval, and the median of its upper limit over its lower."""
    widths = [error_ratio(each.high, each.low) for each in promised]
    return float(np.mean([each.held for each in promised])), float(np.median(widths))


def _promise_bars(promised: Sequence[Promise]) -> list[Bar]:
    inside, width = promise_kept(promised) if promised else (None, None)
    return [
        Bar("promised: test errors inside the stated interval", inside, least=0.8, most=0.95, percent=True),
        Bar("promised: median of upper limit over lower limit", width, most=1.5),
    ]
