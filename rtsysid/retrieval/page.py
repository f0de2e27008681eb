"""Render the page of `rtsysid find --plot`: the query and its matches as overlaid plots."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rtsysid.evaluation.report.html import figures, html_table, page
from rtsysid.evaluation.report.plot import Line, Plot
from rtsysid.evaluation.report.tree import el
from rtsysid.guards.release import VERSION
from rtsysid.retrieval.descriptors import Series, series
from rtsysid.retrieval.index import Index
from rtsysid.retrieval.search import Match, Query
from rtsysid.spec import Floats
from rtsysid.storage.products import MOMENTS

DRAWN = 3  # matches per plot, in addition to the query: more lines are not legible in a small plot


def render_moments_page(title: str, index: Index, query: Query, matches: Sequence[Match]) -> str:
    """Return the HTML page. `title` names the recording and the time of the query."""
    rows = [
        [
            str(f.rank),
            f.recording,
            f"{f.time_s:.2f}",
            f"{f.distance:.3f}",
            *(f"{100 * a:.0f} %" for a in f.alike.values()),
        ]
        for f in matches
    ]
    header = ["rank", "recording", "time s", "distance", *(matches[0].alike if matches else ())]
    legend = [
        (title, "measured"),
        *((f"{f.rank}: {f.recording} {f.time_s:.2f} s", f"s{f.rank}") for f in matches[:DRAWN]),
    ]
    compared = f"Compared with {len(index):,} moments of {index.folder.name}."
    units = "Distance 1 is that of two random moments. In the other columns 100 % means equal."
    body = [
        el("header", el("h1", title), el("p", compared, class_="quiet")),
        el("section", el("h2", "Most similar moments"), html_table(header, rows)),
        el("section", el("h2", "Overlaid time series"), figures(_plots(index, query, matches), legend, small=True)),
        el("footer", f"rtsysid {VERSION}. {units}"),
    ]
    return page(MOMENTS, f"{title}: rtsysid find", body)


def _plots(index: Index, query: Query, matches: Sequence[Match]) -> list[Plot]:
    moments = {"measured": series(index.spec, query.rows)}
    for f in matches[:DRAWN]:
        moments[f"s{f.rank}"] = series(index.spec, index.values[f.row + 1 - index.span : f.row + 1])
    return [_plot(index, name, moments) for name in moments["measured"]]


def _plot(index: Index, name: str, moments: dict[str, Series]) -> Plot:
    t = (np.arange(index.span) - (index.span - 1 - index.span // 2)) / index.spec.rate_hz
    lines = [Line(style, style, t.tolist(), _float_list(drawn[name])) for style, drawn in reversed(moments.items())]
    return Plot(name, "s", f"{name} of the query and of the {len(lines) - 1} most similar moments", lines)


def _float_list(values: Floats) -> list[float]:
    numbers: list[float] = values.tolist()
    return numbers
