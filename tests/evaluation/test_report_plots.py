"""Test the plots of a report: nothing leaves the paper, and axes have a few labels in their range."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtsysid.evaluation.report.plot import Axis, Line, Plot, _log_range, draw


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=1, max_size=30), st.booleans())
def test_a_plot_of_anything_stays_on_the_paper(values: list[float], log: bool) -> None:
    """Values that are missing, infinite, zero or all alike give a drawing whose numbers are finite and inside."""
    plot = Plot("y [m]", "x", "test", [Line("y", "model", list(range(len(values))), values)], log=log)
    path = next(node for node in draw(plot).iter("path"))
    numbers = [float(n) for n in re.findall(r"-?[\d.]+|nan|inf", path.attrib["d"])]
    assert all(-1 <= n <= 361 or log for n in numbers)
    assert all(math.isfinite(n) for n in numbers)


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.booleans())
def test_ticks_are_few_and_in_range(low: float, spread: float, log: bool) -> None:
    """Any range gets up to eight labelled ticks within it, and no label twice."""
    high = low + max(spread, abs(low) / 100)
    axis = Axis(*_log_range([10.0 ** (low / 1e6), 10.0 ** (high / 1e6)]), 0, 1, True) if log else Axis(low, high, 0, 1)
    ticks = axis.ticks()
    assert 1 <= len(ticks) <= 8
    slack = 1e-6 * (axis.high - axis.low)
    assert all(axis.low - slack <= value <= axis.high + slack for value, _ in ticks)
    assert len({label for _, label in ticks}) == len(ticks)


def test_a_logarithmic_axis_has_labels_within_a_decade() -> None:
    """An axis of one decade is labelled at 1, 2, 5 and 10; one of five decades at each power."""
    assert [value for value, _ in Axis(0.1, 1.0, 0, 1, True).ticks()] == pytest.approx([1.0, 0.5, 0.2, 0.1])
    assert len(Axis(1e-5, 1.0, 0, 1, True).ticks()) == 6
