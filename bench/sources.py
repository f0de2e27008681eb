"""Sources and views at 500 Hz and 13 channels on loopback: losses, time from receipt to answer, cost of a view.

The sender is a process of its own, and so is what looks at a view. The model is that of reference size, by ONNX.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from bench.reference import Reference, reference_spec
from rtsysid.cli.console import table
from rtsysid.model.backends.onnx_backend import OnnxBackend
from rtsysid.model.predictor import Predictor
from rtsysid.view.foxglove import FoxgloveView
from rtsysid.view.snapshot import SessionAbout
from rtsysid.view.viewer import Viewer
from rtsysid.view.web import WebView

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # the senders are those of the tests
from support.rates import RATE_HZ, RATES, SPEC, WIDTH, Measured, measured

SECONDS = 10.0
HEADER = ("source", "view", "sent", "gaps", "dropped", "p50 ms", "p99 ms", "worst ms", "reader", "viewer")
READ_PAGE = "import sys, urllib.request\nwith urllib.request.urlopen(sys.argv[1] + 'events') as page:\n    list(page)\n"
READ_TOPICS = """
import json, sys
from websockets.sync.client import connect
with connect(sys.argv[1], subprotocols=["foxglove.sdk.v1"], proxy=None) as held:
    for message in held:
        told = json.loads(message) if isinstance(message, str) else {}
        if told.get("op") == "advertise":
            wanted = [{"id": k, "channelId": each["id"]} for k, each in enumerate(told["channels"])]
            held.send(json.dumps({"op": "subscribe", "subscriptions": wanted}))
"""
VIEWS = ("none", "page", "Foxglove", "page, stuck")


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="bench-sources-"))
    predictor = predictor_of()
    rows = [row(name, "none", measured(name, SECONDS, folder, predictor=predictor)) for name in RATES]
    for view in VIEWS[1:]:
        with looking(view, predictor) as viewing:
            rows.append(row("udp", view, measured("udp", SECONDS, folder, predictor=predictor, viewing=viewing)))
    shutil.rmtree(folder)
    print(f"{RATE_HZ:g} Hz, {WIDTH} channels, {SECONDS:g} s; ms from receipt to answer; reader and viewer: of a core\n")
    print(table(HEADER, rows))


def predictor_of() -> Predictor:
    """The model of reference size with the channels of the senders."""
    spec = msgspec.structs.replace(reference_spec(4, WIDTH - 4), channels=SPEC.channels, rate_hz=RATE_HZ)
    reference = Reference(4, WIDTH - 4)
    graphs = {path.name: path.read_bytes() for path in reference.folder.glob("*.onnx")}
    return Predictor(spec, OnnxBackend(reference.spec, graphs))


def row(source: str, view: str, found: Measured) -> list[str]:
    """Format one session."""
    ages = np.quantile(np.array(found.ages) * 1e3, [0.5, 0.99, 1.0])
    counts = (found.sent, found.health.gaps, found.health.dropped)
    shares = (f"{found.reader:.1%}", f"{found.view:.1%}")
    return [source, view, *map(str, counts), *(f"{age:.2f}" for age in ages), *shares]


@contextmanager
def looking(name: str, predictor: Predictor) -> Iterator[Callable[[Any], Viewer]]:
    """Open a view with somebody who looks at it, or who has stopped to."""
    about = SessionAbout.of(SPEC, "udp", "bench", False)
    view = FoxgloveView(about, port=0) if name == "Foxglove" else WebView(about, port=0)
    code = READ_TOPICS if name == "Foxglove" else READ_PAGE
    looks: Any = None
    if name == "page, stuck":
        looks = socket.create_connection(("127.0.0.1", int(view.url.rsplit(":", 1)[1].strip("/"))))
        looks.sendall(b"GET /events HTTP/1.0\r\nHost: localhost\r\n\r\n")
    else:
        looks = subprocess.Popen([sys.executable, "-c", code, view.url], stdout=subprocess.DEVNULL)
    held: list[Viewer] = []

    def opened(session: Any) -> Viewer:
        held.append(Viewer([view], lambda: session, predictor).__enter__())
        return held[-1]

    try:
        yield opened
    finally:
        for each in held:
            each.__exit__()
        looks.close() if isinstance(looks, socket.socket) else looks.kill()
