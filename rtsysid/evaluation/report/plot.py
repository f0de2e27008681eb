"""Draw small line and stem plots as inline SVG. Colours and dashes are CSS classes of the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rtsysid.evaluation.report.tree import Node, el
from rtsysid.spec import Doubles

WIDTH, HEIGHT = 360, 210
LEFT, RIGHT, TOP, BOTTOM = 50, 12, 28, 36
FEW_DECADES = 2  # of a logarithmic axis: 2 and 5 are labelled, too
_MINUS = "\N{MINUS SIGN}"
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Line:
    """Hold one series; values that are not finite are not drawn.

    ``style``: a CSS class of the page. ``points``: draw points that are not joined.
    """

    name: str
    style: str
    x: Sequence[float]
    y: Sequence[float]
    points: bool = False


@dataclass(frozen=True)
class Area:
    """Hold an area to shade between `lower` and `upper`."""

    x: Sequence[float]
    lower: Sequence[float]
    upper: Sequence[float]


@dataclass(frozen=True)
class Plot:
    """Describe one plot.

    ``title``: the quantity with its unit; it replaces the label of the y axis. ``description``: text for screen
    readers. ``band``: half the width of a shaded band around zero. ``area``: shaded behind the lines. ``marks``: x of
    vertical lines.
    """

    title: str
    x_label: str
    description: str
    lines: Sequence[Line]
    log: bool = False
    stems: bool = False
    band: float | None = None
    area: Area | None = None
    marks: Sequence[float] = ()


@dataclass(frozen=True)
class Axis:
    """Map data from `low` to `high` onto pixels `start` to `stop`."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def at(self, value: float) -> float:
        """Return the pixel of one value."""
        return float(self._pixels(np.array([value]))[0])

    def pixels(self, values: Sequence[float]) -> Doubles:
        """Return the pixels of values [n] -> [n]; NaN for values that cannot be drawn."""
        return self._pixels(np.asarray(values, np.float64))

    def ticks(self) -> list[tuple[float, str]]:
        """Choose round values and their labels."""
        return _log_ticks(self.low, self.high) if self.log else _linear_ticks(self.low, self.high)

    def _pixels(self, values: Doubles) -> Doubles:
        usable = np.isfinite(values) & ((values > 0) | (not self.log))
        values = np.where(usable, values, 1.0)
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        share = ((np.log(values) if self.log else values) - low) / (high - low)
        return np.where(usable, self.start + share * (self.stop - self.start), np.nan)


def draw(plot: Plot) -> Node:
    """Draw a plot as an SVG element."""
    x = Axis(*_range([v for line in plot.lines for v in line.x], 0.02 if plot.stems else 0.0), LEFT, WIDTH - RIGHT)
    ys = [v for line in plot.lines for v in line.y] + ([] if plot.band is None else [plot.band, -plot.band])
    ys += [] if plot.area is None else [*plot.area.lower, *plot.area.upper]
    y = Axis(*(_log_range(ys) if plot.log else _range(ys, 0.06)), HEIGHT - BOTTOM, TOP, plot.log)
    return el(
        "svg",
        el("title", plot.description),
        el("text", plot.title, x=0, y=12, class_="title"),
        _axes_grid(x, y, plot.x_label),
        _band(plot.band, y),
        None if plot.area is None else _area(plot.area, x, y),
        *(_vertical(x.at(mark)) for mark in plot.marks),
        *(_stems(line, x, y) if plot.stems else _path(line, x, y) for line in plot.lines),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=plot.description,
    )


def _axes_grid(x: Axis, y: Axis, label: str) -> Node:
    parts = []
    for value, text in y.ticks():
        at = _px(y.at(value))
        parts += [_rule(LEFT, at, WIDTH - RIGHT, at, "grid"), _svg_text(LEFT - 6, float(at) + 3.5, text, "end")]
    for value, text in x.ticks():
        at = _px(x.at(value))
        parts += [_rule(at, HEIGHT - BOTTOM, at, HEIGHT - BOTTOM + 4, "axis")]
        parts += [_svg_text(at, HEIGHT - BOTTOM + 16, text, "middle")]
    base = _rule(LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM, "axis")
    return el("g", *parts, base, _svg_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, label, "middle"), class_="frame")


