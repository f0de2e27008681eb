"""The live session to the letter: the ends of its ranges, what it tells a detector, and what it reports."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.integrator import RATE, Integrator, plant_spec
from support.robots import make_body_spec

from rtsysid.errors import SpecError
from rtsysid.live.deadline import Deadline
from rtsysid.live.session import Prediction, Session, SessionSettings
from rtsysid.spec import Floats, ModelSpec, Sample
from rtsysid.statuses import Status

GOOD = (0.2, 0.1, 0.0)


class Detector:
    """What a session needs of a detector; it notes what it is told, and finds novel what it is told to."""

    def __init__(self) -> None:
        self.sample: Floats = np.zeros(3, np.float32)
        self.novel, self.alarms, self.worst_channel = False, 7, (2,)
        self.told: list[str] = []
        self.asked: tuple[int, int] | None = None

    def update(self) -> bool:
        self.told.append("update")
        return self.novel

    def suspend(self) -> None:
        self.told.append("suspend")

    def reset(self) -> None:
        self.told.append("reset")

    def rates(self, novel: int, predictions: int) -> dict[str, float]:
        self.asked = novel, predictions
        return {"novel_share": 0.5}


def session_with(detector: Detector | None = None, spec: ModelSpec | None = None, **options: float) -> Session:
    return Session(Integrator(spec, warmup=0), novelty=detector, **options)  # type: ignore[arg-type]


def at(tick: float, *values: float) -> Sample:
    return Sample(tick / RATE, np.array(values or GOOD, np.float32))


def started(session: Session, count: int = 6) -> Session:
    """Feed `count` good samples, the last at t = 0."""
    for tick in range(1 - count, 1):
        session.feed(at(tick))
    return session


@pytest.mark.parametrize(
    ("ticks", "values", "max_gap", "flags"),
    [
        (0.5, GOOD, 5, ("ok",)),
        (0.5, (0.2, 1.5, 0.0), 5, ("extrapolating",)),
        (0.49, GOOD, 5, ("late",)),
        (1.49, GOOD, 5, ("ok",)),
        (1.5, GOOD, 5, ("held",)),
        (1.5, (0.2, 1.5, 0.0), 5, ("held", "extrapolating")),
        (-0.5, GOOD, 0, ("late",)),
        (-1.0, GOOD, 0, ("reset", "warm-up")),
        (-5.5, GOOD, 5, ("late",)),
        (-6.5, GOOD, 5, ("reset", "warm-up")),
    ],
)
def test_the_ends_of_a_tick(ticks: float, values: tuple[float, ...], max_gap: int, flags: tuple[str, ...]) -> None:
    """A sample counts for the tick it is nearest to; half a tick belongs to the later one, up and down."""
    session = started(session_with(max_gap=max_gap))
    prediction = session.feed(at(ticks, *values))
    assert prediction.flags == flags
    assert prediction.status == flags[0]


def test_a_repeated_time_near_zero_is_late() -> None:
    """Time differences count, wherever the device's clock begins."""
    session = session_with()
    for tick in (0.0, 0.5, 0.5):
        last = session.feed(at(tick))
    assert last.status == "late"


def test_what_the_settings_are_by_default() -> None:
    """Five ticks may be held; the time budget is one tick, or what is given."""
    assert SessionSettings().max_gap == 5
    assert SessionSettings().budget(50.0) == 0.02
    assert SessionSettings(budget_s=0.5).budget(50.0) == 0.5


def test_settings_that_contradict_each_other_say_which() -> None:
    """The error quotes both margins."""
    with pytest.raises(SpecError, match=r"2\.5 and 1\.5"):
        SessionSettings(trained_margin=2.5, reject_margin=1.5)


@pytest.mark.parametrize(("name", "value"), [("budget_s", -1.0), ("max_gap", -1), ("reject_margin", math.inf)])
def test_a_setting_out_of_its_range_is_named(name: str, value: float) -> None:
    """The error begins with the name of the setting."""
    with pytest.raises(SpecError, match=f"^{name}: {value}"):
        SessionSettings(**{name: value})  # type: ignore[arg-type]


