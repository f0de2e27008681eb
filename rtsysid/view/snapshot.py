"""Plain values for views: `ViewSnapshot` covers a tenth of a second, `SessionAbout` describes the session."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rtsysid.guards.text import visible
from rtsysid.spec import ModelSpec
from rtsysid.view.feed import AGES_MS, Kept, LiveFeed
from rtsysid.view.forecasts import ShownForecast

_NAME = 60  # characters of a name


class SessionAbout(NamedTuple):
    """What does not change: names of outputs with their units, the rate, and where samples and model come from."""

    outputs: tuple[str, ...]
    units: tuple[str, ...]
    rate_hz: float
    source: str
    bundle: str
    novelty: bool

    @classmethod
    def of(cls, spec: ModelSpec, source: str, bundle: str, novelty: bool) -> SessionAbout:
        """Describe a session."""
        names = tuple(visible(each.name)[:_NAME] for each in spec.outputs)
        units = tuple(visible(each.unit)[:_NAME] for each in spec.outputs)
        return cls(names, units, spec.rate_hz, visible(source), bundle, novelty)

    def plain(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return {**self._asdict(), "ages_ms": AGES_MS}


class ViewSnapshot(NamedTuple):
    """What came since the last one. ``kept``: answers; ``forecast``: the newest, or None."""

    kept: Sequence[Kept]
    forecast: ShownForecast | None
    ages: Sequence[int]
    statuses: Mapping[str, int]
    figures: Mapping[str, Any]

    @classmethod
    def of(cls, feed: LiveFeed) -> ViewSnapshot:
        """Take what has come."""
        return cls(feed.take(), feed.forecast(), tuple(feed.ages), dict(feed.statuses), feed.figures)

    def plain(self, about: SessionAbout) -> dict[str, Any]:
        """Return it as JSON takes it: a row of `measured` and `predicted` for each t; None replaces NaN."""
        tick_s, ny = 1 / about.rate_hz, len(about.outputs)
        answers = [each.answer for each in self.kept]
        return {
            "t": [round(each.arrival.sample.t, 6) for each in answers],
            "measured": [_json_values(each.arrival.sample.values[-ny:].tolist()) for each in answers],
            "predicted": [_json_values(each.prediction.y.tolist()) for each in answers],
            "status": [str(each.status) for each in answers],
            "score": _json_values([each.score for each in self.kept]),
            "forecast": None if self.forecast is None else _plain_forecast(self.forecast, tick_s),
            "ages": self.ages, "statuses": self.statuses, "figures": _shown_figures(self.figures),
        }  # fmt: skip


def _plain_forecast(shown: ShownForecast, tick_s: float) -> dict[str, Any]:
    t = [round(shown.t + (k + 1) * tick_s, 6) for k in range(len(shown.y))]
    rows = {name: [_json_values(row) for row in getattr(shown, name).tolist()] for name in ("y", "low", "high")}
    return {"t": t, **rows}


def _shown_figures(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of the link and of the ages that a person looks at."""
    link = figures.get("link", {})
    own = {name: figures.get(name) for name in ("rate_hz", "p50", "p99", "worst", "stale", "skipped")}
    counts = ("samples", "gaps", "dropped", "corrupt", "duplicates", "late", "lost", "refused", "jumps", "losses")
    names = ("state", *counts, "reboots")
    return {**_present(own), **{name: link[name] for name in names if name in link}}


def _present(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in figures.items() if value is not None}


def _json_values(values: Sequence[float]) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values]
