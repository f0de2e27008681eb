"""The transport by a node of rclpy: messages as bytes, so that they are recorded and decoded as those of Zenoh."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any

from rtsysid.sources.ros2.decoding import definition_piece
from rtsysid.sources.ros2.keys import NO_HASH, Attachment, TopicKey, piece_of
from rtsysid.sources.ros2.types import Types

_WAITING = 8192  # messages that may wait for the reader
_DEPTH = 100  # messages that the middleware keeps
_LOOK_S = 0.5  # between looks for topics that are not there yet


def rclpy_available() -> bool:
    """Tell whether rclpy can be imported."""
    try:
        import_module("rclpy")
    except ImportError:
        return False
    return True


class RclpyNode:
    """A node. `topics`: to subscribe to as soon as they are there, none: all."""

    def __init__(self, domain: int, topics: Sequence[str], types: Types, node: str) -> None:
        rclpy = import_module("rclpy")
        self._qos, self._executors = import_module("rclpy.qos"), import_module("rclpy.executors")
        self._domain, self._types, self._topics = domain, types, set(topics)
        self._waiting: deque[bytes] = deque(maxlen=_WAITING)
        self._came = threading.Event()
        self.overflowed = 0
        self.remarks: deque[str] = deque(maxlen=100)
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=domain)
        self._node: Any = rclpy.create_node(node, context=self._context)
        self._subscribed: set[str] = set()
        self._publishers: dict[str, Any] = {}
        self._look()
        self._node.create_timer(_LOOK_S, self._look)
        self._executor = self._executors.SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="rclpy", daemon=True)
        self._thread.start()

    def receive(self, timeout_s: float) -> Sequence[bytes]:
        """Return the messages that have come."""
        if not self._came.wait(timeout_s):
            return ()
        self._came.clear()
        return [self._waiting.popleft() for _ in range(len(self._waiting))]

    def send(self, data: bytes) -> bool:
        """Take nothing: see `publish`."""
        return False

    def publish(self, topic: str, type_name: str, payload: bytes) -> None:
        """Publish a message."""
        publisher = self._publishers.get(topic)
        if publisher is None:
            publisher = self._publishers[topic] = self._node.create_publisher(_class_of(type_name), topic, 10)
        publisher.publish(payload)

    def close(self) -> None:
        """End the node."""
        self._executor.shutdown(timeout_sec=1.0)
        self._context.try_shutdown()

    def _spin(self) -> None:
        with suppress(self._executors.ExternalShutdownException):
            self._executor.spin()

    def _look(self) -> None:
        """Subscribe to the topics that are wanted and have come."""
        for topic, kinds in self._node.get_topic_names_and_types():
            if topic in self._subscribed or (self._topics and topic not in self._topics):
                continue
            self._subscribed.add(topic)
            self._subscribe(topic, kinds[0])

    def _subscribe(self, topic: str, type_name: str) -> None:
        definition = self._types.text(type_name)
        if definition is None:
            self.remarks.append(f"{topic}: {type_name} is not known; give msg=FOLDER")
            return
        try:
            kind = _class_of(type_name)
        except (ImportError, AttributeError):
            self.remarks.append(f"{topic}: the package of {type_name} is not installed")
            return
        self._put(definition_piece(type_name, definition))
        key = str(TopicKey(self._domain, topic, type_name, NO_HASH))

        def take(payload: bytes, info: Any) -> None:
            number = info.get("publication_sequence_number") or -1
            attached = Attachment(number, info["source_timestamp"] or 0).pack(b"")
            self._put(piece_of(key, attached, payload))

        quality = self._qos.QoSProfile(depth=_DEPTH, reliability=self._qos.ReliabilityPolicy.BEST_EFFORT)
        self._node.create_subscription(kind, topic, take, quality, raw=True)

    def _put(self, piece: bytes) -> None:
        self.overflowed += len(self._waiting) == _WAITING
        self._waiting.append(piece)
        self._came.set()


def _class_of(type_name: str) -> Any:
    package, _, name = type_name.split("/")
    return getattr(import_module(f"{package}.msg"), name)
