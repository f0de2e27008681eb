"""Link: samples from a board and predictions to it, over a cable that may be pulled at any time.

    with Link("/dev/ttyACM0") as link:
        for arrival in link:
            ...
            link.predict(arrival.seq, "ok", age_s, horizon_s, y)

One thread reads: it takes all that has come, decodes it, and hands it over through a bounded queue; it keeps up the
conversation, and opens the port again for ever. The consumer never waits for a cable, nor the reader for the consumer.
"""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import copy
from typing import Any, Protocol, Self

from firmware_bridge.conversation import Conversation, LinkState
from firmware_bridge.health import LinkHealth
from firmware_bridge.messages import Bye, Prediction, Reason
from firmware_bridge.peer import Board, Requirements
from firmware_bridge.port import Port, described
from firmware_bridge.queues import Backlog, Outbox
from rtsysid.errors import LinkError
from rtsysid.spec import Arrival, Channel, Floats, ModelSpec
from rtsysid.statuses import BY_NAME

_WAIT_S = 0.02  # longest wait for a byte: what is due is at most so late
_BACK_OFF_S, _BACK_OFF_MAX_S = 0.1, 2.0
_BACKLOG = 2048  # samples: two seconds at 1 kHz
_PARTING_S = 1.0
_NEVER_US = (1 << 32) - 1  # an age or horizon that does not fit, or is not known


class Tap(Protocol):
    """Where raw bytes are written down; must not wait.

    `direction`: ``rx``, ``tx``, or ``open`` where a port was opened, and `data` is the byte of its first session.
    `host_ns`: monotonic clock when it happened.
    """

    def wire(self, direction: str, host_ns: int, data: bytes) -> None: ...


