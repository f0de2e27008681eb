"""The transport by Zenoh: subscriptions and publishers with the keys of rmw_zenoh, visible to the tools of ROS 2."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from rtsysid.errors import LinkError
from rtsysid.sources.needs import live_package
from rtsysid.sources.ros2.decoding import definition_piece
from rtsysid.sources.ros2.keys import NO_HASH, Attachment, TopicKey, piece_of, token
from rtsysid.sources.ros2.types import Types

_WAITING = 8192  # messages that may wait for the reader


class ZenohSession:
    """A session. `topics`: to subscribe to, none: all. `remarks` gets a line for each topic that cannot be read."""

    def __init__(self, domain: int, topics: Sequence[str], types: Types, where: dict[str, str], node: str) -> None:
        self._zenoh = live_package("zenoh", "ROS 2")
        self._domain, self._types, self._node = domain, types, node
        self._waiting: deque[tuple[str, bytes, bytes]] = deque(maxlen=_WAITING)
        self._came = threading.Event()
        self.overflowed = 0
        self.remarks: deque[str] = deque(maxlen=100)
        self._told: dict[str, bool] = {}  # whether the type of a key is known
        self._entities = 0
        self._held: list[Any] = []
        self._publishers: dict[str, _Publisher] = {}
        self._session = self._opened(where)
        self._declare_token("NN", None)
        keys = [f"{domain}/{topic.strip('/')}/*/*" for topic in topics] or [f"{domain}/**"]
        self._held += [self._session.declare_subscriber(key, self._take) for key in keys]

    def receive(self, timeout_s: float) -> Sequence[bytes]:
        """Return the messages that have come, and before the first of each type its definition."""
        if not self._came.wait(timeout_s):
            return ()
        self._came.clear()
        found: list[bytes] = []
        for _ in range(len(self._waiting)):
            key, attached, payload = self._waiting.popleft()
            if self._know(key, found):
                found.append(piece_of(key, attached, payload))
        return found

    def send(self, data: bytes) -> bool:
        """Take nothing: see `publish`."""
        return False

    def publish(self, topic: str, type_name: str, payload: bytes) -> None:
        """Publish a message."""
        publisher = self._publishers.get(topic)
        if publisher is None:
            key = TopicKey(self._domain, topic, type_name, self._types.type_hash(type_name))
            self._declare_token("MP", key)
            publisher = self._publishers[topic] = _Publisher(self._session.declare_publisher(str(key)))
        publisher.put(payload)

    def close(self) -> None:
        """Close the session."""
        self._session.close()

    def _opened(self, where: Mapping[str, str | bool]) -> Any:
        where = {"mode": "peer", "listen/endpoints": "tcp/localhost:0", "scouting/multicast/enabled": False, **where}
        config = self._zenoh.Config()
        for name, value in where.items():
            self._set(config, name, [value] if name.endswith("endpoints") else value)
        try:
            return self._zenoh.open(config)
        except self._zenoh.ZError as error:
            raise OSError(str(error).splitlines()[0]) from None

    def _set(self, config: Any, name: str, value: Any) -> None:
        try:
            config.insert_json5(name, json.dumps(value))
        except self._zenoh.ZError:
            option = f"{name.partition('/')[0]}={value[0] if isinstance(value, list) else value}"
            raise LinkError("ROS 2 by Zenoh", f"{option} is no endpoint", "write tcp/HOST:PORT") from None

    def _declare_token(self, kind: str, key: TopicKey | None) -> None:
        text = token(self._domain, str(self._session.zid()), self._entities, kind, self._node, key)
        self._entities += 1
        self._held.append(self._session.liveliness().declare_token(text))

    def _take(self, sample: Any) -> None:
        attached = b"" if sample.attachment is None else sample.attachment.to_bytes()
        self.overflowed += len(self._waiting) == _WAITING
        self._waiting.append((str(sample.key_expr), attached, sample.payload.to_bytes()))
        self._came.set()

    def _know(self, text: str, found: list[bytes]) -> bool:
        """Return whether the type of a key is known; append its definition to `found` at the first time."""
        if text not in self._told and len(self._told) < _WAITING:
            key = TopicKey.parse(text)
            definition = None if key is None else self._types.text(key.type_name)
            self._told[text] = key is not None and definition is not None and self._agrees(key)
            if key is not None and definition is not None and self._told[text]:
                self._declare_token("MS", key)
                found.append(definition_piece(key.type_name, definition))
            elif key is not None:
                self.remarks.append(f"{key.topic}: {key.type_name} with this hash is not known; give msg=FOLDER")
        return self._told.get(text, False)

    def _agrees(self, key: TopicKey) -> bool:
        return key.type_hash in (NO_HASH, self._types.type_hash(key.type_name))


class _Publisher:
    """A publisher with the numbers and times that rmw_zenoh attaches."""

    def __init__(self, publisher: Any) -> None:
        self._publisher, self._identity, self._number = publisher, secrets.token_bytes(16), 0

    def put(self, payload: bytes) -> None:
        self._number += 1
        self._publisher.put(payload, attachment=Attachment(self._number, time.time_ns()).pack(self._identity))
