"""An extended Kalman filter over a learned model: `kalman.py BUNDLE`, a bundle of the preset `quadrotor`.

The state is that of `Predictor.linearise`: the rows of the window, the newest outputs, and the state of the cell. The
model predicts it, A predicts its covariance, and each measurement corrects all of it. Ref: B. Anderson, J. Moore,
Optimal Filtering, 1979, section 8.2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from command import Arguments, load, run

from rtsysid import Predictor
from rtsysid.cli.console import table
from rtsysid.model.backends.protocol import Snapshot
from rtsysid.recordings.simulate import NOISE, fly

NOISY = 10.0  # times the noise of the simulated log


class KalmanFilter:
    """Estimate outputs from noisy measurements of all of them.

    ``measured`` [ny]: standard deviation of the noise of each output; ``process`` [ny]: that of what the model does not
    know of each output, in one tick.
    """

    def __init__(self, predictor: Predictor, measured: np.ndarray, process: np.ndarray) -> None:
        spec = predictor.spec
        self.predictor, self.nu, self.past = predictor, spec.n_inputs, (spec.taps - 1) * spec.width
        self.newest = slice(self.past, self.past + spec.n_outputs)
        self.noise, self.unknown = np.diag(measured**2), process**2
        self.covariance = np.zeros((0, 0))

    def begin(self, sample: np.ndarray) -> None:
        """Begin with one sample [C], the robot at rest."""
        self.predictor.warm_start(sample)
        size = len(self.state(self.predictor.snapshot()))
        self.covariance = np.zeros((size, size))
        self.covariance[self.newest, self.newest] = self.noise

    def update(self, u: np.ndarray, measured: np.ndarray) -> np.ndarray:
        """Apply the inputs u_k [nu], measure y_{k+1} [ny], and return its estimate [ny]."""
        a = self._predict(u)
        p = a @ self.covariance @ a.T
        p[self.newest, self.newest] += np.diag(self.unknown)
        gain = np.linalg.solve(p[self.newest, self.newest] + self.noise, p[self.newest]).T  # [n, ny]
        self.covariance = p - gain @ p[self.newest]
        start = self.predictor.snapshot()
        state = self.state(start)
        self._restore(start, state + gain @ (measured - state[self.newest]))
        return self.estimate

    @property
    def estimate(self) -> np.ndarray:
        """Return the estimated outputs [ny] of this tick."""
        return self.state(self.predictor.snapshot())[self.newest]

    def state(self, snapshot: Snapshot) -> np.ndarray:
        """Join a snapshot to the state of `Linearised`: [n], without the inputs of this tick."""
        window = snapshot.window
        return np.concatenate((window[:-1].ravel(), window[-1, self.nu :], snapshot.state)).astype(np.float64)

    def _predict(self, u: np.ndarray) -> np.ndarray:
        """Move the model by one tick under the inputs of this tick; return A [n, n]."""
        following = self.predictor.decide(u).copy()
        a = self.predictor.linearise().a
        self.predictor.step(np.concatenate((u, following)).astype(np.float32))
        return a

    def _restore(self, start: Snapshot, state: np.ndarray) -> None:
        window = start.window.copy()
        window[:-1] = state[: self.past].reshape(window[:-1].shape)
        window[-1, self.nu :] = state[self.newest]
        after = state[self.past + window.shape[1] - self.nu :].astype(np.float32)
        self.predictor.restore(start._replace(window=window, state=after))


def main() -> None:
    """Filter a simulated flight with much noise, and print errors before and after, by group."""
    arguments = Arguments(description=__doc__)
    arguments.add_argument("bundle", help="a bundle of the preset quadrotor")
    arguments.add_argument("--seconds", type=float, default=3.0)
    given = arguments.parse_args()
    predictor = load(given.bundle)
    names = [channel.group for channel in predictor.spec.outputs]
    scale = dict(zip(("position", "velocity", "attitude", "rotation rate"), NOISE, strict=True))
    scale["attitude"] /= 2  # a quaternion has half of the angle
    measured = NOISY * np.array([scale[name] for name in names])
    process = np.array(
        [{"position": 2e-4, "velocity": 2e-3, "attitude": 3e-4, "rotation rate": 0.02}[n] for n in names]
    )
    rows = flight_rows(predictor, given.seconds)
    noisy = rows[:, 4:] + measured * np.random.default_rng(1).standard_normal((len(rows), len(names)))
    print(table(["group", "measured, RMS", "filtered, RMS"], errors(names, rows[:, 4:], noisy, filtered(
        KalmanFilter(predictor, measured, process), rows[:, :4], noisy))))  # fmt: skip


def flight_rows(predictor: Predictor, seconds: float) -> np.ndarray:
    """Simulate a flight, and return its rows [n, C] in the order of the model's channels."""
    trace = fly(1, seconds, seed=7)
    order = [[channel.name for channel in trace.channels].index(channel.name) for channel in predictor.spec.channels]
    return trace.episodes[0].values[:, order].astype(np.float64)


def filtered(kalman: KalmanFilter, inputs: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Estimate outputs at every tick: inputs [n, nu], measured [n, ny] -> [n, ny]."""
    kalman.begin(np.concatenate((inputs[0], measured[0])).astype(np.float32))
    return np.array([measured[0], *(kalman.update(u, y) for u, y in zip(inputs[:-1], measured[1:], strict=True))])


def errors(names: list[str], truth: np.ndarray, measured: np.ndarray, estimated: Any) -> list[list[str]]:
    """Write the RMS errors of each group after the first second."""
    rows = []
    for name in dict.fromkeys(names):
        columns = [k for k, each in enumerate(names) if each == name]
        off = [np.sqrt(((each - truth)[100:, columns] ** 2).sum(-1).mean()) for each in (measured, estimated)]
        rows.append([name, *(f"{each:.4f}" for each in off)])
    return rows


if __name__ == "__main__":
    run(main)
