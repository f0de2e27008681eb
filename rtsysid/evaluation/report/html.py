"""What sections are made of: tables, figures under a legend, pieces of advice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rtsysid.evaluation.report.advice import Finding, Grade
from rtsysid.evaluation.report.plot import Plot, draw
from rtsysid.evaluation.report.tree import Child, Node, el

SIGNS = {"good": "✓", "fair": "△", "poor": "✕"}  # never by colour alone


def table(header: Sequence[str], rows: Iterable[Sequence[Child]], caption: str = "") -> Node:
    """A table that scrolls sideways where it is wide; the first cell of a row heads it."""
    head = el("thead", el("tr", *(el("th", text, scope="col") for text in header))) if header else None
    body = el("tbody", *(el("tr", el("th", row[0], scope="row"), *(el("td", c) for c in row[1:])) for row in rows))
    return el("div", el("table", el("caption", caption) if caption else None, head, body), class_="scroll")


def details(summary: str, content: Node) -> Node:
    """Folded away until asked for."""
    return el("details", el("summary", summary), content)


def figures(plots: Sequence[Plot], legend: Iterable[tuple[str, str]], small: bool = False) -> Node:
    """Plots side by side under one legend of names and styles."""
    keys = (el("li", _swatch(style), name) for name, style in legend)
    grid = el("div", *map(draw, plots), class_="small" if small else "plots")
    return el("figure", el("ul", *keys, class_="legend"), grid)


def advice(found: Iterable[Finding]) -> Node:
    """Findings as a list: a grade, the value, what it means and what to do."""
    return el("ul", *map(_finding, found), class_="advice")


def grade(value: Grade) -> Node:
    return el("span", f"{SIGNS[value]} {value}", class_=f"grade {value}")


def bar(percent: float) -> Node:
    """A share as a bar; below nothing it is empty."""
    filled = el("span", style=f"width:{min(max(percent, 0.0), 100.0):.0f}%")
    return el("span", filled, class_="bar", aria_hidden="true")


def _finding(f: Finding) -> Node:
    measured = el("span", f"{f.metric}, {f.who}: {f.shown}. ", class_="quiet")
    return el("li", grade(f.rule.grade), el("div", measured, f"{f.rule.meaning} ", el("b", f.rule.next)))


def _swatch(style: str) -> Node:
    if style == "band":
        mark = el("rect", x=0, y=2, width=24, height=8, class_="band")
    else:
        mark = el("path", d="M0 6H24", class_=f"line {style}")
    return el("svg", mark, viewBox="0 0 24 12", class_="swatch", aria_hidden="true")
