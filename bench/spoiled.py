"""Spoil models of real robots on purpose, and print which faults a report names: `python -m bench.spoiled FOLDER`.

FOLDER keeps the models, so that a second run only judges. A second argument is the part of the recordings to judge on,
test or validation; a third one names robots, with commas between them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from bench import arguments
from rtsysid.cli.console import table
from rtsysid.errors import RtsysidError

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # the models are those of the tests
from support.spoiled_robots import FAULTS, Found, RealRobot, found, robots, trained


def times_good(errors: dict[str, float], good: dict[str, float]) -> float:
    """Return the geometric mean of the errors over those of the good model."""
    return float(np.exp(np.mean([np.log(min(errors[g], 1e9) / good[g]) for g in good])))


def row(robot: RealRobot, fault: str, root: Path, good: dict[str, float]) -> tuple[list[str], Found | None]:
    try:
        each = found(robot, fault, trained(robot, fault, root))
    except RtsysidError as error:
        return [robot.name, fault, "-", f"not exported: {error.what}", ""], None
    times = times_good(each.errors, good or each.errors)
    names = [f"{c.fault}{f' ({c.names[0]})' if c.names else ''}" for c in each.causes]
    wanted = "" if fault == "good" else "yes" if fault in {c.fault for c in each.causes} else "no"
    return [robot.name, fault, f"{times:.2f}", wanted, ", ".join(names) or "nothing"], each


def main(folder: str, part: str = "test", only: str = "") -> None:
    rows = []
    for robot in robots(part):
        if not only or robot.name in only.split(","):
            good: dict[str, float] = {}
            for fault in FAULTS:
                cells, each = row(robot, fault, Path(folder), good)
                good = good or ({} if each is None else each.errors)
                rows.append(cells)
                print(*cells, sep=" | ", file=sys.stderr, flush=True)
    print(table(["robot", "fault", "error over good", "named", "causes, the first one first"], rows))


if __name__ == "__main__":
    main(*arguments(__doc__))
