"""Test DataFlash logs of ArduPilot: sensors, units, times and damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.small_logs import GYRO, ROWS, dataflash, dataflash_format, plain_dataflash, shared_log

from rtsysid.errors import TraceError
from rtsysid.recordings.formats.ardupilot import Reader

# Of pymavlink 2.4.50, DFReader_binary(path): a field of some types, its count, its sum and the last time.
GOLDEN = {
    "ATT": ("Yaw", 4721, 788_766.40, 127.627),
    "GPS": ("Lat", 378, 16_152.8629702, 127.445),
    "IMU": ("AccZ", 3933, -26_923.064667105675, 127.607),
    "RCOU": ("Ch1", 787, 1_153_930, 127.568),
}


def opened(folder: Path, content: bytes) -> Reader:
    (folder / "log.bin").write_bytes(content)
    return Reader(folder / "log.bin")


def test_sensors_units_and_times(tmp_path) -> None:
    """Messages of two sensors are two topics; units come with their factor; arrays are fields by index."""
    log = opened(tmp_path, dataflash())
    assert [(each.name, each.messages) for each in log.topics] == [
        ("ARR", 1), ("EV", 1), ("IMU", ROWS), ("IMU[1]", ROWS), ("MSG", 1),
    ]  # fmt: skip
    units = {field.name: field.unit for field in log.topics[2].fields}
    assert units == {"GyrX": "rad/s", "Temp": "degC", "GMS": "ms"}
    second = log.read("IMU[1]", ["GyrX", "Temp", "GMS"])
    np.testing.assert_array_equal(second.values[:, 0], GYRO[:, 1])
    np.testing.assert_allclose(second.values[:, 1], 25 + np.arange(ROWS) / 100)
    np.testing.assert_array_equal(second.values[:, 2], 7 * np.arange(ROWS))
    np.testing.assert_allclose(second.t, 5 + np.arange(ROWS) / 100)
    assert log.read("EV", ["Id"]).t.tolist() == pytest.approx([5 + (ROWS - 1) / 100])
    assert log.read("ARR", ["x[31]", "Lat"]).values.tolist() == [[31, 47.397742]]
    assert log.topics[-1].note == "it holds no number"
    assert log.parameters == {"ATC_RAT_RLL_P": pytest.approx(0.135)}
    assert log.missing == ""


@pytest.mark.recordings
def test_an_old_log_equals_pymavlink() -> None:
    """Counts, a value of each topic and the last times of a real log of 2015 are those of another reader."""
    log = Reader(shared_log("ardupilot", "pxf_copter_31-3-2015_83.BIN"))
    for name, (field, *golden) in GOLDEN.items():
        found = log.read(name, [field])
        assert [len(found.t), found.values.sum(), found.t[-1]] == pytest.approx(golden)
    assert log.missing == "cut off after 119.3 s, inside a message"
    assert (len(log.topics), len(log.parameters)) == (25, 427)


@settings(max_examples=60)
@given(cut=st.integers(200, len(plain_dataflash())))
def test_a_log_that_is_cut_off_is_read_up_to_there(tmp_path_factory, cut) -> None:
    """Whatever byte a log ends at, complete messages are read, and a message that is cut is said."""
    whole = plain_dataflash()
    log = opened(tmp_path_factory.mktemp("cut"), whole[:cut])
    size = 3 + 4 + 4 + 2
    rows, rest = divmod(cut - (len(whole) - ROWS * size), size)
    if rows:
        np.testing.assert_array_equal(log.read("ATT", ["Roll"]).values[:, 0], (100 + np.arange(rows)) / 100)
    assert log.missing == (f"cut off after {max(rows - 1, 0) / 100:.4g} s, inside a message" if rest else "")


@settings(max_examples=40)
@given(at=st.integers(0, ROWS - 2), size=st.integers(1, 40), seed=st.integers(0, 99))
def test_noise_between_messages_costs_none(tmp_path_factory, at, size, seed) -> None:
    """Bytes that are no message are passed over and counted."""
    raw = plain_dataflash()
    start = len(raw) - 13 * (ROWS - at)
    noise = np.random.default_rng(seed).integers(0, 128, size, np.uint8).tobytes()
    log = opened(tmp_path_factory.mktemp("noise"), raw[:start] + noise + raw[start:])
    assert len(log.read("ATT", ["Roll"]).t) == ROWS
    assert log.missing.startswith(f"{size} damaged bytes left out, the first after")


@pytest.mark.parametrize("fill", [b"\xff", b"\0"])
def test_a_file_that_is_longer_than_the_log_is_complete(tmp_path, fill) -> None:
    """Ones or zeros behind the last message are no damage, also where its last byte is one of them."""
    log = opened(tmp_path, plain_dataflash() + fill * 4000)
    assert (len(log.read("ATT", []).t), log.missing) == (ROWS, "")


def test_the_first_description_of_a_type_counts(tmp_path) -> None:
    """A log that goes on describes its types again; another description of a type would spoil the messages before."""
    again = dataflash_format(9, 13, "ATT", "Ihf", "TimeMS,Other,Roll")
    log = opened(tmp_path, plain_dataflash() + again)
    assert [field.name for field in log.topics[0].fields] == ["Rate", "Roll"]
    np.testing.assert_array_equal(log.read("ATT", ["Rate"]).values[:, 0], GYRO[:, 0])


@pytest.mark.parametrize("content", [b"", b"\xa3\x95\x80", b"text" * 100, b"\xa3\x95\x01" * 50])
def test_a_file_without_messages_is_one_line(tmp_path, content) -> None:
    """A file that describes no message is refused."""
    with pytest.raises(TraceError, match="it describes no message"):
        opened(tmp_path, content)


@pytest.mark.parametrize(
    ("length", "letters", "columns"),
    [(13, "Ifx", "TimeMS,a,b"), (13, "If", "TimeMS"), (14, "Ifc", "TimeMS,a,b"), (13, "Ifc", "TimeMS,a,a")],
)
def test_a_format_that_contradicts_itself_has_no_fields(tmp_path, length, letters, columns) -> None:
    """A type with an unknown letter, too few names or another length is passed over by its length."""
    head = dataflash_format(9, length, "ODD", letters, columns)
    raw = plain_dataflash().replace(dataflash_format(9, 13, "ATT", "Ifc", "TimeMS,Rate,Roll"), head)
    log = opened(tmp_path, raw)
    assert all(not topic.fields for topic in log.topics)