def _band(half: float | None, y: Axis) -> Node | None:
    if half is None:
        return None
    top, bottom = y.at(half), y.at(-half)
    area = el("rect", x=LEFT, y=_px(top), width=WIDTH - RIGHT - LEFT, height=_px(bottom - top), class_="band")
    return el("g", area, _rule(LEFT, _px(y.at(0.0)), WIDTH - RIGHT, _px(y.at(0.0)), "axis"))


def _area(area: Area, x: Axis, y: Axis) -> Node:
    forth, back = (x.pixels(area.x), y.pixels(area.upper)), (x.pixels(area.x)[::-1], y.pixels(area.lower)[::-1])
    xs, ys = (np.concatenate(pair) for pair in zip(forth, back, strict=True))
    return el("path", d=_joined(xs, ys) + "Z", class_="band")


def _path(line: Line, x: Axis, y: Axis) -> Node:
    if line.points:
        ends = zip(x.pixels(line.x), y.pixels(line.y), strict=True)
        d = "".join(f"M{_px(px)} {_px(py)}h0" for px, py in ends if not math.isnan(px + py))
        return el("path", d=d, class_=f"line points {line.style}")
    return el("path", d=_joined(x.pixels(line.x), y.pixels(line.y)), class_=f"line {line.style}")


def _joined(xs: Doubles, ys: Doubles) -> str:
    """An SVG path with a gap at each missing value."""
    steps, pen = [], "M"
    for px, py in zip(xs, ys, strict=True):
        if math.isnan(px) or math.isnan(py):
            pen = "M"
        else:
            steps.append(f"{pen}{_px(px)} {_px(py)}")
            pen = "L"
    return "".join(steps)


def _stems(line: Line, x: Axis, y: Axis) -> Node:
    zero, ends = _px(y.at(0.0)), zip(x.pixels(line.x), y.pixels(line.y), strict=True)
    d = "".join(f"M{_px(px)} {zero}V{_px(py)}" for px, py in ends if not math.isnan(py))
    return el("path", d=d, class_=f"line stem {line.style}")


def _vertical(at: float) -> Node:
    return _rule(_px(at), TOP, _px(at), HEIGHT - BOTTOM, "mark")


def _rule(x1: object, y1: object, x2: object, y2: object, style: str) -> Node:
    return el("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=style)


def _svg_text(x: object, y: object, text: str, anchor: str) -> Node:
    return el("text", text, x=x, y=y, text_anchor=anchor)


def _px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _range(values: Sequence[float], margin: float) -> tuple[float, float]:
    finite = [v for v in values if math.isfinite(v)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    spread = (high - low) or max(abs(low) * 0.1, 1e-9)
    return (low - margin * spread, high + margin * spread) if high > low else (low - spread, low + spread)


def _log_range(values: Sequence[float]) -> tuple[float, float]:
    """Whole decades around the values, at most eight, so that one tiny value does not compress all others."""
    usable = [v for v in values if math.isfinite(v) and v > 0] or [1.0]
    high = 10.0 ** math.ceil(math.log10(max(usable)) + 1e-9)
    low = 10.0 ** math.floor(math.log10(min(usable)) - 1e-9)
    return max(low, high * 1e-8), high


def _linear_ticks(low: float, high: float) -> list[tuple[float, str]]:
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * (1 - 1e-9))
    values = [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
    return [(v, f"{round(v, 12):.4g}".replace("-", _MINUS)) for v in values]


def _log_ticks(low: float, high: float) -> list[tuple[float, str]]:
    first, last = round(math.log10(low)), round(math.log10(high))
    if last - first <= FEW_DECADES:
        parts = (part * 10.0**p for p in range(last, first - 1, -1) for part in (5, 2, 1))
        return [(v, f"{v:.3g}".replace("-", _MINUS)) for v in parts if low * (1 - 1e-9) <= v <= high * (1 + 1e-9)]
    every = max(1, math.ceil((last - first) / 5))
    return [(10.0**p, "10" + str(p).translate(_RAISED)) for p in range(last, first - 1, -every)]
