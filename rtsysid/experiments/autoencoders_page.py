"""Render the comparison of the autoencoders as tables, and as a page with plots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rtsysid.evaluation.report.html import figures, html_table, page
from rtsysid.evaluation.report.plot import Line, Plot
from rtsysid.evaluation.report.tree import el
from rtsysid.experiments.autoencoder_metrics import CORRUPTIONS
from rtsysid.experiments.autoencoders import HORIZON, PCA, MemberResult
from rtsysid.schedule import FAMILY
from rtsysid.storage.products import AUTOENCODERS

STYLES = {name: f"s{k + 1}" for k, name in enumerate((PCA, *FAMILY))}


class Table(NamedTuple):
    """Hold a table: title, column names, rows."""

    title: str
    header: list[str]
    rows: list[list[str]]


def tables(results: Sequence[MemberResult]) -> list[Table]:
    """Return, per ground: errors by code size where several sizes exist, metrics of codes, errors of forecasts."""
    drawn = []
    for ground in dict.fromkeys(result.ground for result in results):
        here = [result for result in results if result.ground == ground]
        drawn += [_size_table(ground, here), _metrics_table(ground, here), _forecast_table(ground, here)]
    return [each for each in drawn if len(each.header) > 2]  # with a single code size there is no curve


def render_autoencoders_page(results: Sequence[MemberResult], command: str) -> str:
    """Return the HTML page. `command` is the command that made it."""
    plots = [_curve(each) for each in tables(results) if "code size" in each.title]
    sections = [
        el("header", el("h1", "Autoencoders"), el("p", command, class_="quiet")),
        el("section", el("h2", "Reconstruction"), figures(plots, STYLES.items())),
        *(el("section", el("h2", each.title), html_table(each.header, each.rows)) for each in tables(results)),
    ]
    return page(AUTOENCODERS, "rtsysid benchmark autoencoders", sections)


def _size_table(ground: str, here: Sequence[MemberResult]) -> Table:
    unseen = {(f.member, f.size): f.code_metrics.unseen for f in here if f.code_metrics}
    sizes = sorted({size for _, size in unseen})
    rows = [[name, *(_figure(unseen[name, size]) for size in sizes)] for name in STYLES if (name, sizes[0]) in unseen]
    return Table(f"{ground}: reconstruction error by code size", ["code", *map(str, sizes)], rows)


def _metrics_table(ground: str, here: Sequence[MemberResult]) -> Table:
    largest = max(f.size for f in here)
    header = ["code", "known", "unseen", *CORRUPTIONS, "activity", "sparsity", "Jacobian", "sensitivity"]
    rows = []
    for f in here:
        if f.code_metrics and f.size == largest:
            t = f.code_metrics
            figures = (t.known, t.unseen, *t.corrupted.values(), t.activity, t.sparsity, t.jacobian, t.sensitivity)
            rows.append([f.member, *map(_figure, figures)])
    return Table(f"{ground}: codes of {largest}", header, rows)


def _forecast_table(ground: str, here: Sequence[MemberResult]) -> Table:
    """List the errors, and the mean over the groups of their ratio to the error of the linear map."""
    models = [f for f in here if f.errors]
    linear = next(f.errors for f in models if f.member == "linear map alone")
    rows = []
    for f in models:
        ratio = sum(f.errors[group] / linear[group] for group in linear) / len(linear)
        rows.append([f.member, *(_figure(f.errors[group]) for group in linear), f"{ratio:.3f}"])
    return Table(f"{ground}: error after {HORIZON} ticks", ["model", *linear, "of linear"], rows)


def _curve(sizes: Table) -> Plot:
    at = [float(size) for size in sizes.header[1:]]
    lines = [Line(row[0], STYLES[row[0]], at, [float(cell) for cell in row[1:]]) for row in sizes.rows]
    title = sizes.title.partition(":")[0]
    return Plot(f"{title}: mean squared error", "code size", f"Reconstruction error by code size, {title}", lines, True)


def _figure(value: float) -> str:
    return f"{value:.3g}"
