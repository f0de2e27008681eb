"""The link on real pseudo-terminals and sockets, with the firmware as a process at the other end."""

from __future__ import annotations

import itertools
import math
import os
import pty
import re
import select
import socket
import threading
import time
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from support.fake_board import model
from support.live_parts import PATIENCE_S, board_schema, numbered, streaming, take, until

from firmware_bridge.device import SimulatedDevice
from firmware_bridge.link import Link
from firmware_bridge.wire import FrameDecoder
from rtsysid.errors import LinkError
from rtsysid.source.port import Port


@pytest.fixture
def device() -> Iterator[SimulatedDevice]:
    with SimulatedDevice(board_schema(), numbered(5000), repeat=True) as running:
        yield running


def test_samples_come_in_order_with_their_times(device: SimulatedDevice) -> None:
    """The first samples of a trace come complete, in order, with their values; their times are plausible as soon as the
    clocks agree, and unknown before."""
    with Link(device.port) as link:
        arrivals = []
        for arrival in link:
            arrivals.append(arrival)
            if len(arrivals) >= 300 and link.health().clock_converged and not math.isnan(arrival.captured_s):
                break
        assert [int(a.sample.values[0]) for a in arrivals] == list(range(len(arrivals)))
        steps = np.diff([a.device_t_us for a in arrivals])
        assert abs(steps - 2000).max() <= 1
        dated = list(itertools.dropwhile(lambda a: math.isnan(a.captured_s), arrivals))
        assert len(dated) < len(arrivals)
        assert all(-0.001 < a.received_s - a.captured_s < PATIENCE_S for a in dated)
        until(lambda: link.health().device is not None, "a heartbeat")
        health = link.health()
        calm = msgspec.structs.replace(health, clock_outliers=0)  # a busy machine may delay a round trip
        assert calm.clean, health
        assert health.clock_converged


def test_predictions_reach_the_device(device: SimulatedDevice) -> None:
    """What is predicted arrives with its number, status and values, and the device takes it into its mailbox."""
    with Link(device.port) as link:
        streaming(link)
        link.predict(1234, "warm-up", 0.001, 0.002, np.array([1.5, -2.5], np.float32))
        until(lambda: " 1234 " in device.status(), "the prediction")
        assert device.status().split()[2:] == ["1234", "3", "1.5", "-2.5"]
        assert link.health().predictions == 1


def test_leaving_stops_the_stream(device: SimulatedDevice) -> None:
    """The end of the block stops the device, which then waits for the next host."""
    with Link(device.port) as link:
        take(link, 10)
    until(lambda: device.status().split()[0] == "0", "the device to be idle")
    with Link(device.port) as link:
        take(link, 10)


def test_closing_delivers_what_had_come(device: SimulatedDevice) -> None:
    """After `close` the iteration ends by itself, with every sample that was received."""
    with Link(device.port) as link:
        count = len(take(link, 50))
        link.close()
        count += sum(1 for _ in link)
        assert count == link.health().samples
        assert link.health().state == "closed"


def test_a_trace_that_ends_ends_the_iteration() -> None:
    """A device that has played everything says goodbye: the loop ends by itself with every sample delivered."""
    with SimulatedDevice(board_schema(), numbered(200)) as device, Link(device.port) as link:
        found = [int(arrival.sample.values[0]) for arrival in link]
        health = link.health()
    assert found == list(range(200))
    assert (health.state, health.samples, health.losses, health.gaps) == ("closed", 200, 0, 0)


def test_all_bytes_go_to_the_tap(device: SimulatedDevice) -> None:
    """What the tap was given decodes to the very frames that were counted, in both directions, from the opening on."""

    class Tap:
        def __init__(self) -> None:
            self.bytes = {"rx": b"", "tx": b""}
            self.order: list[str] = []

        def wire(self, direction: str, host_ns: int, data: bytes) -> None:
            assert abs(host_ns - time.monotonic_ns()) < PATIENCE_S * 1e9
            self.order.append(direction)
            if direction != "open":
                self.bytes[direction] += data

    tap = Tap()
    with Link(device.port, tap=tap) as link:
        take(link, 300)  # 0.6 s: eight round trips of the clock, and what begins the stream
    decoders = {}
    for direction, data in tap.bytes.items():
        decoders[direction] = FrameDecoder(device.schema.hash)
        decoders[direction].feed(data)
    assert decoders["rx"].counters.ok == link.health().wire.ok
    assert decoders["tx"].counters.clean
    assert decoders["tx"].counters.ok >= 12
    assert tap.order[0] == "open"
    assert tap.order.count("open") == 1


def test_a_model_for_another_board_is_refused(device: SimulatedDevice) -> None:
    """A board with other channels than the model's ends the iteration with an error that names the fields."""
    with Link(device.port, spec=model(rate_hz=300.0)) as link:
        with pytest.raises(LinkError, match="differs from the model in rate_hz"):
            next(iter(link))
        with pytest.raises(LinkError, match="rate_hz"):
            link.board()


