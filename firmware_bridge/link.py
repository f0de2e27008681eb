"""Link: samples from a board and predictions to it, over a cable that may be pulled at any time.

    with Link("/dev/ttyACM0") as link:
        for arrival in link:
            ...
            link.predict(arrival.seq, "ok", age_s, horizon_s, y)

One thread reads all received bytes, decodes them and puts the samples into a bounded queue. It also sends requests and
heartbeats, and opens the port again whenever it is lost. The consumer never waits for the line, nor the reader for the
consumer.
"""

from __future__ import annotations

import math
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import copy
from typing import Any, Protocol, Self

from firmware_bridge.conversation import Conversation, LinkState
from firmware_bridge.health import LinkHealth
from firmware_bridge.messages import Bye, Prediction, Reason
from firmware_bridge.peer import Board, Requirements
from firmware_bridge.queues import Outbox
from rtsysid.device_clock import host_ns, host_s
from rtsysid.errors import LinkError
from rtsysid.source.port import Port, described, remedy_for
from rtsysid.source.reading import BACK_OFF_MAX_S, BACK_OFF_S, ReadingSource
from rtsysid.spec import Arrival, Channel, Floats, ModelSpec
from rtsysid.statuses import BY_NAME

_WAIT_S = 0.02  # longest wait for a byte: messages are sent at most this late
_NEVER_US = (1 << 32) - 1  # an age or horizon that is not known or does not fit


class Tap(Protocol):
    """A recorder of raw bytes; must not wait.

    `direction`: ``rx``, ``tx``, or ``open`` where a port was opened; `data` then is the number of its first session.
    `host_ns`: time on the host's clock.
    """

    def wire(self, direction: str, host_ns: int, data: bytes) -> None:
        """Record raw bytes."""


