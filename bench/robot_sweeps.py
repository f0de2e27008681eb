"""What a sweep finds on robots: errors of its best trial in ratio to those of the default model, by validation and by
test. `python -m bench.robot_sweeps [BUDGET] [ROBOT]...`: of each robot a sweep of so long (20m) with two workers.

Both models are trained with `rtsysid train`, the second with the configuration that `rtsysid sweep export` writes. The
error is the geometric mean over the groups of outputs and 1 to 50 ticks ahead, on the test recordings, which the sweep
cannot read; both forecast from the same rows. `out/robot-sweeps` keeps what is finished: the same command goes on.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from bench import arguments
from rtsysid.benchmarks.robots import NEEDED, PAST, Robot, errors_at_ticks, find_robots
from rtsysid.cli.console import table
from rtsysid.evaluation.forecasts import forecasts
from rtsysid.model.bundle import Bundle
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.trace import Trace
from rtsysid.spec import Doubles

FOLDER, BUDGET, JOBS = Path("out/robot-sweeps"), "20m", 2
HORIZON = NEEDED - PAST
HEADER = ["robot", "trials", "best", "validation", "90 % interval", "test", "p05", "p95"]


def main(budget: str = BUDGET, *names: str) -> None:
    rows = []
    for robot in find_robots(names=names):
        rows.append(compared(robot, budget))
        print(table(HEADER, rows), flush=True)


def compared(robot: Robot, budget: str) -> list[str]:
    """Run the sweep of one robot, train both models, and return a row of the table."""
    folder = FOLDER / robot.name
    data, sweep = robot.folder / "train", folder / "sweep"
    config = robot.folder / "robot.toml"
    found = rtsysid("sweep", "run", config, "--data", data, "--budget", budget, "--jobs", JOBS, "-o", sweep)
    best = folder / f"trial{found['best_trial']}.toml"
    if not best.exists():
        rtsysid("sweep", "export", sweep, found["best_trial"], "-o", best)
    bundles = [bundle_of(each, data, folder / name) for each, name in ((config, "default"), (best, best.stem))]
    ratio, low, high = test_ratio(robot, *map(Bundle.open, bundles))
    validation = found["error"] / found["error_of_the_configuration"]
    stated = "{:.3f} to {:.3f}".format(*found.get("interval_of_the_ratio", (1.0, 1.0)))
    counted, test = f"{found['finished']}+{found['stopped_early']}", [f"{x:.3f}" for x in (ratio, low, high)]
    return [robot.name, counted, str(found["best_trial"]), f"{validation:.3f}", stated, *test]


def rtsysid(*arguments: Any) -> dict[str, Any]:
    """Run a command, which says what it does on standard error; return its report."""
    command = [sys.executable, "-m", "rtsysid", *map(str, arguments), "--json"]
    report: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return report


def bundle_of(config: Path, data: Path, folder: Path) -> Path:
    """Train a configuration and export it, unless that was finished before."""
    if not (folder / "bundle").exists():
        rtsysid("train", config, "--data", data, "-o", folder / "run")
        rtsysid("export", folder / "run", "-o", folder / "bundle")
    return folder / "bundle"


def test_ratio(robot: Robot, default: Bundle, swept: Bundle) -> tuple[float, float, float]:
    """The test error of the swept model by that of the default, and the ends of its 90 % interval, over blocks."""
    predictors = [Predictor.load(each) for each in (default, swept)]
    past = max(PAST, *(each.settling_samples for each in predictors))
    errors = [test_errors(each, robot.testing(each.spec.channels, each.spec.rotations), past) for each in predictors]
    starts, generator = np.arange(0, len(errors[0]), HORIZON), np.random.default_rng(0)
    sums, counts = [np.add.reduceat(each, starts) for each in errors], np.diff([*starts, len(errors[0])])
    drawn = [generator.integers(len(starts), size=len(starts)) for _ in range(1000)]
    found = [ratio_of(*(each[k].sum(0) / counts[k].sum() for each in sums)) for k in drawn]
    low, high = np.quantile(found, (0.05, 0.95))
    return ratio_of(*(each.mean(0) for each in errors)), float(low), float(high)


def test_errors(predictor: Predictor, test: Trace, past: int) -> Doubles:
    """Errors [K, G, T] of all forecasts, in order, of the test recordings that are long enough."""
    outputs, long_enough = predictor.spec.outputs, [e.values for e in test.episodes if len(e) >= past + HORIZON]
    batches = (batch for values in long_enough for batch in forecasts(predictor, values, HORIZON, past=past))
    return np.concatenate([errors_at_ticks(each.predicted, each.truth, outputs) for each in batches]).astype(float)


def ratio_of(default: Doubles, swept: Doubles) -> float:
    """The geometric mean of the ratios of errors [G, T]."""
    return float(np.exp(np.mean(np.log(np.maximum(swept, 1e-12) / np.maximum(default, 1e-12)))))


if __name__ == "__main__":
    main(*arguments(__doc__))
