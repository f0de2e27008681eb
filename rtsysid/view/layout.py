"""A layout file for Foxglove and Lichtblick: outputs with predictions and forecasts, novelty, ages, counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rtsysid.view.foxglove import fields_of
from rtsysid.view.snapshot import SessionAbout

_MOST = 12  # outputs with a panel of their own


def layout(about: SessionAbout) -> dict[str, Any]:
    """Return a layout as JSON takes it; import it in the viewer."""
    fields = fields_of(about)[:_MOST]
    panels: dict[str, Any] = {f"Plot!output{i}": _output(field) for i, field in enumerate(fields)}
    panels |= {f"Plot!forecast{i}": _forecast_plot(field) for i, field in enumerate(fields)}
    panels["Plot!novelty"] = _plot_panel(["/rtsysid/novelty.score", "/rtsysid/novelty.threshold"])
    panels["Plot!ages"] = {
        **_plot_panel(["/rtsysid/ages.count[:]"]),
        "xAxisVal": "currentCustom",
        "xAxisPath": _plot_path("/rtsysid/ages.end_ms[:]"),
    }
    panels["Table!health"] = {"topicPath": "/rtsysid/health"}
    return {"configById": panels, "globalVariables": {}, "userNodes": {}, "layout": _split_panels(list(panels), "row")}


def _output(field: str) -> dict[str, Any]:
    return _plot_panel([f"/rtsysid/measured.{field}", f"/rtsysid/predicted.{field}"])


def _forecast_plot(field: str) -> dict[str, Any]:
    paths = [f"/rtsysid/forecast.{field}{end}[:]" for end in ("", "_low", "_high")]
    return {**_plot_panel(paths), "xAxisVal": "currentCustom", "xAxisPath": _plot_path("/rtsysid/forecast.t[:]")}


def _plot_panel(paths: Sequence[str]) -> dict[str, Any]:
    return {
        "paths": [{**_plot_path(path), "timestampMethod": "headerStamp"} for path in paths], "xAxisVal": "timestamp",
        "showLegend": True, "legendDisplay": "floating", "isSynced": True, "followingViewWidth": 10,
    }  # fmt: skip


def _plot_path(value: str) -> dict[str, Any]:
    return {"value": value, "enabled": True}


def _split_panels(names: Sequence[str], direction: str) -> Any:
    """Arrange panels in halves, side by side and above each other in turn."""
    if len(names) == 1:
        return names[0]
    half = (len(names) + 1) // 2
    other = "column" if direction == "row" else "row"
    halves = {"first": _split_panels(names[:half], other), "second": _split_panels(names[half:], other)}
    return {**halves, "direction": direction, "splitPercentage": 50}