class Link:
    """A board on `port`: a path, ``/dev/serial/by-id/...``, ``hwgrep://PATTERN`` or ``socket://HOST:PORT``.

    With `spec` the board must have the model's channels, in order, and a multiple of its rate; without, any board will
    do, and each `divider`-th sample is asked for. `baudrate` is the wire's speed, and more than 70 % of it are refused;
    None: the usual one, on a line whose true speed is not its own (USB, a pty, a socket). `tap` gets every byte.

    Entering raises LinkError where the port cannot be opened. After that a cable or a board that is gone is waited for;
    a board that is the wrong one ends the iteration with LinkError.
    """

    def __init__(
        self,
        port: str,
        *,
        spec: ModelSpec | None = None,
        divider: int = 1,
        baudrate: int | None = None,
        tap: Tap | None = None,
    ) -> None:
        self._url, self._baudrate, self._tap = port, baudrate, tap
        capacity = None if baudrate is None else baudrate / 10  # start bit, eight bits, stop bit
        self._conversation = Conversation(Requirements(spec, divider, capacity), session=secrets.randbelow(255))
        self._backlog: Backlog[Arrival] = Backlog(_BACKLOG)
        self._outbox = Outbox(self._conversation.encoder)
        self._closing, self._met = threading.Event(), threading.Event()
        self._error: Exception | None = None
        self._opened = self._predictions = 0
        self._spent_s = 0.0
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        try:
            port = self._open()
        except OSError as error:
            remedy = "check the path, the cable and your rights (group dialout)"
            raise LinkError(f"port {self._url}", described(error), remedy) from None
        self._thread = threading.Thread(target=self._read_for_ever, args=(port,), name="link reader", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        if self._thread is not None:
            self._thread.join(_PARTING_S)

    def __iter__(self) -> Iterator[Arrival]:
        """Samples one by one, until the board says that it has finished."""
        for batch in self.batches():
            yield from batch

    def batches(self, timeout_s: float = 0.1) -> Iterator[list[Arrival]]:
        """All samples that came since the last batch; an empty one where none came for `timeout_s`."""
        while not self._backlog.closed:
            yield self._backlog.take(timeout_s)
        if self._error is not None:
            raise self._error

    def board(self, timeout_s: float = 5.0) -> Board:
        """The board, as soon as it has answered. LinkError where none does in time, or it is the wrong one."""
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

    def close(self) -> None:
        """Stop the stream; the iteration ends with what had come by then."""
        self._closing.set()

    def predict(self, seq: int, status: str, age_s: float, horizon_s: float, y: Floats) -> None:
        """Send a prediction made from the sample `seq`, now or as soon as the line takes it; the latest wins.

        `status`: a `rtsysid.statuses.Status`. `age_s`: of the sample. `horizon_s`: from the sample to the predicted
        instant. `y` [ny] in engineering units. Nothing is sent while no board streams.
        """
        if self._conversation.state is not LinkState.STREAMING:
            return
        message = Prediction(seq, BY_NAME[status].code, _micro(age_s), _micro(horizon_s), tuple(y.tolist()))
        self._predictions += 1
        with suppress(OSError):  # the reader finds out, too
            self._outbox.predict(message, _us(time.monotonic()))

    def events(self) -> list[str]:
        """What happened since the last call, in lines for a person: connected, lost, restarted, said by the board."""
        lines = self._conversation.news
        return [lines.popleft() for _ in range(len(lines))]

    @property
    def thread_ids(self) -> tuple[int, ...]:
        """Native id of the reading thread, for the scheduler."""
        found = self._thread and self._thread.native_id
        return (found,) if found else ()

    def health(self) -> LinkHealth:
        """Return every count so far."""
        talk, clock = self._conversation, self._conversation.intake.clock
        return LinkHealth(
            state=talk.state.value, opened=self._opened, losses=talk.losses, reboots=talk.intake.reboots,
            samples=talk.intake.samples, gaps=talk.intake.gaps, dropped=self._backlog.dropped,
            corrupt=talk.counters.corrupt, backlog=self._backlog.most, replaced=self._outbox.replaced,
            unsent=self._outbox.unsent, predictions=self._predictions, wire=copy(talk.counters), device=talk.device,
            clock_converged=clock.converged, clock_sigma_s=_none_if_nan(clock.sigma_s),
            clock_drift_ppm=_none_if_nan(clock.drift_ppm), clock_trips=clock.trips, clock_outliers=clock.outliers,
            clock_resets=clock.resets, reader_s=self._reader_s(),
        )  # fmt: skip

    def _reader_s(self) -> float:
        if self._thread is None or self._thread.ident is None or not self._thread.is_alive():
            return self._spent_s
        return time.clock_gettime(time.pthread_getcpuclockid(self._thread.ident))

    # ---- the reading thread

    def _open(self) -> Port:
        port = Port(self._url, self._baudrate)
        self._opened += 1
        return port

    def _read_for_ever(self, port: Port) -> None:
        try:
            self._keep_open(port)
        except Exception as error:  # whatever it is, the consumer is the one to know
            self._error = error
        finally:
            self._spent_s = time.thread_time()
            self._backlog.close()
            self._met.set()

    def _keep_open(self, first: Port) -> None:
        """Serve one port after the other until we are closing; the wait between them doubles while nothing streams."""
        port: Port | None = first
        wait_s = _BACK_OFF_S
        while not self._closing.is_set() and (port or self._conversation.state is not LinkState.CLOSED):
            streamed = self._conversation.intake.samples
            try:
                with port or self._open() as opened:
                    self._serve(opened)
            except OSError as error:
                self._conversation.lose(described(error))
            port = None
            wait_s = _BACK_OFF_S if self._conversation.intake.samples > streamed else min(2 * wait_s, _BACK_OFF_MAX_S)
            self._closing.wait(wait_s)

    def _serve(self, port: Port) -> None:
        """Talk on an open port until the board is lost or we are closing."""
        talk, session = self._conversation, 0
        talk.open(time.monotonic())
        if self._tap is not None:  # with these a replay of the bytes begins each session where it began
            self._tap.wire("open", time.monotonic_ns(), bytes((talk.session,)))
        try:
            while talk.state not in (LinkState.LOST, LinkState.CLOSED):
                data = port.read(_WAIT_S)
                now_s = time.monotonic()
                arrivals = self._take(data, now_s) if data else []
                if talk.session != session:  # a new line, or a board that restarted on this one
                    session = talk.session
                    self._outbox.attach(self._writing(port))
                messages = talk.due(now_s)
                if messages or self._outbox.waiting:
                    self._outbox.post(messages, _us(now_s))
                if self._closing.is_set():
                    talk.close(now_s)
                if arrivals:  # last, since whoever waits for them wants the interpreter
                    self._backlog.put(arrivals)
            self._outbox.post([Bye(Reason.finished)], _us(time.monotonic()))
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
                tap.wire("tx", time.monotonic_ns(), data[:taken])
            return taken

        return write


def _us(now_s: float) -> int:
    return round(now_s * 1e6)


def _micro(seconds: float) -> int:
    """Microseconds for the wire; the largest number where it is not known, and 0 for an age below none."""
    return _NEVER_US if math.isnan(seconds) else min(max(round(min(seconds, 1e6) * 1e6), 0), _NEVER_US)


def _none_if_nan(value: float) -> float | None:
    return None if math.isnan(value) else value
