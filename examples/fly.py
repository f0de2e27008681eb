"""Fly the simulated quadrotor on a figure of eight, with a learned model in the controller: `fly.py BUNDLE`.

The bundle is one of the preset `quadrotor`, as `rtsysid demo` makes it. Gusts, noise, battery sag and rotor lag are
those of `rtsysid simulate`, and the controller commands the four motors directly, at 100 Hz.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from controllers import GradientMpc, Mppi
from figure_eight import HOVER, OUTPUTS, path, reference

from rtsysid import Predictor
from rtsysid.recordings.true_model import SimulatedFlight, TrueModel


def controller(name: str, bundle: str) -> Any:
    """Make a controller. CasADi's is only for a bundle with a library of target `casadi`."""
    if name != "casadi":
        return {"gradient": GradientMpc, "mppi": Mppi}[name]()
    from casadi_mpc import CasadiMpc

    libraries = sorted(Path(bundle).glob("model-casadi-*.so"))
    if not libraries:
        raise SystemExit(f"bundle {bundle}: it has no library for CasADi; export with --target onnx,c,casadi")
    return CasadiMpc(libraries[0])


class Flown(NamedTuple):
    """RMS distance from the path in cm, processor time of a decision in ms (median), and seconds flown."""

    error_cm: float
    decision_ms: float
    seconds: float


def fly(pilot: Any, model: Any, flight: SimulatedFlight, seconds: float) -> Flown:
    """Close the loop; it ends early 3 m off the path."""
    order, truth = TrueModel(flight, OUTPUTS), []
    u, spent = np.full(4, HOVER, np.float32), []
    for tick in range(round(seconds * 100)):
        row = np.concatenate((u, flight.measure()[order.columns])).astype(np.float32)
        if tick == 0:
            model.warm_start(row)
        model.step(row)
        ahead = (tick + 1 + np.arange(pilot.horizon)) / 100
        begun = time.process_time()
        u = pilot.decide(model, reference(ahead), u)
        spent.append(1e3 * (time.process_time() - begun))
        model.decide(u)  # the next step learns what was applied
        flight.apply(u)
        truth.append(np.linalg.norm(flight.now.state.position[:, 0] - path(ahead[:1])[0]))
        if truth[-1] > 3.0:
            break
    return Flown(100 * float(np.sqrt(np.mean(np.square(truth)))), float(np.median(spent)), len(truth) / 100)


def main() -> None:
    """Fly, and print one row for each flight."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("bundle", help="a bundle of the preset quadrotor, or `true` for the simulation itself")
    arguments.add_argument("--controller", choices=("gradient", "mppi", "casadi"), default="gradient")
    arguments.add_argument("--seconds", type=float, default=8.0)
    arguments.add_argument("--seeds", type=int, default=1, help="flights, each with gusts of its own")
    given = arguments.parse_args()
    predictor = None if given.bundle == "true" else Predictor.load(given.bundle)
    print("controller  model    seed  off the path, cm  decision, ms  flown, s")
    for seed in range(given.seeds):
        flight = SimulatedFlight(seed)
        model = predictor or TrueModel(flight, OUTPUTS)
        flown = fly(controller(given.controller, given.bundle), model, flight, given.seconds)
        name = "learned" if predictor else "true"
        print(f"{given.controller:10}  {name:7}  {seed:4}  {flown.error_cm:16.1f}  {flown.decision_ms:12.2f}  "
              f"{flown.seconds:8.2f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
