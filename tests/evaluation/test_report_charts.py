"""Test what the charts of a report are made of: cut series, packed numbers, axes that charts share."""

from __future__ import annotations

import base64

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from rtsysid.evaluation.report.chart import ABSENT, GAP, SHORT, Chart, ChartLine, extremes, packed
from rtsysid.evaluation.report.legend import is_covered, shared_lines

VALUES = arrays.arrays(np.float64, st.integers(SHORT + 1, 3000), elements=st.floats(-1e6, 1e6) | st.just(np.nan))


@given(VALUES, st.booleans())
def test_packed_values_come_back(values: np.ndarray, spans: bool) -> None:
    """Sixteen bits hold each value to a 60,000th of the range, and missing values as what they are."""
    data = packed(values, spans=spans)
    assert isinstance(data, dict)
    whole = np.frombuffer(base64.b64decode(data["b"]), "<i2")
    missing = ~np.isfinite(values)
    assert (whole[missing] == (ABSENT if spans else GAP)).all()
    back = data["middle"] + whole[~missing] * data["scale"]
    room = np.ptp(values[~missing]) / 60_000 + 1e-6 * np.abs(values[~missing]).max(initial=0.0) if len(back) else 0.0
    assert np.allclose(back, values[~missing], rtol=0, atol=room + 1e-12)


@given(VALUES, st.integers(50, 400))
def test_cutting_keeps_the_extremes(values: np.ndarray, points: int) -> None:
    """However few points are drawn, the smallest and the largest value are among them, in time order."""
    t = np.arange(len(values)) / 50
    times, (cut,) = extremes(t, [values], points)
    assert len(times) == len(cut) <= points + 2
    assert (np.diff(times) > 0).all()
    if np.isfinite(values).any():
        assert np.nanmax(cut) == np.nanmax(values)
        assert np.nanmin(cut) == np.nanmin(values)


def test_even_times_are_three_numbers() -> None:
    """The times of an hour are no list: first, step and number."""
    data = packed(np.arange(360_000) / 100, even=True)
    assert data == {"n": 360_000, "first": 0.0, "step": 0.01}


def test_a_band_names_its_lines_by_their_place() -> None:
    """A band between two lines refers to them as the drawing library counts: from 1, in the order of the lines."""
    x = np.arange(3.0)
    lines = [ChartLine(name, "model", x) for name in ("measured", "upper", "lower")]
    assert Chart("y", "s", "test", x, lines, bands=[("upper", "lower")]).data()["bands"] == [[2, 3]]


def chart_of(*lines: tuple[str, str]) -> Chart:
    x = np.arange(3.0)
    return Chart("y", "s", "test", x, [ChartLine(name, style, x) for name, style in lines])


def test_lines_of_several_charts_share_a_legend() -> None:
    """A line of two charts is in the legend of the group; a chart with a line of its own keeps its own legend."""
    charts = [
        chart_of(("model", "s1"), ("hold", "s2")),
        chart_of(("model", "s1"), ("hold", "s2")),
        chart_of(("u", "s1")),
    ]
    shared = shared_lines(charts)
    assert list(shared) == ["model", "hold"]
    assert [is_covered(chart, shared) for chart in charts] == [True, True, False]


def test_a_name_with_two_styles_is_in_no_shared_legend() -> None:
    """One sign in a legend has one colour: such lines stay in the legends of their charts."""
    assert shared_lines([chart_of(("u", "s1")), chart_of(("u", "s2")), chart_of(("u", "s1"))]) == {}
    assert shared_lines([chart_of(("u", "s1"))]) == {}
