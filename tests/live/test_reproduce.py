"""A recorded live session replays to the same predictions, through the decoder that took its bytes live."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fake_board import STEP_S, FakeBoard
from support.shell import edge, refused_here, rtsysid

from firmware_bridge.conversation import Conversation
from firmware_bridge.device import SimulatedDevice
from firmware_bridge.link import Link
from firmware_bridge.mcap_file import McapFile
from firmware_bridge.peer import Requirements
from firmware_bridge.playback import arrivals
from firmware_bridge.recorder import Recorder
from firmware_bridge.schema import Schema
from firmware_bridge.session_file import DIRECTIONS
from rtsysid.live.loop import Answer, LiveLoop, SessionFeeder
from rtsysid.live.reproduce import Reproduction, Settings, reproduce
from rtsysid.live.service import StopSignal
from rtsysid.live.session import Session, SessionSettings
from rtsysid.model.bundle import Bundle
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.bag import Bag
from rtsysid.recordings.trace import Trace
from rtsysid.rosmsg import TIME, MessageType, Value
from rtsysid.spec import Arrival, Floats

BUDGET_S = 0.03


def feeder(bundle: Bundle, max_gap: int = 5) -> SessionFeeder:
    return SessionFeeder(Session(Predictor.load(bundle, "numpy"), max_gap=max_gap, budget_s=BUDGET_S))


@contextmanager
def recording(path: Path, bundle: Bundle, clock: Callable[[], int]) -> Iterator[Recorder]:
    about = Settings(bundle=bundle.id, backend="numpy", budget_s=BUDGET_S).metadata()
    spec = bundle.spec
    with Recorder.open(path, channels=spec.channels, outputs=spec.outputs, metadata=about, clock=clock) as recorder:
        yield recorder


class Pendulum(FakeBoard):
    """Values that the model knows, now and then one that cannot be."""

    def values(self, tick: int) -> Floats:
        phase = tick / 9
        return np.array([np.sin(phase), np.sin(phase / 2), np.cos(phase / 2) if tick % 97 else 1e6], np.float32)


class Played:
    """A live session in simulated time: a board, a bad line, a host that stalls, and a recorder that sees it all."""

    def __init__(self, bundle: Bundle, path: Path, seed: int) -> None:
        self.random, self.ns, self.fed = random.Random(seed), 10**12, 0
        self.talk = Conversation(Requirements(bundle.spec), session=seed % 255)
        self.board = Pendulum(Schema.of(bundle.spec.channels, bundle.spec.rate_hz))
        self.board.boot(self.ns * 1e-9, 1)
        self.feeder = feeder(bundle)
        self.backlog: list[Arrival] = []
        with recording(path, bundle, lambda: self.ns) as self.recorder:
            self.open()
            for _ in range(1600):
                self.step()
                self.trouble()
        assert self.recorder.dropped == 0

    def open(self) -> None:
        self.talk.open(self.ns * 1e-9)
        self.recorder.wire("open", self.ns, bytes([self.talk.session]))

    def step(self) -> None:
        """Five milliseconds: what is due goes out, what came is decoded, and now and then the loop gets its turn."""
        now_s = self.ns * 1e-9
        said = b"".join(self.talk.encoder.encode(message, self.ns // 1000) for message in self.talk.due(now_s))
        self.recorder.wire("tx", self.ns, said)
        self.board.receive(said, now_s)
        self.ns += round(STEP_S * 1e9)
        data = self.line(self.board.poll(self.ns * 1e-9))
        if data:
            self.recorder.wire("rx", self.ns, data)
            self.backlog += self.talk.feed(data, self.ns * 1e-9)
        if self.talk.state in ("lost", "closed"):
            self.open()
        if self.random.random() < 0.3:
            self.work(self.backlog[-8:])
            self.backlog = []

    def line(self, data: bytes) -> bytes:
        if data and self.random.random() < 0.02:
            at = self.random.randrange(len(data))
            return data[:at] + self.random.randbytes(2) + data[at + self.random.randrange(3) :]
        return data

    def trouble(self) -> None:
        chance = self.random.random()
        if chance < 0.001:
            self.board.boot(self.ns * 1e-9, self.board.ack["boot_id"] + 1)
        elif chance < 0.002:
            self.talk.lose("the cable was pulled")
            self.ns += self.random.randrange(10**9)
            self.open()

    def work(self, batch: list[Arrival]) -> None:
        """As the live loop does it."""
        for arrival in batch:
            self.fed += 1
            prediction = self.feeder.feed(arrival)
            age_s = self.ns * 1e-9 - arrival.captured_s
            timed = self.feeder.timed(prediction, age_s)
            self.recorder.sample(arrival)
            self.recorder.prediction(Answer(arrival, timed, age_s, arrival is batch[-1]))


def replayed(path: Path, bundle: Bundle, max_gap: int = 5) -> Reproduction:
    bag = Bag(path)
    taps = ((DIRECTIONS[each["direction"]], message.log_ns, each["data"]) for message, each in bag.read("/wire"))
    return reproduce(bag, arrivals(Conversation(Requirements(bundle.spec)), taps), feeder(bundle, max_gap))


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_whatever_happened_live_replays_to_equal_predictions(tmp_path_factory, bundle_folder, seed):
    """Corrupt bytes, restarts, pulled cables and stalls included, every prediction and status is that of then."""
    bundle, path = Bundle.open(bundle_folder), tmp_path_factory.mktemp("live") / "a.mcap"
    played = Played(bundle, path, seed)
    found = replayed(path, bundle)
    assert found.equal, found
    assert found.predictions.compared == played.fed
    assert found.decoded == played.fed + found.dropped_live
    assert played.fed > 20


def test_statuses_of_every_kind_took_part(tmp_path, bundle_folder):
    """The sessions that are compared above hold stale, held, rejected and reset answers, gaps and several boots."""
    bundle, seen, boots = Bundle.open(bundle_folder), set(), set()
    for seed in range(6):
        Played(bundle, tmp_path / f"{seed}.mcap", seed)
        for _, said in Bag(tmp_path / f"{seed}.mcap").read("/predictions"):
            seen |= {said["status"], *said["flags"].split()}
            boots.add(said["boot"])
    assert {"ok", "stale", "held", "warm-up", "rejected", "extrapolating", "reset"} <= seen
    assert len(boots) > 1


def test_the_recorded_samples_are_those_of_the_session(tmp_path, bundle_folder):
    """Trace.read gives time and values as the live session saw them, in an episode for each boot."""
    bundle = Bundle.open(bundle_folder)
    Played(bundle, tmp_path / "a.mcap", 3)
    bag = Bag(tmp_path / "a.mcap")
    taps = [(DIRECTIONS[each["direction"]], message.log_ns, each["data"]) for message, each in bag.read("/wire")]
    came = {(a.boot, a.sample.t): a.sample.values for a in arrivals(Conversation(Requirements(bundle.spec)), taps)}
    trace = Trace.read(tmp_path / "a.mcap", bundle.spec.channels)
    boots = list(dict.fromkeys(said["boot"] for _, said in bag.read("/samples")))
    assert len(trace.episodes) == len(boots)
    for boot, episode in zip(boots, trace.episodes, strict=True):
        for t, values in zip(episode.t.tolist(), episode.values, strict=True):
            np.testing.assert_array_equal(came[boot, t], values)


class Liar(Recorder):
    """A recorder that changes what it is given, by `fault`."""

    fault, count = "", 0

    def sample(self, arrival):
        if self.fault == "sample" and arrival.seq % 100 == 50:
            values = np.nextafter(arrival.sample.values, np.float32(9), dtype=np.float32)
            arrival = arrival._replace(sample=arrival.sample._replace(values=values))
        super().sample(arrival)

    def prediction(self, answer):
        self.count += 1
        if self.fault == "y" and self.count == 150:
            y = np.nextafter(answer.prediction.y, np.float32(9), dtype=np.float32)
            answer = answer._replace(prediction=answer.prediction._replace(y=y))
        if self.fault == "status" and self.count == 150:
            late = answer.prediction._replace(status="late")
            answer = answer._replace(prediction=late)
        if self.fault != "lost" or self.count != 150:
            super().prediction(answer)

    def wire(self, direction, host_ns, data):
        if self.fault != "wire" or direction != "rx" or host_ns % 10**9:
            super().wire(direction, host_ns, data)


@pytest.mark.parametrize(
    ("fault", "differs"),
    [
        ("y", lambda found: found.predictions.first_tick == 149 and 0 < found.predictions.max_abs < 1e-3),
        ("status", lambda found: found.predictions.first_tick == 149 and found.predictions.statuses == 1),
        ("lost", lambda found: found.predictions.unmatched == 1),
        ("sample", lambda found: found.changed > 0),
        ("wire", lambda found: found.missing > 0),
    ],
)
def test_the_smallest_difference_is_found(tmp_path, bundle_folder, monkeypatch, fault, differs):
    """One bit of an output, a status, a lost answer, a changed sample or lost bytes make it unequal, and are named."""
    monkeypatch.setattr(sys.modules[__name__], "Recorder", Liar)
    monkeypatch.setattr(Liar, "fault", fault)
    bundle = Bundle.open(bundle_folder)
    Played(bundle, tmp_path / "a.mcap", 1)
    found = replayed(tmp_path / "a.mcap", bundle)
    assert not found.equal
    assert differs(found), found


WRONG: dict[str, tuple[str, str, tuple[Value, ...]]] = {
    "no direction": ("/wire", "uint8[] data\n", (b"x",)),
    "direction of another type": ("/wire", "string direction\nuint8[] data\n", ("rx", b"x")),
    "an unknown direction": ("/wire", "uint8 direction\nuint8[] data\n", (3, b"x")),
    "data of another type": ("/wire", "uint8 direction\nstring data\n", (0, "x")),
    "a session without number": ("/wire", "uint8 direction\nuint8[] data\n", (2, b"")),
    "samples without a boot": ("/samples", "uint32 seq\n", (1,)),
    "answers without an age": ("/predictions", "uint32 seq\nuint32 boot\nstring status\n", (1, 1, "ok")),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_recording_that_is_no_session_is_refused(name, tmp_path, bundle_folder):
    """What a recording holds is not believed: topics with other fields or types are one line and exit code 1."""
    about = Settings(bundle="x", backend="c", budget_s=BUDGET_S).metadata()
    topic, fields, values = WRONG[name]
    name, definition = "rtsysid_msgs/msg/Other", f"builtin_interfaces/Time stamp\n{fields}{TIME}"
    file = McapFile(tmp_path / "a.mcap", about, "rtsysid", 0)
    payload = MessageType(name, definition).pack(0, 0, *values)
    file.add(file.channel(topic, name, definition, {"channels": "[]"}), 1, 1, payload)
    file.close()
    line = refused_here("replay", bundle_folder, tmp_path / "a.mcap", code=1)
    assert topic in line


@pytest.mark.parametrize("number", ["nan", "inf", "-1", "1e300", "18446744073709551616"])
@pytest.mark.parametrize("setting", SessionSettings.__struct_fields__)
def test_settings_of_a_recording_have_ranges(setting, number, tmp_path, bundle_folder):
    """A number out of range in the settings of a recorded session is one line and exit code 1."""
    about = Settings(bundle="x", backend="numpy", budget_s=BUDGET_S).metadata()
    next(iter(about.values()))[setting] = number
    McapFile(tmp_path / "a.mcap", about, "rtsysid", 0).close()
    refused_here("replay", bundle_folder, tmp_path / "a.mcap", code=1)


def live(path: Path, bundle: Bundle) -> int:
    """A session with the real firmware, link, loop and recorder: a reset, a pulled cable, a stall; samples answered."""
    spec = bundle.spec
    rows = np.array([[np.sin(k / 9), np.sin(k / 20), np.cos(k / 20)] for k in range(2000)], np.float32)
    session = feeder(bundle).session
    with (
        SimulatedDevice(Schema.of(spec.channels, spec.rate_hz), rows, repeat=True) as device,
        Recorder.open(
            path, channels=spec.channels, outputs=spec.outputs,
            metadata=Settings(bundle=bundle.id, backend="numpy", budget_s=BUDGET_S).metadata(),
        ) as recorder,
        Link(device.port, spec=spec, tap=recorder) as link,
    ):  # fmt: skip
        loop, stop = LiveLoop(link, session, recorder=recorder), StopSignal()
        events = iter([device.reset, device.unplug, device.plug, lambda: device.stall(0.1), lambda: None])
        streamed = 0
        for report in loop.run(stop, every_s=0.1):
            answered = report.samples and session.health.samples - streamed >= 25
            if answered or link.health().state == "lost":
                streamed = session.health.samples
                event = next(events, None)
                if event is None:
                    break
                event()
        assert recorder.dropped == 0
    return session.health.samples


def test_a_session_with_the_real_firmware_replays_through_the_command_line(tmp_path, bundle_folder):
    """`rtsysid replay BUNDLE a.mcap` of a real link with a reset, a pulled cable and a stall says equal."""
    answered = live(tmp_path / "a.mcap", Bundle.open(bundle_folder))
    found = json.loads(rtsysid("replay", bundle_folder, tmp_path / "a.mcap", "--json").stdout)
    assert found["equal"] is True
    assert (found["compared"], found["missing"], found["changed"], found["unmatched"]) == (answered, 0, 0, 0)
    assert len(Trace.read(tmp_path / "a.mcap").episodes) == 2


def test_replay_and_recovery_run_without_torch(tmp_path, bundle_folder):
    """On the plain install a recorded session is rescued after a cut, described, and replayed to equal predictions."""
    Played(Bundle.open(bundle_folder), tmp_path / "a.mcap", 4)
    (tmp_path / "cut.mcap").write_bytes((tmp_path / "a.mcap").read_bytes()[:-2000])
    rescued = tmp_path / "b.mcap"
    for arguments in (("recover", tmp_path / "cut.mcap", "-o", rescued), ("info", rescued)):
        done = edge("rtsysid", *map(str, arguments))
        assert done.returncode == 0, done.stderr
    done = edge("rtsysid", "replay", str(bundle_folder), str(rescued), "--json")
    assert done.returncode in (0, 2), done.stderr
    found = json.loads(done.stdout)
    assert (found["max_abs"], found["statuses"], found["changed"]) == (0, 0, 0)
    assert found["compared"] > 100
