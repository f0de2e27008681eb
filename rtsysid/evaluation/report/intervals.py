"""Intervals on the page: shaded around forecasts, and whether they hold."""

from __future__ import annotations

from collections.abc import Iterable

from rtsysid.evaluation.report.html import table
from rtsysid.evaluation.report.judge import Judgement, Stretch
from rtsysid.evaluation.report.plot import Area
from rtsysid.evaluation.report.tree import Node, el


def shade(seconds: list[float], s: Stretch, name: str) -> Area | None:
    """The interval around one output of a forecast; `seconds` begin where it does."""
    if not s.half:
        return None
    ends = list(zip(s.predicted[name], s.half[name], strict=False))  # intervals may not reach as far as the forecast
    return Area(seconds[: len(ends)], [y - half for y, half in ends], [y + half for y, half in ends])


def coverage(j: Judgement) -> Iterable[Node]:
    """What became of the coverages that the intervals state."""
    if not j.coverage:
        yield el("p", "The bundle has no intervals: rtsysid calibrate BUNDLE TRACE... makes them.", class_="quiet")
        return
    yield el(
        "p",
        "Share of the measured values inside the intervals of their forecasts, over all ticks of the horizon. They "
        "were calibrated on recordings that training never saw; if it is those that are judged here, this is no test.",
    )
    groups = list(j.coverage[0].measured)
    rows = [[f"{c.stated:.0%}", *(f"{c.measured[group]:.1%}" for group in groups)] for c in j.coverage]
    yield table(["stated", *groups], rows)
