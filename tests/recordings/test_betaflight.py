"""Test the decoder of Blackbox logs against an encoder by the same documents, and against logs of real flights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.blackbox_writer import LOG_END, PRODUCT, Writer, blackbox, small, zigzag
from support.small_logs import shared_log

from rtsysid.alignment.source import ChannelSource
from rtsysid.config import Data
from rtsysid.errors import TraceError
from rtsysid.recordings.formats.betaflight import Reader
from rtsysid.recordings.reading import read_recordings
from rtsysid.recordings.topics import Series

NEAR = st.integers(-1000, 1000)
WIDE = st.integers(-(2**31), 2**31 - 1)


def opened(folder: Path, content: bytes, name: str = "log.bbl") -> Reader:
    (folder / name).write_bytes(content)
    return Reader(folder / name)


def everything(log: Reader, topic: str = "main") -> Series:
    (known,) = [each for each in log.topics if each.name == topic]
    return log.read(topic, [field.name for field in known.fields])


@st.composite
def lists(draw: st.DrawFn, count: int, predictors: list[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Draw a predictor and an encoding for each of so many fields; groups of three and four fields are complete."""
    encodings: list[int] = []
    while len(encodings) < count:
        left = count - len(encodings)
        sizes = {0: 1, 1: 1, 3: 1, 6: 1, 7: 3, 8: 4, 10: 3}
        encoding = draw(st.sampled_from([each for each, size in sizes.items() if size <= left]))
        encodings += [encoding] * sizes[encoding]
    return tuple(draw(st.sampled_from(predictors)) for _ in encodings), tuple(encodings)


@settings(max_examples=60)
@given(
    data=st.data(), count=st.integers(1, 14), rows=st.integers(1, 40), interval=st.integers(1, 9),
    every=st.integers(1, 3), seed=st.integers(0, 2**32 - 1), start=st.integers(0, 2**32 - 10**9),
)  # fmt: skip
def test_every_encoding_and_predictor_comes_back(
    tmp_path_factory, data, count, rows, interval, every, seed, start
) -> None:
    """What the documented encodings write with any predictor is read back as it was, number by number."""
    intra, inter = data.draw(lists(count, [0, 4, 5, 8, 9, 11])), data.draw(lists(count, [0, 1, 2, 3, 4, 5, 8]))
    writer = Writer(
        ("loopIteration", "time", "motor[0]", *(f"debug[{k}]" for k in range(count))),
        ((0, 0, 0, *intra[0]), (1, 1, 0, *intra[1])),
        ((6, 2, 3, *inter[0]), (9, 0, 0, *inter[1])),
        (0, 0, *[1] * (count + 1)),
        interval * every,
        every,
    )
    rng = np.random.default_rng(seed)
    spread = rng.choice([0, 2, 9, 40, 1000], count + 1)  # small numbers take other encodings than large ones
    values = rng.integers(-spread, spread + 1, (rows, count + 1)).tolist()
    table = [[k * every, start + 997 * k, *row] for k, row in enumerate(values)]
    log = opened(tmp_path_factory.mktemp("bbl"), writer.header() + b"".join(writer.frames(table)) + LOG_END)
    found = everything(log)
    np.testing.assert_array_equal(found.values, [[row[0], *row[2:]] for row in table])
    np.testing.assert_array_equal(found.t, np.array([row[1] for row in table]) * 1e-6)
    assert log.missing == ""


