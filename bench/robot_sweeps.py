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
from rtsysid.evaluation.bootstrap import RatioInterval, geometric_interval
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
    interval = found.get("interval_of_the_ratio")  # none for the configuration itself
    stated = "-" if interval is None else "{:.3f} to {:.3f}".format(*interval)
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


def test_ratio(robot: Robot, default: Bundle, swept: Bundle) -> RatioInterval:
    """The test error of the swept model by that of the default, and the ends of its 90 % interval, over blocks."""
    predictors = [Predictor.load(each) for each in (default, swept)]
    past = max(PAST, *(each.settling_samples for each in predictors))
    errors = [test_errors(each, robot.testing(each.spec.channels, each.spec.rotations), past) for each in predictors]
    starts = np.arange(0, len(errors[0]), HORIZON)
    old, new = (np.add.reduceat(each, starts).reshape(len(starts), -1) for each in errors)
    return geometric_interval(new, old, least=1e-12)


def test_errors(predictor: Predictor, test: Trace, past: int) -> Doubles:
    """Errors [K, G, T] of all forecasts, in order, of the test recordings that are long enough."""
    outputs, long_enough = predictor.spec.outputs, [e.values for e in test.episodes if len(e) >= past + HORIZON]
    batches = (batch for values in long_enough for batch in forecasts(predictor, values, HORIZON, past=past))
    return np.concatenate([errors_at_ticks(each.predicted, each.truth, outputs) for each in batches]).astype(float)


if __name__ == "__main__":
    main(*arguments(__doc__))
