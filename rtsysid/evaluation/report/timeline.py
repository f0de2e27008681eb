"""Draw whole recordings: measured against forecasts of some ticks, the free run, novelty, and the inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rtsysid.evaluation.report.chart import Chart, ChartLine, extremes
from rtsysid.evaluation.report.html import html_table
from rtsysid.evaluation.report.interactive import ChartBook
from rtsysid.evaluation.report.judge import SHADED, Judgement, half_widths
from rtsysid.evaluation.report.judged import STYLES, JudgedModel, shared_ranges
from rtsysid.evaluation.report.observed import Observed, forecast_errors_of
from rtsysid.evaluation.report.tree import Node, el
from rtsysid.spec import Doubles

VALUES = 700_000  # of all series of all recordings: 2 bytes each, and a third more as text
LEAST = 600  # of one series
RECORDINGS = 20  # that are drawn, those with the largest errors
ZOOMS = ("+", 0.5, "Zoom in"), ("\N{MINUS SIGN}", 2, "Zoom out"), ("all", 0, "Show the whole recording")
HIGH, LOW = f"{SHADED:.0%} interval, upper", f"{SHADED:.0%} interval, lower"
FAR_OUT = 4.0  # ranges of an output beyond which a free run is cut off


class Span(NamedTuple):
    """Hold the even times of one recording in s from its start, and the row at which each episode begins."""

    name: str
    t: Doubles
    episodes: list[tuple[int, Observed]]

    def series(self, width: int) -> Doubles:
        """Return room for a series [n, width], without values."""
        return np.full((len(self.t), width), np.nan)


def timeline_section(models: Sequence[JudgedModel], book: ChartBook) -> Iterator[Node]:
    """Build the section: a choice of recordings, and the charts of each."""
    j = models[0].judgement
    names, errors = _ranked(models[0])
    ticks = forecast_ticks(j.evaluation.horizon)
    seconds = " and ".join(f"{n / j.spec.rate_hz:.3g} s" for n in ticks)
    yield el(
        "p",
        f"Measured values against forecasts made {seconds} before, over whole recordings. The free run starts once, "
        "and never sees a measurement again: it shows drift, and need not follow. Drag to zoom, double-click for all; "
        "a click on a name of the legend shows or hides its line. Every chart of one output has the same axis.",
    )
    drawn = names[:RECORDINGS]
    options = (el("option", f"{name} (error {errors[name]:.2g} of the usual)", value=name) for name in drawn)
    left_out = f" {len(names) - len(drawn)} more with smaller errors are not drawn." if len(names) > len(drawn) else ""
    buttons = (
        el("button", text, type="button", data_zoom=factor, aria_label=label)
        for text, factor, label in (
            ("+", 0.5, "Zoom in"),
            ("\N{MINUS SIGN}", 2, "Zoom out"),
            ("all", 0, "Show the whole recording"),
        )
    )
    choice = el("select", *options, data_choose="recording", id="recording")
    tools = el("div", el("label", "Recording ", choice), *buttons, class_="tools")
    spans = [_span(models, name) for name in drawn]
    budget = _points_each(models, spans)
    ranges = shared_ranges(models)
    parts = (_recording_charts_of(models, span, budget[span.name], ranges, book, k) for k, span in enumerate(spans))
    yield el("figure", tools, *parts, el("figcaption", f"Times are seconds from the start of a recording.{left_out}"))


def forecast_ticks(horizon: int) -> tuple[int, ...]:
    """Choose the ticks ahead of the forecasts that are drawn over whole recordings."""
    return tuple(sorted({max(1, horizon // 10), horizon}))


def recording_errors(model: JudgedModel) -> dict[str, dict[str, Doubles]]:
    """Return the mean error [N] of the forecasts of each recording, by group and recording."""
    j = model.judgement
    found: dict[str, dict[str, Doubles]] = {}
    labels = np.array([o.episode.recording for o in j.every for _ in o.starts])
    for group, errors in forecast_errors_of(j.spec, j.every).items():
        found[group] = {str(name): errors[labels == name].mean(0) for name in dict.fromkeys(labels.tolist())}
    return found


def _ranked(model: JudgedModel) -> tuple[list[str], dict[str, float]]:
    """Return recordings by their error in units of the mean of all, the largest first."""
    ratios: dict[str, list[float]] = {}
    for group, by_name in recording_errors(model).items():
        usual = float(np.mean(model.judgement.evaluation.errors["model"][group])) or 1.0
        for name, error in by_name.items():
            ratios.setdefault(name, []).append(float(np.mean(error)) / usual)
    mean = {name: float(np.nan_to_num(np.mean(each), posinf=1e9)) for name, each in ratios.items()}
    return sorted(mean, key=lambda name: -mean[name]), mean


def _span(models: Sequence[JudgedModel], name: str) -> Span:
    own = [o for o in models[0].judgement.every if o.episode.recording == name]
    rate = models[0].judgement.spec.rate_hz
    first = min(float(o.seconds[0]) for o in own)
    rows = [(round((float(o.seconds[0]) - first) * rate), o) for o in own]
    n = max(row + len(o.episode) for row, o in rows)
    return Span(name, first + np.arange(n) / rate, rows)


def _points_each(models: Sequence[JudgedModel], spans: Sequence[Span]) -> dict[str, int]:
    """Share the values of the page between the recordings, by their length."""
    j, rows = models[0].judgement, sum(len(span.t) for span in spans)
    count = len(j.shown.names) * (1 + len(models) * (len(forecast_ticks(j.evaluation.horizon)) + 1) + 2)
    each = VALUES // (count + j.spec.n_inputs + len(models))
    return {span.name: max(LEAST, each * len(span.t) // rows) for span in spans}


def _recording_charts_of(
    models: Sequence[JudgedModel],
    span: Span,
    points: int,
    ranges: Mapping[str, tuple[float, float]],
    book: ChartBook,
    number: int,
) -> Node:
    charts = [*_output_charts(models, span, points, ranges), *_novelty_chart(models, span, points)]
    charts += _input_charts(models[0], span, points)
    hidden = "" if number else None
    return book.group(charts, "strip", data_part="recording", data_value=span.name, hidden=hidden)


def _output_charts(
    models: Sequence[JudgedModel], span: Span, points: int, ranges: Mapping[str, tuple[float, float]]
) -> Iterator[Chart]:
    shown, spec = models[0].judgement.shown, models[0].judgement.spec
    measured = span.series(len(shown.names))
    for row, o in span.episodes:
        measured[row : row + len(o.episode)] = shown.values(o.episode.values[:, spec.n_inputs :].astype(np.float64))
    lines = [
        _model_lines(model, span, measured, style, len(models) > 1)
        for model, style in zip(models, STYLES, strict=False)
    ]
    for k, (name, unit) in enumerate(zip(shown.names, shown.units, strict=True)):
        series = [ChartLine("measured", "measured", measured[:, k])]
        series += [line.of_column(k, ranges[name]) for each in lines for line in each]
        t, columns = extremes(span.t, [each.y for each in series], points)
        cut = [
            ChartLine(s.name, s.style, y, spans=s.spans, hidden=s.hidden) for s, y in zip(series, columns, strict=True)
        ]
        kept = [each for each in cut if np.isfinite(each.y).any()]
        both = {each.name for each in kept}
        bands = [(HIGH, LOW)] if {HIGH, LOW} <= both else []
        title = f"{name} [{unit}]" if unit else name
        described = f"{name} measured, forecast and in free run over {span.name}"
        yield Chart(title, "time [s]", described, t, kept, bands, y_range=ranges[name], sync=f"t {span.name}")


class _Lines(NamedTuple):
    """Hold one line of every shown value, [n, nq]."""

    name: str
    style: str
    y: Doubles
    spans: bool = False
    hidden: bool = False

    def of_column(self, column: int, limits: tuple[float, float]) -> ChartLine:
        low, high = limits
        room = FAR_OUT * (high - low)
        y = np.where(np.abs(self.y[:, column] - (low + high) / 2) < room, self.y[:, column], np.nan)
        return ChartLine(self.name, self.style, y, spans=self.spans, hidden=self.hidden)


def _model_lines(model: JudgedModel, span: Span, measured: Doubles, style: str, several: bool) -> list[_Lines]:
    j, before = model.judgement, f"{model.name}: " if several else ""
    own = {o.episode.name: o for o in j.every}
    free, lines = span.series(measured.shape[1]), list[_Lines]()
    for row, o in ((row, own.get(o.episode.name)) for row, o in span.episodes):
        if o is not None:
            rows = slice(row, row + len(o.episode))
            outputs = o.episode.values[:, j.spec.n_inputs :].astype(np.float64)
            free[rows] = j.shown.near_truth(o.free, outputs, measured[rows])
    for tick in forecast_ticks(j.evaluation.horizon):
        ahead = _forecast_line(j, own, span, measured, tick)
        last = tick == j.evaluation.horizon
        name = f"{before}forecast {tick / j.spec.rate_hz:.3g} s ahead"
        lines.append(_Lines(name, style if last or several else "near", ahead, spans=True, hidden=not last))
        if last and not several:
            lines += _interval_lines(model, ahead)
    return [*lines, _Lines(f"{before}free run", "free" if not several else style, free, hidden=several)]


def _forecast_line(j: Judgement, own: Mapping[str, Observed], span: Span, measured: Doubles, tick: int) -> Doubles:
    ahead = span.series(measured.shape[1])
    for row, o in ((row, own.get(o.episode.name)) for row, o in span.episodes):
        if o is not None:
            at = row + o.starts + tick
            ahead[at] = j.shown.near_truth(o.predicted[:, tick - 1], o.truth[:, tick - 1], measured[at])
    return ahead


def _interval_lines(model: JudgedModel, ahead: Doubles) -> list[_Lines]:
    j = model.judgement
    if j.intervals is None or j.intervals.max_coverage < SHADED or j.intervals.horizon < j.evaluation.horizon:
        return []
    half, widths = half_widths(j.spec, j.intervals, j.evaluation.horizon), np.full(ahead.shape[1], np.nan)
    for k, name in enumerate(j.shown.names):
        widths[k] = half[name][-1] if name in half else np.nan
    return [_Lines(HIGH, "high", ahead + widths, spans=True), _Lines(LOW, "low", ahead - widths, spans=True)]


def _novelty_chart(models: Sequence[JudgedModel], span: Span, points: int) -> Iterator[Chart]:
    series = []
    for model, style in zip(models, ("novelty", *STYLES[1:]), strict=False):
        score, own = span.series(1)[:, 0], {o.episode.name: o for o in model.judgement.every}
        for row, o in ((row, own.get(o.episode.name)) for row, o in span.episodes):
            if o is not None and len(o.novelty):
                score[row : row + len(o.novelty)] = np.minimum(o.novelty, 20.0)
        if np.isfinite(score).any():
            series.append(ChartLine("novelty" if len(models) == 1 else f"{model.name}: novelty", style, score))
    if series:
        t, columns = extremes(span.t, [each.y for each in series], points)
        cut = [ChartLine(s.name, s.style, y) for s, y in zip(series, columns, strict=True)]
        described = f"Novelty score over its threshold in {span.name}"
        yield Chart("novelty: above 1 is an alarm", "time [s]", described, t, cut, zone=1.0, sync=f"t {span.name}")


def _input_charts(model: JudgedModel, span: Span, points: int) -> Iterator[Chart]:
    spec = model.judgement.spec
    by_unit: dict[str, list[int]] = {}
    for k, channel in enumerate(spec.inputs):
        by_unit.setdefault(channel.unit, []).append(k)
    for unit, columns in by_unit.items():
        values = span.series(len(columns))
        for row, o in span.episodes:
            values[row : row + len(o.episode)] = o.episode.values[:, columns]
        t, cut = extremes(span.t, list(values.T), points)
        names = [spec.inputs[k].name for k in columns]
        series = [ChartLine(n, f"s{i % 8 + 1}", y) for i, (n, y) in enumerate(zip(names, cut, strict=True))]
        title = f"inputs [{unit}]" if unit else "inputs"
        yield Chart(title, "time [s]", f"Inputs over {span.name}", t, series, sync=f"t {span.name}")


def numbers_by_recording(model: JudgedModel) -> Node:
    """Return a table of the mean error of each recording at some ticks ahead."""
    e = model.judgement.evaluation
    rows = [
        [e.label(group), name, *(f"{error[n - 1]:.4g}" for n in e.table_ticks)]
        for group, by_name in recording_errors(model).items()
        for name, error in by_name.items()
    ]
    return html_table(["error", "recording", *(f"{n / e.rate_hz:g} s" for n in e.table_ticks)], rows)