# Of the decoder betaflight-chirp-core 0.4.1, once for each file:
#   parser = FlightLogParser(raw); parser.parse_header(); parser.parse_data(); np.array(parser.main_frames).sum(0)
GOLDEN = {
    ("LOG00007.BFL",): (
        (113_158, 195.711915, 420.236214),
        [51218479224, -464704, -1204591, 1666536, 148467468, 271710847, 168166028, 63681057, 18570847, -137785928,
         124260258, -188778, -415280, 657254, -47183039, 5726861, 251534481, 74233299, 386480417, 207961514, 63681057,
         18570847, -137785928, 186612289, 0, 0, 0, 0, 165078074, 135960925, 162549948, 139263321],
        [400000, 126, 1, -70, 1356, 2419, 1680, 524, 1052, -1240, 124, 46, -2, -19, 220, -1296, 2046, 9227, 11700,
         -29066, 524, 1052, -1240, 1709, 0, 0, 0, 0, 1554, 1554, 1600, 1163],
        {"slow": [28, 203, 0, 29, 29],
         "gps": [40632, 1085669953631, -1596345363978, 3156647, 2391781, 3487073, -13490, -27354, -30493,
                 109290452000]},
    ),
    ("betaflight", "btfl_005.bbl"): (
        (61_439, 40.049722, 101.009418),
        [7549378564, 1335270, -1506070, -273213, 3582771, -3515369, -3942081, -509, -1176, 0, 0, 0, 0, 0, 0, 82675490,
         830997, -1034012, 0, 21236926, 73946807, 9087794, 60263077, -95654, -34202, 189651, -7820319, -4488788,
         121361628, 38945511, 42458866, 41815004, 73206240],
        [200000, 81, -110, 27, 198, -172, -237, -17, 25, 0, 0, 0, 0, 0, 0, 1339, 65, -73, 0, 339, 1213, 26, 353, 9, 0,
         -18, -686, -416, 1882, 158, 329, 348, 2047],
        {"slow": [24, 0, 0, 9, 9]},
    ),
}  # fmt: skip


@pytest.mark.recordings
@pytest.mark.parametrize("parts", GOLDEN)
def test_real_flights_equal_another_decoder(parts) -> None:
    """Every field of two real flights has the sum and the row 50,000 that an independent decoder gives."""
    log = Reader(shared_log(*parts))
    ends, sums, row, others = GOLDEN[parts]
    found = everything(log)
    logged = found.values[:, : len(sums)]  # a computed field comes after those of the log
    assert (len(found.t), found.t[0], found.t[-1]) == pytest.approx(ends)
    assert logged.sum(axis=0).tolist() == sums
    assert logged[50_000].tolist() == row
    assert {topic: everything(log, topic).values.sum(axis=0).tolist() for topic in others} == others
    assert log.missing == ""


def test_units_are_stated_where_the_header_settles_them(tmp_path) -> None:
    """A unit holds the factor of the header or of the version; other firmware and unknown scales give none."""
    units = {field.name: field.unit for field in opened(tmp_path, blackbox()).topics[0].fields}
    assert units["gyroADC[0]"] == "deg/s"
    assert units["vbatLatest"] == "0.01 V"
    assert units["motor[0]"] == ""
    writer, table = small()
    writer.settings |= {"Firmware revision": "INAV 7.0.0", "acc_1G": "0"}
    log = opened(tmp_path, writer.header() + b"".join(writer.frames(table)))
    assert {field.unit for field in log.topics[0].fields} == {""}


def test_nothing_is_held_from_one_log_to_the_next(tmp_path) -> None:
    """Each log of a file is aligned alone: a value that the first one said is not held into the second."""
    path = tmp_path / "two.bbl"
    path.write_bytes(blackbox(30, 5_000_000) + blackbox(30, 5_000_000))
    held = {name: ChannelSource(topic="main", field=name, max_age=1e6) for name in ("motor[0]", "gyroADC[0]")}
    data = Data(100.0, ("motor[0]",), ("gyroADC[0]",), sources=held)
    trace = read_recordings([path], data)
    assert [each.name for each in trace.episodes] == ["two", "two#2"]
    assert len(trace.episodes[0]) == len(trace.episodes[1])
    np.testing.assert_array_equal(trace.episodes[0].values, trace.episodes[1].values)


def test_logs_of_one_file_follow_each_other(tmp_path) -> None:
    """A log that begins before the end of the last one is moved behind it; one that begins later keeps its times."""
    logs = [blackbox(30, 5_000_000), blackbox(30, 5_000_000), blackbox(30, 90_000_000)]
    log = opened(tmp_path, b"\xff" * 300 + b"".join(each + b"\xff" * 500 for each in logs))
    assert log.starts == pytest.approx((5.0, 15.29, 90.0))
    found = everything(log)
    assert len(found.t) == 90
    assert np.flatnonzero(np.diff(found.t) > 9).tolist() == [29, 59]
    np.testing.assert_array_equal(found.values[:30], found.values[30:60])
    assert log.topics[0].note == "3 logs, one after the other"
    assert log.missing == ""


