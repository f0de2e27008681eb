"""Replay: pace, files of predictions, and their comparison. The clock is a fake one; nothing sleeps."""

from __future__ import annotations

import gzip
import io
import math
import os
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsysid import storage
from rtsysid.errors import SpecError, StorageError, TraceError
from rtsysid.live.predictions import Recorded, read_predictions, write_predictions
from rtsysid.live.replay import Matcher, compare, paced, replay
from rtsysid.live.session import STATUSES, Prediction, Session, Status
from rtsysid.spec import Channel, Floats, ModelSpec, Sample, unit_scaling

OUTPUTS = (Channel("x", "m"), Channel("roll, pitch", "rad"))
SUFFIXES = (".csv", ".csv.gz", ".npz", ".CSV", ".NPZ")
doubles = st.floats(allow_nan=False)
singles = st.floats(width=32)


class FakeTime:
    """A clock that only sleep moves, and the list of what was slept."""

    def __init__(self, now: float = 5000.0) -> None:
        self.now, self.slept = now, list[float]()

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Repeater:
    """Predicts what it sees, at once."""

    def __init__(self) -> None:
        channels = (Channel("x"), Channel("y"))
        blank = ModelSpec(channels=channels, rate_hz=10.0)
        self.spec = msgspec.structs.replace(blank, scaling=unit_scaling(blank, 9.0))
        self.ready = True

    def reset(self) -> None: ...

    def step(self, values: Floats) -> Floats:
        return values


def recording(*times: float) -> list[Sample]:
    return [Sample(t, np.array([t % 7, k % 5], np.float32)) for k, t in enumerate(times)]


def prediction(t: float, *y: float, status: Status = "ok") -> Prediction:
    return Prediction(t, np.array(y, np.float32), status, (status,))


def replayed(times: list[float], speed: float, work_s: float = 0.0) -> tuple[FakeTime, list[float]]:
    """Host times, from the first on, at which each prediction came when each takes `work_s` to consume."""
    fake, came = FakeTime(), list[float]()
    for _ in replay(Session(Repeater()), recording(*times), speed=speed, clock=fake.clock, sleep=fake.sleep):
        came.append(fake.now - 5000.0)
        fake.now += work_s
    return fake, came


def test_recorded_speed_keeps_recorded_times() -> None:
    """At speed 1 each prediction comes when its sample did, gaps included; at speed 2 in half the time."""
    times = [100.0, 100.1, 100.25, 160.0, 160.1]
    assert replayed(times, 1.0)[1] == pytest.approx([0.0, 0.1, 0.25, 60.0, 60.1])
    assert replayed(times, 2.0)[1] == pytest.approx([0.0, 0.05, 0.125, 30.0, 30.05])


def test_pace_is_absolute() -> None:
    """Work between samples does not add up: after 1,000 samples the replay is where the recording is."""
    _, came = replayed([0.1 * k for k in range(1000)], 1.0, work_s=0.04)
    assert came[-1] == pytest.approx(99.9)


def test_a_slow_consumer_catches_up_without_sleeping() -> None:
    """Where each sample takes twice its period, nothing sleeps; no wait is ever negative."""
    fake, came = replayed([0.1 * k for k in range(50)], 1.0, work_s=0.2)
    assert fake.slept == []
    assert came[-1] == pytest.approx(49 * 0.2)


def test_pace_survives_bad_times() -> None:
    """A time that is not finite or a little back is handed on at once; a restart of the device begins a new count."""
    _, came = replayed([10.0, 10.1, math.nan, 10.0, math.inf, 10.2, 1.0, 1.1], 1.0)
    assert came == pytest.approx([0.0, 0.1, 0.1, 0.1, 0.1, 0.2, 0.2, 0.3])


@pytest.mark.parametrize("speed", [None, "max"])
def test_full_speed_asks_no_clock(speed: None) -> None:
    """As fast as possible neither reads the clock nor sleeps."""

    def never(*_: float) -> float:
        raise AssertionError("asked for the time")

    answers = replay(Session(Repeater()), recording(0, 0.1, 900), speed=speed, clock=never, sleep=never)
    assert len(list(answers)) == 3


