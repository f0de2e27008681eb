"""The host's side of the conversation, without a port and in simulated time."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from support.fake_board import STEP_S, FakeBoard, converse, meeting, model, said, table

from firmware_bridge import messages as msg
from firmware_bridge.conversation import Conversation, LinkState
from firmware_bridge.peer import Requirements
from firmware_bridge.schema import Schema, WireChannel
from rtsysid.errors import LinkError
from rtsysid.spec import Channel, ModelSpec


def test_from_hello_to_samples() -> None:
    """Over a good line each request is made once, the clock is set, and every sample comes with its time: on both
    clocks as soon as eight round trips agree, and on the board's alone before that."""
    board = FakeBoard()
    talk, arrivals, _ = meeting(board)
    assert talk.state is LinkState.STREAMING
    assert [said(board, kind) for kind in (msg.Hello, msg.Start)] == [1, 1]
    assert said(board, msg.SchemaGet) == 1
    assert talk.board is not None
    assert talk.board.schema == board.schema
    assert talk.board.describe()["firmware"] == "fake 1.0"
    assert len(arrivals) >= 190
    assert [a.sample.values[0] for a in arrivals] == list(range(int(arrivals[0].sample.values[0]), board.tick + 1))
    assert all(arrival.sample.t == arrival.device_t_us * 1e-6 for arrival in arrivals)
    dated = list(itertools.dropwhile(lambda arrival: math.isnan(arrival.captured_s), arrivals))
    assert len(dated) == pytest.approx(160, abs=10)  # 100 samples a second, and a round trip each 50 ms
    for arrival in dated:
        assert arrival.captured_s == pytest.approx(arrival.sample.t + 3.0, abs=STEP_S)
        assert 0 <= arrival.received_s - arrival.captured_s < 0.02
    assert talk.counters.clean
    assert talk.counters.ok > len(arrivals)
    assert (talk.losses, talk.intake.gaps, talk.intake.samples) == (0, 0, len(arrivals))


def test_hello_is_repeated_until_answered() -> None:
    """Without an answer a HELLO is sent each 100 ms; the first answer ends that."""
    board = FakeBoard()
    board.mute = {msg.Hello}
    talk, _, now_s = meeting(board, seconds=1.0)
    assert (talk.state, said(board, msg.Hello)) == (LinkState.HELLO, 10)
    board.mute = set()
    converse(talk, board, 1.5, now_s)
    assert (talk.state, said(board, msg.Hello)) == (LinkState.STREAMING, 11)


def test_a_line_that_leads_nowhere_is_given_up() -> None:
    """After fifty HELLOs the line counts as lost, so that it is opened again; no board was lost, though."""
    board = FakeBoard()
    board.mute = {msg.Hello}
    talk, _, now_s = meeting(board, seconds=20.0)
    assert talk.state is LinkState.LOST
    assert (said(board, msg.Hello), talk.losses) == (50, 0)
    assert now_s - 10.0 == pytest.approx(5.0, abs=0.1)


@pytest.mark.parametrize("request_", [msg.SchemaGet, msg.Start])
def test_a_request_without_an_answer_is_made_five_times(request_: type) -> None:
    """Stop and wait: five times in 100 ms, then the board counts as lost, with the request's name."""
    board = FakeBoard()
    board.mute = {request_}
    talk, _, _ = meeting(board, seconds=5.0)
    assert talk.state is LinkState.LOST
    assert said(board, request_) == 5
    name = "START" if request_ is msg.Start else "SCHEMA_GET"
    assert talk.events[-1] == f"lost: no answer to {name}"
    assert talk.losses == 1


def test_a_known_table_is_not_fetched_again() -> None:
    """When the same board comes back its channel table is known by its hash, and its clock by its boot id."""
    board = FakeBoard()
    talk, before, now_s = meeting(board)
    talk.lose("cable")
    talk.open(now_s)
    board.mute = {msg.TimeReq}
    after, _ = converse(talk, board, 0.5, now_s)
    assert said(board, msg.SchemaGet) == 1
    assert talk.state is LinkState.STREAMING
    assert after[0].received_s - now_s < 0.1
    assert after[0].boot == before[-1].boot
    assert (talk.losses, talk.intake.reboots) == (1, 0)
    assert talk.intake.gaps == after[0].sample.values[0] - before[-1].sample.values[0] - 1


