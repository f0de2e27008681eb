"""Parity link 0 on real logs: every shared log, as recorded, with jitter, and reordered within and beyond lateness."""

from functools import cache

import numpy as np
import pytest
from support.messages import pushed

from rtsysid.alignment.plan import alignment_plan
from rtsysid.alignment.recorded import FeedMessages, align_recording
from rtsysid.alignment.source import ChannelSource
from rtsysid.config import parse_config
from rtsysid.recordings.draft.log import draft_for
from rtsysid.recordings.draft.text import draft_text
from rtsysid.recordings.home import home
from rtsysid.recordings.open_logs import OpenLogs
from rtsysid.recordings.runs import run_files

LOGS = [
    "auterion_quadrotor_local.ulg", "auterion_esc_status_log.ulg", "px4/pyulog_sample_auav_x21.ulg", "LOG00007.BFL",
    "betaflight/btfl_005.bbl", "ardupilot/pxf_copter_31-3-2015_83.BIN", "mav_jay_2017-04-10-10-09-32.bag",
    "mav_jay_2017-04-10-10-12-44_mcap", "mav_jay_2017-04-10-10-12-44_db3", "ros1/zaki_may9_before1.bag",
    "zaki_may9_before1_db3", "lerobot/so101_record_test", "lerobot/unitree_g1_inspire",
]  # fmt: skip
SECONDS = 4.0


@cache
def messages_of(log):
    """Return plan and messages of some seconds in the middle of a log."""
    path = home() / "logs" / log
    if not path.exists():
        pytest.skip(f"no recording {log}")
    data = parse_config(draft_text(draft_for([path], None), [path.name], True)).data
    sources = data.sources or {each.name: ChannelSource(field=each.name) for each in data.channels}
    plan = alignment_plan(sources, data.channels, data.rate_hz, data.lateness, 0.3)
    logs = OpenLogs(run_files([path], data)[0], data)
    messages = logs.messages(plan.feeds)
    middle = np.median(next(iter(messages.values())).arrival)
    near = {feed: np.abs(each.arrival - middle) < SECONDS / 2 for feed, each in messages.items()}
    return plan, {feed: FeedMessages(*(part[near[feed]] for part in each)) for feed, each in messages.items()}


def disturbed(each, rate_hz):
    """Let messages carry stamps that are right, late within lateness, and late beyond it."""
    late = np.random.default_rng(1).choice([0.0, 0.3, 3.0], len(each.t)) / rate_hz
    return each._replace(t=each.t - late)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("log", LOGS)
def test_a_log_equals_its_messages_one_by_one(log, late):
    """Aligned at once and pushed one by one, a log gives equal bits and counts; with late messages there are some."""
    plan, messages = messages_of(log)
    if late:
        messages = {feed: disturbed(each, plan.rate_hz) for feed, each in messages.items()}
    whole = align_recording(plan, messages)
    rows, aligner = pushed(plan, messages)
    assert np.concatenate([each.t for each in whole.pieces]).tolist() == [row.t for row in rows]
    values = np.concatenate([each.values for each in whole.pieces])
    assert np.array_equal(values, np.array([row.values for row in rows]), equal_nan=True)
    assert {name: vars(each) for name, each in whole.counts.items()} == {
        name: vars(each) for name, each in aligner.counts.items()
    }
    assert (sum(each.late for each in whole.counts.values()) > 0) >= late
