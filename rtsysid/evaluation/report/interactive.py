"""Put charts into a page: their places, their data, and the scripts that draw them, all in one file.

The page may run the scripts named by their hash, and load nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from importlib import resources
from string import Template

from rtsysid.evaluation.report.chart import Chart
from rtsysid.evaluation.report.legend import group_legend, is_covered, shared_lines
from rtsysid.evaluation.report.tree import Child, Node, el, html
from rtsysid.guards.text import visible
from rtsysid.storage.products import Product, html_head

SCRIPTS = ("assets/uplot/uPlot.iife.min.js", "assets/report.js")
STYLES = ("assets/uplot/uPlot.min.css", "assets/report.css")


class ChartBook:
    """Collect the charts of a page, and number them."""

    def __init__(self) -> None:
        self._charts: list[Chart] = []

    def place(self, chart: Chart, kind: str = "", *, keyed: bool = False) -> Node:
        """Add a chart; return its place in the page.

        `kind`: a class that says how large it is. `keyed`: the legend of its group names its lines.
        """
        self._charts.append(chart)
        return el(
            "div",
            el("h4", chart.title),
            el(
                "div",
                class_=f"chart {kind}".strip(),
                data_chart=len(self._charts) - 1,
                role="group",
                tabindex=0,
                aria_label=f"{chart.description}. Arrow keys read values, plus and minus zoom, 0 shows all.",
            ),
            class_="panel keyed" if keyed else "panel",
        )

    def group(self, charts: Iterable[Chart], kind: str = "", **attributes: object) -> Node:
        """Add charts next to each other, under one legend where they draw the same lines."""
        charts = list(charts)
        shared = shared_lines(charts)
        placed = (self.place(chart, kind, keyed=is_covered(chart, shared)) for chart in charts)
        grid = el("div", *placed, class_=f"charts {kind}".strip())
        return el("div", group_legend(shared), grid, data_group="", **attributes)

    def figure(self, charts: Iterable[Chart], kind: str = "", caption: Child = None) -> Node:
        """Add a group of charts under one caption."""
        return el("figure", self.group(charts, kind), None if caption is None else el("figcaption", caption))

    def script(self) -> str:
        """Return the data of all charts as JSON in an element that no browser runs."""
        text = json.dumps([_clean(chart.data()) for chart in self._charts], separators=(",", ":"), allow_nan=False)
        safe = text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
        return f'<script type="application/json" id="charts">{safe}</script>'


def interactive_page(product: Product, title: str, body: Sequence[Node], book: ChartBook) -> str:
    """Return the text of a whole page with its charts and scripts."""
    scripts = [_asset(name) for name in SCRIPTS]
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    reading = el("p", id="reading", aria_live="polite", class_="unseen")
    silent = (
        "<noscript><p>The charts need JavaScript, which is switched off. The tables hold the numbers.</p></noscript>"
    )
    return Template(_asset("page.html")).substitute(
        head=html_head(product.name),
        title=html([el("title", title)]),
        policy=f"default-src 'none'; style-src 'unsafe-inline'; script-src {hashes}",
        style="\n".join(map(_asset, STYLES)),
        body="\n".join((silent, html([*body, reading]), book.script(), *(f"<script>{s}</script>" for s in scripts))),
    )


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(*name.split("/")).read_text("utf-8")


def _clean(value: object) -> object:
    """Make every text readable, as `el` does: names come from recordings."""
    if isinstance(value, dict):
        return {key: _clean(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_clean(each) for each in value] if value and isinstance(value[0], dict) else value
    return visible(value) if isinstance(value, str) else value
