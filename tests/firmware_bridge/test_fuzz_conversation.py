"""Boards that misbehave at every step of the conversation: `make fuzz` tries 100,000 of them, `make test` 1,000."""

from __future__ import annotations

import os
import random
from contextlib import suppress
from pathlib import Path

import pytest
from support.fake_board import STEP_S, model
from support.wild_board import FROM_BOARD, WildBoard, edge, forged

from firmware_bridge import messages as msg
from firmware_bridge.conversation import Conversation, LinkState
from firmware_bridge.layout import Message
from firmware_bridge.peer import Requirements
from firmware_bridge.recorder import Recorder
from firmware_bridge.wire import Frame, encode_frame
from rtsysid.errors import LinkError
from rtsysid.spec import Arrival

CONVERSATIONS = int(os.environ.get("RTSYSID_FUZZ_CONVERSATIONS", "1000"))
RATE_HZ = 100.0
FASTER = 20  # a board may send so many times the samples of its table, and is then counted by its own pace


class Host:
    """The host of a conversation, and what it must never do."""

    def __init__(self, chance: random.Random) -> None:
        self.chance, self.now_s = chance, chance.uniform(0, 1e5)
        self.talk = Conversation(Requirements(chance.choice((None, model()))))
        self.talk.open(self.now_s)
        self.begun_s, self.arrivals, self.opened = self.now_s, list[Arrival](), 1

    def step(self, board: WildBoard) -> None:
        """Let both sides talk once; time passes as it should, stands still, or leaps."""
        said = b"".join(self.talk.encoder.encode(each, round(self.now_s * 1e6)) for each in self.talk.due(self.now_s))
        board.receive(said, self.now_s)
        self.now_s += self.chance.choice((STEP_S, 0.05, 0.05, 0.05, 0.05, 0.0))
        if self.chance.random() < 0.01:
            self.now_s += 10 ** self.chance.uniform(-1, 4)
        self.arrivals += self.talk.feed(board.poll(self.now_s), self.now_s)
        if self.chance.random() < 0.01:
            self.talk.close(self.now_s)
        if self.talk.state in (LinkState.LOST, LinkState.CLOSED) or self.chance.random() < 0.005:
            self.talk.lose("the cable")
            self.talk.open(self.now_s)
            self.opened += 1

    def check(self) -> None:
        """Nothing that was counted is impossible, everything that arrived can be recorded, and nothing grows."""
        talk, intake, lost = self.talk, self.talk.intake, self.talk.intake.losses
        assert intake.samples == len(self.arrivals)
        beginnings = 1 + intake.jumps + intake.reboots
        possible = FASTER * RATE_HZ * (1.01 * (self.now_s - self.begun_s) + 2.0 * beginnings)
        assert 0 <= lost.at_start + lost.at_end <= lost.gaps <= possible
        assert 0 <= lost.paused <= lost.gaps
        assert 0 <= lost.unknown_ends <= lost.streams + intake.jumps
        assert lost.streams <= self.opened + intake.reboots + talk.losses
        assert min(intake.refused, intake.unasked, talk.unasked, talk.losses) >= 0
        assert len(talk.events) <= 100
        assert all(0 <= each.device_t_us < (1 << 31) * 10**6 and 0 <= each.boot < 1 << 32 for each in self.arrivals)


def fuzz(seed: int) -> list[Arrival]:
    """One conversation; the samples that arrived. A refused board ends it by a LinkError, and by nothing else."""
    chance = random.Random(seed)
    host, board = Host(chance), WildBoard(chance, wild=chance.choice((0.02, 0.1, 0.5)))
    board.started_s = host.now_s - chance.choice((0.0, 5.0, 5000.0))
    with suppress(LinkError):
        for _ in range(chance.choice((12, 20, 40))):
            host.step(board)
    host.check()
    return host.arrivals


@pytest.mark.timeout(CONVERSATIONS / 10 + 60)
def test_no_board_upsets_the_conversation(tmp_path: Path) -> None:
    """Whatever a board says at any step, the conversation goes on or ends with the one line of a refused board; counts
    stay possible, nothing grows, and all samples that it let through are recorded."""
    streamed = 0
    with Recorder.open(tmp_path / "f.mcap", channels=model().channels) as recorder:
        for seed in range(CONVERSATIONS):
            arrivals = fuzz(seed)
            streamed += bool(arrivals)
            for arrival in arrivals if seed < 1000 else ():
                recorder.sample(arrival)
    assert (recorder.fault, recorder.dropped) == (None, 0)
    assert streamed > CONVERSATIONS / 4
    print(f"{CONVERSATIONS} conversations, {streamed} with samples")


def streaming() -> tuple[Host, WildBoard]:
    """A host and a board that behaves, with samples flowing."""
    chance = random.Random(1)
    host, board = Host(chance), WildBoard(chance, wild=0.0)
    chance.random = lambda: 1.0  # type: ignore[method-assign]  # the host behaves, too
    host.talk = Conversation(Requirements())
    host.talk.open(host.now_s)
    board.started_s = host.now_s - 5.0
    while host.talk.state is not LinkState.STREAMING or len(host.arrivals) < 20:
        host.step(board)
    return host, board


def fields(kind: type[Message]) -> list[tuple[str, str]]:
    """Name and code of every field of a message, and of the head of its frame."""
    return [("seq", "H"), ("t_us", "I"), ("session", "B"), *((field.name, field.code) for field in kind.LAYOUT.fields)]


def say_wrong(board: WildBoard, kind: type[Message], name: str, code: str, now_s: float) -> None:
    """Send a message whose payload is any, with the right head but for one field of it."""
    head = {"seq": board.encoder.frames & 0xFFFF, "t_us": board.clock_us(now_s) & 0xFFFFFFFF}
    head["session"] = board.encoder.session
    if name in head:
        head[name] = edge(board.chance, code)
    payload = board.schema.pack(board.values(1)) if kind is msg.Sample else forged(board.chance, kind).pack()
    frame = Frame(kind.CODE, head["session"], head["seq"], head["t_us"], payload)
    board.out += encode_frame(frame, board.schema.hash)
    board.encoder.frames += 1


@pytest.mark.parametrize("kind", FROM_BOARD, ids=lambda kind: kind.__name__)
def test_any_value_in_any_field_is_counted_or_accepted(kind: type[Message], tmp_path: Path) -> None:
    """Of a streaming board that says wrong things, however often, samples go on to arrive and can be recorded, and no
    count becomes impossible. Messages and fields come from the code."""
    with Recorder.open(tmp_path / "f.mcap", channels=model().channels) as recorder:
        for name, code in fields(kind):
            host, board = streaming()
            for _ in range(12):
                say_wrong(board, kind, name, code, host.now_s)
                host.step(board)
            before = len(host.arrivals)
            for _ in range(60):
                host.step(board)
            assert len(host.arrivals) > before + 10, name
            host.check()
            for arrival in host.arrivals:
                recorder.sample(arrival)
    assert (recorder.fault, recorder.dropped) == (None, 0)
