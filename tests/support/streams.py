"""What tests of sources share: rows of a robot, the faults of a bad line, and a live session over any source."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec
from support.integrator import Integrator, plant_spec
from support.live_parts import until

from firmware_bridge.recorder import Recorder
from rtsysid.cli import reproducing
from rtsysid.cli.sources import open_source
from rtsysid.live.loop import LiveLoop, LiveStats, SessionFeeder
from rtsysid.live.reproduce import Reproduction, Settings, reproduce
from rtsysid.live.session import Session
from rtsysid.recordings.bag import Bag
from rtsysid.spec import ModelSpec

RATE_HZ = 100.0
BEGUN_S = 50.0  # device time of the first row
SPEC: ModelSpec = msgspec.structs.replace(plant_spec(), rate_hz=RATE_HZ)
SETTINGS = Settings(bundle="none", backend="numpy", budget_s=1000.0)


class Row(NamedTuple):
    """One message: its device time in s, and u, x, v in whole thousandths, which every format holds exactly."""

    t: float
    values: tuple[float, float, float]


def row(k: int) -> Row:
    """The k-th sample of the robot."""
    return Row(BEGUN_S + k / RATE_HZ, ((k * 7 % 900) / 1000, (k * 11 % 800) / 1000, -(k * 13 % 700) / 1000))


class Faults(NamedTuple):
    """Rows as a bad line delivers them, and how many were lost, came twice, and came after a newer one."""

    rows: list[Row]
    lost: int
    twice: int
    late: int
    captured: int


def faulty(count: int) -> Faults:
    """Rows of which some are lost, doubled and exchanged; the session bridges all gaps but one."""
    gone = {40, 41, 90, *range(130, 134), *range(200, 240)}
    kept = [k for k in range(count) if k not in gone]
    doubled, exchanged = {20, 60, 111}, {70, 150}
    order: list[int] = []
    for k in kept:
        order += [k, k] if k in doubled else [k]
    for k in exchanged:
        i = order.index(k)
        order[i], order[i + 1] = order[i + 1], order[i]
    return Faults([row(k) for k in order], len(gone), len(doubled), len(exchanged), count)


class Sender(Protocol):
    """One end of a source under test: the address to open, and how to send."""

    url: str
    options: dict[str, Any]

    def send(self, sent: Row) -> None: ...


class Enough:
    """A stop that is requested when `condition` holds, or nobody should wait any longer."""

    def __init__(self, condition: Callable[[], bool], patience_s: float = 30.0) -> None:
        self._condition, self._deadline_s = condition, time.monotonic() + patience_s
        self.interrupted = False

    @property
    def requested(self) -> bool:
        return self._condition() or time.monotonic() > self._deadline_s


class Work(threading.Thread):
    """A thread whose error the test sees."""

    def __init__(self, work: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self.error = error


class Kept:
    """A recorder of answers in memory, next to one on the disk."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.statuses: list[str] = []

    def sample(self, arrival: Any) -> None:
        self._recorder.sample(arrival)

    def prediction(self, answer: Any) -> None:
        self.statuses.append(str(answer.prediction.status))
        self._recorder.prediction(answer)

    def health(self, figures: Any) -> None:
        self._recorder.health(figures)


class LiveSession(NamedTuple):
    """What a live session left: its figures, counts of the source, statuses of the answers, and its replay."""

    stats: LiveStats
    health: Any
    statuses: list[str]
    again: Reproduction


@contextmanager
def recorder(path: Path, spec: ModelSpec = SPEC) -> Iterator[Recorder]:
    with Recorder.open(path, channels=spec.channels, outputs=spec.outputs, metadata=SETTINGS.metadata()) as opened:
        yield opened


def sending(source: Any, sender: Any, rows: Sequence[Row]) -> Work:
    """Send rows from a thread, never more than a few ahead of what the source has read."""

    def work() -> None:
        sender.begin(source)
        for number, each in enumerate(rows):
            sender.send(each)
            if number % 20 == 0:
                until(lambda number=number: source.intake.received > number - 20, f"row {number}")  # type: ignore[misc]

    thread = Work(work)
    thread.start()
    return thread


def replayed(path: Path) -> Reproduction:
    """The recorded session once more, from its bytes."""
    bag = Bag(path)
    return reproduce(bag, reproducing.arrivals_of(bag, SPEC), SessionFeeder(Session(Integrator(SPEC), SETTINGS)))


def live(path: Path, received: int, url: str, start: Callable[[Any], Work], **options: Any) -> LiveSession:
    """Run a live session until the source has received so many messages and all samples were answered."""
    with recorder(path) as disk, open_source(url, spec=SPEC, tap=disk, **options) as source:
        kept = Kept(disk)
        loop = LiveLoop(source, Session(Integrator(SPEC), SETTINGS), recorder=kept)
        work = start(source)

        def enough() -> bool:
            health: Any = source.health()
            if work.error is not None:
                raise work.error
            return health.received >= received and len(kept.statuses) >= health.samples

        for _ in loop.run(Enough(enough), every_s=0.2):
            pass
    return LiveSession(loop.summary(), source.health(), kept.statuses, replayed(path))