@pytest.mark.parametrize("speed", [0.0, -1.0, math.nan, math.inf])
def test_an_impossible_speed_is_refused_at_once(speed: float) -> None:
    """The error is raised before the first sample is requested."""
    with pytest.raises(SpecError, match="positive factor"):
        replay(Session(Repeater()), [], speed=speed)


@given(st.lists(st.floats(0, 100), max_size=40), st.floats(0.1, 10))
def test_pace_hands_on_every_sample_in_order(times: list[float], speed: float) -> None:
    """Pacing changes nothing but when, and never hands a sample on before it is due."""
    fake, samples = FakeTime(), recording(*sorted(times))
    got = []
    for sample in paced(samples, speed=speed, restart_s=1.0, clock=fake.clock, sleep=fake.sleep):
        got.append(sample)
        assert fake.now - 5000.0 >= (sample.t - samples[0].t) / speed - 1e-9
    assert all(a is b for a, b in zip(got, samples, strict=True))


def test_a_time_of_another_century_is_not_waited_for() -> None:
    """A gap is waited for; after a time that is a year ahead, or too large for a clock, the count starts again."""
    fake = FakeTime()
    assert len(list(paced(recording(0, 9, 4e7, 1e300), speed=1, restart_s=1, clock=fake.clock, sleep=fake.sleep))) == 4
    assert fake.slept == [9]


def test_what_is_compared_may_be_written_too() -> None:
    """A matcher hands on what it compares: the same predictions, and the result of `compare`."""
    made = [prediction(t, 1.0, 2.0) for t in (0.0, 0.1, 0.2)]
    recorded = Recorded(np.array([0.0, 0.1]), np.array([[1, 2], [1, 3]], np.float32), [Status.ok] * 2, ("a", "b"))
    matcher = Matcher(recorded)
    assert [matcher.pass_on(each) for each in made] == made
    assert matcher.result() == compare(made, recorded)


rows = st.lists(st.tuples(doubles, singles, singles, st.sampled_from(STATUSES)), max_size=12)


@settings(max_examples=60)
@given(rows, st.sampled_from(SUFFIXES))
def test_predictions_come_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, written: list[tuple[float, float, float, Status]], suffix: str
) -> None:
    """Times, every float32 (NaN, infinity, denormals and -0 too) and statuses survive each format bit for bit."""
    path = tmp_path_factory.mktemp("written") / f"p{suffix}"
    made = [prediction(t, a, b, status=status) for t, a, b, status in written]
    assert write_predictions(path, OUTPUTS, made) == len(made)
    back = read_predictions(path)
    assert back.columns == ("x [m]", "roll, pitch [rad]")
    assert back.y.shape == (len(made), 2)
    assert back.y.dtype == np.float32
    assert [t.hex() for t in back.t.tolist()] == [p.t.hex() for p in made]
    assert back.status == [p.status for p in made]
    for ours, theirs in zip(made, back.y, strict=True):
        np.testing.assert_array_equal(ours.y, theirs)
        np.testing.assert_array_equal(np.signbit(ours.y)[ours.y == 0], np.signbit(theirs)[theirs == 0])
    assert compare(made, back).equal


def test_csv_is_what_the_manual_says(tmp_path: Path) -> None:
    """The columns are t, the outputs with units, and status; a float32 has 9 digits."""
    write_predictions(tmp_path / "p.csv", OUTPUTS, [prediction(np.float64(0.1), 0.1, 1e-7, status="held")])
    lines = (tmp_path / "p.csv").read_text().splitlines()
    assert lines == ['t,x [m],"roll, pitch [rad]",status', "0.1,0.100000001,1.00000001e-07,held"]


def test_one_replay_is_one_file_byte_for_byte(tmp_path: Path) -> None:
    """Packed files hold neither their name nor the time of writing."""
    for name in ("a.csv.gz", "b.csv.gz"):
        write_predictions(tmp_path / name, OUTPUTS, [prediction(0.0, 1, 2)])
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()
    assert (tmp_path / "a.csv.gz").read_bytes()[4:8] == bytes(4)


def test_writing_csv_takes_flat_memory(tmp_path: Path) -> None:
    """Ten times the predictions take no more memory at the peak."""
    assert peak(tmp_path / "long.csv", 20_000) < peak(tmp_path / "short.csv", 2_000) + 20_000


