"""First: wait for the first messages of a source, and say what it sends: topics, fields, rates, channels."""

from __future__ import annotations

import math
import threading
from typing import Any

from rtsysid.errors import LinkError
from rtsysid.sources.channel_map import ChannelMap
from rtsysid.sources.messages import MOST_TOPICS, TopicMessage
from rtsysid.spec import Channel

LISTEN_S = 1.0  # where nothing says which messages count, what comes for so long is shown
_SHOWN = 40  # fields of a topic that are shown


class _TopicSeen:
    """What was seen of a topic: fields, number of messages, first and last time."""

    def __init__(self, message: TopicMessage) -> None:
        self.fields = dict.fromkeys(message.values)
        self.count, self.begun, self.latest = 0, message.t, message.t

    def add(self, message: TopicMessage) -> None:
        self.count += 1
        self.latest = message.t

    @property
    def rate_hz(self) -> float:
        """Return the messages per second of their own time; 0 where there are too few."""
        passed = self.latest - self.begun
        return (self.count - 1) / passed if passed > 0 else 0.0

    def line(self) -> str:
        names = list(self.fields)
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        return f"{self.rate_hz:.4g} Hz: {', '.join(names[:_SHOWN])}{more}"


class First:
    """Watch the first messages; the reader calls `see`, the consumer waits. ``latest_t``: of the newest message, s."""

    def __init__(self, mapping: ChannelMap, url: str) -> None:
        self._mapping, self._url = mapping, url
        self._wanted = {each.name for each in mapping.channels}
        self._topics: dict[str, _TopicSeen] = {}
        self._begun_s: float | None = None
        self.latest_t = math.nan
        self._met = threading.Event()

    def see(self, message: TopicMessage, now_s: float) -> None:
        """Look at a message read at `now_s`. Raises LinkError where it is of another robot."""
        self.latest_t = message.t
        if self._met.is_set():
            return
        if self._begun_s is None:
            self._begun_s = now_s
        if message.topic in self._topics or len(self._topics) < MOST_TOPICS:
            self._topics.setdefault(message.topic, _TopicSeen(message)).add(message)
        if not self._wanted:
            if now_s - self._begun_s >= LISTEN_S:
                self._met.set()
        elif self._mapping.sources:
            self._check_topics(message)
        elif self._wanted & message.values.keys():
            self._check_names(message)

    def end(self) -> None:
        """Wake who waits: no more messages come."""
        self._met.set()

    def wait(self, timeout_s: float) -> bool:
        """Wait for what `see` looks for; return whether something came."""
        self._met.wait(timeout_s)
        return bool(self._topics) and (self._met.is_set() or not self._wanted)

    def seen(self) -> str:
        """Say what came although nothing of it was wanted: topics, or fields where there is no map; "" for nothing."""
        if self._mapping.sources or not self._topics:
            names = list(self._topics)[:_SHOWN]
            return f"of the topics of the map; there are {', '.join(map(repr, names))}" if names else ""
        fields = list(dict.fromkeys(name for topic in self._topics.values() for name in topic.fields))[:_SHOWN]
        return f"with a channel of the model; the fields are {', '.join(fields) or 'none'}"

    def describe(self) -> dict[str, Any]:
        """Return topics with rates and fields, as plain values."""
        return {"topics": {name or "-": topic.line() for name, topic in self._topics.items()}}

    def channels(self) -> tuple[Channel, ...]:
        """Return a channel for each field of the one topic; none where there are several."""
        if len(self._topics) != 1:
            return ()
        ((_, topic),) = self._topics.items()
        return tuple(Channel(name) for name in topic.fields)

    def rate_hz(self) -> float:
        """Return the measured rate of the one topic; 0 where there are several, or it is not known."""
        return next(iter(self._topics.values())).rate_hz if len(self._topics) == 1 else 0.0

    def _check_topics(self, message: TopicMessage) -> None:
        wanted = [each for each in self._mapping.sources.values() if each.topic == message.topic]
        names = {name for each in wanted for name in each.fields or (each.field,)}
        missing = sorted(names - message.values.keys())
        if missing:
            raise self._wrong(message, missing, "name fields that it has in the map")
        if names:
            self._met.set()

    def _check_names(self, message: TopicMessage) -> None:
        missing = sorted(self._wanted - message.values.keys())
        if missing:
            raise self._wrong(message, missing, "send all channels in one message, or give a --map of the topics")
        self._met.set()

    def _wrong(self, message: TopicMessage, missing: list[str], remedy: str) -> LinkError:
        topic = f"topic {message.topic!r} " if message.topic else "a message "
        found = f"{topic}lacks {', '.join(missing[:5])}; it has {', '.join(list(message.values)[:_SHOWN]) or 'nothing'}"
        return LinkError(f"source {self._url}", found, remedy)
