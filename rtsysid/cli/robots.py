"""Run the benchmark of robots, and print its tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from rtsysid.cli import console

if TYPE_CHECKING:
    from rtsysid.benchmarks.robot_bars import Bar, Cell
    from rtsysid.benchmarks.robot_files import TrainedModel
    from rtsysid.benchmarks.robots import Robot
    from rtsysid.experiments.robots import Effort, RobotResult

NAME = "robots"
HOLDS = {True: "yes", False: "no", None: "-"}


def robots(quick: bool, seeds: int | None, data: Sequence[Path], names: Sequence[str], out: Path, json_: bool) -> None:
    """Train the default model and its peers on each robot, and print ratios and bars."""
    from rtsysid.benchmarks.robot_bars import bars
    from rtsysid.benchmarks.robots import find_robots
    from rtsysid.storage import enter
    from rtsysid.storage.products import BENCHMARK

    found = find_robots(data, names)
    from rtsysid.experiments.robots import FULL, QUICK

    enter(out, BENCHMARK)
    effort = QUICK if quick else FULL
    effort = msgspec.structs.replace(effort, seeds=seeds or effort.seeds)
    results = [_run_one(robot, effort, out / ("quick" if quick else "full") / robot.name) for robot in found]
    cells = [cell for result in results for cell in result.cells]
    lines = bars(cells, [each for result in results for each in result.promises])
    if json_:
        return console.report(_json_fields(quick, effort, results, lines), True)
    _print_tables(results, lines)


def _run_one(robot: Robot, effort: Effort, folder: Path) -> RobotResult:
    """Run one robot with progress on stderr."""
    from rtsysid.experiments.robots import RobotResult, run_robot

    for item in run_robot(robot, effort, folder):
        if isinstance(item, RobotResult):
            return item
        text = item if isinstance(item, str) else f"{item.stage} {item.epoch}/{item.epochs}, loss {item.validation:.4g}"
        console.echo(f"{robot.name}: {text}", err=True)
    raise AssertionError("run_robot yields its result last")


def _json_fields(quick: bool, effort: Effort, results: Sequence[RobotResult], lines: Sequence[Bar]) -> dict[str, Any]:
    from rtsysid.benchmarks.robots import TICKS

    plain = [{**msgspec.to_builtins(bar), "wanted": _bar_wanted(bar), "holds": bar.holds} for bar in lines]
    robots_ = msgspec.to_builtins(list(results))
    return {
        "benchmark": NAME, "quick": quick, "effort": msgspec.to_builtins(effort), "ticks": list(TICKS),
        "robots": robots_, "bars": plain,
    }  # fmt: skip


def _print_tables(results: Sequence[RobotResult], lines: Sequence[Bar]) -> None:
    from rtsysid.benchmarks.robots import TICKS

    header = ["robot", "group", *(f"{n} tick{'s' * (n > 1)}" for n in TICKS), f"90 % interval at {TICKS[-1]}"]
    rows = [_ratio_row(result, group) for result in results for group in result.units]
    console.block(f"error of the model / best of hold, linear ARX and GRU\n{console.table(header, rows)}")
    models = [[result.name, *_model_row(model)] for result in results for model in result.models]
    console.block(f"\n{console.table(['robot', 'seed', 'rows', 'training s'], models)}")
    stated = [_promise_row(result) for result in results if result.promises]
    if stated:
        header = ["robot", "test errors inside the stated interval", "upper limit / lower limit, median"]
        console.block(f"\npromised and found\n{console.table(header, stated)}")
    table = [[_bar_name(bar), _bar_found(bar), _bar_wanted(bar), HOLDS[bar.holds]] for bar in lines]
    console.block(f"\n{console.table(['bar', 'found', 'wanted', 'holds'], table)}")


def _ratio_row(result: RobotResult, group: str) -> list[str]:
    cells: list[Cell] = [cell for cell in result.cells if cell.group == group]
    last = cells[-1]
    return [result.name, group, *(f"{cell.ratio:.3f}" for cell in cells), f"{last.low:.3f} to {last.high:.3f}"]


def _model_row(model: TrainedModel) -> list[str]:
    seconds = "continued" if model.seconds is None else f"{model.seconds:.0f}"
    return [str(model.seed), str(model.rows), seconds]


def _promise_row(result: RobotResult) -> list[str]:
    from rtsysid.benchmarks.robot_bars import promise_kept

    inside, width = promise_kept(result.promises)
    return [result.name, f"{100 * inside:.0f} %", f"{width:.2f}"]


def _bar_name(bar: Bar) -> str:
    return f"goal: {bar.name}" if bar.goal else bar.name


def _bar_found(bar: Bar) -> str:
    return "not stated" if bar.found is None else _bar_figure(bar.found, bar)


def _bar_wanted(bar: Bar) -> str:
    if bar.least is not None and bar.most is not None:
        return f"{_bar_figure(bar.least, bar)} to {_bar_figure(bar.most, bar)}"
    return f"at least {_bar_figure(bar.least, bar)}" if bar.most is None else f"at most {_bar_figure(bar.most, bar)}"


def _bar_figure(value: float | None, bar: Bar) -> str:
    assert value is not None
    return f"{100 * value:.0f} %" if bar.percent else f"{value:.3g}"
