"""Build the page. Each section says what is measured, shows the numbers, and gives the advice that applies."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from rtsysid.evaluation.report.advice import Advice, advice_for
from rtsysid.evaluation.report.html import advice_list, bar, details, figures, grade, html_table, page
from rtsysid.evaluation.report.intervals import coverage_section, shade
from rtsysid.evaluation.report.judge import SHADED, Judgement, WorstForecast
from rtsysid.evaluation.report.metric_values import History, metric_details, metric_values, title
from rtsysid.evaluation.report.plot import Line, Plot
from rtsysid.evaluation.report.tree import Child, Node, el
from rtsysid.evaluation.residuals import LAGS
from rtsysid.guards.release import VERSION
from rtsysid.model.bundle import Bundle
from rtsysid.storage.products import REPORT

STYLES = {"model": "model", "linear ARX": "arx", "hold": "hold"}
BOUNDS = ("99 % bounds", "band")
INPUTS_SHOWN = 8  # number of line styles that a reader can tell apart
OUTPUTS_SHOWN = 4  # per worst forecast
TASKS = 5  # next steps in the summary
SECTIONS = {  # the section that shows a metric
    "horizon error": "horizon", "first-tick error": "horizon", "one-step fit": "fit", "free-run fit": "fit",
    "bias": "fit", "whiteness": "white", "missed input, in the window": "inputs",
    "missed input, before the window": "inputs", "feedback": "inputs", "worst forecast, range known": "worst",
    "worst forecast, beyond the range": "worst", "latency": "latency", "training": "model",
}  # fmt: skip


def report_page(name: str, bundle: Bundle, judgement: Judgement, history: History = ()) -> str:
    """Write the HTML file of a judgement of the model `name`. `history`: the epochs of a run, empty for a bundle."""
    findings = all_findings(judgement, history)
    sections = [
        _section("Summary", "summary", [], *_summary_section(judgement, findings)),
        _section("The model", "model", findings, *_model_section(bundle, history)),
        _section("Error over the horizon", "horizon", findings, *_horizon_section(judgement)),
        _section("Fit of each output", "fit", findings, *_fit_section(judgement)),
        _section("Is the residual white?", "white", findings, *_whiteness_section(judgement)),
        _section("Does the residual contain the inputs?", "inputs", findings, *_inputs_section(judgement)),
        _section("Worst forecasts", "worst", findings, *_worst_section(judgement)),
        _section("Do the intervals hold?", "intervals", findings, *coverage_section(judgement)),
        _section("Time per step", "latency", findings, *_latency_section(judgement)),
    ]
    head = el("header", el("h1", name), el("p", f"Judged on {judgement.recordings}.", class_="quiet"))
    foot = el("footer", f"rtsysid {VERSION}, bundle {bundle.id}. Grades are conventions of this tool.")
    return page(REPORT, f"{name}: rtsysid report", [head, *sections, foot])


def all_findings(judgement: Judgement, history: History = ()) -> list[Advice]:
    """Look up the advice for every metric of a judgement."""
    details = metric_details(judgement)
    measured = metric_values(judgement, history).items()
    return [f for metric, values in measured for f in advice_for(metric, values, details.get(metric))]


def findings_as_builtins(judgement: Judgement, history: History = ()) -> list[dict[str, Any]]:
    """Convert `all_findings` to plain values for JSON."""
    return [
        {"metric": f.metric, "names": list(f.names), "value": f.value, "grade": f.rule.grade,
         "detail": f.detail, "meaning": f.rule.meaning, "next": f.rule.next}
        for f in all_findings(judgement, history)
    ]  # fmt: skip


def _section(heading: str, anchor: str, findings: list[Advice], intro: Child, *content: Child) -> Node:
    """A section: introduction, plots, advice that applies, and at the end the folded tables."""
    own = [f for f in findings if SECTIONS[f.metric] == anchor]
    plots = [c for c in content if not (isinstance(c, Node) and c.tag == "details")]
    folded = [c for c in content if c not in plots]
    return el("section", el("h2", heading), intro, *plots, advice_list(own) if own else None, *folded, id=anchor)


def _summary_section(j: Judgement, findings: list[Advice]) -> Iterable[Node]:
    e = j.evaluation
    cells = (len(e.errors) - 1) * len(e.units) * len(e.table_ticks)
    free = sorted(fit.free_fit_percent for fit in j.fits)
    fastest = min(row.step_us for row in j.backends)
    tiles = {
        "comparisons with hold and linear ARX won": f"{cells - len(e.lost())} of {cells}",
        f"median fit {_ahead(j)} ahead in free run": f"{free[len(free) // 2]:.0f} %",
        f"per step, of {1e6 / e.rate_hz:,.0f} µs, fastest backend": f"{fastest:.0f} µs",
    }
    yield el("dl", *(el("div", el("dt", text), el("dd", value)) for text, value in tiles.items()), class_="tiles")
    tasks = [f for wanted in ("poor", "fair") for f in findings if f.rule.grade == wanted][:TASKS]
    yield el("h3", "What to do next" if tasks else "Nothing to do: every grade is good.")
    yield el("ol", *map(_task, tasks))


def _task(f: Advice) -> Node:
    link = el("a", f"{f.metric}: {f.label}", href=f"#{SECTIONS[f.metric]}")
    detail = f" ({f.detail})" if f.detail else ""
    return el("li", grade(f.rule.grade), el("div", link, f"{detail}. {f.rule.meaning} ", el("b", f.rule.next)))


def _model_section(bundle: Bundle, history: History) -> Iterable[Node]:
    spec, training = bundle.spec, bundle.manifest.training
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
        "Versions": ", ".join(f"{key} {value}" for key, value in bundle.manifest.versions.items()),
    }
    yield html_table([], [[key, value] for key, value in facts.items()])
    if history:
        yield from _training_plot(history)
    else:
        yield el("p", "A bundle does not contain its training history. To see it, report on the run.", class_="quiet")


def _training_plot(history: History) -> Iterable[Node]:
    epochs = [line["index"] + 1.0 for line in history]
    series = {"validation": "model", "train": "hold"}
    lines = [Line(name, style, epochs, [line[name] for line in history]) for name, style in series.items()]
    ends = [one["index"] + 1.5 for one, after in pairwise(history) if one["stage"] != after["stage"]]
    described = f"Training and validation loss over {len(history)} epochs"
    plot = Plot("loss, in units of the linear model", "epoch; stages end at the lines", described, lines, marks=ends)
    yield figures([plot], series.items())
    yield el(
        "p",
        "Below 1 the free-run validation loss is better than the linear model. The training loss may contain other "
        "terms and teacher forcing: do not compare it with the validation loss.",
        class_="quiet",
    )
    rows = [[f"{n:.0f}", x["stage"], *(f"{x[k]:.4g}" for k in series)] for n, x in zip(epochs, history, strict=True)]
    yield details("Numbers", html_table(["epoch", "stage", *series], rows))


def _horizon_section(j: Judgement) -> Iterable[Node]:
    e = j.evaluation
    yield el(
        "p",
        f"Mean error of {e.forecasts:,} forecasts with known inputs, compared with holding the last measurement and "
        "with a linear ARX model. The error of a vector is its length; the error of a rotation is its angle.",
    )
    seconds = [(n + 1) / e.rate_hz for n in range(e.horizon)]
    plots = [
        Plot(
            f"{group} error [{unit}]",
            "time ahead [s]",
            f"Mean error of {group} in {unit}, up to {_ahead(j)} ahead",
            [Line(name, STYLES[name], seconds, errors[group]) for name, errors in e.errors.items()],
            log=True,
        )
        for group, unit in e.units.items()
    ]
    yield figures(plots, STYLES.items())
    header = ["error", "predictor", *(f"{n / e.rate_hz:g} s" for n in e.table_ticks), "sum"]
    yield details("Numbers", html_table(header, e.rows(), "The last column adds up all ticks."))
    if e.lost():
        yield details("Where the model is not better", el("p", "; ".join(e.lost()) + "."))


def _fit_section(j: Judgement) -> Iterable[Node]:
    ahead = _ahead(j)
    yield el(
        "p",
        "NRMSE is the error over the standard deviation of the measurement: 0 is perfect, 1 is as good as the mean. "
        f"Fit is 100 (1 - NRMSE). One tick ahead: over {j.residuals:,} ticks. {ahead} ahead: in free run, at the end "
        "of each forecast. Bias is the mean one-step error over its standard deviation.",
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


def _whiteness_section(j: Judgement) -> Iterable[Node]:
    w, names = j.whiteness, [f.name for f in j.fits]
    lags = [lag + 1.0 for lag in range(len(w.r))]
    yield el(
        "p",
        "Correlation of the one-step error with itself some ticks later. White noise stays within the shaded bounds at "
        "99 % of the lags. An error outside them could have been predicted from earlier samples (Ljung, System "
        "Identification, section 16.6).",
    )
    plots = [
        Plot(
            name,
            "lag [ticks]",
            f"Autocorrelation of the residual of {name}: {share:.0%} of the lags outside the bounds",
            [Line(name, "model", lags, w.r[:, i].tolist())],
            stems=True,
            band=w.bound,
        )
        for i, (name, share) in enumerate(zip(names, w.outside, strict=True))
    ]
    yield figures(plots, [("autocorrelation", "model"), BOUNDS], small=True)
    rows = [[name, f"{w.outside[i]:.0%}", *(f"{r:.3f}" for r in w.r[:, i])] for i, name in enumerate(names)]
    header = ["output", "outside", *(f"{lag:.0f}" for lag in lags)]
    yield details("Numbers", html_table(header, rows, f"Correlation by lag in ticks; the bounds are ±{w.bound:.4f}."))


def _inputs_section(j: Judgement) -> Iterable[Node]:
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
    plots = [
        Plot(
            f.name,
            "lag of the input [ticks]",
            f"Correlation of the residual of {f.name} with the inputs, by lag",
            [Line(channels[i].name, styles[i], x.lags.tolist(), x.r[:, o, i].tolist()) for i in strongest],
            band=float(x.bounds[o].max()),
            marks=(0.5,),
        )
        for o, f in enumerate(j.fits)
    ]
    yield figures(plots, [*((channels[i].name, styles[i]) for i in strongest), BOUNDS], small=True)
    earlier, later = x.outside(earlier=True), x.outside(earlier=False)
    near = abs(x.lags) <= LAGS
    rows = [
        [f.name, c.name, f"±{x.bounds[o, i]:.3f}", f"{earlier[o, i]:.0%}", f"{later[o, i]:.0%}",
         *(f"{r:.3f}" for r in x.r[near, o, i])]
        for o, f in enumerate(j.fits)
        for i, c in enumerate(channels)
    ]  # fmt: skip
    header = ["output", "input", "bounds", "earlier outside", "later outside", *(f"{lag:.0f}" for lag in x.lags[near])]
    caption = f"Correlation by lag in ticks. The plots show the {len(strongest)} strongest of {len(channels)} inputs."
    yield details("Numbers", html_table(header, rows, caption))


def _worst_section(j: Judgement) -> Iterable[Node]:
    yield el(
        "p",
        "The forecasts with the largest error over the horizon, in units of the median forecast of each group. No two "
        "overlap. A forecast starts at the line. From there on it gets the inputs, but no measured outputs.",
    )
    for forecast in j.worst:
        yield el("div", el("h3", title(forecast)), *_forecast_plots(j, forecast))


def _forecast_plots(j: Judgement, s: WorstForecast) -> Iterable[Node]:
    units = {f.name: f.unit for f in j.fits}
    groups = ", ".join(f"{name} {times:.1f}" for name, times in s.groups.items())
    beyond = f" Beyond the range of training: {', '.join(s.outside)}." if s.outside else ""
    yield el("p", f"Error in units of the median forecast: {groups}.{beyond} The outputs with the largest error:")
    names = _missed_most(j, s)
    seconds = [t - s.t[s.n_before] for t in s.t]
    plots = [
        Plot(
            f"{name} [{units[name]}]" if units[name] else name,
            "time from the start of the forecast [s]",
            f"{name} measured and predicted in {title(s)}",
            [
                Line("measured", "measured", seconds, s.measured[name]),
                Line("predicted", "model", seconds[s.n_before :], s.predicted[name]),
            ],
            area=shade(seconds[s.n_before :], s, name),
            marks=(0.0,),
        )
        for name in names
    ]
    shaded = [(f"{SHADED:.0%} interval", "band")] if s.half else []
    yield figures(plots, [("measured", "measured"), ("predicted", "model"), *shaded])
    ticks = (0, *j.evaluation.table_ticks)
    ahead = {name: {"measured": s.measured[name][s.n_before :], "predicted": s.predicted[name]} for name in names}
    rows = [[name, what, *(f"{y[n]:.4g}" for n in ticks)] for name in names for what, y in ahead[name].items()]
    yield details("Numbers", html_table(["output", "", *(f"{n / j.spec.rate_hz:g} s" for n in ticks)], rows))


def _missed_most(j: Judgement, s: WorstForecast) -> list[str]:
    """The outputs with the largest error, in standard deviations of the training recordings."""
    furthest = {}
    for channel, spread in zip(j.spec.outputs, j.spec.scaling.std[j.spec.n_inputs :], strict=True):
        pairs = zip(s.measured[channel.name][s.n_before :], s.predicted[channel.name], strict=True)
        furthest[channel.name] = max(abs(a - b) for a, b in pairs) / spread
    return sorted(furthest, key=lambda name: -furthest[name])[:OUTPUTS_SHOWN]


def _latency_section(j: Judgement) -> Iterable[Node]:
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


def _ahead(j: Judgement) -> str:
    return f"{j.evaluation.horizon / j.evaluation.rate_hz:g} s"
