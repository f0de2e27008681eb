"""PublishingSink: hand what the loop answers to a source that publishes forecasts and health."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from rtsysid.live.loop import Answer
from rtsysid.spec import Arrival


@runtime_checkable
class Publishing(Protocol):
    """A source that publishes more than predictions: `rtsysid.sources.ros2.source.Ros2Source`."""

    def forecast(self, t: float, tick_s: float, outputs: Sequence[Sequence[float]]) -> None: ...
    def publish_health(self, figures: Mapping[str, Any]) -> None: ...


class PublishingSink:
    """Publish forecasts and health through a source. ``forecast_of``: returns the forecast due after an answer."""

    def __init__(self, source: Publishing, tick_s: float, forecast_of: Callable[[Answer], Any]) -> None:
        self._source, self._tick_s, self._forecast_of = source, tick_s, forecast_of

    def sample(self, arrival: Arrival) -> None:
        """Do nothing."""

    def prediction(self, answer: Answer) -> None:
        """Publish a forecast where one is due."""
        found = self._forecast_of(answer) if answer.sent else None
        if found is not None:
            self._source.forecast(found.t, self._tick_s, found.y.tolist())

    def health(self, figures: Mapping[str, Any]) -> None:
        """Publish counts."""
        self._source.publish_health(figures)