def test_a_field_that_a_log_lacks_is_nan(tmp_path) -> None:
    """Logs of different settings share a topic: what one of them has not logged is NaN, and a unit in doubt is none."""
    writer, table = small(20)
    writer.names = (*writer.names[:-1], "debug[0]")
    writer.settings["gyro_scale"] = "0x3dcccccd"
    log = opened(tmp_path, blackbox(20) + writer.header() + b"".join(writer.frames(table)) + LOG_END)
    found = log.read("main", ["vbatLatest", "debug[0]"])
    assert np.isnan(found.values).tolist() == [[False, True]] * 20 + [[True, False]] * 20
    assert {field.name: field.unit for field in log.topics[0].fields}["gyroADC[0]"] == ""


def test_time_of_32_bits_is_continued(tmp_path) -> None:
    """The counter of microseconds starts again after 71 minutes, and the time goes on."""
    writer, table = small(60, 2**32 - 300_000)
    found = everything(opened(tmp_path, writer.header() + b"".join(writer.frames(table)) + LOG_END))
    np.testing.assert_allclose(np.diff(found.t), 0.01)


@settings(max_examples=50)
@given(cut=st.integers(0, len(blackbox())))
def test_a_log_that_is_cut_off_is_read_up_to_there(tmp_path_factory, cut) -> None:
    """Whatever byte a log ends at, the frames before it are read as they were, and it says that its end is missing."""
    whole = blackbox()
    folder = tmp_path_factory.mktemp("cut")
    rows = everything(opened(folder, whole, "whole.bbl")).values
    writer, table = small()
    if cut < len(writer.header() + writer.frames(table)[0]):
        with pytest.raises(TraceError, match=r"truncated or damaged|recording log.bbl"):
            opened(folder, whole[:cut])
        return
    log = opened(folder, whole[:cut])
    found = everything(log).values
    np.testing.assert_array_equal(found, rows[: len(found)])
    assert log.missing or cut >= len(whole)


@settings(max_examples=30)
@given(at=st.integers(10, 50), size=st.integers(1, 200), seed=st.integers(0, 99))
def test_damage_costs_the_frames_up_to_the_next_one_that_needs_no_other(tmp_path_factory, at, size, seed) -> None:
    """Where bytes in the middle are noise, no wrong value is returned: only rows of the log, in order."""
    writer, table = small(80)
    frames = writer.frames(table)
    start = len(writer.header()) + sum(map(len, frames[:at]))
    raw = bytearray(writer.header() + b"".join(frames) + LOG_END)
    noise = np.random.default_rng(seed).integers(128, 256, size, np.uint8).tobytes()  # none of them begins a frame
    raw[start : start + size] = noise[: len(raw) - start - len(LOG_END)]
    log = opened(tmp_path_factory.mktemp("noise"), bytes(raw))
    found = everything(log)
    whole = {row[1] * 1e-6: [row[0], *row[2:]] for row in table}
    assert [whole[t] for t in found.t.tolist()] == found.values.tolist()
    assert at <= len(found.t) < 80
    assert "damaged" in log.missing


def test_an_event_costs_no_frame(tmp_path) -> None:
    """Events between frames are passed over; one of an unknown type is damage up to the next frame."""
    writer, table = small(24)
    frames = writer.frames(table)
    frames.insert(5, b"E\x1e\x05\x04")  # flight mode
    frames.insert(9, b"E\x0d\x01\x07")  # adjustment of a whole number
    frames.insert(12, b"E\x0d\x81" + bytes(4))  # adjustment of a float
    log = opened(tmp_path, writer.header() + b"".join(frames) + LOG_END)
    assert (len(everything(log).t), log.missing) == (24, "")
    frames.insert(6, b"E\xc8\x01")
    log = opened(tmp_path, writer.header() + b"".join(frames) + LOG_END)
    assert len(everything(log).t) < 24
    assert "3 damaged bytes" in log.missing


