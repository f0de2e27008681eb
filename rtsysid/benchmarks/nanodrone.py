"""Define the nano-drone benchmark: forecast 50 ticks from every sample of a test flight, with the measured inputs.

Ref: M. Busetto et al., Control Engineering Practice 172 (2026) 106871, arXiv 2512.14450.

There are two starts. *history-free*: only x_t and u_t are known. The synthetic history extrapolates x_t backwards at
constant velocity and rotation rate, with input u_t. *50 samples*: rows t-50 .. t are known, so t starts at 50.

There are two layouts of the truth. *boundary-safe*: row t+h of the same flight. *paper*: the rows x_{t+1} of all
windows of all flights are concatenated, and the truth of window j at h ticks is row j+h-1. Some rows belong to the next
flight (a perfect model scores 0.1 to 0.3), and the last h-1 windows have no truth. In this layout the naive model has
the published errors (rotation rate: 29.090, published 29.087).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from rtsysid.benchmarks.forecasting import Windows, forecast, history, windows
from rtsysid.benchmarks.score import Score
from rtsysid.errors import ConfigError, TraceError
from rtsysid.evaluation.metrics import forecast_windows, horizon_errors
from rtsysid.model.npz import Arrays
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.home import recordings
from rtsysid.recordings.trace import Episode, Trace
from rtsysid.spec import Channel, Doubles, Floats, ModelSpec

HORIZON, HISTORY, DT = 50, 50, 0.01
SHOWN = (1, 10, 50)  # ticks ahead in the published tables, in addition to the sum over all
MEASURES = {"position": "m", "velocity": "m/s", "rotation": "rad", "omega": "rad/s"}
INPUTS = tuple(Channel(f"m{k}_rads", "rad/s", "input") for k in (1, 2, 3, 4))
STATES = (  # in the order of predictions: grouped, which the files are not
    *(Channel(name, "m", group="position") for name in ("x", "y", "z")),
    *(Channel(name, "m/s", group="velocity") for name in ("vx", "vy", "vz")),
    *(Channel(name, "quat", group="rotation") for name in ("qx", "qy", "qz", "qw")),
    *(Channel(name, "rad/s", group="omega") for name in ("wx", "wy", "wz")),
)
Start = Literal["history-free", "50 samples"]
STARTS: tuple[Start, ...] = ("history-free", "50 samples")
KINDS = ("chirp", "random", "square")  # of training flights
LAYOUTS = ("paper", "boundary-safe")
SUFFIX: dict[Start, str] = {"50 samples": "", "history-free": "_history_free"}  # of arrays in a predictions file
PUBLISHED = {
    "Naive": "143 1430 6797 17.788 329 3182 14749 38.924 71 692 3041 8.214 796 3596 8837 29.087",
    "Physics": "13 126 1269 2.322 80 570 5781 10.623 11 205 2544 5.101 796 3596 8837 29.087",
    "Residual MLP": "32 305 1712 4.052 116 890 5720 12.581 22 331 2268 6.059 1138 5949 9005 35.574",
    "Physics+Residual": "16 166 1119 2.363 92 613 5556 10.403 27 376 2306 6.153 912 4880 5979 28.987",
    "LSTM": "79 390 2572 5.971 247 1175 7407 16.721 66 372 2325 5.653 1021 4292 12407 35.835",
}  # per measure: error at 1, 10 and 50 ticks in 1e-4 of its unit, and the sum over all
UNOFFICIAL = {  # layout, and the sums over all ticks alone
    "Physics+Residual+GRU (sums)": ("paper", (2.363, 9.201, 5.206, 25.004)),
    "glassbox, 2026 (sums)": ("boundary-safe", (2.218, 12.230, 5.446, 29.177)),
    "ASIA, inputs one tick ahead (sums, estimated from its errors per axis)": ("paper", (2.1, 8.4, 3.9, 19.4)),
}


@dataclass(frozen=True)
class Nanodrone:
    """Define the benchmark for `rtsysid.experiments.benchmark`. Run 4 of each manoeuvre validates, as in the paper.

    ``left_out`` is a kind of training manoeuvre (square, random, chirp) that replaces the test flights and is not
    trained on. Use it for choices; never use the test flights for choices.
    """

    name: str = "nanodrone"
    config: str = "nanodrone"
    quick: float = 0.2  # share of the full effort in a quick run
    starts: tuple[Start, ...] = STARTS
    left_out: str = ""

    def without(self, kind: str) -> Nanodrone:
        """Return this benchmark with one kind of training manoeuvre as the test data. Raises ConfigError if unknown."""
        if kind not in KINDS:
            raise ConfigError("manoeuvre to leave out", repr(kind), f"choose among {', '.join(KINDS)}")
        return replace(self, left_out=kind)

    @property
    def measures(self) -> tuple[str, ...]:
        """Name each output group with its unit."""
        return tuple(f"{name} {unit}" for name, unit in MEASURES.items())

    @property
    def outputs(self) -> tuple[Channel, ...]:
        """List the channels of a forecast, one for each column of ``pred``."""
        return STATES

    @property
    def published(self) -> tuple[Score, ...]:
        """List the published errors at 1, 10 and 50 ticks and the sum; for the unofficial model only the sum."""
        if self.left_out:
            return ()
        official = [
            Score(model, self._official(text), _protocol("paper", "history-free")) for model, text in PUBLISHED.items()
        ]
        unofficial = [
            Score(model, {m: (s,) for m, s in zip(self.measures, sums, strict=True)}, _protocol(layout, "history-free"))
            for model, (layout, sums) in UNOFFICIAL.items()
        ]
        return (*official, *unofficial)

    def training(self, channels: tuple[Channel, ...]) -> Trace:
        """Read the training flights, including run 4 of each manoeuvre. Raises TraceError where they are absent."""
        return self._flown(channels, [kind for kind in KINDS if kind != self.left_out])

    def testing(self, channels: tuple[Channel, ...]) -> Trace:
        """Read the test flights, or those left out of training. Raises TraceError where they are absent."""
        if self.left_out:
            return self._flown(channels, [self.left_out])
        return Trace.read(recordings("nanodrone", "test"), channels)

    def _flown(self, channels: tuple[Channel, ...], kinds: Sequence[str]) -> Trace:
        folder = recordings("nanodrone", "train")
        return Trace.read_all(sorted(file for kind in kinds for file in folder.glob(f"{kind}_*")), channels)

    @cached_property
    def flights(self) -> tuple[Episode, ...]:
        """Read the test flights: inputs, then states in the order of `STATES`."""
        return self.testing((*INPUTS, *STATES)).episodes

    def predict(self, predictor: Predictor) -> Arrays:
        """Forecast all windows: ``pred`` [K, 50, 13], channels as in `STATES`, ``flight`` [K], and row ``t`` [K].

        Names of the history-free start have the suffix ``_history_free``. Raises ConfigError for other channels.
        """
        arrays: Arrays = {}
        for start in self.starts:
            arrays |= self._named(start, forecasts_of(predictor, self.flights, start))
        return arrays

    def hold(self) -> Arrays:
        """Return the forecasts of the hold model: the newest state, repeated. Arrays as in `predict`."""
        arrays: Arrays = {}
        for start in self.starts:
            arrays |= self._held(start)
        return arrays

    def score(self, model: str, predictions: Arrays) -> list[Score]:
        """Compute the errors of both starts in both layouts. Raises TraceError for predictions of another shape."""
        return [
            score(model, self.flights, start, layout, predictions["pred" + SUFFIX[start]])
            for start in self.starts
            for layout in LAYOUTS
        ]

    def _held(self, start: Start) -> Arrays:
        at = starts_of(self.flights, start)
        now = np.concatenate([flight.values[at.t[at.episode == k], 4:] for k, flight in enumerate(self.flights)])
        return self._named(start, np.repeat(now[:, None], HORIZON, 1))

    def _named(self, start: Start, predicted: Floats) -> Arrays:
        at, suffix = starts_of(self.flights, start), SUFFIX[start]
        return {f"pred{suffix}": predicted, f"flight{suffix}": at.episode, f"t{suffix}": at.t}

    def _official(self, text: str) -> dict[str, tuple[float, ...]]:
        figures = np.array(text.split(), np.float64).reshape(len(MEASURES), -1) * [1e-4, 1e-4, 1e-4, 1.0]
        return {name: tuple(line.tolist()) for name, line in zip(self.measures, figures, strict=True)}


def starts_of(flights: Sequence[Episode], start: Start) -> Windows:
    """List every window of a start: 19,347 history-free over the test flights, 19,197 after 50 samples."""
    return windows(flights, 0 if start == "history-free" else HISTORY, HORIZON)


def forecasts_of(predictor: Predictor, flights: Sequence[Episode], start: Start) -> Floats:
    """Compute forecasts [K, 50, 13] from every window, channels in the order of `STATES`."""
    into, back = columns_of(predictor.spec)
    histories = (rows[:, into] for rows in _histories(flights, start, predictor.spec.settling_samples))
    at = starts_of(flights, start)
    ahead = [
        forecast_windows(flight.values, len(INPUTS), at.t[at.episode == k], HORIZON)[0]
        for k, flight in enumerate(flights)
    ]
    return forecast(predictor, histories, np.concatenate(ahead))[..., back]


def columns_of(spec: ModelSpec) -> tuple[list[int], list[int]]:
    """Map `INPUTS` and `STATES` to a model's channels, and its outputs to `STATES`.

    Raises ConfigError where the model has other channels.
    """
    names, wanted = ([c.name for c in side] for side in (spec.channels, (*INPUTS, *STATES)))
    if sorted(names) != sorted(wanted) or names[: len(INPUTS)] != wanted[: len(INPUTS)]:
        raise ConfigError("channels of benchmark nanodrone", ", ".join(names), f"name {', '.join(wanted)}")
    return [wanted.index(name) for name in names], [names[len(INPUTS) :].index(c.name) for c in STATES]


def _histories(flights: Sequence[Episode], start: Start, rows: int) -> Iterator[Floats]:
    for k, t in zip(*starts_of(flights, start), strict=True):
        values = flights[k].values
        yield coasting(values[t], rows) if start == "history-free" else history(values, t, HISTORY)


def coasting(row: Floats, samples: int) -> Floats:
    """Return a synthetic history [samples, 17] that ends with `row` [17].

    It has the velocity, rotation rate and inputs of `row`, and positions and attitudes that follow from them.
    """
    rows = np.repeat(row[None].astype(np.float64), samples, 0)
    ago = DT * np.arange(samples - 1, -1, -1.0)[:, None]
    rows[:, 4:7] -= ago * row[7:10]
    rows[:, 10:14] = _turned(rows[:, 10:14], -ago * row[14:17])
    return rows.astype(np.float32)


def _turned(q: Doubles, angle: Doubles) -> Doubles:
    """Rotate quaternions x, y, z, w [n, 4] by rotation vectors [n, 3] in rad, in the body frame."""
    size = np.linalg.norm(angle, axis=1, keepdims=True)
    w2, v2 = np.cos(size / 2), 0.5 * angle * np.sinc(size / (2 * np.pi))
    v1, w1 = q[:, :3], q[:, 3:]
    return np.concatenate((w1 * v2 + w2 * v1 + np.cross(v1, v2), w1 * w2 - (v1 * v2).sum(1, keepdims=True)), axis=1)


def score(model: str, flights: Sequence[Episode], start: Start, layout: str, predicted: Floats) -> Score:
    """Compute the error at 1, 10 and 50 ticks and the sum over all 50, for forecasts [K, 50, 13].

    Raises TraceError for predictions of another shape.
    """
    at = starts_of(flights, start)
    if predicted.shape != (len(at.t), HORIZON, len(STATES)):
        wanted = f"[{len(at.t)}, {HORIZON}, {len(STATES)}]"
        raise TraceError(f"predictions {start}", str(predicted.shape), f"the protocol has {wanted}")
    curves = {group: np.empty(HORIZON) for group in MEASURES}
    for h in range(1, HORIZON + 1):
        truth = _truth(flights, at, layout, h)
        errors = horizon_errors(predicted[: len(truth), h - 1 : h], truth[:, None], STATES)
        for group, error in errors.items():
            curves[group][h - 1] = error[0]
    return Score(model, cells(curves), _protocol(layout, start))


def cells(curves: Mapping[str, Doubles]) -> dict[str, tuple[float, ...]]:
    """Reduce the error per tick [50] of each group to that at 1, 10 and 50 ticks and the sum over all."""
    return {
        f"{group} {unit}": (*(float(curves[group][h - 1]) for h in SHOWN), float(curves[group].sum()))
        for group, unit in MEASURES.items()
    }


def _truth(flights: Sequence[Episode], at: Windows, layout: str, h: int) -> Floats:
    """Return the measured states [k, 13] h ticks ahead, of the k windows for which the layout has truth."""
    states = [flight.values[:, len(INPUTS) :] for flight in flights]
    ahead = h if layout == "boundary-safe" else 1
    rows = np.concatenate([each[at.t[at.episode == k] + ahead] for k, each in enumerate(states)])
    return rows if layout == "boundary-safe" else rows[h - 1 :]


def _protocol(layout: str, start: str) -> str:
    return f"{layout}, {start}"
