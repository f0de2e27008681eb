"""Test ULog files of PX4: what pyulog reads, and what it does not say of damaged files."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.small_logs import (
    GYRO,
    ROWS,
    ULOG_DEFINITIONS,
    ULOG_START,
    imu_message,
    plain_ulog,
    shared_log,
    subscription,
    ulog,
    ulog_message,
)

from rtsysid.errors import TraceError
from rtsysid.recordings import formats
from rtsysid.recordings.formats.ulog import Reader
from rtsysid.recordings.trace import Trace


def opened(folder: Path, content: bytes) -> Reader:
    (folder / "log.ulg").write_bytes(content)
    return Reader(folder / "log.ulg")


def test_topics_instances_fields_and_stamps(tmp_path) -> None:
    """Number fields alone are offered, nested ones by path; times are stamps; the second instance is `name[1]`."""
    log = opened(tmp_path, ulog())
    assert [(each.name, each.messages) for each in log.topics] == [("esc_status", 4), ("esc_status[1]", 4), ("imu", 40)]
    escs, _, imu = log.topics
    assert [field.name for field in imu.fields] == ["xyz[0]", "xyz[1]", "xyz[2]", "n"]
    assert imu.stamps == ("timestamp_sample",)
    assert [field.name for field in escs.fields] == ["esc[0].rpm", "esc[1].rpm"]
    assert escs.stamps == ("esc[0].timestamp", "esc[1].timestamp")
    found = log.read("imu", ["n", "xyz[1]"], "timestamp_sample")
    np.testing.assert_array_equal(found.values, np.column_stack((np.arange(ROWS), GYRO[:, 1])))
    np.testing.assert_allclose(found.arrival, 5 + np.arange(ROWS) / 100)
    np.testing.assert_allclose(found.t, found.arrival - 0.002)
    np.testing.assert_array_equal(log.read("esc_status[1]", ["esc[1].rpm"]).values[:, 0], 1800 + 10 * np.arange(4))
    assert log.parameters == {"MC_ROLL_P": 6.5, "SYS_ID": 7.0}
    assert log.info == {"sys_name": "PX4"}
    assert log.missing == ""


@pytest.mark.parametrize(
    ("topic", "field", "stamp", "says"),
    [
        ("imo", "n", "", "no topic 'imo'; there is 'imu'"),
        ("imu", "xyz", "", r"no field of imu 'xyz'; there is 'xyz\[2\]'"),
        ("imu", "n", "timestamp_samples", "there is 'timestamp_sample'"),
    ],
)
def test_a_wrong_name_lists_near_ones(tmp_path, topic, field, stamp, says) -> None:
    """A topic, field or stamp that does not exist is answered with names that do."""
    with pytest.raises(TraceError, match=says):
        opened(tmp_path, ulog()).read(topic, [field], stamp)


@pytest.mark.recordings
@pytest.mark.parametrize(
    ("parts", "topics", "samples", "missing"),
    [
        (("auterion_quadrotor_local.ulg",), 98, 63_011, ""),
        (("auterion_esc_status_log.ulg",), 34, 8_200, ""),
        (("px4", "pyulog_sample_auav_x21.ulg"), 15, 64_542, "4 dropouts, 0.119 s in all"),
    ],
)
def test_real_logs_equal_pyulog(parts, topics, samples, missing) -> None:
    """All fields of all topics of three real logs are what pyulog alone reads, to the bit."""
    import pyulog

    log = Reader(shared_log(*parts))
    theirs = {(each.name, each.multi_id): each.data for each in pyulog.ULog(str(log.path)).data_list}
    assert (len(log.topics), sum(each.messages or 0 for each in log.topics)) == (topics, samples)
    assert len(theirs) == topics
    for topic in log.topics:
        instance = int(topic.name.rpartition("[")[2][:-1]) if topic.name.endswith("]") else 0
        data = theirs[topic.type_name, instance]
        found = log.read(topic.name, [field.name for field in topic.fields])
        np.testing.assert_array_equal(found.t, data["timestamp"] * 1e-6)
        for column, field in enumerate(topic.fields):
            np.testing.assert_array_equal(found.values[:, column], data[field.name].astype(float))
    assert log.missing == missing


@settings(max_examples=60)
@given(cut=st.integers(0, len(plain_ulog())))
def test_a_log_that_is_cut_off_is_read_up_to_there(tmp_path_factory, cut) -> None:
    """Whatever byte a log ends at, complete messages are read, and a message that is cut is said with its time."""
    log_bytes = plain_ulog()
    folder = tmp_path_factory.mktemp("cut")
    if cut < 16:
        with pytest.raises(TraceError, match="damaged"):
            opened(folder, log_bytes[:cut])
        return
    log = opened(folder, log_bytes[:cut])
    begin, size = len(log_bytes) - ROWS * len(imu_message(0)), len(imu_message(0))
    whole, rest = divmod(max(cut - begin, 0), size)
    if whole:
        np.testing.assert_array_equal(log.read("imu", ["n"]).values[:, 0], np.arange(whole))
        assert log.missing == (f"cut off after {(whole - 1) / 100:.4g} s, inside a message" if rest else "")
    else:
        assert log.topics == ()


@settings(max_examples=60)
@example(at=18, size=24, seed=0, insert=True)  # bytes that are taken for the begin of a message
@given(at=st.integers(0, ROWS - 5), size=st.integers(1, 60), seed=st.integers(0, 99), insert=st.booleans())
def test_damage_in_the_middle_costs_little(tmp_path_factory, at, size, seed, insert) -> None:
    """Behind bytes that are noise the messages are found again; those that are returned are right."""
    head, frames = plain_ulog(0), [imu_message(k) for k in range(ROWS)]
    noise = b"\0" + np.random.default_rng(seed).integers(128, 256, size, np.uint8).tobytes()
    raw = b"".join(frames)
    start = at * len(frames[0]) + 7
    raw = raw[:start] + noise + raw[start if insert else start + len(noise) :]
    log = opened(tmp_path_factory.mktemp("noise"), head + raw)
    found = log.read("imu", ["xyz[0]"])
    by_time = dict(zip(found.t.round(6).tolist(), found.values[:, 0].tolist(), strict=True))
    for k in [*range(at), *range(at + 4, ROWS)]:  # a message that keeps its length may hold noise
        assert by_time[round(5 + k / 100, 6)] == GYRO[k, 0]
    assert len(by_time) <= ROWS


def test_a_wrong_length_costs_one_message(tmp_path) -> None:
    """A message that seems to end inside the next one does not take that with it."""
    frames = [imu_message(k) for k in range(ROWS)]
    frames[10] = bytes([frames[10][0] + 9]) + frames[10][1:]
    log = opened(tmp_path, plain_ulog(0) + b"".join(frames))
    assert log.read("imu", ["n"]).values[:, 0].tolist() == [k for k in range(ROWS) if k != 10]
    assert log.missing == f"{len(frames[0])} damaged bytes left out, the first after 0.09 s"


def test_dropouts_are_counted(tmp_path) -> None:
    """What the logger could not keep up with is summed."""
    dropouts = b"".join(ulog_message("O", struct.pack("<H", ms)) for ms in (20, 100))
    assert opened(tmp_path, ulog() + dropouts).missing == "2 dropouts, 0.12 s in all"


def test_appended_data_are_read(tmp_path) -> None:
    """A log to which data were appended after a crash, behind a message that was cut, is read with both parts."""
    flags = struct.pack("<8B8B3Q", *[0] * 8, 1, *[0] * 7, 0, 0, 0)
    raw = ULOG_START + ulog_message("B", flags) + ULOG_DEFINITIONS[43:] + subscription(0, "imu")
    raw += b"".join(imu_message(k) for k in range(5)) + imu_message(5)[:20]
    at = len(raw)
    raw = raw[: 16 + 3 + 16] + struct.pack("<Q", at) + raw[16 + 3 + 24 :] + imu_message(6) + imu_message(7)
    log = opened(tmp_path, raw)
    assert log.read("imu", ["n"]).values[:, 0].tolist() == [0, 1, 2, 3, 4, 6, 7]


@pytest.mark.parametrize(
    ("format_text", "says"),
    [
        (b"a:a x;", "levels of formats"),
        (b"a:float[999999] x;", "limit message_fields"),
        (b"a:uint64_t timestamp;float x;float x;", "no column of numbers"),
        (b"a:uint64_t timestamp;b x;", "no column of numbers"),
        (b"a:uint64_t timestamp;nothing;", "no column of numbers"),
    ],
)
def test_formats_that_cannot_be_are_no_topics(tmp_path, format_text, says) -> None:
    """A format that holds itself, is too large or lacks a part makes no topic, or is refused."""
    data = ulog_message("D", struct.pack("<HQff", 0, 5_000_000, 1, 2))
    (tmp_path / "log.ulg").write_bytes(ULOG_START + ulog_message("F", format_text) + subscription(0, "a") + data)
    with pytest.raises(TraceError, match=says):
        formats.open_log(tmp_path / "log.ulg")


def test_without_pyulog_the_error_says_what_to_install(tmp_path, monkeypatch) -> None:
    """Without its package a ULog is refused with the command that installs it."""
    (tmp_path / "log.ulg").write_bytes(ulog())
    monkeypatch.setitem(sys.modules, "pyulog", None)
    with pytest.raises(TraceError, match=r"\.ulg needs pyulog.*pip install 'rtsysid\[logs\]'"):
        formats.open_log(tmp_path / "log.ulg")


def test_a_log_is_a_table_too(tmp_path) -> None:
    """Every command can read a log of topics as columns `topic.field`."""
    (tmp_path / "log.ulg").write_bytes(plain_ulog())
    trace = Trace.read(tmp_path / "log.ulg")
    assert [channel.name for channel in trace.channels] == ["imu.xyz[0]", "imu.xyz[1]", "imu.xyz[2]", "imu.n"]
    np.testing.assert_array_equal(trace.episodes[0].values[:, :3], GYRO.astype(np.float32))