@pytest.mark.parametrize("rows", [60, 200])
def test_a_large_table_comes_in_pieces(rows: int) -> None:
    """A channel table of many pieces is put together; pieces of another offset are ignored."""
    names = [f"{np.random.default_rng(k).integers(1 << 40):010x}" for k in range(rows)]
    board = FakeBoard(Schema(tuple(WireChannel(n, kind="u8") for n in names), 100.0))
    board.mute = {msg.SchemaGet}
    talk = Conversation(Requirements())
    talk.open(0.0)
    converse(talk, board, 0.05, 0.0)
    board.say(msg.SchemaData(200, b"of another question"), 0.05)
    converse(talk, board, 0.05, 0.05)
    board.mute, board.heard = {msg.Start}, []
    converse(talk, board, 1.0, 0.1)
    assert said(board, msg.SchemaGet) == -(-len(board.schema.compressed) // msg.SCHEMA_PIECE) > 2
    assert talk.board is not None
    assert talk.board.schema == board.schema


def test_a_table_that_is_not_the_one_announced_is_refused() -> None:
    """A firmware whose table and hash disagree would spoil every CRC: it is named, and nothing streams."""
    board = FakeBoard(schema_hash=5)
    with pytest.raises(LinkError, match=f"hashes to {board.schema.hash:08x}, not 00000005"):
        meeting(board)


def test_another_protocol_is_refused_with_both_versions() -> None:
    """Firmware of another major version is named with both versions, on whichever side it is noticed first."""
    with pytest.raises(LinkError, match=f"speaks protocol 00000001.0, this library {msg.version()}; reflash"):
        meeting(FakeBoard(major=1))
    board = FakeBoard()
    board.mute = {msg.Hello}
    talk = Conversation(Requirements())
    talk.open(0.0)
    converse(talk, board, 0.1, 0.0)
    board.encoder.session = talk.session
    board.say(msg.Error(msg.Fault.version, msg.Hello.CODE, 0, 2, "too old"), 0.1)
    with pytest.raises(LinkError, match=r"speaks protocol 00000002\.0"):
        converse(talk, board, 0.1, 0.1)


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        (model(), None),
        (model(rate_hz=25.0), None),
        (model(rate_hz=70.0), "rate_hz"),
        (model(rate_hz=200.0), "rate_hz"),
        (model(channels=(Channel("u", "A", "input"), Channel("y", "m"), Channel("v", "m/s"))), "u.unit"),
        (model(channels=(Channel("u", "V", "input"), Channel("v", "m/s"), Channel("y", "m"))), "order"),
        (model(channels=(Channel("u", "V", "input"), Channel("y", "m"), Channel("w", "m/s"))), "v, w"),
    ],
)
def test_a_board_that_the_model_was_not_made_for_is_refused(spec: ModelSpec, named: str | None) -> None:
    """Channels, units, order and rate must agree, or the fields that differ are named; a multiple of the rate is
    divided on the board."""
    board = FakeBoard()
    if named is None:
        _, arrivals, _ = meeting(board, Requirements(spec))
        steps = {round(b.device_t_us - a.device_t_us, -3) for a, b in itertools.pairwise(arrivals)}
        assert steps == {round(1e6 / spec.rate_hz)}
    else:
        with pytest.raises(LinkError, match=f"differs from the model in {named};"):
            meeting(board, Requirements(spec))


def test_a_wire_that_is_too_slow_is_refused_with_the_rate_that_fits() -> None:
    """More than 70 % of the wire's bytes is refused, with the rate that would fit; just below is accepted."""
    board = FakeBoard(table(1000.0))
    bytes_each = 3 * 4 + 14
    with pytest.raises(LinkError, match=r"1000 Hz of 26 bytes fill 71% of the wire; at most 990 Hz fit"):
        meeting(board, Requirements(capacity=1000 * bytes_each / 0.707))
    talk, _, _ = meeting(board, Requirements(capacity=1000 * bytes_each / 0.699))
    assert talk.state is LinkState.STREAMING
    talk, _, _ = meeting(board, Requirements(divider=2, capacity=500 * bytes_each / 0.699))
    assert talk.state is LinkState.STREAMING


def test_the_schedule_of_round_trips_and_heartbeats() -> None:
    """Round trips go out at 50 ms until the eighth has set the clock, then each 0.98 s; heartbeats at 2 Hz always."""
    board = FakeBoard()
    meeting(board, seconds=10.4)
    assert said(board, msg.TimeReq) == 9 + 10
    assert said(board, msg.Heartbeat) == 21


def test_a_board_without_round_trips_streams_all_the_same() -> None:
    """After a second without an answer the age of the samples is measured from the least lag; it is unknown before."""
    board = FakeBoard()
    board.mute = {msg.TimeReq}
    talk, arrivals, _ = meeting(board, seconds=5.0)
    assert talk.state is LinkState.STREAMING
    assert not talk.intake.clock.converged
    assert said(board, msg.TimeReq) < 25
    dated = list(itertools.dropwhile(lambda arrival: math.isnan(arrival.captured_s), arrivals))
    assert dated[0].received_s == pytest.approx(11.0, abs=0.03)
    assert all(-1e-9 <= a.received_s - a.captured_s < 0.02 for a in dated)
    assert len(dated) > 350
