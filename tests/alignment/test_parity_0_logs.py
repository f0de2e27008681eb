"""Parity link 0 on real logs: every shared log, as recorded, with jitter, and reordered within and beyond lateness."""

import numpy as np
import pytest
from support.messages import pushed

from rtsysid.alignment.plan import alignment_plan
from rtsysid.alignment.recorded import FeedMessages, align_recording
from rtsysid.config import parse_config
from rtsysid.recordings.draft.log import draft_for
from rtsysid.recordings.draft.text import draft_text
from rtsysid.recordings.home import home
from rtsysid.recordings.open_logs import OpenLogs
from rtsysid.recordings.runs import run_files

LOGS = [
    "auterion_quadrotor_local.ulg", "auterion_esc_status_log.ulg", "px4/pyulog_sample_auav_x21.ulg", "LOG00007.BFL",
    "betaflight/btfl_005.bbl", "ardupilot/pxf_copter_31-3-2015_83.BIN",
]  # fmt: skip
SECONDS = 12.0


def messages_of(path, seed):
    """Return plan and messages of some seconds in the middle of a log; a seed above 0 disturbs order and stamps."""
    data = parse_config(draft_text(draft_for([path], None), [path.name], True)).data
    plan = alignment_plan(data.sources, data.channels, data.rate_hz, data.lateness, 0.3)
    logs = OpenLogs(run_files([path], data)[0], data)
    messages = {feed: logs.messages(feed, fields) for feed, fields in plan.feeds.items()}
    middle = np.median(next(iter(messages.values())).arrival)
    return plan, {feed: _disturbed(each, middle, seed, plan.rate_hz) for feed, each in messages.items()}


def _disturbed(each, middle, seed, rate_hz):
    near = np.abs(each.arrival - middle) < SECONDS / 2
    t, arrival, values = each.t[near], each.arrival[near], each.values[near]
    if seed:
        rng = np.random.default_rng(seed)
        t = t - rng.choice([0.0, 0.3, 3.0], len(t)) / rate_hz  # in time, within lateness, and beyond it
    return FeedMessages(t, arrival, values)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("log", LOGS)
def test_a_log_equals_its_messages_one_by_one(log, seed):
    """Aligned at once and pushed one by one, a log gives equal bits and counts; with late messages there are some."""
    path = home() / "logs" / log
    if not path.exists():
        pytest.skip(f"no recording {log}")
    plan, messages = messages_of(path, seed)
    whole = align_recording(plan, messages)
    rows, aligner = pushed(plan, messages)
    assert np.concatenate([each.t for each in whole.pieces]).tolist() == [row.t for row in rows]
    values = np.concatenate([each.values for each in whole.pieces])
    assert np.array_equal(values, np.array([row.values for row in rows]), equal_nan=True)
    assert {name: vars(each) for name, each in whole.counts.items()} == {
        name: vars(each) for name, each in aligner.counts.items()
    }
    assert (sum(each.late for each in whole.counts.values()) > 0) >= (seed > 0)
