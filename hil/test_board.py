"""A model on a board over the wire: the same tests on a process, an emulated board and a real one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from parts import REPORT, same_bits
from support.shim import Fault, Shim

from export.hil import RigBoard, greet, model_hash
from firmware_bridge import messages as msg
from firmware_bridge.rig import Rig, StepAnswer
from firmware_bridge.schema import Schema
from rtsysid.errors import LinkError
from rtsysid.model.bundle import Bundle
from rtsysid.model.golden import relative_error
from rtsysid.spec import Floats


def outputs(answers: list[StepAnswer]) -> Floats:
    return np.stack([answer.y for answer in answers])


def needs_a_hand(board: RigBoard) -> None:
    if board.device is None:
        pytest.skip("wants a hand on the board")


def test_a_board_names_its_model_and_its_channels(rig: Rig, bundle: Bundle) -> None:
    """HELLO_ACK carries the bundle's hash, and the channel table over the wire is the bundle's."""
    assert rig.board.model_hash == model_hash(bundle)
    assert rig.table() == Schema.of(bundle.spec.channels, bundle.spec.rate_hz)


def test_a_recording_gives_the_same_bits_as_offline(
    rig: Rig, board: RigBoard, bundle: Bundle, short: Floats, expected: Floats
) -> None:
    """Played as fast as possible, every prediction equals that of the bundle, bit by bit; the first are warm-up."""
    answers = rig.play(short)
    assert same_bits(outputs(answers), expected)
    taps = bundle.spec.taps
    assert [a.status for a in answers] == [msg.Status.warm_up] * (taps - 1) + [msg.Status.ok] * (60 - taps + 1)
    error, spent = relative_error(outputs(answers), expected, bundle.spec), max(a.spent_us for a in answers)
    REPORT.append(
        f"{board.name}: {len(short)} rows over the wire, error {error:g}, slowest step {spent} us by its clock"
    )


def test_the_pace_changes_nothing(rig: Rig, bundle: Bundle, short: Floats, expected: Floats) -> None:
    """At the recorded rate the predictions are the same."""
    answers = rig.play(short, 1 / bundle.spec.rate_hz)
    assert same_bits(outputs(answers), expected)


def test_the_cost_of_a_step_is_reported(rig: Rig, board: RigBoard, bundle: Bundle, short: Floats) -> None:
    """Heartbeats report the longest step since the one before; on a real board it is shorter than a tick."""
    rig.heartbeat()
    spent = max(answer.spent_us for answer in rig.play(short))
    assert rig.heartbeat().infer_max_us <= spent
    assert rig.heartbeat().infer_max_us == 0
    if board.device is None:
        assert spent < 1e6 / bundle.spec.rate_hz


def test_a_new_session_is_a_cold_start(rig: Rig, bundle: Bundle, short: Floats, expected: Floats) -> None:
    """Nothing of an earlier recording is left in the model, after a HELLO and after row 0 alike."""
    rig.play(short[:30])
    assert same_bits(outputs(rig.play(short[:30])), expected[:30])
    greet(rig, bundle)
    assert same_bits(outputs(rig.play(short[:30])), expected[:30])


def test_a_row_out_of_turn_is_refused(rig: Rig, short: Floats, expected: Floats) -> None:
    """A row that skips one is an ERROR and not a prediction; the expected row then gives the right bits."""
    rig.play(short[:20])
    rig._index += 1
    with pytest.raises(LinkError, match="next index"):
        rig.step(short[21])
    rig._index -= 1
    assert same_bits(rig.step(short[20]).y, expected[20])


def test_a_row_that_comes_again_is_stepped_once(rig: Rig, short: Floats, expected: Floats) -> None:
    """A row sent twice, as after a lost answer, is answered twice and steps the model once."""
    rig.play(short[:20])
    rig._index -= 1
    assert same_bits(rig.step(short[19]).y, expected[19])
    assert same_bits(rig.step(short[20]).y, expected[20])


@pytest.mark.parametrize("fault", ["flip bit", "drop", "double"])
def test_a_bad_wire_only_delays(
    board: RigBoard, bundle: Bundle, short: Floats, expected: Floats, tmp_path: Path, fault: Fault
) -> None:
    """Rows and predictions that are damaged, lost or doubled are repeated, and the bits are the right ones."""
    with Shim(board.port, tmp_path) as shim, Rig(shim.port, again_s=0.1) as rig:
        greet(rig, bundle)
        shim.to_host.code, shim.to_board.code = msg.Prediction.CODE, msg.TraceSample.CODE
        shim.to_host.start(fault, 11)
        shim.to_board.start(fault, 13)
        assert same_bits(outputs(rig.play(short)), expected)
        assert min(shim.to_host.done, shim.to_board.done) >= 3
        assert rig.faults()


def test_a_reset_shows_and_is_survived(
    rig: Rig, board: RigBoard, bundle: Bundle, short: Floats, expected: Floats
) -> None:
    """After the reset button another boot id answers, and the recording gives the same bits from its beginning."""
    needs_a_hand(board)
    before = rig.board.boot_id
    rig.play(short[:15])
    board.device.reset()  # type: ignore[union-attr]
    greet(rig, bundle)
    assert rig.board.boot_id != before
    assert same_bits(outputs(rig.play(short)), expected)


def test_a_stall_only_delays(rig: Rig, board: RigBoard, short: Floats, expected: Floats) -> None:
    """A board that stops for a moment continues with the right bits; repeated messages are counted."""
    needs_a_hand(board)
    found = outputs(rig.play(short[:20]))
    board.device.pause()  # type: ignore[union-attr]
    with pytest.raises(LinkError, match="no PREDICTION"):
        rig.step(short[20], patience_s=0.6)
    board.device.resume()  # type: ignore[union-attr]
    rest = [rig.step(row).y for row in short[20:]]
    assert same_bits(np.concatenate([found, rest]), expected)
    assert rig.repeats > 0
    rig.repeats = 0


def test_a_pulled_cable_is_one_line(board: RigBoard, bundle: Bundle, short: Floats) -> None:
    """Unplugged in the middle, the next row is a LinkError that names the port, without waiting for an answer."""
    needs_a_hand(board)
    with Rig(board.port) as rig:
        greet(rig, bundle)
        rig.play(short[:15])
        board.device.unplug()  # type: ignore[union-attr]
        with pytest.raises(LinkError, match=r"^port "):  # and not: no PREDICTION in 10 s
            rig.step(short[15])
