"""Describe plots as data for the script of the page, which draws them with uPlot: series, axes, bands and marks.

Values of long series are cut to the smallest and the largest of each step in time, and written as 16-bit numbers of
their range, so that an hour of samples stays small. Short series are written with five digits.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rtsysid.spec import Doubles

GAP, ABSENT = -32768, -32767  # a gap in the line; no value here, and the line goes on
STEPS = 32000  # between the smallest value of a series and its middle
SHORT = 400  # values: a series of so many is written as numbers


@dataclass(frozen=True, eq=False)
class ChartLine:
    """Hold one line [n] of a chart. ``style``: a colour and dash of the page; ``hidden`` until the reader asks for it.

    ``points``: draw points that are not joined; ``bars``: stems from zero. ``spans``: a missing value is no gap.
    """

    name: str
    style: str
    y: Doubles = field(repr=False)
    points: bool = False
    bars: bool = False
    spans: bool = False
    hidden: bool = False


@dataclass(frozen=True, eq=False)
class Chart:
    """Describe one chart.

    ``title``: the quantity with its unit; ``description``: for screen readers. ``x`` [n] is shared by all series.
    ``bands``: pairs of series names (upper, lower) whose space is filled. ``zone``: half the height of a shaded band
    around zero. ``marks``: x of vertical lines. ``y_range``: limits that several charts share. ``sync``: charts with
    the same name share cursor and zoom.
    """

    title: str
    x_label: str
    description: str
    x: Doubles
    series: Sequence[ChartLine]
    bands: Sequence[tuple[str, str]] = ()
    zone: float | None = None
    marks: Sequence[float] = ()
    y_range: tuple[float, float] | None = None
    log_x: bool = False
    log_y: bool = False
    sync: str = ""
    small: bool = False

    def data(self) -> dict[str, Any]:
        """Return everything as plain values for JSON."""
        names = [each.name for each in self.series]
        return {
            "title": self.title,
            "x_label": self.x_label,
            "description": self.description,
            "x": packed(self.x, even=True),
            "series": [_series_data(each) for each in self.series],
            "bands": [[names.index(high) + 1, names.index(low) + 1] for high, low in self.bands],
            "zone": self.zone,
            "marks": [float(mark) for mark in self.marks],
            "y_range": None if self.y_range is None else [_digits(each) for each in self.y_range],
            "log_x": self.log_x,
            "log_y": self.log_y,
            "sync": self.sync,
        }


def _series_data(series: ChartLine) -> dict[str, Any]:
    flags = {name: True for name in ("points", "bars", "hidden") if getattr(series, name)}
    return {"name": series.name, "style": series.style, "y": packed(series.y, spans=series.spans), **flags}


def packed(values: Doubles, *, even: bool = False, spans: bool = False) -> dict[str, Any] | list[float | None]:
    """Return values [n] as JSON can hold them: a list, evenly spaced numbers, or 16 bits of each as base64.

    A value that is not finite is a gap; with `spans` it is left out.
    """
    values = np.asarray(values, np.float64)
    if len(values) <= SHORT and not (spans and not np.isfinite(values).all()):
        return [_digits(each) for each in values.tolist()]
    if even and np.ptp(np.diff(values)) < 1e-6 * max(abs(values[-1] - values[0]) / len(values), 1e-12):
        return {"n": len(values), "first": float(values[0]), "step": float(values[-1] - values[0]) / (len(values) - 1)}
    finite = np.isfinite(values)
    low, high = (float(np.min(values[finite])), float(np.max(values[finite]))) if finite.any() else (0.0, 0.0)
    scale, middle = (high - low) / 2 / STEPS or 1.0, (high + low) / 2
    whole = np.where(finite, np.round((np.where(finite, values, middle) - middle) / scale), ABSENT if spans else GAP)
    text = base64.b64encode(whole.astype("<i2").tobytes()).decode()
    return {"b": text, "scale": float(f"{scale:.7g}"), "middle": float(f"{middle:.9g}")}


def extremes(t: Doubles, columns: Sequence[Doubles], points: int) -> tuple[Doubles, list[Doubles]]:
    """Cut series [n] at even times to at most `points` values each: the two extremes of each step, in their order.

    Returns times and series; the same ones where they are short enough. A step without a finite value is NaN.
    """
    n = len(t)
    if n <= points:
        return t, list(columns)
    width = math.ceil(2 * n / points)
    steps = math.ceil(n / width)
    padded = np.concatenate((t, np.full(steps * width - n, np.nan))).reshape(steps, width)
    times = np.stack((padded[:, 0], padded[:, 0] + (t[1] - t[0]) * width / 2), 1).ravel()
    return times, [_two_of_each(column, steps, width) for column in columns]


def _two_of_each(column: Doubles, steps: int, width: int) -> Doubles:
    rows = np.concatenate((column, np.full(steps * width - len(column), np.nan))).reshape(steps, width)
    known = np.isfinite(rows)
    low, high = (np.argmin(np.where(known, rows, np.inf), 1), np.argmax(np.where(known, rows, -np.inf), 1))
    first, second = np.minimum(low, high), np.maximum(low, high)
    every = np.arange(steps)
    pairs = np.stack((rows[every, first], rows[every, second]), 1)
    return np.where(known.any(1)[:, None], pairs, np.nan).ravel()


def _digits(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None