def test_a_slow_wire_is_refused(device: SimulatedDevice) -> None:
    """At 115200 baud 500 Hz of 26 bytes are too much; the error names the rate that would fit."""
    with (
        Link(device.port, baudrate=115_200) as link,
        pytest.raises(LinkError, match=r"500 Hz of 26 bytes fill 113% of the wire; at most 310 Hz fit"),
    ):
        take(link, 1)
    with Link(device.port, baudrate=115_200, divider=2) as link:
        assert take(link, 5)[:5] == [0, 2, 4, 6, 8]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("/dev/no-such-port", "No such file or directory"),
        ("hwgrep://no-such-board", "no ports found"),
        ("hwgrep://(", "unterminated subpattern"),
        ("nonsense://x", "unknown kind of address; give a path, hwgrep://PATTERN or socket://HOST:PORT"),
        ("spy://loop://", "unknown kind of address"),
        ("socket://localhost", "no host and port"),
        ("socket://localhost:notanumber", "no host and port"),
        ("socket://127.0.0.1:1", "Connection refused"),
    ],
)
def test_a_port_that_cannot_be_opened_is_one_line(url: str, said: str) -> None:
    """A wrong port is an error with a reason and a remedy, without waiting."""
    with pytest.raises(LinkError, match=re.escape(url)) as caught:
        Link(url).__enter__()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_port_in_use_is_refused(device: SimulatedDevice) -> None:
    """Two hosts on one port would each see half of the bytes: the second is told."""
    with Link(device.port), pytest.raises(LinkError, match="another program holds this port; end that program first"):
        Link(device.port).__enter__()


def test_nobody_answers() -> None:
    """A port with nothing behind it opens, and asking for its board ends after the time given."""
    ours, theirs = pty.openpty()
    try:
        with Link(os.ttyname(theirs)) as link, pytest.raises(LinkError, match=r"no answer for 0\.3 s"):
            link.board(timeout_s=0.3)
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_link_over_a_socket(device: SimulatedDevice) -> None:
    """Behind socket:// the same device gives the same samples; when the server goes the link is lost and comes back."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        relays = _Relay(server, device)
        with Link(f"socket://127.0.0.1:{server.getsockname()[1]}") as link:
            assert take(link, 100)[:100] == list(range(100))
            relays.cut()
            until(lambda: link.health().losses == 1, "the loss")
            streaming(link)
        relays.cut()
        relays.join(PATIENCE_S)
    assert link.health().opened == 2


class _Relay(threading.Thread):
    """Carries bytes between TCP connections, two one after the other, and the device's port."""

    def __init__(self, server: socket.socket, device: SimulatedDevice) -> None:
        super().__init__(daemon=True)
        self.server, self.device = server, device
        self.connected = False
        self.start()

    def run(self) -> None:
        for _ in range(2):
            connection, _ = self.server.accept()
            self.connected = True
            with connection, Port(self.device.port) as port:
                while self.connected:
                    ready, _, _ = select.select([connection, port.fd], [], [], 0.01)
                    if connection in ready:
                        sent = connection.recv(4096)
                        if not sent:
                            break
                        port.write(sent)
                    if port.fd in ready:
                        connection.sendall(port.read(0.0))

    def cut(self) -> None:
        self.connected = False


def test_a_port_gives_all_there_is(tmp_path: Path) -> None:
    """One read takes everything that has come, waits no longer than told, and a hang-up is an OSError."""
    ours, theirs = pty.openpty()
    tty.setraw(ours)
    name = os.ttyname(theirs)
    os.close(theirs)
    with Port(name) as port:
        assert port.read(0.001) == b""
        os.write(ours, b"x" * 300)
        assert port.read(PATIENCE_S) == b"x" * 300
        assert port.write(b"hello") == 5
        assert os.read(ours, 10) == b"hello"
        full = sum(iter(lambda: port.write(b"y" * 1000), 0))
        assert full > 1000
        os.close(ours)
        with pytest.raises(OSError, match="the other side closed"):
            port.read(PATIENCE_S)


def test_what_was_read_before_a_failed_write_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cable that is pulled between a read and the next write costs no sample that was read: all of them come out."""
    with SimulatedDevice(board_schema(), numbered(2000)) as device, Link(device.port) as link:
        post, calls = link._outbox.post, itertools.count()

        def pulled(*what: Any) -> None:
            if link.health().samples and next(calls) % 3 == 2:
                raise OSError("pulled")
            post(*what)

        monkeypatch.setattr(link._outbox, "post", pulled)
        found = 0
        for batch in link.batches():
            found += len(batch)
            if link.health().losses >= 5:
                link.close()
        assert found == link.health().samples > 0
