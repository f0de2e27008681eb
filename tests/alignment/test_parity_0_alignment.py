"""Parity link 0: a recording aligned at once equals the same messages pushed one by one, to the last bit."""

import numpy as np
import pytest
from support.messages import CHANNELS, drawn_messages, drawn_plan, pushed

from rtsysid.alignment.aligner import Aligner
from rtsysid.alignment.plan import alignment_plan
from rtsysid.alignment.recorded import FeedMessages, align_recording
from rtsysid.alignment.source import ChannelSource
from rtsysid.errors import SpecError
from rtsysid.spec import Channel


@pytest.mark.parametrize("seed", range(30))
def test_a_recording_equals_its_messages_one_by_one(seed):
    """Times, values and counts are equal with reordering, jitter, clock steps and losses, whatever the lateness."""
    rng = np.random.default_rng(seed)
    plan = drawn_plan(rng)
    messages = drawn_messages(rng, plan)
    whole = align_recording(plan, messages)
    rows, aligner = pushed(plan, messages)
    assert np.concatenate([[], *(each.t for each in whole.pieces)]).tolist() == [row.t for row in rows]
    values = np.concatenate([np.empty((0, len(CHANNELS)), np.float32), *(each.values for each in whole.pieces)])
    assert np.array_equal(values, np.array([row.values for row in rows]).reshape(values.shape), equal_nan=True)
    assert {name: vars(each) for name, each in whole.counts.items()} == {
        name: vars(each) for name, each in aligner.counts.items()
    }
    assert (whole.cut, sum(len(each.t) for each in whole.pieces)) == (aligner.cut, aligner.rows)


CHANNELS_OF_TWO = (Channel("u", role="input"), Channel("y"))
TWO = {"u": ChannelSource(topic="/a", field="u"), "y": ChannelSource(topic="/b", field="y")}


def test_a_message_within_lateness_counts_and_a_later_one_is_dropped():
    """A message may arrive up to `lateness` after its tick, as the stamps of the others say."""
    plan = alignment_plan(TWO, CHANNELS_OF_TWO, 10.0, 0.2, 1.0)
    aligner = Aligner(plan)
    for t in (0.0, 0.1, 0.2, 0.3):
        aligner.push("/a", t, {"u": t})
    aligner.push("/b", 0.2, {"y": 7.0})  # tick 2 is answered at 0.4
    aligner.push("/b", 0.05, {"y": 5.0})  # tick 1 was answered at 0.3
    assert (aligner.counts["y"].messages, aligner.counts["y"].late) == (2, 1)
    rows = list(aligner.finish())
    assert [round(row.t, 9) for row in rows] == [0.2, 0.3]
    assert [row.values.tolist() for row in rows] == [pytest.approx([0.2, 7.0]), pytest.approx([0.3, 7.0])]


def test_time_that_passes_answers_a_tick():
    """Without a further message a tick is due when the time is told; its value is held up to the age, then NaN."""
    aligner = Aligner(alignment_plan(TWO, CHANNELS_OF_TWO, 10.0, 0.1, 0.1))
    aligner.push("/b", 0.0, [1.0])
    aligner.push("/a", 0.0, [2.0])
    rows = [aligner.tick(0.31) for _ in range(4)]
    assert [None if row is None else row.values.tolist() for row in rows[:2]] == [[2.0, 1.0], [2.0, 1.0]]
    assert rows[2] is not None
    assert np.isnan(rows[2].values).all()
    assert rows[3] is None


def test_a_source_that_no_channel_needs_is_refused():
    """A topic that is not in the plan is one line with those that are."""
    with pytest.raises(SpecError, match=r"source '/c': no channel comes from it; push one of /a, /b"):
        Aligner(alignment_plan(TWO, CHANNELS_OF_TWO, 10.0, None)).push("/c", 0.0, [1.0])


def test_feeds_without_a_message_give_no_row():
    """A source that never speaks leaves no row: every tick is cut and counted."""
    plan = alignment_plan(TWO, CHANNELS_OF_TWO, 10.0, None, 1.0)
    nothing = FeedMessages(np.empty(0), np.empty(0), np.empty((0, 1)))
    t = np.arange(5) * 0.1
    found = align_recording(plan, dict(zip(plan.feeds, (FeedMessages(t, t, t[:, None]), nothing), strict=True)))
    assert (found.pieces, found.cut) == ([], 5)
