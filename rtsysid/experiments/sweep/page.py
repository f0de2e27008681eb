"""Render the page of `rtsysid sweep show`: the front, what matters most, and every finished trial."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import optuna
from optuna.trial import FrozenTrial

from rtsysid.evaluation.report.html import bar, details, figures, html_table, page
from rtsysid.evaluation.report.plot import Axis, Line, Plot
from rtsysid.evaluation.report.tree import Child, Node, el
from rtsysid.experiments.sweep.study import (
    BYTES,
    MACS,
    Plan,
    chosen,
    counts,
    finished,
    front,
    importances,
    of_configuration,
    seconds_used,
)
from rtsysid.guards.release import VERSION
from rtsysid.storage.products import SWEEP_PAGE

WIDTH, TOP, BOTTOM, SIDE = 1100, 40, 260, 60  # of the parallel coordinates, in pixels
LABELLED = 12  # values of one axis that have a label
LEGEND = (("on the front", "s2"), ("finished", "s1"), ("the configuration", "measured"))
ERROR = "error, hold = 1"


class _Scale(NamedTuple):
    """One vertical axis: its title, the position 0 .. 1 of each trial, and labels by position."""

    title: str
    at: list[float]
    labels: list[tuple[float, str]]


def render_sweep_page(name: str, study: optuna.Study, plan: Plan) -> str:
    """Return the HTML page of a sweep; without a finished trial it says so."""
    trials = finished(study)
    best = front(trials)
    head = el("header", el("h1", name), el("p", _trials_text(study), class_="quiet"))
    none = [el("section", el("p", "No trial is finished."))]
    body = [head, *(_page_sections(study, plan, trials, best) if trials else none)]
    foot = "Errors are of the validation recordings; test recordings were not read."
    return page(SWEEP_PAGE, f"{name}: rtsysid sweep", [*body, el("footer", f"rtsysid {VERSION}. {foot}")])


def _trials_text(study: optuna.Study) -> str:
    numbers = counts(study)
    texts = (f"{number} {state.replace('_', ' ')}" for state, number in numbers.items())
    return f"Trials: {', '.join(texts)}, in {seconds_used(study):.0f} s."


def _page_sections(study: optuna.Study, plan: Plan, trials: list[FrozenTrial], best: list[FrozenTrial]) -> list[Node]:
    shares = importances(study, plan.space)
    return [
        el(
            "section",
            el("h2", "Error and cost"),
            figures([_front_plot(trials, best)], LEGEND),
            _trial_table(best, plan),
        ),
        el("section", el("h2", "What matters"), *_importance(shares)),
        el("section", el("h2", "Parallel coordinates"), _parallel(trials, best, plan)),
        el("section", details("All finished trials, best first", _trial_table(trials, plan))),
    ]


def _front_plot(trials: list[FrozenTrial], best: list[FrozenTrial]) -> Plot:
    own = of_configuration(trials)
    lines = [
        _points("finished", "s1", trials), _points("front", "s2", best), _stairs(best),
        _points("configuration", "measured", own),
    ]  # fmt: skip
    said = f"Multiply-accumulates of a step and error of {len(trials)} trials, {len(best)} of them on the front"
    return Plot("multiply-accumulates of a step", ERROR, said, [each for each in lines if each.x], log=True)


def _points(name: str, style: str, trials: Sequence[FrozenTrial]) -> Line:
    errors, costs = [_error(t) for t in trials], [float(t.user_attrs[MACS]) for t in trials]
    return Line(name, style, errors, costs, points=True)


def _stairs(best: Sequence[FrozenTrial]) -> Line:
    """Draw the border of what the trials reached, as steps."""
    x, y = [_error(best[0])], [float(best[0].user_attrs[MACS])]
    for trial in best[1:]:
        x += [_error(trial)] * 2
        y += [y[-1], float(trial.user_attrs[MACS])]
    return Line("border", "s2", x, y)


def _error(trial: FrozenTrial) -> float:
    return float(trial.value or 0.0)


def _importance(shares: dict[str, float]) -> list[Node]:
    if not shares:
        return [el("p", "Too few finished trials to tell.", class_="quiet")]
    rows: list[list[Child]] = [[path, bar(100 * each), f"{100 * each:.0f} %"] for path, each in shares.items()]
    how = "Share of the differences in error among the finished trials (PED-ANOVA, arXiv 2304.10255)."
    return [html_table([], rows), el("p", how, class_="quiet")]


def _trial_table(trials: Sequence[FrozenTrial], plan: Plan) -> Node:
    header = ["trial", ERROR, "MACs", "weight bytes", *plan.space]
    return html_table(header, [_cells(trial, plan) for trial in trials])


def _cells(trial: FrozenTrial, plan: Plan) -> list[str]:
    values, cost = chosen(trial, plan.space), (f"{trial.user_attrs[name]:,}" for name in (MACS, BYTES))
    return [str(trial.number), f"{_error(trial):.4g}", *cost, *(_text(values.get(path)) for path in plan.space)]


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _parallel(trials: list[FrozenTrial], best: list[FrozenTrial], plan: Plan) -> Node:
    """Draw one line for each trial through its values and its error; those of the front are drawn last."""
    values = [chosen(trial, plan.space) for trial in trials]
    scales = [_scale(path, [each.get(path) for each in values], plan.space[path].log) for path in plan.space]
    scales.append(_scale(ERROR, [_error(trial) for trial in trials], False))
    across = Axis(0, max(1, len(scales) - 1), SIDE, WIDTH - SIDE)
    numbers = {trial.number for trial in best}
    order = sorted(range(len(trials)), key=lambda k: trials[k].number in numbers)
    lines = [_polyline(scales, across, k, "s2 front" if trials[k].number in numbers else "s1") for k in order]
    axes = [_axis(scale, across.at(k)) for k, scale in enumerate(scales)]
    said = f"Chosen values and error of {len(trials)} finished trials"
    svg = el("svg", el("title", said), *lines, *axes, viewBox=f"0 0 {WIDTH} {BOTTOM + 20}", role="img", aria_label=said)
    return el("figure", svg, class_="parallel")


def _scale(title: str, values: list[Any], log: bool) -> _Scale:
    """Place numbers by size, and anything else by its place in the order of its texts."""
    numbers = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) == len(values) and len(set(numbers)) > LABELLED // 2:
        low, high = min(numbers), max(numbers)
        axis = Axis(low, high, 0.0, 1.0, log and low > 0)
        return _Scale(title, [axis.at(v) for v in numbers], [(0.0, _text(low)), (1.0, _text(high))])
    texts = list(map(_text, values))
    known = list(dict.fromkeys(_text(v) for v in sorted(values, key=_order)))
    at = {text: (k + 0.5) / len(known) for k, text in enumerate(known)}
    return _Scale(title, [at[text] for text in texts], [(at[text], text) for text in known[:LABELLED]])


def _order(value: Any) -> tuple[int, float, str]:
    is_number = isinstance(value, int | float)
    return (0, float(value), "") if is_number else (1, 0.0, str(value))


def _polyline(scales: list[_Scale], across: Axis, trial: int, style: str) -> Node:
    points = (f"{across.at(k):.1f} {_height(scale.at[trial]):.1f}" for k, scale in enumerate(scales))
    return el("path", d="M" + "L".join(points), class_=f"line {style}")


def _axis(scale: _Scale, x: float) -> Node:
    here, name = f"{x:.1f}", scale.title.rpartition(".")[2]
    title = el("text", name, x=here, y=TOP - 18, text_anchor="middle", class_="title")
    line = el("line", x1=here, y1=TOP, x2=here, y2=BOTTOM, class_="axis")
    return el("g", title, line, *(_label(x + 5, at, text) for at, text in scale.labels))


def _label(x: float, at: float, text: str) -> Node:
    return el("text", text, x=f"{x:.1f}", y=f"{_height(at) - 4:.1f}", text_anchor="start")


def _height(at: float) -> float:
    return BOTTOM - at * (BOTTOM - TOP)
