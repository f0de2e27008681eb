"""Conversation: the host's side of the protocol as a state machine. No port, no thread; time is an argument.

    closed -> hello -> schema -> starting -> streaming <-> stale
      ^                                          |
      +----------------- lost <------------------+--> closed, where one side has finished

Round trips synchronise the clocks meanwhile: the stream does not wait for them (`Intake.await_clock`).

`open` starts on a newly opened line, `feed` takes received bytes, `due` returns the messages to send now. A board that
can never be the right one raises LinkError. Silence, and a request without an answer, make the state `lost`; the owner
of the line then opens it again.
"""

from __future__ import annotations

from collections import Counter, deque
from enum import StrEnum

import msgspec

from firmware_bridge import messages as msg
from firmware_bridge.intake import Intake
from firmware_bridge.layout import Message
from firmware_bridge.losses import Mark
from firmware_bridge.peer import Board, Requirements
from firmware_bridge.schema import Schema
from firmware_bridge.wire import DELIMITER, Frame, FrameDecoder, FrameEncoder, WireCounters, ahead_of
from rtsysid.errors import LinkError
from rtsysid.spec import Arrival

_AGAIN_S, _TRIES = 0.1, 5  # a request is repeated this often
_HELLOS = 50  # then the line is opened again: it may be the wrong one
_FAST_S, _FAST = 0.05, 16  # round trips until the clock has converged, and their largest number
_SLOW_S = 0.98  # not a multiple of other periods
_PATIENCE_S = 1.0  # wait for round trips; then the least lag dates the samples instead
_BEAT_S = msg.HEARTBEAT_US * 1e-6
_SILENCE_S = msg.HEARTBEATS_MISSED * _BEAT_S
_STALE_S, _STALE_TICKS = 0.1, 3  # without a sample: the longer of the two
_STUCK_S = 2.0  # stale for this time: the board has stopped streaming
_TABLES = 8  # channel tables that are remembered by their hash
_SAMPLES = 1  # the stream of START


class LinkState(StrEnum):
    """State of a conversation; see the diagram above."""

    CLOSED = "closed"
    HELLO = "hello"
    SCHEMA = "schema"
    STARTING = "starting"
    STREAMING = "streaming"
    STALE = "stale"  # the board answers, but no samples come
    STOPPING = "stopping"
    LOST = "lost"


_LIVE = (LinkState.SCHEMA, LinkState.STARTING, LinkState.STREAMING, LinkState.STALE)


