"""Models of real robots that are spoiled on purpose, each in one way; and what a report names of them.

Each robot gets a default linear model, and one for each fault.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rtsysid.checking.judged_model import recording_faults
from rtsysid.config import Config, parse_config, with_keys
from rtsysid.evaluation.report.causes import Cause, causes_of
from rtsysid.evaluation.report.judge import beyond_training, stride_for
from rtsysid.evaluation.report.observed import observe
from rtsysid.evaluation.report.study import Study
from rtsysid.evaluation.report.unused import unused_columns
from rtsysid.model.backends.numpy_backend import NumpyBackend
from rtsysid.model.bundle import Bundle
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.home import recordings
from rtsysid.recordings.reading import read_recordings
from rtsysid.recordings.trace import Episode, Trace
from rtsysid.spec import Floats, ModelSpec

HORIZON = 50
TAPS = 4  # of a model with a dead time
Spoiled = tuple[Config, Trace, Trace]  # configuration, recordings to train on, recordings to judge on


@dataclass(frozen=True)
class RealRobot:
    name: str
    toml: str
    train: tuple[Path, ...]
    judged: tuple[Path, ...]

    @cached_property
    def config(self) -> Config:
        return parse_config(self.toml)

    def read(self, files: Sequence[Path]) -> Trace:
        return read_recordings(files, self.config.data, self.config.data.channels)


NANODRONE = """
[data]
rate_hz = 100
inputs = ["m1_rads [rad/s]", "m2_rads [rad/s]", "m3_rads [rad/s]", "m4_rads [rad/s]"]
outputs = [
  "vx [m/s]", "vy [m/s]", "vz [m/s]", "qx [quat]", "qy [quat]", "qz [quat]", "qw [quat]",
  "wx [rad/s]", "wy [rad/s]", "wz [rad/s]", "x [m]", "y [m]", "z [m]",
]
validation = ["*_run3"]
[data.groups]
position = ["x", "y", "z"]
velocity = ["vx", "vy", "vz"]
attitude = ["qx", "qy", "qz", "qw"]
rate = ["wx", "wy", "wz"]
"""


def robots(part: str) -> list[RealRobot]:
    found = []
    for toml in sorted(recordings("robots").glob("*/robot.toml")):
        folder, train = toml.parent, sorted((toml.parent / "train").glob("*.csv.gz"))
        judged = sorted((folder / "test").glob("*.csv.gz"))
        judged = [f for f in train if "_val" in f.name] if part == "validation" else judged
        found.append(RealRobot(folder.name, toml.read_text(), tuple(train), tuple(judged)))
    drone = sorted(recordings("nanodrone", "train").glob("*.csv.gz"))
    parts = [[f for f in drone if ("run4" in f.name) is wanted] for wanted in (False, True)]
    return [*found, RealRobot("nanodrone", NANODRONE, *map(tuple, parts))]


def good(robot: RealRobot) -> Spoiled:
    return robot.config, robot.read(robot.train), robot.read(robot.judged)


def dead_time(robot: RealRobot) -> Spoiled:
    """Inputs that were logged some ticks before they act, more of them than the model has taps."""
    config, train, judged = good(robot)
    early = [shifted(each, config, dead_ticks(config)) for each in (train, judged)]
    return with_keys(config, {"model.taps": TAPS}), early[0], early[1]


def dead_ticks(config: Config) -> int:
    return max(10, round(0.3 * config.data.rate_hz))


def shifted(trace: Trace, config: Config, ticks: int) -> Trace:
    """Move inputs to rows that are so many ticks earlier."""
    nu = len(config.data.inputs)

    def moved(e: Episode) -> Episode:
        values = np.concatenate((e.values[ticks:, :nu], e.values[:-ticks, nu:]), 1)
        return replace(e, t=e.t[:-ticks], values=values)

    return replace(trace, episodes=tuple(moved(e) for e in trace.episodes if len(e) > ticks + 60))


def missing_input(robot: RealRobot) -> Spoiled:
    """The input without which a linear map of the window and the plan forecasts worst is not used."""
    config, train, judged = good(robot)
    name = heaviest_input(config, train)
    kept = [each for each in config.data.inputs if each.split(" ")[0] != name]
    smaller = with_keys(config, {"data.inputs": kept})
    select = [k for k, c in enumerate(config.data.channels) if c.name != name]

    def without(trace: Trace) -> Trace:
        episodes = tuple(replace(e, values=e.values[:, select]) for e in trace.episodes)
        return replace(trace, channels=smaller.data.channels, episodes=episodes)

    return smaller, without(train), without(judged)


def heaviest_input(config: Config, trace: Trace) -> str:
    """Name the input without which a linear map of two rows and the plan errs most, in held-out thirds."""
    nu, names = len(config.data.inputs), [c.name for c in config.data.channels if c.role == "input"]
    rows = [e.values.astype(float) for e in trace.episodes if len(e) > HORIZON + 2]
    plans = [np.stack([np.cumsum(v[:, :nu], 0)[HORIZON:] - np.cumsum(v[:, :nu], 0)[:-HORIZON]], 1)[:, 0] for v in rows]
    plans = [
        np.concatenate((p[1:], v[1 : len(p), :nu] - v[: len(p) - 1, :nu]), 1) for p, v in zip(plans, rows, strict=True)
    ]
    ends = np.concatenate([v[HORIZON + 1 :, nu:] - v[1:-HORIZON, nu:] for v in rows])
    now = np.concatenate([np.concatenate((v[1:-HORIZON, nu:], v[: -HORIZON - 1, nu:]), 1) for v in rows])
    planned = np.concatenate(plans)

    def error(left_out: int) -> float:
        kept = [k for k in range(2 * nu) if k % nu != left_out]
        x = np.concatenate((now, planned[:, kept], np.ones((len(now), 1))), 1)
        x /= np.maximum(x.std(0), 1e-9) + (x.std(0) == 0)
        total = 0.0
        for fold in np.array_split(np.arange(len(x)), 3):
            fit = np.setdiff1d(np.arange(len(x)), fold)
            gram = x[fit].T @ x[fit] / len(fit) + 1e-4 * np.eye(x.shape[1])
            weights = np.linalg.solve(gram, x[fit].T @ ends[fit] / len(fit))
            total += np.log(((ends[fold] - x[fold] @ weights) ** 2).mean(0) + 1e-30).mean()
        return total

    return names[int(np.argmax([error(k) for k in range(nu)]))]


def make_ring(run: Path, rows: Floats) -> None:
    """Feed the change of an output over five ticks back into its own increments, until it swings by 1 % more a tick."""
    from safetensors.torch import load_file, save_file

    from rtsysid.train.run import Run, state_arrays

    spec, weights = Run(run).spec, load_file(run / "weights.safetensors")
    plain = [k for k, c in enumerate(spec.outputs) if c.unit != "quat" and not c.angle]
    target = next((k for k in plain if spec.outputs[k].unit.endswith("/s")), plain[0])
    growths = [growth(Predictor(spec, NumpyBackend(spec, state_arrays(weights))), rows)]
    for gain in np.geomspace(0.05, 10, 24).tolist():
        spoiled = with_feedback(spec, weights, target, gain)
        growths.append(growth(Predictor(spec, NumpyBackend(spec, state_arrays(spoiled))), rows))
        if growths[-1] > 1.01 * max(1.0, growths[0]):
            return save_file(spoiled, run / "weights.safetensors")
    return save_file(spoiled, run / "weights.safetensors")


def with_feedback(spec: ModelSpec, weights: dict[str, Any], target: int, gain: float) -> dict[str, Any]:
    """Return weights whose linear maps have that feedback of an output."""
    column, lag = spec.n_inputs + target, min(5, spec.taps - 1)
    units = gain * spec.scaling.feature_std[column] / spec.scaling.target_std[target]
    newest, older = ((spec.taps - 1 - k) * spec.n_features + column for k in (0, lag))
    changed = {name: weight.clone() for name, weight in weights.items()}
    for key in {"linear_path.weight", "linear_near.weight"} & set(changed):
        changed[key][target, newest] -= units
        changed[key][target, older] += units
    return changed


def growth(predictor: Predictor, rows: Floats) -> float:
    """Return the factor a tick by which runs from rows [n, C] and from a small change of them move apart."""
    spec, runs = predictor.spec, []
    for size in (0.0, 0.01):
        moved = rows[: spec.settling_samples + 1].copy()
        moved[-1, spec.n_inputs :] += np.float32(size) * np.array(spec.scaling.std[spec.n_inputs :], np.float32)
        for row in moved:
            predictor.step(row)
        plan = np.repeat(moved[-1:, : spec.n_inputs], 300, 0)
        with np.errstate(over="ignore", invalid="ignore"):
            runs.append(predictor.forecast(plan).astype(float))
        predictor.reset()
    apart = np.abs(np.nan_to_num(runs[1] - runs[0], nan=1e30)).max(1) + 1e-30
    return float((apart[200:].max() / apart[100:200].max()) ** 0.01)


FAULTS: dict[str, Callable[[RealRobot], Spoiled]] = {
    "good": good, "dead time": dead_time, "missing input": missing_input, "ringing": good
}  # fmt: skip


def trained(robot: RealRobot, fault: str, root: Path) -> Bundle:
    """Train and export the model of a fault, once."""
    from export.bundle import export
    from rtsysid.train.config_text import toml_text
    from rtsysid.train.fit import begin

    run, bundle = root / robot.name / fault / "run", root / robot.name / fault / "bundle"
    if bundle.exists():
        return Bundle.open(bundle)
    config, train, _ = FAULTS[fault](robot)
    if fault == "ringing":
        shutil.copytree(root / robot.name / "good" / "run", run, dirs_exist_ok=True)
        make_ring(run, max((e.values for e in train.episodes), key=len))
    else:
        for _ in begin(config, train, run, toml_text(config), linear=True).epochs():
            pass
    return export(run, bundle, targets=())[0]


class Found(NamedTuple):
    """Hold the errors of forecasts at the end by group, and the causes that a report names, the first one first."""

    errors: dict[str, float]
    causes: list[Cause]


def found(robot: RealRobot, fault: str, bundle: Bundle) -> Found:
    """Judge a model as a report does."""
    judged = FAULTS[fault](robot)[2].segments(robot.config.data.rate_hz, nan="split")
    stride = stride_for(judged)
    every, evaluation = observe(bundle, judged, HORIZON, stride, robot.name)
    columns, (_, late) = unused_columns(bundle, robot.judged, every), recording_faults(judged, bundle)
    study, beyond = Study.of(bundle.spec, every, stride), beyond_training(bundle.spec, every)
    causes = causes_of(bundle, Predictor.load(bundle), study, columns, beyond, late)
    return Found({group: each[-1] for group, each in evaluation.errors["model"].items()}, causes)
