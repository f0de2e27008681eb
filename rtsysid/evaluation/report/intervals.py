"""Show prediction intervals on the page: shaded areas in plots, and a table of their measured coverage."""

from __future__ import annotations

from collections.abc import Iterable

from rtsysid.evaluation.report.html import html_table
from rtsysid.evaluation.report.judge import Judgement, WorstForecast
from rtsysid.evaluation.report.plot import Area
from rtsysid.evaluation.report.tree import Node, el


def shade(seconds: list[float], s: WorstForecast, name: str) -> Area | None:
    """Build the shaded interval around one output of a forecast; `seconds` are times from its start."""
    if not s.half:
        return None
    ends = list(zip(s.predicted[name], s.half[name], strict=False))  # intervals may be shorter than the forecast
    return Area(seconds[: len(ends)], [y - half for y, half in ends], [y + half for y, half in ends])


def coverage_section(j: Judgement) -> Iterable[Node]:
    """Build the section that compares stated and measured coverage."""
    if not j.coverage:
        yield el("p", "The bundle has no intervals. To add them: rtsysid calibrate BUNDLE TRACE...", class_="quiet")
        return
    yield el(
        "p",
        "Share of the measured values inside the intervals of their forecasts, over all ticks of the horizon. "
        "Intervals are calibrated on held-out recordings. If this report uses them, the table is not a test.",
    )
    groups = list(j.coverage[0].measured)
    rows = [[f"{c.stated:.0%}", *(f"{c.measured[group]:.1%}" for group in groups)] for c in j.coverage]
    yield html_table(["stated", *groups], rows)