def peak(path: Path, count: int) -> int:
    tracemalloc.start()
    try:
        write_predictions(path, OUTPUTS, (prediction(0.1 * k, k, k) for k in range(count)))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    """When no space is left, the error is one line and the earlier file is unchanged."""
    path = tmp_path / f"p{suffix}"
    path.write_bytes(b"what was here")

    class OnFullDisk(storage.Claim):
        def __init__(self, path: Path) -> None:
            super().__init__(path)
            self.new.symlink_to("/dev/full")

    monkeypatch.setattr(storage, "Claim", OnFullDisk)
    with pytest.raises(StorageError, match="No space left on device") as caught:
        write_predictions(path, OUTPUTS, (prediction(0.1 * k, k, k) for k in range(20_000)), overwrite=True)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == b"what was here"
    assert list(tmp_path.iterdir()) == [path]


def test_a_source_that_fails_is_not_called_a_full_disk(tmp_path: Path) -> None:
    """An OSError of the samples names the source, and no file is left behind."""

    def failing() -> Iterator[Prediction]:
        yield prediction(0.0, 1, 2)
        raise OSError(5, "Input/output error")

    with pytest.raises(TraceError, match=r"source of the samples: Input/output error"):
        write_predictions(tmp_path / "p.csv", OUTPUTS, failing())
    assert list(tmp_path.iterdir()) == []


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-12])


def change_status(path: Path) -> None:
    path.write_text(path.read_text().replace("late", "luck"))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def foreign(path: Path) -> None:
    path.write_text("time,x\n0,1\n")


def not_npz(path: Path) -> None:
    np.savez(path, t=np.zeros(3))


def not_gzip(path: Path) -> None:
    path.write_bytes(gzip.compress(b"t,x,status\n0,\xff,ok\n"))


def bombed(compressed: bool = False, columns: str = "U1", rows: int = 2) -> bytes:
    """An archive like that of predictions: with 8 MB of zeros, with other columns, or with more rows than times."""
    out, zeros = io.BytesIO(), 1_000_000 if compressed else rows
    arrays = {"t": np.zeros(2), "y": np.zeros((zeros, 1)), "columns": np.zeros(1, columns)}
    codes = {"status": np.zeros(2, np.uint8), "statuses": np.array(STATUSES)}
    (np.savez_compressed if compressed else np.savez)(out, **arrays, **codes)
    return out.getvalue()


@pytest.mark.parametrize(
    ("suffix", "damage", "message"),
    [
        (".csv", cut, "line 3 is not whole"),
        (".csv", change_status, "line 3 is not whole"),
        (".csv", empty, "header is '' instead of t, outputs, status"),
        (".csv", foreign, "header is 'time,x'"),
        (".csv", Path.unlink, "No such file"),
        (".csv.gz", cut, "ended before"),
        (".csv.gz", empty, "header is ''"),
        (".csv.gz", foreign, "Not a gzipped file"),
        (".csv.gz", not_gzip, "can't decode"),
        (".npz", cut, "not a zip file"),
        (".npz", empty, "not a zip file"),
        (".npz", not_npz, "it has no array y"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path: Path, suffix: str, damage: Callable[[Path], None], message: str) -> None:
    """A truncated, empty or foreign file is named with what was found; none of it passes as predictions."""
    path = tmp_path / f"p{suffix}"
    write_predictions(path, OUTPUTS, [prediction(0.0, 1, 2), prediction(0.1, 1, 2, status="late")])
    damage(path)
    with pytest.raises(TraceError, match=message) as caught:
        read_predictions(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("p.csv", b"t,x,status\n" + b"0" * 2**21, "limit line_bytes"),
        ("p.csv.gz", gzip.compress(b"t,x,status\n") + gzip.compress(b"0,0,ok\n" * 2**15) * 4, "text_growth="),
        ("p.npz", bombed(compressed=True), "RTSYSID_LIMITS=growth="),
        ("p.npz", bombed(columns="i8"), "of other types"),
        ("p.npz", bombed(rows=3), "unequal length"),
    ],
    ids=range(5),
)
def test_hostile_predictions_are_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, says: str
) -> None:
    """A line without end, text and arrays that expand, and arrays of other types and sizes."""
    monkeypatch.setenv("RTSYSID_LIMITS", "free_bytes=100000 line_bytes=1000000")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TraceError, match=says):
        read_predictions(tmp_path / name)


