"""Write a plot as an SVG file of its own, which follows the light or dark mode of its reader."""

from __future__ import annotations

from collections.abc import Sequence

from rtsysid.evaluation.report.plot import HEIGHT, WIDTH, Plot, draw
from rtsysid.evaluation.report.tree import Node, el, html

ROW = 16  # pixels of a row of the legend
STYLE = """
.card{fill:#fff} text{fill:#57606a;font:9px system-ui,sans-serif} .title{fill:#24292f;font-size:11px;font-weight:600}
.grid{stroke:#dfe3e8} .axis{stroke:#57606a;stroke-width:.8} .line{fill:none;stroke-width:1.4;stroke-linejoin:round}
.measured{stroke:#8b949e;stroke-width:3.5} .s1{stroke:#1f66d1} .s2{stroke:#d2691e;stroke-dasharray:5 2}
.s3{stroke:#16906f;stroke-dasharray:1.5 2.5}
@media (prefers-color-scheme:dark){.card{fill:#0d1117} text{fill:#9da7b3} .title{fill:#e6edf3} .grid{stroke:#30363d}
.axis{stroke:#9da7b3} .measured{stroke:#6e7681} .s1{stroke:#62a0ff} .s2{stroke:#f09a55} .s3{stroke:#45c9a4}}
"""


def svg_text(plot: Plot, legend: Sequence[tuple[str, str]]) -> str:
    """Return the text of an SVG file: a plot below its legend of (name, style), a row for each pair of names."""
    rows = (len(legend) + 1) // 2
    keys = (
        _legend_entry(name, style, 8 + WIDTH // 2 * (k % 2), 14 + ROW * (k // 2))
        for k, (name, style) in enumerate(legend)
    )
    top = 8 + ROW * rows
    whole = el(
        "svg",
        el("title", plot.description),
        el("style", STYLE.replace("\n", " ")),
        el("rect", class_="card", width=WIDTH + 16, height=HEIGHT + top + 12, rx=4),
        *keys,
        el("g", draw(plot), transform=f"translate(8 {top})"),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH + 16} {HEIGHT + top + 12}",
        role="img",
    )
    inner = next(node for node in whole.iter("svg") if node is not whole)
    inner.set("width", str(WIDTH))
    inner.set("height", str(HEIGHT))
    return html([whole]) + "\n"


def _legend_entry(name: str, style: str, x: int, y: int) -> Node:
    """Draw one entry of the legend."""
    mark = el("path", d=f"M{x} {y - 3}h20", class_=f"line {style}")
    return el("g", mark, el("text", name, x=x + 26, y=y))
