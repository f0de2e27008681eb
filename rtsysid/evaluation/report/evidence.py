"""Build the evidence on one model: responses, inputs, coverage, fits, residual tests, intervals, time and training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np

from rtsysid.evaluation.report.chart import Chart, ChartLine
from rtsysid.evaluation.report.coverage import ChannelRange, TrainingCoverage
from rtsysid.evaluation.report.html import bar, details, html_table
from rtsysid.evaluation.report.interactive import ChartBook
from rtsysid.evaluation.report.intervals import coverage_section
from rtsysid.evaluation.report.judge import Judgement
from rtsysid.evaluation.report.judged import JudgedModel
from rtsysid.evaluation.report.metric_values import History
from rtsysid.evaluation.report.response import Responses
from rtsysid.evaluation.report.response_section import above_zero, response_section
from rtsysid.evaluation.report.tree import Child, Node, el
from rtsysid.evaluation.residuals import LAGS

EPOCHS_LISTED = 200  # in the table of a training
INPUTS_SHOWN = 8  # number of line styles that a reader can tell apart


def evidence_sections(model: JudgedModel, book: ChartBook) -> Iterator[tuple[str, str, Iterable[Node]]]:
    """Yield heading, anchor and content of each section."""
    j = model.judgement
    yield "Step and frequency response", "response", response_section(j, model.responses, book)
    yield "Inputs, and what training covers", "coverage", _coverage_section(j, model.responses, model.coverage, book)
    yield "Fit of each output", "fit", _fit_section(j)
    yield "Is the residual white?", "white", _whiteness_section(j, book)
    yield "Does the residual contain the inputs?", "inputs", _inputs_section(j, book)
    yield "Do the intervals hold?", "intervals", coverage_section(j)
    yield "Time per step", "latency", _latency_section(j)
    yield "The model", "model", _model_section(model, book)


def _coverage_section(j: Judgement, r: Responses | None, c: TrainingCoverage | None, book: ChartBook) -> Iterator[Node]:
    if r is not None:
        yield el("p", "The power of each input by frequency. What the inputs do not excite, no model can learn.")
        yield book.figure((_power_chart(j, r, c, k) for k in range(min(INPUTS_SHOWN, j.spec.n_inputs))), "small")
    if c is None:
        return
    if c.trained_power is None:
        text = "--training adds its recordings: their power, and the moment nearest to each worst forecast."
        yield el("p", text, class_="quiet")
    header = ["channel", "training", "these recordings", "outside", "shaded: training; line: these recordings"]
    rows = [_range_row(each) for each in c.ranges]
    yield html_table(header, rows, "Ranges of the channels whose level the model uses.")


def _power_chart(j: Judgement, r: Responses, c: TrainingCoverage | None, k: int) -> Chart:
    series = [ChartLine("these recordings", "measured", above_zero(r.input_power[:, k]))]
    if c is not None and c.trained_power is not None and len(c.trained_power) == len(r.hz):
        series.append(ChartLine("training", "model", above_zero(c.trained_power[:, k])))
    channel = j.spec.inputs[k]
    unit = f"({channel.unit})²/Hz" if channel.unit else "1/Hz"
    described = f"Power of input {channel.name} by frequency"
    return Chart(f"{channel.name} [{unit}]", "frequency [Hz]", described, r.hz, series, log_x=True, log_y=True)


def _range_row(each: ChannelRange) -> list[Child]:
    low, high = min(each.trained[0], each.judged[0]), max(each.trained[1], each.judged[1])
    span = (high - low) or 1.0

    def strip(kind: str, ends: tuple[float, float]) -> Node:
        left, width = 100 * (ends[0] - low) / span, max(1.0, 100 * (ends[1] - ends[0]) / span)
        return el("span", class_=kind, style=f"left:{left:.1f}%;width:{width:.1f}%")

    drawn = el("span", strip("trained", each.trained), strip("judged", each.judged), class_="range", aria_hidden="true")
    name = f"{each.name} [{each.unit}]" if each.unit else each.name
    ends = [f"{a:.3g} to {b:.3g}" for a, b in (each.trained, each.judged)]
    return [name, *ends, f"{each.outside:.1%}", drawn]


def _fit_section(j: Judgement) -> Iterator[Node]:
    ahead = f"{j.evaluation.horizon / j.evaluation.rate_hz:g} s"
    yield el(
        "p",
        "NRMSE is the error over the standard deviation of the measurement: 0 is perfect, 1 is as good as the mean. "
        f"Fit is 100 (1 - NRMSE). One tick ahead: over {j.residuals:,} ticks. {ahead} ahead: in free run, at the end "
        "of each forecast. Bias is the mean one-step error over its standard deviation. A rotation is one output: its "
        "error is the angle.",
    )
    header = ["output", "NRMSE, 1 tick", "fit, 1 tick", "bias", f"NRMSE, {ahead}", f"fit, {ahead}", ""]
    rows: list[list[Child]] = [
        [
            f"{f.name} [{f.unit}]" if f.unit else f.name,
            f"{f.nrmse:.2g}",
            f"{f.fit_percent:.2f} %",
            f"{round(f.bias, 2) + 0.0:.2f}",
            f"{f.free_nrmse:.3g}",
            f"{f.free_fit_percent:.1f} %",
            bar(f.free_fit_percent),
        ]
        for f in j.fits
    ]
    yield html_table(header, rows)


def _whiteness_section(j: Judgement, book: ChartBook) -> Iterator[Node]:
    w, names = j.whiteness, j.shown.error_names
    lags, most = np.arange(1.0, len(w.r) + 1), max(0.2, float(np.abs(w.r).max()) * 1.05)
    yield el(
        "p",
        "Correlation of the one-step error with itself some ticks later. White noise stays within the shaded bounds at "
        "99 % of the lags. An error outside them could have been predicted from earlier samples (Ljung, System "
        "Identification, section 16.6).",
    )
    yield book.figure(
        (
            Chart(
                name,
                "lag [ticks]",
                f"Autocorrelation of the residual of {name}: {w.outside[i]:.0%} of the lags outside the bounds",
                lags,
                [ChartLine("autocorrelation", "model", w.r[:, i], bars=True)],
                zone=w.bound,
                y_range=(-most, most),
            )
            for i, name in enumerate(names)
        ),
        "small",
        "Shaded: 99 % bounds. All charts have the same axis.",
    )
    rows = [[name, f"{w.outside[i]:.0%}", *(f"{r:.3f}" for r in w.r[:, i])] for i, name in enumerate(names)]
    header = ["output", "outside", *(f"{lag:.0f}" for lag in lags)]
    yield details("Numbers", html_table(header, rows, f"Correlation by lag in ticks; the bounds are ±{w.bound:.4f}."))


def _inputs_section(j: Judgement, book: ChartBook) -> Iterator[Node]:
    x, channels = j.cross, j.spec.inputs
    strength = abs(x.r).max(axis=(0, 1))
    strongest = sorted(sorted(range(len(channels)), key=lambda i: -strength[i])[:INPUTS_SHOWN])
    styles = {i: f"s{k + 1}" for k, i in enumerate(strongest)}
    if not channels:
        yield el("p", "The model has no inputs.")
        return
    yield el(
        "p",
        "Correlation of the one-step error with the inputs. Right of the line are earlier inputs, which the model "
        "should have used. Left of it are inputs that came after the error: correlation there shows feedback. Shaded: "
        f"the widest 99 % bound. Slow errors and slow inputs widen it. Tested: lags of {x.lags[0]:.0f} to "
        f"{x.lags[-1]:.0f} ticks ({x.lags[-1] / j.spec.rate_hz:.3g} s).",
    )
    most = max(0.2, float(strength.max(initial=0.0)) * 1.05)
    yield book.figure(
        (
            Chart(
                name,
                "lag of the input [ticks]",
                f"Correlation of the residual of {name} with the inputs, by lag",
                x.lags,
                [ChartLine(channels[i].name, styles[i], x.r[:, o, i]) for i in strongest],
                zone=float(x.bounds[o].max()),
                marks=(0.5,),
                y_range=(-most, most),
            )
            for o, name in enumerate(j.shown.error_names)
        ),
        "small",
        "All charts have the same axis.",
    )
    earlier, later = x.outside(earlier=True), x.outside(earlier=False)
    near = abs(x.lags) <= LAGS
    rows = [
        [name, c.name, f"±{x.bounds[o, i]:.3f}", f"{earlier[o, i]:.0%}", f"{later[o, i]:.0%}",
         *(f"{r:.3f}" for r in x.r[near, o, i])]
        for o, name in enumerate(j.shown.error_names)
        for i, c in enumerate(channels)
    ]  # fmt: skip
    header = ["output", "input", "bounds", "earlier outside", "later outside", *(f"{lag:.0f}" for lag in x.lags[near])]
    caption = f"Correlation by lag in ticks. The plots show the {len(strongest)} strongest of {len(channels)} inputs."
    yield details("Numbers", html_table(header, rows, caption))


def _latency_section(j: Judgement) -> Iterator[Node]:
    yield el(
        "p",
        "Median time on the machine that wrote this page, over the golden trace of the bundle. Errors are differences "
        "from the network in float64, in standard deviations of the outputs.",
    )
    header = ["backend", "step", "golden forecast", "step error", "bound", "forecast error", "bound", "result"]
    rows = [
        [r.backend, f"{r.step_us:.1f} µs", f"{r.forecast_us:.0f} µs", f"{r.step_error:.1e}", f"{r.step_tolerance:.1e}",
         f"{r.forecast_error:.1e}", f"{r.forecast_tolerance:.1e}", "passed" if r.passed else "FAILED"]
        for r in j.backends
    ]  # fmt: skip
    yield html_table(header, rows)


def _model_section(model: JudgedModel, book: ChartBook) -> Iterator[Node]:
    spec, training = model.bundle.spec, model.bundle.manifest.training
    facts = {
        "Network": f"{spec.variant}, {spec.taps} taps, encoder {list(spec.encoder) or 'none'}, "
        f"{spec.hidden} hidden units{', with a linear path' if spec.linear_path else ''}",
        "Coordinates": "of the rigid body" if spec.rigid_body else f"as recorded, {spec.output} predicted",
        "Rate": f"{spec.rate_hz:g} Hz",
        "Inputs": ", ".join(map(str, spec.inputs)) or "none",
        "Outputs": ", ".join(map(str, spec.outputs)),
        "Multiply-accumulates per step": f"{spec.macs:,}",
        "Fingerprint": spec.fingerprint,
        "Trained on": f"{len(training.sources)} recordings, {training.epochs} epochs",
        "Versions": ", ".join(f"{key} {value}" for key, value in model.bundle.manifest.versions.items()),
    }
    yield html_table([], [[key, value] for key, value in facts.items()])
    if model.history:
        yield from _training_chart(model.history, book)
    else:
        yield el("p", "This bundle does not hold its training history: export the run again to add it.", class_="quiet")


def _training_chart(history: History, book: ChartBook) -> Iterator[Node]:
    epochs = np.array([line["index"] + 1.0 for line in history])
    styles = {"validation": "model", "train": "hold"}
    series = [
        ChartLine(name, style, above_zero(np.array([line[name] for line in history], float)))
        for name, style in styles.items()
    ]
    ends = [one["index"] + 1.5 for one, after in pairwise(history) if one["stage"] != after["stage"]]
    described = f"Training and validation loss over {len(history)} epochs"
    title = "loss, in units of the linear model"
    yield book.figure(
        [Chart(title, "epoch; stages end at the lines", described, epochs, series, marks=ends, log_y=True)]
    )
    yield el(
        "p",
        "Below 1 the free-run validation loss is better than the linear model. The training loss may contain other "
        "terms and teacher forcing: do not compare it with the validation loss.",
        class_="quiet",
    )
    listed = np.unique(np.linspace(0, len(history) - 1, EPOCHS_LISTED).astype(int)).tolist()
    rows = [[f"{epochs[k]:.0f}", history[k]["stage"], *(f"{history[k][name]:.4g}" for name in styles)] for k in listed]
    yield details("Numbers", html_table(["epoch", "stage", *styles], rows))
