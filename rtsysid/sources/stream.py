"""StreamSource: what all sources of messages share. It implements `rtsysid.source.Source` for a format and a transport.

One thread reads, decodes and puts samples into a bounded queue; it opens the connection again whenever it is lost. The
consumer never waits for the device, nor the reader for the consumer.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, ClassVar, Protocol, Self

from rtsysid.device_clock import host_ns
from rtsysid.errors import LinkError, RtsysidError
from rtsysid.source.port import described, remedy_for
from rtsysid.source.reading import BACK_OFF_MAX_S, BACK_OFF_S, ReadingSource
from rtsysid.sources.channel_map import ChannelMap
from rtsysid.sources.first import First
from rtsysid.sources.format import Outgoing, StreamFormat, Transport
from rtsysid.sources.health import StreamHealth
from rtsysid.sources.intake import MessageIntake
from rtsysid.sources.messages import TopicMessage
from rtsysid.sources.order import AHEAD_S
from rtsysid.sources.playback import about_stream
from rtsysid.sources.url import SourceUrl, parse
from rtsysid.spec import Arrival, Channel, Floats, ModelSpec

_WAIT_S = 0.05  # longest wait for a message: the end is noticed at most this late
_AHEAD = 1024  # samples that a log may be played ahead of the consumer
_SILENCE_S = 1.5  # as on the serial link
_TIMES = 4096  # samples whose time is known when their prediction is sent


class StreamTap(Protocol):
    """A recorder of raw bytes, and of messages where no map makes rows of them; must not wait."""

    def wire(self, direction: str, host_ns: int, data: bytes) -> None: ...
    def message(self, message: TopicMessage, host_ns: int) -> None: ...


class StreamSource(ReadingSource):
    """A source of messages at `url`. With `spec` the messages must hold the channels of the model.

    `mapping`: which fields are which channels; None: messages hold them by name, or `names` where there is no `spec`.
    `divider`: keep every N-th sample.
    `tap` gets every byte. A subclass opens the transport and makes the format. Raises LinkError for a wrong address.
    """

    AHEAD_S: ClassVar[float] = AHEAD_S  # how far a stamp may lead; inf for what keeps no time
    SILENCE_S: ClassVar[float] = _SILENCE_S
    GREEDY: ClassVar[bool] = True  # reading never waits for the consumer; a log that is played does

    def __init__(
        self,
        url: str,
        *,
        spec: ModelSpec | None = None,
        mapping: ChannelMap | None = None,
        divider: int = 1,
        tap: StreamTap | None = None,
        names: Sequence[Channel] = (),
        **_unused: Any,
    ) -> None:
        super().__init__(deque(maxlen=100))
        self.url: SourceUrl = parse(url)
        self._outputs: Sequence[Channel] = () if spec is None else spec.outputs
        self.mapping = mapping or _map_of_names(spec, names)
        self._open_map = mapping is None and spec is None  # channels are those of the first message
        self._divider, self._tap = divider, tap
        self.format: StreamFormat = self.make_format()
        self.intake = MessageIntake(self.mapping, self.AHEAD_S, divider)
        self.first = First(self.mapping, url)
        self._times = [math.nan] * _TIMES
        self._transport: Transport | None = None
        self._predictions = self._unsent = self._losses = self._unknown = self._pieces = 0
        self._overflowed = 0  # of the lines before this one
        self._heard_s, self._state = math.nan, "waiting"

    # ---- what a subclass says

    def make_format(self) -> StreamFormat:
        """Make the format, by the options of the address. Raises LinkError where one is wrong."""
        raise NotImplementedError

    def connect(self) -> Transport:
        """Open the transport. Raises OSError where it cannot be opened, LinkError where it never can."""
        raise NotImplementedError

    def due(self, now_s: float) -> Sequence[bytes]:
        """Return what the protocol has to say at `now_s`: heartbeats, requests."""
        return ()

    # ---- the source

    def __enter__(self) -> Self:
        try:
            transport = self.connect()
        except OSError as error:
            found = described(error)
            raise LinkError(f"source {self.url.text}", found, remedy_for(found, "check the address")) from None
        self._start(self._keep_open, transport)
        return self

    def describe(self, timeout_s: float = 5.0) -> dict[str, Any]:
        """Describe the source as plain values, as soon as a message came. Raises LinkError where none does in time."""
        self._wait(timeout_s)
        return {"source": self.url.text, **self.format.about(), **self.first.describe()}

    def channels(self, timeout_s: float = 5.0) -> tuple[Channel, ...]:
        """Return the channels of a sample; those of the first message where nothing names them.

        Empty where messages of several topics come and no map says which of them counts. Raises as `describe` does.
        """
        self._wait(timeout_s)
        return self.first.channels() if self._open_map else self.mapping.channels

    def predict(self, seq: int, status: str, age_s: float, horizon_s: float, y: Floats) -> None:
        """Send the prediction `y` [ny] of the sample `seq`; what is not taken at once counts as unsent."""
        transport = self._transport
        sent = False
        if transport is not None:
            out = Outgoing(seq, self._times[seq % _TIMES], status, age_s, horizon_s, y, self._outputs)
            with suppress(OSError):  # the reader notices it, too
                sent = self._send_all(transport, self.format.encode(out))
        self._predictions += sent
        self._unsent += not sent

    def events(self) -> list[str]:
        """Return what happened since the last call, and what the transport has to say of it, one line each."""
        remarks: deque[str] = getattr(self._transport, "remarks", deque())
        return super().events() + [remarks.popleft() for _ in range(len(remarks))]

    def health(self) -> StreamHealth:
        """Return every count so far."""
        intake, ticks = self.intake, self.intake.ticks
        samples = intake.samples if self.mapping.channels else intake.received
        return StreamHealth(
            state=self._state, samples=samples, gaps=ticks.gaps, dropped=self._backlog.dropped,
            corrupt=self.format.corrupt, losses=self._losses, reboots=0, streams=intake.boot,
            unknown_ends=self._unknown + intake.jumps, refused=intake.refused, received=intake.received,
            duplicates=intake.duplicates, late=ticks.late, lost=self.format.lost, jumps=intake.jumps,
            overflowed=self._overflowed + _overflowed(self._transport), unused=self.intake.unused,
            predictions=self._predictions, unsent=self._unsent,
            backlog=self._backlog.most, reader_s=self._reader_s(), topics=intake.counts(),
        )  # fmt: skip

    def _wait(self, timeout_s: float) -> None:
        met = self.first.wait(timeout_s)
        if self._error is not None:
            raise self._error
        if not met:
            found, remedy = self._why_no_message()
            raise LinkError(f"source {self.url.text}", f"no message for {timeout_s:g} s{found}", remedy)

    def _why_no_message(self) -> tuple[str, str]:
        """Say what came instead of a message that can be used, and what to do."""
        if seen := self.first.seen():
            return f" {seen}", "correct the names on either side, or give a --map"
        if remarks := list(getattr(self._transport, "remarks", ())):
            return f" that can be read; {remarks[0]}", self.format.wants
        if self._pieces:
            return f" in {self._pieces} packets, {self.format.corrupt} of them corrupt", self.format.wants
        return "", "check the address, and that something is sent there"

    # ---- the reading thread

    def _as_shown(self, error: Exception) -> Exception:
        told = isinstance(error, RtsysidError)
        return error if told else LinkError(f"source {self.url.text}", repr(error), "check what it delivers")

    def _on_end(self) -> None:
        self._state = "closed"
        self.first.end()

    def _keep_open(self, first: Transport | None) -> None:
        """Serve one connection after the other until closing; the wait between them doubles while nothing comes."""
        wait_s, transport = BACK_OFF_S, first
        while not self._closing.is_set():
            received = self.intake.received
            try:
                self._serve(transport or self.connect())
            except EOFError:
                self._events.append("the source has ended")
                return
            except OSError as error:
                self._lose(described(error))
            transport = None
            wait_s = BACK_OFF_S if self.intake.received > received else min(2 * wait_s, BACK_OFF_MAX_S)
            self._closing.wait(wait_s)

    def _serve(self, transport: Transport) -> None:
        """Read from an open connection until it is lost or the source closes."""
        self._transport = transport
        self.format.reset()
        if self._tap is not None:
            self._tap.wire("open", host_ns(), json.dumps(about_stream(self.format, self.intake)).encode())
        try:
            while not self._closing.is_set():
                chunks = transport.receive(_WAIT_S)
                now_ns = host_ns()
                self._hear(bool(chunks), now_ns * 1e-9)
                self._take(chunks, now_ns)
                for piece in self.due(now_ns * 1e-9):
                    self._send(transport, piece)
        finally:
            self._transport = None
            transport.close()
            self._overflowed += _overflowed(transport)

    def _take(self, chunks: Sequence[bytes], now_ns: int) -> None:
        arrivals: list[Arrival] = []
        now_s = now_ns * 1e-9
        self._pieces += len(chunks)
        for data in chunks:
            if self._tap is not None:
                self._tap.wire("rx", now_ns, data)
            for message in self.format.decode(data, now_s):
                self.first.see(message, now_s)
                if self._open_map and self._tap is not None and not self.mapping.channels:
                    self._tap.message(message, now_ns)
                arrivals += self.intake.take(message, now_s)
        for arrival in arrivals:
            self._times[arrival.seq % _TIMES] = arrival.sample.t
        if arrivals:
            self._put(arrivals)
        self._events += self.intake.remarks()

    def _put(self, arrivals: list[Arrival]) -> None:
        if not self.GREEDY:
            while self._backlog.waiting > _AHEAD and not self._closing.wait(0.001):
                pass
        self._backlog.put(arrivals)

    def _send_all(self, transport: Transport, pieces: Sequence[bytes]) -> bool:
        """Send pieces; return whether there were some and all of them were taken."""
        taken = [self._send(transport, piece) for piece in pieces]
        return bool(taken) and all(taken)

    def _send(self, transport: Transport, piece: bytes) -> bool:
        taken = transport.send(piece)
        if taken and self._tap is not None:
            self._tap.wire("tx", host_ns(), piece)
        return taken

    def _hear(self, heard: bool, now_s: float) -> None:
        """Note that something came or did not: a source that was heard and falls silent is lost."""
        if heard:
            self._heard_s = now_s
            if self._state != "streaming":
                self._state = "streaming"
                self._events.append(f"{self.url.text}: streaming")
        elif self._state == "streaming" and now_s - self._heard_s > self.SILENCE_S:
            self._lose(f"silent for {self.SILENCE_S:g} s")

    def _lose(self, reason: str) -> None:
        if self._state == "streaming":
            self._losses += 1
            self._events.append(f"lost: {reason}")
        self._state = "lost"


def _overflowed(transport: Transport | None) -> int:
    return getattr(transport, "overflowed", 0)


def _map_of_names(spec: ModelSpec | None, names: Sequence[Channel]) -> ChannelMap:
    """Return the map of messages that hold channels by name."""
    return ChannelMap(channels=tuple(names)) if spec is None else ChannelMap.of_model(spec)
