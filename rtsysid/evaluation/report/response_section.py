"""Draw step and frequency responses: the linear path against the transfer function that the recordings show."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from rtsysid.evaluation.report.chart import Chart, ChartLine
from rtsysid.evaluation.report.html import details, html_table
from rtsysid.evaluation.report.interactive import ChartBook
from rtsysid.evaluation.report.judge import Judgement
from rtsysid.evaluation.report.linear_path import Complexes
from rtsysid.evaluation.report.response import Responses, Shown
from rtsysid.evaluation.report.tree import Child, Node, el
from rtsysid.spec import Doubles

OUTPUTS_DRAWN = 12
INPUTS_DRAWN = 4  # in the step responses of one output
CLEAR = 0.1  # coherence from which on an empirical response means something
TURN = 360.0
ABOUT: dict[Shown, str] = {
    "linear path": "These are the responses of the model's linear path, which is a linear ARX model.",
    "unused linear path": "These are the responses of the model's linear path, which is a linear ARX model. In "
    "forecasts a network replaces it: forecasts may respond in another way.",
    "whole model": "This model has no linear path: these are the responses of the whole model to a small step.",
}


class Pair:
    """Hold what is drawn of one output and one input, by frequency: gains [F], phases [F] in degrees."""

    def __init__(self, j: Judgement, r: Responses, output: int, source: int) -> None:
        self.label = f"{j.spec.inputs[source].name} to {j.shown.names[output]}"
        self.output, self.hz = j.shown.names[output], r.hz
        self.line = r.of.removeprefix("unused ")
        model, measured = r.model[:, output, source], r.measured[:, output, source]
        self.coherence = r.coherence[:, output]
        clear = np.where(self.coherence >= CLEAR, 1.0, np.nan)
        self.gain, self.measured_gain = above_zero(np.abs(model)), above_zero(np.abs(measured) * clear)
        self.phase = unwrapped_degrees(model)
        degrees = np.degrees(np.angle(measured))
        turns = np.nan_to_num(np.round((self.phase - degrees) / TURN))
        self.measured_phase = (degrees + TURN * turns) * clear

    def charts(self) -> Iterator[Chart]:
        """Draw gain, phase and coherence, which share cursor and zoom."""
        yield self._chart("gain", self.gain, self.measured_gain, log=True)
        yield self._chart("phase [deg]", self.phase, self.measured_phase, log=False)
        described = f"Coherence of {self.output} with all inputs, by frequency"
        line = [ChartLine("coherence", "near", self.coherence)]
        title = f"{self.output}: coherence"
        yield Chart(title, "frequency [Hz]", described, self.hz, line, y_range=(0.0, 1.05), log_x=True, sync=self._sync)

    def _chart(self, what: str, model: Doubles, measured: Doubles, *, log: bool) -> Chart:
        lines = [ChartLine(self.line, "model", model), ChartLine("recordings", "measured", measured, points=True)]
        described = f"{what} from {self.label} by frequency, of the {self.line} and of the recordings"
        title = f"{self.label}: {what}"
        return Chart(title, "frequency [Hz]", described, self.hz, lines, log_x=True, log_y=log, sync=self._sync)

    @property
    def _sync(self) -> str:
        return f"response {self.label}"

    def rows(self, at: NDArray[np.intp]) -> Iterator[list[Child]]:
        """Yield rows of a table: all values at the frequencies of these numbers [n]."""
        values = {
            f"gain, {self.line}": self.gain,
            "gain, recordings": self.measured_gain,
            f"phase [deg], {self.line}": self.phase,
            "phase [deg], recordings": self.measured_phase,
            "coherence": self.coherence,
        }
        for what, each in values.items():
            yield [self.label, what, *(_number(value) for value in each[at])]


def response_section(j: Judgement, r: Responses | None, book: ChartBook) -> Iterator[Node]:
    """Build the section: step responses, then gain, phase and coherence of one input for each output."""
    if r is None:
        yield el("p", "The model has no inputs.")
        return
    yield el("p", ABOUT[r.of])
    yield el(
        "p",
        "Step response: the change of an output after a step of one input, as a median over moments, for the inputs "
        "that move the outputs most.",
    )
    names, spread = j.shown.names[:OUTPUTS_DRAWN], np.array(j.spec.scaling.std[: j.spec.n_inputs])
    strength = np.nan_to_num(np.abs(r.step).max(0))[: len(names)] * spread
    yield book.figure(step_charts(j, r, strength), "small")
    yield el("h3", "Frequency response")
    yield el(
        "p",
        "For each output the input that moves it most. Dots: the transfer function of the recordings. Coherence: the "
        f"share of the output's power that all inputs explain. Compare where it is high; below {CLEAR:g} no dots are "
        "drawn. A controller in the loop biases the dots.",
    )
    pairs = [Pair(j, r, k, int(strength[k].argmax())) for k in range(len(names))]
    yield book.figure((chart for pair in pairs for chart in pair.charts()), "small")
    at = np.unique(np.linspace(0, len(r.hz) - 1, 8).astype(int))
    rows = (row for pair in pairs for row in pair.rows(at))
    yield details("Numbers", html_table(["from input to output", "", *(f"{hz:.3g} Hz" for hz in r.hz[at])], rows))


def step_charts(j: Judgement, r: Responses, strength: Doubles) -> Iterator[Chart]:
    """Draw the response of each output to the inputs that matter most, `strength` [nq, nu]: the same for each."""
    share = strength / np.maximum(strength.max(1, keepdims=True), np.finfo(float).tiny)
    chosen = sorted(np.argsort(-share.sum(0), kind="stable")[:INPUTS_DRAWN].tolist())
    seconds = np.arange(1, len(r.step) + 1) / j.spec.rate_hz
    for k, (name, unit) in enumerate(zip(j.shown.names[: len(strength)], j.shown.units, strict=False)):
        own = sorted({*chosen, int(strength[k].argmax())})
        lines = [ChartLine(j.spec.inputs[i].name, f"s{i % 8 + 1}", r.step[:, k, i]) for i in own]
        described = f"Step response of {name}, change per unit of an input"
        yield Chart(f"{name} [{unit or '1'} per unit]", "time after the step [s]", described, seconds, lines)


def unwrapped_degrees(response: Complexes) -> Doubles:
    """Return the phase [F] in degrees without jumps by a turn; NaN where the response is 0 or not finite."""
    known = np.isfinite(response) & (response != 0)
    phase = np.full(len(response), np.nan)
    phase[known] = np.degrees(np.unwrap(np.angle(response[known])))
    return phase


def above_zero(values: Doubles) -> Doubles:
    """Return values [n] with NaN in place of what a logarithmic axis cannot show."""
    return np.where(np.isfinite(values) & (values > 0), values, np.nan)


def _number(value: float) -> str:
    return f"{value:.3g}" if np.isfinite(value) else ""
