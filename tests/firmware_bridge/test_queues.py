"""The bounded queues between reader and loop: removed items are counted, and no call waits."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.layout import Message
from firmware_bridge.messages import Bye, Log, Prediction
from firmware_bridge.queues import Outbox
from firmware_bridge.wire import FrameDecoder, FrameEncoder
from rtsysid.source.backlog import Backlog


@given(st.integers(1, 8), st.lists(st.one_of(st.none(), st.integers(0, 12)), max_size=40))
def test_a_backlog_keeps_the_newest_and_counts_the_rest(limit: int, steps: list[int | None]) -> None:
    """Over any sequence of putting so many and taking all (None): what is taken is the newest in order, and taken and
    dropped add up to what was put."""
    backlog: Backlog[int] = Backlog(limit)
    put: list[int] = []
    taken: list[int] = []
    for step in [*steps, None]:
        if step is None:
            items = backlog.take(0.0)
            assert items == put[len(put) - len(items) :]
            taken += items
        else:
            new = list(range(len(put), len(put) + step))
            put += new
            backlog.put(new)
    assert len(taken) + backlog.dropped == len(put)
    assert backlog.most <= limit


FOR_EVER_S = 100_000.0  # a consumer that is not woken runs into the time limit of the test


def test_taking_waits_for_the_first_and_not_longer() -> None:
    """A consumer that waits is woken by what comes, and by the end; without either it goes on after its time."""
    backlog: Backlog[int] = Backlog(4)
    assert backlog.take(0.001) == []
    threading.Timer(0.01, backlog.put, [[1, 2]]).start()
    assert backlog.take(FOR_EVER_S) == [1, 2]
    threading.Timer(0.01, backlog.close).start()
    assert backlog.take(FOR_EVER_S) == []
    assert backlog.closed


def test_what_came_before_the_end_is_still_taken() -> None:
    """Closing a backlog does not lose what waits in it."""
    backlog: Backlog[int] = Backlog(4)
    backlog.put([1])
    backlog.close()
    assert not backlog.closed
    assert backlog.take(30.0) == [1]
    assert backlog.closed


class SlowLine:
    """Takes as many bytes at each write as it is told to."""

    def __init__(self, room: int = 0) -> None:
        self.room, self.carried = room, b""

    def write(self, data: bytes) -> int:
        taken, self.room = data[: self.room], max(0, self.room - len(data))
        self.carried += taken
        return len(taken)

    def messages(self) -> list[Message]:
        decoder = FrameDecoder(0)
        frames = decoder.feed(self.carried)
        assert decoder.counters.clean
        return [frame.message() for frame in frames]


def prediction(number: int) -> Prediction:
    return Prediction(number, 0, 0, 0, (1.0, 2.0))


@given(st.lists(st.one_of(st.integers(0, 80), st.sampled_from(["predict", "post"])), max_size=60))
def test_whatever_the_line_takes_frames_stay_whole(steps: list[int | str]) -> None:
    """In any order of posting, predicting and room on the line: control frames all arrive in order, predictions in
    order with only the overtaken ones missing and counted, and no frame is cut or numbered twice."""
    line, outbox, now_us = SlowLine(), Outbox(FrameEncoder()), 0
    outbox.attach(line.write)
    posted = predicted = 0
    for step in [*steps, 10_000]:
        now_us += 1000
        if step == "predict":
            outbox.predict(prediction(predicted), now_us)
            predicted += 1
        elif step == "post":
            outbox.post([Log(0, str(posted))], now_us)
            posted += 1
        else:
            line.room = int(step)
            outbox.post([], now_us)
    told = line.messages()
    assert [message.text for message in told if isinstance(message, Log)] == [str(k) for k in range(posted)]
    numbers = [message.ref_seq for message in told if isinstance(message, Prediction)]
    assert numbers == sorted(set(numbers))
    assert len(numbers) + outbox.replaced == predicted
    assert not predicted or numbers[-1] == predicted - 1
    assert not outbox.waiting


def test_a_line_that_takes_nothing_does_not_fill_the_memory() -> None:
    """Control frames beyond a few kilobytes are dropped and counted; a new line begins with none of them."""
    stuck, outbox = SlowLine(), Outbox(FrameEncoder())
    outbox.attach(stuck.write)
    for _ in range(1000):
        outbox.post([Log(0, "x" * 100)], 0)
    outbox.predict(prediction(0), 0)
    assert 900 < outbox.unsent < 1000
    free = SlowLine(10_000)
    outbox.attach(free.write)
    outbox.post([Bye(5)], 1)
    assert free.messages() == [Bye(5)]
    assert free.carried[0] == 0  # whatever was cut off before ends here


def test_a_detached_outbox_writes_nothing() -> None:
    """After detaching, a prediction from another thread cannot reach a port that is being closed."""
    line, outbox = SlowLine(10_000), Outbox(FrameEncoder())
    outbox.attach(line.write)
    outbox.detach()
    outbox.predict(prediction(0), 0)
    outbox.post([Bye(5)], 0)
    assert line.carried == b""
