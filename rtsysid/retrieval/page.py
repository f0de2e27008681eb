"""The page of `rtsysid find --plot`: the moment that was asked for and those that were found, one over the other."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from string import Template

import numpy as np

from rtsysid import __version__
from rtsysid.evaluation.report.html import figures, html_table
from rtsysid.evaluation.report.plot import Line, Plot
from rtsysid.evaluation.report.tree import el, html
from rtsysid.retrieval.descriptors import Series, series
from rtsysid.retrieval.index import Index
from rtsysid.retrieval.search import Found, Query
from rtsysid.spec import Floats

DRAWN = 3  # moments beside the one asked for: as many lines can be told apart in a small plot


def page(asked: str, index: Index, query: Query, found: Sequence[Found]) -> str:
    """The whole HTML file; `asked`: recording and time of the query, as a person knows it."""
    rows = [
        [
            str(f.rank),
            f.recording,
            f"{f.time_s:.2f}",
            f"{f.distance:.3f}",
            *(f"{100 * a:.0f} %" for a in f.alike.values()),
        ]
        for f in found
    ]
    header = ["rank", "recording", "time s", "distance", *(found[0].alike if found else ())]
    legend = [
        (asked, "measured"),
        *((f"{f.rank}: {f.recording} {f.time_s:.2f} s", f"s{f.rank}") for f in found[:DRAWN]),
    ]
    body = [
        el(
            "header", el("h1", asked), el("p", f"Beside {len(index):,} moments of {index.folder.name}.", class_="quiet")
        ),
        el("section", el("h2", "Moments like it"), html_table(header, rows)),
        el("section", el("h2", "One over the other"), figures(_plots(index, query, found), legend, small=True)),
        el(
            "footer", f"rtsysid {__version__}. A distance of 1 is that of two random moments; parts: 100 % is the same."
        ),
    ]
    template = Template(resources.files("rtsysid.evaluation.report").joinpath("page.html").read_text("utf-8"))
    return template.substitute(title=html([el("title", f"{asked}: rtsysid find")]), body=html(body))


def _plots(index: Index, query: Query, found: Sequence[Found]) -> list[Plot]:
    moments = {"measured": series(index.spec, query.rows)}
    for f in found[:DRAWN]:
        moments[f"s{f.rank}"] = series(index.spec, index.values[f.row + 1 - index.span : f.row + 1])
    return [_plot(index, name, moments) for name in moments["measured"]]


def _plot(index: Index, name: str, moments: dict[str, Series]) -> Plot:
    t = (np.arange(index.span) - (index.span - 1 - index.span // 2)) / index.spec.rate_hz
    lines = [Line(style, style, t.tolist(), _listed(drawn[name])) for style, drawn in reversed(moments.items())]
    return Plot(name, "s", f"{name} of the moment and of the {len(lines) - 1} most like it", lines)


def _listed(values: Floats) -> list[float]:
    listed: list[float] = values.tolist()
    return listed