def test_another_suffix_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    """The format is known before the first prediction is computed."""
    with pytest.raises(StorageError, match=r"name a .csv or .csv.gz or .npz file"):
        write_predictions(tmp_path / "p.txt", OUTPUTS, (pytest.fail("asked") for _ in range(1)))


def recorded(*predictions: Prediction) -> Recorded:
    t = np.array([p.t for p in predictions])
    y = np.array([p.y for p in predictions], np.float32).reshape(-1, 1)
    return Recorded(t, y, [p.status for p in predictions], ("x",))


def test_compare_finds_the_first_difference() -> None:
    """Count, largest difference, and the first tick beyond the tolerance come out exactly."""
    ours = [prediction(0.0, 1.0), prediction(0.1, 2.0), prediction(0.2, math.nan), prediction(0.3, 4.0)]
    theirs = recorded(ours[0], prediction(0.1, 2.25), ours[2], prediction(0.3, 3.0))
    result = compare(ours, theirs)
    assert (result.compared, result.max_abs, result.first_tick, result.first_t) == (4, 1.0, 1, 0.1)
    assert (result.equal, result.unmatched, result.statuses) == (False, 0, 0)
    assert compare(ours, theirs, tolerance=0.5).first_tick == 3
    assert compare(ours, theirs, tolerance=1.0).equal


def test_nan_equals_only_nan() -> None:
    """NaN against a number is an infinite difference; infinities of one sign are equal."""
    assert compare([prediction(0, math.nan)], recorded(prediction(0, math.nan))).equal
    assert compare([prediction(0, math.nan)], recorded(prediction(0, 0.0))).max_abs == math.inf
    assert compare([prediction(0, math.inf)], recorded(prediction(0, math.inf))).equal
    assert compare([prediction(0, math.inf)], recorded(prediction(0, -math.inf))).max_abs == math.inf


def test_a_changed_status_is_a_difference() -> None:
    """Equal numbers with another status are not an equal replay."""
    result = compare([prediction(0, 1.0, status="held")], recorded(prediction(0, 1.0)))
    assert (result.equal, result.statuses, result.max_abs, result.first_tick) == (False, 1, 0.0, 0)


def test_unmatched_ticks_of_both_sides_are_counted() -> None:
    """A tick that only one side has is never compared with a neighbour, and never equal."""
    ours = [prediction(t, t) for t in (0.0, 0.1, 0.3)]
    result = compare(ours, recorded(*[prediction(t, t) for t in (0.1, 0.2, 0.3, 0.4)]))
    assert (result.compared, result.unmatched, result.equal, result.first_tick) == (2, 3, False, None)


def test_another_number_of_outputs_is_an_error() -> None:
    """Predictions of another model are not compared by broadcasting."""
    with pytest.raises(TraceError, match="compare with a model of 2"):
        compare([prediction(0, 1, 2)], recorded(prediction(0, 1)))


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3)), max_size=30))
def test_matching_is_one_to_one_for_repeated_times(pairs: list[tuple[int, int]]) -> None:
    """Repeated times (late samples, a restarted device) match the n-th with the n-th: a sequence equals itself."""
    ours = [prediction(float(t), float(y)) for t, y in pairs]
    result = compare(ours, recorded(*ours))
    assert result.equal
    assert result.compared == len(ours)
    reordered = sorted(ours, key=lambda p: p.t)
    assert compare(reordered, recorded(*ours)).equal


def test_a_replay_of_a_recording_equals_itself(tmp_path: Path) -> None:
    """What was written at recorded speed is what a replay at full speed says, gaps and bad samples included."""
    samples = recording(0.0, 0.1, 0.2, 0.2, 0.5, math.nan, 0.7, 9.0, 9.1, 0.0, 0.1)
    fake = FakeTime()
    slow = replay(Session(Repeater()), samples, speed=1, clock=fake.clock, sleep=fake.sleep)
    write_predictions(tmp_path / "p.csv.gz", OUTPUTS, slow)
    result = compare(replay(Session(Repeater()), samples), read_predictions(tmp_path / "p.csv.gz"))
    assert (result.equal, result.compared) == (True, len(samples))
