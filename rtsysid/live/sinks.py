"""Sinks: hand what the loop answers to several sinks; and to a source that publishes forecasts and health."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from rtsysid.live.loop import Answer, Sink
from rtsysid.spec import Arrival


class Sinks:
    """Several sinks as one, in order."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = tuple(sinks)

    @classmethod
    def of(cls, *sinks: Sink | None) -> Sink | None:
        """Join the sinks that there are; None without any."""
        found = [each for each in sinks if each is not None]
        return None if not found else found[0] if len(found) == 1 else cls(found)

    def sample(self, arrival: Arrival) -> None:
        """Hand on a sample."""
        for sink in self._sinks:
            sink.sample(arrival)

    def prediction(self, answer: Answer) -> None:
        """Hand on an answer."""
        for sink in self._sinks:
            sink.prediction(answer)

    def health(self, figures: Mapping[str, Any]) -> None:
        """Hand on figures."""
        for sink in self._sinks:
            sink.health(figures)


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