class Link(ReadingSource):
    """The source for a board on `port`: a path, ``/dev/serial/by-id/...``, ``hwgrep://PATTERN`` or ``socket://HOST:PORT``.

    With `spec` the board must have the channels of the model, in order, and a multiple of its rate. Without it any
    board is accepted, and it sends every `divider`-th sample. `baudrate`: speed of the line; a load above 70 % of it is
    refused; None: the usual one, for a line that ignores it (USB, a pty, a socket). `tap` gets every byte. Options of
    other sources are ignored.

    Entering raises LinkError where the port cannot be opened. After that a cable or a board that is gone is waited for.
    A board that is the wrong one ends the iteration with LinkError.
    """

    def __init__(
        self,
        port: str,
        *,
        spec: ModelSpec | None = None,
        divider: int = 1,
        baudrate: int | None = None,
        tap: Tap | None = None,
        **_unused: Any,
    ) -> None:
        self._url, self._baudrate, self._tap = port, baudrate, tap
        capacity = None if baudrate is None else baudrate / 10  # start bit, eight bits, stop bit
        self._conversation = Conversation(Requirements(spec, divider, capacity), session=secrets.randbelow(255))
        super().__init__(self._conversation.events)
        self._outbox = Outbox(self._conversation.encoder)
        self._met = threading.Event()
        self._opened = self._predictions = 0

    def __enter__(self) -> Self:
        try:
            port = self._open()
        except OSError as error:
            found = described(error)
            remedy = remedy_for(found, "check the path, the cable and your rights (group dialout)")
            raise LinkError(f"port {self._url}", found, remedy) from None
        self._start(self._keep_open, port)
        return self

    def __iter__(self) -> Iterator[Arrival]:
        """Yield samples one by one, until the board says that it has finished. Raises LinkError as `batches` does."""
        for batch in self.batches():
            yield from batch

    def board(self, timeout_s: float = 5.0) -> Board:
        """Return the board, as soon as it has answered.

        Raises LinkError where none answers within `timeout_s` seconds, or it is the wrong one.
        """
        self._met.wait(timeout_s)
        if self._error is not None:
            raise self._error
        board = self._conversation.board
        if board is None:
            found = f"no answer for {timeout_s:g} s"
            raise LinkError(f"port {self._url}", found, "check that this is the port, and that its firmware runs")
        return board

    def describe(self, timeout_s: float = 5.0) -> dict[str, Any]:
        """Describe the board as plain values, as soon as it has answered. Raises LinkError as `board` does."""
        return self.board(timeout_s).describe()

    def channels(self, timeout_s: float = 5.0) -> tuple[Channel, ...]:
        """Return the channels of a sample, as soon as the board has answered. Raises LinkError as `board` does."""
        return self.board(timeout_s).schema.spec_channels

    def predict(self, seq: int, status: str, age_s: float, horizon_s: float, y: Floats) -> None:
        """Send a prediction made from the sample `seq`, now or as soon as the line takes it; a newer one replaces it.

        `status`: a `rtsysid.statuses.Status`. `age_s`: of the sample. `horizon_s`: from the sample to the predicted
        instant. `y` [ny] in engineering units. Nothing is sent while no board streams.
        """
        if self._conversation.state is not LinkState.STREAMING:
            return
        message = Prediction(seq, BY_NAME[status].code, _wire_us(age_s), _wire_us(horizon_s), tuple(y.tolist()))
        self._predictions += 1
        with suppress(OSError):  # the reader notices it, too
            self._outbox.predict(message, _to_us(host_s()))

    def health(self) -> LinkHealth:
        """Return every count so far."""
        talk, intake = self._conversation, self._conversation.intake
        clock, lost = intake.clock, intake.losses
        return LinkHealth(
            state=talk.state.value, opened=self._opened, losses=talk.losses, reboots=intake.reboots,
            samples=intake.samples, gaps=lost.gaps, lost_at_start=lost.at_start, lost_at_end=lost.at_end,
            streams=lost.streams, unknown_ends=lost.unknown_ends, paused=lost.paused, refused=intake.refused,
            unasked=talk.unasked + intake.unasked, dropped=self._backlog.dropped,
            corrupt=talk.counters.corrupt, backlog=self._backlog.most, replaced=self._outbox.replaced,
            unsent=self._outbox.unsent, predictions=self._predictions, wire=copy(talk.counters), device=talk.device,
            clock_converged=clock.converged, clock_sigma_s=_none_if_nan(clock.sigma_s),
            clock_drift_ppm=_none_if_nan(clock.drift_ppm), clock_trips=clock.trips, clock_outliers=clock.outliers,
            clock_resets=clock.resets, clock_jumps=intake.jumps, reader_s=self._reader_s(),
        )  # fmt: skip

    # ---- the reading thread

    def _open(self) -> Port:
        port = Port(self._url, self._baudrate)
        self._opened += 1
        return port

    def _on_end(self) -> None:
        self._met.set()

    def _keep_open(self, first: Port) -> None:
        """Serve one port after the other until closing; the wait between them doubles while nothing streams."""
        port: Port | None = first
        wait_s = BACK_OFF_S
        while not self._closing.is_set() and (port or self._conversation.state is not LinkState.CLOSED):
            streamed = self._conversation.intake.samples
            try:
                with port or self._open() as opened:
                    self._serve(opened)
            except OSError as error:
                self._conversation.lose(described(error))
            port = None
            wait_s = BACK_OFF_S if self._conversation.intake.samples > streamed else min(2 * wait_s, BACK_OFF_MAX_S)
            self._closing.wait(wait_s)

    def _serve(self, port: Port) -> None:
        """Talk on an open port until the board is lost or the link closes."""
        talk, session = self._conversation, 0
        talk.open(host_s())
        if self._tap is not None:  # so that a replay of the bytes starts each session at the same place
            self._tap.wire("open", host_ns(), bytes((talk.session,)))
        try:
            while talk.state not in (LinkState.LOST, LinkState.CLOSED):
                data = port.read(_WAIT_S)
                now_s = host_s()
                arrivals = self._take(data, now_s) if data else []
                if talk.session != session:  # a new line, or a board that restarted on the same one
                    session = talk.session
                    self._outbox.attach(self._writing(port))
                try:
                    messages = talk.due(now_s)
                    if messages or self._outbox.waiting:
                        self._outbox.post(messages, _to_us(now_s))
                    if self._closing.is_set():
                        talk.close(now_s)
                finally:  # also if the cable was pulled after the read; last: the consumer takes the interpreter
                    if arrivals:
                        self._backlog.put(arrivals)
            self._outbox.post([Bye(Reason.finished)], _to_us(host_s()))
        finally:
            self._outbox.detach()

    def _take(self, data: bytes, now_s: float) -> list[Arrival]:
        if self._tap is not None:
            self._tap.wire("rx", round(now_s * 1e9), data)
        arrivals = self._conversation.feed(data, now_s)
        if self._conversation.board is not None and not self._met.is_set():
            self._met.set()
        return arrivals

    def _writing(self, port: Port) -> Callable[[bytes], int]:
        tap = self._tap
        if tap is None:
            return port.write

        def write(data: bytes) -> int:
            taken = port.write(data)
            if taken:
                tap.wire("tx", host_ns(), data[:taken])
            return taken

        return write


def _to_us(now_s: float) -> int:
    return round(now_s * 1e6)


def _wire_us(seconds: float) -> int:
    """Return microseconds for the wire: the largest number for NaN, 0 for a negative age."""
    return _NEVER_US if math.isnan(seconds) else min(max(round(min(seconds, 1e6) * 1e6), 0), _NEVER_US)


def _none_if_nan(value: float) -> float | None:
    return None if math.isnan(value) else value
