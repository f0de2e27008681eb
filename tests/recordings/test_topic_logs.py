"""Test that a table is a log of one topic, and a log of topics a table."""

from __future__ import annotations

import numpy as np
import pytest
from support.fake_topics import Content, put_fake

from rtsysid.errors import TraceError
from rtsysid.recordings.topic_logs import open_topics
from rtsysid.recordings.trace import Trace


@pytest.mark.parametrize("time", ["stamp [us]", "stamp", "t"])
def test_a_table_is_a_log_of_one_topic(tmp_path, time):
    """The columns of numbers but the time are its fields, whatever states the unit of the time."""
    rows = "".join(f"{k / 100},{k * 10_000},{k},x\n" for k in range(50))
    (tmp_path / "a.csv").write_text(f"t,stamp,y [m],mode\n{rows}")
    log = open_topics(tmp_path / "a.csv", time)
    [topic] = log.topics
    assert [(each.name, each.unit) for each in topic.fields][-1] == ("y", "m")
    assert time.partition(" ")[0] not in [each.name for each in topic.fields]
    series = log.read("", ["y"])
    np.testing.assert_allclose(series.t, np.arange(50) * (1e4 if time == "stamp" else 0.01))
    np.testing.assert_array_equal(series.values[:, 0], np.arange(50))
    with pytest.raises(TraceError, match="no column 'z'"):
        log.read("", ["z"])


def test_a_table_of_arrays_has_those_of_its_time(tmp_path):
    """Arrays of another length are no fields, and the number of messages is that of the times."""
    np.savez(tmp_path / "a.npz", t=np.arange(5) / 10, y=np.arange(5.0), long=np.zeros(9))
    [topic] = open_topics(tmp_path / "a.npz").topics
    assert ([each.name for each in topic.fields], topic.messages) == (["y"], 5)


def test_the_time_of_a_table_goes_on(tmp_path):
    """A counter that rolls over is continued in a table that is read as a topic, too."""
    counts = (2**32 - 100_000 + 10_000 * np.arange(40)) % 2**32
    (tmp_path / "a.csv").write_text("TimeUS,y\n" + "".join(f"{t},1\n" for t in counts))
    series = open_topics(tmp_path / "a.csv", "TimeUS").read("", ["y"])
    np.testing.assert_allclose(np.diff(series.t), 0.01, atol=1e-6)


def test_a_log_of_topics_is_a_table(tmp_path, monkeypatch):
    """Each message is a row, with NaN in the columns of other topics; a missing time column names the time."""
    a, b = (Content(np.arange(3) + shift, {"x": np.arange(3.0)}) for shift in (0.0, 0.5))
    put_fake(monkeypatch, {"/a": a, "/b": b})
    (tmp_path / "a.npz").write_bytes(b"-")
    [episode] = Trace.read(tmp_path / "a.npz").episodes
    np.testing.assert_array_equal(episode.t, [0, 0.5, 1, 1.5, 2, 2.5])
    np.testing.assert_array_equal(episode.values[:, 0], [0, np.nan, 1, np.nan, 2, np.nan])
    with pytest.raises(TraceError, match="there is 't': --time"):
        Trace.read(tmp_path / "a.npz", time="time")
