"""Fly the simulated quadrotor with a model in the controller: `fly.py BUNDLE`, a bundle of the preset `quadrotor`.

Gusts, noise, battery sag and rotor lag are those of `rtsysid simulate`, and the controller commands the four motors
directly, at 100 Hz. `compare.py` flies all controllers and models.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from command import Arguments, flights, load, run
from controllers import GradientMpc, Mppi
from plain_models import PlainModel
from task import FIGURE_EIGHT, HOVER, OUTPUTS, POSITION_STEP, Task, reference

from rtsysid import Predictor
from rtsysid.errors import BundleError, RtsysidError, SpecError
from rtsysid.evaluation.baselines import Hold, LinearArx
from rtsysid.recordings.true_model import SimulatedFlight, TrueModel

TASKS = {"eight": FIGURE_EIGHT, "step": POSITION_STEP}
MODELS = ("learned", "true", "arx", "hold")
LOST = 3.0  # m off the path: the flight ends
TICK_MS = 10.0
TRUE_HZ = 200.0  # physics of the true model, which is else too slow for five flights


class Flown(NamedTuple):
    """One flight. Milliseconds are processor time of a decision, the model's steps included."""

    error_cm: float  # RMS distance from the path
    decision_ms: float  # median
    in_time: float  # share of the ticks that took at most 10 ms
    seconds: float  # until it ended, or was lost
    track: np.ndarray  # positions [n, 3] in m
    beyond: float = 0.0  # how far plans left the trained range of an input, at most, in widths of it


def make_controller(name: str, bundle: Path | str, horizon: int = 30) -> Any:
    """Make a controller. CasADi's is only for a bundle with a library of target `casadi`, which sets the horizon."""
    if name != "casadi":
        return {"gradient": GradientMpc, "mppi": Mppi}[name](horizon)
    try:
        from casadi_mpc import CasadiMpc
    except ModuleNotFoundError:
        raise RtsysidError("controller casadi", "casadi is not installed", "pip install 'rtsysid[control]'") from None
    libraries = sorted(Path(bundle).glob("model-casadi-*.so"))
    if not libraries:
        raise BundleError(f"bundle {bundle}", "it has no library for CasADi", "export with --target onnx,c,casadi")
    return CasadiMpc(libraries[0])


def make_model(name: str, predictor: Predictor, flight: SimulatedFlight) -> Any:
    """Make the model of a controller: learned, true, arx or hold."""
    if name == "true":
        return TrueModel(flight, OUTPUTS, TRUE_HZ)
    if name == "learned":
        return predictor
    return PlainModel(Hold(4) if name == "hold" else LinearArx.of(predictor.bundle))


def fly(pilot: Any, model: Any, flight: SimulatedFlight, task: Task, seconds: float | None = None) -> Flown:
    """Close the loop; it ends early where the robot is lost."""
    columns, track, spent, beyond = TrueModel(flight, OUTPUTS).columns, [], [], 0.0
    u = np.full(4, HOVER, np.float32)
    for tick in range(round(100 * (seconds or task.seconds))):
        row = np.concatenate((u, flight.measure()[columns])).astype(np.float32)
        if tick == 0:
            model.warm_start(row)
        ahead = (tick + 1 + np.arange(pilot.horizon)) / 100
        begun = time.process_time()
        model.step(row)
        u = pilot.decide(model, reference(task, ahead), u)
        model.decide(u)  # the next step learns what was applied
        spent.append(1e3 * (time.process_time() - begun))
        beyond = max(beyond, float(np.max(getattr(model, "extrapolation", 0.0))))
        flight.apply(u)
        track.append(flight.now.state.position[:, 0])
        if np.linalg.norm(track[-1] - task.path(ahead[:1])[0]) > LOST:
            break
    return flown(np.array(track), np.array(spent), task)._replace(beyond=beyond)


def flown(track: np.ndarray, spent: np.ndarray, task: Task) -> Flown:
    """Sum up a flight: positions [n, 3] in m, and milliseconds [n] of each decision."""
    off = np.linalg.norm(track - task.path((1 + np.arange(len(track))) / 100), axis=1)
    error = 100 * float(np.sqrt(np.mean(off**2)))
    return Flown(error, float(np.median(spent)), float(np.mean(spent <= TICK_MS)), len(track) / 100, track)


def main() -> None:
    """Fly, and print one row for each flight."""
    arguments = Arguments(description=__doc__)
    arguments.add_argument("bundle", help="a bundle of the preset quadrotor")
    arguments.add_argument("--controller", choices=("gradient", "mppi", "casadi"), default="gradient")
    arguments.add_argument("--model", choices=MODELS, default="learned", help="true: the simulation itself")
    arguments.add_argument("--task", choices=TASKS, default="eight")
    arguments.add_argument("--seeds", type=flights, default=1, help="flights, each with gusts of its own")
    given = arguments.parse_args()
    if given.model in ("arx", "hold") and given.controller != "mppi":
        raise SpecError(f"model {given.model}", "it has no gradients", "give --controller mppi")
    predictor = load(given.bundle)
    print("controller  model    seed  off the path, cm  decision, ms  flown, s  beyond training")
    for seed in range(given.seeds):
        flight = SimulatedFlight(seed)
        pilot, model = make_controller(given.controller, given.bundle), make_model(given.model, predictor, flight)
        found = fly(pilot, model, flight, TASKS[given.task])
        print(f"{given.controller:10}  {given.model:7}  {seed:4}  {found.error_cm:16.1f}  {found.decision_ms:12.2f}  "
              f"{found.seconds:8.2f}  {found.beyond:15.2f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    run(main)
