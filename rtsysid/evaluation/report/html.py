"""Build the elements of a page: tables, figures with a legend, lists of advice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import resources
from string import Template

from rtsysid.evaluation.report.advice import Advice, Grade
from rtsysid.evaluation.report.plot import Plot, draw
from rtsysid.evaluation.report.tree import Child, Node, el, html
from rtsysid.storage.products import Product, html_head

SIGNS = {"good": "✓", "fair": "△", "poor": "✕"}  # readable without colours


def page(product: Product, title: str, body: Iterable[Node]) -> str:
    """Return the text of a whole page, with the mark of its product."""
    template = Template(resources.files(__package__).joinpath("page.html").read_text("utf-8"))
    return template.substitute(
        head=html_head(product.name),
        title=html([el("title", title)]),
        policy="default-src 'none'; style-src 'unsafe-inline'",
        style="",
        body=html(body),
    )


def html_table(header: Sequence[str], rows: Iterable[Sequence[Child]], caption: str = "") -> Node:
    """Build a table that scrolls sideways where it is wide. The first cell of each row is its header."""
    head = el("thead", el("tr", *(el("th", text, scope="col") for text in header))) if header else None
    body = el("tbody", *(el("tr", el("th", row[0], scope="row"), *(el("td", c) for c in row[1:])) for row in rows))
    return el("div", el("table", el("caption", caption) if caption else None, head, body), class_="scroll")


def details(summary: str, content: Node) -> Node:
    """Build content that is hidden until the reader opens it."""
    return el("details", el("summary", summary), content)


def figures(plots: Sequence[Plot], legend: Iterable[tuple[str, str]], small: bool = False) -> Node:
    """Place plots side by side under one legend of (name, style)."""
    keys = (el("li", swatch(style), name) for name, style in legend)
    grid = el("div", *map(draw, plots), class_="small" if small else "plots")
    return el("figure", el("ul", *keys, class_="legend"), grid)


def advice_list(findings: Iterable[Advice]) -> Node:
    """List advice: grade, value, meaning and next step of each."""
    return el("ul", *map(_finding, findings), class_="advice")


def grade(value: Grade) -> Node:
    """Show a grade as a sign and a word."""
    return el("span", f"{SIGNS[value]} {value}", class_=f"grade {value}")


def bar(percent: float) -> Node:
    """Draw a percentage as a bar; below 0 it is empty."""
    filled = el("span", style=f"width:{min(max(percent, 0.0), 100.0):.0f}%")
    return el("span", filled, class_="bar", aria_hidden="true")


def swatch(style: str) -> Node:
    """Draw the sign of a line in a legend; a style that ends with ``points`` is a dot, ``band`` is an area."""
    if style == "band":
        mark = el("rect", x=0, y=2, width=24, height=8, class_="band")
    else:
        mark = el("path", d="M12 6h0" if style.endswith("points") else "M0 6H24", class_=f"line {style}")
    return el("svg", mark, viewBox="0 0 24 12", class_="swatch", aria_hidden="true")


def _finding(f: Advice) -> Node:
    measured = el("span", f"{f.metric}, {f.label}: {f.value_text}. ", class_="quiet")
    return el("li", grade(f.rule.grade), el("div", measured, f"{f.rule.meaning} ", el("b", f.next)))