def test_a_status_joins_the_others() -> None:
    """A prediction with one more status has both flags, the graver first, and everything else as it was; ok goes."""
    y = np.zeros(2, np.float32)
    fine = Prediction(1.0, y, Status.ok, (Status.ok,)).with_status(Status.stale)
    assert (fine.t, fine.y, fine.status, fine.flags) == (1.0, y, "stale", ("stale",))
    grave = Prediction(1.0, y, Status.late, (Status.late,), (1,)).with_status(Status.stale)
    assert (grave.status, grave.flags, grave.channels) == ("late", ("late", "stale"), (1,))
    light = Prediction(1.0, y, Status.held, (Status.held,)).with_status(Status.stale)
    assert (light.status, light.flags) == ("stale", ("stale", "held"))


def test_a_deadline_changes_no_answer() -> None:
    """With a deadline a session answers what it answers without one; a jump of years counts its drops, up to 1e9."""
    plain, timed = (Session(Integrator(), deadline=deadline) for deadline in (None, Deadline(1.0)))
    for sample in (at(0), at(1), at(4), at(5), at(1e15)):
        first, second = plain.feed(sample), timed.feed(sample)
        assert (first.t, first.flags, first.y.tobytes()) == (second.t, second.flags, second.y.tobytes())
    assert timed.summary()["latency"]["drops"] == 2 + 10**9 - 1


def test_what_is_novel_is_said_and_counted() -> None:
    """A novel sample has the status and the worst output, next to channels outside the trained range."""
    detector = Detector()
    session = started(session_with(detector))
    assert session.feed(at(1, 0.2, 1.5, 0.0)).channels == (1,)
    detector.novel = True
    found = session.feed(at(2))
    assert (found.status, found.channels, found.usable) == ("novel", (2,), True)
    both = session.feed(at(3, 0.2, 1.5, 0.0))
    assert (both.flags, both.channels) == (("novel", "extrapolating"), (1, 2))
    assert (session.health.novel, session.health.alarms) == (2, 7)
    assert session.summary()["novelty"] == {"novel_share": 0.5}
    assert detector.asked == (2, session.health.predictions)
    assert session.novelty is detector


def test_a_detector_reads_the_sample_and_hears_of_gaps_and_resets() -> None:
    """It is updated with each good sample, in its own buffer; held ticks suspend it, and a lost state resets it."""
    detector = Detector()
    session = started(session_with(detector, max_gap=2))
    detector.told.clear()
    session.feed(at(1, 0.3, 0.2, 0.1))
    assert detector.told == ["update"]
    np.testing.assert_allclose(detector.sample, [0.3, 0.2, 0.1], rtol=1e-6)
    session.feed(at(3))
    assert detector.told == ["update", "suspend", "update"]
    session.feed(at(9))
    assert detector.told[3:] == ["reset", "update"]


def test_without_a_detector_nothing_is_novel() -> None:
    """The summary says that there is none."""
    session = started(session_with())
    assert session.health.novel == 0
    assert session.summary()["novelty"] is None


def quaternion(angle: float, sign: float = 1.0) -> list[float]:
    """A rotation about x: x, y, z, w."""
    return [sign * math.sin(angle / 2), 0.0, 0.0, sign * math.cos(angle / 2)]


def test_quaternions_continue_the_last_good_sample() -> None:
    """Where w passes zero the signs stay; where a source turns a sign, it is turned back; a reset starts over."""
    spec = make_body_spec("lstm")
    predictor = Integrator(spec, warmup=0)
    session = Session(predictor, novelty=None, max_gap=1, reject_margin=1e9)
    columns = [[channel.name for channel in spec.channels].index(name) for name in ("qx", "qy", "qz", "qw")]

    def feed(tick: int, q: list[float]) -> list[float]:
        row = np.zeros(spec.width, np.float32)
        row[columns] = q
        session.feed(Sample(tick / spec.rate_hz, row))
        return [predictor.stepped[-1][column] for column in columns]

    angles = np.linspace(2.8, 3.5, 8)  # w passes zero at pi
    for tick, angle in enumerate(angles):
        sign = -1.0 if tick in (3, 6) else 1.0
        np.testing.assert_allclose(feed(tick, quaternion(float(angle), sign)), quaternion(float(angle)), atol=1e-6)
    after = feed(50, quaternion(3.5))
    np.testing.assert_allclose(after, quaternion(3.5, -1.0), atol=1e-6)
    assert after[3] > 0


def test_the_margins_are_those_of_the_settings() -> None:
    """Settings given as a whole and by name give the same session; a name wins."""
    settings = SessionSettings(max_gap=2, trained_margin=0.25)
    session = Session(Integrator(plant_spec()), settings, novelty=None, max_gap=3)
    assert session.settings == SessionSettings(max_gap=3, trained_margin=0.25)
    assert session.max_gap == 3