class Conversation:
    """The host's side of the link, over any number of lines, boards and restarts.

    ``session``: number of the session, 1..255. ``board``: the last board that answered. ``device``: its last heartbeat.
    ``events``: the newest 100 events as lines of text. ``losses``: how often a board that had answered was lost.
    ``unasked``: answers to no request; a request that was repeated may be answered as often.
    """

    def __init__(self, requirements: Requirements, session: int = 0) -> None:
        self.requirements, self.session = requirements, session
        self.state = LinkState.CLOSED
        self.board: Board | None = None
        self.device: msg.Heartbeat | None = None
        self.intake, self.encoder, self.counters = Intake(), FrameEncoder(), WireCounters()
        self.events: deque[str] = deque(maxlen=100)
        self.losses = self.unasked = 0
        self._schemas: dict[int, Schema] = {}
        self._ack: msg.HelloAck | None = None
        self._table = b""
        self._request: Message | None = None
        self._owed = Counter[int]()  # answers that the board still owes in this session, by type of the request
        self._tries, self._divider, self._fast, self._stale_s = 0, 1, _FAST, _STALE_S
        self._ask_s = self._time_s = self._beat_s = self._heard_s = self._sampled_s = 0.0
        self._frame_us, self._frame_seq = 0, 0  # device time and number of the newest frame
        self._missing = 0  # frames lost before it
        self._aligned = False
        self._decoder = FrameDecoder()

    def open(self, now_s: float) -> None:
        """Start on a line that was just opened, perhaps in the middle of a frame."""
        self._decoder, self._aligned = FrameDecoder(), False
        self._start_session(now_s)

    def close(self, now_s: float) -> None:
        """Stop the stream; the state becomes `closed` when the board has answered, or cannot answer."""
        if self.state in _LIVE:
            self.state = LinkState.STOPPING
            self._ask(msg.Stop(), now_s)
        elif self.state is not LinkState.STOPPING:
            self.state = LinkState.CLOSED

    def lose(self, reason: str) -> None:
        """Record that the line or the board is gone, and why."""
        if self.state in _LIVE:
            self.losses += 1
            self.events.append(f"lost: {reason}")
        self.intake.losses.cut()
        self.state = LinkState.CLOSED if self.state is LinkState.STOPPING else LinkState.LOST
        self._request = None

    def feed(self, data: bytes, now_s: float) -> list[Arrival]:
        """Return the samples that `data`, read at `now_s`, completes; raises LinkError for a wrong board."""
        arrivals, jumps, faster = [], self.intake.jumps, self.intake.losses.faster
        for frame in self._frames(data):
            self._number(frame)
            if frame.type != msg.Sample.CODE:
                self._receive(frame, now_s)
            elif (arrival := self.intake.sample(frame, now_s, self._missing)) is not None:
                arrivals.append(arrival)
            self._heard_s = now_s
        if self.intake.jumps != jumps:
            self.events.append("the board's clock jumped: how many samples were lost meanwhile is not known")
            self._fast, self._time_s = _FAST, now_s
        if self.intake.losses.faster and not faster:
            told, found = 1e6 / self.intake.losses.table_period_us, 1e6 / self.intake.losses.period_us
            self.events.append(f"the board sends {found:g} samples per second instead of {told:g}")
        if arrivals:
            self._sampled_s = now_s
            if self.state is LinkState.STALE:
                self.state = LinkState.STREAMING
        return arrivals

    def due(self, now_s: float) -> list[Message]:
        """Return the messages to send at `now_s`; the state may become `lost`."""
        self._watch(now_s)
        asked = self._request is not None and now_s >= self._ask_s
        messages = self._repeat(now_s) if asked else []
        return messages + self._routine(now_s) if self.state in _LIVE else messages

    def _frames(self, data: bytes) -> list[Frame]:
        """Decode frames; the first piece on a line may be the end of a frame, which is not counted as a fault."""
        if self._aligned:
            return self._decoder.feed(data)
        first, found, rest = data.partition(DELIMITER)
        frames = self._decoder.feed(first + found)
        if found:
            self.counters.ok += self._decoder.counters.ok
            self._aligned, self._decoder.counters = True, self.counters
            frames += self._decoder.feed(rest)
        return frames

    def _number(self, frame: Frame) -> None:
        """Count the frames that are missing before this one; the wire's counters are ahead, by all that was read."""
        ahead = 1 if frame.type == msg.HelloAck.CODE else ahead_of(frame.seq, self._frame_seq)
        if ahead > 0:
            self._frame_us, self._frame_seq = frame.t_us, frame.seq
            self._missing += ahead - 1
        else:
            self._missing -= self._missing > 0

    def _watch(self, now_s: float) -> None:
        quiet_s = now_s - self._sampled_s
        if self.state is LinkState.STREAMING and quiet_s > self._stale_s:
            self.state = LinkState.STALE
        elif self.state is LinkState.STALE and quiet_s > _STUCK_S:
            self.lose("it answers, but sends no samples")
        if self.state in _LIVE and now_s - self._heard_s > _SILENCE_S:
            self.lose(f"silent for {now_s - self._heard_s:.1f} s")

    # ---- messages out

    def _start_session(self, now_s: float) -> None:
        """Start a new session; forget the one before."""
        self.session = self.session % 255 + 1
        self.encoder.session, self.encoder.schema = self.session, 0
        self._decoder.session, self._decoder.schema = self.session, None
        self.device, self.state = None, LinkState.HELLO
        self._owed.clear()
        self._ask(msg.Hello(msg.MAGIC, msg.MAJOR, msg.MINOR, self.session, msg.MAX_PAYLOAD), now_s, _HELLOS)

    def _ask(self, request: Message, now_s: float, tries: int = _TRIES) -> None:
        self._request, self._ask_s, self._tries = request, now_s, tries

    def _repeat(self, now_s: float) -> list[Message]:
        assert self._request is not None
        if self._tries == 0:
            self.lose(f"no answer to {self._request.wire_name()}")
            return []
        self._tries -= 1
        self._ask_s = now_s + _AGAIN_S
        self._owed[self._request.CODE] += 1
        return [self._request]

    def _routine(self, now_s: float) -> list[Message]:
        messages: list[Message] = []
        if now_s >= self._time_s:
            messages.append(msg.TimeReq(round(now_s * 1e9)))
            self._fast = _FAST if self.intake.clock.converged else self._fast - 1
            self._time_s = now_s + (_SLOW_S if self.intake.clock.converged or self._fast <= 0 else _FAST_S)
        if now_s >= self._beat_s:
            messages.append(self._heartbeat(now_s))
            self._beat_s = now_s + _BEAT_S
        return messages

    def _heartbeat(self, now_s: float) -> msg.Heartbeat:
        heard = {f"rx_{name}": count for name, count in msgspec.structs.asdict(self.counters).items()}
        told = {**dict.fromkeys(msg.Heartbeat.__struct_fields__, 0), **heard}
        told |= {"uptime_ms": int(now_s * 1e3), "state": msg.State.streaming, "schema_hash": self.encoder.schema}
        return msg.Heartbeat(**{name: count % (1 << 32) for name, count in told.items()})

    def _start(self, now_s: float) -> None:
        self.state = LinkState.STARTING
        self.intake.losses.begin(self.intake.peek(self._frame_us, now_s, self._missing))
        self._ask(msg.Start(_SAMPLES, self._divider, self.encoder.schema), now_s)

    # ---- messages in

    def _receive(self, frame: Frame, now_s: float) -> None:
        message = frame.message()
        match message:
            case msg.HelloAck():
                self._on_hello_ack(message, self.intake.ran_back(frame.t_us, now_s), now_s)
            case msg.SchemaData():
                self._take_piece(message, now_s)
            case msg.TimeRsp():
                self.intake.time(message, now_s)
            case msg.Ack():
                self._on_ack(message, self._mark(frame.t_us, now_s, message.samples), now_s)
            case msg.Heartbeat():
                self.device = message
                self.intake.losses.miss(message.missed_samples)
            case msg.Error():
                self._on_error(message)
            case msg.Log():
                self.events.append(f"board: {message.text}")
            case msg.Bye():
                self._on_bye(message, self._mark(frame.t_us, now_s, message.samples))
            case _:
                self.unasked += 1

    def _mark(self, t_us: int, now_s: float, count: int = 0) -> Mark:
        return self.intake.mark(t_us, now_s, self._missing, count)

    def _on_bye(self, bye: msg.Bye, mark: Mark) -> None:
        self.intake.losses.end(mark)
        if bye.reason == msg.Reason.finished:
            self.events.append("the board has finished")
            self.state, self._request = LinkState.CLOSED, None
        else:
            self.lose("the board ended the session")

    def _on_hello_ack(self, ack: msg.HelloAck, ran_back: bool, now_s: float) -> None:
        if ack.magic != msg.MAGIC:
            return
        if ack.session == 0:
            self._restarted(ack.boot_id, ran_back, now_s)
        elif ack.session == self.session and self.state is LinkState.HELLO:
            if ack.major != msg.MAJOR:
                raise _other_version(ack.firmware, msg.version(ack.major, ack.minor))
            self._ack = ack
            self.intake.on_boot(ack.boot_id, ran_back=ran_back)
            self.intake.await_clock(now_s + _PATIENCE_S)
            self._beat_s = self._time_s = now_s
            self._fetch(now_s)

    def _restarted(self, boot_id: int, ran_back: bool, now_s: float) -> None:
        """Handle a HELLO_ACK without request: the board has just booted, and has no session.

        The line may repeat such a frame: a restart shows in another boot id, or in a clock that ran back.
        """
        if self.state in _LIVE and self._ack is not None and (ran_back or boot_id != self._ack.boot_id):
            self.losses += 1
            self.events.append("the board restarted")
            self._start_session(now_s)
        elif self.state is LinkState.HELLO:
            self._ask_s = now_s  # repeat HELLO now

    def _fetch(self, now_s: float) -> None:
        assert self._ack is not None
        known = self._schemas.get(self._ack.schema_hash)
        if known is not None:
            return self._settle(Board(self._ack, known), now_s)
        self.state, self._table = LinkState.SCHEMA, b""
        self._ask(msg.SchemaGet(0), now_s)

    def _take_piece(self, piece: msg.SchemaData, now_s: float) -> None:
        asked = self._take_answer(msg.SchemaGet.CODE)
        if self.state is not LinkState.SCHEMA or self._ack is None or piece.offset != len(self._table):
            self.unasked += not asked
            return
        self._table += piece.data
        if piece.data and len(self._table) < self._ack.schema_size:
            return self._ask(msg.SchemaGet(len(self._table)), now_s)
        schema = Schema.decompress(self._table)
        if schema.hash != self._ack.schema_hash:
            found = f"its channel table hashes to {schema.hash:08x}, not {self._ack.schema_hash:08x}"
            raise LinkError(f"board {self._ack.firmware}", found, "build its firmware again")
        self._schemas = {**dict(list(self._schemas.items())[1 - _TABLES :]), schema.hash: schema}
        self._settle(Board(self._ack, schema), now_s)

    def _settle(self, board: Board, now_s: float) -> None:
        """Check the board against the requirements and the board before, then start the stream."""
        self._divider = self.requirements.divider_for(board)
        if self.board is not None and self.board.samples != board.samples:
            raise LinkError(board.name, "its channels or its rate are not those of before", "start again")
        self.board = board
        self.intake.set_board(board, self._divider)
        self._decoder.schema = self.encoder.schema = board.schema.hash
        self._start(now_s)

    def _on_ack(self, ack: msg.Ack, mark: Mark, now_s: float) -> None:
        asked = self._take_answer(ack.ref_type)
        if ack.ref_type == msg.Start.CODE and self.state is LinkState.STARTING and self.board is not None:
            self.intake.losses.begin(mark, answered=True)
            self.state, self._request, self._sampled_s = LinkState.STREAMING, None, now_s
            self._stale_s = max(_STALE_S, _STALE_TICKS * self._divider / self.board.schema.rate_hz)
            self.events.append(f"{self.board.name}, boot {self.board.ack.boot_id:08x}: streaming")
        elif ack.ref_type == msg.Stop.CODE and self.state is LinkState.STOPPING:
            self.intake.losses.end(mark)
            self.state, self._request = LinkState.CLOSED, None
        else:
            self.unasked += not asked

    def _take_answer(self, code: int) -> bool:
        """Note an answer to a request of this type; return whether the board owed one."""
        owed = self._owed[code] > 0
        self._owed[code] -= owed
        return owed

    def _on_error(self, error: msg.Error) -> None:
        if error.fault == msg.Fault.version and self.state is LinkState.HELLO:
            raise _other_version("", msg.version(error.detail, 0))
        if error.fault == msg.Fault.schema and self.state is LinkState.STARTING:
            raise LinkError("board", error.text, "start again: its channel table changed")
        if self.state is LinkState.STARTING:
            self.lose(f"START refused: {error.text}")
        else:
            self.events.append(f"board: {error.text}")


def _other_version(firmware: str, spoken: str) -> LinkError:
    found = f"its firmware speaks protocol {spoken}, this library {msg.version()}"
    return LinkError(f"board {firmware}".strip(), found, "reflash it with the firmware of this release")
