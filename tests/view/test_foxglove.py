"""Viewers that speak the protocol of Foxglove get topics that carry their own definitions; the layout fits them."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.live_parts import until
from support.shell import command
from support.views import about, answers, feeder

from rtsysid.rosmsg import MessageType
from rtsysid.view.feed import LiveFeed
from rtsysid.view.snapshot import ViewSnapshot

client = pytest.importorskip("websockets.sync.client", reason="wants websockets")
pytest.importorskip("foxglove", reason="wants foxglove-sdk")


@pytest.fixture
def view() -> Iterator[Any]:
    from rtsysid.view.foxglove import FoxgloveView

    made = FoxgloveView(about(), port=0)
    yield made
    made.close()


def advertised(held: Any) -> dict[str, dict[str, Any]]:
    """The channels that the server offers, by topic."""
    while True:
        told = json.loads(held.recv(timeout=20))
        if told["op"] == "advertise":
            return {each["topic"]: each for each in told["channels"]}


def test_topics_carry_their_definitions_and_values(view: Any) -> None:
    """A client of the protocol finds the topics, subscribes, and decodes measurements by the definition it was sent."""
    session, shown = feeder(), feeder().session
    feed = LiveFeed(lambda: shown)
    with client.connect(view.url, subprotocols=["foxglove.sdk.v1"], proxy=None) as held:
        channels = advertised(held)
        assert set(channels) == {
            f"/rtsysid/{n}" for n in ("measured", "predicted", "forecast", "novelty", "ages", "health")
        }
        assert not view.watched
        chosen = channels["/rtsysid/measured"]
        held.send(json.dumps({"op": "subscribe", "subscriptions": [{"id": 1, "channelId": chosen["id"]}]}))
        until(lambda: view.watched, "the subscription")
        for answer in answers(session, 2):
            feed.prediction(answer)
        view.show(ViewSnapshot.of(feed))
        data = held.recv(timeout=20)
    assert isinstance(data, bytes)
    code, subscription, _ = struct.unpack_from("<BIQ", data)
    assert (code, subscription) == (1, 1)
    kind = MessageType(chosen["schemaName"], chosen["schema"])
    values = dict(zip(kind.names, kind.unpack(data[13:]), strict=True))
    assert [values["x"], values["v"]] == answer.arrival.sample.values[1:].tolist()


def test_a_layout_names_topics_and_fields_that_exist(bundle_folder: Path, view: Any) -> None:
    """Every path of a layout is a field of a topic that the view serves."""
    layout = json.loads(command("info", bundle_folder, "--layout").stdout)
    fields = {name: set(topic._type.names) for name, topic in view._topics.items()}
    fields["measured"] = fields["predicted"] = {"y", "v"}
    fields["forecast"] |= {f"{name}{end}" for name in ("y", "v") for end in ("", "_low", "_high")}
    found = re.findall(r'"/rtsysid/(\w+)\.(\w+)(?:\[:\])?"', json.dumps(layout))
    assert len(found) > 10
    assert [each for each in found if each[1] not in fields[each[0]]] == []
    assert {"Plot!output0", "Plot!ages", "Table!health"} <= set(layout["configById"])
