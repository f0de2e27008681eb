"""One legend for a group of charts that draw the same lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rtsysid.evaluation.report.chart import Chart, ChartLine
from rtsysid.evaluation.report.html import swatch
from rtsysid.evaluation.report.tree import Node, el


def shared_lines(charts: Sequence[Chart]) -> dict[str, ChartLine]:
    """Return the lines that two charts or more draw, by name; none where one name has two styles."""
    kinds = Counter(dict.fromkeys((line.name, line.style, line.points) for chart in charts for line in chart.series))
    if max(Counter(name for name, _, _ in kinds).values(), default=1) > 1:
        return {}
    times = Counter(line.name for chart in charts for line in chart.series)
    return {line.name: line for chart in charts for line in chart.series if times[line.name] > 1}


def is_covered(chart: Chart, shared: dict[str, ChartLine]) -> bool:
    """Tell whether the legend of the group names every line of a chart: it needs none of its own."""
    return bool(shared) and all(line.name in shared for line in chart.series)


def group_legend(shared: dict[str, ChartLine]) -> Node | None:
    """Build the legend of a group: a button for each line, which shows or hides it in all charts; None without one."""
    if not shared:
        return None
    return el("ul", *(el("li", _button(line)) for line in shared.values()), class_="legend")


def _button(line: ChartLine) -> Node:
    pressed = "false" if line.hidden else "true"
    mark = swatch(f"{line.style} points" if line.points else line.style)
    return el("button", mark, line.name, type="button", data_line=line.name, aria_pressed=pressed, class_="key")
