"""Build the page: first the verdict and what to do, then the forecasts, then the evidence for each model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from statistics import median
from typing import Any

import msgspec
import numpy as np

from rtsysid.evaluation.report.advice import Advice, advice_for
from rtsysid.evaluation.report.chart import Chart, ChartLine
from rtsysid.evaluation.report.coverage import NearestMoment
from rtsysid.evaluation.report.evidence import evidence_sections
from rtsysid.evaluation.report.html import advice_list, details, grade, html_table
from rtsysid.evaluation.report.interactive import ChartBook, interactive_page
from rtsysid.evaluation.report.judge import SHADED, Judgement, WorstForecast
from rtsysid.evaluation.report.judged import STYLES, JudgedModel, require_comparable, shared_ranges
from rtsysid.evaluation.report.metric_values import History, metric_details, metric_values, model_facts, title
from rtsysid.evaluation.report.observed import forecast_errors_of
from rtsysid.evaluation.report.sampled import sampled_nodes
from rtsysid.evaluation.report.timeline import numbers_by_recording, recording_errors, timeline_section
from rtsysid.evaluation.report.tree import Child, Node, el
from rtsysid.guards.release import VERSION
from rtsysid.spec import Doubles
from rtsysid.storage.products import REPORT

UNLIKE = 3.0  # usual distances from the nearest moment of training
OUTPUTS_SHOWN = 4  # per worst forecast
TASKS = 5  # next steps in the summary
SPREAD = (0.1, 0.9)  # quantiles of the errors that are shaded
NAMED_RECORDINGS = 8  # in the charts of errors by recording
SECTIONS = {  # the section that shows a metric
    "horizon error": "horizon", "first-tick error": "horizon", "one-step fit": "fit", "free-run fit": "fit",
    "bias": "fit", "whiteness": "white", "missed input, in the window": "inputs",
    "missed input, before the window": "inputs", "feedback": "inputs", "worst forecast, range known": "worst",
    "worst forecast, beyond the range": "worst", "latency": "latency", "training": "model",
}  # fmt: skip


def report_page(models: Sequence[JudgedModel]) -> str:
    """Write the HTML file of one model, or of several on the same recordings.

    Raises TraceError where the models cannot be compared.
    """
    require_comparable(models)
    book, first = ChartBook(), models[0]
    findings = [all_findings(model.judgement, model.history) for model in models]
    own = findings[0] if len(models) == 1 else []
    sections = [
        el(
            "section",
            *(node for m, f in zip(models, findings, strict=True) for node in _verdict(m, f, len(models))),
            id="summary",
        ),
        section("Forecasts over whole recordings", "timeline", [], *timeline_section(models, book)),
        section("Error over the horizon", "horizon", own, *_horizon_section(models, book)),
        section("Worst forecasts", "worst", own, *_worst_section(models, book)),
        *([section("Sampled futures", "futures", [], *sampled)] if (sampled := list(sampled_nodes(models))) else []),
        *(node for m, f in zip(models, findings, strict=True) for node in _evidence(m, f, book, len(models))),
    ]
    name = " and ".join(model.name for model in models)
    head = el("header", el("h1", name), el("p", f"Judged on {first.judgement.recordings}.", class_="quiet"))
    ids = ", ".join(model.bundle.id for model in models)
    foot = el("footer", f"rtsysid {VERSION}, bundle {ids}. Grades are conventions of this tool. Charts: uPlot (MIT).")
    return interactive_page(REPORT, f"{name}: rtsysid report", [head, *sections, foot], book)


def all_findings(judgement: Judgement, history: History = ()) -> list[Advice]:
    """Look up the advice for every metric of a judgement."""
    details, facts = metric_details(judgement), model_facts(judgement)
    measured = metric_values(judgement, history).items()
    return [f for metric, values in measured for f in advice_for(metric, values, details.get(metric), facts)]


def findings_as_builtins(judgement: Judgement, history: History = ()) -> list[dict[str, Any]]:
    """Convert `all_findings` to plain values for JSON."""
    return [
        {"metric": f.metric, "names": list(f.names), "value": f.value, "grade": f.rule.grade,
         "detail": f.detail, "meaning": f.rule.meaning, "next": f.next}
        for f in all_findings(judgement, history)
    ]  # fmt: skip


def section(heading: str, anchor: str, findings: list[Advice], intro: Child = None, *content: Child) -> Node:
    """Build a section: introduction, plots, advice that applies, and at the end the folded tables."""
    own = [f for f in findings if SECTIONS[f.metric] == anchor]
    plots = [c for c in content if not (isinstance(c, Node) and c.tag == "details")]
    folded = [c for c in content if c not in plots]
    return el("section", el("h2", heading), intro, *plots, advice_list(own) if own else None, *folded, id=anchor)


def _verdict(model: JudgedModel, findings: list[Advice], several: int) -> Iterator[Node]:
    j = model.judgement
    v = j.verdict
    yield el("h2", f"Verdict on {model.name}" if several > 1 else "Verdict")
    yield el("div", grade(v.grade), el("p", f"{v.sentence}.", class_="sentence"), class_=f"verdict {v.grade}")
    if j.causes:
        yield el("h3", "What is wrong, the largest effect on the forecast first")
        yield el("ol", *map(_cause_item, j.causes))
    yield el(
        "dl", *(el("div", el("dt", text), el("dd", value)) for text, value in _tile_texts(j).items()), class_="tiles"
    )
    yield el("p", _won_text(j), class_="quiet")
    tasks = [f for wanted in ("poor", "fair") for f in findings if f.rule.grade == wanted][:TASKS]
    if tasks and v.grade != "good":
        yield el("h3", "Other weaknesses")
        yield el("ol", *map(_task, tasks))
    elif tasks:
        yield details(f"{len(tasks)} smaller weaknesses, which forecasts hardly notice", el("ol", *map(_task, tasks)))


def _cause_item(cause: Any) -> Node:
    about = f" of {', '.join(cause.outputs)}" if cause.outputs else ""
    effect = f"{cause.share:.0%} of the squared error{about} at the end of the horizon"
    heading = f"{cause.fault}: {', '.join(cause.names)}" if cause.names else cause.fault
    text = f". {cause.evidence[:1].upper()}{cause.evidence[1:]}. Effect: {effect}. "
    return el(
        "li",
        grade(cause.grade),
        el("div", el("strong", heading), text, el("b", f"{cause.remedy[:1].upper()}{cause.remedy[1:]}.")),
    )


def _tile_texts(j: Judgement) -> dict[str, str]:
    fastest = min((row.step_us for row in j.backends), default=float("nan"))
    worst = max((reach for reach in j.verdict.reach if reach.moves), key=lambda r: r.relative, default=None)
    fit = median(each.free_fit_percent for each in j.fits)
    tiles = {
        f"median fit of {len(j.fits)} outputs, {_ahead(j)} ahead": f"{fit:.0f} %",
        f"per step, of {1e6 / j.spec.rate_hz:,.0f} µs, fastest backend": f"{fastest:.0f} µs",
    }
    if worst is not None:
        return {
            f"error {_ahead(j)} ahead over the usual motion, worst: {worst.limit}": f"{worst.relative:.0%}",
            **tiles,
        }
    return tiles


def _won_text(j: Judgement) -> str:
    """Count the comparisons with the baselines, and say what the count does not."""
    e = j.evaluation
    cells, lost = (len(e.errors) - 1) * len(e.units) * len(e.table_ticks), e.lost()
    won = cells - sum(len(each.ticks) for each in lost)
    better = f"The model errs less than hold and the linear model in {won} of {cells} comparisons"
    where = f"; not than {'; '.join(map(str, lost[:6]))}{' and others' if len(lost) > 6 else ''}" if lost else ""
    return (
        f"{better}{where}. To beat a baseline is not to be good: a poor model beats a poorer one. The verdict decides."
    )


def _task(f: Advice) -> Node:
    link = el("a", f"{f.metric}: {f.label}", href=f"#{SECTIONS[f.metric]}")
    detail = f" ({f.detail})" if f.detail else ""
    return el("li", grade(f.rule.grade), el("div", link, f"{detail}. {f.rule.meaning} ", el("b", f.next)))


def _evidence(model: JudgedModel, findings: list[Advice], book: ChartBook, several: int) -> Iterator[Node]:
    for heading, anchor, content in evidence_sections(model, book):
        title_ = f"{heading}: {model.name}" if several > 1 else heading
        yield section(title_, anchor, findings, *content)


def _horizon_section(models: Sequence[JudgedModel], book: ChartBook) -> Iterator[Node]:
    j = models[0].judgement
    e = j.evaluation
    yield el(
        "p",
        f"Mean error of {e.forecasts:,} forecasts with known inputs, compared with holding the last measurement and "
        "with a linear ARX model. The error of a vector is its length; the error of a rotation is its angle. Shaded: "
        f"{SPREAD[0]:.0%} to {SPREAD[1]:.0%} of the forecasts.",
    )
    yield book.figure(_error_chart(models, group) for group in e.units)
    yield el("h3", "By recording")
    by_recording = recording_errors(models[0])
    yield book.figure(_recording_chart(j, group, by_recording[group]) for group in e.units)
    header = ["error", "predictor", *(f"{n / e.rate_hz:g} s" for n in e.table_ticks), "sum"]
    for model in models:
        before = f"{model.name}: " if len(models) > 1 else ""
        rows = model.judgement.evaluation.rows()
        yield details(f"{before}Numbers", html_table(header, rows, "The last column adds up all ticks."))
        yield details(f"{before}Numbers by recording", numbers_by_recording(model))
    if e.lost():
        yield details("Where the model is not better", el("p", "; ".join(map(str, e.lost())) + "."))


def _error_chart(models: Sequence[JudgedModel], group: str) -> Chart:
    j = models[0].judgement
    e = j.evaluation
    seconds = np.arange(1, e.horizon + 1) / e.rate_hz
    spread = np.quantile(np.nan_to_num(forecast_errors_of(j.spec, j.every)[group], posinf=1e30), SPREAD, axis=0)
    own = [
        ChartLine(
            "model" if len(models) == 1 else m.name,
            style,
            _positive_line(m.judgement.evaluation.errors["model"][group]),
        )
        for m, style in zip(models, STYLES, strict=False)
    ]
    ends = [
        ChartLine(f"{q:.0%} of the forecasts", name, _positive_line(y))
        for q, name, y in zip(SPREAD, ("low", "high"), spread, strict=True)
    ]
    lines = {"linear ARX": "arx", "hold": "hold"}
    peers = [ChartLine(name, style, _positive_line(e.errors[name][group])) for name, style in lines.items()]
    unit = f" in {e.units[group]}" if e.units[group] else ""
    described = f"Mean error of {group}{unit}, up to {_ahead(j)} ahead"
    bands = [(ends[1].name, ends[0].name)]
    return Chart(
        e.label(group, " error"),
        "time ahead [s]",
        described,
        seconds,
        [*own, *peers, *ends],
        bands,
        log_y=True,
    )


def _recording_chart(j: Judgement, group: str, by_recording: dict[str, Doubles]) -> Chart:
    e = j.evaluation
    worst = sorted(by_recording, key=lambda name: -by_recording[name][-1])[:NAMED_RECORDINGS]
    series = [ChartLine(name, f"s{k + 1}", _positive_line(by_recording[name])) for k, name in enumerate(worst)]
    more = f", the worst {len(worst)} of {len(by_recording)}" if len(by_recording) > len(worst) else ""
    seconds = np.arange(1, e.horizon + 1) / e.rate_hz
    described = f"Mean error of {group} by recording"
    return Chart(
        f"{e.label(group, ' error')} by recording{more}", "time ahead [s]", described, seconds, series, log_y=True
    )


def _positive_line(values: Any) -> Doubles:
    y = np.asarray(values, np.float64)
    return np.where((y > 0) & (y < 1e29), y, np.nan)


def _worst_section(models: Sequence[JudgedModel], book: ChartBook) -> Iterator[Node]:
    yield el(
        "p",
        "The forecasts with the largest error over the horizon, in units of the median forecast of each group. No two "
        "overlap. A forecast starts at the line. From there on it gets the inputs, but no measured outputs. The axis "
        "of an output is its range over all recordings: what looks small is small.",
    )
    ranges = shared_ranges(models)
    for model in models:
        nearest = () if model.coverage is None else model.coverage.nearest
        for k, forecast in enumerate(model.judgement.worst):
            heading = title(forecast) if len(models) == 1 else f"{model.name}: {title(forecast)}"
            yield el("h3", heading)
            if k < len(nearest):
                yield el("p", _nearest_text(nearest[k]))
            yield from _forecast_charts(model.judgement, forecast, ranges, book)


def _nearest_text(near: NearestMoment) -> str:
    known = "nothing like it" if near.distance > UNLIKE * near.usual else "such moments"
    place = f"{near.recording} at {near.start_s:.2f} s, {near.distance:.2g} standard deviations away"
    return f"Nearest moment of training: {place}; usual is {near.usual:.2g}. Training knew {known}."


def _forecast_charts(
    j: Judgement, s: WorstForecast, ranges: dict[str, tuple[float, float]], book: ChartBook
) -> Iterable[Node]:
    units = dict(zip(j.shown.names, j.shown.units, strict=True))
    groups = ", ".join(f"{name} {times:.1f}" for name, times in s.groups.items())
    beyond = f" Beyond the range of training: {', '.join(s.outside)}." if s.outside else ""
    yield el("p", f"Error in units of the median forecast: {groups}.{beyond} The outputs with the largest error:")
    names = _missed_most(s, ranges)
    seconds = np.array(s.t) - s.t[s.n_before]
    yield book.figure([_forecast_chart(s, name, units[name], seconds, ranges[name]) for name in names])
    ticks = (0, *j.evaluation.table_ticks)
    ahead = {name: {"measured": s.measured[name][s.n_before :], "predicted": s.predicted[name]} for name in names}
    rows = [[name, what, *(f"{y[n]:.4g}" for n in ticks)] for name in names for what, y in ahead[name].items()]
    yield details("Numbers", html_table(["output", "", *(f"{n / j.spec.rate_hz:g} s" for n in ticks)], rows))


def _forecast_chart(s: WorstForecast, name: str, unit: str, seconds: Doubles, limits: tuple[float, float]) -> Chart:
    low, high = limits
    predicted = np.array([*[np.nan] * s.n_before, *s.predicted[name]])
    predicted = np.where(np.abs(predicted - (low + high) / 2) < 4 * (high - low), predicted, np.nan)
    series = [ChartLine("measured", "measured", np.array(s.measured[name])), ChartLine("predicted", "model", predicted)]
    bands = []
    if name in s.half:
        half = np.full(len(seconds), np.nan)
        half[s.n_before : s.n_before + len(s.half[name])] = s.half[name]
        ends = [f"{SHADED:.0%} interval, {end}" for end in ("upper", "lower")]
        series += [ChartLine(ends[0], "high", predicted + half), ChartLine(ends[1], "low", predicted - half)]
        bands = [(ends[0], ends[1])]
    label = f"{name} [{unit}]" if unit else name
    described = f"{name} measured and predicted in {title(s)}"
    return Chart(
        label,
        "time from the start of the forecast [s]",
        described,
        seconds,
        series,
        bands,
        marks=(0.0,),
        y_range=limits,
    )


def _missed_most(s: WorstForecast, ranges: dict[str, tuple[float, float]]) -> list[str]:
    """Return the shown values with the largest error, in units of their range."""
    furthest = {}
    for name, predicted in s.predicted.items():
        low, high = ranges[name]
        off = np.abs(np.array(s.measured[name][s.n_before :]) - np.array(predicted))
        furthest[name] = float(np.nan_to_num(off, nan=np.inf).max()) / (high - low)
    return sorted(furthest, key=lambda name: -furthest[name])[:OUTPUTS_SHOWN]


def _ahead(j: Judgement) -> str:
    return f"{j.evaluation.horizon / j.evaluation.rate_hz:g} s"


def verdicts_as_builtins(models: Sequence[JudgedModel]) -> list[dict[str, Any]]:
    """Convert the verdicts of several models to plain values for JSON."""
    return [{"model": m.name, **msgspec.to_builtins(m.judgement.verdict)} for m in models]
