"""FoxgloveView: topics for Foxglove, Lichtblick and PlotJuggler, by foxglove-sdk. Messages are ROS 2 (`cdr`).

=================== =========================================================================
topic               content
=================== =========================================================================
/rtsysid/measured   the outputs by name
/rtsysid/predicted  the outputs predicted for one tick later, stamped with that tick
/rtsysid/forecast   times ``t``, and for each output NAME, NAME_low, NAME_high as arrays
/rtsysid/novelty    ``score`` and ``threshold``
/rtsysid/ages       ends of the bins in ms and counts, as arrays
/rtsysid/health     counts of session and source
=================== =========================================================================
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rtsysid.errors import LinkError
from rtsysid.guards.text import message_fields
from rtsysid.rosmsg import TIME, MessageType, Value
from rtsysid.view.feed import AGES_MS
from rtsysid.view.snapshot import SessionAbout, ViewSnapshot

_FIGURES = ("rate_hz", "p50", "p99", "worst", "stale", "skipped")
_LINK = ("samples", "gaps", "dropped", "corrupt", "losses", "reboots", "refused", "duplicates", "late", "lost", "jumps")


class FoxgloveView:
    """A WebSocket server at `host`, `port` (0: any). ``url``: where viewers connect.

    Raises LinkError where it cannot listen, or foxglove-sdk is not installed.
    """

    def __init__(self, about: SessionAbout, host: str = "127.0.0.1", port: int = 8765) -> None:
        try:
            import foxglove
        except ImportError as error:
            remedy = 'pip install "rtsysid[live]", or use --web'
            raise LinkError("view", f"foxglove-sdk cannot be imported ({error})", remedy) from None
        self.about, self._fields = about, fields_of(about)
        self._context = foxglove.Context()
        try:
            self._server = foxglove.start_server(name="rtsysid", host=host, port=port, context=self._context)
        except (RuntimeError, OSError) as error:
            raise LinkError(f"view at {host}:{port}", str(error), "give another port") from None
        self.url = f"ws://{host}:{self._server.port}"
        self._topics = {name: _FoxgloveTopic(foxglove, self._context, name, text) for name, text in self._definitions()}
        self._offset_s: float | None = None

    @property
    def watched(self) -> bool:
        """Whether a viewer has subscribed to a topic."""
        return any(each.wanted for each in self._topics.values())

    def show(self, snapshot: ViewSnapshot) -> None:
        """Log a snapshot; times are those of day, at the distances of the device's clock."""
        now_s = time.time()
        if snapshot.kept:
            self._offset_s = now_s - snapshot.kept[-1].answer.arrival.sample.t
        for each in snapshot.kept:
            self._show_answer(each.answer, each.score)
        if snapshot.forecast is not None:
            self._show_forecast(snapshot.forecast)
        self._topics["ages"].log(now_s, list(AGES_MS), [float(count) for count in snapshot.ages])
        self._topics["health"].log(now_s, *_health_row(snapshot.figures))

    def close(self) -> None:
        """End the server."""
        self._server.stop()

    def _show_answer(self, answer: Any, score: float) -> None:
        t = answer.arrival.sample.t + (self._offset_s or 0.0)
        ny = len(self._fields)
        self._topics["measured"].log(t, *answer.arrival.sample.values[-ny:].tolist())
        self._topics["predicted"].log(t + 1 / self.about.rate_hz, *answer.prediction.y.tolist())
        self._topics["novelty"].log(t, score, 1.0)

    def _show_forecast(self, shown: Any) -> None:
        begun = shown.t + (self._offset_s or 0.0)
        ahead = [(k + 1) / self.about.rate_hz for k in range(len(shown.y))]
        columns = [table[:, i].tolist() for i in range(len(self._fields)) for table in (shown.y, shown.low, shown.high)]
        self._topics["forecast"].log(begun, ahead, *columns)

    def _definitions(self) -> list[tuple[str, str]]:
        numbers = "".join(f"float64 {field}\n" for field in self._fields)
        arrays = "".join(f"float64[] {field}{end}\n" for field in self._fields for end in ("", "_low", "_high"))
        health = "".join(f"float64 {name}\n" for name in (*_FIGURES, *_LINK))
        return [
            ("measured", numbers), ("predicted", numbers), ("forecast", f"float64[] t\n{arrays}"),
            ("novelty", "float64 score\nfloat64 threshold\n"), ("ages", "float64[] end_ms\nfloat64[] count\n"),
            ("health", health),
        ]  # fmt: skip


class _FoxgloveTopic:
    """A topic, and the type of its messages."""

    def __init__(self, foxglove: Any, context: Any, name: str, fields: str) -> None:
        type_name, text = f"rtsysid_msgs/msg/{name.title()}", f"builtin_interfaces/Time stamp\n{fields}{TIME}"
        self._type = MessageType(type_name, text)
        schema = foxglove.Schema(name=type_name, encoding="ros2msg", data=text.encode())
        self._channel = foxglove.Channel(f"/rtsysid/{name}", schema=schema, message_encoding="cdr", context=context)

    @property
    def wanted(self) -> bool:
        return bool(self._channel.has_sinks())

    def log(self, t: float, *values: Value) -> None:
        """Log a message of the time t in s; nothing where nobody wants it."""
        if self.wanted:
            ns = max(round(t * 1e9), 0)
            self._channel.log(self._type.pack(*divmod(ns, 1_000_000_000), *values), log_time=ns)


def fields_of(about: SessionAbout) -> Sequence[str]:
    """Return the name of the field of each output."""
    return message_fields(about.outputs, {"stamp", "t"})


def _health_row(figures: Mapping[str, Any]) -> list[float]:
    link = figures.get("link", {})
    return [_as_float(figures.get(name)) for name in _FIGURES] + [_as_float(link.get(name)) for name in _LINK]


def _as_float(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan
