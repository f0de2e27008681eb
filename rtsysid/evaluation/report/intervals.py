"""Show the measured coverage of prediction intervals as a table."""

from __future__ import annotations

from collections.abc import Iterable

from rtsysid.evaluation.report.html import html_table
from rtsysid.evaluation.report.judge import Judgement
from rtsysid.evaluation.report.tree import Node, el


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