def test_a_time_that_jumps_is_damage(tmp_path) -> None:
    """A frame whose time is years away is left out with those that follow from it, and the rest stays."""
    writer, table = small(40)
    table[16][1] += 2**31
    for k in range(17, 24):
        table[k][1] += 2**31
    log = opened(tmp_path, writer.header() + b"".join(writer.frames(table)) + LOG_END)
    found = everything(log)
    assert len(found.t) == 32
    assert np.diff(found.t).max() == pytest.approx(0.09)
    assert "8 of 40 frames left out" in log.missing


def test_missing_iterations_are_said(tmp_path) -> None:
    """Where the recorder was too slow, the log says how many seconds it lacks."""
    writer, table = small(48)
    del table[20:24]
    log = opened(tmp_path, writer.header() + b"".join(writer.frames(table)) + LOG_END)
    assert log.missing == "1 gap, 0.04 s in all"


def test_position_is_relative_to_the_home_before_it(tmp_path) -> None:
    """A GPS frame adds the latest home to its coordinates, NaN before one, and the last main frame to its time."""
    writer, table = small(4)
    writer.more = (
        "H Field H name:GPS_home[0],GPS_home[1]\nH Field H predictor:0,0\nH Field H encoding:0,0\n"
        "H Field H signed:1,1\n"
        "H Field G name:time,GPS_numSat,GPS_coord[0],GPS_coord[1]\nH Field G signed:0,0,1,1\n"
        "H Field G predictor:10,0,7,7\nH Field G encoding:1,1,0,0\n"
    )
    frames = writer.frames(table)
    position = b"G\x05\x0c" + zigzag(3) + zigzag(-4)
    frames[1:1] = [position, b"H" + zigzag(470_000_000) + zigzag(-80_000_000), position]
    log = opened(tmp_path, writer.header() + b"".join(frames) + LOG_END)
    found = log.read("gps", ["GPS_coord[0]", "GPS_coord[1]", "GPS_numSat"])
    np.testing.assert_array_equal(found.values, [[np.nan, np.nan, 12], [470_000_003, -80_000_004, 12]])
    np.testing.assert_allclose(found.t, 1.000005)


def test_the_fourth_number_of_a_quaternion_is_computed(tmp_path) -> None:
    """The firmware logs x, y and z of a unit quaternion with w at least 0; w comes as a field [3]."""
    writer, table = small(3)
    writer.names = (*writer.names[:2], *(f"imuQuaternion[{k}]" for k in range(3)), *writer.names[5:])
    for row in table:
        row[2:5] = [0, 19660, 0]  # 0.6
    found = opened(tmp_path, writer.header() + b"".join(writer.frames(table))).read("main", ["imuQuaternion[3]"])
    np.testing.assert_allclose(found.values / 32767, 0.8, atol=1e-4)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("Data version:2", "Data version:1", "blackbox_decode"),
        ("I encoding:1,1,0", "I encoding:1,1,99", "unknown encoding 99"),
        ("P predictor:6,2,3", "P predictor:6,2,77", "unknown predictor 77"),
        ("I predictor:0,0", "I predictor:0", "unequal lists"),
        ("I signed:0", "I signed:x", "whole number"),
        (",time,", ",tick,", "no fields of frames with a time"),
        ("I interval:8", "I interval:999999999", "I interval"),
        ("P encoding:9,0,7,7,7,6,6,6", "P encoding:9,0,6,6,6,6,8,8", "2 fields for a group of 4"),
        ("H Product:", "H Produkt:", "no log in it"),
    ],
)  # fmt: skip
def test_a_bad_header_is_one_line(tmp_path, old, new, says) -> None:
    """A header that cannot be right is refused with what is wrong in it."""
    raw = blackbox().replace(old.encode(), new.encode(), 1)
    with pytest.raises(TraceError, match=says) as caught:
        opened(tmp_path, raw)
    assert "\n" not in str(caught.value)


def test_one_bad_log_does_not_cost_the_others(tmp_path) -> None:
    """Of two logs the readable one is read, and the file says which one is not."""
    log = opened(tmp_path, PRODUCT.encode() + b"H nothing:1\n" + blackbox())
    assert len(everything(log).t) == 60
    assert log.missing == "log 1: its header lists no fields of frames with a time"
